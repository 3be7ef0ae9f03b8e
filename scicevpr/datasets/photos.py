"""Photos: the records, the file names that carry their positions, and which files of a folder they are.

The field writes the position of every photo into its file name, as sixteen pieces between "@" signs:

    @east@north@zone number@zone letter@latitude@longitude@pano id@tile@heading@pitch@roll@height@timestamp@note@.jpg

Only east and north are needed; every other piece may be empty or missing. Only the base name is read, so folders may
contain "@" as well. Source: the VPR-datasets-downloader convention, used by every UTM data set of the field.
"""

from __future__ import annotations

import math
import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from scicevpr.errors import DatasetError, UsageError

PIECES = (
    "prefix",
    "east",
    "north",
    "zone_number",
    "zone_letter",
    "latitude",
    "longitude",
    "pano_id",
    "tile",
    "heading",
    "pitch",
    "roll",
    "height",
    "timestamp",
    "note",
    "extension",
)
TIMESTAMP = re.compile(r"\d{4}(\d{2}(\d{2}(_\d{2}(\d{2}(\d{2})?)?)?)?)?")
EXTENSIONS = (
    ".jpg",
    ".jpeg",
    ".jpe",
    ".jfif",
    ".png",
    ".webp",
    ".tif",
    ".tiff",
    ".bmp",
    ".gif",
    ".ppm",
    ".pgm",
    ".avif",
)
UNREADABLE = (".heic", ".heif", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".jp2", ".jxl")
"""Photos that are not read here: they have to be saved as JPEG first."""


@dataclass(frozen=True)
class Photo:
    """One photo and what its file name says about it.

    path: the file. name: its base name. utm: (east, north) in metres, or None when the name carries no position.
    zone: UTM zone such as "32U", or None. heading: degrees clockwise from north, or None. timestamp:
    YYYY[MM[DD[_hh[mm[ss]]]]], or None. condition: the note of the name ("night", "rain", ...), or None.
    """

    path: Path
    name: str
    utm: tuple[float, float] | None = None
    zone: str | None = None
    heading: float | None = None
    timestamp: str | None = None
    condition: str | None = None

    @property
    def mock_position(self) -> bool:
        """True for stand-in coordinates (east 0 and no zone), as in Nordland, SPED and AmsterTime: not for a map."""
        return self.utm is not None and self.utm[0] == 0.0 and self.zone is None


def parse_name(path: Path | str) -> Photo:
    """Read a photo's file name into a Photo. Never fails: what is missing or unreadable becomes None."""
    path = Path(path)
    pieces = path.name.split("@")
    if len(pieces) < 4:  # the shortest form is "@east@north@.jpg"
        return Photo(path=path, name=path.name)
    fields = dict(zip(PIECES, pieces[:-1], strict=False))  # the last piece is the extension, wherever it stands
    east, north = _number(fields.get("east")), _number(fields.get("north"))
    zone = fields.get("zone_number", "").strip() + fields.get("zone_letter", "").strip()
    return Photo(
        path=path,
        name=path.name,
        utm=None if east is None or north is None else (east, north),
        zone=zone or None,
        heading=_number(fields.get("heading")),
        timestamp=fields.get("timestamp", "").strip() or None,
        condition=fields.get("note", "").strip() or None,
    )


def degrees_in_name(name: str) -> tuple[float, float] | None:
    """Latitude and longitude that a base name states beside its position, None where it does not."""
    pieces = name.split("@")
    if len(pieces) < 8:
        return None
    latitude, longitude = _number(pieces[5]), _number(pieces[6])
    if latitude is None or longitude is None or abs(latitude) > 90 or abs(longitude) > 180:
        return None
    return latitude, longitude


def position_problem(name: str) -> str:
    """Why a base name carries no position, in words for an error message."""
    pieces = name.split("@")
    if len(pieces) < 4:
        return "it has no @east@north@ in it" if len(pieces) == 1 else f"it has only {len(pieces) - 1} @ signs"
    for what, text in zip(("east", "north"), pieces[1:3], strict=True):
        if _number(text) is None:
            return f"its {what} is {text!r}, which is no number"
    return "its position is readable"


