"""The photos of a pack's records: thumbnails that travel with it, or the user's own copy of the data set."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path

from scicevpr.datasets import Photo
from scicevpr.datasets.photos import EXTENSIONS
from scicevpr.describe.preprocessing import open_photo
from scicevpr.errors import DatasetError

PHOTOS_A_FOLDER = 1000  # a Hub repository should not have more than 10,000 files in a folder
QUALITY = 85
MOST_FILES = 5_000_000  # that are looked through for photos by their names


def write_thumbnails(
    folder: Path, part: str, places: Sequence[Photo], pixels: int, progress: Callable[[int, int], None]
) -> list[str]:
    """Write JPEG copies of at most `pixels` a side, without the photos' metadata. Returns their names below `folder`.

    Raises ImageError, naming the photo, for one that cannot be read.
    """
    names = []
    for row, place in enumerate(places):
        name = f"thumbnails/{part}/{row // PHOTOS_A_FOLDER:04d}/{row:07d}.jpg"
        small = open_photo(place.path)
        small.thumbnail((pixels, pixels))
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        small.save(folder / name, quality=QUALITY)
        names.append(name)
        progress(row + 1, len(places))
    return names


class PhotoFolder:
    """The user's own copy of a data set: its root, or the folder of the split. DatasetError when it does not exist."""

    def __init__(self, folder: Path, split: str = "") -> None:
        if not folder.is_dir():
            raise DatasetError(f"The photo folder {folder} {'is a file' if folder.exists() else 'does not exist'}.")
        if split and (split in (".", "..") or not split.isprintable() or any(mark in split for mark in "/\\:")):
            raise DatasetError(f"The pack calls its split {split[:40]!r}, which is no name of a folder. Do not use it.")
        self.folder = folder
        self._roots = (folder, folder / "images" / split, folder / split)

    def find(self, places: Sequence[Photo], otherwise: Sequence[Path]) -> tuple[list[Path], tuple[str, ...]]:
        """The photo of every place, else the path given `otherwise`; and a note if some are missing.

        A place's path is relative to the data set; a photo elsewhere is known by its name, if that occurs once. Raises
        DatasetError when the folder holds none of them.
        """
        paths, missing = [], []
        for place, other in zip(places, otherwise, strict=True):
            own = (root / place.path for root in self._roots)
            path = next((file for file in own if self._is_photo(file)), None) or self._by_name.get(
                unicodedata.normalize("NFC", place.name)
            )
            if path is None:
                missing.append(place)
            paths.append(path or other)
        if len(missing) == len(places):
            raise DatasetError(
                f"{self.folder} holds none of the {len(places)} photos of the pack; the first is {places[0].path}. "
                "Name the folder of the data set."
            )
        if not missing:
            return paths, ()
        first = missing[0].path
        return paths, (f"{len(missing)} of {len(places)} photos are not in {self.folder}, the first is {first}.",)

    def _is_photo(self, file: Path) -> bool:
        """True for a photo whose path leads into the folder; what the owner of the folder linked in it is followed."""
        inside = ".." not in file.parts[len(self.folder.parts) :] and file.is_relative_to(self.folder)
        return inside and file.name.lower().endswith(EXTENSIONS) and file.is_file()

    @cached_property
    def _by_name(self) -> dict[str, Path | None]:
        found: dict[str, Path | None] = {}
        seen = 0
        for place, _, names in os.walk(self.folder):
            seen += 1 + len(names)
            if seen > MOST_FILES:
                raise DatasetError(
                    f"{self.folder} holds more than {MOST_FILES:,} files and folders. Name the folder of the data set."
                )
            for name in names:
                if name.lower().endswith(EXTENSIONS) and self._is_photo(Path(place, name)):
                    key = unicodedata.normalize("NFC", name)
                    found[key] = None if key in found else Path(place, name)
        return found
