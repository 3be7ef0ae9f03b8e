"""What somebody brought, as photos in one folder: single files and zips, checked before anything is unpacked."""

from __future__ import annotations

import hashlib
import lzma
import re
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from scicevpr.datasets.photos import EXTENSIONS, UNREADABLE, list_photos
from scicevpr.errors import DatasetError, UsageError
from scicevpr.progress import Progress

QUERY_FOLDERS = ("queries", "query")
BLOCK = 1 << 20
DIRECTORY = 1_000  # bytes that a zip's list may spend on a file
LIST_SIZE = 5  # where zipfile's record of the end holds the list's bytes
CLEAN = re.compile(r"[\x00-\x1f\\:]")
PACKING = (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, ValueError, zlib.error, lzma.LZMAError)
SMALL = 1_000_000  # bytes: what unpacks to less is no bomb, however well it was packed


@dataclass(frozen=True)
class Limits:
    """What is accepted at most. photos: their number. total, file: bytes in all, and of one photo. ratio: bytes that a
    packed byte may become. entries: files of any kind in a zip. tables, table: number of CSV files, bytes of one."""

    photos: int = 500
    total: int = 200_000_000
    file: int = 25_000_000
    ratio: float = 100.0
    entries: int = 5_000
    tables: int = 4
    table: int = 2_000_000

    @property
    def sentence(self) -> str:
        """The limits in one sentence."""
        return (
            f"At most {self.photos:,} photos, {megabytes(self.total)} in all and {megabytes(self.file)} each; a zip "
            "may have folders."
        )


@dataclass(frozen=True)
class Gathered:
    """Photos in a folder, sorted by path. tables: CSV files among them. left_out: (name, why) of photos not taken.
    ignored: names of other files, which nobody needs."""

    folder: Path
    photos: tuple[Path, ...]
    tables: tuple[Path, ...] = ()
    left_out: tuple[tuple[str, str], ...] = ()
    ignored: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Item:
    """A file on its way in: what it is called below the folder, its stated size, and how it is opened."""

    name: str
    size: int
    open: Callable[[], BinaryIO]


def gather(
    brought: Sequence[tuple[Path, str]], folder: Path, limits: Limits = Limits(), progress: Progress | None = None
) -> Gathered:
    """Copy photos and the photos of zips into a folder. brought: (file, its name) for every file.

    Folders of a zip are kept. A photo with the same content as another is left out, and both are named; photos of the
    same name but other content are all taken. Raises UsageError for too much of anything, DatasetError for a zip that
    is damaged, locked or unsafe (paths that leave the folder, links, bombs). Then nothing has been unpacked.
    """
    with _opened(brought, limits) as items:
        photos, tables, left_out, ignored = _sorted_out(items, limits)
        _check_amount(photos, tables, limits)
        taken: dict[str, str] = {}
        names: set[str] = set()
        paths: list[Path] = []
        for done, item in enumerate(photos, 1):
            name = _free(item.name, names)
            path = folder / "photos" / name
            digest = _copy(item, path)
            if digest in taken:
                path.unlink()
                left_out.append((name, f"the same photo as {taken[digest]}"))
            else:
                taken[digest] = name
                names.add(name.lower())
                paths.append(path)
            if progress is not None:
                progress(done, len(photos))
        found = [folder / "tables" / str(n) / PurePosixPath(item.name).name for n, item in enumerate(tables)]
        for item, path in zip(tables, found, strict=True):
            _copy(item, path)
    root = folder / "photos"
    return Gathered(root, tuple(sorted(paths, key=str)), tuple(found), tuple(left_out), tuple(ignored))


def gather_folder(folder: Path, limits: Limits) -> Gathered:
    """The photos of a folder on this machine, where they are. Raises DatasetError without any, UsageError for too
    many; their sizes do not matter."""
    photos = list_photos(folder)
    if len(photos) > limits.photos:
        raise UsageError(
            f"{folder} holds {len(photos):,} photos; at most {limits.photos:,} are taken here. `scicevpr pack build` "
            "takes any number."
        )
    tables = sorted(path for path in folder.glob("*.csv") if path.is_file())
    return Gathered(folder, tuple(photos), tuple(tables))


def in_query_folder(path: Path, root: Path) -> bool:
    """True for a photo below a folder that is called queries or query."""
    return any(part.lower() in QUERY_FOLDERS for part in path.relative_to(root).parts[:-1])


def megabytes(size: int) -> str:
    """Bytes in words: "25 MB"."""
    return f"{size / 1e6:.3g} MB" if size < 1e9 else f"{size / 1e9:.3g} GB"


@contextmanager
def _opened(brought: Sequence[tuple[Path, str]], limits: Limits) -> Iterator[list[_Item]]:
    archives: list[zipfile.ZipFile] = []
    items: list[_Item] = []
    try:
        for path, name in brought:
            if not path.is_file():
                raise UsageError(f"{name} is not on the server any more. Choose it again.")
            if not name.lower().endswith(".zip"):
                name = CLEAN.sub("_", PurePosixPath(name).name)
                items.append(_Item(name, path.stat().st_size, partial(path.open, "rb")))
                continue
            try:
                _check_directory(path, name, limits)
                archive = zipfile.ZipFile(path)
            except (*PACKING, OSError) as error:
                raise DatasetError(f"{name} is not a readable zip ({error}). Pack it again.") from error
            archives.append(archive)
            items += _entries(archive, name, limits)
        yield items
    finally:
        for archive in archives:
            archive.close()


