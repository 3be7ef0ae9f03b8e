"""JSON from anywhere, read with limits: its length, its depth and its numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from scicevpr.errors import SciceVPRError

MAX_BYTES = 256 * 2**20
"""Of a JSON file; a record of the descriptors of a million photos has about half of that."""

MAX_DIGITS = 19
"""Of a whole number: what 64 bits hold."""


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
