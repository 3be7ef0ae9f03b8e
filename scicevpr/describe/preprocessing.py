"""From any photo to the tensor a model takes, and back to something one can look at.

The published protocol: RGB in [0, 1], normalise, and only then resize the tensor (bilinear, align_corners=False,
without antialiasing, aspect ratio not kept). Antialiasing is a named option because it changes the descriptors: with it
the photo is resized by Pillow, in whole grey levels, before it is normalised.
"""

from __future__ import annotations

import io
import logging
import struct
import threading
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from scicevpr.config import Preprocessing
from scicevpr.describe.sampling import pays, sample
from scicevpr.errors import ImageError, UsageError

FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "AVIF")  # no format that starts another program
READABLE = "JPEG, PNG, WebP, TIFF, BMP, GIF or PPM"
MAX_PIXELS = Preprocessing().max_pixels
ORIENTATION = 0x0112  # the EXIF tag
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # stored -> upright
ALPHA_MODES = ("LA", "La", "PA", "RGBA", "RGBa")
SIXTEEN_BIT_MODES = ("I;16", "I;16L", "I;16B", "I;16N")
PIXELS_AT_ONCE = 1 << 20
DEPTHS = (8, 10, 12, 14, *range(16, 33))
"""Bits that sensors and programs use; the smallest that holds all values of a photo is taken."""
VIEWS = {"resize": 1, "central_crop": 1, "five_crops": 5}
"""Framings by name, and how many views of a photo each gives."""

Source = str | Path | Image.Image | np.ndarray | bytes | BinaryIO
logger = logging.getLogger(__name__)
_told_depths: set[int] = set()
_header_lock = threading.Lock()  # silencing warnings is process-wide, so one thread at a time reads a header


