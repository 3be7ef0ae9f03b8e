"""Many batches on a processor: several at a time, each by one thread.

Threads that share the products of one small batch wait for each other; threads with a batch of their own do not. And a
sum that one thread computes does not depend on how many cores there are.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import lru_cache

import torch
from torch import Tensor

BATCHES_PER_LANE = 2
"""With fewer batches a lane would stand idle at the end for longer than it gains before."""

_lock = threading.Lock()


def parallel_batches_for(batches: int, device: torch.device) -> int:
    """How many batches to compute at a time: as many as torch has threads, or 1 (few batches, not a processor)."""
    threads = torch.get_num_threads()
    return threads if device.type == "cpu" and batches >= BATCHES_PER_LANE * threads else 1


def in_parallel_batches(run: Callable[[Tensor], Tensor], batches: Iterable[Tensor], lanes: int) -> Iterator[Tensor]:
    """``run`` of every batch, in order and in inference mode; one lane is the calling thread with all its threads.

    When the caller stops early or ``run`` fails, nothing is running any more afterwards.
    """
    if lanes == 1:
        for batch in batches:
            yield _inferred(run, batch)
        return
    pool, waiting = _pool(lanes), deque[Future[Tensor]]()
    try:
        for batch in batches:
            waiting.append(pool.submit(_inferred, run, batch))
            if len(waiting) > lanes:
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


def _pool(lanes: int) -> ThreadPoolExecutor:
    with _lock:
        return _new_pool(lanes)


@lru_cache(maxsize=4)
def _new_pool(lanes: int) -> ThreadPoolExecutor:
    """Threads that compute alone. They live as long as the program, so that torch is told once."""
    threads, ready = torch.get_num_threads(), threading.Barrier(lanes + 1)

    def begin() -> None:
        torch.get_num_threads()  # takes over what holds for all threads: now, so that it does not later
        torch.set_num_threads(1)  # of this thread, and of those that meet torch from now on
        ready.wait()

    pool = ThreadPoolExecutor(lanes, thread_name_prefix="lane", initializer=begin)
    for _ in range(lanes):
        pool.submit(int)
    ready.wait()
    torch.set_num_threads(threads)
    return pool
