"""From a photo to the tensor a model takes.

The published protocol: RGB in [0, 1], normalise, and only then resize the tensor (bilinear, align_corners=False,
without antialiasing, aspect ratio not kept). Antialiasing is a named option because it changes the descriptors: with it
the photo is resized by Pillow, in whole grey levels, before it is normalised.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from scicevpr.config import Preprocessing
from scicevpr.errors import ImageError, UsageError
from scicevpr.files.photos import PhotoSource, open_photo, photo_name

VIEWS = {"resize": 1, "central_crop": 1, "five_crops": 5}  # framings by name, and how many views of a photo each gives
SAMPLED_FROM = 8
"""So many times the pixels that are wanted a photo must have for `sample` to be the faster way (measured)."""


def to_tensor(photo: PhotoSource, preprocessing: Preprocessing) -> Tensor:
    """One photo as a model input [3, H, W] float32; errors as `to_views`."""
    return to_views(photo, preprocessing)[0]


def to_views(photo: PhotoSource, preprocessing: Preprocessing, framing: str = "resize") -> Tensor:
    """Turn one photo into the views [V, 3, H, W] float32 that a framing takes of it; V is VIEWS[framing].

    "resize": the whole photo, its aspect ratio not kept. "central_crop": scaled by one factor until it covers the size
    (by nearest neighbour, whatever the preprocessing says: the published method), then the middle. "five_crops": the
    shorter side scaled to the smaller of the two sizes, then squares of that side: top left, top right, bottom left,
    bottom right, middle. All are taken from the normalised tensor, as published.

    Raises ImageError as open_photo does and for a photo too long and narrow to be cropped, UsageError for another
    framing or interpolation.
    """
    if preprocessing.interpolation not in ("bilinear", "bicubic"):
        raise UsageError(f"Interpolation {preprocessing.interpolation!r} is unknown; choose bilinear or bicubic.")
    image = open_photo(photo, preprocessing.max_pixels)
    if framing == "resize" and preprocessing.antialias and preprocessing.interpolation == "bilinear":
        return _shrunk(image, preprocessing)[None]
    pixels = np.asarray(image)
    size = _scaled_size(pixels.shape[:2], preprocessing.size, framing)
    if framing != "resize" and size[0] * size[1] > preprocessing.max_pixels:
        raise ImageError(
            f"{photo_name(photo)} is so long and narrow ({pixels.shape[1]}x{pixels.shape[0]} pixels) that it would "
            f"have {size[1]}x{size[0]} before it is cropped. Use hard_resize, or leave it out."
        )
    if framing == "central_crop":
        return _central_crop(pixels, preprocessing)[None]
    plain = preprocessing.interpolation == "bilinear" and not preprocessing.antialias
    if framing == "resize" and plain and pixels.size >= 3 * SAMPLED_FROM * size[0] * size[1]:
        return sample(pixels, size, preprocessing.mean, preprocessing.std)[None]
    channels = []
    for index, (mean, std) in enumerate(zip(preprocessing.mean, preprocessing.std, strict=True)):
        # one channel at a time: a large photo needs a third of the memory, with the same result
        channel = torch.from_numpy(pixels[:, :, index].astype(np.float32)).div_(255).sub_(mean).div_(std)
        channels.append(
            F.interpolate(
                channel[None, None],
                size=size,
                mode=preprocessing.interpolation,
                align_corners=False,
                antialias=preprocessing.antialias,
            )[0, 0]
        )
    scaled = torch.stack(channels)
    if framing == "resize":
        return scaled[None]
    side = min(preprocessing.size)
    first, last = slice(None, side), slice(-side, None)
    corners = [scaled[:, rows, columns] for rows in (first, last) for columns in (first, last)]
    return torch.stack([*corners, _middle(scaled, (side, side))])


def _shrunk(image: Image.Image, preprocessing: Preprocessing) -> Tensor:
    """The whole photo by Pillow's bilinear filter, which antialiases; then [3, H, W] normalised."""
    rows, columns = preprocessing.size
    values = np.asarray(image.resize((columns, rows), Image.Resampling.BILINEAR), np.float32) / 255
    values = (values - np.array(preprocessing.mean, np.float32)) / np.array(preprocessing.std, np.float32)
    return torch.from_numpy(values).permute(2, 0, 1).contiguous()


