"""Checksums of files."""

from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path

MOST_KNOWN = 10_000
_lock = threading.Lock()
_known: dict[tuple[str, int], tuple[tuple[int, int, int], str]] = {}


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, 64 hex digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def forget_below(folder: Path) -> None:
    """Forget what is known of the files in a folder that goes away."""
    inside = os.path.abspath(folder) + os.sep
    with _lock:
        for key in [key for key in _known if key[0].startswith(inside)]:
            del _known[key]


def known_sha256(path: Path, offset: int = 0) -> str:
    """SHA-256 of a file from a byte on, 64 hex digits; read once as long as the file is not written to again."""
    state = path.stat()
    key, facts = (os.path.abspath(path), offset), (state.st_ino, state.st_size, state.st_mtime_ns)
    with _lock:
        found = _known.get(key)
    if found is not None and found[0] == facts:
        return found[1]
    with path.open("rb") as stream:
        stream.seek(offset)
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    with _lock:
        if len(_known) >= MOST_KNOWN:
            _known.clear()
        _known[key] = facts, digest
    return digest
