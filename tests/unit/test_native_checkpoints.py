"""This project's own weights files: round trips, the backbone stored once, and every mismatch refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from filled_models import INFO, T_VARIANTS, descriptors, filled_model
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from scicevpr.config import get_variant
from scicevpr.errors import UsageError, WeightsError
from scicevpr.hub.load import load_backbone, load_model
from scicevpr.models import VPRModel, build_model
from scicevpr.models.native_checkpoints import STEM_PREFIX, hash_tensors, save_backbone, save_weights
from scicevpr.models.weights import bundled_weights


@pytest.mark.parametrize("name", T_VARIANTS)
def test_native_checkpoints_round_trip(name: str, models, images, expected, tmp_path: Path) -> None:
    path = tmp_path / "weights" / "mine.safetensors"
    info = save_weights(filled_model(name), path, info=INFO | {"seed": 3})
    loaded = load_model(path)
    assert torch.equal(descriptors(loaded, images), expected[name])
    assert loaded.weights == info
    assert (info.source, info.trained_on, info.trained) == ("mine.safetensors", "nothing (test)", False)
    assert info.sha256 == hash_tensors(models[name].state_dict())
    with safe_open(path, framework="pt") as file:
        facts = file.metadata()
    assert facts["variant"] == name
    assert facts["fingerprint"] == get_variant(name).fingerprint
    assert (facts["seed"], facts["command"]) == ("3", "pytest")


def _shared_assets(folder: Path) -> dict[str, VPRModel]:
    """Three T models on one backbone, the backbone stored once."""
    base = filled_model("super-cricavpr-t")
    save_backbone(base, folder / "backbone-t.safetensors", info=INFO)
    saved = {}
    for name in T_VARIANTS:
        model = filled_model(name)
        load_backbone(model, folder / "backbone-t.safetensors")
        info = INFO | {"trained": "true"}
        save_weights(model, folder / f"{name}.safetensors", info=info, backbone_file="backbone-t.safetensors")
        saved[name] = model
    return saved


@pytest.fixture
def assets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, dict[str, VPRModel]]:
    monkeypatch.setenv("SCICEVPR_ASSETS", str(tmp_path))
    folder = tmp_path / "weights"
    return folder, _shared_assets(folder)


def test_the_backbone_is_stored_once_and_put_together(assets, images) -> None:
    folder, saved = assets
    assert list(bundled_weights()) == T_VARIANTS
    assert not any(key.startswith(STEM_PREFIX) for key in load_file(folder / "backbone-t.safetensors"))
    assert not any(key.startswith("backbone.") for key in load_file(folder / "scicevpr-t.safetensors"))
    for name, model in saved.items():
        loaded = load_model(name)
        assert torch.equal(descriptors(loaded, images), descriptors(model, images))
        assert loaded.weights == model.weights
        assert loaded.weights.sha256 == hash_tensors(model.state_dict())
        assert loaded.weights.trained
        stored = load_file(folder / f"{name}.safetensors")
        assert not any(key.startswith("backbone.") and ".adapter." not in key for key in stored)
        assert any(".adapter." in key for key in stored) == (name == "cricavpr-t")
    assert load_backbone(build_model("scicevpr-t"), folder / "cricavpr-t.safetensors")


def test_a_tensor_that_differs_from_the_shared_backbone_is_kept(assets, images) -> None:
    folder, saved = assets
    model = saved["scicevpr-t"]
    with torch.no_grad():
        model.backbone.norm.weight += 0.5
    save_weights(model, folder / "scicevpr-t.safetensors", info=INFO, backbone_file="backbone-t.safetensors")
    assert [k for k in load_file(folder / "scicevpr-t.safetensors") if "backbone" in k] == ["backbone.norm.weight"]
    assert torch.equal(descriptors(load_model("scicevpr-t"), images), descriptors(model, images))


def test_heads_refuse_another_backbone_file(assets) -> None:
    folder, _ = assets
    other = build_model("scicevpr-t")
    save_backbone(other, folder / "backbone-t.safetensors", info=INFO)
    with pytest.raises(WeightsError, match="made with another backbone"):
        load_model("scicevpr-t")
    save_backbone(filled_model("scicevpr-s"), folder / "backbone-t.safetensors", info=INFO)
    with pytest.raises(WeightsError, match="another architecture"):
        load_model("scicevpr-t")
    save_weights(other, folder / "backbone-t.safetensors", info=INFO)
    with pytest.raises(WeightsError, match="not a shared backbone file"):
        load_model("scicevpr-t")
    (folder / "backbone-t.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"no weights file at .*backbone-t\.safetensors"):
        load_model("scicevpr-t")


def _rewrite(path: Path, **changes: str) -> None:
    tensors = load_file(path)
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() | changes
    save_file(tensors, path, metadata=metadata)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fingerprint": "0123456789ab"}, "another architecture: fingerprint 0123456789ab"),
        ({"variant": "scicevpr-xl"}, "'scicevpr-xl', which this version does not know"),
        ({"variant": "super-cricavpr-t"}, "another architecture"),
        ({"format_version": "2"}, "weights format 2"),
        ({"sha256": "0" * 12}, "is damaged"),
        ({"backbone_file": "../../etc/passwd"}, "same folder"),
    ],
)
def test_native_checkpoints_with_wrong_facts_are_refused(changes: dict, message: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.safetensors"
    save_weights(build_model("scicevpr-t"), path, info=INFO)
    _rewrite(path, **changes)
    with pytest.raises(WeightsError, match=message):
        load_model(path)


def test_one_changed_value_in_an_own_file_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "mine.safetensors"
    save_weights(filled_model("scicevpr-t"), path, info=INFO)
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)
    with pytest.raises(WeightsError, match="is damaged"):
        load_model(path)


def test_native_checkpoints_are_for_one_variant_and_keep_their_own_fields(tmp_path: Path) -> None:
    model, path = build_model("scicevpr-t"), tmp_path / "mine.safetensors"
    save_weights(model, path, info=INFO)
    with pytest.raises(WeightsError, match="made for scicevpr-t, not super-cricavpr-t"):
        load_model(path, variant="super-cricavpr-t")
    with pytest.raises(UsageError, match="fingerprint"):
        save_weights(model, path, info={"fingerprint": "mine"})


def test_half_precision_files_are_half_the_size_and_hold_what_the_model_then_is(tmp_path: Path, images) -> None:
    whole, model = filled_model("scicevpr-t"), filled_model("scicevpr-t")
    save_weights(whole, tmp_path / "whole.safetensors", info=INFO)
    save_backbone(model, tmp_path / "backbone-t.safetensors", info=INFO, half=True)
    info = save_weights(
        model, tmp_path / "half.safetensors", info=INFO, backbone_file=tmp_path / "backbone-t.safetensors", half=True
    )
    size = {path.stem: path.stat().st_size for path in tmp_path.iterdir()}
    assert size["half"] + size["backbone-t"] < 0.51 * size["whole"]
    assert not any(key.startswith("backbone.") for key in load_file(tmp_path / "half.safetensors"))
    loaded = load_model(tmp_path / "half.safetensors")
    assert loaded.weights == info
    assert all(tensor.dtype != torch.float16 for tensor in loaded.state_dict().values())
    assert torch.equal(descriptors(loaded, images), descriptors(model, images))
    assert (descriptors(loaded, images) - descriptors(whole, images)).abs().max() < 5e-3
