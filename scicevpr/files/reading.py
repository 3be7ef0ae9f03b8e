"""Reading what comes from anywhere: JSON with limits to its length, depth and numbers, and checksums of files."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from pathlib import Path
from typing import Any

from scicevpr.errors import SciceVPRError

MAX_BYTES = 256 * 2**20
"""Of a JSON file; a record of the descriptors of a million photos has about half of that."""

MAX_DIGITS = 19
"""Of a whole number: what 64 bits hold."""

MOST_KNOWN = 10_000
_lock = threading.Lock()
_known: dict[tuple[str, int], tuple[tuple[int, int, int], str]] = {}


def read_json(
    path: Path, error: type[SciceVPRError], remedy: str, max_bytes: int = MAX_BYTES, name: str | None = None
) -> Any:
    """The content of a JSON file. Raises ``error``, naming the file, for one that is missing, too long, no UTF-8, no
    JSON, nested deeper than Python reads, or with a whole number of more than 19 digits; remedy: what it advises;
    name: what it calls the file (default: the path)."""
    name = name or str(path)
    try:
        size = path.stat().st_size
        if size > max_bytes:
            raise error(f"{name} has {size} bytes of JSON; at most {max_bytes} are read. {remedy}")
        return parse_json(path.read_bytes())
    except OSError as failure:
        raise error(f"{name} cannot be read ({failure.strerror or failure}). {remedy}") from failure
    except ValueError as failure:
        raise error(f"{name} is not readable JSON ({failure}). {remedy}") from failure


def parse_json(text: str | bytes) -> Any:
    """Parse JSON. Raises ValueError also where Python's reader raises something else."""
    try:
        return json.loads(text.decode("utf-8-sig") if isinstance(text, bytes) else text, parse_int=_whole)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _whole(digits: str) -> int:
    if len(digits.lstrip("-")) > MAX_DIGITS:
        raise ValueError(f"it holds a whole number of {len(digits)} digits")
    return int(digits)


def safe_name(name: object) -> str:
    """A relative file name, perhaps in folders, that stays inside the folder it is read from. ValueError for others."""
    text = str(name)
    leaves = not isinstance(name, str) or any(part in ("", ".", "..") for part in text.split("/"))
    if leaves or "\\" in text or "\0" in text or text[1:2] == ":":
        raise ValueError(f"the file name {text!r} does not stay inside its folder")
    return text


def sha256_of(path: Path, offset: int = 0) -> str:
    """SHA-256 of a file from a byte on, 64 hex digits."""
    with path.open("rb") as stream:
        stream.seek(offset)
        return hashlib.file_digest(stream, "sha256").hexdigest()


def known_sha256(path: Path, offset: int = 0) -> str:
    """As `sha256_of`; read once as long as the file is not written to again."""
    state = path.stat()
    key, version = (os.path.abspath(path), offset), (state.st_ino, state.st_size, state.st_mtime_ns)
    with _lock:
        found = _known.get(key)
    if found is not None and found[0] == version:
        return found[1]
    digest = sha256_of(path, offset)
    with _lock:
        if len(_known) >= MOST_KNOWN:
            _known.clear()
        _known[key] = version, digest
    return digest


def forget_below(folder: Path) -> None:
    """Forget what is known of the files in a folder that goes away."""
    inside = os.path.abspath(folder) + os.sep
    with _lock:
        for key in [key for key in _known if key[0].startswith(inside)]:
            del _known[key]
