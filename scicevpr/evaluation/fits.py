"""What was fitted for a model and lies beside its weights: re-ranking weights and trust, found by the weights' hash."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scicevpr.config import assets_folder
from scicevpr.errors import WeightsError
from scicevpr.files.reading import read_json
from scicevpr.files.writing import written_whole
from scicevpr.models.model import VPRModel

KINDS = ("rerank", "trust")
REMEDY = "Give a file that `scicevpr rerank fit` or `scicevpr trust fit` wrote."


def bundled_fits(kind: str) -> Path:
    """Where the fits of the bundled weights lie: assets/weights/rerank.json, trust.json."""
    return assets_folder() / "weights" / f"{kind}.json"


def model_key(model: VPRModel) -> tuple[str, str]:
    """Architecture fingerprint and hash of the weights: what a fit belongs to."""
    return model.variant.fingerprint, model.weights.sha256 if model.weights is not None else "random"


def read_fits(path: Path) -> list[dict[str, Any]]:
    """All entries of a file, [] where there is none. WeightsError for a file of something else."""
    if not path.is_file():
        return []
    content = read_json(path, WeightsError, REMEDY)
    entries = content.get("models") if isinstance(content, dict) else None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise WeightsError(f"{path} holds no fits. {REMEDY}")
    return entries


def find_fit(kind: str, model: VPRModel, path: Path | None = None) -> dict[str, Any] | None:
    """What was fitted for exactly these weights; None where nothing was. path: instead of the bundled file, and then
    WeightsError, naming what it holds, where it has nothing for them."""
    fingerprint, weights = model_key(model)
    entries = read_fits(path or bundled_fits(kind))
    for entry in entries:
        if (entry.get("fingerprint"), entry.get("weights")) == (fingerprint, weights):
            return entry
    if path is None:
        return None
    held = ", ".join(f"{entry.get('variant')} ({entry.get('weights')})" for entry in entries) or "nothing"
    raise WeightsError(
        f"{path} has no fit for {model.variant.name} with the weights {weights}; it holds {held}. Fit them: "
        f"scicevpr {kind} fit"
    )


def write_fit(path: Path, model: VPRModel, entry: Mapping[str, Any]) -> None:
    """Put a fit into a file, in place of an older one of the same weights; others stay."""
    fingerprint, weights = model_key(model)
    own = {"variant": model.variant.name, "fingerprint": fingerprint, "weights": weights, **entry}
    kept = [old for old in read_fits(path) if (old.get("fingerprint"), old.get("weights")) != (fingerprint, weights)]
    text = json.dumps({"models": [*kept, own]}, indent=1, allow_nan=False)
    with written_whole(path) as part:
        part.write_text(text + "\n", encoding="utf-8")
