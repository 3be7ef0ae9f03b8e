"""IVF-PQ, for millions of rows: candidates from short codes, compared in full afterwards.

A PCA shortens the descriptors. Every short value is kept as one byte (`ShortCodes`), and every two of them as four bits
more, in inverted lists (product quantisation, FAISS "fast scan"). A query scans the 4-bit codes of its nearest lists,
orders the best `SCANNED` of them by their bytes, and compares the first of these in full. Rows in other lists, or worse
by their codes than they are, are missed: how often was measured when the index was built.

The 4-bit codes are made of the bytes, not of the descriptors: lists can be made again from what the index holds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from scicevpr.errors import IndexMismatchError
from scicevpr.files.writing import bytes_label
from scicevpr.retrieval.manifest import REMEDY
from scicevpr.retrieval.matches import Matches, check_search, empty_matches, fill, rank_rows
from scicevpr.retrieval.rows import RowFiles, row_blocks

ROUNDS = 10  # of k-means
ROWS_PER_LIST = 40  # of the sample for k-means
SMALLEST_SAMPLE = 16_384  # for the 16 values of each pair of bytes
QUERIES_AT_ONCE = 256
ROWS_AT_ONCE = 8192
SCANNED = 2000
"""Rows that the 4-bit codes pass on; of a million nearly all of the ten best are among them (docs/scaling.md)."""
STEPS = 255
MARGIN = 0.05  # of the range of a sample, on either side


def default_nlist(count: int) -> int:
    """Lists for N rows: about a quarter of the square root, a power of two; 256 for a million."""
    return max(1, 2 ** round(math.log2(math.sqrt(count) / 4))) if count >= 64 else 1


def project(projection: np.ndarray, block: np.ndarray) -> np.ndarray:
    """Short descriptors [R, K] float32 of descriptors [R, D] float32; projection: [1 + K, D], the mean in row 0."""
    return block @ projection[1:].T - projection[1:] @ projection[0]


@dataclass(frozen=True)
class ShortCodes:
    """How short descriptors [R, K] become bytes [R, K]: from ``low`` on in steps of ``step``, both float32 [K]."""

    low: np.ndarray
    step: np.ndarray

    @classmethod
    def of(cls, sample: np.ndarray) -> ShortCodes:
        """For values as in a sample [S, K]; values beyond become the outermost byte."""
        low, high = sample.min(axis=0), sample.max(axis=0)
        spare = MARGIN * (high - low)
        step = (high - low + 2 * spare) / STEPS
        return cls((low - spare).astype(np.float32), np.where(step > 0, step, 1).astype(np.float32))

    @property
    def table(self) -> np.ndarray:
        """[2, K], as an index keeps it: low, step."""
        return np.stack([self.low, self.step])

    def encode(self, short: np.ndarray) -> np.ndarray:
        """[R, K] float32 -> uint8."""
        return np.clip(np.rint((short - self.low) / self.step), 0, STEPS).astype(np.uint8)

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """[R, K] uint8 -> float32."""
        return codes * self.step + self.low

    def distances(self, codes: np.ndarray, short: np.ndarray) -> np.ndarray:
        """Squared distances [R] float32 of bytes [R, K] from one short query [K]."""
        rest = codes * self.step
        rest -= short - self.low
        return np.einsum("rk,rk->r", rest, rest)


def train_lists(sample: np.ndarray, nlist: int, seed: int) -> Any:
    """Empty inverted lists (FAISS), trained on short descriptors [S, K] float32; S must be at least ``nlist``."""
    import faiss

    width = sample.shape[1]
    index = faiss.IndexIVFPQFastScan(
        faiss.IndexFlatL2(width), width, nlist, width // 2 if width % 2 == 0 else width, 4, faiss.METRIC_L2
    )
    index.by_residual = False
    for settings in (index.cp, index.pq.cp):
        settings.niter, settings.seed = ROUNDS, seed + 1
        settings.min_points_per_centroid, settings.max_points_per_centroid = 1, 10**6
    sample = np.ascontiguousarray(np.resize(sample, (max(16, len(sample)), width)), np.float32)  # 4 bits need 16 rows
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)  # the same lists on any number of cores
    try:
        index.train(sample)
    finally:
        faiss.omp_set_num_threads(threads)
    return index


def fill_lists(
    index: Any,
    codes: ShortCodes,
    bytes_of: Iterable[np.ndarray],
    progress: Callable[[int], None] | None = None,
    first: int = 0,
) -> None:
    """Put rows into the lists they belong to, numbered from ``first`` on, by their byte codes, pieces [R, K] uint8.
    progress is called with the rows that are in."""
    for piece in bytes_of:
        for start in range(0, len(piece), ROWS_AT_ONCE):
            short = codes.decode(piece[start : start + ROWS_AT_ONCE])
            index.add_with_ids(short, np.arange(first, first + len(short), dtype=np.int64))
            first += len(short)
            if progress is not None:
                progress(first)


def save_rows(path: Path, pieces: Iterable[np.ndarray], count: int, width: int) -> None:
    """Write pieces [R, K] uint8 one after the other as one .npy file of ``count`` rows."""
    with path.open("wb") as stream:
        np.lib.format.write_array_header_1_0(stream, {"descr": "|u1", "fortran_order": False, "shape": (count, width)})
        for piece in pieces:
            stream.write(np.ascontiguousarray(piece, np.uint8))


def write_lists(index: Any, path: Path) -> None:
    """Save inverted lists."""
    import faiss

    faiss.write_index(index, str(path))


def read_lists(path: Path) -> Any:
    """Read inverted lists into memory. IndexMismatchError when they are damaged."""
    import faiss

    try:
        found = faiss.read_index(str(path))
    except (RuntimeError, MemoryError) as error:
        raise IndexMismatchError(f"{path} cannot be read as inverted lists. {REMEDY}") from error
    if not isinstance(found, faiss.IndexIVFPQFastScan):
        raise IndexMismatchError(f"{path} holds {type(found).__name__}, not inverted lists. {REMEDY}")
    return found


class IVFPQIndex:
    """The k nearest of the candidates from short codes. See `Index`.

    values: full descriptors. lists: FAISS inverted lists of the short ones. bytes_of: the byte codes of all rows in
    order, in pieces [R, K] uint8. codes: what the bytes mean. projection: [1 + K, D] float32. nprobe: lists that a
    query looks into. rerank_k: rows that are compared in full. removed: [N] bool, rows not to be found. agreement:
    a sentence for `metadata`.
    """

    def __init__(
        self,
        values: RowFiles,
        lists: Any,
        bytes_of: Sequence[np.ndarray],
        codes: ShortCodes,
        projection: np.ndarray,
        *,
        nprobe: int,
        rerank_k: int,
        removed: np.ndarray | None = None,
        agreement: str = "",
        on_disk: int = 0,
    ) -> None:
        import faiss

        self._values, self._lists, self._bytes, self._codes = values, lists, list(bytes_of), codes
        self.dimension = values.shape[1]
        self._starts = np.cumsum([0] + [len(part) for part in self._bytes])
        self._projection = np.ascontiguousarray(projection)
        self._offset = projection[1:] @ projection[0]
        self.nprobe, self.rerank_k = nprobe, rerank_k
        self._agreement, self._on_disk = agreement, on_disk
        self._removed, self._selector = 0, None
        if removed is not None and removed.any():
            self._removed = int(removed.sum())
            self._bits = np.packbits(~removed, bitorder="little")  # FAISS does not keep it alive
            self._selector = faiss.IDSelectorBitmap(self._bits)  # type: ignore[call-arg]  # its wrapper takes arrays

    def __len__(self) -> int:
        return self._values.shape[0] - self._removed

    @property
    def label(self) -> str:
        return (
            f"PCA {self._lists.d}, IVF-PQ nlist {self._lists.nlist:,}, nprobe {self.nprobe}, 4 bit, best {SCANNED:,} "
            f"by 8 bit, best {self.rerank_k} re-ranked exactly"
        )

    def metadata(self) -> dict[str, str]:
        scanned = self._values.shape[0] * (self._lists.code_size + 8 + 12)
        return {
            "rows": f"{len(self):,}",
            "in memory": bytes_label(scanned + self._projection.nbytes + self._lists.nlist * self._lists.d * 4),
            "read where it lies": bytes_label(sum(part.nbytes for part in self._bytes)),
            "on disk": bytes_label(self._on_disk),
            "full descriptors": bytes_label(self._values.nbytes),
            "agreement with exact search": self._agreement or "not measured",
        }

    def search(self, queries: Any, k: int) -> Matches:
        """As `Index.search`. More than ``rerank_k`` answers widen it to twice their number."""
        count = check_search(queries, self.dimension, k)
        matches, wanted = empty_matches(count, k), min(k, len(self))
        if wanted == 0:
            return matches
        for start, block in row_blocks(queries, QUERIES_AT_ONCE):
            found = self.candidates(block, max(self.rerank_k, 2 * wanted), wanted)
            for row, query in enumerate(block.astype(np.float64)):
                rows = found[row][found[row] >= 0]
                fill(matches, start + row, rank_rows(self._values, query, rows, wanted))
        return matches

    def candidates(self, queries: np.ndarray, rerank_k: int, wanted: int, nprobe: int | None = None) -> np.ndarray:
        """Rows [Q, rerank_k] int64, best by their bytes first, -1 where there are no more; at least ``wanted``."""
        import faiss

        nlist = self._lists.nlist
        nprobe = min(nprobe or self.nprobe, nlist)
        rerank_k = min(rerank_k, self._values.shape[0])
        scanned = min(max(SCANNED, 4 * rerank_k), self._values.shape[0])
        short = np.ascontiguousarray(queries @ self._projection[1:].T - self._offset, np.float32)
        while True:
            how = {"nprobe": nprobe, "sel": self._selector}
            parameters = faiss.IVFSearchParameters(**how)
            _, found = self._lists.search(short, scanned, params=parameters)
            if nprobe == nlist or (found[:, : min(wanted, scanned)] >= 0).all():
                return np.stack([self._ordered(*pair, rerank_k) for pair in zip(found, short, strict=True)])
            nprobe = min(4 * nprobe, nlist)

    def _ordered(self, rows: np.ndarray, query: np.ndarray, rerank_k: int) -> np.ndarray:
        """The best of some rows by their bytes [rerank_k], -1 where there are no more."""
        result = np.full(rerank_k, -1, np.int64)
        rows = np.sort(rows[rows >= 0])
        order = np.argsort(self._codes.distances(self._bytes_at(rows), query), kind="stable")[:rerank_k]
        result[: len(order)] = rows[order]
        return result

    def _bytes_at(self, rows: np.ndarray) -> np.ndarray:
        """Byte codes [R, K] of rows in ascending order."""
        ends = np.searchsorted(rows, self._starts)
        return np.concatenate(
            [
                part[rows[first:last] - start]
                for part, start, first, last in zip(self._bytes, self._starts, ends, ends[1:], strict=False)
            ]
        )
