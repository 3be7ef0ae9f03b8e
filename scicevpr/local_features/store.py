"""Points kept beside a database's descriptors: found when first needed, one small file a photo, up to a size limit.

A file is named after the photo's content and the options, so it is right wherever the photo lies and never outdated.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from scicevpr.errors import UsageError
from scicevpr.files.photos import MAX_PIXELS
from scicevpr.files.reading import known_sha256
from scicevpr.local_features.points import LocalFeatures, PointOptions, find_points
from scicevpr.local_features.xfeat import DIMENSION
from scicevpr.progress import Progress

SIZE_LIMIT = 2 * 2**30  # bytes on the disk, about 15,000 photos
MEMORY_PHOTOS = 2048  # photos whose points stay in memory
SUFFIX = ".points"
MOST_BYTES = 4 * 2**20  # of one file: more is none of ours


class PointStore:
    """Points of photos, by photo. folder: where they are kept (made when first needed, readable for its owner only);
    None keeps them in memory alone. limit: bytes in the folder; what was not used for longest goes first.

    Safe for several threads; a file that is damaged is found anew. UsageError for a limit below 0."""

    def __init__(
        self,
        folder: Path | str | None = None,
        options: PointOptions | None = None,
        *,
        limit: int = SIZE_LIMIT,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        if limit < 0:
            raise UsageError(f"The size limit of kept points must not be negative, but is {limit} bytes.")
        self.folder = Path(folder) if folder is not None else None
        self.options, self.limit, self.max_pixels = options or PointOptions(), limit, max_pixels
        self.found, self.read = 0, 0  # photos whose points were computed, and read from the folder
        self._lock = threading.Lock()
        self._memory: OrderedDict[str, LocalFeatures] = OrderedDict()
        self._bytes: int | None = None

    def points(self, photo: Path | str | Any) -> LocalFeatures:
        """The points of a photo. Of a picture that is no file nothing is kept. Errors as in `find_points`."""
        if not isinstance(photo, Path | str) or not Path(photo).is_file():
            return find_points(photo, self.options, self.max_pixels)
        key = f"{known_sha256(Path(photo))[:40]}-{self.options.fingerprint}"
        with self._lock:
            kept = self._memory.get(key)
            if kept is not None:
                self._memory.move_to_end(key)
                return kept
        features = self._read(key)
        if features is None:
            features = find_points(photo, self.options, self.max_pixels)
            self._write(key, features)
            self.found += 1
        with self._lock:
            self._memory[key] = features
            while len(self._memory) > MEMORY_PHOTOS:
                self._memory.popitem(last=False)
        return features

    def fill(self, photos: Sequence[Path | str], progress: Progress | None = None) -> None:
        """Find and keep the points of many photos; progress is called with (photos done, photos in all)."""
        for number, photo in enumerate(photos, 1):
            self.points(photo)
            if progress is not None:
                progress(number, len(photos))

    def nbytes(self) -> int:
        """Bytes on the disk."""
        return sum(size for _, size, _ in self._files())

    def clear(self) -> None:
        """Remove everything that is kept, in memory and on the disk."""
        with self._lock:
            self._memory.clear()
            self._bytes = None
            for path, _, _ in self._files():
                path.unlink(missing_ok=True)
            if self.folder is not None:
                with contextlib.suppress(OSError):
                    self.folder.rmdir()

    def _files(self) -> list[tuple[Path, int, float]]:
        """(file, bytes, last use) of everything in the folder."""
        found = []
        if self.folder is not None and self.folder.is_dir():
            for entry in os.scandir(self.folder):
                with contextlib.suppress(FileNotFoundError):
                    if entry.name.endswith(SUFFIX) and entry.is_file(follow_symlinks=False):
                        found.append((Path(entry.path), entry.stat().st_size, entry.stat().st_mtime))
        return found

    def _read(self, key: str) -> LocalFeatures | None:
        if self.folder is None:
            return None
        path = self.folder / f"{key}{SUFFIX}"
        try:
            if path.stat().st_size > MOST_BYTES:
                return None
            content = path.read_bytes()
            if hashlib.sha256(content[32:]).digest() != content[:32]:
                return None
            features = _features(load_tensors(content[32:]))
            os.utime(path)
        except (OSError, SafetensorError, KeyError, ValueError):
            return None
        self.read += 1
        return features

    def _write(self, key: str, features: LocalFeatures) -> None:
        """Keep the points; a folder that cannot be written to is no reason to fail."""
        if self.folder is None:
            return
        tensors = {
            "cells": np.ascontiguousarray(features.cells),
            "descriptors": np.ascontiguousarray(features.descriptors),
            "sizes": np.array([features.grid, features.photo], np.int64),
        }
        content = save_tensors(tensors)
        with self._lock, contextlib.suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            if self._bytes is None:
                self._bytes = self.nbytes()
            self._make_room(len(content) + 32)
            if self._bytes + len(content) + 32 > self.limit:
                return
            number, part = tempfile.mkstemp(dir=self.folder)  # for its owner only, as the photo's database may be
            try:
                with os.fdopen(number, "wb") as file:
                    file.write(hashlib.sha256(content).digest() + content)
                os.replace(part, self.folder / f"{key}{SUFFIX}")
                self._bytes += len(content) + 32
            finally:
                Path(part).unlink(missing_ok=True)

    def _make_room(self, needed: int) -> None:
        """Remove what was not used for longest until the new file fits, and a tenth more."""
        if self._bytes is None or self._bytes + needed <= self.limit:
            return
        for path, size, _ in sorted(self._files(), key=lambda file: file[2]):
            if self._bytes + needed <= 0.9 * self.limit:
                break
            path.unlink(missing_ok=True)
            self._bytes -= size


def _features(tensors: dict[str, np.ndarray]) -> LocalFeatures:
    """The record of a kept file. ValueError for anything that cannot be one."""
    cells, descriptors, sizes = (tensors[name] for name in ("cells", "descriptors", "sizes"))
    kinds = (cells.dtype, descriptors.dtype, sizes.dtype) == (np.uint16, np.float16, np.int64)
    if not kinds or cells.shape != (len(cells), 2) or sizes.shape != (2, 2):
        raise ValueError("not the points of a photo")
    if descriptors.shape != (len(cells), DIMENSION) or (sizes < 1).any() or not np.isfinite(descriptors).all():
        raise ValueError("not the points of a photo")
    grid, photo = (tuple(int(side) for side in size) for size in sizes)
    if len(cells) and (cells.max(axis=0) >= grid).any():
        raise ValueError("points outside the photo")
    return LocalFeatures(cells, descriptors, (grid[0], grid[1]), (photo[0], photo[1]))
