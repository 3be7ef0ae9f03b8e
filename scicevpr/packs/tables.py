"""The tables of a pack: photos as rows of a CSV file, listed positives, thumbnails, and the user's own photos for them.

Nothing is pickled.
"""

from __future__ import annotations

import csv
import math
import os
import unicodedata
from collections.abc import Callable, Sequence
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from scicevpr.datasets import Photo
from scicevpr.datasets.photos import EXTENSIONS, path_below
from scicevpr.errors import DatasetError
from scicevpr.files.photos import open_photo
from scicevpr.files.reading import safe_name

COLUMNS = ("row", "name", "file", "east", "north", "zone", "heading", "timestamp", "condition", "thumbnail")
"""name: the photo's base name; file: its path below the data set's folder; thumbnail: its path below the pack's."""
PHOTOS_A_FOLDER = 1000  # a Hub repository should not have more than 10,000 files in a folder
QUALITY = 85
MOST_FILES = 5_000_000  # that are looked through for photos by their names


def write_records(path: Path, photos: Sequence[Photo], root: Path, thumbnails: Sequence[str] | None) -> None:
    """Write photos as CSV in UTF-8, one row each; what is unknown is left empty. thumbnails: their files, or None."""
    with path.open("w", newline="", encoding="utf-8", errors="surrogateescape") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(COLUMNS)
        for row, photo in enumerate(photos):
            east, north = (repr(value) for value in photo.utm) if photo.utm else ("", "")
            heading = "" if photo.heading is None else repr(photo.heading)
            known = (photo.zone or "", heading, photo.timestamp or "", photo.condition or "")
            thumbnail = thumbnails[row] if thumbnails else ""
            writer.writerow((row, photo.name, _below(photo, root), east, north, *known, thumbnail))


def read_records(path: Path, count: int) -> tuple[list[Photo], list[str]]:
    """Read photos back, with their thumbnails ("" where there is none). A photo's path is the relative `file`. Raises
    DatasetError, naming the line, for anything that is not such a table of `count` rows."""
    photos: list[Photo] = []
    thumbnails: list[str] = []
    try:
        with path.open(newline="", encoding="utf-8", errors="surrogateescape") as stream:
            reader = csv.reader(stream, strict=True)
            if tuple(next(reader, ())) != COLUMNS:
                raise ValueError(f"its columns are not {', '.join(COLUMNS)}")
            for line in reader:
                photo, thumbnail = _photo(line, len(photos))
                photos.append(photo)
                thumbnails.append(thumbnail)
    except (ValueError, csv.Error) as error:
        raise DatasetError(f"{path}, record {len(photos)}: {error}. Get the pack again.") from error
    if len(photos) != count:
        raise DatasetError(f"{path} holds {len(photos)} records, but the pack says {count}. Get the pack again.")
    return photos, thumbnails


def write_positives(path: Path, listed: Sequence[np.ndarray]) -> None:
    """Write database rows per query: `rows` one after the other, `starts` [Q + 1] where each query's begin."""
    starts = np.cumsum([0, *(len(rows) for rows in listed)], dtype=np.int64)
    rows = np.concatenate([*listed, np.empty(0, np.int64)]).astype(np.int64)
    save_file({"rows": rows, "starts": starts}, path)


def read_positives(path: Path, queries: int, database: int) -> list[np.ndarray]:
    """Read what write_positives wrote. DatasetError when it does not fit the counts of photos."""
    try:
        tensors = load_file(path)
        rows, starts = tensors["rows"], tensors["starts"]
    except (SafetensorError, KeyError, OSError) as error:
        raise DatasetError(f"{path} is not a readable table of positives. Get the pack again.") from error
    shaped = rows.dtype == starts.dtype == np.int64 and rows.ndim == 1 and starts.shape == (queries + 1,)
    if not shaped or starts[0] != 0 or starts[-1] != len(rows) or (np.diff(starts) < 0).any():
        raise DatasetError(f"{path} does not list the positives of {queries} queries. Get the pack again.")
    if len(rows) and (rows.min() < 0 or rows.max() >= database):
        raise DatasetError(f"{path} names database rows outside 0..{database - 1}. Get the pack again.")
    return [rows[start:stop] for start, stop in pairwise(starts)]


def _below(photo: Photo, root: Path) -> str:
    return path_below(photo.path, root) or photo.name


