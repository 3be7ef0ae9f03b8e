"""Exact search that reads one byte a value: 8-bit codes say which rows can be among the nearest, and prove it.

A row x is kept as integers c and a scale s, so x = s c + e with a known length |e|, and a query q = t u + f likewise.
The integer product t s u.c then is q.x up to |q| |e| + |f| |s c| (Cauchy-Schwarz): a lower and an upper bound of every
distance. Rows whose lower bound exceeds the k-th smallest upper bound cannot be among the k nearest; the others
are compared in full. So the answer is that of `ExactIndex`, bit for bit, not an approximation. Where too many rows are
left (repeated photos, a collapsed model), the query is searched exactly instead.

It is our own because FAISS' 8-bit indexes are approximate: none of them proves its answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from scicevpr.errors import UsageError
from scicevpr.files.writing import bytes_label
from scicevpr.retrieval.exact import ExactIndex
from scicevpr.retrieval.matches import Matches
from scicevpr.retrieval.rerank import check_search, empty_matches, fill, rank_rows
from scicevpr.retrieval.rows import row_blocks, shape_of, value_problem

STEPS = 127  # the largest code
PER_ROW = ("scale", "error", "square")
SCORE_BYTES = 64 * 2**20
ROWS_AT_ONCE = 4096
SLACK = 4e-6  # what lengths, errors and scales kept in single precision may be off by, relative to |q|² + |x|²


@dataclass(frozen=True)
class Codes:
    """R rows as 8-bit codes: codes [R, D] int8, and float32 [R]: scale, error (length of what the codes leave out),
    square (squared length of the row)."""

    codes: np.ndarray
    scale: np.ndarray
    error: np.ndarray
    square: np.ndarray


def encode(block: np.ndarray) -> Codes:
    """Codes of descriptors [R, D] float32. Raises UsageError when a value is not finite."""
    problem = value_problem(block)
    if problem:
        raise UsageError(f"The database descriptors {problem}")
    largest = np.abs(block).max(axis=1, initial=0)
    scale = (largest / STEPS).astype(np.float32)
    codes = np.empty(block.shape, np.int8)
    error, square = np.empty((2, len(block)), np.float32)
    for start in range(0, len(block), 256):  # small enough for the processor's cache
        part, here = block[start : start + 256], slice(start, start + 256)
        step = np.where(scale[here] > 0, scale[here], 1)[:, None]
        whole = np.rint(part / step)
        codes[here] = whole
        rest = part - whole * step
        error[here] = np.sqrt(_squares(rest)) * 1.0001
        square[here] = _squares(part)
    return Codes(codes, scale, error, square)


def _squares(rows: np.ndarray) -> np.ndarray:
    """Squared lengths [R] float64 of rows [R, D] float32, summed in double precision."""
    return np.einsum("rd,rd->r", rows, rows, dtype=np.float64, casting="safe")


class Int8ExactIndex:
    """The k nearest rows, proven by 8-bit codes and compared in full.

    descriptors: [N, D], kept where they are (memory or a file); they are read for the rows that remain. codes: of all
    rows in order, in pieces; default: made now, N * D bytes in memory. removed: [N] bool, rows that no search finds.

    Raises UsageError for another shape, no rows, or values that are not finite.
    """

    label = "exact, int8 codes, what they leave open compared in full"

    def __init__(
        self, descriptors: Any, codes: Sequence[Codes] | None = None, *, removed: np.ndarray | None = None
    ) -> None:
        self._values = descriptors
        self._count, self.dimension = shape_of(descriptors, "database descriptors")
        if self._count == 0:
            raise UsageError("The database is empty: there is nothing to search in.")
        self._codes = codes or [encode(block) for _, block in row_blocks(descriptors, ROWS_AT_ONCE)]
        if sum(len(part.codes) for part in self._codes) != self._count:
            raise UsageError("The 8-bit codes do not belong to these descriptors: the numbers of rows differ.")
        parts = self._codes
        self._scale, self._error, self._square = (
            np.concatenate([getattr(part, name) for part in parts]).astype(np.float64) for name in PER_ROW
        )
        self._lengths = np.sqrt(self._square)
        self._live = None if removed is None or not removed.any() else np.flatnonzero(~removed)
        self.fallbacks = 0  # queries that were searched exactly because the codes left too many rows

    def __len__(self) -> int:
        return self._count if self._live is None else len(self._live)

    def metadata(self) -> dict[str, str]:
        """Rows, bytes of the codes, where the full descriptors are."""
        item = np.dtype(getattr(self._values, "dtype", np.float32)).itemsize
        return {
            "rows": f"{len(self):,}",
            "in memory": bytes_label(self._count * (self.dimension + 32)),
            "full descriptors": bytes_label(self._count * self.dimension * item),
            "agreement with exact search": "it is exact: proven by bounds for every query",
        }

    def search(self, queries: Any, k: int) -> Matches:
        """As `Index.search`; the same answer as `ExactIndex.search`."""
        count = check_search(queries, self.dimension, k)
        matches, k = empty_matches(count, k), min(k, len(self))
        most = max(ROWS_AT_ONCE // 4, 4 * k)
        at_once = int(np.clip(SCORE_BYTES // (16 * self._count), 1, 64))
        for start, block in row_blocks(queries, at_once):
            products, rests = self._products(block)
            for row, query in enumerate(block.astype(np.float64)):
                left = self._left(products[:, row], query, rests[row], k)
                fill(matches, start + row, self._exactly(query, k, left, most))
        return matches

    def _products(self, queries: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """q.x by codes [N, Q] float64, and the length of what a query's codes leave out [Q]."""
        scale = np.abs(queries).max(axis=1).astype(np.float64) / STEPS
        scale[scale == 0] = 1
        whole = np.rint(queries / scale[:, None])
        rests = np.linalg.norm(queries - scale[:, None] * whole, axis=1)
        codes = whole.astype(np.int8)
        found = np.concatenate([_integer_products(part.codes, codes) for part in self._codes])
        return found * (self._scale[:, None] * scale), rests

    def _bounds(self, products: np.ndarray, query: np.ndarray, rest: float) -> tuple[np.ndarray, np.ndarray]:
        """Squared distances [N] by the codes, and what each of them is off by at most."""
        square = (query**2).sum()
        margin = 2 * (np.sqrt(square) * self._error + rest * (self._lengths + self._error))
        return square + self._square - 2 * products, margin + SLACK * (square + self._square)

    def _left(self, products: np.ndarray, query: np.ndarray, rest: float, k: int) -> np.ndarray:
        """Rows that the bounds do not exclude from the k nearest."""
        middle, margin = self._bounds(products, query, rest)
        if self._live is None:
            limit = np.partition(middle + margin, k - 1)[k - 1]
            return np.flatnonzero(middle - margin <= limit)
        middle, margin = middle[self._live], margin[self._live]
        limit = np.partition(middle + margin, k - 1)[k - 1]
        return self._live[middle - margin <= limit]

    def _exactly(
        self, query: np.ndarray, k: int, rows: np.ndarray, most: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        if len(rows) <= most or self._live is not None:
            return rank_rows(self._values, query, rows, k)
        self.fallbacks += 1
        found = ExactIndex(self._values, checked=True).search(query[None].astype(np.float32), k)
        return found.indices[0], found.distances[0], found.similarities[0]


def _integer_products(codes: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """codes [R, D] times queries [Q, D], both int8: [R, Q] int32, exact."""
    import torch  # only where it is needed: it takes a second to import

    parts = []
    for start in range(0, len(codes), ROWS_AT_ONCE):
        part = torch.from_numpy(codes[start : start + ROWS_AT_ONCE])
        parts.append(torch._int_mm(torch.from_numpy(queries), part.T).numpy().T)
    return np.concatenate(parts)
