"""What every index can do, whatever engine stands behind it: exact search, shortlists, Milvus."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from scicevpr.retrieval.matches import Matches


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
        """Values per descriptor (D)."""
        ...

    @property
    def label(self) -> str:
        """How it searches, in words for a protocol: ``"exact, float32"`` or
        ``"PCA 512, 4,096 lists, 8 bit, best 200 re-ranked exactly"``."""
        ...

    def facts(self) -> dict[str, str]:
        """What is worth showing about it, title → words: "rows", "in memory", "on disk", and for an approximate
        search "agreement with exact search" as it was measured when the index was built."""
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