def _photo(line: Sequence[str], row: int) -> tuple[Photo, str]:
    if len(line) != len(COLUMNS):
        raise ValueError(f"it has {len(line)} fields, not {len(COLUMNS)}")
    number, name, file, east, north, zone, heading, timestamp, condition, thumbnail = line
    if number != str(row):
        raise ValueError(f"it is numbered {number!r}")
    if thumbnail and not safe_name(thumbnail).startswith("thumbnails/"):
        raise ValueError(f"the thumbnail {thumbnail!r} is not in the folder thumbnails")
    if (east == "") != (north == ""):
        raise ValueError("it has one of east and north without the other")
    photo = Photo(
        path=Path(safe_name(file)),
        name=safe_name(name),
        utm=(_number(east), _number(north)) if east else None,
        zone=zone or None,
        heading=_number(heading) if heading else None,
        timestamp=timestamp or None,
        condition=condition or None,
    )
    return photo, thumbnail


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text!r} is not a finite number")
    return value


def write_thumbnails(
    folder: Path, part: str, photos: Sequence[Photo], pixels: int, progress: Callable[[int, int], None]
) -> list[str]:
    """Write JPEG copies of at most `pixels` a side, without the photos' metadata. Returns their names below `folder`.
    Raises ImageError, naming the photo, for one that cannot be read."""
    names = []
    for row, photo in enumerate(photos):
        name = f"thumbnails/{part}/{row // PHOTOS_A_FOLDER:04d}/{row:07d}.jpg"
        small = open_photo(photo.path)
        small.thumbnail((pixels, pixels))
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        small.save(folder / name, quality=QUALITY)
        names.append(name)
        progress(row + 1, len(photos))
    return names


class PhotoFolder:
    """The user's own copy of a data set: its root, or the folder of the split. DatasetError when it does not exist."""

    def __init__(self, folder: Path, split: str = "") -> None:
        if not folder.is_dir():
            raise DatasetError(f"The photo folder {folder} {'is a file' if folder.exists() else 'does not exist'}.")
        if split and (split in (".", "..") or not split.isprintable() or any(mark in split for mark in "/\\:")):
            raise DatasetError(f"The pack calls its split {split[:40]!r}, which is no name of a folder. Do not use it.")
        self.folder = folder
        self._roots = (folder, folder / "images" / split, folder / split)

    def find(self, photos: Sequence[Photo], otherwise: Sequence[Path]) -> tuple[list[Path], tuple[str, ...]]:
        """The file of every photo, else the path given `otherwise`; and a note if some are missing. A photo's path is
        relative to the data set; one elsewhere is known by its name, if that occurs once. Raises DatasetError when the
        folder holds none of them."""
        paths, missing = [], []
        for photo, other in zip(photos, otherwise, strict=True):
            own = (root / photo.path for root in self._roots)
            path = next((file for file in own if self._is_photo(file)), None) or self._by_name.get(
                unicodedata.normalize("NFC", photo.name)
            )
            if path is None:
                missing.append(photo)
            paths.append(path or other)
        if len(missing) == len(photos):
            raise DatasetError(
                f"{self.folder} holds none of the {len(photos)} photos of the pack; the first is {photos[0].path}. "
                "Name the folder of the data set."
            )
        if not missing:
            return paths, ()
        first = missing[0].path
        return paths, (f"{len(missing)} of {len(photos)} photos are not in {self.folder}, the first is {first}.",)

    def _is_photo(self, file: Path) -> bool:
        """True for a photo whose path leads into the folder; what the owner of the folder linked in it is followed."""
        inside = ".." not in file.parts[len(self.folder.parts) :] and file.is_relative_to(self.folder)
        return inside and file.name.lower().endswith(EXTENSIONS) and file.is_file()

    @cached_property
    def _by_name(self) -> dict[str, Path | None]:
        found: dict[str, Path | None] = {}
        seen = 0
        for folder, _, names in os.walk(self.folder):
            seen += 1 + len(names)
            if seen > MOST_FILES:
                raise DatasetError(
                    f"{self.folder} holds more than {MOST_FILES:,} files and folders. Name the folder of the data set."
                )
            for name in names:
                if name.lower().endswith(EXTENSIONS) and self._is_photo(Path(folder, name)):
                    key = unicodedata.normalize("NFC", name)
                    found[key] = None if key in found else Path(folder, name)
        return found
