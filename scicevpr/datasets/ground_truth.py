"""Ground truth in files: which database photos are right for each query, as CSV, JSON or npy."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from scicevpr.datasets.ground_truth_files import GroundTruth
from scicevpr.datasets.name_index import NameIndex
from scicevpr.datasets.names import Photo
from scicevpr.datasets.tables import column_names, read_rows
from scicevpr.errors import DatasetError
from scicevpr.files.reading import read_json
from scicevpr.files.safe_npy import read_npy

HEADER = ("query", "database")
ROW_NUMBER = re.compile(r"-?\d+")


def read_truth(path: Path | str, database: Sequence[Photo], queries: Sequence[Photo]) -> GroundTruth:
    """Positives from a file; database and queries in the order of the data set (sorted by path).

    .csv: ``query,database``, one pair a line (a header is optional), names or row numbers from 0; a query that does
    not occur has no positives. .json: {query name: [database names or rows]}, or a list with one list per query.
    .npy: one array of database rows per query, pairs [query row, rows] as in VPR-Bench, or a table of booleans
    [queries, database].

    Raises DatasetError, naming the file, for anything else: unknown names, rows out of range, another count.
    """
    path = Path(path)
    readers = {".csv": _from_csv, ".json": _from_json, ".npy": _from_npy}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise DatasetError(f"The ground truth {path} must be a .csv, .json or .npy file.")
    return listed_truth(path, reader(path, database, queries), len(database), len(queries), f"the list in {path.name}")


def listed_truth(path: Path, rows: Sequence[np.ndarray], database_count: int, query_count: int, words: str) -> GroundTruth:
    """Truth of one row list per query; DatasetError naming ``path`` when they do not fit the photos."""
    if len(rows) != query_count:
        raise DatasetError(
            f"{path} holds positives of {len(rows)} queries, but there are {query_count} query photos. Check that the "
            "file and the photos belong together and that no photo is missing."
        )
    for query, found in enumerate(rows):
        if len(found) and (found.min() < 0 or found.max() >= database_count):
            wrong = found.min() if found.min() < 0 else found.max()
            raise DatasetError(
                f"{path} names database row {wrong} for query {query}, but there are {database_count} database photos "
                "(rows count from 0). Check that the file and the photos belong together."
            )
    return GroundTruth.lists(rows, words)


def row_lists(path: Path, values: np.ndarray) -> list[np.ndarray]:
    """One int64 array per entry of an array [Q] of lists, [Q] or [Q, K] of integers. DatasetError for other content."""
    if values.ndim not in (1, 2):
        raise DatasetError(f"{path} has the shape {list(values.shape)}; one list of database rows per query is needed.")
    return [_integers(path, value, f"entry {number}") for number, value in enumerate(values)]


def pair_lists(path: Path, values: np.ndarray, query_count: int) -> list[np.ndarray]:
    """Row lists of VPR-Bench's array [N, 2]: query row, list of database rows; absent queries have none."""
    rows = [np.empty(0, dtype=np.int64) for _ in range(query_count)]
    for number, (query, found) in enumerate(values):
        index = _integers(path, query, f"entry {number}")
        if len(index) != 1 or not 0 <= index[0] < query_count:
            raise DatasetError(
                f"Entry {number} of {path} is about query {query}, but the {query_count} query photos have the rows 0 "
                f"to {query_count - 1}. Check that the file and the photos belong together."
            )
        rows[index[0]] = _integers(path, found, f"entry {number}")
    return rows


def _from_npy(path: Path, database: Sequence[Photo], queries: Sequence[Photo]) -> list[np.ndarray]:
    values = read_npy(path)
    if values.ndim == 2 and values.dtype == bool:
        if values.shape != (len(queries), len(database)):
            raise DatasetError(
                f"{path} is a table of {values.shape[0]} x {values.shape[1]}, but there are {len(queries)} queries "
                f"(its rows) and {len(database)} database photos (its columns)."
            )
        return [np.flatnonzero(row) for row in values]
    if values.ndim == 2 and values.shape[1] == 2 and values.dtype == object:
        return pair_lists(path, values, len(queries))
    return row_lists(path, values)


def _from_csv(path: Path, database: Sequence[Photo], queries: Sequence[Photo]) -> list[np.ndarray]:
    pairs = read_rows(path)
    if tuple(column_names(pairs[0])) == HEADER:
        pairs = pairs[1:]
    for number, pair in enumerate(pairs, 1):
        if len(pair) != 2:
            raise DatasetError(f"Pair {number} of {path} has {len(pair)} cells, not two: a query and a database photo.")
    query_rows = _rows(path, [query for query, _ in pairs], queries, "query photos")
    named = [(row, right) for row, (_, right) in zip(query_rows, pairs, strict=True) if right]
    return _grouped(named, _rows(path, [right for _, right in named], database, "database photos"), len(queries))


def _from_json(path: Path, database: Sequence[Photo], queries: Sequence[Photo]) -> list[np.ndarray]:
    if not path.is_file():
        raise DatasetError(f"There is no file {path}. Check the path.")
    content = read_json(path, DatasetError, "Write it as UTF-8 text.")
    if isinstance(content, dict):
        query_rows = _rows(path, list(content), queries, "query photos")
        lists = list(content.values())
    elif isinstance(content, list):
        query_rows, lists = list(range(len(content))), content
    else:
        content, query_rows, lists = None, [], []
    if content is None or not all(isinstance(found, list) for found in lists):
        raise DatasetError(f"{path} must hold {{query: [database, ...]}} or a list with one list per query.")
    if isinstance(content, list) and len(lists) != len(queries):
        return [np.empty(0, dtype=np.int64)] * len(lists)  # the count is wrong; `listed_truth` says so
    named = [(row, right) for row, found in zip(query_rows, lists, strict=True) for right in found]
    rows = _rows(path, [str(right) for _, right in named], database, "database photos")
    return _grouped(named, rows, len(queries))


def _rows(path: Path, names: Sequence[str], places: Sequence[Photo], what: str) -> list[int]:
    """Rows of photos given by name, or by row number where no photo carries the numbers as its name."""
    index = NameIndex(places, what)
    if names and all(ROW_NUMBER.fullmatch(name) for name in names) and not all(name in index for name in names):
        rows = [int(name) for name in names]
        wrong = next((row for row in rows if not 0 <= row < len(places)), None)
        if wrong is not None:
            raise DatasetError(f"{path} names row {wrong} of the {what}, but there are {len(places)}, counted from 0.")
        return rows
    return [index.row(name, path) for name in names]


def _grouped(pairs: Iterable[tuple[int, Any]], database_rows: Iterable[int], query_count: int) -> list[np.ndarray]:
    found: list[list[int]] = [[] for _ in range(query_count)]
    for (query, _), row in zip(pairs, database_rows, strict=True):
        found[query].append(row)
    return [np.array(rows, dtype=np.int64) for rows in found]


def _integers(path: Path, value: Any, where: str) -> np.ndarray:
    """A flat int64 array of a number, a list or an array of whole numbers (perhaps stored as floats)."""
    if (isinstance(value, np.ndarray) and value.dtype == object) or isinstance(value, (list, tuple)):
        parts = [_integers(path, item, where) for item in value]
        return np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)
    array = np.asarray([] if value is None else value).reshape(-1)
    if array.size == 0:
        return np.empty(0, dtype=np.int64)
    if array.dtype.kind not in "iuf" or not np.all(np.mod(array, 1) == 0):
        raise DatasetError(f"The {where} of {path} is {value!r}; rows of database photos (whole numbers) are needed.")
    return array.astype(np.int64)
