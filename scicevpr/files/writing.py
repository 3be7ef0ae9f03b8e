"""Writing: files that appear only when they are whole, rows of descriptors, room on the disk, sizes in words."""

from __future__ import annotations

import mmap
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from scicevpr.errors import UsageError

MEMORY_LIMIT = 512 * 2**20  # bytes of descriptors that an evaluation keeps in memory; more of them go to a file
DTYPES = ("float32", "float16", "float64")


@contextmanager
def written_whole(path: Path | str) -> Iterator[Path]:
    """A name beside ``path`` to write to; the file gets its own name, in one step and readable for all, when the block
    ends without an error, and is removed otherwise. Called .NAME.….part in the meantime."""
    part = _part_of(Path(path))
    try:
        yield part
        _complete(part, Path(path))
    finally:
        part.unlink(missing_ok=True)


def _part_of(path: Path) -> Path:
    number, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    os.close(number)
    return Path(name)


def _complete(part: Path, path: Path) -> None:
    with part.open("rb+") as stream:
        os.fsync(stream.fileno())
    os.chmod(part, 0o644)  # temporary files and those of safetensors start private
    os.replace(part, path)


def whole_name(name: str) -> str:
    """The name that an unfinished file will get; other names as they are."""
    found = re.fullmatch(r"\.(.+)\.\w+\.part", name)
    return found[1] if found else name


def save_npy(path: Path, array: np.ndarray) -> None:
    """Write an array as a .npy file of exactly this name."""
    with path.open("wb") as stream:
        np.save(stream, array)


class DescriptorWriter:
    """N rows of D values, written in any order, then read as one array, without ever lying in memory together.

    Use it as a context manager, write the rows, and take :meth:`finish` inside the block. After an error nothing is
    left on the disk. path: write a .npy file of this name; it appears under the name when it is complete. scratch:
    write a nameless temporary file in this folder; the system removes it with the last use of the array, however the
    program ends. With neither the rows stay in memory.

    Raises UsageError for another dtype, both places at once, or a disk without enough room.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        dtype: str = "float32",
        *,
        path: Path | str | None = None,
        scratch: Path | str | None = None,
    ) -> None:
        if dtype not in DTYPES:
            raise UsageError(f"Descriptors are stored as one of {', '.join(DTYPES)}, not as {dtype!r}.")
        if path is not None and scratch is not None:
            raise UsageError("Give a file name for the descriptors or a folder for a temporary file, not both.")
        self._shape, self._dtype = shape, np.dtype(dtype)
        self._path, self._scratch = (None if place is None else Path(place) for place in (path, scratch))
        self._part: Path | None = None
        self._file: BinaryIO  # where the rows do not stay in memory
        self._values: np.ndarray | None = None
        self._cleaning = ExitStack()

    def __enter__(self) -> DescriptorWriter:
        folder = self._path.parent if self._path is not None else self._scratch
        if folder is None:
            self._values = np.empty(self._shape, self._dtype)
            return self
        require_space(folder, self._bytes)
        if self._path is not None:
            self._part = _part_of(self._path)
            self._cleaning.callback(self._part.unlink, missing_ok=True)  # only an unfinished file still has this name
            self._file = self._cleaning.enter_context(self._part.open("rb+"))
        else:
            self._file = self._cleaning.enter_context(tempfile.TemporaryFile(dir=folder))
        header = {"descr": np.lib.format.dtype_to_descr(self._dtype), "fortran_order": False, "shape": self._shape}
        np.lib.format.write_array_header_1_0(self._file, header)
        self._start = self._file.tell()
        return self

    def __exit__(self, *error: object) -> None:
        self._cleaning.close()

    def write(self, rows: Sequence[int], values: np.ndarray) -> None:
        """Store values [len(rows), D] under these row numbers."""
        if self._values is not None:
            self._values[list(rows)] = values
            return
        content = np.ascontiguousarray(values, self._dtype)
        width = content.shape[1] * self._dtype.itemsize
        breaks = np.flatnonzero(np.diff(rows) != 1) + 1  # neighbouring rows are written at once
        for first, last in pairwise([0, *breaks.tolist(), len(rows)]):
            self._file.seek(self._start + int(rows[first]) * width)
            self._file.write(content[first:last].data)

    def finish(self) -> np.ndarray:
        """All rows [N, D]: an array in memory, or a read-only memory map of the file."""
        if self._values is not None:
            return self._values
        self._file.truncate(self._start + self._bytes)
        self._file.flush()
        if self._part is not None and self._path is not None:
            _complete(self._part, self._path)
        return np.memmap(self._file, self._dtype, mode="r", offset=self._start, shape=self._shape)

    @property
    def _bytes(self) -> int:
        return self._shape[0] * self._shape[1] * self._dtype.itemsize


def scratch_folder(size: int, memory_limit: int = MEMORY_LIMIT, storage: Path | str | None = None) -> Path | None:
    """Where descriptors of ``size`` bytes lie in the meantime: None (in memory) up to the limit, else a folder. The
    folder is ``storage``, by default the system's temporary folder. Raises UsageError when it has too little room."""
    if size <= memory_limit:
        return None
    folder = Path(storage) if storage is not None else Path(tempfile.gettempdir())
    require_space(folder, size)
    return folder


def require_space(folder: Path, size: int) -> None:
    """Raise UsageError unless a folder exists and its disk has room for ``size`` bytes."""
    if not folder.is_dir():
        raise UsageError(f"The folder {folder} for descriptors {'is a file' if folder.exists() else 'does not exist'}.")
    free = shutil.disk_usage(folder).free
    if size > free:
        raise UsageError(
            f"The descriptors need {bytes_label(size)} in {folder}, but only {bytes_label(free)} are free there. Name "
            "a folder on another disk (--storage), or make room."
        )


def release(values: np.ndarray) -> None:
    """Let the system take back the pages that reading a memory map has brought into memory; others are untouched."""
    base: Any = values if isinstance(values, np.memmap) and values.mode == "r" else None
    while isinstance(base, np.ndarray):
        base = base.base
    if isinstance(base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        base.madvise(mmap.MADV_DONTNEED)


def bytes_label(size: float) -> str:
    """Such as ``"512 bytes"``, ``"9.0 MB"``, ``"21.50 GB"`` (decimal units)."""
    if size < 1e4:
        return f"{int(size)} bytes"
    return f"{size / 1e6:.1f} MB" if size < 1e9 else f"{size / 1e9:.2f} GB"
