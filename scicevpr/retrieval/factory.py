"""Which way of searching, by the size of the database and the memory there is.

    exact     float32 in memory, every value compared: up to 512 MiB
    int8      a quarter of the memory and of the time, the same answer (`Int8ExactIndex`); the full descriptors stay
              where they are
    ivf-pq    candidates from short codes, agreement with exact search measured (`IVFPQIndex`): above 300,000 rows, on
              disk only
    streamed  exact, from a file or an array where it lies, one block at a time: the reference, and what is left when
              nothing else fits
    float16   exact for descriptors rounded to half precision, half the memory of float32; never chosen by itself

"exact", "int8" and "streamed" give the same answer, bit for bit.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from scicevpr.errors import IndexMismatchError, SciceVPRError, UsageError
from scicevpr.files.writing import MEMORY_LIMIT
from scicevpr.progress import StageProgress
from scicevpr.retrieval.builder import Settings, build_files
from scicevpr.retrieval.exact import ExactIndex, Int8ExactIndex
from scicevpr.retrieval.matches import Index
from scicevpr.retrieval.rows import RowFile, find_rows, row_blocks, shape_of
from scicevpr.retrieval.stored_index import StoredIndex, check_index, open_index

TIERS = ("exact", "float16", "int8", "ivf-pq", "streamed")
MANY_ROWS = 300_000  # above this a single query by 8-bit codes takes longer than a query should


def choose_tier(count: int, dimension: int, memory: int | None = None) -> str:
    """One of TIERS for N descriptors [N, D]. memory: bytes that the index may take (default: half of what is free
    now)."""
    memory = free_memory() // 2 if memory is None else memory
    values = count * dimension
    if 4 * values <= min(memory, MEMORY_LIMIT):
        return "exact"
    if count > MANY_ROWS:
        return "ivf-pq"
    return "int8" if values + 32 * count <= memory else "streamed"


def make_index(
    values: Any,
    tier: str = "auto",
    *,
    memory: int | None = None,
    folder: Path | str | None = None,
    progress: StageProgress | None = None,
) -> Index:
    """An index of descriptors [N, D]: an array, a memory map, anything that gives rows when sliced.

    tier: one of TIERS, or "auto" (see `choose_tier`). folder: where "ivf-pq" is built and kept; it is opened when an
    index of these descriptors is there already. Without it, and for values that are no file, "auto" takes an exact tier
    instead of "ivf-pq". Raises UsageError for another tier, "ivf-pq" without a folder, values without a file of their
    own for "ivf-pq", and the errors of the tiers.
    """
    count, dimension = shape_of(values, "database descriptors")
    memory = free_memory() // 2 if memory is None else memory
    if tier == "auto":
        tier = choose_tier(count, dimension, memory)
        if tier == "ivf-pq" and (folder is None or not _in_a_file(values)):
            tier = "int8" if count * (dimension + 32) <= memory else "streamed"
    if tier == "exact":
        in_memory = isinstance(values, np.ndarray) and not isinstance(values, np.memmap)
        return ExactIndex(values if in_memory else _copied(values, np.float32))
    if tier == "float16":
        with np.errstate(over="ignore"):  # what becomes infinite is refused by the index
            return ExactIndex(_copied(values, np.float16))
    if tier == "int8":
        return Int8ExactIndex(values)
    if tier == "streamed":
        return ExactIndex(values)
    if tier != "ivf-pq":
        raise UsageError(f"There is no index tier {tier!r}; choose one of auto, {', '.join(TIERS)}.")
    if folder is None:
        raise UsageError("An IVF-PQ index is kept on disk: name a folder for it.")
    return _in_folder(values, Path(folder), progress)


def build_index(
    folder: Path | str,
    sources: Any,
    tier: str = "auto",
    *,
    memory: int | None = None,
    restart: bool = False,
    progress: StageProgress | None = None,
    **settings: Any,
) -> StoredIndex:
    """Build an index on disk and open it.

    sources: descriptor files (.npy, .safetensors) or whole memory maps of them, one or a list. tier: "ivf-pq", "int8",
    "streamed", or "auto". settings: see `Settings`. A build that was stopped goes on where it was.
    """
    sources = list(sources) if isinstance(sources, (list, tuple)) else [sources]
    if tier == "auto":
        files = [find_rows(source) for source in sources]
        tier = choose_tier(sum(file.rows for file in files), files[0].width, memory)
        tier = {"exact": "streamed"}.get(tier, tier)
    return open_index(build_files(folder, sources, Settings(tier, **settings), restart=restart, progress=progress))


def _copied(values: Any, dtype: type[np.floating]) -> np.ndarray:
    result = np.empty(shape_of(values, "database descriptors"), dtype)
    for start, block in row_blocks(values):
        result[start : start + len(block)] = block
    return result


def free_memory() -> int:
    """Bytes of memory that are free now, as far as the system tells; else 4 GiB."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration, ValueError):
        pass
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return 4 * 2**30


def _in_a_file(values: Any) -> bool:
    """Whether descriptors are the whole memory map of a file that will still be there later."""
    try:
        return isinstance(values, np.memmap) and bool(find_rows(values))
    except SciceVPRError:
        return False


def _is_of(index: StoredIndex, source: RowFile) -> bool:
    """Whether an index is of these descriptors: the same file, and where it was written since, the same content."""
    noted = index.manifest.sources
    if [replace(file, modified=0) for file in noted] != [replace(source, modified=0)]:
        return False
    return noted[0].modified == source.modified or not check_index(index.folder)


def _in_folder(values: Any, folder: Path, progress: StageProgress | None) -> StoredIndex:
    source = find_rows(values) if isinstance(values, np.memmap) else None
    if source is None:
        raise UsageError("An IVF-PQ index needs descriptors in a file: save them (.npy, .safetensors), give its map.")
    if folder.exists():
        found = open_index(folder)
        if _is_of(found, source) and not found.manifest.removed:
            return found
        raise IndexMismatchError(f"{folder} holds an index of other descriptors. Remove it, or name another folder.")
    return open_index(build_files(folder, [values], Settings("ivf-pq"), progress=progress))
