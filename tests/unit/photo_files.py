"""Small photos on disk for the tests of data set readers."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from scicevpr.datasets import format_name


def photo(path: Path) -> Path:
    """A photo of 8 x 6 pixels; folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 6)).save(path, format="PNG" if path.suffix.lower() == ".png" else "JPEG")
    return path


def place(folder: Path, east: float, north: float = 4e6, zone: int | None = 32, **pieces) -> Path:
    """A photo that carries a position in its name."""
    letter = None if zone is None else "U"
    return photo(folder / format_name(east=east, north=north, zone_number=zone, zone_letter=letter, **pieces))


def stand_in(folder: Path, north: float, number: int) -> Path:
    """A photo with stand-in coordinates, as the downloader writes them for sets without positions."""
    return photo(folder / f"@0@{north:.1f}@@@@@{number}@@@@@@@@.jpg")
