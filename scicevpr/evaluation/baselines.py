"""Three descriptors without any training for places, to be evaluated by the same code as the models.

They show what a data set gives away for free: edges (HOG), colours (a histogram), and the features of a network that
learned to name things in photos (ImageNet), which the T models stand on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from scicevpr.config import EFFICIENTNET_LITE0, Preprocessing
from scicevpr.descriptors.preprocessing import prepare
from scicevpr.files.photos import open_photo
from scicevpr.models.efficientnet_lite import EfficientNetLite0, imagenet_weights
from scicevpr.models.regions import region_boxes
from scicevpr.progress import Progress

HOG_SIZE = (128, 96)  # columns, rows
CELL = 8  # pixels
ORIENTATIONS = 9
CLIP = 0.2  # of a block's normalised values
COLOUR_BINS = 8  # per channel
COLOUR_SIZE = (160, 120)
IMAGENET_BLOCK = 10  # the last one on a 14x14 grid
IMAGENET_INPUT = Preprocessing(mean=EFFICIENTNET_LITE0.mean, std=EFFICIENTNET_LITE0.std, antialias=True)
AT_ONCE = 8


@dataclass(frozen=True)
class Baseline:
    """A descriptor that nobody trained for places: name for the command line, title for tables, what its weights are,
    how photos are prepared, dimensions of a descriptor."""

    name: str
    title: str
    weights: str
    resize: str
    dimensions: int
    describe: Callable[..., np.ndarray]


def hog(images: Sequence[Any], progress: Progress | None = None) -> np.ndarray:
    """Histograms of oriented gradients [N, 5940] float32 with unit rows (Dalal and Triggs, 2005).

    Square-rooted grey values at 128x96, 8x8-pixel cells, 9 unsigned orientations shared between the two nearest,
    blocks of 2x2 cells normalised, clipped at 0.2 and normalised again.
    """
    return _describe_all(images, _hog, progress)


def colour_histogram(images: Sequence[Any], progress: Progress | None = None) -> np.ndarray:
    """Joint RGB histograms [N, 512] float32: 8 bins a channel, square-rooted, so that rows have unit length."""
    return _describe_all(images, _colour_histogram, progress)


@torch.inference_mode()
def imagenet_features(images: Sequence[Any], progress: Progress | None = None) -> np.ndarray:
    """Block 10 of EfficientNet-Lite0, mean over each of the 14 regions: [N, 1568] float32 with unit rows. WeightsError
    when the package of its weights is missing or changed."""
    network, rows = _imagenet_network(), []
    for start in range(0, len(images), AT_ONCE):
        maps = network.outputs(prepare(images[start : start + AT_ONCE], IMAGENET_INPUT))[IMAGENET_BLOCK]
        boxes = region_boxes(tuple(maps.shape[-2:]))
        means = [maps[..., box.top : box.bottom, box.left : box.right].mean((-2, -1)) for box in boxes]
        rows.append(F.normalize(torch.cat(means, dim=1), dim=1).numpy())
        if progress is not None:
            progress(min(start + AT_ONCE, len(images)), len(images))
    return np.concatenate(rows) if rows else np.zeros((0, 0), dtype=np.float32)


@lru_cache(maxsize=1)
def _imagenet_network() -> EfficientNetLite0:
    network = EfficientNetLite0().eval()
    network.load_state_dict(imagenet_weights())
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it


BASELINES: dict[str, Baseline] = {
    "imagenet": Baseline(
        "imagenet",
        "ImageNet features",
        f"{EFFICIENTNET_LITE0.title}; not trained for places",
        IMAGENET_INPUT.label(),
        1568,
        imagenet_features,
    ),
    "hog": Baseline("hog", "HOG", "none", "128x96 grey, antialias", 5940, hog),
    "colour": Baseline("colour", "Colour histogram", "none", "160x120, antialias", 512, colour_histogram),
}


def _describe_all(
    images: Sequence[Any], function: Callable[[Image.Image], np.ndarray], progress: Progress | None
) -> np.ndarray:
    rows = []
    for done, image in enumerate(images, start=1):
        rows.append(function(open_photo(image)).astype(np.float32))
        if progress is not None:
            progress(done, len(images))
    return np.stack(rows) if rows else np.zeros((0, 0), dtype=np.float32)


def _hog(photo: Image.Image) -> np.ndarray:
    grey = np.sqrt(np.asarray(photo.convert("L").resize(HOG_SIZE, Image.Resampling.BILINEAR), dtype=np.float64))
    across, down = np.zeros_like(grey), np.zeros_like(grey)
    across[:, 1:-1] = grey[:, 2:] - grey[:, :-2]
    down[1:-1] = grey[2:] - grey[:-2]
    strength = np.hypot(across, down)
    bins = (np.arctan2(down, across) % np.pi) / np.pi * ORIENTATIONS - 0.5  # bin centres at whole numbers
    lower = np.floor(bins)
    upper_share = bins - lower
    rows, columns = grey.shape[0] // CELL, grey.shape[1] // CELL
    cells = np.zeros((rows, columns, ORIENTATIONS))
    for orientation in range(ORIENTATIONS):
        votes = strength * (
            (lower % ORIENTATIONS == orientation) * (1 - upper_share)
            + ((lower + 1) % ORIENTATIONS == orientation) * upper_share
        )
        cells[:, :, orientation] = votes.reshape(rows, CELL, columns, CELL).sum(axis=(1, 3))
    blocks = np.concatenate([cells[:-1, :-1], cells[:-1, 1:], cells[1:, :-1], cells[1:, 1:]], axis=2)
    blocks = _unit(np.minimum(_unit(blocks), CLIP))
    return _unit(blocks.reshape(-1))


def _colour_histogram(photo: Image.Image) -> np.ndarray:
    pixels = np.asarray(photo.resize(COLOUR_SIZE, Image.Resampling.BILINEAR), dtype=np.int64) * COLOUR_BINS // 256
    joint = (pixels[:, :, 0] * COLOUR_BINS + pixels[:, :, 1]) * COLOUR_BINS + pixels[:, :, 2]
    counts = np.bincount(joint.reshape(-1), minlength=COLOUR_BINS**3)
    return np.sqrt(counts / counts.sum())


def _unit(values: np.ndarray) -> np.ndarray:
    return values / np.sqrt((values**2).sum(axis=-1, keepdims=True) + 1e-10)