def _check_directory(path: Path, label: str, limits: Limits) -> None:
    """Refuse a list of files so long that reading it would already cost too much."""
    with path.open("rb") as file:
        end = zipfile._EndRecData(file)  # type: ignore[attr-defined]  # not public: what ZipFile itself reads first
    if end is not None and end[LIST_SIZE] > limits.entries * DIRECTORY:
        raise UsageError(f"{label} holds far more files than the {limits.entries:,} that are read. Split it.")


def _entries(archive: zipfile.ZipFile, label: str, limits: Limits) -> list[_Item]:
    """The files of a zip, after the checks that need no unpacking."""
    entries = [entry for entry in archive.infolist() if not entry.is_dir()]
    if len(entries) > limits.entries:
        raise UsageError(f"{label} holds {len(entries):,} files; at most {limits.entries:,} are read. Split it.")
    for entry in entries:
        parts = entry.filename.split("/")
        if "\\" in entry.filename or ".." in parts or parts[0] == "" or parts[0][1:2] == ":":
            raise DatasetError(
                f"{label} holds the path {entry.filename!r}, which leaves its folder. Nothing was unpacked: pack plain "
                "files and folders."
            )
        if stat.S_ISLNK(entry.external_attr >> 16):
            raise DatasetError(f"{label} holds the link {entry.filename!r}. Nothing was unpacked: pack the photo.")
        if entry.flag_bits & 1:
            raise DatasetError(f"{label} is locked with a password. Pack it again without one.")
        if entry.file_size > max(SMALL, limits.ratio * entry.compress_size):
            raise DatasetError(
                f"{label} holds {entry.filename!r}, which would unpack to {megabytes(entry.file_size)} from "
                f"{megabytes(entry.compress_size)}. No photo packs that well, so nothing was unpacked."
            )
    return [_Item(_relative(entry.filename), entry.file_size, partial(archive.open, entry)) for entry in entries]


def _relative(name: str) -> str:
    return "/".join(CLEAN.sub("_", part) for part in name.split("/") if part not in ("", "."))


def _sorted_out(
    items: Sequence[_Item], limits: Limits
) -> tuple[list[_Item], list[_Item], list[tuple[str, str]], list[str]]:
    """Photos, tables, photos that are left out with the reason, and names of files that nobody needs."""
    photos: list[_Item] = []
    tables: list[_Item] = []
    left_out, ignored = [], []
    for item in items:
        path = PurePosixPath(item.name)
        suffix, hidden = path.suffix.lower(), any(part.startswith(".") or part == "__MACOSX" for part in path.parts)
        if hidden or suffix not in (*EXTENSIONS, *UNREADABLE, ".csv"):
            ignored.append(item.name)
        elif suffix in UNREADABLE:
            left_out.append((item.name, f"{suffix[1:].upper()} cannot be read: save it as JPEG first"))
        elif item.size > limits.file:
            left_out.append((item.name, f"{megabytes(item.size)}, and at most {megabytes(limits.file)} are taken"))
        else:
            (tables if suffix == ".csv" else photos).append(item)
    return photos, tables, left_out, ignored


def _check_amount(photos: Sequence[_Item], tables: Sequence[_Item], limits: Limits) -> None:
    total = sum(item.size for item in photos)
    if len(photos) > limits.photos:
        raise UsageError(
            f"These are {len(photos):,} photos; at most {limits.photos:,} are taken at once. Leave some out, or build "
            "a pack on your own machine: scicevpr pack build."
        )
    if total > limits.total:
        raise UsageError(
            f"These photos have {megabytes(total)} together; at most {megabytes(limits.total)} are taken. Make them "
            "smaller (1,000 pixels a side are plenty), or leave some out."
        )
    if len(tables) > limits.tables:
        raise UsageError(
            f"There are {len(tables):,} tables among the files; at most {limits.tables:,} are read. Keep one, the one "
            "with the photos' positions."
        )
    for item in tables:
        check_table_size(item.size, item.name, limits)


def check_table_size(size: int, name: str, limits: Limits) -> None:
    """Refuse a table larger than is read. UsageError."""
    if size > limits.table:
        raise UsageError(
            f"The table {name} has {megabytes(size)}; at most {megabytes(limits.table)} are read. Keep a row a photo."
        )


def _free(name: str, taken: set[str]) -> str:
    """The name, in a numbered folder where another photo has it already."""
    free, number = name, 2
    while free.lower() in taken:
        free, number = f"{number}/{name}", number + 1
    return free


def _copy(item: _Item, path: Path) -> str:
    """Write a file, never more bytes than were stated; returns its hash."""
    digest, left = hashlib.sha256(), item.size
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with item.open() as source, path.open("wb") as target:
            while block := source.read(min(BLOCK, left + 1)):
                left -= len(block)
                if left < 0:
                    raise DatasetError(f"{item.name} is larger than its zip says. Pack it again.")
                digest.update(block)
                target.write(block)
    except PACKING as error:
        raise DatasetError(f"{item.name} cannot be unpacked ({error}). Pack it again.") from error
    except OSError as error:
        raise UsageError(f"{item.name} could not be kept ({error.strerror or error}). Try another name.") from error
    return digest.hexdigest()
