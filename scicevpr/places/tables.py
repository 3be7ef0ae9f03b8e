"""CSV tables with a header, read as text: keys and coordinates must not be rounded or renamed on the way."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scicevpr.errors import DatasetError

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""With what a spreadsheet begins a formula."""


def read_rows(path: Path | str) -> list[list[str]]:
    """All rows of a CSV file as stripped text, empty ones left out.

    Raises DatasetError when the file is missing, empty, or no UTF-8 text.
    """
    path = Path(path)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = [[cell.strip() for cell in row] for row in csv.reader(file)]
    except FileNotFoundError as error:
        raise DatasetError(f"There is no file {path}. Check the path.") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{path} cannot be read as a CSV table ({error}). Save it as UTF-8 text.") from error
    rows = [row for row in rows if any(row)]
    if not rows:
        raise DatasetError(f"{path} is empty. Write a header and one row per photo or pair.")
    return rows


def read_table(path: Path | str, columns: Sequence[str]) -> list[dict[str, str]]:
    """The rows of a CSV file with a header, as {column: text}; ``columns`` must be among its columns.

    Raises DatasetError as `read_rows`, and naming the missing column or the first row of another length.
    """
    header, *rows = read_rows(path)
    missing = [column for column in columns if column not in header]
    if missing:
        raise DatasetError(
            f"{path} has no column {missing[0]!r}; its columns are {', '.join(filter(None, header))}. "
            f"Needed are {', '.join(columns)}."
        )
    for number, row in enumerate(rows, 2):
        if len(row) != len(header):
            raise DatasetError(f"Row {number} of {path} has {len(row)} cells, its header {len(header)}. Mend that row.")
    return [dict(zip(header, row, strict=True)) for row in rows]


def cell_text(value: Any) -> Any:
    """A value as it may stand in a CSV file: text that a spreadsheet would take for a formula gets an apostrophe."""
    return f"'{value}" if isinstance(value, str) and value[:1] in FORMULA else value
