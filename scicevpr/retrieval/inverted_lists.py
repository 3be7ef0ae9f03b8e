"""Search in millions of rows: a shortlist from inverted lists of short 8-bit codes, compared in full afterwards.

A PCA shortens the descriptors; k-means divides them into lists; each row is kept in its list as one byte a value
(FAISS). A query looks into its nearest lists only, takes the best by the codes, and compares these in full. Rows in
other lists, or worse by the codes than they are, are missed: how often was measured when the index was built.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from scicevpr.errors import IndexMismatchError
from scicevpr.retrieval.blocks import row_blocks
from scicevpr.retrieval.compare import check_search, empty_matches, fill, rank_rows
from scicevpr.retrieval.index_manifest import REMEDY
from scicevpr.retrieval.matches import Matches
from scicevpr.retrieval.row_files import RowFiles
from scicevpr.retrieval.sizes import words_of_bytes

ROUNDS = 10  # of k-means
ROWS_PER_LIST = 40  # of the sample for k-means
QUERIES_AT_ONCE = 256


def default_lists(count: int) -> int:
    """Lists for N rows: about four times the square root, a power of two; 4,096 for a million."""
    return max(1, 2 ** round(math.log2(max(1.0, 4 * math.sqrt(count)))) if count >= 1000 else count // 40)


def project(projection: np.ndarray, block: np.ndarray) -> np.ndarray:
    """Short descriptors [R, K] float32 of descriptors [R, D] float32; projection: [1 + K, D], the mean in row 0."""
    return block @ projection[1:].T - projection[1:] @ projection[0]


def train_lists(sample: np.ndarray, lists: int, seed: int) -> Any:
    """Empty inverted lists (FAISS), trained on short descriptors [S, K] float32; S must be at least ``lists``."""
    import faiss

    width = sample.shape[1]
    quantizer = faiss.IndexFlatL2(width)
    index = faiss.IndexIVFScalarQuantizer(
        quantizer, width, lists, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_L2, False
    )
    index.cp.niter, index.cp.seed = ROUNDS, seed + 1
    index.cp.min_points_per_centroid, index.cp.max_points_per_centroid = 1, 10**6
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)  # the same lists on any number of cores
    try:
        index.train(np.ascontiguousarray(sample, np.float32))
    finally:
        faiss.omp_set_num_threads(threads)
    return index


def put_into_lists(index: Any, short: np.ndarray, first: int, lists: np.ndarray) -> None:
    """Add short descriptors [R, K] float32 as the rows first ... to the lists [R] int64 they belong to."""
    import faiss

    ids = np.arange(first, first + len(short), dtype=np.int64)
    short, lists = np.ascontiguousarray(short, np.float32), np.ascontiguousarray(lists, np.int64)
    index.add_core(len(short), *(faiss.swig_ptr(array) for array in (short, ids, lists)))


def write_lists(index: Any, path: Path) -> None:
    """Save inverted lists."""
    import faiss

    faiss.write_index(index, str(path))


def read_lists(path: Path, mapped: bool = True) -> Any:
    """Open inverted lists, memory-mapped unless they are to be changed. IndexMismatchError when they are damaged."""
    import faiss

    flags = faiss.IO_FLAG_MMAP | faiss.IO_FLAG_READ_ONLY if mapped else 0
    try:
        return faiss.read_index(str(path), flags)
    except RuntimeError as error:
        raise IndexMismatchError(f"{path} cannot be read as inverted lists. {REMEDY}") from error


class ListsIndex:
    """The k nearest rows of a shortlist. See `Index`.

    values: full descriptors. lists: FAISS inverted lists of the short ones. projection: [1 + K, D] float32. probes:
    lists that a query looks into. shortlist: rows that are compared in full. removed: [N] bool, rows not to be found.
    agreement: words for `facts`.
    """

    def __init__(
        self,
        values: RowFiles,
        lists: Any,
        projection: np.ndarray,
        *,
        probes: int,
        shortlist: int,
        removed: np.ndarray | None = None,
        agreement: str = "",
        on_disk: int = 0,
    ) -> None:
        import faiss

        self._values, self._lists = values, lists
        self._projection = np.ascontiguousarray(projection)
        self._offset = projection[1:] @ projection[0]
        self.probes, self.shortlist = probes, shortlist
        self._agreement, self._on_disk = agreement, on_disk
        self._removed = 0 if removed is None else int(removed.sum())
        self._selector, self._bits = None, None
        if self._removed:
            self._bits = np.packbits(~removed, bitorder="little")
            self._selector = faiss.IDSelectorBitmap(self._bits)

    def __len__(self) -> int:
        return self._values.shape[0] - self._removed

    @property
    def dimension(self) -> int:
        """Values per descriptor (D)."""
        return self._values.shape[1]

    @property
    def label(self) -> str:
        """How it searches."""
        return (
            f"PCA {self._lists.d}, {self._lists.nlist:,} lists ({self.probes} looked into), 8 bit, best "
            f"{self.shortlist} re-ranked exactly"
        )

    def facts(self) -> dict[str, str]:
        """Rows, sizes, and the agreement that was measured at the build."""
        codes = self._values.shape[0] * (self._lists.code_size + 8 + 12)
        return {
            "rows": f"{len(self):,}",
            "in memory": words_of_bytes(codes + self._projection.nbytes + self._lists.nlist * self._lists.d * 4),
            "on disk": words_of_bytes(self._on_disk),
            "full descriptors": words_of_bytes(self._values.nbytes),
            "agreement with exact search": self._agreement or "not measured",
        }

    def search(self, queries: Any, k: int) -> Matches:
        """As `Index.search`. More than ``shortlist`` answers widen the shortlist to twice their number."""
        count = check_search(queries, self.dimension, k)
        matches, wanted = empty_matches(count, k), min(k, len(self))
        if wanted == 0:
            return matches
        for start, block in row_blocks(queries, QUERIES_AT_ONCE):
            found = self.candidates(block, max(self.shortlist, 2 * wanted), wanted)
            for row, query in enumerate(block.astype(np.float64)):
                rows = found[row][found[row] >= 0]
                fill(matches, start + row, rank_rows(self._values, query, rows, wanted))
        return matches

    def candidates(self, queries: np.ndarray, shortlist: int, wanted: int, probes: int | None = None) -> np.ndarray:
        """Rows [Q, shortlist] int64, best by their codes first, -1 where there are no more; at least ``wanted``."""
        import faiss

        probes, lists = min(probes or self.probes, self._lists.nlist), self._lists.nlist
        shortlist = min(shortlist, self._values.shape[0])
        short = queries @ self._projection[1:].T - self._offset
        while True:
            parameters = faiss.SearchParametersIVF(nprobe=probes, sel=self._selector)
            _, found = self._lists.search(short, shortlist, params=parameters)
            if probes == lists or (found[:, : min(wanted, found.shape[1])] >= 0).all():
                return found
            probes = min(4 * probes, lists)
