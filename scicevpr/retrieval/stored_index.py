"""Open an index on disk and search it; check every byte of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from scicevpr.errors import IndexMismatchError, SciceVPRError
from scicevpr.files.reading import map_npy
from scicevpr.files.writing import bytes_label
from scicevpr.progress import Progress
from scicevpr.retrieval.exact import PER_ROW, Codes, ExactIndex, Int8ExactIndex
from scicevpr.retrieval.ivf_pq import IVFPQIndex, ShortCodes, read_lists
from scicevpr.retrieval.manifest import REMEDY, Manifest, check_files, read_manifest
from scicevpr.retrieval.matches import Index, Matches
from scicevpr.retrieval.rows import RowFiles, one_model

CHECK_ROWS = 1024


class StoredIndex:
    """An index on disk. See `Index`; rows that were removed keep their numbers until `compact_index`."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder, self.manifest = folder, manifest
        removed = read_removed(folder, manifest)
        self._numbers: np.ndarray | None = None
        self._engine = self._open(removed)
        self.dimension, self.label = manifest.dimension, self._engine.label

    def _open(self, removed: np.ndarray) -> Index:
        folder, manifest = self.folder, self.manifest
        rows = open_rows(folder, manifest)
        if manifest.tier == "streamed":
            if not removed.any():
                return ExactIndex(rows, checked=True)
            self._numbers = np.flatnonzero(~removed)
            return ExactIndex(open_rows(folder, manifest, self._numbers), checked=True)
        if manifest.tier == "int8":
            return Int8ExactIndex(rows, read_codes(folder, manifest), removed=removed)
        settings, agreement = manifest.settings, manifest.agreement
        measured = (
            f"first answer {agreement['first']:.1%}, ten best {agreement['best']:.1%} "
            f"({agreement['questions']} held-out questions, {manifest.count - manifest.added:,} rows)"
        )
        if manifest.added:
            measured += f"; {manifest.added:,} rows were added since"
        return IVFPQIndex(
            rows,
            read_lists(folder / named(manifest, "lists")),
            read_bytes(folder, manifest),
            ShortCodes(*_array(folder / named(manifest, "ranges"))),
            _array(folder / named(manifest, "projection")),
            nprobe=settings["nprobe"],
            rerank_k=settings["rerank_k"],
            removed=removed,
            agreement=measured,
            on_disk=self._bytes(),
        )

    def __len__(self) -> int:
        return self.manifest.count - self.manifest.removed

    def metadata(self) -> dict[str, str]:
        return {
            **self._engine.metadata(),
            "rows": f"{len(self):,}" + (f" ({self.manifest.removed:,} removed)" if self.manifest.removed else ""),
            "on disk": f"{bytes_label(self._bytes())} in {self.folder}",
        }

    def search(self, queries: Any, k: int) -> Matches:
        """As `Index.search`. Raises IndexMismatchError when a descriptor that is compared in full was changed."""
        matches = self._engine.search(queries, k)
        if self._numbers is None:
            return matches
        numbers = np.where(matches.indices >= 0, self._numbers[matches.indices], -1)
        return Matches(numbers, matches.distances, matches.similarities)

    def rows(self) -> RowFiles:
        """The full descriptors [N, D], removed rows among them; gives rows when sliced."""
        return open_rows(self.folder, self.manifest)

    def order(self) -> np.ndarray:
        """For each row, its place [N] in the descriptor files, one after the other."""
        return row_table(self.folder, self.manifest)["row"]

    def check_model(self, fingerprint: str, weights: str) -> None:
        """Raise IndexMismatchError when its descriptors are known to be by another model than these."""
        own = one_model(self.manifest.sources)
        if own and own != (fingerprint, weights):
            raise IndexMismatchError(
                f"The index {self.folder} holds descriptors by another model ({' '.join(own)}) than the one in use "
                f"({fingerprint} {weights}). Build one with that model's descriptors."
            )

    def _bytes(self) -> int:
        return sum(size for size, _ in self.manifest.files.values())


