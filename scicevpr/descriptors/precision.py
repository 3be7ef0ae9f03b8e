"""Precision modes: what the hardware has, a model prepared for one of them, and the automatic choice.

float32 gives the descriptors of the plain model up to rounding (at most 5e-7). bfloat16 computes products and attention
with 8 bits of mantissa, int8 with whole numbers (`scicevpr.models.fused_layers`); what a mode costs in Recall is
measured by `scicevpr precision`. float16 is for GPUs, and compiled there.
"""

from __future__ import annotations

import copy
import json
import os
import platform
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from scicevpr import __version__
from scicevpr.config import assets_folder
from scicevpr.descriptors.preprocessing import prepare
from scicevpr.errors import UsageError
from scicevpr.models.devices import choose_device
from scicevpr.models.fused import ComputeMode, FusedModel, fuse
from scicevpr.models.fused_layers import FusedStem
from scicevpr.models.model import VPRModel

MODES = ("float32", "bfloat16", "int8", "float16")
BFLOAT16_FLAGS = {"avx512_bf16", "amx_bf16", "avx_ne_convert", "bf16"}  # the last is Arm's
INT8_FLAGS = {"avx512_vnni", "avx_vnni"}

LARGEST_DROP = 0.5  # percent points of Recall@1 that a mode may lose and still count as unchanged
SIGNIFICANT = 0.05

_prepared: WeakKeyDictionary[nn.Module, dict[tuple[str, str], tuple[object, nn.Module]]] = WeakKeyDictionary()
_lock = threading.Lock()


def precision_label(mode: str) -> str:
    """How a mode is called in a protocol (`Descriptors.dtype`)."""
    if _checked(mode) == "float32":
        return mode
    if mode == "int8":
        return f"int8 (attention {str(_compute_mode(mode).dtype).removeprefix('torch.')}, norms and head float32)"
    return f"{mode} (norms and head float32)"


@lru_cache(maxsize=1)
def _processor() -> tuple[tuple[str, str], ...]:
    """What the system says about its processor, (field, text); empty where it does not say (not Linux)."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ()
    return tuple((field.strip(), text.strip()) for field, _, text in (line.partition(":") for line in lines))


@lru_cache(maxsize=1)
def processor_flags() -> frozenset[str]:
    """The instruction sets of the processor."""
    return frozenset(flag for field, text in _processor() if field in ("flags", "Features") for flag in text.split())


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


def runner(model: Any, mode: str, device: str | torch.device | None = None) -> nn.Module:
    """A model prepared to describe in a mode on a device (default: where it is); prepared once, until weights change. A
    model of other people comes back as it is for float32. Raises UsageError when the machine does not have the mode,
    for other modes of a model of other people, and for a model that is not in float32."""
    weight = next(model.parameters())
    device = weight.device if device is None else choose_device(device)
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
            if device.type == "mps":  # it has no doubles, in which weights are multiplied
                source = copy.deepcopy(source).cpu()
            prepared = fuse(source, _compute_mode(mode)).eval().to(device)
            if mode == "float16" and device.type == "cuda":
                prepared.compile()
            kept[key] = (stamp, prepared)
        return kept[key][1]


def _compute_mode(mode: str) -> ComputeMode:
    if mode == "int8":
        return ComputeMode(torch.bfloat16 if obstacle("bfloat16") is None else torch.float32, int8=True)
    return ComputeMode(getattr(torch, mode))


def _checked(mode: str) -> str:
    if mode not in MODES:
        raise UsageError(f"The precision {mode!r} is unknown; choose one of {', '.join(MODES)}.")
    return mode


def _stamp(model: VPRModel) -> object:
    """Changes whenever a tensor of the model is replaced or written to, or its weights are declared anew. torch counts
    what is written to a tensor, but not what is written past it (``p.data.mul_(2)``); the content is summed for that.
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
    sums = rows.sum(dim=1, dtype=torch.int64 if not rows.is_floating_point() else torch.float32).cpu().double()
    return float(sums @ torch.arange(1, len(sums) + 1, dtype=torch.float64))


@dataclass(frozen=True)
class Choice:
    """A precision mode and why it was picked, as a sentence."""

    mode: str
    reason: str


