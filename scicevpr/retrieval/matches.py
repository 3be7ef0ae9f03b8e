"""What every index can do, and what a search gives: rows of the database, nearest first, or records about photos."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from scicevpr.datasets import Photo, distances
from scicevpr.datasets.ground_truth import DEFAULT_RADIUS
from scicevpr.errors import UsageError


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
    place: Photo
    similarity: float
    metres: float | None
    correct: bool | None


def list_matches(
    matches: Matches, database: Sequence[Photo], queries: Sequence[Photo], radius: float | None = None
) -> list[list[Match]]:
    """Turn matches [Q, K] into one list of Match records per query; rows of -1 are left out.

    correct means: the positions lie within `radius` metres (inclusive; default 25). Raises UsageError when counts do
    not fit.
    """
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
                    place=database[row],
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

        queries: float32, or what becomes float32 without loss of meaning (float16, float64). The answer has indices
        [Q, k] int64, distances [Q, k] float32 (squared L2) and similarities [Q, k] float32 (cosine), all of the full
        descriptors; where there are fewer than k rows it is padded with -1, infinity and NaN.

        Raises IndexMismatchError when D differs from the database's, UsageError when k is below 1 or a value is not
        finite.
        """
        ...
