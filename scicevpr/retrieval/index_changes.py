"""Add rows to an index on disk, remove rows from it, and renumber what is left.

Every change is one step for whoever opens the index. Added rows come after the others. Removed rows are only no longer
found and keep their numbers, so that records beside the index stay valid; `compact_index` takes them out for good.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from scicevpr.errors import IndexMismatchError, UsageError
from scicevpr.retrieval.eight_bit import PER_ROW, Codes, encode
from scicevpr.retrieval.index_manifest import (
    LOCK,
    Manifest,
    check_files,
    file_facts,
    read_manifest,
    remove_unlisted,
    write_manifest,
)
from scicevpr.retrieval.index_parts import write_whole
from scicevpr.retrieval.inverted_lists import project, put_into_lists, read_lists, write_lists
from scicevpr.retrieval.row_files import RowFiles, find_rows, one_model, row_checksums
from scicevpr.retrieval.stored_index import StoredIndex, named, open_index, open_rows, read_codes, read_removed
from scicevpr.row_store import require_space

BLOCK_ROWS = 2048


def add_records(
    folder: Path | str, source: Path | str | np.ndarray, progress: Callable[[int, int], None] | None = None
) -> StoredIndex:
    """Add the rows of a descriptor file, which then belongs to the index, or of an array, which is copied into it.

    progress is called with (rows done, rows in all). Raises IndexMismatchError for another length of descriptors.
    """
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
        if file.width != manifest.dimension:
            raise IndexMismatchError(
                f"{file.path} holds descriptors of {file.width} values, the index {manifest.dimension}. Describe the "
                "photos with the model of the index."
            )
        one_model([*manifest.sources, file])
        start = sum(source.rows for source in manifest.sources)
        rows = RowFiles([file])
        checksums, codes = [], []
        lists = projection = None
        if manifest.tier == "lists":
            lists = read_lists(folder / named(manifest, "lists"), mapped=False)
            projection = np.load(folder / named(manifest, "projection"))
        for first in range(0, file.rows, BLOCK_ROWS):
            block = rows[first : first + BLOCK_ROWS]
            if not np.isfinite(block).all():
                raise UsageError("The descriptors contain NaN or infinite values; describe the photos again.")
            checksums.append(row_checksums(block))
            if manifest.tier == "8-bit":
                codes.append(encode(np.ascontiguousarray(block, np.float32)))
            elif lists is not None:
                short = project(projection, np.ascontiguousarray(block, np.float32))
                put_into_lists(lists, short, manifest.count + first, lists.quantizer.search(short, 1)[1][:, 0])
            if progress is not None:
                progress(min(first + BLOCK_ROWS, file.rows), file.rows)
        old = _rows(folder, manifest)
        order = np.concatenate([old["row"], np.arange(start, start + file.rows)])
        names -= {named(manifest, "rows")}
        names.add(_save_rows(folder, number, order, np.concatenate([old["checksum"], *checksums])))
        if codes:
            names -= {named(manifest, "scales")}
            names |= _save_codes(folder, number, read_codes(folder, manifest), codes)
        if lists is not None:
            names -= {named(manifest, "lists")}
            names.add(_save_lists(folder, number, lists))
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
    """Take removed rows out and number the others anew. Returns their old numbers [M]: row i was row ``old[i]``.

    Only the index's own files are written again, not the descriptors.
    """
    folder = Path(folder)
    with _change(folder) as manifest:
        kept = np.flatnonzero(~read_removed(folder, manifest))
        if not manifest.removed:
            return kept
        number, old = manifest.generation + 1, _rows(folder, manifest)
        names = {name for name in manifest.files if name.startswith(("projection-", "added-"))}
        names.add(_save_rows(folder, number, old["row"][kept], old["checksum"][kept]))
        if manifest.tier == "8-bit":
            names |= _save_codes(folder, number, [], _compacted(read_codes(folder, manifest), kept))
        elif manifest.tier == "lists":
            names.add(_save_lists(folder, number, _renumbered(folder / named(manifest, "lists"), kept)))
        added = int((kept >= manifest.count - manifest.added).sum())
        _finish(folder, replace(manifest, count=len(kept), removed=0, added=added, generation=number), names)
    return kept


@contextmanager
def _change(folder: Path) -> Iterator[Manifest]:
    from filelock import FileLock, Timeout

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
    files = known | file_facts(folder, sorted(names - set(known)))
    write_manifest(folder, replace(manifest, files=files))


def _rows(folder: Path, manifest: Manifest) -> dict[str, np.ndarray]:
    from safetensors.numpy import load_file

    return load_file(folder / named(manifest, "rows"))


def _save_rows(folder: Path, number: int, order: np.ndarray, checksums: np.ndarray) -> str:
    from safetensors.numpy import save_file

    name = f"rows-{number}.safetensors"
    write_whole(folder / name, lambda part: save_file({"checksum": checksums, "row": order.astype(np.int64)}, part))
    return name


def _save_codes(folder: Path, number: int, before: Sequence[Codes], new: Iterable[Codes]) -> set[str]:
    """Write new codes, and the scales of all."""
    from safetensors.numpy import save_file

    names, scales = set(), [[getattr(codes, field) for field in PER_ROW] for codes in before]
    for part, codes in enumerate(new):
        name = f"codes-{number}-{part:05d}.npy"
        _save(folder / name, codes.codes)
        names.add(name)
        scales.append([getattr(codes, field) for field in PER_ROW])
    arrays = {field: np.concatenate(parts) for field, parts in zip(PER_ROW, zip(*scales, strict=True), strict=True)}
    name = f"scales-{number}.safetensors"
    write_whole(folder / name, lambda part: save_file(arrays, part))
    return {*names, name}


def _save_lists(folder: Path, number: int, lists: object) -> str:
    name = f"lists-{number}.faiss"
    write_whole(folder / name, lambda part: write_lists(lists, part))
    return name


def _save(path: Path, array: np.ndarray) -> None:
    def write(part: Path) -> None:
        with part.open("wb") as stream:
            np.save(stream, array)

    write_whole(path, write)


def _compacted(codes: Sequence[Codes], kept: np.ndarray) -> Iterator[Codes]:
    starts = np.cumsum([0] + [len(part.codes) for part in codes])
    for part, first, end in zip(codes, starts[:-1], starts[1:], strict=True):
        rows = kept[(kept >= first) & (kept < end)] - first
        if len(rows):
            yield Codes(part.codes[rows], *(getattr(part, field)[rows] for field in PER_ROW))


def _renumbered(path: Path, kept: np.ndarray) -> object:
    """Inverted lists with the kept rows alone, numbered from 0."""
    import faiss

    lists = read_lists(path, mapped=False)
    new = faiss.ArrayInvertedLists(lists.nlist, lists.code_size)
    for number in range(lists.nlist):
        size = lists.invlists.list_size(number)
        if size == 0:
            continue
        ids = faiss.rev_swig_ptr(lists.invlists.get_ids(number), size)
        codes = faiss.rev_swig_ptr(lists.invlists.get_codes(number), size * lists.code_size).reshape(size, -1)
        places = np.searchsorted(kept, ids)
        stay = (places < len(kept)) & (kept[np.minimum(places, len(kept) - 1)] == ids)
        ids, codes = places[stay].astype(np.int64), np.ascontiguousarray(codes[stay])
        if len(ids):
            new.add_entries(number, len(ids), faiss.swig_ptr(ids), faiss.swig_ptr(codes))
    lists.replace_invlists(new, True)
    new.this.disown()
    lists.ntotal = len(kept)
    return lists
