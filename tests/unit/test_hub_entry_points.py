"""The entry points of hubconf.py, loaded as an evaluation suite loads them."""

from __future__ import annotations

import importlib.util
import runpy
from pathlib import Path

import pytest
import torch
from filled_models import INFO, descriptors, filled_model, random_images

from scicevpr.config import VARIANTS, bundled_path
from scicevpr.errors import WeightsError
from scicevpr.models.native_checkpoints import save_weights

ROOT = str(Path(__file__).resolve().parents[2])


def _load(entry: str, **how):
    return torch.hub.load(ROOT, entry, source="local", **how)


@pytest.fixture(autouse=True)
def apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("SCICEVPR_ASSETS", str(tmp_path / "assets"))
    monkeypatch.delenv("SCICEVPR_WEIGHTS", raising=False)


def test_there_is_one_entry_for_each_variant() -> None:
    names = runpy.run_path(f"{ROOT}/hubconf.py")
    entries = {name for name, value in names.items() if callable(value) and not name.startswith("_")}
    assert entries == {name.replace("-", "_") for name in VARIANTS} | {"cricavpr"}
    assert "[B, 3, 224, 224]" in names["super_cricavpr_l"].__doc__
    assert all(importlib.util.find_spec(name) for name in names["dependencies"])


def test_bundled_weights_and_a_source_of_ones_own(tmp_path: Path) -> None:
    model, images = filled_model("scicevpr-t"), random_images(1, seed=1)
    save_weights(model, bundled_path(model.variant), info=INFO)
    out = descriptors(_load("scicevpr_t", trust_repo=True), images)
    torch.testing.assert_close(out.norm(dim=1), torch.ones(1))
    assert torch.equal(out, descriptors(model, images))
    path = tmp_path / "mine.safetensors"
    save_weights(model, path, info=INFO)
    mine = _load("scicevpr_t", pretrained=str(path), device="cpu")
    assert mine.weights.source == "mine.safetensors"
    with pytest.raises(WeightsError, match="made for scicevpr-t, not cricavpr-t"):
        _load("cricavpr_t", pretrained=str(path))


def test_random_weights_only_when_asked() -> None:
    assert _load("cricavpr_t", pretrained=False).weights is None
    with pytest.raises(WeightsError, match=r"No weights for super-cricavpr-l.*no official weights are published"):
        _load("super_cricavpr_l")
    with pytest.raises(WeightsError, match="no weights are published at this size"):
        _load("cricavpr_s")


def test_the_published_cricavpr_offline_says_what_to_download() -> None:
    with pytest.raises(WeightsError, match=r"HF_HUB_OFFLINE is set.*download https://github\.com.*CricaVPR\.pth"):
        _load("cricavpr")
