"""Exact nearest-neighbour search with FAISS (squared L2, as in the published evaluation)."""

from __future__ import annotations

import numpy as np

from scicevpr.errors import IndexMismatchError, UsageError
from scicevpr.retrieval.matches import Matches

QUERIES_AT_ONCE = 1024


class ExactIndex:
    """Every query is compared with every database descriptor: no training, no loss.

    descriptors [N, D]: kept as float32, need not be normalised. Raises UsageError for another shape, no rows, or
    values that are not finite.
    """

    def __init__(self, descriptors: np.ndarray) -> None:
        import faiss

        values = _rows(descriptors, "database descriptors")
        if len(values) == 0:
            raise UsageError("The database is empty: there is nothing to search in.")
        self._norms = np.linalg.norm(values, axis=1)
        self._index = faiss.IndexFlatL2(values.shape[1])
        self._index.add(values)

    def __len__(self) -> int:
        return int(self._index.ntotal)

    @property
    def dimension(self) -> int:
        """Values per descriptor (D)."""
        return int(self._index.d)

    def search(self, queries: np.ndarray, k: int) -> Matches:
        """The k nearest database rows of queries [Q, D], nearest first; padded with -1 when k exceeds the database.

        Raises IndexMismatchError when D differs from the database's, UsageError when k is below 1.
        """
        values = _rows(queries, "query descriptors")
        if values.shape[1] != self.dimension:
            raise IndexMismatchError(
                f"The queries have {values.shape[1]} values each, the database {self.dimension}. Describe both with "
                "the same model and the same PCA."
            )
        if k < 1:
            raise UsageError(f"The number of matches must be at least 1, not {k}.")
        found = min(k, len(self))
        shape = (len(values), k)
        indices = np.full(shape, -1, dtype=np.int64)
        distances = np.full(shape, np.inf, dtype=np.float32)
        for start in range(0, len(values), QUERIES_AT_ONCE):
            part = slice(start, start + QUERIES_AT_ONCE)
            distances[part, :found], indices[part, :found] = self._index.search(values[part], found)
        return Matches(indices, distances, self._similarities(values, indices, distances))

    def _similarities(self, queries: np.ndarray, indices: np.ndarray, distances: np.ndarray) -> np.ndarray:
        """Cosines, from |a-b|^2 = |a|^2 + |b|^2 - 2 a.b; NaN where there is no match."""
        similarities = np.full(indices.shape, np.nan, dtype=np.float32)
        found = indices >= 0
        query_norms = np.broadcast_to(np.linalg.norm(queries, axis=1)[:, None], indices.shape)[found].astype(np.float64)
        database_norms = self._norms[indices[found]].astype(np.float64)
        products = (query_norms**2 + database_norms**2 - distances[found]) / 2
        lengths = np.maximum(query_norms * database_norms, np.finfo(np.float32).tiny)
        similarities[found] = np.clip(products / lengths, -1, 1)
        return similarities


def _rows(values: np.ndarray, what: str) -> np.ndarray:
    array = np.ascontiguousarray(values, dtype=np.float32)
    if array.ndim != 2 or array.shape[1] == 0:
        raise UsageError(f"The {what} must have the shape [N, D], not {list(array.shape)}.")
    if not np.isfinite(array).all():
        raise UsageError(f"The {what} contain NaN or infinite values; describe the photos again.")
    return array
