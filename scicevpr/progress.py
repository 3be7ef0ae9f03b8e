"""How long work tells how far it is; and how it throws a switch of the whole process, such as a logger's level."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

Progress = Callable[[int, int], None]  # called with (done, in all)
StageProgress = Callable[[str, int, int], None]  # called with (stage, done, in all)


def of_stage(progress: StageProgress | None, stage: str) -> Progress | None:
    """The progress of one stage; None where nobody listens."""
    return None if progress is None else lambda done, total: progress(stage, done, total)


_lock = threading.Lock()
_thrown: dict[Any, tuple[int, Any]] = {}  # of each switch: how many hold it, and what it was before


@contextmanager
def thrown(switch: Any, get: Callable[[], Any], put: Callable[[Any], None], value: Any) -> Iterator[None]:
    """Set a switch to ``value`` for a while. switch: what names it; get, put: read it and set it.

    Whoever comes while it is thrown finds it so; it is put back when nobody needs it any more, to what it was before
    the first.
    """
    with _lock:
        count, before = _thrown.get(switch, (0, None))
        if count == 0:
            before = get()
            put(value)
        _thrown[switch] = count + 1, before
    try:
        yield
    finally:
        with _lock:
            count, before = _thrown[switch]
            if count == 1:
                del _thrown[switch]
                put(before)
            else:
                _thrown[switch] = count - 1, before


@contextmanager
def silenced(names: Sequence[str], level: int) -> Iterator[None]:
    """Loggers of these names speak from ``level`` on only, for a while."""
    if not names:
        yield
        return
    logger = logging.getLogger(names[0])
    with thrown(("logger", names[0]), lambda: logger.level, logger.setLevel, level), silenced(names[1:], level):
        yield
