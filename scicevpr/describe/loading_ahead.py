"""Batches of prepared photos: worker threads decode the next ones while the model is busy with the last."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scicevpr.config import Preprocessing
from scicevpr.describe.preprocessing import prepare, to_views
from scicevpr.errors import UsageError

DEFAULT_WORKERS = 2
AHEAD = 2  # batches that are decoded or ready at most, besides the one in use


def photo_batches(
    images: Sequence[Any] | Tensor,
    groups: Sequence[Sequence[int]],
    preprocessing: Preprocessing,
    framing: str = "resize",
    workers: int = DEFAULT_WORKERS,
) -> Iterator[Tensor]:
    """Prepare one batch [members * views, 3, H, W] per group, in the order of the groups.

    Order and values do not depend on ``workers``; 0 prepares in the calling thread, as do photos that are not files
    (an open picture may not be decoded by two threads at once). A photo that cannot be read raises ImageError when
    its batch is due.
    """
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
) -> Iterator[Tensor]:
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
