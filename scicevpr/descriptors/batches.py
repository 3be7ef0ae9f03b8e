"""Batches: which photos share one, preparing them ahead of the model, and several at a time on a processor.

Which photos share a batch is an explicit choice everywhere, because CricaVPR's descriptors depend on it.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scicevpr.config import Preprocessing, Variant
from scicevpr.descriptors.preprocessing import prepare, to_views
from scicevpr.errors import UsageError

Batches = Generator[Tensor, None, None]
DEFAULT_SEQUENTIAL = 16  # CricaVPR's published evaluation: database and queries in file order, 16 photos a batch


@dataclass(frozen=True)
class Grouping:
    """Which photos share a batch: every photo alone, runs of ``size`` in the given order, or an explicit list.

    name: what an explicit list is called in a protocol."""

    kind: str
    size: int = 0
    groups: tuple[tuple[int, ...], ...] = ()
    name: str = ""

    @classmethod
    def alone(cls) -> Grouping:
        """Every photo in a batch of its own."""
        return cls("alone")

    @classmethod
    def sequential(cls, size: int) -> Grouping:
        """Runs of ``size`` photos in the given order; the last run may be shorter."""
        if size < 1:
            raise UsageError(f"A sequential grouping needs at least 1 photo a batch, not {size}.")
        return cls("sequential", size=size)

    @classmethod
    def explicit(cls, groups: Sequence[Sequence[int]], name: str = "") -> Grouping:
        """The given groups of photo indices; together they must hold every photo once."""
        return cls("groups", groups=tuple(tuple(int(i) for i in group) for group in groups), name=name)

    @classmethod
    def parse(cls, text: str) -> Grouping:
        """Read ``"alone"``, ``"sequential 16"``, ``"sequential:16"`` or ``"sequential"`` (16)."""
        kind, *size = text.replace(":", " ").split() or [""]
        if kind == "alone" and not size:
            return cls.alone()
        if kind == "sequential" and len(size) <= 1 and (not size or size[0].isdigit()):
            return cls.sequential(int(size[0]) if size else DEFAULT_SEQUENTIAL)
        raise UsageError(f"Grouping {text!r} is not understood. Write 'alone' or 'sequential:16'.")

    @property
    def label(self) -> str:
        """As a protocol says it, e.g. ``"sequential 16"``."""
        if self.kind == "sequential":
            return f"sequential {self.size}"
        return self.name or f"{len(self.groups)} explicit groups" if self.kind == "groups" else self.kind

    def split(self, count: int) -> list[tuple[int, ...]]:
        """The groups of ``count`` photos as index tuples. UsageError when an explicit list leaves a photo out, names
        one twice or one that is not there."""
        if self.kind == "alone":
            return [(i,) for i in range(count)]
        if self.kind == "sequential":
            return [tuple(range(i, min(i + self.size, count))) for i in range(0, count, self.size)]
        members = sorted(i for group in self.groups for i in group)
        if members != list(range(count)):
            raise UsageError(
                f"The explicit groups hold photos {members[:8]}{'…' if len(members) > 8 else ''}, but every photo "
                f"0..{count - 1} must be in exactly one group."
            )
        return [group for group in self.groups if group]


def default_grouping(variant: Variant) -> Grouping | None:
    """The published "sequential 16" where a descriptor depends on its batch; None where grouping cannot matter."""
    return Grouping.sequential(DEFAULT_SEQUENTIAL) if variant.cross_image else None


DEFAULT_WORKERS = 2
AHEAD = 2  # batches that are decoded or ready at most, besides the one in use


def photo_batches(
    images: Sequence[Any] | Tensor,
    groups: Sequence[Sequence[int]],
    preprocessing: Preprocessing,
    framing: str = "resize",
    workers: int = DEFAULT_WORKERS,
) -> Batches:
    """Prepare one batch [members * views, 3, H, W] per group, in the order of the groups. Order and values do not
    depend on ``workers``; 0 prepares in the calling thread, as do photos that are not files (an open picture may not be
    decoded by two threads at once). A photo that cannot be read raises ImageError when its batch is due."""
    if workers < 0:
        raise UsageError(f"The number of workers must be at least 0, not {workers}.")
    if isinstance(images, Tensor):
        if framing != "resize":
            raise UsageError(f"A prepared tensor cannot be framed again as {framing!r}; give the photos themselves.")
        yield from (images[list(group)] for group in groups)
    elif workers == 0 or not all(isinstance(image, (str, Path)) for image in images):
        yield from (prepare([images[i] for i in group], preprocessing, framing) for group in groups)
    else:
        yield from _threaded(images, groups, preprocessing, framing, workers)


def _threaded(
    paths: Sequence[str | Path],
    groups: Sequence[Sequence[int]],
    preprocessing: Preprocessing,
    framing: str,
    workers: int,
) -> Batches:
    pool = ThreadPoolExecutor(workers, thread_name_prefix="photos")
    waiting: deque[list[Future[Tensor]]] = deque()
    try:
        for group in groups:
            waiting.append([pool.submit(to_views, paths[i], preprocessing, framing) for i in group])
            if len(waiting) > AHEAD:
                yield torch.cat([photo.result() for photo in waiting.popleft()])
        while waiting:
            yield torch.cat([photo.result() for photo in waiting.popleft()])
    finally:
        pool.shutdown(cancel_futures=True)


BATCHES_PER_THREAD = 2  # with fewer batches a thread would stand idle at the end for longer than it gains before
_lock = threading.Lock()


def parallel_batches_for(batches: int, device: torch.device) -> int:
    """How many batches to compute at a time: as many as torch has threads, or 1 (few batches, not a processor)."""
    threads = torch.get_num_threads()
    return threads if device.type == "cpu" and batches >= BATCHES_PER_THREAD * threads else 1


def in_parallel_batches(run: Callable[[Tensor], Tensor], batches: Iterable[Tensor], parallel: int) -> Batches:
    """``run`` of every batch, in order and in inference mode, ``parallel`` of them at a time.

    1 is the calling thread, with all of torch's threads. Otherwise each batch has one thread: threads that share the
    products of one small batch wait for each other, and a sum by one thread does not depend on the number of cores.

    When the caller stops early or ``run`` fails, nothing is running any more afterwards.
    """
    if parallel == 1:
        for batch in batches:
            yield _inferred(run, batch)
        return
    with _lock:
        pool = _new_pool(parallel)
    waiting: deque[Future[Tensor]] = deque()
    try:
        for batch in batches:
            waiting.append(pool.submit(_inferred, run, batch))
            if len(waiting) > parallel:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()
        wait(waiting)


def _inferred(run: Callable[[Tensor], Tensor], batch: Tensor) -> Tensor:
    with torch.inference_mode():  # holds for a thread, not for those it starts
        return run(batch)


@lru_cache(maxsize=4)
def _new_pool(parallel: int) -> ThreadPoolExecutor:
    """Threads that compute alone. They live as long as the program, so that torch is told once."""
    threads, ready = torch.get_num_threads(), threading.Barrier(parallel + 1)

    def begin() -> None:
        torch.get_num_threads()  # takes over what holds for all threads: now, so that it does not later
        torch.set_num_threads(1)  # of this thread, and of those that meet torch from now on
        ready.wait()

    pool = ThreadPoolExecutor(parallel, thread_name_prefix="batches", initializer=begin)
    for _ in range(parallel):
        pool.submit(int)
    ready.wait()
    torch.set_num_threads(threads)
    return pool
