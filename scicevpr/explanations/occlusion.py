"""Explanations that need nothing but descriptors: a grey window over the photo, and a test of any map by deletion.

They work for every model, other people's too: a model is a function from photos to descriptors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from scicevpr.descriptors.batches import Grouping
from scicevpr.descriptors.describe import describe
from scicevpr.errors import UsageError
from scicevpr.files.photos import PhotoSource, open_photo
from scicevpr.models.model import VPRModel

Describe = Callable[[Sequence[Image.Image]], np.ndarray]
"""Photos to descriptors [N, D], each photo by itself."""

PHOTOS_AT_ONCE = 16


def described_alone(model: VPRModel) -> Describe:
    """A model as a function that describes every photo in a batch of its own, where the batch matters."""
    grouping = Grouping.alone() if model.variant.cross_image else None
    return lambda photos: describe(model, list(photos), grouping=grouping, batch_size=PHOTOS_AT_ONCE).values


@dataclass(frozen=True)
class OcclusionMap:
    """similarity: of the whole photo to the match. drop: [rows, columns], how much of it is lost, on average, when a
    window covers the cell. margin, margin_drop: the same for similarity to the match minus to the rival, or None."""

    similarity: float
    drop: np.ndarray
    margin: float | None
    margin_drop: np.ndarray | None


def _grey(image: Image.Image) -> tuple[int, int, int]:
    """The photo's mean colour."""
    red, green, blue = np.asarray(image).reshape(-1, 3).mean(axis=0).round().astype(int).tolist()
    return red, green, blue


def cell_edges(length: int, cells: int) -> np.ndarray:
    """[cells + 1] pixel borders of equally long cells."""
    return np.round(np.linspace(0, length, cells + 1)).astype(int)


def occlusion_map(
    model: Describe,
    photo: PhotoSource,
    match: np.ndarray,
    rival: np.ndarray | None = None,
    *,
    grid: tuple[int, int] = (12, 16),
    window: int = 3,
) -> OcclusionMap:
    """Slide a window of the photo's mean colour over the photo and see what is lost.

    match, rival: [D] descriptors of the answer and of its best rival. grid: rows and columns of the map. window: cells
    a side; it moves cell by cell, so rows * columns photos are described. UsageError for a window larger than the grid,
    or a photo with fewer pixels than cells.
    """
    image = open_photo(photo)
    rows, columns = grid
    if not 1 <= window <= min(grid) or image.width < columns or image.height < rows:
        raise UsageError(
            f"A window of {window} cells on a grid of {rows}x{columns} does not fit a photo of "
            f"{image.width}x{image.height} pixels. Choose a coarser grid or a smaller window."
        )
    down, across, colour = cell_edges(image.height, rows), cell_edges(image.width, columns), _grey(image)
    starts = [(top, left) for top in range(rows - window + 1) for left in range(columns - window + 1)]
    whole = model([image])[0].astype(np.float64)
    kept = np.empty((len(starts), len(whole)))
    for first in range(0, len(starts), PHOTOS_AT_ONCE):
        covered = []
        for top, left in starts[first : first + PHOTOS_AT_ONCE]:
            part = image.copy()
            part.paste(colour, (int(across[left]), int(down[top]), int(across[left + window]), int(down[top + window])))
            covered.append(part)
        kept[first : first + len(covered)] = model(covered)

    def lost(target: np.ndarray) -> tuple[float, np.ndarray]:
        before = float(whole @ target)
        total, count = np.zeros(grid), np.zeros(grid)
        for (top, left), value in zip(starts, before - kept @ target, strict=True):
            total[top : top + window, left : left + window] += value
            count[top : top + window, left : left + window] += 1
        return before, total / count

    similarity, drop = lost(np.asarray(match, np.float64))
    if rival is None:
        return OcclusionMap(similarity, drop, None, None)
    margin, margin_drop = lost(np.asarray(match, np.float64) - np.asarray(rival, np.float64))
    return OcclusionMap(similarity, drop, margin, margin_drop)


