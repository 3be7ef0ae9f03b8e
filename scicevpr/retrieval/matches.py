"""What every index can do and what a search gives: rows of the database, nearest first, or records about photos.

The last word of every search is here too: descriptors of candidate rows compared with the query in double precision.
Exact search, int8 search and IVF-PQ all end in it, so equal candidates get equal numbers, bit for bit, in the same
order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from scicevpr.datasets import Photo, distances
from scicevpr.datasets.ground_truth import DEFAULT_RADIUS
from scicevpr.errors import IndexMismatchError, UsageError
from scicevpr.retrieval.rows import check_finite, in_single, rows_as_stored, shape_of


@dataclass(frozen=True)
class Matches:
    """Ranked database rows of Q queries, nearest first.

    indices [Q, K] int64 (-1 where the database has fewer than K rows), distances [Q, K] float32 (squared L2, infinite
    at -1), similarities [Q, K] float32 (cosine, NaN at -1).
    """

    indices: np.ndarray
    distances: np.ndarray
    similarities: np.ndarray


@dataclass(frozen=True)
class Match:
    """One answer to one query. metres and correct are None when a position is unknown."""

    rank: int
    row: int
    photo: Photo
    similarity: float
    metres: float | None
    correct: bool | None


def list_matches(
    matches: Matches, database: Sequence[Photo], queries: Sequence[Photo], radius: float | None = None
) -> list[list[Match]]:
    """Turn matches [Q, K] into one list of Match records per query; rows of -1 are left out. correct means: the
    positions lie within `radius` metres (inclusive; default 25). Raises UsageError when counts do not fit."""
    if len(matches.indices) != len(queries) or matches.indices.max(initial=-1) >= len(database):
        raise UsageError(
            f"The matches ({len(matches.indices)} queries, rows up to {matches.indices.max(initial=-1)}) do not belong "
            f"to {len(queries)} queries and {len(database)} database photos."
        )
    radius = DEFAULT_RADIUS if radius is None else radius
    metres = distances(database, queries, matches.indices)
    answers = []
    for index in range(len(queries)):
        answer = []
        for column, row in enumerate(matches.indices[index]):
            if row < 0:
                continue
            known = np.isfinite(metres[index, column])
            answer.append(
                Match(
                    rank=column + 1,
                    row=int(row),
                    photo=database[row],
                    similarity=float(matches.similarities[index, column]),
                    metres=float(metres[index, column]) if known else None,
                    correct=bool(metres[index, column] <= radius) if known else None,
                )
            )
        answers.append(answer)
    return answers


@runtime_checkable
class Index(Protocol):
    """Database descriptors that can be searched. Rows are numbered from 0 in the order in which they were given.

    Descriptors need not be normalised; "nearest" is by squared L2 distance, which orders unit vectors as the cosine
    does.
    """

    def __len__(self) -> int:
        """Rows that can be found (N)."""
        ...

    @property
    def dimension(self) -> int:
        """D."""
        ...

    @property
    def label(self) -> str:
        """How it searches, for a protocol: ``"exact, float32"``."""
        ...

    def metadata(self) -> dict[str, str]:
        """What is worth showing about it, by title: "rows", "in memory", "on disk", and for an approximate search
        "agreement with exact search" as it was measured when the index was built."""
        ...

    def search(self, queries: Any, k: int) -> Matches:
        """The k nearest database rows of queries [Q, D], nearest first, equal distances by row number.

        queries: float32, or what becomes float32 without loss of meaning (float16, float64). The answer has indices [Q,
        k] int64, distances [Q, k] float32 (squared L2) and similarities [Q, k] float32 (cosine), all of the full
        descriptors; where there are fewer than k rows it is padded with -1, infinity and NaN. Raises IndexMismatchError
        when D differs from the database's, UsageError when k is below 1 or a value is not finite.
        """
        ...


ROWS_AT_ONCE = 1024
ROWS_COMPARED = 16  # in double precision: as many as stay in the processor's cache


def check_search(queries: Any, dimension: int, k: int) -> int:
    """Number of queries [Q, D]. Raises IndexMismatchError for another D, UsageError for k < 1 or values that are not
    finite."""
    count, width = shape_of(queries, "query descriptors")
    if width != dimension:
        raise IndexMismatchError(
            f"The queries have {width} dimensions, the database {dimension}. Describe both with the same model and the "
            "same PCA."
        )
    if k < 1:
        raise UsageError(f"The number of matches must be at least 1, not {k}.")
    check_finite(queries, "query descriptors")
    return count


def empty_matches(count: int, k: int) -> Matches:
    """Matches [Q, K] that hold nothing yet: -1, infinity, NaN."""
    return Matches(
        indices=np.full((count, k), -1, dtype=np.int64),
        distances=np.full((count, k), np.inf, dtype=np.float32),
        similarities=np.full((count, k), np.nan, dtype=np.float32),
    )


def fill(matches: Matches, row: int, answer: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    """Write one query's rows, squared distances and cosines into its line of the matches."""
    found = len(answer[0])
    for whole, part in zip((matches.indices, matches.distances, matches.similarities), answer, strict=True):
        whole[row, :found] = part


def squared_distances(values: np.ndarray, query: np.ndarray) -> np.ndarray:
    """|values - query|² [R] float64 of values [R, D] and query [D], both float64."""
    return ((values - query) ** 2).sum(axis=1)


def cosines(values: np.ndarray, query: np.ndarray) -> np.ndarray:
    """Cosine [R] float64 of values [R, D] and query [D], both float64; 0 for a zero vector."""
    lengths = np.sqrt((values**2).sum(axis=1) * (query**2).sum())
    return np.clip((values * query).sum(axis=1) / np.maximum(lengths, np.finfo(np.float32).tiny), -1, 1)


def rank_rows(values: Any, query: np.ndarray, rows: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The k nearest of some database rows: rows, squared distances, cosines; equal distances by row number.

    values: the database [N, D], anything that gives rows when sliced. query: [D] float64. rows: [R], each once."""
    rows = np.sort(rows)
    parts = []
    for start in range(0, len(rows), ROWS_AT_ONCE):
        taken = rows_as_stored(values, rows[start : start + ROWS_AT_ONCE])
        for first in range(0, len(taken), ROWS_COMPARED):
            block = in_single(taken[first : first + ROWS_COMPARED]).astype(np.float64)
            parts.append((squared_distances(block, query), cosines(block, query)))
    distances, near = (np.concatenate(part) for part in zip(*parts, strict=True))
    order = np.argsort(distances, kind="stable")[:k]
    return rows[order], distances[order], near[order]
