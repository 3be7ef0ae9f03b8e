"""Which precision to describe in: the fastest mode whose Recall@1 was measured to be unchanged."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

from scicevpr.config import assets_folder
from scicevpr.describe.precision import MODES, obstacle
from scicevpr.errors import UsageError
from scicevpr.models.model import VPRModel

LARGEST_DROP = 0.5
"""Percent points of Recall@1 that a mode may lose and still count as unchanged."""

SIGNIFICANT = 0.05


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
    device = torch.device(device or weight.device)
    if not isinstance(model, VPRModel):
        return Choice("float32", "a model of other people is run as it comes")
    if weight.dtype != torch.float32:
        words = str(weight.dtype).removeprefix("torch.")
        raise UsageError(f"A precision can be picked for a model in float32, not in {words}. Leave --dtype out.")
    measured = bundled_results() if measured is None else measured
    sha = model.weights.sha256 if model.weights is not None else "random"
    known = next((entry for entry in measured.get("models", ()) if entry["weights"] == sha), None)
    if known is None:
        return Choice(
            "float32", f"what a faster mode costs was not measured with the weights {sha}; see `scicevpr precision`"
        )
    lost, missing = [], []
    for mode, row in sorted(known["modes"].items(), key=lambda item: item[1]["ms a photo"]):
        if mode not in MODES or (device.type != "cpu") != (row.get("device", "cpu") != "cpu"):
            continue
        if (reason := obstacle(mode, device)) is not None:
            missing.append(f"{mode} is not here: {reason}")
        elif unchanged(row):
            notes = "; ".join([_words(mode, row), *lost, *missing])
            return Choice(mode, notes)
        else:
            lost.append(f"{mode} would lose {-row['change']:.1f} points")
    return Choice("float32", "; ".join(("no faster mode was measured on this kind of device", *lost, *missing)))


def unchanged(row: Mapping[str, Any]) -> bool:
    """Whether a measured mode answers as float32 does (see `best_mode`)."""
    return row["change"] >= -LARGEST_DROP and (row["change"] >= 0 or row["p"] >= SIGNIFICANT)


def results_path() -> Path:
    """Where the bundled measurements lie."""
    return assets_folder() / "weights" / "precision.json"


def bundled_results() -> Mapping[str, Any]:
    """The bundled measurements; empty where there are none."""
    path = results_path()
    return _read(path, path.stat().st_mtime_ns) if path.is_file() else {}


@lru_cache(maxsize=4)
def _read(path: Path, changed: int) -> Mapping[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return {}


def _words(mode: str, row: Mapping[str, Any]) -> str:
    if mode == "float32":
        return "float32 is the fastest mode without loss"
    return (
        f"{mode}: Recall@1 {row['recall']:.1f} % ({row['change']:+.1f} points against float32, p = {row['p']:.2g}) on "
        f"{row['queries']} queries of the bundled city, {row['times faster']:.1f} times as fast"
    )
