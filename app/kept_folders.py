"""Folders for files that a page offers for download: the newest few stay, so that a busy day cannot fill the disk."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections import deque
from pathlib import Path

KEPT = 24


class KeptFolders:
    """New temporary folders, of which the last ``kept`` stay on disk. prefix: of their names."""

    def __init__(self, prefix: str, kept: int = KEPT) -> None:
        self._prefix, self._kept = prefix, kept
        self._folders: deque[Path] = deque()
        self._lock = threading.Lock()

    def new(self) -> Path:
        """A new, empty folder; the oldest ones go."""
        folder = Path(tempfile.mkdtemp(prefix=self._prefix))
        with self._lock:
            self._folders.append(folder)
            old = [self._folders.popleft() for _ in range(len(self._folders) - self._kept)]
        for path in old:
            shutil.rmtree(path, ignore_errors=True)
        return folder
