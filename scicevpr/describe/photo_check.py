"""Which photos cannot be read, told for all at once and before the long work."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from scicevpr.describe.preprocessing import MAX_PIXELS, check_pixels, open_header, open_photo
from scicevpr.errors import ImageError

TAIL = 1 << 16  # bytes at the end of a file in which its closing mark is looked for
CLOSING = {"JPEG": b"\xff\xd9", "MPO": b"\xff\xd9", "PNG": b"IEND"}
MOST_TOLD = 20


def damaged_photos(paths: Iterable[Path | str], max_pixels: int = MAX_PIXELS) -> list[tuple[Path, str]]:
    """(photo, why) of every photo that is missing, empty, no photo, too large or cut off, in the order given.

    Only the header and the end of a file are read; a photo without the closing mark of its format is decoded.
    """
    found = []
    for path in dict.fromkeys(map(Path, paths)):
        try:
            _check(path, max_pixels)
        except ImageError as error:
            found.append((path, str(error)))
    return found


def require_sound(paths: Iterable[Path | str], max_pixels: int = MAX_PIXELS) -> None:
    """Raise ImageError that names all photos that cannot be read."""
    paths = list(paths)
    found = damaged_photos(paths, max_pixels)
    if len(found) == 1:
        raise ImageError(found[0][1])
    if found:
        told = "\n".join(reason for _, reason in found[:MOST_TOLD])
        more = f"\nand {len(found) - MOST_TOLD} more" if len(found) > MOST_TOLD else ""
        raise ImageError(
            f"{len(found)} of {len(paths)} photos cannot be read. Mend or remove them, or leave them out "
            f"(--leave-out-damaged):\n{told}{more}"
        )


def _check(path: Path, max_pixels: int) -> None:
    with open_header(path, str(path)) as image:
        kind = image.format
        check_pixels(image.size, str(path), max_pixels)
    mark = CLOSING.get(kind)
    if mark is not None:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(max(0, size - min(TAIL, size // 4 + 16)))  # not as far back as a small picture in the Exif data
            if mark in file.read():
                return
    open_photo(path, max_pixels)
