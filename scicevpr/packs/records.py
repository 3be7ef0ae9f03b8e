"""The tables of a pack: photos as rows of a CSV file, and listed positives. Nothing is pickled."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from scicevpr.datasets import Photo
from scicevpr.datasets.photos import path_below
from scicevpr.errors import DatasetError
from scicevpr.packs.manifest import safe_name

COLUMNS = ("row", "name", "file", "east", "north", "zone", "heading", "timestamp", "condition", "thumbnail")
"""name: the photo's base name; file: its path below the data set's folder; thumbnail: its path below the pack's."""


def write_records(path: Path, places: Sequence[Photo], root: Path, thumbnails: Sequence[str] | None) -> None:
    """Write places as CSV in UTF-8, one row each; what is unknown is left empty. thumbnails: their files, or None."""
    with path.open("w", newline="", encoding="utf-8", errors="surrogateescape") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(COLUMNS)
        for row, place in enumerate(places):
            east, north = (repr(value) for value in place.utm) if place.utm else ("", "")
            heading = "" if place.heading is None else repr(place.heading)
            known = (place.zone or "", heading, place.timestamp or "", place.condition or "")
            thumbnail = thumbnails[row] if thumbnails else ""
            writer.writerow((row, place.name, _below(place, root), east, north, *known, thumbnail))


def read_records(path: Path, count: int) -> tuple[list[Photo], list[str]]:
    """Read places back, with their thumbnails ("" where there is none). A place's path is the relative `file`.

    Raises DatasetError, naming the line, for anything that is not such a table of `count` rows.
    """
    places, thumbnails = [], []
    try:
        with path.open(newline="", encoding="utf-8", errors="surrogateescape") as stream:
            reader = csv.reader(stream, strict=True)
            if tuple(next(reader, ())) != COLUMNS:
                raise ValueError(f"its columns are not {', '.join(COLUMNS)}")
            for line in reader:
                place, thumbnail = _place(line, len(places))
                places.append(place)
                thumbnails.append(thumbnail)
    except (ValueError, csv.Error) as error:
        raise DatasetError(f"{path}, record {len(places)}: {error}. Get the pack again.") from error
    if len(places) != count:
        raise DatasetError(f"{path} holds {len(places)} records, but the pack says {count}. Get the pack again.")
    return places, thumbnails


def write_positives(path: Path, listed: Sequence[np.ndarray]) -> None:
    """Write database rows per query: `rows` one after the other, `starts` [Q + 1] where each query's begin."""
    from safetensors.numpy import save_file

    starts = np.cumsum([0, *(len(rows) for rows in listed)], dtype=np.int64)
    rows = np.concatenate([*listed, np.empty(0, np.int64)]).astype(np.int64)
    save_file({"rows": rows, "starts": starts}, path)


def read_positives(path: Path, queries: int, database: int) -> list[np.ndarray]:
    """Read what write_positives wrote. DatasetError when it does not fit the counts of photos."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

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


def _below(place: Photo, root: Path) -> str:
    return path_below(place.path, root) or place.name


def _place(line: Sequence[str], row: int) -> tuple[Photo, str]:
    if len(line) != len(COLUMNS):
        raise ValueError(f"it has {len(line)} fields, not {len(COLUMNS)}")
    number, name, file, east, north, zone, heading, timestamp, condition, thumbnail = line
    if number != str(row):
        raise ValueError(f"it is numbered {number!r}")
    if thumbnail and not safe_name(thumbnail).startswith("thumbnails/"):
        raise ValueError(f"the thumbnail {thumbnail!r} is not in the folder thumbnails")
    if (east == "") != (north == ""):
        raise ValueError("it has one of east and north without the other")
    place = Photo(
        path=Path(safe_name(file)),
        name=safe_name(name),
        utm=(_number(east), _number(north)) if east else None,
        zone=zone or None,
        heading=_number(heading) if heading else None,
        timestamp=timestamp or None,
        condition=condition or None,
    )
    return place, thumbnail


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text!r} is not a finite number")
    return value
