"""Precision modes: what this machine has, and a model prepared for one of them.

float32 gives the descriptors of the plain model up to rounding (at most 5e-7). bfloat16 computes products and attention
with 8 bits of mantissa, int8 with whole numbers (`scicevpr.models.quantised_linear`); what a mode costs in Recall is measured by
`scicevpr precision`. float16 is for GPUs, and compiled there.
"""

from __future__ import annotations

import copy
import threading
from functools import lru_cache
from pathlib import Path
from weakref import WeakKeyDictionary

import torch
from torch import nn

from scicevpr.errors import UsageError
from scicevpr.models.fused import Kind, folded
from scicevpr.models.model import VPRModel

MODES = ("float32", "bfloat16", "int8", "float16")
BFLOAT16_FLAGS = {"avx512_bf16", "amx_bf16", "avx_ne_convert", "bf16"}  # the last is Arm's
INT8_FLAGS = {"avx512_vnni", "avx_vnni"}

_prepared: WeakKeyDictionary[nn.Module, dict[tuple[str, str], tuple[object, nn.Module]]] = WeakKeyDictionary()
_lock = threading.Lock()


def precision_words(mode: str) -> str:
    """How a mode is called in a protocol (`Descriptors.dtype`)."""
    if _checked(mode) == "float32":
        return mode
    if mode == "int8":
        return f"int8 (attention {str(_kind(mode).dtype).removeprefix('torch.')}, norms and head float32)"
    return f"{mode} (norms and head float32)"


@lru_cache(maxsize=1)
def processor_flags() -> frozenset[str]:
    """The instruction sets that the system reports for its processor; empty where it does not say (not Linux)."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return frozenset()
    return frozenset(
        flag for line in lines if line.partition(":")[0].strip() in ("flags", "Features") for flag in line.split()
    )


def obstacle(mode: str, device: str | torch.device = "cpu") -> str | None:
    """Why a mode would not be worth its name on a device, or None. UsageError for an unknown mode."""
    kind, flags = torch.device(device).type, processor_flags()
    if _checked(mode) == "float32":
        return None
    if kind != "cpu":
        if mode == "int8":
            return "8 bits are computed on a processor only"
        if mode == "bfloat16" and kind == "cuda" and not torch.cuda.is_bf16_supported():
            return "this GPU does not compute in bfloat16"
        return None
    if mode == "float16":
        return "float16 is for GPUs; a processor computes it slower than float32"
    if mode == "bfloat16" and not flags & BFLOAT16_FLAGS:
        return "this processor has no instructions for bfloat16, so it would be slower than float32"
    if mode == "int8":
        if not flags & INT8_FLAGS:
            return "this processor has no instructions for 8-bit products (VNNI)"
        if not hasattr(torch.ops.onednn, "qlinear_pointwise"):
            return "this build of torch has no 8-bit products (oneDNN)"
    return None


def runner(model: nn.Module, mode: str, device: str | torch.device | None = None) -> nn.Module:
    """A model prepared to describe in a mode on a device (default: where it is); prepared once, until weights change.

    A model of other people comes back as it is for float32. Raises UsageError when the machine does not have the mode,
    for other modes of a model of other people, and for a model that is not in float32.
    """
    weight = next(model.parameters())
    device = torch.device(device or weight.device)
    reason = obstacle(mode, device)
    if reason:
        raise UsageError(f"The precision {mode} cannot be used here: {reason}. Leave it out, or use auto.")
    if not isinstance(model, VPRModel):
        if mode != "float32":
            raise UsageError(f"{model.variant.title} is not one of this project's models; only float32 is offered.")
        return model if device == weight.device else copy.deepcopy(model).to(device)
    key, stamp = (mode, str(device)), _stamp(model)
    with _lock:
        kept = _prepared.setdefault(model, {})
        if key not in kept or kept[key][0] != stamp:
            source = model if device == weight.device else copy.deepcopy(model).to(device)
            prepared = folded(source, _kind(mode)).eval()
            if mode == "float16" and device.type == "cuda":
                prepared.compile()
            kept[key] = (stamp, prepared)
        return kept[key][1]


def _kind(mode: str) -> Kind:
    if mode == "int8":
        return Kind(torch.bfloat16 if obstacle("bfloat16") is None else torch.float32, int8=True)
    return Kind(getattr(torch, mode))


def _checked(mode: str) -> str:
    if mode not in MODES:
        raise UsageError(f"The precision {mode!r} is unknown; choose one of {', '.join(MODES)}.")
    return mode


def _stamp(model: VPRModel) -> object:
    """Changes whenever a tensor of the model is replaced or written to, or its weights are declared anew.

    torch counts what is written to a tensor, but not what is written past it (``p.data.mul_(2)``); the content is
    summed for that.
    """
    tensors = (*model.parameters(), *model.buffers())
    return (
        model.weights,
        model.allow_untrained,
        tuple((t.data_ptr(), 0 if t.is_inference() else t._version) for t in tensors),
        tuple(_content(t) for t in tensors),
    )


@torch.no_grad()
def _content(tensor: torch.Tensor) -> float:
    """A sum over a tensor's values in which every row has a weight of its own."""
    if not tensor.numel():
        return 0.0
    rows = tensor.detach().reshape(len(tensor) if tensor.ndim else 1, -1)
    sums = rows.sum(dim=1, dtype=torch.int64 if not rows.is_floating_point() else torch.float32).double()
    return float(sums @ torch.arange(1, len(sums) + 1, dtype=torch.float64, device=sums.device))
