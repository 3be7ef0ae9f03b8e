"""Rows of descriptors wherever they lie: arrays and memory maps read a block at a time, and files row by row.

Files are read, not memory-mapped: what was read does not count as this process's memory, and a file that is cut off
while it is open gives an error instead of ending the process.
"""

from __future__ import annotations

import mmap
import os
import threading
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from scicevpr.errors import IndexMismatchError, UsageError
from scicevpr.files.descriptor_files import load_descriptors
from scicevpr.files.reading import map_npy
from scicevpr.files.writing import release

DTYPES = ("<f2", "<f4", "<f8")
BLOCK_BYTES = 64 * 2**20
LARGEST = 1e15  # of a value: the squares of thousands of them still have room in float32
CONVERTED_BYTES = 4 * 2**20  # of float32 made of float16: they are used while the processor's cache holds them


def shape_of(values: Any, what: str) -> tuple[int, int]:
    """(N, D) of anything that can be sliced by rows. Raises UsageError for another shape."""
    shape = tuple(values.get_shape() if hasattr(values, "get_shape") else np.shape(values))
    if len(shape) != 2 or shape[1] == 0:
        raise UsageError(f"The {what} must have the shape [N, D], not {list(shape)}.")
    return shape


def check_finite(values: Any, what: str, rows: int | None = None) -> None:
    """Raise UsageError when descriptors [N, D] hold NaN, infinite or absurdly large values."""
    for start, block in row_blocks(values, rows):
        check_block(block, what, start)


def check_block(block: np.ndarray, what: str, first: int = 0, error: type[UsageError] = UsageError) -> None:
    """Raise ``error`` as `check_finite` does, for a block [R, D] that begins with row ``first``."""
    if block.size == 0 or (block.min() >= -LARGEST and block.max() <= LARGEST):  # False for NaN as well
        return
    if not np.isfinite(block).all():
        raise error(f"The {what} contain NaN or infinite values; describe the photos again.")
    row = int(np.argmax(np.abs(block).max(axis=1)))
    raise error(
        f"The {what} contain the value {np.abs(block[row]).max():.3g} (row {first + row}), so distances would overflow;"
        " descriptors have values of about 1. Are the bytes of another type? Describe the photos again."
    )


def zero_rows(values: Any) -> int:
    """How many descriptors [N, D] are zero in all their values: they are equally far from everything."""
    return sum(int((~block.any(axis=1)).sum()) for _, block in row_blocks(values))


