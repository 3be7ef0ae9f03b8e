"""Add rows to an index on disk, remove rows from it, and renumber what is left.

Every change is one step for whoever opens the index. Added rows come after the others. Removed rows are only no longer
found and keep their numbers, so that records beside the index stay valid; `compact_index` takes them out for good.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout
from safetensors.numpy import save_file

from scicevpr.errors import IndexMismatchError, UsageError
from scicevpr.files.writing import require_space, save_npy, written_whole
from scicevpr.progress import Progress
from scicevpr.retrieval.exact import PER_ROW, Codes, encode
from scicevpr.retrieval.ivf_pq import ShortCodes, fill_lists, project, read_lists, save_rows, write_lists
from scicevpr.retrieval.manifest import (
    LOCK,
    Manifest,
    check_files,
    describe_files,
    is_own,
    read_manifest,
    remove_unlisted,
    write_manifest,
)
from scicevpr.retrieval.rows import RowFiles, check_block, find_rows, in_single, one_model
from scicevpr.retrieval.stored_index import (
    StoredIndex,
    named,
    open_index,
    open_rows,
    read_bytes,
    read_codes,
    read_removed,
    row_table,
)

BLOCK_ROWS = 2048


def add_records(folder: Path | str, source: Path | str | np.ndarray, progress: Progress | None = None) -> StoredIndex:
    """Add the rows of a descriptor file, which then belongs to the index, or of an array, which is copied into it.
    progress is called with (rows done, rows in all). Raises IndexMismatchError for another length of descriptors."""
    folder = Path(folder)
    with _change(folder) as manifest:
        number = manifest.generation + 1
        names = set(manifest.files)
        if isinstance(source, np.ndarray) and not isinstance(source, np.memmap):
            name = f"added-{number}.npy"
            values = np.ascontiguousarray(source)
            require_space(folder, values.nbytes)
            _save(folder / name, values)
            names.add(name)
            file = find_rows(folder / name)
        else:
            file = find_rows(source)
            _check_place(folder, manifest, file.path)
        if file.width != manifest.dimension:
            raise IndexMismatchError(
                f"{file.path} holds descriptors of {file.width} dimensions, the index {manifest.dimension}. Describe "
                "the photos with the model of the index."
            )
        one_model([*manifest.sources, file])
        start = sum(source.rows for source in manifest.sources)
        rows = RowFiles([file])
        checksums, codes, found = [], [], []
        if manifest.tier == "ivf-pq":
            projection, ranges = (np.load(folder / named(manifest, kind)) for kind in ("projection", "ranges"))
        for first in range(0, file.rows, BLOCK_ROWS):
            block, found_checksums = rows.with_checksums(slice(first, first + BLOCK_ROWS))
            check_block(in_single(block), "descriptors", first)
            checksums.append(found_checksums)
            if manifest.tier == "int8":
                codes.append(encode(np.ascontiguousarray(block, np.float32)))
            elif manifest.tier == "ivf-pq":
                short = project(projection, np.ascontiguousarray(block, np.float32))
                found.append(ShortCodes(*ranges).encode(short))
            if progress is not None:
                progress(min(first + BLOCK_ROWS, file.rows), file.rows)
        old = row_table(folder, manifest)
        order = np.concatenate([old["row"], np.arange(start, start + file.rows)])
        names -= {named(manifest, "rows")}
        names.add(_save_rows(folder, number, order, np.concatenate([old["checksum"], *checksums])))
        if codes:
            names -= {named(manifest, "scales")}
            names |= _save_codes(folder, number, read_codes(folder, manifest), codes)
        if manifest.tier == "ivf-pq":
            names -= {named(manifest, "lists")}
            names |= _save_lists(folder, number, manifest, found, first=manifest.count)
        _finish(
            folder,
            replace(
                manifest,
                count=manifest.count + file.rows,
                added=manifest.added + file.rows,
                sources=(*manifest.sources, file),
                generation=number,
            ),
            names,
        )
    return open_index(folder, verify=False)


def remove_records(folder: Path | str, rows: Sequence[int] | np.ndarray) -> StoredIndex:
    """Rows that no search finds any more. The others keep their numbers. UsageError for a row that is not there."""
    folder = Path(folder)
    with _change(folder) as manifest:
        removed = read_removed(folder, manifest)
        wanted = np.unique(np.asarray(rows, np.int64))
        wrong = wanted[(wanted < 0) | (wanted >= manifest.count)]
        if len(wrong):
            raise UsageError(f"The index has no row {wrong[0]}: its rows go from 0 to {manifest.count - 1}.")
        removed[wanted] = True
        if removed.all():
            raise UsageError("This would remove every row; delete the index's folder instead.")
        number, gone = manifest.generation + 1, np.flatnonzero(removed)
        names = {name for name in manifest.files if not name.startswith("removed-")}
        name = f"removed-{number}.npy"
        _save(folder / name, gone)
        _finish(folder, replace(manifest, removed=len(gone), generation=number), {*names, name})
    return open_index(folder, verify=False)


def compact_index(folder: Path | str) -> np.ndarray:
    """Take removed rows out and number the others anew. Returns their old numbers [M]: row i was row ``old[i]``. Only
    the index's own files are written again, not the descriptors."""
    folder = Path(folder)
    with _change(folder) as manifest:
        kept = np.flatnonzero(~read_removed(folder, manifest))
        if not manifest.removed:
            return kept
        number, old = manifest.generation + 1, row_table(folder, manifest)
        names = {name for name in manifest.files if name.startswith(("projection-", "ranges-", "added-"))}
        names.add(_save_rows(folder, number, old["row"][kept], old["checksum"][kept]))
        if manifest.tier == "int8":
            names |= _save_codes(folder, number, [], _compacted(read_codes(folder, manifest), kept))
        elif manifest.tier == "ivf-pq":
            pieces = read_bytes(folder, manifest)
            left = [piece[rows] for piece, rows in zip(pieces, _rows_of_pieces(pieces, kept), strict=True)]
            names |= _save_lists(folder, number, manifest, left, first=0)
        added = int((kept >= manifest.count - manifest.added).sum())
        _finish(folder, replace(manifest, count=len(kept), removed=0, added=added, generation=number), names)
    return kept


