"""What a search gives: rows of the database, nearest first, and the same as records about places."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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