# ---- does a map tell the truth? --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class DeletionTest:
    """Similarity to the match while cells are taken away (deletion) or put back (insertion), the most important first.

    shares: [S] of the cells, 0 to 1. deletion, insertion: [S]. A map that tells the truth has a small area under
    deletion and a large one under insertion; score is their difference, larger = better.
    """

    shares: np.ndarray
    deletion: np.ndarray
    insertion: np.ndarray

    @property
    def areas(self) -> tuple[float, float]:
        """Under deletion and insertion, by trapezoids, with the similarity as it is."""
        return float(np.trapezoid(self.deletion, self.shares)), float(np.trapezoid(self.insertion, self.shares))

    @property
    def score(self) -> float:
        """Insertion minus deletion."""
        deletion, insertion = self.areas
        return insertion - deletion


def deletion_test(
    model: Describe, photo: PhotoSource, match: np.ndarray, values: np.ndarray, steps: int = 14
) -> DeletionTest:
    """Test a map [rows, columns]: in equal steps its highest cells are covered by the photo's mean colour, or shown on
    it. Equal cells go row by row. UsageError for values that are not finite or a photo smaller than the map."""
    image, values = open_photo(photo), np.asarray(values, np.float64)
    if values.ndim != 2 or not np.isfinite(values).all():
        raise UsageError(f"A map of the shape {list(values.shape)} is no map [rows, columns] of finite values.")
    rows, columns = values.shape
    if image.width < columns or image.height < rows or steps < 1:
        raise UsageError(f"A map of {rows}x{columns} cells does not fit a photo of {image.width}x{image.height}.")
    down, across = cell_edges(image.height, rows), cell_edges(image.width, columns)
    pixels, empty = np.asarray(image), np.empty((image.height, image.width, 3), np.uint8)
    empty[:] = _grey(image)
    order = np.argsort(-values.ravel(), kind="stable")
    counts = np.unique(np.round(np.linspace(0, len(order), steps + 1)).astype(int))
    photos = []
    for start, other in ((pixels, empty), (empty, pixels)):
        for count in counts:
            part = start.copy()
            for cell in order[:count]:
                row, column = divmod(int(cell), columns)
                box = slice(down[row], down[row + 1]), slice(across[column], across[column + 1])
                part[box] = other[box]
            photos.append(Image.fromarray(part))
    found = np.concatenate([model(photos[at : at + PHOTOS_AT_ONCE]) for at in range(0, len(photos), PHOTOS_AT_ONCE)])
    similar = found.astype(np.float64) @ np.asarray(match, np.float64)
    return DeletionTest(counts / len(order), similar[: len(counts)], similar[len(counts) :])


def compare_maps(
    model: Describe,
    photo: PhotoSource,
    match: np.ndarray,
    maps: dict[str, np.ndarray],
    *,
    draws: int = 5,
    steps: int = 14,
    seed: int = 0,
) -> list[dict[str, float | str]]:
    """One row a map, best score first: areas under deletion and insertion and the score, beside the mean of `draws`
    random maps ("random"). UsageError for maps of different shapes."""
    shapes = {values.shape for values in maps.values()}
    if len(shapes) != 1:
        raise UsageError(f"Maps of one grid can be compared, not of {sorted(shapes)}. Resize them first.")
    random = np.random.default_rng(seed)
    drawn = [random.random(next(iter(shapes))) for _ in range(draws)]
    rows = []
    for name, candidates in (*((name, [values]) for name, values in maps.items()), ("random", drawn)):
        tests = [deletion_test(model, photo, match, values, steps) for values in candidates]
        areas = np.mean([test.areas for test in tests], axis=0)
        rows.append(
            {
                "map": name,
                "deletion": float(areas[0]),
                "insertion": float(areas[1]),
                "score": float(areas[1] - areas[0]),
            }
        )
    return sorted(rows, key=lambda row: -float(row["score"]))
