"""Exact nearest-neighbour search with FAISS (squared L2, as in the published evaluation), in bounded memory.

The database stays where it is - in memory, in a memory-mapped file - and is read a block at a time. FAISS finds the
candidates of each block in single precision; the best of all blocks are then compared in double precision, and equal
distances are ordered by row number. Where a row that is no candidate could be nearer than the k-th answer, by what
single precision may be off (a static camera, repeated photos), all rows are looked at in double precision. So the
answer is that of comparing all rows in double precision, whatever the size of the blocks.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from scicevpr.errors import UsageError
from scicevpr.files.writing import bytes_label
from scicevpr.retrieval.matches import Matches
from scicevpr.retrieval.rerank import check_search, empty_matches, fill, rank_rows, squared_distances
from scicevpr.retrieval.rows import check_finite, row_blocks, shape_of

QUERIES_AT_ONCE = 1024
SPARE = 32  # candidates beyond k: single precision may have put them in the wrong order
SETTLED_BYTES = 16 * 2**20  # of rows in double precision, where all are looked at
SINGLE, DOUBLE = 2.0**-24, 2.0**-53  # the largest relative error of one operation
SMALLEST = 2.0**-126  # what is smaller may become zero in single precision


class ExactIndex:
    """Every query is compared with every database descriptor: no training, no loss, no copy.

    descriptors: [N, D], anything that gives rows when sliced (array, memory map, slice of a safetensors file) in
    float16, float32 or float64; compared in float32 precision; need not be normalised. block_rows: rows that are read
    at once; default: 64 MiB of them. checked: the values are known to be finite, so they are not read for that.

    Raises UsageError for another shape, no rows, or values that are not finite.
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
        """Rows, size in memory or on disk, and that there is no loss."""
        item = np.dtype(getattr(self._values, "dtype", np.float32)).itemsize
        size = bytes_label(self._count * self.dimension * item)
        place = {"in memory": size} if self._in_memory else {"in memory": "one block at a time", "on disk": size}
        return {"rows": f"{self._count:,}", **place, "agreement with exact search": "it is exact"}

    def search(self, queries: Any, k: int) -> Matches:
        """The k nearest database rows of queries [Q, D], nearest first; padded with -1 when k exceeds the database.

        Raises IndexMismatchError when D differs from the database's, UsageError when k is below 1.
        """
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
