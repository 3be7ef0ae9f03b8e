"""Photos read safely: any usual format to upright 8-bit RGB, with limits; and which photos of many are damaged."""

from __future__ import annotations

import io
import logging
import os
import struct
import threading
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, ImageOps
from PIL.ExifTags import Base

from scicevpr.config import Preprocessing
from scicevpr.errors import ImageError

FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "AVIF")  # no format that starts another program
READABLE = "JPEG, PNG, WebP, TIFF, BMP, GIF or PPM"
MAX_PIXELS = Preprocessing().max_pixels
ALPHA_MODES = ("LA", "La", "PA", "RGBA", "RGBa")
SIXTEEN_BIT_MODES = ("I;16", "I;16L", "I;16B", "I;16N")
PIXELS_AT_ONCE = 1 << 20
DEPTHS = (8, 10, 12, 14, *range(16, 33))
"""Bits that sensors and programs use; the smallest that holds all values of a photo is taken."""
TAIL = 1 << 16  # bytes at the end of a file in which its closing mark is looked for
CLOSING = {"JPEG": b"\xff\xd9", "MPO": b"\xff\xd9", "PNG": b"IEND"}
MOST_TOLD = 20

PhotoSource = str | Path | Image.Image | np.ndarray | bytes | BinaryIO
logger = logging.getLogger(__name__)
_told_depths: set[int] = set()
_header_lock = threading.Lock()  # silencing warnings is process-wide, so one thread at a time reads a header


def open_photo(source: PhotoSource, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Open a photo as an upright 8-bit RGB image.

    source: path, PIL image, array ([H, W] or [H, W, 1|2|3|4]: uint8, bool, uint16, or float in [0, 1]), encoded bytes
    or a binary file. The EXIF orientation is applied; transparency is laid on white; values of more than 8 bits are
    scaled by the bits they use, not clipped; of an animation the first picture is taken. The pixel limit is checked
    before anything is decoded.

    Raises ImageError, naming the photo and what to do, for everything that cannot be read.
    """
    if isinstance(source, np.ndarray):
        return _flatten(_from_array(source, max_pixels), "the array")
    name = photo_name(source)
    if isinstance(source, Image.Image):
        return _decode(source, name, max_pixels)
    with open_header(source, name) as image:  # closes the file, whatever happens
        return _decode(image, name, max_pixels)


def damaged_photos(paths: Iterable[Path | str], max_pixels: int = MAX_PIXELS) -> list[tuple[Path, str]]:
    """(photo, why) of every photo that is missing, empty, no photo, too large or cut off, in the order given. Only the
    header and the end of a file are read; a photo without the closing mark of its format is decoded."""
    found = []
    for path in dict.fromkeys(map(Path, paths)):
        try:
            _check(path, max_pixels)
        except ImageError as error:
            found.append((path, str(error)))
    return found


def require_sound(paths: Iterable[Path | str], max_pixels: int = MAX_PIXELS) -> None:
    """Raise ImageError that names all photos that cannot be read."""
    paths = list(paths)
    found = damaged_photos(paths, max_pixels)
    if len(found) == 1:
        raise ImageError(found[0][1])
    if found:
        told = "\n".join(reason for _, reason in found[:MOST_TOLD])
        more = f"\nand {len(found) - MOST_TOLD} more" if len(found) > MOST_TOLD else ""
        raise ImageError(
            f"{len(found)} of {len(paths)} photos cannot be read. Mend or remove them, or leave them out "
            f"(--leave-out-damaged):\n{told}{more}"
        )


def _check(path: Path, max_pixels: int) -> None:
    with open_header(path, str(path)) as image:
        kind = image.format
        check_pixels(image.size, str(path), max_pixels)
    mark = CLOSING.get(kind)
    if mark is not None:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(max(0, size - min(TAIL, size // 4 + 16)))  # not as far back as a small picture in the Exif data
            if mark in file.read():
                return
    open_photo(path, max_pixels)


def photo_name(source: Any) -> str:
    """How messages call a photo: its path, or "the photo"."""
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
        return _flatten(_upright(image), name)
    except (OSError, ValueError, SyntaxError, EOFError, IndexError, MemoryError, Image.DecompressionBombError) as error:
        raise ImageError(
            f"{name} could not be decoded ({error}). The file is probably damaged or cut short; copy it again or "
            "choose another photo."
        ) from error


def _upright(image: Image.Image) -> Image.Image:
    """Turned as its EXIF data say; unreadable EXIF data count as upright."""
    try:
        with _header_lock, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            orientation = image.getexif().get(Base.Orientation, 1)
        return ImageOps.exif_transpose(image) if orientation in range(2, 9) else image
    except (OSError, ValueError, SyntaxError, LookupError, TypeError, struct.error):
        return image


def _flatten(image: Image.Image, name: str) -> Image.Image:
    """Any mode to RGB: transparency on white, high bit depths scaled."""
    if image.mode in SIXTEEN_BIT_MODES or image.mode == "I":
        return Image.fromarray(_deep_range(np.asarray(image), name)).convert("RGB")
    if image.mode == "F":
        return Image.fromarray(_eight_bits(_float_range(np.asarray(image), name), 1.0)).convert("RGB")
    if image.mode in ALPHA_MODES or "transparency" in image.info:
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, layer).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


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
