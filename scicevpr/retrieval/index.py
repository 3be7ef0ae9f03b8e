"""Exact nearest-neighbour search with FAISS (squared L2, as in the published evaluation), in bounded memory.

The database stays where it is - in memory, in a memory-mapped file - and is read a block at a time. FAISS finds the
candidates of each block in single precision; the best of all blocks are then compared in double precision, and equal
distances are ordered by row number. So the answer does not depend on the size of the blocks.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from scicevpr.errors import UsageError
from scicevpr.retrieval.blocks import check_finite, row_blocks, shape_of, take_rows
from scicevpr.retrieval.compare import check_search, cosines, empty_matches, fill, squared_distances
from scicevpr.retrieval.matches import Matches
from scicevpr.retrieval.sizes import words_of_bytes

QUERIES_AT_ONCE = 1024
SPARE = 32  # candidates beyond k: single precision may have put them in the wrong order


class ExactIndex:
    """Every query is compared with every database descriptor: no training, no loss, no copy.

    descriptors: [N, D], anything that gives rows when sliced (array, memory map, slice of a safetensors file) in
    float16, float32 or float64; compared in float32 precision; need not be normalised. block_rows: rows that are read
    at once; default: 64 MiB of them. checked: the values are known to be finite, so they are not read for that.

    Raises UsageError for another shape, no rows, or values that are not finite.
    """

    def __init__(self, descriptors: Any, block_rows: int | None = None, *, checked: bool = False) -> None:
        self._values, self._block_rows = descriptors, block_rows
        self._count, self._width = shape_of(descriptors, "database descriptors")
        if self._count == 0:
            raise UsageError("The database is empty: there is nothing to search in.")
        if not checked:
            check_finite(descriptors, "database descriptors", block_rows)

    def __len__(self) -> int:
        return self._count

    @property
    def dimension(self) -> int:
        """Values per descriptor (D)."""
        return self._width

    @property
    def label(self) -> str:
        """Such as ``"exact, float32"``; "streamed" where the descriptors stay in a file."""
        streamed = "" if self._in_memory else ", streamed"
        return f"exact, {getattr(self._values, 'dtype', 'float32')}{streamed}"

    def facts(self) -> dict[str, str]:
        """Rows, size in memory or on disk, and that there is no loss."""
        item = np.dtype(getattr(self._values, "dtype", np.float32)).itemsize
        size = words_of_bytes(self._count * self._width * item)
        place = {"in memory": size} if self._in_memory else {"in memory": "one block at a time", "on disk": size}
        return {"rows": f"{self._count:,}", **place, "agreement with exact search": "it is exact"}

    def search(self, queries: Any, k: int) -> Matches:
        """The k nearest database rows of queries [Q, D], nearest first; padded with -1 when k exceeds the database.

        Raises IndexMismatchError when D differs from the database's, UsageError when k is below 1.
        """
        count = check_search(queries, self._width, k)
        candidates = self._candidates(queries, count, min(k + SPARE, self._count))
        matches = empty_matches(count, k)
        for start, block in row_blocks(queries, QUERIES_AT_ONCE):
            for row, query in enumerate(block.astype(np.float64), start):
                fill(matches, row, self._compare(query, candidates[row], min(k, self._count)))
        return matches

    @property
    def _in_memory(self) -> bool:
        return isinstance(self._values, np.ndarray) and not isinstance(self._values, np.memmap)

    def _candidates(self, queries: Any, count: int, wanted: int) -> np.ndarray:
        """The rows [Q, wanted] that are nearest in single precision."""
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
        return rows

    def _compare(self, query: np.ndarray, candidates: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The k nearest of the candidates in double precision: rows, squared distances, cosines."""
        rows = np.sort(candidates)
        values = take_rows(self._values, rows)
        distances = squared_distances(values, query)
        order = np.argsort(distances, kind="stable")
        last = distances[order[k - 1]]
        if len(rows) < self._count and distances[order[-1]] == last:
            # more equal rows than there are spare candidates (repeated photos): the first of them count
            rows, values, distances = self._with_first_equals(query, rows, values, distances, last, k)
            order = np.argsort(distances, kind="stable")
        order = order[:k]
        return rows[order], distances[order], cosines(values[order], query)

    def _with_first_equals(
        self, query: np.ndarray, rows: np.ndarray, values: np.ndarray, distances: np.ndarray, last: float, k: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The candidates nearer than ``last``, and the first database rows that are exactly as far."""
        nearer = distances < last
        needed, equals = k - int(nearer.sum()), []
        for start, block in row_blocks(self._values, self._block_rows):
            far = squared_distances(block.astype(np.float64), query)
            equals += (start + np.flatnonzero(far == last)).tolist()
            if len(equals) >= needed:
                break
        first = np.array(equals[:needed], dtype=np.int64)
        rows = np.concatenate([rows[nearer], first])
        order = np.argsort(rows)
        values = np.concatenate([values[nearer], take_rows(self._values, first)])[order]
        return rows[order], values, np.concatenate([distances[nearer], np.full(needed, last)])[order]