def format_name(
    *,
    east: float,
    north: float,
    zone_number: int | str | None = None,
    zone_letter: str | None = None,
    latitude: float | None = None,
    longitude: float | None = None,
    pano_id: str | int | None = None,
    tile: int | None = None,
    heading: float | None = None,
    pitch: float | None = None,
    timestamp: str | None = None,
    note: str | None = None,
    extension: str = ".jpg",
) -> str:
    """Write the file name of a photo: the opposite of parse_name.

    Metres with 7 + 2 digits, latitude 3 + 5, longitude 4 + 5, heading and pitch as whole degrees with 3 digits,
    timestamp YYYY[MM[DD[_hh[mm[ss]]]]]. None leaves a piece empty; roll and height are always empty.

    Raises UsageError when a piece contains "@", a path separator or a line break, when a number is not finite, or
    when the timestamp has another form.
    """
    if timestamp and not TIMESTAMP.fullmatch(str(timestamp)):
        raise UsageError(f"The timestamp {timestamp!r} does not have the form YYYYMMDD_hhmmss.")
    pieces = [
        "",
        _digits(east, "east", "010.2f"),
        _digits(north, "north", "010.2f"),
        "" if zone_number in (None, "") else f"{int(zone_number):02d}",
        zone_letter or "",
        _digits(latitude, "latitude", "09.5f"),
        _digits(longitude, "longitude", "010.5f"),
        "" if pano_id is None else str(pano_id),
        "" if tile is None else f"{int(tile):02d}",
        _degrees(heading, "heading", wrap=True),
        _degrees(pitch, "pitch", wrap=False),
        "",
        "",
        str(timestamp or ""),
        note or "",
        extension,
    ]
    for name, piece in zip(PIECES, pieces, strict=True):
        if re.search(r"[@/\\\r\n\0]", piece):
            raise UsageError(f"The {name} {piece!r} of a file name may not contain '@', '/', '\\' or a line break.")
    return "@".join(pieces)


def _number(text: str | None) -> float | None:
    try:
        value = math.nan if text is None else float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _digits(value: float | None, name: str, form: str) -> str:
    if value is None:
        return ""
    if not math.isfinite(value):
        raise UsageError(f"The {name} of a file name must be a finite number, not {value}.")
    return format(float(value), form)


def _degrees(value: float | None, name: str, *, wrap: bool) -> str:
    text = _digits(value, name, "03.0f")
    return f"{int(text) % 360:03d}" if wrap and text else text


# ---- photos in folders -----------------------------------------------------------------------------------------------


def list_photos(folder: Path | str) -> list[Path]:
    """All photos (EXTENSIONS, any case) below a folder, sorted by path; linked folders are followed. DatasetError when
    it is missing, holds no photos, or a link to a photo that is not there."""
    folder = Path(folder)
    if not folder.exists():
        where = f" (a link to {os.readlink(folder)})" if folder.is_symlink() else ""
        raise DatasetError(f"The folder {folder}{where} does not exist.")
    if not folder.is_dir():
        raise DatasetError(f"{folder} is a file; a folder with photos was expected.")
    photos = sorted((Path(path) for path in _walk(folder)), key=str)
    if not photos:
        raise DatasetError(
            f"{folder} holds no photos: looked for {', '.join(EXTENSIONS)} there and in its subfolders, "
            f"found {listing(folder)}. {left_out_note(folder)}".rstrip()
        )
    return photos


def left_out_note(*folders: Path) -> str:
    """A sentence about photos below folders that are of a type that cannot be read; empty where there are none."""
    found = Counter(
        Path(name).suffix.lower()
        for folder in folders
        for _, _, names in os.walk(folder, followlinks=False)
        for name in names
        if not name.startswith(".") and name.lower().endswith(UNREADABLE)
    )
    if not found:
        return ""
    types = ", ".join(f"{count} {ending[1:].upper()}" for ending, count in sorted(found.items()))
    return f"{found.total()} files were left out, because their type is not read: {types}. Save them as JPEG."


def listing(folder: Path) -> str:
    """What a folder holds, in words for an error message."""
    names = sorted(path.name + ("/" if path.is_dir() else "") for path in folder.iterdir())
    if not names:
        return "an empty folder"
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")


def path_below(path: Path, root: Path) -> str | None:
    """A photo's path within a folder, with forward slashes, however both were written (relative, absolute, through a
    link); None where it lies elsewhere."""
    own, base = Path(os.path.abspath(path)), Path(os.path.abspath(root))
    if not own.is_relative_to(base):
        own, base = Path(os.path.realpath(own.parent), own.name), Path(os.path.realpath(base))
    return own.relative_to(base).as_posix() if own.is_relative_to(base) else None


def _walk(folder: Path) -> Iterator[str]:
    seen = set()  # real folders; a link back to a parent must not be walked for ever
    for base, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(base)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        for name in files:
            if name.startswith(".") or not name.lower().endswith(EXTENSIONS):
                continue
            path = os.path.join(base, name)
            if os.path.islink(path) and not os.path.exists(path):
                raise DatasetError(
                    f"{path} is a link to {os.readlink(path)}, which does not exist. Download or mount the photos it "
                    "points to, or remove the link."
                )
            yield path
