"""How a reader is tried with foreign bytes: many inputs, one promise.

The promise: a SciceVPRError with a sentence, or an answer; never another exception, more than five seconds of the
processor, more than 500 MB, or a file outside the folder that the reader was given.

The same inputs every time, unless SCICEVPR_FUZZ_SECONDS asks for that many seconds of new ones, over all readers
(`scripts/test --long`); a finding prints the seed and the smallest input.
"""

from __future__ import annotations

import copy
import os
import resource
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from scicevpr.errors import SciceVPRError

READERS = 13
EXAMPLES = 60
CPU_SECONDS, MEGABYTES = 5.0, 500
ODD = [
    *(0, -1, 1, 2**31, 2**63, -(2**63), 10**30, 0.5, -0.0, 1e308, float("nan"), float("inf"), True, None),
    *("", "x" * 5000, "../../etc/passwd", "\0", "=1+1", "NaN", "\ud800"),
    *([], {}, [[]], [None], {"a": 1}, [1e30]),
]
"""Values that a field of a record should not have."""


def explore(strategy: st.SearchStrategy, read: Callable[[Any], object], examples: int = EXAMPLES) -> None:
    """Call ``read`` with many inputs and hold it to the promise."""
    _run(strategy, read, 0, examples)
    share = float(os.environ.get("SCICEVPR_FUZZ_SECONDS") or 0) / READERS
    end, number = time.monotonic() + share, 1
    while time.monotonic() < end:
        _run(strategy, read, number, examples)
        number += 1


def keeps_the_promise(use: Callable[..., object], *arguments: Any) -> None:
    """Call something that may refuse with a sentence, and in no other way."""
    said = None
    try:
        use(*arguments)
    except SciceVPRError as error:
        said = str(error)
    assert said is None or len(said) > 10, "a sentence is promised"


def _run(strategy: st.SearchStrategy, read: Callable[[Any], object], number: int, examples: int) -> None:
    @seed(number)
    @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(strategy)
    def holds(value: Any) -> None:
        with _bounded():
            keeps_the_promise(read, value)

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    holds()
    used = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert used < MEGABYTES, f"{used:.0f} MB of memory"


@contextmanager
def _bounded() -> Iterator[None]:
    """Seconds of the processor, not of the clock: a busy machine makes no finding."""

    def too_long(*_: object) -> None:
        raise TimeoutError(f"more than {CPU_SECONDS} seconds of the processor")

    before = signal.signal(signal.SIGPROF, too_long)
    signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def mutated(*samples: bytes) -> st.SearchStrategy[bytes]:
    """Sound bytes with a few of them changed, cut off, doubled or replaced; or bytes of no meaning."""
    kinds = st.sampled_from(["flip", "set", "cut", "drop", "double"])
    edits = st.lists(st.tuples(st.floats(0, 1), kinds, st.binary(min_size=1, max_size=9)), min_size=1, max_size=5)
    return st.one_of(st.builds(_edited, st.sampled_from(samples), edits), st.binary(max_size=300))


def _edited(sample: bytes, edits: list[tuple[float, str, bytes]]) -> bytes:
    content = bytearray(sample)
    for place, what, new in edits:
        at = int(place * max(0, len(content) - 1))
        if what == "flip" and content:
            content[at] ^= new[0]
        elif what == "set":
            content[at : at + len(new)] = new
        elif what == "cut":
            del content[at:]
        elif what == "drop":
            del content[at : at + len(new) * 8]
        elif what == "double":
            content[at:at] = content[at : at + 4000]
    return bytes(content)


def changed(content: Any) -> st.SearchStrategy[Any]:
    """A JSON value with up to three of its parts replaced by odd ones, or taken away."""
    changes = st.lists(st.tuples(st.integers(0, 10**6), st.sampled_from([*ODD, KeyError])), min_size=1, max_size=3)
    return st.builds(_changed, st.just(content), changes)


def _changed(content: Any, changes: list[tuple[int, Any]]) -> Any:
    content = copy.deepcopy(content)
    for number, new in changes:
        places = list(_places(content))
        holder, key = places[number % len(places)]
        if new is KeyError:
            del holder[key]
        else:
            holder[key] = copy.deepcopy(new)
        if not content:
            break
    return content


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in list(items):
        yield value, key
        yield from _places(inner)


def listing(folder: Path) -> set[str]:
    """Everything below a folder, by name."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}
