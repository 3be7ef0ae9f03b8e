"""CSV tables with a header, read as text, and the photos that their names mean.

Keys and coordinates must not be rounded or renamed on the way. Photos are found by base name, with or without
extension, or by the end of their path, compared in one Unicode form: macOS stores "ü" as two characters, a table typed
elsewhere holds one.
"""

from __future__ import annotations

import csv
import math
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from scicevpr.datasets.photos import Photo
from scicevpr.errors import DatasetError

MOST_BYTES = 256 * 2**20
DEPTH = 4  # path components that are compared at most: city/query/images/name.jpg
NAMES = {
    "lat": "latitude",
    "lon": "longitude",
    "lng": "longitude",
    "long": "longitude",
    "utm_east": "east",
    "utm_north": "north",
    "file": "name",
    "filename": "name",
    "file_name": "name",
    "image": "name",
    "photo": "name",
}
"""Other usual names of columns, with what they are called here."""

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""With what a spreadsheet begins a formula."""
PLAIN_NAME = re.compile(r"@-?[\d.]+@-?[\d.]+@[\w@. -]*")
"""A file name of the field's: two numbers first, and nothing that a formula could do something with."""


def read_rows(path: Path | str) -> list[list[str]]:
    """All rows of a CSV file as stripped text, empty ones left out. Cells may be separated by commas, semicolons or
    tabs, as spreadsheets of different countries write them; the first row tells.

    Raises DatasetError when the file is missing, empty, no UTF-8 text, or larger than MOST_BYTES.
    """
    path = Path(path)
    try:
        if path.stat().st_size > MOST_BYTES:
            raise DatasetError(f"{path} has {path.stat().st_size} bytes; a table has at most {MOST_BYTES}. Split it.")
        with path.open(encoding="utf-8-sig", newline="") as file:
            separator = _separator(file.readline())
            file.seek(0)
            rows = [[cell.strip() for cell in row] for row in csv.reader(file, delimiter=separator)]
    except FileNotFoundError as error:
        raise DatasetError(f"There is no file {path}. Check the path.") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{path} cannot be read as a CSV table ({error}). Save it as UTF-8 text.") from error
    rows = [row for row in rows if any(row)]
    if not rows:
        raise DatasetError(f"{path} is empty. Write a header and one row per photo or pair.")
    return rows


def read_table(path: Path | str, columns: Sequence[str], needed: str = "") -> list[dict[str, str]]:
    """The rows of a CSV file with a header, as {column: text}; ``columns`` must be among its columns.

    Columns are called as `column_names` says. needed: what an error says that is needed (default: the columns). Raises
    DatasetError as `read_rows`, and naming a missing or repeated column, or the first row of another length.
    """
    first, *rows = read_rows(path)
    header = column_names(first)
    repeated = next((name for name in header if name and header.count(name) > 1), None)
    if repeated is not None:
        raise DatasetError(f"{path} has the column {repeated!r} {header.count(repeated)} times; which one is meant?")
    missing = [column for column in columns if column not in header]
    if missing:
        raise DatasetError(
            f"{path} has no column {missing[0]!r}; its columns are {', '.join(filter(None, first))}. "
            f"Needed are {needed or ', '.join(columns)}."
        )
    for number, row in enumerate(rows, 2):
        if len(row) != len(header):
            raise DatasetError(f"Row {number} of {path} has {len(row)} cells, its header {len(header)}. Mend that row.")
    return [dict(zip(header, row, strict=True)) for row in rows]


def column_names(cells: Sequence[str]) -> list[str]:
    """What the columns of a header are called here: in small letters, without spaces around them, and by the names of
    NAMES where the table has no column of that name itself."""
    plain = [" ".join(cell.lower().split()) for cell in cells]
    known = [NAMES.get(name.replace(" ", "_"), name) for name in plain]
    return [own if name in plain else name for own, name in zip(plain, known, strict=True)]


def number_of(text: str) -> float:
    """A number as a table writes it, also with a decimal comma; NaN for anything else and for infinity."""
    plain = text.strip()
    if plain.count(",") == 1 and "." not in plain:
        plain = plain.replace(",", ".")
    try:
        value = float(plain) if "_" not in plain else math.nan
    except ValueError:
        return math.nan
    return value if math.isfinite(value) else math.nan


def _separator(line: str) -> str:
    """What separates the cells of a first line: what occurs most of comma, semicolon and tab outside quotes."""
    bare = "".join(line.split('"')[::2])
    return max(",;\t", key=bare.count)


def cell_text(value: Any) -> Any:
    """A value as it may stand in a CSV file: text that a spreadsheet would take for a formula gets an apostrophe. The
    field's file names (@east@north@…) begin with a sign of formulas and are none: they stay, so that they can be
    compared."""
    if not isinstance(value, str) or value[:1] not in FORMULA or PLAIN_NAME.fullmatch(value):
        return value
    return f"'{value}"


def kept_cell(text: str) -> str:
    """A text for a CSV file that is read again by `read_cell`: as `cell_text`, and nothing is lost."""
    return f"'{text}" if text.startswith(FORMULA) or _is_kept(text) else text


def read_cell(text: str) -> str:
    """What `kept_cell` was given."""
    return text[1:] if _is_kept(text) else text


def _is_kept(text: str) -> bool:
    return text.startswith("'") and text[1:].startswith((*FORMULA, "'"))


class NameIndex:
    """Row numbers of photos by name. ``what`` says in messages which photos these are, e.g. "query photos"."""

    def __init__(self, photos: Sequence[Photo], what: str) -> None:
        self.what = what
        self.count = len(photos)
        self._example = photos[0].name if photos else "none"
        self._rows: dict[str, list[int]] = {}
        for row, photo in enumerate(photos):
            for key in _keys(unicodedata.normalize("NFC", photo.path.as_posix())):
                self._rows.setdefault(key, []).append(row)

    def __contains__(self, text: str) -> bool:
        return self._found(text) != []

    def row(self, text: str, source: Path) -> int:
        """The row of the photo that ``source`` (a file) calls ``text``. DatasetError: no photo, or several."""
        found = self._found(text)
        if len(found) == 1:
            return found[0]
        if not found:
            raise DatasetError(
                f"{source} names {text!r}, which is not among the {self.count} {self.what} (they are called like "
                f"{self._example!r}). Write names as in the folders; upper and lower case count."
            )
        raise DatasetError(
            f"{source} names {text!r}, but {len(found)} of the {self.what} are called that. Write more of their path."
        )

    def _found(self, text: str) -> list[int]:
        parts = PurePosixPath(unicodedata.normalize("NFC", text).replace("\\", "/")).parts
        return self._rows.get("/".join(parts[-DEPTH:]), [])


def _keys(path: str) -> list[str]:
    parts = PurePosixPath(path).parts[-DEPTH:]
    ends = ["/".join(parts[start:]) for start in range(len(parts))]
    stem = PurePosixPath(path).stem
    return list(dict.fromkeys([*ends, *(end[: len(end) - len(parts[-1])] + stem for end in ends)]))
