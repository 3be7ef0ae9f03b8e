"""Exact nearest-neighbour search (squared L2, as in the published evaluation), in bounded memory, two ways.

`ExactIndex` leaves the database where it is - in memory, in a memory-mapped file - and reads it a block at a time.
FAISS finds the candidates of each block in single precision; the best of all blocks are then compared in double
precision, and equal distances are ordered by row number. Where a row that is no candidate could be nearer than the k-th
answer, by what single precision may be off (a static camera, repeated photos), all rows are looked at in double
precision. So the answer is that of comparing all rows in double precision, whatever the size of the blocks.

`Int8ExactIndex` reads one byte a value: 8-bit codes say which rows can be among the nearest, and prove it. A row x is
kept as integers c and a scale s, so x = s c + e with a known length |e|, and a query q = t u + f likewise. The integer
product t s u.c then is q.x up to |q| |e| + |f| |s c| (Cauchy-Schwarz): a lower and an upper bound of every distance.
Rows whose lower bound exceeds the k-th smallest upper bound cannot be among the k nearest; the others are compared in
full. So the answer is that of `ExactIndex`, bit for bit. Where too many rows are left (repeated photos, a collapsed
model), the query is searched exactly instead. It is our own because FAISS' 8-bit indexes prove nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from scicevpr.errors import UsageError
from scicevpr.files.writing import bytes_label
from scicevpr.retrieval.matches import Matches, check_search, empty_matches, fill, rank_rows, squared_distances
from scicevpr.retrieval.rows import check_block, check_finite, row_blocks, shape_of

QUERIES_AT_ONCE = 1024
SPARE = 32  # candidates beyond k: single precision may have put them in the wrong order
SETTLED_BYTES = 16 * 2**20  # of rows in double precision, where all are looked at
SINGLE, DOUBLE = 2.0**-24, 2.0**-53  # the largest relative error of one operation
SMALLEST = 2.0**-126  # what is smaller may become zero in single precision


class ExactIndex:
    """Every query is compared with every database descriptor: no training, no loss, no copy.

    descriptors: [N, D], anything that gives rows when sliced (array, memory map, slice of a safetensors file) in
    float16, float32 or float64; compared in float32 precision; need not be normalised. block_rows: rows that are read
    at once; default: 64 MiB of them. checked: the values are known to be finite, so they are not read for that. Raises
    UsageError for another shape, no rows, or values that are not finite.
    """

    def __init__(self, descriptors: Any, block_rows: int | None = None, *, checked: bool = False) -> None:
        self._values, self._block_rows = descriptors, block_rows
        self._count, self.dimension = shape_of(descriptors, "database descriptors")
        if self._count == 0:
            raise UsageError("The database is empty: there is nothing to search in.")
        if not checked:
            check_finite(descriptors, "database descriptors", block_rows)

    def __len__(self) -> int:
        return self._count

    @property
    def label(self) -> str:
        """Such as ``"exact, float32"``; "streamed" where the descriptors stay in a file."""
        streamed = "" if self._in_memory else ", streamed"
        return f"exact, {getattr(self._values, 'dtype', 'float32')}{streamed}"

    def metadata(self) -> dict[str, str]:
        item = np.dtype(getattr(self._values, "dtype", np.float32)).itemsize
        size = bytes_label(self._count * self.dimension * item)
        place = {"in memory": size} if self._in_memory else {"in memory": "one block at a time", "on disk": size}
        return {"rows": f"{self._count:,}", **place, "agreement with exact search": "it is exact"}

    def search(self, queries: Any, k: int) -> Matches:
        count = check_search(queries, self.dimension, k)
        found, wanted = min(k, self._count), min(k + max(SPARE, k // 8), self._count)
        candidates, farthest = self._candidates(queries, count, wanted)
        matches, unsettled = empty_matches(count, k), {}
        for start, block in row_blocks(queries, QUERIES_AT_ONCE):
            for row, query in enumerate(block.astype(np.float64), start):
                answer = rank_rows(self._values, query, candidates[row], found)
                fill(matches, row, answer)
                if wanted < self._count and farthest[row] <= _single_precision(query, answer[1][-1]):
                    unsettled[row] = (query, *answer[:2])
        for row, answer in self._settle(unsettled):
            fill(matches, row, answer)
        return matches

    @property
    def _in_memory(self) -> bool:
        return isinstance(self._values, np.ndarray) and not isinstance(self._values, np.memmap)

    def _candidates(self, queries: Any, count: int, wanted: int) -> tuple[np.ndarray, np.ndarray]:
        """The rows [Q, wanted] that are nearest in single precision, and the distance [Q] of the last of them."""
        import faiss

        rows = np.full((count, wanted), -1, dtype=np.int64)
        distances = np.full((count, wanted), np.inf, dtype=np.float32)
        for first, block in row_blocks(self._values, self._block_rows):
            for start, part in row_blocks(queries, QUERIES_AT_ONCE):
                here = slice(start, start + len(part))
                new_distances, new_rows = faiss.knn(part, block, min(wanted, len(block)))
                merged = np.concatenate([distances[here], new_distances], axis=1)
                # stable: of equal distances the earlier row stays in front
                order = np.argsort(merged, axis=1, kind="stable")[:, :wanted]
                distances[here] = np.take_along_axis(merged, order, axis=1)
                rows[here] = np.take_along_axis(np.concatenate([rows[here], new_rows + first], axis=1), order, axis=1)
        return rows, distances[:, -1].astype(np.float64)

    def _settle(self, unsettled: dict[int, tuple]) -> Iterator[tuple[int, tuple[np.ndarray, np.ndarray, np.ndarray]]]:
        """Answers to queries whose candidates lie closer together than single precision can tell: all rows are looked
        at in double precision. unsettled: query number -> query [D], rows and squared distances of the best so far."""
        if not unsettled:
            return
        queries = np.stack([query for query, _, _ in unsettled.values()])
        best = [(rows, distances) for _, rows, distances in unsettled.values()]
        squares = (queries**2).sum(axis=1)
        for first, block in row_blocks(self._values, max(1, SETTLED_BYTES // (8 * self.dimension))):
            values = block.astype(np.float64)
            lengths = (values**2).sum(axis=1)
            far = squares[:, None] + lengths - 2 * queries @ values.T
            far -= _rounding(self.dimension, DOUBLE) * (np.sqrt(squares)[:, None] + np.sqrt(lengths)) ** 2
            for number, (rows, distances) in enumerate(best):
                near = np.flatnonzero(far[number] <= distances[-1])
                near = near[~np.isin(near + first, rows)]
                if len(near):
                    new = squared_distances(values[near], queries[number])
                    rows, distances = np.concatenate([rows, near + first]), np.concatenate([distances, new])
                    order = np.lexsort((rows, distances))[: len(best[number][0])]
                    best[number] = rows[order], distances[order]
        for row, query, (rows, _) in zip(unsettled, queries, best, strict=True):
            yield row, rank_rows(self._values, query, rows, len(rows))


def _rounding(width: int, unit: float) -> float:
    """What a squared distance |q|² + |x|² - 2 q.x of D dimensions is off by at most, in whatever order it is summed,
    relative to (|q| + |x|)²; unit: the largest relative error of one operation (Higham, Accuracy and Stability, 3.1).
    """
    operations = width + 8
    return operations * unit / (1 - operations * unit)


def _single_precision(query: np.ndarray, distance: float) -> float:
    """The largest squared distance that single precision can give a row whose true one is at most ``distance``."""
    reach = 2 * np.sqrt((query**2).sum()) + np.sqrt(distance)  # |q| + |x|, for |x| is at most |q| + the distance
    return distance + _rounding(len(query), SINGLE) * reach**2 + len(query) * SMALLEST


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
    check_block(block, "database descriptors")
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
