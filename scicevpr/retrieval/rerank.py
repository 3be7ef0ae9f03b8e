"""The last word of every search: descriptors of candidate rows compared with the query in double precision.

Exact search, int8 search and IVF-PQ all end here, so equal candidates get equal numbers, bit for bit, in the same
order.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from scicevpr.errors import IndexMismatchError, UsageError
from scicevpr.retrieval.matches import Matches
from scicevpr.retrieval.rows import check_finite, in_single, rows_as_stored, shape_of

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

    values: the database [N, D], anything that gives rows when sliced. query: [D] float64. rows: [R], each once.
    """
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
