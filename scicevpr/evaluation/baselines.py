"""Two descriptors without any learning, to be evaluated by the same code as the models.

They show what a data set gives away for free: edges (HOG) and colours (a histogram).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from scicevpr.preprocessing import open_photo

HOG_SIZE = (128, 96)  # columns, rows
CELL = 8  # pixels
ORIENTATIONS = 9
CLIP = 0.2  # of a block's normalised values
COLOUR_BINS = 8  # per channel
COLOUR_SIZE = (160, 120)

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Baseline:
    """A descriptor without weights: name for the command line, title for tables, how photos are prepared."""

    name: str
    title: str
    resize: str
    describe: Callable[..., np.ndarray]


def hog(images: Sequence[Any], progress: Progress | None = None) -> np.ndarray:
    """Histograms of oriented gradients [N, 5940] float32 with unit rows (Dalal and Triggs, 2005).

    Square-rooted grey values at 128x96, 8x8-pixel cells, 9 unsigned orientations shared between the two nearest,
    blocks of 2x2 cells normalised, clipped at 0.2 and normalised again. Raises ImageError for an unreadable photo.
    """
    return _describe_all(images, _hog, progress)


def colour_histogram(images: Sequence[Any], progress: Progress | None = None) -> np.ndarray:
    """Joint RGB histograms [N, 512] float32: 8 bins a channel, square-rooted, so that rows have unit length.

    Raises ImageError for an unreadable photo.
    """
    return _describe_all(images, _colour_histogram, progress)


BASELINES = {
    "hog": Baseline("hog", "HOG", "128x96 grey, antialias", hog),
    "colour": Baseline("colour", "Colour histogram", "160x120, antialias", colour_histogram),
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