def open_index(folder: Path | str, *, verify: bool = True) -> StoredIndex:
    """Open an index, memory-mapped.

    verify: compare all of its own files with their checksums (for a million rows half a second); without it only sizes.
    The descriptor files are compared by their size, and each of their rows that is re-ranked by its checksum. Raises
    IndexMismatchError for what is missing, cut off or altered, with the file's name and a remedy.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    problems = check_files(folder, manifest, whole=verify)
    if problems:
        raise IndexMismatchError(problems[0])
    with _readable(folder):
        return StoredIndex(folder, manifest)


@contextmanager
def _readable(folder: Path) -> Iterator[None]:
    """Files with the right checksums may still hold something else: a stranger may have written the index."""
    try:
        yield
    except SciceVPRError:
        raise
    except Exception as error:  # a stranger's bytes can make the reader fail in any way
        raise IndexMismatchError(
            f"{folder} holds files that are none of an index ({type(error).__name__}: {error}). {REMEDY}"
        ) from error


def check_index(folder: Path | str, progress: Progress | None = None) -> list[str]:
    """Everything that is wrong with an index and the descriptors it refers to, in words; empty for a sound one.
    progress is called with (bytes read, bytes in all). Raises IndexMismatchError when its manifest cannot be read."""
    folder = Path(folder)
    manifest = read_manifest(folder)
    own = sum(size for size, _ in manifest.files.values())
    full = sum(source.rows * source.row_bytes for source in manifest.sources)

    def tell(done: int) -> None:
        if progress is not None:
            progress(done, own + full)

    problems = check_files(folder, manifest, progress=lambda done, _: tell(done))
    if problems:
        return problems
    try:
        with _readable(folder):
            StoredIndex(folder, manifest)
        checksums = row_table(folder, manifest)["checksum"]
        rows = open_rows(folder, manifest)
        for start in range(0, len(rows), CHECK_ROWS):
            block, found = rows.with_checksums(slice(start, start + CHECK_ROWS))
            wrong = np.flatnonzero(found != checksums[start : start + len(block)])
            if len(wrong):
                problems.append(
                    f"Row {start + wrong[0]} of the descriptors is not what it was when the index was built "
                    f"({', '.join(str(source.path) for source in manifest.sources)}). {REMEDY}"
                )
                break
            tell(own + int(full * (start + len(block)) / len(rows)))
    except IndexMismatchError as error:
        problems.append(str(error))
    return problems


def open_rows(folder: Path, manifest: Manifest, chosen: np.ndarray | None = None) -> RowFiles:
    """The full descriptors of an index, in its order; chosen: only these rows."""
    table = row_table(folder, manifest)
    order, checksums = (table[name] if chosen is None else table[name][chosen] for name in ("row", "checksum"))
    return RowFiles(manifest.sources, order, checksums, REMEDY)


def read_codes(folder: Path, manifest: Manifest) -> list[Codes]:
    """8-bit codes, memory-mapped."""
    scales, codes, start = load_file(folder / named(manifest, "scales")), [], 0
    for name in _in_order(manifest, "codes"):
        part = _array(folder / name, "c")  # private, never written to; torch warns about read-only ones
        if part.dtype != np.int8 or part.ndim != 2 or part.shape[1] != manifest.dimension:
            raise IndexMismatchError(f"{folder / name} has no 8-bit codes of {manifest.dimension} dimensions. {REMEDY}")
        here = slice(start, start + len(part))
        codes.append(Codes(part, *(scales[field][here] for field in PER_ROW)))
        start += len(part)
    return codes


def read_bytes(folder: Path, manifest: Manifest) -> list[np.ndarray]:
    """Byte codes of short descriptors, in the order of the rows, memory-mapped."""
    pieces = [_array(folder / name) for name in _in_order(manifest, "bytes")]
    if any(piece.ndim != 2 or piece.dtype != np.uint8 for piece in pieces) or sum(map(len, pieces)) != manifest.count:
        raise IndexMismatchError(f"{folder} holds no byte codes of {manifest.count} rows. {REMEDY}")
    return pieces


def _in_order(manifest: Manifest, kind: str) -> list[str]:
    names = (name for name in manifest.files if name.startswith(f"{kind}-"))
    return sorted(names, key=lambda name: [int(part) for part in name[:-4].split("-")[1:]])


def read_removed(folder: Path, manifest: Manifest) -> np.ndarray:
    """Which rows [N] bool were removed."""
    removed = np.zeros(manifest.count, bool)
    if manifest.removed:
        removed[_array(folder / named(manifest, "removed"))] = True
        if int(removed.sum()) != manifest.removed or removed.all():
            raise IndexMismatchError(f"{folder} does not say which {manifest.removed} rows were removed. {REMEDY}")
    return removed


def named(manifest: Manifest, kind: str) -> str:
    """The file of a kind, such as "lists" or "rows"."""
    return next(name for name in manifest.files if name.startswith(f"{kind}-"))


def row_table(folder: Path, manifest: Manifest) -> dict[str, np.ndarray]:
    table = load_file(folder / named(manifest, "rows"))
    rows, checksums = table["row"], table["checksum"]
    there = sum(source.rows for source in manifest.sources)
    sound = rows.dtype == np.int64 and checksums.dtype == np.uint32 and rows.shape == checksums.shape
    if not sound or rows.shape != (manifest.count,) or rows.min() < 0 or rows.max() >= there:
        raise IndexMismatchError(f"{folder} does not say where its {manifest.count} rows lie. {REMEDY}")
    return table


def _array(path: Path, mode: str = "r") -> np.ndarray:
    found = map_npy(path, IndexMismatchError, REMEDY)
    return found if mode == "r" or not found.size else np.load(path, mmap_mode=mode, allow_pickle=False)
