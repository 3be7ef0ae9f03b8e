"""Photos in folders: which files they are, in the order that decides which of them share a batch."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from scicevpr.errors import DatasetError

EXTENSIONS = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".ppm", ".pgm", ".avif",
)  # fmt: skip
UNREADABLE = (".heic", ".heif", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".jp2", ".jxl")
"""Photos that are not read here: they have to be saved as JPEG first."""


def list_photos(folder: Path | str) -> list[Path]:
    """All photos (EXTENSIONS, any case) below a folder, sorted by path; linked folders are followed.

    Raises DatasetError when the folder is missing, holds no photos, or holds a link to a photo that is not there.
    """
    folder = Path(folder)
    if not folder.exists():
        where = f" (a link to {os.readlink(folder)})" if folder.is_symlink() else ""
        raise DatasetError(f"The folder {folder}{where} does not exist.")
    if not folder.is_dir():
        raise DatasetError(f"{folder} is a file; a folder with photos was expected.")
    photos = sorted((Path(path) for path in _walk(folder)), key=str)
    if not photos:
        raise DatasetError(
            f"{folder} holds no photos: looked for {', '.join(EXTENSIONS)} there and in its subfolders, "
            f"found {listing(folder)}. {left_out_note(folder)}".rstrip()
        )
    return photos


def left_out_note(*folders: Path) -> str:
    """A sentence about photos below folders that are of a type that cannot be read; empty where there are none."""
    found = Counter(
        Path(name).suffix.lower()
        for folder in folders
        for _, _, names in os.walk(folder, followlinks=False)
        for name in names
        if not name.startswith(".") and name.lower().endswith(UNREADABLE)
    )
    if not found:
        return ""
    types = ", ".join(f"{count} {ending[1:].upper()}" for ending, count in sorted(found.items()))
    return f"{found.total()} files were left out, because their type is not read: {types}. Save them as JPEG."


def listing(folder: Path) -> str:
    """What a folder holds, in words for an error message."""
    names = sorted(path.name + ("/" if path.is_dir() else "") for path in folder.iterdir())
    if not names:
        return "an empty folder"
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")


def path_below(path: Path, root: Path) -> str | None:
    """A photo's path within a folder, with forward slashes, however both were written (relative, absolute, through a
    link); None where it lies elsewhere."""
    own, base = Path(os.path.abspath(path)), Path(os.path.abspath(root))
    if not own.is_relative_to(base):
        own, base = Path(os.path.realpath(own.parent), own.name), Path(os.path.realpath(base))
    return own.relative_to(base).as_posix() if own.is_relative_to(base) else None


def _walk(folder: Path) -> Iterator[str]:
    seen = set()  # real folders; a link back to a parent must not be walked for ever
    for base, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(base)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        for name in files:
            if name.startswith(".") or not name.lower().endswith(EXTENSIONS):
                continue
            path = os.path.join(base, name)
            if os.path.islink(path) and not os.path.exists(path):
                raise DatasetError(
                    f"{path} is a link to {os.readlink(path)}, which does not exist. Download or mount the photos it "
                    "points to, or remove the link."
                )
            yield path
