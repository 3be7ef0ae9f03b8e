"""Looking for a text in what the program remembers: in its containers, and in every file below a folder."""

from __future__ import annotations

import gc
from collections.abc import Iterable
from pathlib import Path, PurePath
from typing import Any


def holders(text: str, known: Iterable[Any] = ()) -> list[str]:
    """What holds the text: containers with a text, bytes or path that it is part of. known: objects of the test."""
    gc.collect()
    own, found = {id(one) for one in known}, []
    for thing in gc.get_objects():
        if id(thing) in own:
            continue
        if any(id(part) not in own and _has(part, text) for part in _parts(thing)):
            found.append(f"{type(thing).__name__}: {str(thing)[:200]}")
    return found


def _parts(thing: Any) -> Iterable[Any]:
    """What a container holds, and what is in the containers in it that the collector does not list themselves."""
    if isinstance(thing, PurePath):
        return [thing]
    if isinstance(thing, dict):
        parts: list[Any] = [*thing.keys(), *thing.values()]
    elif isinstance(thing, (list, tuple, set, frozenset)):
        parts = list(thing)
    else:
        return []
    inner = [part for part in parts if isinstance(part, (dict, tuple, frozenset)) and not gc.is_tracked(part)]
    return [*parts, *(piece for part in inner for piece in _parts(part))]


def files_with(folder: Path, contents: Iterable[bytes]) -> list[Path]:
    """Files below a folder that are one of the given contents, or hold one of them (as an archive does)."""
    wanted = list(contents)
    files = (path for path in folder.rglob("*") if path.is_file())
    return [path for path in files if any(content in path.read_bytes() for content in wanted)]


def _has(part: Any, text: str) -> bool:
    if isinstance(part, str):
        return text in part
    if isinstance(part, (bytes, bytearray)):
        return text.encode() in part
    return isinstance(part, PurePath) and text in str(part)
