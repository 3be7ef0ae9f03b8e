"""Build an index on disk: in bounded memory, with progress, resumable at any moment.

The work lies in OUT.building until it is done; then the folder gets its name. One pass over the descriptors, a part of
them at a time; every part's result is a file with a checksum, so a build that was killed goes on with the next part and
gives the same index, byte for byte (on the same machine with the same library versions and number of threads).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from scicevpr.errors import UsageError
from scicevpr.retrieval.builder_parts import WORK, remove_steps
from scicevpr.retrieval.index_manifest import LOCK, MANIFEST, STORED_TIERS, is_own, read_manifest
from scicevpr.retrieval.resumable_steps import Build, NotFiniteError, Progress, Settings
from scicevpr.retrieval.row_files import RowFile, find_rows, one_model

if TYPE_CHECKING:
    from filelock import BaseFileLock


def build_files(
    out: Path | str,
    sources: Sequence[Path | str | np.memmap],
    settings: Settings,
    *,
    restart: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Build an index of the rows of some descriptor files, one after the other. Returns its folder.

    Raises UsageError when ``out`` exists or is being built, for settings that do not fit, or values that are not
    finite; IndexMismatchError for descriptor files that cannot be read or differ in width.
    """
    from filelock import Timeout

    out = Path(out)
    if out.exists():
        raise _taken(out)
    files = [find_rows(source) for source in sources]
    _check(files, settings)
    draft = out.with_name(out.name + ".building")
    for place in (draft, out):
        if any(file.path.is_relative_to(os.path.abspath(place)) for file in files):
            raise UsageError(f"A descriptor file lies in {place}, where the index will be made. Move it elsewhere.")
    try:
        draft.mkdir(parents=True, exist_ok=True)
        with _lock(draft):
            if restart:
                _clear(draft)
            late = out.exists()  # another process has finished it just now
            try:
                if not late and not (draft / MANIFEST).is_file():  # else it was complete, only not yet in its place
                    Build(draft, out, files, settings, progress).run()
            except NotFiniteError:
                _clear(draft)  # of no use
                raise
            if not late:
                read_manifest(draft)
                remove_steps(draft / WORK)
    except NotFiniteError:
        _leave(draft)
        raise
    except FileExistsError as error:
        raise UsageError(f"{draft} is in the way of the build. Move it, or name another folder.") from error
    except Timeout as error:
        raise UsageError(f"{out} is being built by another process. Wait for it.") from error
    if late:
        _leave(draft)
        raise _taken(out)
    (draft / LOCK).unlink(missing_ok=True)
    draft.rename(out)
    return out


def _taken(out: Path) -> UsageError:
    return UsageError(f"{out} exists already. Remove it, or name another folder for the index.")


def _lock(draft: Path) -> BaseFileLock:
    from filelock import FileLock

    return FileLock(draft / LOCK, timeout=0)


def _clear(draft: Path) -> None:
    """Take away what a build has made; the caller holds the lock. Files of other names stay where they are."""
    remove_steps(draft / WORK)
    for path in draft.iterdir():
        if path.is_file() and (is_own(path.name) or path.name == MANIFEST):
            path.unlink()


def _leave(draft: Path) -> None:
    """Remove a draft in which nothing but the lock is left."""
    if draft.is_dir() and {path.name for path in draft.iterdir()} <= {LOCK}:
        (draft / LOCK).unlink(missing_ok=True)
        draft.rmdir()


def _check(files: Sequence[RowFile], settings: Settings) -> None:
    if settings.tier not in STORED_TIERS:
        raise UsageError(f"An index on disk is one of {', '.join(STORED_TIERS)}, not {settings.tier!r}.")
    if not files:
        raise UsageError("An index needs at least one descriptor file.")
    widths = {file.width for file in files}
    if len(widths) > 1:
        raise UsageError(f"The descriptor files hold rows of {sorted(widths)} values; an index needs one length.")
    one_model(files)
    count = sum(file.rows for file in files)
    if settings.tier == "lists" and (count < 2 or (settings.lists or 1) > count):
        raise UsageError(f"{settings.lists or 'Inverted'} lists need at least as many rows; there are {count}.")
