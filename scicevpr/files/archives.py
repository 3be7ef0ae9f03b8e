"""Unpacking archives from anywhere: zip and tar, nothing outside the folder, no links out of it. The free space is
checked first for a zip, whose list says how much it holds."""

from __future__ import annotations

import errno
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from scicevpr.errors import DatasetError, first_line
from scicevpr.files.writing import bytes_label

ENDINGS = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
LARGEST = 2**40  # bytes; no data set of the field that comes in one archive is as large


def is_archive(path: Path) -> bool:
    """True for a file that `unpack` reads, by its name."""
    return path.is_file() and path.name.lower().endswith(ENDINGS)


def unpack(
    path: Path,
    folder: Path,
    wanted: Callable[[str], bool] = lambda name: True,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Unpack the files of an archive into a folder, which is made. wanted: which members, by name. progress: called
    with (bytes done, bytes in all), where a zip tells them.

    Every file of a zip carries a checksum, a gzip one for the whole: both are compared. Raises DatasetError for an
    archive that is damaged, leads out of the folder, or is too large for the disk; what was unpacked so far stays.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        if zipfile.is_zipfile(path):
            _unzip(path, folder, wanted, progress)
        else:
            with tarfile.open(path) as archive:
                for member in archive:
                    if member.isfile() and wanted(member.name):
                        archive.extract(member, folder, filter="data")
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error, NotImplementedError, RuntimeError) as error:
        raise DatasetError(
            f"{path} is damaged or no archive ({first_line(error)}). Delete it and get it again; if it is the same "
            "then, the file was changed where it lies."
        ) from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DatasetError(
                f"The disk of {folder} is full; {path.name} was not unpacked whole. Free some space."
            ) from error
        if isinstance(error, tarfile.ReadError | zipfile.BadZipFile) or "CRC" in str(error):
            raise DatasetError(f"{path} is damaged ({first_line(error)}). Delete it and get it again.") from error
        raise DatasetError(f"{path} could not be unpacked into {folder} ({first_line(error)}).") from error


def _unzip(
    path: Path, folder: Path, wanted: Callable[[str], bool], progress: Callable[[int, int], None] | None
) -> None:
    with zipfile.ZipFile(path) as archive:
        members = [member for member in archive.infolist() if not member.is_dir() and wanted(member.filename)]
        size, free = sum(member.file_size for member in members), shutil.disk_usage(folder).free
        if size > min(free, LARGEST):
            raise DatasetError(
                f"{path.name} holds {bytes_label(size)}, and {bytes_label(free)} are free in {folder}. Free some "
                "space, or name a folder on another disk (--to)."
            )
        done = 0
        for member in members:
            parts = PurePosixPath(member.filename.replace("\\", "/")).parts
            if not parts or parts[0] == "/" or ".." in parts or ":" in parts[0]:
                raise DatasetError(
                    f"{path} holds {member.filename!r}, which leads out of the folder. It was not unpacked."
                )
            archive.extract(member, folder)
            done += member.file_size
            if progress is not None:
                progress(done, size)
