"""Looking for a text in what the program remembers: in its containers, and in every file below a folder."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePath
from typing import Any


def holders(texts: Iterable[str], known: Iterable[Any] = ()) -> Iterator[tuple[str, str]]:
    """(Text, what holds it): containers with a text, bytes or path that one of the texts is part of, newest first.

    known: objects of the test.
    """
    gc.collect()
    wanted = [(text, text.encode()) for text in texts]
    own = {id(one) for one in (*known, wanted, *wanted)}
    shortest = min(len(text) for text, _ in wanted)
    for thing in reversed(gc.get_objects()):
        if id(thing) in own:
            continue
        for part in _parts(thing):
            if not isinstance(part, (str, bytes, bytearray)):
                part = str(part) if isinstance(part, PurePath) else ""
            if len(part) < shortest:
                continue
            for text, raw in wanted:
                if (text if isinstance(part, str) else raw) in part and id(part) not in own:
                    yield text, f"{type(thing).__name__}: {str(thing)[:200]}"


def all_held(texts: list[str]) -> bool:
    """Whether something else than this list holds each of the texts; looks no further once it does."""
    missing = set(texts)
    return any(missing.discard(text) or not missing for text, _ in holders(texts, [texts, missing]))


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
