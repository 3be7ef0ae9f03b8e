"""A data set: database and query photos with the rule that says which answers are right; what is asked of a reader."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from scicevpr.datasets.ground_truth import GroundTruth
from scicevpr.datasets.photos import Photo

BY_PATH = "by path"
SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Dataset:
    """Database and query photos, each sorted by path (the order decides which photos share a batch).

    notes: sentences a reader of the results should see (several zones, missing positions, stand-in coordinates).
    use_labels: False when ground truth is to be ignored. query_order: as the protocol says it, which also names a
    selection of queries. truth: which answers are right. benchmark: key of the published benchmark that this is (see
    `scicevpr.datasets.catalogue`), or None. layout: which of `scicevpr.datasets.readers.READERS` read it, or "".
    """

    name: str
    split: str
    root: Path
    database: tuple[Photo, ...]
    queries: tuple[Photo, ...]
    notes: tuple[str, ...] = ()
    use_labels: bool = True
    query_order: str = BY_PATH
    truth: GroundTruth = field(default_factory=GroundTruth)
    benchmark: str | None = None
    layout: str = ""

    @classmethod
    def open(cls, folder: Path | str, split: str = "test", **options: Any) -> Dataset:
        """Read a data set folder of any known layout; options and errors as in `read_dataset`."""
        from scicevpr.datasets.readers import read_dataset  # the readers themselves make data sets

        return read_dataset(folder, split, **options)

    @property
    def labelled(self) -> bool:
        """True when answers can be called right or wrong: positives are listed, or every photo has a position."""
        return self.use_labels and (self.truth.listed is not None or self.positioned)

    @property
    def positioned(self) -> bool:
        """True when every photo has a position (perhaps a stand-in one)."""
        return all(photo.utm is not None for photo in (*self.database, *self.queries))

    @property
    def has_map(self) -> bool:
        """True when the positions are real ones that may be drawn (stand-in coordinates may not)."""
        photos = (*self.database, *self.queries)
        return self.use_labels and self.positioned and not any(photo.mock_position for photo in photos)

    @property
    def drawn(self) -> bool:
        """True for ProCity: its positions are exact, but of a city that does not exist."""
        tables = (self.root / "procity.csv", self.root / "images" / self.split / "procity.csv")
        return self.name.lower().startswith("procity") or any(table.is_file() for table in tables)

    def positives(self, radius: float | None = None, rounding: str = "float64") -> list[np.ndarray]:
        """As `GroundTruth.positives`; ``radius`` (metres) replaces the data set's own."""
        return self.truth.positives(self.database, self.queries, radius, rounding)

    @property
    def conditions(self) -> list[str]:
        """Conditions of the queries, in order of first appearance; queries without one are left out."""
        return list(dict.fromkeys(photo.condition for photo in self.queries if photo.condition))

    def select_queries(self, rows: Sequence[int] | np.ndarray, order: str) -> Dataset:
        """The same data set with these query rows, in this order; ``order`` becomes the query order of the protocol."""
        truth = self.truth
        if truth.listed is not None:
            truth = replace(truth, listed=tuple(truth.listed[row] for row in rows))
        queries = tuple(self.queries[row] for row in rows)
        return replace(self, queries=queries, truth=truth, query_order=order)

    def with_photos(self, photos: Sequence[Photo]) -> Dataset:
        """The same data set with other records of its photos: the database's, then the queries'."""
        count = len(self.database)
        return replace(self, database=tuple(photos[:count]), queries=tuple(photos[count:]))

    def without_photos(self, paths: Collection[Path]) -> Dataset:
        """The same data set without these photos, and with a note that they were left out."""
        kept = {
            part: [row for row, photo in enumerate(getattr(self, part)) if photo.path not in paths]
            for part in ("database", "queries")
        }
        gone = len(self.database) + len(self.queries) - sum(map(len, kept.values()))
        if not gone:
            return self
        truth = self.truth
        if truth.listed is not None:
            new = np.full(len(self.database), -1, np.int64)
            new[kept["database"]] = np.arange(len(kept["database"]))
            listed = (new[truth.listed[row]] for row in kept["queries"])
            truth = replace(truth, listed=tuple(rows[rows >= 0] for rows in listed))
        note = f"{gone} damaged photos were left out, so this is not the whole data set."
        database, queries = (tuple(getattr(self, part)[row] for row in rows) for part, rows in kept.items())
        return replace(self, database=database, queries=queries, truth=truth, notes=(*self.notes, note))

    def shuffle_queries(self, seed: int) -> Dataset:
        """The same data set with its queries in a random order: others share a batch, which cross-image models feel."""
        rows, order = np.random.default_rng(seed).permutation(len(self.queries)), f"shuffled with seed {seed}"
        return self.select_queries(rows, order if self.query_order == BY_PATH else f"{self.query_order}, {order}")


@dataclass(frozen=True)
class Request:
    """root: the folder. split: train, val, test, or what else the layout knows. queries: which folder or set of
    queries; None when only the database is wanted. labels: whether the layout's own ground truth is wanted. images:
    the folder that paths in tables start from, or None to look for it. every_query: the caller chooses among all.
    """

    root: Path
    split: str = "test"
    queries: str | None = "queries"
    labels: bool = True
    images: Path | None = None
    every_query: bool = False


@dataclass(frozen=True)
class Reader:
    """A folder layout. looks_like: how, in words (SPLIT stands for the split). recognises: is (folder, split) of it?
    read: gives the photos sorted by path, the positives that the layout itself states, and its notes; what holds for
    all layouts (positions, tables, checks) is done afterwards by `scicevpr.datasets.ground_truth_files`.
    """

    looks_like: str
    recognises: Callable[[Path, str], bool]
    read: Callable[[Request], Dataset]
