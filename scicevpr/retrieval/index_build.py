"""Build an index on disk: in bounded memory, with progress, resumable at any moment.

The work lies in OUT.building until it is done; then the folder gets its name. One pass over the descriptors, a part of
them at a time; every part's result is a file with a checksum, so a build that was killed goes on with the next part and
gives the same index, byte for byte (on the same machine with the same library versions and number of threads).
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from scicevpr.errors import UsageError
from scicevpr.retrieval.index_manifest import LOCK, MANIFEST, STORED_TIERS, read_manifest
from scicevpr.retrieval.index_steps import Build, NotFiniteError, Progress, Settings
from scicevpr.retrieval.row_files import RowFile, find_rows, one_model


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
    from filelock import FileLock, Timeout

    out = Path(out)
    if out.exists():
        raise UsageError(f"{out} exists already. Remove it, or name another folder for the index.")
    files = [find_rows(source) for source in sources]
    _check(files, settings)
    draft = out.with_name(out.name + ".building")
    if restart and draft.exists():
        shutil.rmtree(draft)
    draft.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(draft / LOCK, timeout=0):
            if not (draft / MANIFEST).is_file():  # else it was complete, only not yet in its place
                Build(draft, out, files, settings, progress).run()
            read_manifest(draft)
            shutil.rmtree(draft / "work", ignore_errors=True)
    except NotFiniteError:
        shutil.rmtree(draft)  # of no use
        raise
    except Timeout as error:
        raise UsageError(f"{out} is being built by another process. Wait for it.") from error
    (draft / LOCK).unlink(missing_ok=True)
    draft.rename(out)
    return out


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
