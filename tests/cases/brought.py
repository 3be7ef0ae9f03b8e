"""Small inputs as people bring them, each after public reports; drawn anew in every test."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from scicevpr.datasets.zones import from_latitude_longitude


def picture(seed: int, size: tuple[int, int] = (96, 72)) -> Image.Image:
    """A street-like drawing, another one for every seed."""
    random = np.random.default_rng(seed)
    image = Image.new("RGB", size, tuple(random.integers(120, 230, 3).tolist()))
    draw, x = ImageDraw.Draw(image), 0
    while x < size[0]:
        wide, top = (int(random.integers(low, high)) for low, high in ((8, 24), (4, size[1] * 2 // 3)))
        draw.rectangle([x, top, x + wide, size[1] * 5 // 6], fill=tuple(random.integers(30, 220, 3).tolist()))
        x += wide
    return image


def put(path: Path, seed: int = 0, **save) -> Path:
    """Draw a photo into a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture(seed).save(path, **save)
    return path


def utm(latitude: float, longitude: float, zone: int) -> tuple[float, float]:
    """Metres east and north of a point, southern ones from 10,000 km."""
    east, north = from_latitude_longitude(latitude, longitude, zone)
    return east, north if latitude >= 0 else north + 1e7


def name(east: float, north: float, zone="", letter="", latitude="", longitude="", end=".jpg") -> str:
    """A file name of the field."""
    return f"@{east:010.2f}@{north:010.2f}@{zone}@{letter}@{latitude}@{longitude}@@@@@@@@@{end}"


def tree(root: Path) -> tuple[Path, Path]:
    """Folders of database and queries of a standard tree."""
    return root / "images/test/database", root / "images/test/queries"


def gps(latitude: float, longitude: float) -> Image.Exif:
    """Exif data with a position, as a camera writes it."""

    def degrees(value: float) -> tuple[float, float, float]:
        whole, rest = divmod(abs(value), 1)
        minutes, seconds = divmod(rest * 60, 1)
        return whole, minutes, round(seconds * 60, 4)

    exif = Image.Exif()
    block = exif.get_ifd(0x8825)
    block[1], block[2] = "N" if latitude >= 0 else "S", degrees(latitude)
    block[3], block[4] = "E" if longitude >= 0 else "W", degrees(longitude)
    return exif


def gps_without_seconds() -> bytes:
    """Exif data with degrees and minutes, and seconds of 0/0."""

    def directory(items: list[tuple[int, int, int, bytes]], at: int) -> bytes:
        data, body, off = b"", struct.pack(">H", len(items)), at + 2 + 12 * len(items) + 4
        for tag, kind, count, value in items:
            body += struct.pack(">HHI", tag, kind, count)
            body += value.ljust(4, b"\0") if len(value) <= 4 else struct.pack(">I", off + len(data))
            data += value if len(value) > 4 else b""
        return body + struct.pack(">I", 0) + data

    def numbers(*values: int) -> bytes:
        return struct.pack(f">{len(values)}I", *values)

    entries = [
        (1, 2, 2, b"N\0"), (2, 5, 3, numbers(51, 1, 28, 1, 0, 0)),
        (3, 2, 2, b"E\0"), (4, 5, 3, numbers(7, 1, 30, 1, 0, 0)),
    ]  # fmt: skip
    main = directory([(0x8825, 4, 1, struct.pack(">I", 8 + 18))], 8)
    return b"Exif\0\0MM\0*\0\0\0\x08" + main + directory(entries, 8 + 18)
