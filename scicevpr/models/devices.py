"""Where a model runs: the device that was named, or the fastest kind that this machine has."""

from __future__ import annotations

import torch

from scicevpr.errors import UsageError

AUTO = "auto"


def choose_device(name: str | torch.device | None = AUTO) -> torch.device:
    """The device called ``name``, with its number ("cuda" is "cuda:0"); "auto" or None: CUDA's, else Apple's (mps),
    else the processor. Raises UsageError: it is not there."""
    if name in (AUTO, None):
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"The device {str(name)!r} cannot be used ({reason}). Try --device cpu.") from error
