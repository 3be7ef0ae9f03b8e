"""A visitor's places as one zip file, and such a zip opened again."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from scicevpr.datasets.intake import Limits, megabytes
from scicevpr.errors import DatasetError, UsageError
from scicevpr.packs.manifest import MANIFEST
from scicevpr.packs.pack import Pack

LONGEST_NAME = 200
CHUNK = 1 << 20


def zip_pack(pack: Pack, path: Path) -> Path:
    """The pack's folder as one file; its parts are packed well already."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for file in sorted(file for file in pack.folder.rglob("*") if file.is_file()):
            archive.write(file, Path(path.stem) / file.relative_to(pack.folder))
    return path


def pack_among(brought: Sequence[tuple[Path, str]]) -> Path | None:
    """The zip of a pack, if one was brought. UsageError when other files came with it."""
    packs = [path for path, name in brought if name.lower().endswith(".zip") and _root_of(path) is not None]
    if packs and len(brought) > 1:
        raise UsageError("One of these files is a pack. Bring it alone, or leave it out.")
    return packs[0] if packs else None


def unpack(path: Path, folder: Path, limits: Limits) -> Path:
    """Write the files of a pack's zip below folder, which must be new; the pack's own folder.

    The zip must be as `zip_pack` makes it: nothing is compressed, so nothing can swell. DatasetError for anything else.
    """
    root = _root_of(path)
    if root is None:
        raise DatasetError(f"{path.name} is not the zip of a pack.")
    with zipfile.ZipFile(path) as archive:
        entries = [entry for entry in archive.infolist() if not entry.is_dir()]
        size = sum(entry.file_size for entry in entries)
        if len(entries) > limits.entries or size > limits.total:
            raise DatasetError(
                f"{path.name} holds {len(entries):,} files of {megabytes(size)}; at most {limits.entries:,} files and "
                f"{megabytes(limits.total)} are taken."
            )
        for entry in entries:
            target = folder / _safe_name(entry, path.name)
            target.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(entry) as source, target.open("xb") as file:
                while part := source.read(CHUNK):
                    file.write(part)
    return folder / root


def file_name(title: str) -> str:
    """A title as a plain file name."""
    return re.sub(r"[^A-Za-z0-9]+", "-", title).strip("-").lower() or "my-places"


def _root_of(path: Path) -> PurePosixPath | None:
    """The folder inside a zip in which a pack's manifest lies; None for any other file."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [PurePosixPath(name) for name in archive.namelist()]
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return None
    found = [name.parent for name in names if name.name == MANIFEST and len(name.parts) <= 2]
    return found[0] if len(found) == 1 else None


def _safe_name(entry: zipfile.ZipInfo, archive: str) -> PurePosixPath:
    name = PurePosixPath(entry.filename)
    plain = not name.is_absolute() and ".." not in name.parts and len(entry.filename) <= LONGEST_NAME
    if entry.compress_type != zipfile.ZIP_STORED or not plain or re.search(r"[\\:\0]", entry.filename):
        raise DatasetError(f"{archive} is not a pack as My places makes them. Unpack it, and open the folder instead.")
    return name
