"""Right answers from elsewhere than the data set: files of positives, options, lists of queries; checks and notes."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from scicevpr.datasets.dataset import BY_PATH, Dataset
from scicevpr.datasets.ground_truth import GroundTruth, frames_truth
from scicevpr.datasets.photos import Photo
from scicevpr.datasets.positions import (
    check_positions,
    missing_positions,
    position_notes,
    stand_in_rule,
    with_positions,
)
from scicevpr.datasets.tables import NameIndex, column_names, read_rows
from scicevpr.datasets.zones import in_one_zone
from scicevpr.errors import DatasetError, UsageError
from scicevpr.files.reading import read_json, read_npy

HEADER = ("query", "database")
ROW_NUMBER = re.compile(r"-?\d+")


@dataclass(frozen=True)
class GroundTruthOptions:
    """Where right answers come from when not from the data set itself; at most one of the first three.

    ground_truth: a file as for `read_truth`. frames: a query is right with the database frames of its own
    number, so many more or less (see `frames_truth`). same_name: photos of the same base name (without
    extension) show the same place. positions: a CSV as for `positions.with_positions`, instead of the names.
    query_list: a file that names the queries to use.
    """

    ground_truth: Path | str | None = None
    frames: int | None = None
    same_name: bool = False
    positions: Path | str | None = None
    query_list: Path | str | None = None

    @property
    def elsewhere(self) -> bool:
        """True when the data set's own ground truth is not needed."""
        return bool(self._positives or self.positions)

    @property
    def _positives(self) -> list[str]:
        chosen = {
            "--ground-truth": self.ground_truth is not None,
            "--frames": self.frames is not None,
            "--same-name": self.same_name,
        }
        return [option for option, given in chosen.items() if given]

    def check(self, labels: bool) -> None:
        """Raise UsageError for choices that contradict each other."""
        named = self._positives
        if len(named) > 1:
            raise UsageError(f"{' and '.join(named)} both say what is right; give one of them.")
        if not labels and (named or self.positions):
            raise UsageError(f"--no-labels ignores what is right, so leave out {named[0] if named else '--positions'}.")
        if self.frames is not None and self.frames < 0:
            raise UsageError(f"The number of frames must be 0 or more, not {self.frames}.")


def with_ground_truth(dataset: Dataset, options: GroundTruthOptions) -> Dataset:
    """A data set with its rule of right and wrong, checked, and with notes about its positions. DatasetError when
    labels are wanted and there are none, or when a file does not fit the photos."""
    notes = list(dataset.notes)
    if options.positions is not None:
        placed, note = with_positions(options.positions, dataset.database, dataset.queries)
        dataset = dataset.with_photos(placed)
        notes.append(note)
    truth = _chosen_truth(dataset, options)
    if dataset.use_labels:
        photos: Sequence[Photo] = (*dataset.database, *dataset.queries)
        problem = missing_positions(photos)
        if problem and truth.listed is None:
            raise DatasetError(
                f"{problem} Without positions nothing can be scored: name a table of positions (--positions), a list "
                "of right answers (--ground-truth, --frames, --same-name), or use --no-labels (labels=False) for "
                "predictions only."
            )
        check_positions(photos)
        photos, moved = in_one_zone(photos)
        notes += [*moved, *position_notes(photos)]
        dataset = dataset.with_photos(photos)
        if truth.listed is None and not truth.name:
            truth = replace(truth, name=stand_in_rule(photos, truth.radius))
    dataset = replace(dataset, truth=truth, notes=tuple(notes))
    return dataset if options.query_list is None else _select(dataset, Path(options.query_list))


def _chosen_truth(dataset: Dataset, options: GroundTruthOptions) -> GroundTruth:
    database, queries = dataset.database, dataset.queries
    if options.ground_truth is not None:
        return read_truth(options.ground_truth, database, queries)
    if options.frames is not None:
        return frames_truth(database, queries, options.frames)
    if not options.same_name:
        return dataset.truth
    stems, query_stems = ([unicodedata.normalize("NFC", photo.path.stem) for photo in p] for p in (database, queries))
    rows: dict[str, list[int]] = {}
    for row, stem in enumerate(stems):
        rows.setdefault(stem, []).append(row)
    found = [rows.get(stem, []) for stem in query_stems]
    if not any(found):
        raise DatasetError(
            f"No query has the name of a database photo (queries are called like {queries[0].name}, database photos "
            f"like {database[0].name}). If both are sorted alike, --frames 0 pairs them by row."
        )
    return GroundTruth.lists(found, "photos of the same name")


def _select(dataset: Dataset, path: Path) -> Dataset:
    """The queries that a file names: a text file with one name a line, or .npy of names or rows.

    Row numbers of `<set>_qIdx.npy` count in `<set>_qImages.npy` beside it where there is one, else in the queries
    sorted by path.
    """
    names: Sequence[str] | None = None
    rows: list[int] = []
    if path.suffix == ".npy":
        values = read_npy(path).reshape(-1)
        images = path.with_name(path.name.replace("_qIdx", "_qImages"))
        if values.dtype.kind in "iu" and images != path and images.is_file():
            listed = read_npy(images)
            if len(values) and not 0 <= values.min() <= values.max() < len(listed):
                raise DatasetError(f"{path} names row {values.max()}, but {images.name} has {len(listed)} entries.")
            names = [str(name) for name in listed[values]]
        elif values.dtype.kind in "iu":
            rows = [int(value) for value in values]
        else:
            names = [str(value) for value in values]
    else:
        try:
            names = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        except (OSError, UnicodeDecodeError) as error:
            raise DatasetError(f"The query list {path} cannot be read ({error}).") from error
    if names is not None:
        index = NameIndex(dataset.queries, "query photos")
        rows = [index.row(name, path) for name in names]
    if not rows or not 0 <= min(rows) <= max(rows) < len(dataset.queries):
        raise DatasetError(
            f"The query list {path} names {len(rows)} queries"
            + (f" and row {max(rows)}" if rows else "")
            + f"; there are {len(dataset.queries)} queries (rows count from 0)."
        )
    kept = np.unique(rows)  # in the order of the data set, whatever the order of the list
    return dataset.select_queries(kept, f"{BY_PATH}, {len(kept)} of {len(dataset.queries)} as listed in {path.name}")


# ---- files of positives ----------------------------------------------------------------------------------------------


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


def listed_truth(
    path: Path, rows: Sequence[np.ndarray], database_count: int, query_count: int, name: str
) -> GroundTruth:
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
    return GroundTruth.lists(rows, name)


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


def _rows(path: Path, names: Sequence[str], photos: Sequence[Photo], what: str) -> list[int]:
    """Rows of photos given by name, or by row number where no photo carries the numbers as its name."""
    index = NameIndex(photos, what)
    if names and all(ROW_NUMBER.fullmatch(name) for name in names) and not all(name in index for name in names):
        rows = [int(name) for name in names]
        wrong = next((row for row in rows if not 0 <= row < len(photos)), None)
        if wrong is not None:
            raise DatasetError(f"{path} names row {wrong} of the {what}, but there are {len(photos)}, counted from 0.")
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