def prepare(sources: Sequence[PhotoSource], preprocessing: Preprocessing, framing: str = "resize") -> Tensor:
    """Turn photos into a batch [N * V, 3, H, W] float32: the V views of the first photo, of the second, ... Raises
    UsageError when there are none or for an unknown framing, ImageError for a bad photo."""
    if len(sources) == 0:
        raise UsageError("No photos were given; at least one is needed.")
    return torch.cat([to_views(source, preprocessing, framing) for source in sources])


def _scaled_size(found: tuple[int, ...], size: Sequence[int], framing: str) -> tuple[int, int]:
    """Rows and columns of a whole photo before a framing crops it."""
    rows, columns = found
    if framing == "resize":
        return size[0], size[1]
    if framing == "central_crop":
        scale = max(size[0] / rows, size[1] / columns)
        return int(rows * scale), int(columns * scale)
    if framing == "five_crops":
        side, shorter = min(size), min(found)
        return side * rows // shorter, side * columns // shorter
    raise UsageError(f"The framing {framing!r} is unknown; choose one of {', '.join(VIEWS)}.")


def _central_crop(pixels: np.ndarray, preprocessing: Preprocessing) -> Tensor:
    """The published central crop [3, H, W]: one factor for both sides, each pixel the nearest one, then the middle. A
    side that comes out a pixel too short by rounding is filled with zeros, the mean colour."""
    (rows, columns), size = pixels.shape[:2], tuple(preprocessing.size)
    photo = torch.from_numpy(pixels.astype(np.float32)).permute(2, 0, 1).div_(255)
    mean, std = (torch.tensor(values)[:, None, None] for values in (preprocessing.mean, preprocessing.std))
    scale = max(size[0] / rows, size[1] / columns)
    scaled = F.interpolate(((photo - mean) / std)[None], scale_factor=scale, mode="nearest")[0]
    short = [max(0, want - have) for want, have in zip(size, scaled.shape[1:], strict=True)]
    scaled = F.pad(scaled, (short[1] // 2, short[1] - short[1] // 2, short[0] // 2, short[0] - short[0] // 2))
    return _middle(scaled, size)


def _middle(tensor: Tensor, size: tuple[int, int]) -> Tensor:
    top, left = (round((have - want) / 2) for have, want in zip(tensor.shape[1:], size, strict=True))
    return tensor[:, top : top + size[0], left : left + size[1]]


def sample(pixels: np.ndarray, size: tuple[int, int], mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Normalise and resize uint8 pixels [H, W, 3] to [3, rows, columns]: `F.interpolate`'s result up to rounding.
    Without antialiasing four pixels are read for each one given, so of a large photo only those are normalised."""
    (top, bottom, down), (left, right, across) = _axis(pixels.shape[0], size[0]), _axis(pixels.shape[1], size[1])
    rows, columns = np.concatenate((top, bottom)), np.concatenate((left, right))
    chosen = np.ascontiguousarray(pixels[rows].take(columns, axis=1).transpose(2, 0, 1))
    near = torch.from_numpy(chosen).to(torch.float32).div_(255)
    near = near.sub_(torch.tensor(mean)[:, None, None]).div_(torch.tensor(std)[:, None, None])
    near = near[:, :, : size[1]] * (1 - across) + near[:, :, size[1] :] * across
    return near[:, : size[0]] * (1 - down[:, None]) + near[:, size[0] :] * down[:, None]


@lru_cache(maxsize=64)
def _axis(count: int, wanted: int) -> tuple[np.ndarray, np.ndarray, Tensor]:
    """First and second source pixel of each target pixel, and the second's weight. The weights are read from
    `F.interpolate` itself, whose rounding of positions is its own: of three signals, each 1 at every third pixel, a
    target pixel gets the weights of the two neighbours between which it lies."""
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