def open_photo(source: Source, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Open a photo as an upright 8-bit RGB image.

    source: path, PIL image, array ([H, W] or [H, W, 1|2|3|4]: uint8, bool, uint16, or float in [0, 1]), encoded bytes
    or a binary file. The EXIF orientation is applied; transparency is laid on white; values of more than 8 bits are
    scaled by the bits they use, not clipped; of an animation the first picture is taken. The pixel limit is checked
    before anything is decoded.

    Raises ImageError, naming the photo and what to do, for everything that cannot be read.
    """
    if isinstance(source, np.ndarray):
        return _flatten(_from_array(source, max_pixels), "the array")
    name = _name(source)
    if isinstance(source, Image.Image):
        return _decode(source, name, max_pixels)
    with open_header(source, name) as image:  # closes the file, whatever happens
        return _decode(image, name, max_pixels)


def to_tensor(photo: Source, preprocessing: Preprocessing) -> torch.Tensor:
    """Turn one photo into a model input [3, H, W] float32: scale to [0, 1], normalise, then resize the tensor.

    Raises ImageError as open_photo does, UsageError for an interpolation other than bilinear or bicubic.
    """
    return to_views(photo, preprocessing)[0]


def to_views(photo: Source, preprocessing: Preprocessing, framing: str = "resize") -> torch.Tensor:
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
            f"{_name(photo)} is so long and narrow ({pixels.shape[1]}x{pixels.shape[0]} pixels) that it would have "
            f"{size[1]}x{size[0]} before it is cropped. Use hard_resize, or leave it out."
        )
    if framing == "central_crop":
        return _central_crop(pixels, preprocessing)[None]
    plain = preprocessing.interpolation == "bilinear" and not preprocessing.antialias
    if framing == "resize" and plain and pays(pixels.shape, size):
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


def _shrunk(image: Image.Image, preprocessing: Preprocessing) -> torch.Tensor:
    """The whole photo by Pillow's bilinear filter, which antialiases; then [3, H, W] normalised."""
    rows, columns = preprocessing.size
    values = np.asarray(image.resize((columns, rows), Image.Resampling.BILINEAR), np.float32) / 255
    values = (values - np.float32(preprocessing.mean)) / np.float32(preprocessing.std)
    return torch.from_numpy(values).permute(2, 0, 1).contiguous()


def prepare(sources: Sequence[Source], preprocessing: Preprocessing, framing: str = "resize") -> torch.Tensor:
    """Turn photos into a batch [N * V, 3, H, W] float32: the V views of the first photo, of the second, ...

    Raises UsageError when there are none or for an unknown framing, ImageError for a bad photo.
    """
    if len(sources) == 0:
        raise UsageError("No photos were given; at least one is needed.")
    return torch.cat([to_views(source, preprocessing, framing) for source in sources])


def to_display(tensor: torch.Tensor, preprocessing: Preprocessing) -> np.ndarray:
    """Undo the normalisation of a model input [3, H, W]: a uint8 array [H, W, 3] to look at."""
    mean = torch.tensor(preprocessing.mean)[:, None, None]
    std = torch.tensor(preprocessing.std)[:, None, None]
    values = tensor.detach().float().cpu() * std + mean
    return (values.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy()


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


def _central_crop(pixels: np.ndarray, preprocessing: Preprocessing) -> torch.Tensor:
    """The published central crop [3, H, W]: one factor for both sides, each pixel the nearest one, then the middle.

    A side that comes out a pixel too short by rounding is filled with zeros, the mean colour.
    """
    (rows, columns), size = pixels.shape[:2], tuple(preprocessing.size)
    photo = torch.from_numpy(pixels.astype(np.float32)).permute(2, 0, 1).div_(255)
    mean, std = (torch.tensor(values)[:, None, None] for values in (preprocessing.mean, preprocessing.std))
    scale = max(size[0] / rows, size[1] / columns)
    scaled = F.interpolate(((photo - mean) / std)[None], scale_factor=scale, mode="nearest")[0]
    short = [max(0, want - have) for want, have in zip(size, scaled.shape[1:], strict=True)]
    scaled = F.pad(scaled, (short[1] // 2, short[1] - short[1] // 2, short[0] // 2, short[0] - short[0] // 2))
    return _middle(scaled, size)


def _middle(tensor: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    top, left = (round((have - want) / 2) for have, want in zip(tensor.shape[1:], size, strict=True))
    return tensor[:, top : top + size[0], left : left + size[1]]


def _name(source: Any) -> str:
    if isinstance(source, (str, Path)):
        return str(source)
    if isinstance(source, Image.Image):
        return str(getattr(source, "filename", "") or "the photo")
    return str(getattr(source, "name", "") or "the photo")


def open_header(source: Any, name: str) -> Image.Image:
    """Open a photo and read its header only. Every failure becomes an ImageError."""
    if isinstance(source, (str, Path)):
        _check_file(Path(source), name)
    elif isinstance(source, (bytes, bytearray, memoryview)):
        if not len(source):
            raise ImageError(f"{name} is empty (0 bytes); choose another photo.")
        source = io.BytesIO(source)
    elif not hasattr(source, "read"):
        raise ImageError(
            f"A photo cannot be read from {type(source).__name__}; give a path, a PIL image, an array, bytes or a file."
        )
    Image.init()
    formats = [form for form in FORMATS if form in Image.OPEN]
    try:
        with _header_lock, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # our own pixel limit follows; odd metadata is no reason to complain
            return Image.open(source, formats=formats)
    except Image.DecompressionBombError as error:
        raise ImageError(f"{name} has far too many pixels to be opened safely. Make it smaller first.") from error
    except (OSError, ValueError, SyntaxError, EOFError, IndexError, KeyError, TypeError) as error:
        raise ImageError(f"{name} is not a photo that can be read; {READABLE} files are accepted.") from error


def _check_file(path: Path, name: str) -> None:
    try:
        if path.is_dir():
            raise ImageError(f"{name} is a folder; a photo was expected.")
        if not path.exists():
            raise ImageError(f"There is no photo at {name}. Check the path.")
        if path.stat().st_size == 0:
            raise ImageError(f"{name} is empty (0 bytes); copy it again or choose another photo.")
    except (OSError, ValueError) as error:
        raise ImageError(f"{name[:200]} cannot be opened ({error}). Check the path and its permissions.") from error


def check_pixels(size: tuple[int, int], name: str, max_pixels: int) -> None:
    """Raise ImageError for a photo without pixels, or with too many."""
    width, height = size
    if width < 1 or height < 1:
        raise ImageError(f"{name} is empty ({width}x{height} pixels); choose another photo.")
    if width * height > max_pixels:
        raise ImageError(
            f"{name} has {width}x{height} pixels, {width * height / 1e6:.1f} million; at most {max_pixels / 1e6:g} "
            "million are accepted. Make it smaller first."
        )


def _decode(image: Image.Image, name: str, max_pixels: int) -> Image.Image:
    check_pixels(image.size, name, max_pixels)
    try:
        image.load()
        turn = TURNS.get(_orientation(image))
        if turn is None:
            return _flatten(image, name)
        upright = _flatten(image.transpose(turn), name)
        upright.info = {}  # it still told the old orientation, so the photo would be turned again next time
        return upright
    except (OSError, ValueError, SyntaxError, EOFError, IndexError, MemoryError, Image.DecompressionBombError) as error:
        raise ImageError(
            f"{name} could not be decoded ({error}). The file is probably damaged or cut short; copy it again or "
            "choose another photo."
        ) from error


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; unreadable EXIF data counts as upright."""
    try:
        with _header_lock, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return image.getexif().get(ORIENTATION, 1)
    except (OSError, ValueError, SyntaxError, LookupError, TypeError, struct.error):
        return 1


def _flatten(image: Image.Image, name: str) -> Image.Image:
    """Any mode to RGB: transparency on white, high bit depths scaled."""
    if image.mode in SIXTEEN_BIT_MODES or image.mode == "I":
        return _grey(_deep_range(np.asarray(image), name))
    if image.mode == "F":
        return _grey(_eight_bits(_float_range(np.asarray(image), name), 1.0))
    if image.mode in ALPHA_MODES or "transparency" in image.info:
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, layer).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _grey(pixels: np.ndarray) -> Image.Image:
    """Grey values, 8 bits, to an RGB image."""
    return Image.fromarray(pixels).convert("RGB")


def _eight_bits(values: np.ndarray, top: float) -> np.ndarray:
    """Values from 0 to ``top`` as uint8, some rows at a time: a large photo needs no copy in double precision."""
    pixels = np.empty(values.shape, np.uint8)
    rows = max(1, PIXELS_AT_ONCE // max(1, values[0].size))
    for start in range(0, len(values), rows):
        part = values[start : start + rows] / np.float64(top)
        pixels[start : start + rows] = np.rint(part.clip(0, 1) * 255)
    return pixels


def _deep_range(values: np.ndarray, name: str) -> np.ndarray:
    """Whole numbers of more than 8 bits as uint8, scaled by the bits that they use: a camera of 12 bits writes 0 to
    4095 into a file of 16. Where that is less than the file could hold, it is said in the log, once for each depth."""
    low, high = int(values.min()), int(values.max())
    if low < 0:
        raise ImageError(f"{name} holds negative values (down to {low}); grey values from 0 on were expected.")
    bits = next(bits for bits in DEPTHS if high < 2**bits)
    if bits not in (16, 32):
        with _header_lock:
            new = bits not in _told_depths
            _told_depths.add(bits)
        if new:
            logger.warning(
                "%s and perhaps other photos hold whole numbers up to %d, so they are taken to have %d bits and scaled "
                "to the whole range.", name, high, bits,
            )  # fmt: skip
    return _eight_bits(values, 2**bits - 1)


def _float_range(values: np.ndarray, name: str) -> np.ndarray:
    """Check that float values are finite and lie in [0, 1] (rounding errors of 0.001 are forgiven)."""
    if not np.isfinite(values).all():
        raise ImageError(f"{name} contains NaN or infinite values.")
    low, high = float(values.min()), float(values.max())
    if low < -1e-3 or high > 1 + 1e-3:
        raise ImageError(
            f"{name} holds floating-point values from {low:g} to {high:g}; they must lie in [0, 1]. "
            "Divide by 255 first, or give 8-bit integers."
        )
    return values


def _from_array(array: np.ndarray, max_pixels: int) -> Image.Image:
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 2, 3, 4)) or array.size == 0:
        hint = " Put the channels last." if array.ndim == 3 and array.shape[0] in (1, 3, 4) else ""
        raise ImageError(
            f"An array of the shape {list(array.shape)} is not a photo; [H, W] or [H, W, 1 to 4] was expected.{hint}"
        )
    if array.shape[0] * array.shape[1] > max_pixels:
        raise ImageError(
            f"The array has {array.shape[1]}x{array.shape[0]} pixels; at most {max_pixels / 1e6:g} million are "
            "accepted. Make it smaller first."
        )
    if array.dtype == bool:
        pixels = array.astype(np.uint8) * 255
    elif array.dtype == np.uint8:
        pixels = array
    elif array.dtype == np.uint16:
        pixels = _deep_range(array, "the array")
    elif np.issubdtype(array.dtype, np.floating):
        pixels = _eight_bits(_float_range(array, "the array"), 1.0)
    elif np.issubdtype(array.dtype, np.integer) and array.min() >= 0 and array.max() <= 255:
        pixels = array.astype(np.uint8)
    else:
        raise ImageError(
            f"An array of {array.dtype} values is not a photo; give uint8 (0 to 255), uint16 or floats in [0, 1]."
        )
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    return Image.fromarray(np.ascontiguousarray(pixels))
