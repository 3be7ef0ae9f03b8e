"""gradio's upload cache, and what keeps memory and disk flat.

Files go by age and when there are too many, visits by age. One thread does it, whatever gradio remembers.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from app.core.limits import CACHE_BYTES, KEPT_S

logger = logging.getLogger(__name__)

EVERY_S = 30.0
FRESH_S, FRESH_UPLOADS = 1.0, 100
"""For how long a measurement counts while so many more uploads fit."""
JUST_MADE_S = 120.0
"""Younger files never go: somebody is writing or fetching them."""


def upload_folder() -> Path:
    """The folder that gradio keeps uploads in and serves: the page gives files from nowhere else."""
    return Path(os.path.abspath(os.environ.get("GRADIO_TEMP_DIR") or Path(tempfile.gettempdir()).resolve() / "gradio"))


@dataclass(frozen=True)
class _Entry:
    path: Path
    size: int
    changed: float


class UploadCache:
    """gradio's upload cache. most: bytes in it; age: seconds that a file stays. kept: gives paths that stay whatever
    their age (visits and the page's own pictures)."""

    def __init__(
        self, kept: Callable[[], Iterable[Path]], most: int = CACHE_BYTES, age: float = KEPT_S, now=time.time
    ) -> None:
        self.kept, self.most, self.age, self._now = kept, most, age, now
        self._lock = threading.Lock()
        self._measured = (-JUST_MADE_S, 0)

    def sweep(self, wanted: int = 0) -> int:
        """Remove what is too old, then the oldest until `wanted` bytes fit as well; returns the bytes that are left."""
        with self._lock:
            kept = {Path(os.path.realpath(path)) for path in self.kept()}
            entries = sorted(self._entries(), key=lambda entry: entry.changed)
            total, now = sum(entry.size for entry in entries), self._now()
            for entry in entries:
                aged = now - entry.changed
                if entry.path in kept or aged < min(JUST_MADE_S, self.age):
                    continue
                if aged > self.age or total + wanted > self.most:
                    _remove(entry.path)
                    total -= entry.size
            self._measured = now, total
            return total

    def has_room(self, size: int) -> bool:
        """Whether so many bytes more may be uploaded; measured anew when it may become tight."""
        when, total = self._measured
        if 0 <= self._now() - when < FRESH_S and total + FRESH_UPLOADS * size <= self.most:
            return True
        return self.sweep(size) + size <= self.most

    def _entries(self) -> list[_Entry]:
        try:
            paths = list(upload_folder().iterdir())
        except OSError:
            return []
        return [entry for entry in map(_measured, paths) if entry is not None]


class Upkeep:
    """A thread that does chores again and again. chores: called every so many seconds; an error ends none of them."""

    def __init__(self, chores: Iterable[Callable[[], object]], every: float = EVERY_S) -> None:
        self._chores, self._every = tuple(chores), every
        self._end = threading.Event()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def start(self) -> None:
        """Begin, unless it has."""
        with self._lock:
            if self._thread is None:
                self._end = threading.Event()
                self._thread = threading.Thread(target=self._run, args=(self._end,), name="upkeep", daemon=True)
                self._thread.start()

    def stop(self) -> None:
        """End after the chore at hand; it can be started again."""
        with self._lock:
            self._end.set()
            self._thread = None

    def do(self) -> None:
        """All chores, once."""
        for chore in self._chores:
            try:
                chore()
            except Exception:
                logger.exception("upkeep")

    def _run(self, end: threading.Event) -> None:
        while not end.wait(self._every):
            self.do()


def _measured(path: Path) -> _Entry | None:
    """A file, or a folder with all that is in it, with its bytes and the time of its newest change."""
    try:
        inside = [path, *path.rglob("*")] if path.is_dir() and not path.is_symlink() else [path]
        states = [file.lstat() for file in inside]
    except OSError:
        return None
    return _Entry(
        Path(os.path.realpath(path.parent)) / path.name,
        sum(state.st_size for state in states),
        max(state.st_ctime for state in states),
    )


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
