"""ZeroGPU, the shared GPUs of Hugging Face Spaces: a GPU is lent for the length of one function call.

The package spaces is there on such a Space only. It wants to be imported before torch starts CUDA: it is, when a module
decorates a function. What runs under `on_gpu` runs in a process of its own: arguments and results are pickled, and what
it caches is lost, so it belongs on functions that do nothing but describe photos.
"""

from __future__ import annotations

import importlib
import logging
import os
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

logger = logging.getLogger(__name__)

SECONDS = 60
"""How long a call may keep the GPU when nothing else is said; shorter calls are served sooner."""


def on_space() -> bool:
    """True on a Hugging Face Space."""
    return "SPACE_ID" in os.environ


def on_zero_gpu() -> bool:
    """True on a Space whose hardware is ZeroGPU and that has the package for it."""
    return on_space() and "SPACES_ZERO_GPU" in os.environ and find_spec("spaces") is not None


def on_gpu(duration: float | Callable[..., float] = SECONDS) -> Callable[[Callable], Callable]:
    """A decorator: on a ZeroGPU Space the function gets a GPU for at most ``duration`` seconds a call (or what
    duration, called with the function's arguments, says); everywhere else the function itself is returned."""

    def decorated(work: Callable) -> Callable:
        spaces = _spaces()
        return work if spaces is None else spaces.GPU(duration=duration)(work)

    return decorated


def _spaces() -> Any:
    if not on_zero_gpu():
        return None
    try:
        return importlib.import_module("spaces")
    except Exception as error:  # it patches torch, so much can go wrong; the page also works on the CPU
        logger.warning("ZeroGPU cannot be used (%s); the models run on the CPU.", error)
        return None