def _check_place(folder: Path, manifest: Manifest, path: Path) -> None:
    """UsageError for a descriptor file that lies in the index under a name that the index may use itself."""
    inside = path.parent == Path(os.path.abspath(folder)) and path.name not in manifest.files
    if inside and is_own(path.name):
        raise UsageError(
            f"{path} lies in the index's folder under a name that the index gives to its own files. Move it elsewhere, "
            "or give it another name, then add it."
        )


@contextmanager
def _change(folder: Path) -> Iterator[Manifest]:
    read_manifest(folder)
    try:
        with FileLock(folder / LOCK, timeout=0):
            manifest = read_manifest(folder)
            problems = check_files(folder, manifest)
            if problems:
                raise IndexMismatchError(problems[0])
            open_rows(folder, manifest)
            yield manifest
            remove_unlisted(folder, read_manifest(folder))
    except Timeout as error:
        raise UsageError(f"{folder} is being changed by another process. Try again when it is done.") from error


def _finish(folder: Path, manifest: Manifest, names: set[str]) -> None:
    known = {name: manifest.files[name] for name in names if name in manifest.files}
    files = known | describe_files(folder, sorted(names - set(known)))
    write_manifest(folder, replace(manifest, files=files))


def _save_rows(folder: Path, number: int, order: np.ndarray, checksums: np.ndarray) -> str:
    name = f"rows-{number}.safetensors"
    with written_whole(folder / name) as part:
        save_file({"checksum": checksums, "row": order.astype(np.int64)}, part)
    return name


def _save_codes(folder: Path, number: int, before: Sequence[Codes], new: Iterable[Codes]) -> set[str]:
    """Write new codes, and the scales of all."""
    names, scales = set(), [[getattr(codes, field) for field in PER_ROW] for codes in before]
    for piece, codes in enumerate(new):
        name = f"codes-{number}-{piece:05d}.npy"
        _save(folder / name, codes.codes)
        names.add(name)
        scales.append([getattr(codes, field) for field in PER_ROW])
    arrays = {field: np.concatenate(parts) for field, parts in zip(PER_ROW, zip(*scales, strict=True), strict=True)}
    name = f"scales-{number}.safetensors"
    with written_whole(folder / name) as part:
        save_file(arrays, part)
    return {*names, name}


def _save_lists(folder: Path, number: int, manifest: Manifest, found: Sequence[np.ndarray], first: int) -> set[str]:
    """Write byte codes [R, K] of rows from ``first`` on, and lists with them; from 0 on: with them alone."""
    lists = read_lists(folder / named(manifest, "lists"))
    if first == 0:
        lists.reset()
    codes = ShortCodes(*np.load(folder / named(manifest, "ranges")))
    fill_lists(lists, codes, found, first=first)
    names = f"bytes-{number}.npy", f"lists-{number}.faiss"
    count = sum(map(len, found))
    with written_whole(folder / names[0]) as part:
        save_rows(part, found, count, len(codes.low))
    with written_whole(folder / names[1]) as part:
        write_lists(lists, part)
    return set(names)


def _save(path: Path, array: np.ndarray) -> None:
    with written_whole(path) as part:
        save_npy(part, array)


def _compacted(codes: Sequence[Codes], kept: np.ndarray) -> Iterator[Codes]:
    for part, rows in zip(codes, _rows_of_pieces([part.codes for part in codes], kept), strict=True):
        if len(rows):
            yield Codes(part.codes[rows], *(getattr(part, field)[rows] for field in PER_ROW))


def _rows_of_pieces(pieces: Sequence[np.ndarray], kept: np.ndarray) -> list[np.ndarray]:
    """Of each piece, the rows in it that are kept; kept: row numbers of all pieces together, in order."""
    ends = np.cumsum([len(piece) for piece in pieces])
    return [
        kept[(kept >= end - len(piece)) & (kept < end)] - (end - len(piece))
        for piece, end in zip(pieces, ends, strict=True)
    ]