def best_mode(
    model: nn.Module, device: str | torch.device | None = None, *, measured: Mapping[str, Any] | None = None
) -> Choice:
    """Pick the fastest mode that this machine has and whose Recall@1 is unchanged.

    Unchanged: no significant loss against float32 (exact McNemar test, p >= 0.05) and none of more than 0.5 points, as
    `scicevpr precision` measured it with these weights on the bundled city. Weights that were not measured stay in
    float32. measured: what that command wrote (default: assets/weights/precision.json).
    """
    weight = next(model.parameters())
    device = weight.device if device is None else choose_device(device)
    if not isinstance(model, VPRModel):
        return Choice("float32", "a model of other people is run as it comes")
    if weight.dtype != torch.float32:
        kind = str(weight.dtype).removeprefix("torch.")
        raise UsageError(f"A precision can be picked for a model in float32, not in {kind}. Leave --dtype out.")
    measured = bundled_results() if measured is None else measured
    sha = model.weights.sha256 if model.weights is not None else "random"
    known = next((entry for entry in measured.get("models", ()) if entry["weights"] == sha), None)
    if known is None:
        return Choice(
            "float32", f"what a faster mode costs was not measured with the weights {sha}; see `scicevpr precision`"
        )
    lost: list[str] = []
    missing: list[str] = []
    for mode, row in sorted(known["modes"].items(), key=lambda item: item[1]["ms a photo"]):
        if mode not in MODES or (device.type != "cpu") != (row.get("device", "cpu") != "cpu"):
            continue
        if (reason := obstacle(mode, device)) is not None:
            missing.append(f"{mode} is not here: {reason}")
        elif unchanged(row):
            return Choice(mode, "; ".join([_result_label(mode, row), *lost, *missing]))
        else:
            lost.append(f"{mode} would lose {-row['change']:.1f} points")
    return Choice("float32", "; ".join(("no faster mode was measured on this kind of device", *lost, *missing)))


def unchanged(row: Mapping[str, Any]) -> bool:
    """Whether a measured mode answers as float32 does (see `best_mode`)."""
    return row["change"] >= -LARGEST_DROP and (row["change"] >= 0 or row["p"] >= SIGNIFICANT)


def bundled_results() -> Mapping[str, Any]:
    """The bundled measurements; empty where there are none."""
    path = assets_folder() / "weights" / "precision.json"
    return _read(path, path.stat().st_mtime_ns) if path.is_file() else {}


@lru_cache(maxsize=4)
def _read(path: Path, changed: int) -> Mapping[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return {}


def _result_label(mode: str, row: Mapping[str, Any]) -> str:
    if mode == "float32":
        return "float32 is the fastest mode without loss"
    return (
        f"{mode}: Recall@1 {row['recall']:.1f} % ({row['change']:+.1f} points against float32, p = {row['p']:.2g}) on "
        f"{row['queries']} queries of the bundled city, {row['times faster']:.1f} times as fast"
    )


class SharedPasses:
    """Photos prepared once for all models that view them alike, and passed once through a stem that several share."""

    def __init__(self, photos: Sequence[Any]) -> None:
        self._photos = photos
        self._tensors: dict[object, Tensor] = {}

    def batch(self, model: VPRModel, mode: str) -> Tensor:
        """What a model in a precision mode takes: photos [N, 3, rows, columns], or their maps of its stem."""
        preprocessing = model.variant.preprocessing
        if preprocessing not in self._tensors:
            self._tensors[preprocessing] = prepare(self._photos, preprocessing)
        run = runner(model, mode)
        stem = run.backbone.embed if isinstance(run, FusedModel) else None
        if not isinstance(stem, FusedStem):
            return self._tensors[preprocessing]
        key = (preprocessing, stem.key)
        if key not in self._tensors:
            with torch.inference_mode():
                self._tensors[key] = stem.maps(self._tensors[preprocessing])
        return self._tensors[key]


def hardware() -> dict[str, Any]:
    """What a measurement ran on: processor, threads, instruction sets that matter, versions."""
    name = next((text for field, text in _processor() if field == "model name"), "")
    return {
        "processor": name or platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "instructions": sorted(processor_flags() & (BFLOAT16_FLAGS | INT8_FLAGS | {"avx2", "avx512f"})),
        "load before": [round(value, 1) for value in os.getloadavg()] if hasattr(os, "getloadavg") else None,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "scicevpr": __version__,
    }
