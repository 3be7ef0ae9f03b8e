"""Weights files: this project's own, and DINOv2 backbones in three key formats; every mismatch refused."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path

import pytest
import torch
from filled_models import INFO, T_VARIANTS, backbone_file, descriptors, filled_model, random_images, training_checkpoint
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from scicevpr.config import get_variant
from scicevpr.descriptors.describe import describe
from scicevpr.errors import UsageError, WeightsError
from scicevpr.hub.load import load_backbone, load_model
from scicevpr.models import key_formats
from scicevpr.models.key_formats import state_to_published
from scicevpr.models.model import VPRModel, build_model
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


@pytest.fixture(scope="module")
def assets_once(tmp_path_factory) -> tuple[Path, dict[str, VPRModel]]:
    folder = tmp_path_factory.mktemp("assets") / "weights"
    return folder, _shared_assets(folder)


@pytest.fixture
def assets(assets_once, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, dict[str, VPRModel]]:
    folder, models = assets_once
    monkeypatch.setenv("SCICEVPR_ASSETS", str(tmp_path))
    return shutil.copytree(folder, tmp_path / "weights"), models


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
    model = copy.deepcopy(saved["scicevpr-t"])
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


FORMATS = (key_formats.DINOV2, "timm", key_formats.TRANSFORMERS)


@pytest.fixture(scope="module")
def small():
    """(SciceVPR-S, its descriptor of an image, that image)."""
    model = filled_model("scicevpr-s")
    images = random_images(1, seed=2)
    return model, descriptors(model, images), images


def _with_other_backbone(model):
    """The same head on a freshly initialised backbone."""
    other = build_model(model.variant)
    head = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith("backbone.")}
    other.load_state_dict(head, strict=False)
    return other


@pytest.mark.parametrize(
    ("key_format", "grid"),
    [(key_formats.DINOV2, None), ("timm", (16, 16)), (key_formats.TRANSFORMERS, None)],
    ids=FORMATS,
)
def test_dinov2_backbones_round_trip(key_format: str, grid, small, tmp_path: Path) -> None:
    model, before, images = small
    state = backbone_file(model, key_format, grid)
    position = {key_formats.TRANSFORMERS: "embeddings.position_embeddings"}.get(key_format, "pos_embed")
    assert state[position].shape == (1, 1 + (256 if grid else 1369), 384)
    if key_format == key_formats.DINOV2:
        path = tmp_path / "dinov2_vits14_pretrain.pth"
        torch.save(state, path)
    else:
        path = tmp_path / "model.safetensors"
        save_file(state, path)
    other = _with_other_backbone(model)
    load_backbone(other, path)
    assert torch.equal(descriptors(other, images), before)
    assert other.weights is None


def test_dinov2_names_of_the_three_key_formats(small) -> None:
    original, timm, transformers = (set(backbone_file(small[0], key_format)) for key_format in FORMATS)
    assert original - timm == {"mask_token"}
    assert {
        "cls_token",
        "patch_embed.proj.weight",
        "blocks.11.attn.qkv.bias",
        "blocks.0.ls2.gamma",
        "norm.bias",
    } <= timm
    layer = "encoder.layer.11."
    assert {
        "embeddings.cls_token",
        "embeddings.mask_token",
        "embeddings.patch_embeddings.projection.weight",
        layer + "attention.attention.query.weight",
        layer + "attention.attention.key.bias",
        layer + "attention.attention.value.weight",
        layer + "attention.output.dense.weight",
        layer + "layer_scale1.lambda1",
        layer + "mlp.fc2.bias",
        layer + "norm2.weight",
        "layernorm.weight",
    } <= transformers
    assert len(transformers) == len(original) + 12 * 4  # query, key and value apart


def test_a_grid_already_resized_is_used_as_it_is(small, tmp_path: Path) -> None:
    model, before, images = small
    state = backbone_file(model, "timm", (16, 16))
    state["pos_embed"] = state["pos_embed"].roll(1, dims=2)  # anybody else's 16x16 grid
    torch.save(state, tmp_path / "timm.pth")
    other = _with_other_backbone(model)
    load_backbone(other, tmp_path / "timm.pth")
    assert torch.equal(other.trace(images).position, state["pos_embed"])
    assert not torch.allclose(descriptors(other, images), before, atol=1e-4)
    save_weights(other, tmp_path / "own.safetensors", info=INFO)
    again = load_model(tmp_path / "own.safetensors")
    assert torch.equal(descriptors(again, images), descriptors(other, images))


def test_a_backbone_alone_does_not_make_a_model(small, tmp_path: Path) -> None:
    path = tmp_path / "dinov2.pth"
    torch.save(backbone_file(small[0], key_formats.DINOV2), path)
    for options in ({}, {"variant": "scicevpr-s"}):
        with pytest.raises(WeightsError, match="backbone only"):
            load_model(path, **options)
    model = load_model(path, variant="scicevpr-s", allow_untrained=True)
    assert model.weights is None
    assert torch.equal(model.backbone.blocks[3].attn.qkv.weight, small[0].backbone.blocks[3].attn.qkv.weight)
    assert "NOT trained" in describe(model, small[2][:1]).protocol_line()


def test_backbones_that_do_not_fit_are_refused_in_the_file_s_own_names(small, tmp_path: Path) -> None:
    model, path = small[0], tmp_path / "backbone.safetensors"
    state = backbone_file(model, key_formats.TRANSFORMERS)
    save_file(state, path)
    with pytest.raises(WeightsError, match=r"embeddings\.cls_token is \[1, 1, 384\] instead of \[1, 1, 192\]"):
        load_backbone(build_model("super-cricavpr-t"), path)
    save_file(
        {name: tensor for name, tensor in state.items() if "layer.5.attention.attention.key.bias" not in name}, path
    )
    with pytest.raises(
        WeightsError, match=r"encoder\.layer\.5\.attention\.attention\.\{query,key,value\}\.bias lacks key"
    ):
        load_backbone(model, path)
    save_file({name: tensor for name, tensor in state.items() if "layer.5.norm1" not in name}, path)
    with pytest.raises(
        WeightsError, match=r"2 missing: encoder\.layer\.5\.norm1\.weight, encoder\.layer\.5\.norm1\.bias"
    ):
        load_backbone(model, path)
    state["embeddings.position_embeddings"] = torch.zeros(1, 1 + 200, 384)
    save_file(state, path)
    with pytest.raises(WeightsError, match=r"embeddings\.position_embeddings is \[1, 201, 384\]"):
        load_backbone(model, path)


def test_a_teacher_gives_its_backbone_and_adapters_stay(tmp_path: Path) -> None:
    teacher, path = filled_model("super-cricavpr-t"), tmp_path / "teacher.pth"
    torch.save(training_checkpoint(state_to_published(teacher)), path)
    student = build_model("cricavpr-t")
    adapter = student.backbone.blocks[0].adapter.D_fc1.weight.clone()
    sha = load_backbone(student, path)
    assert torch.equal(student.backbone.norm.weight, teacher.backbone.norm.weight)
    assert torch.equal(student.backbone.blocks[0].adapter.D_fc1.weight, adapter)
    assert sha == load_backbone(build_model("scicevpr-t"), path)