def row_blocks(
    values: Any, rows: int | None = None, dtype: type[np.floating] = np.float32
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (first row, block [R, D] of ``dtype``) for all rows in order; an array of that type is not copied.

    rows: rows a block; default: as many as fit into 64 MiB of float32, or 4 MiB where they are converted to it. What
    reading a memory map has brought into memory is given back after each block.
    """
    count, width = shape_of(values, "descriptors")
    converted = dtype is np.float32 and getattr(values, "dtype", None) == np.float16
    rows = rows or max(1, (CONVERTED_BYTES if converted else BLOCK_BYTES) // (4 * width))
    for start in range(0, count, rows):
        block = values[start : min(start + rows, count)]
        yield start, np.ascontiguousarray(in_single(block) if dtype is np.float32 else block, dtype=dtype)
        release(values)


def rows_as_stored(values: Any, rows: np.ndarray) -> np.ndarray:
    """Copy the given rows [R, D]."""
    if hasattr(values, "take_rows"):
        return values.take_rows(rows)
    if isinstance(values, np.ndarray):
        taken = values[rows]
        release(values)
        return taken
    return np.concatenate([values[row : row + 1] for row in rows.tolist()])


def in_single(rows: Any) -> np.ndarray:
    """Rows [R, D] as float32. From float16 by torch: the same numbers as NumPy's, many times as fast."""
    if getattr(rows, "dtype", None) != np.float16:
        with np.errstate(over="ignore"):  # what becomes infinite is refused where values are checked
            return np.asarray(rows, np.float32)
    import torch  # only where it is needed: it takes a second to import

    return torch.from_numpy(np.array(rows)).to(torch.float32).numpy()  # a copy: torch warns about read-only memory


@dataclass(frozen=True)
class RowFile:
    """One file: ``rows`` rows of ``width`` dimensions in ``dtype`` from byte ``offset`` on; ``bytes`` in all.

    model: fingerprint and weights of the model they are by, or () where the file does not say. modified: when it was
    last written, in nanoseconds (0: not noted).
    """

    path: Path
    rows: int
    width: int
    dtype: str
    offset: int
    bytes: int
    model: tuple[str, ...] = ()
    modified: int = 0

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return self.width * np.dtype(self.dtype).itemsize


def find_rows(source: Path | str | np.memmap) -> RowFile:
    """Where the rows of a .npy file, a descriptor file (.safetensors) or a memory map of one lie. Raises UsageError for
    other files and parts of memory maps, IndexMismatchError for damaged ones."""
    path = source.filename if isinstance(source, np.memmap) else source
    if path is None or not Path(path).is_file():
        raise IndexMismatchError(f"There is no descriptor file at {path}. Write one with `scicevpr describe`.")
    values, model = _mapped(Path(path))
    if isinstance(source, np.memmap) and (source.shape != values.shape or not isinstance(source.base, mmap.mmap)):
        raise UsageError("An index on disk needs whole descriptor files, not parts of their memory maps.")
    if values.ndim != 2 or 0 in values.shape or not values.flags.c_contiguous or values.dtype.str not in DTYPES:
        raise UsageError(
            f"{path} holds an array of {values.dtype} with the shape {list(values.shape)}; an index needs rows [N, D] "
            "of float16, float32 or float64."
        )
    path = Path(os.path.abspath(path))
    state = path.stat()
    rows, width = values.shape
    offset, kind = int(values.offset), values.dtype.str
    return RowFile(path, rows, width, kind, offset, state.st_size, model, modified=state.st_mtime_ns)


def _mapped(path: Path) -> tuple[Any, tuple[str, ...]]:
    """The values as a memory map (an empty array where there are none), and the model they are by."""
    if path.suffix == ".safetensors":
        found, _ = load_descriptors(path, mapped=True)
        return found.values, (found.fingerprint, found.weights)
    return map_npy(path, IndexMismatchError, "Describe the photos again."), ()


def one_model(files: Sequence[RowFile]) -> tuple[str, ...]:
    """Fingerprint and weights of the model that all files are by, () where none says. IndexMismatchError for two."""
    known = {file.model: file.path for file in files if file.model}
    if len(known) > 1:
        (first, path), (second, other) = list(known.items())[:2]
        raise IndexMismatchError(
            f"{path} is by another model ({' '.join(first)}) than {other} ({' '.join(second)}). An index holds the "
            "descriptors of one model."
        )
    return next(iter(known), ())


class RowFiles:
    """All rows of some files as one database [N, D]: gives rows when sliced, as arrays and memory maps do.

    order: [M] rows of the concatenated files that make up the database (default: all). checksums: CRC-32 [M] of each
    row's bytes; rows taken one by one are compared with them. remedy: what errors advise. Raises IndexMismatchError
    when a file is missing or has another size than was noted.
    """

    def __init__(
        self,
        files: Sequence[RowFile],
        order: np.ndarray | None = None,
        checksums: np.ndarray | None = None,
        remedy: str = "Describe the photos again.",
    ) -> None:
        self._files, self._order, self._checksums, self._remedy = tuple(files), order, checksums, remedy
        self._starts = np.cumsum([0] + [file.rows for file in files])
        for file in files:
            found = file.path.stat().st_size if file.path.is_file() else None
            if found != file.bytes:
                state = "is missing" if found is None else f"has {found} bytes, not {file.bytes}"
                raise IndexMismatchError(f"The descriptor file {file.path} {state}. {remedy}")
        self._descriptors = [os.open(file.path, os.O_RDONLY | getattr(os, "O_BINARY", 0)) for file in files]
        self._seeking = threading.Lock()
        count = int(self._starts[-1]) if order is None else len(order)
        self.shape = (count, files[0].width)
        self.dtype = np.result_type(*(file.dtype for file in files))

    def __len__(self) -> int:
        return self.shape[0]

    def __del__(self) -> None:
        for descriptor in getattr(self, "_descriptors", ()):
            os.close(descriptor)

    @property
    def nbytes(self) -> int:
        """Bytes of all rows on the disk."""
        return sum(file.rows * file.row_bytes for file in self._files)

    def __getitem__(self, rows: slice) -> np.ndarray:
        """Consecutive rows [R, D]."""
        return self._gather(self._physical(rows))

    def with_checksums(self, rows: slice) -> tuple[np.ndarray, np.ndarray]:
        """Consecutive rows [R, D], and the CRC-32 [R] uint32 of each one's bytes as its file holds them."""
        physical = self._physical(rows)
        found = np.empty(len(physical), np.uint32)
        return self._gather(physical, into=found), found

    def _physical(self, rows: slice) -> np.ndarray:
        start, stop, step = rows.indices(len(self))
        if step != 1:
            raise UsageError("Rows of files are read one after the other, without steps.")
        return np.arange(start, stop) if self._order is None else self._order[start:stop]

    def take_rows(self, rows: np.ndarray) -> np.ndarray:
        """Rows [R, D] by their numbers. Raises IndexMismatchError for one whose checksum differs."""
        physical = rows if self._order is None else self._order[rows]
        if hasattr(os, "posix_fadvise"):  # the disk can fetch them side by side while the first ones are read
            for row in physical.tolist():
                file, where = self._place(row)
                os.posix_fadvise(
                    self._descriptors[file],
                    self._offset(file, where),
                    self._files[file].row_bytes,
                    os.POSIX_FADV_WILLNEED,
                )
        return self._gather(physical, None if self._checksums is None else self._checksums[rows])

    def _gather(
        self, physical: np.ndarray, checksums: np.ndarray | None = None, into: np.ndarray | None = None
    ) -> np.ndarray:
        """Rows by their places. checksums: what they must have; into: where theirs are written. Both are of the bytes
        in the file: files of different types are promoted to one only afterwards."""
        result = np.empty((len(physical), self.shape[1]), self.dtype)
        breaks = np.flatnonzero((np.diff(physical) != 1) | np.isin(physical[1:], self._starts[1:-1])) + 1
        for first, last in zip([0, *breaks.tolist()], [*breaks.tolist(), len(physical)], strict=True):
            if first == last:
                continue
            file, where = self._place(int(physical[first]))
            block = self._read(file, where, last - first)
            if into is not None:
                into[first:last] = row_checksums(block)
            if checksums is not None:
                for row, values in enumerate(block, first):
                    if zlib.crc32(values) != checksums[row]:
                        raise IndexMismatchError(
                            f"{self._files[file].path} was changed: its row {where + row - first} is not what it was "
                            f"when the index was built. {self._remedy}"
                        )
            result[first:last] = block
        return result

    def _place(self, row: int) -> tuple[int, int]:
        file = int(np.searchsorted(self._starts, row, side="right")) - 1
        return file, row - int(self._starts[file])

    def _offset(self, file: int, row: int) -> int:
        return self._files[file].offset + row * self._files[file].row_bytes

    def _read(self, file: int, row: int, count: int) -> np.ndarray:
        source = self._files[file]
        block = np.empty((count, source.width), source.dtype)
        view, done = memoryview(block).cast("B"), 0
        while done < len(view):
            got = self._read_at(file, view[done:], self._offset(file, row) + done)
            if got == 0:
                raise IndexMismatchError(f"The descriptor file {source.path} is cut off. {self._remedy}")
            done += got
        return block

    def _read_at(self, file: int, view: memoryview, offset: int) -> int:
        """Read bytes from a place on, whatever other threads read meanwhile; returns how many came."""
        if hasattr(os, "preadv"):
            return os.preadv(self._descriptors[file], [view], offset)
        with self._seeking:  # Windows: the place belongs to the open file
            os.lseek(self._descriptors[file], offset, os.SEEK_SET)
            content = os.read(self._descriptors[file], len(view))
        view[: len(content)] = content
        return len(content)


def row_checksums(block: Any) -> np.ndarray:
    """CRC-32 [R] uint32 of each row's bytes."""
    return np.array([zlib.crc32(row) for row in np.ascontiguousarray(block)], np.uint32)
