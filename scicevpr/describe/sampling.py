"""Bilinear resizing of large photos without antialiasing: it reads four pixels for each it gives, so only those."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

PAYS_FROM = 8
"""So many times the pixels that are wanted a photo must have for sampling to be the faster way (measured)."""


def pays(found: Sequence[int], size: Sequence[int]) -> bool:
    """Whether a photo of `found` rows and columns is so large for `size` that sampling is the faster way."""
    return found[0] * found[1] >= PAYS_FROM * size[0] * size[1]


def sample(pixels: np.ndarray, size: tuple[int, int], mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Normalise and resize uint8 pixels [H, W, 3] to [3, rows, columns]: `F.interpolate`'s result up to rounding."""
    (top, bottom, down), (left, right, across) = _axis(pixels.shape[0], size[0]), _axis(pixels.shape[1], size[1])
    rows, columns = np.concatenate((top, bottom)), np.concatenate((left, right))
    chosen = np.ascontiguousarray(pixels[rows].take(columns, axis=1).transpose(2, 0, 1))
    near = torch.from_numpy(chosen).to(torch.float32).div_(255)
    near = near.sub_(torch.tensor(mean)[:, None, None]).div_(torch.tensor(std)[:, None, None])
    near = near[:, :, : size[1]] * (1 - across) + near[:, :, size[1] :] * across
    return near[:, : size[0]] * (1 - down[:, None]) + near[:, size[0] :] * down[:, None]


@lru_cache(maxsize=64)
def _axis(count: int, wanted: int) -> tuple[np.ndarray, np.ndarray, Tensor]:
    """First and second source pixel of each target pixel, and the second's weight.

    The weights are read from `F.interpolate` itself, whose rounding of positions is its own: of three signals, each 1
    at every third pixel, a target pixel gets the weights of the two neighbours between which it lies.
    """
    signals = torch.nn.functional.one_hot(torch.arange(count) % 3, 3).float().T[None]
    weights = F.interpolate(signals, size=wanted, mode="linear", align_corners=False)[0].numpy()
    first = ((np.arange(wanted) + 0.5) * (count / wanted) - 0.5).clip(0, count - 1)
    nearest = np.rint(first).astype(np.int64).clip(0, count - 1)
    step = (weights.argmax(0) - nearest % 3 + 1) % 3 - 1  # to the heavier of two that are almost equally near
    nearest = (nearest + step).clip(0, count - 1)
    before, after = nearest - 1, nearest + 1
    at = np.arange(wanted)
    of_before = np.where(before >= 0, weights[before % 3, at], 0)
    of_after = np.where(after < count, weights[after % 3, at], 0)
    other = np.where(of_after > of_before, after, np.where(of_before > 0, before, nearest))
    low, high = np.minimum(nearest, other), np.maximum(nearest, other)
    share = np.where(low == high, 0, weights[high % 3, at]).astype(np.float32)
    return low, high, torch.from_numpy(share)
