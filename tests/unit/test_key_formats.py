"""DINOv2 backbones in the original, timm and transformers key formats give the same descriptors; others are refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from filled_models import INFO, backbone_file, descriptors, filled_model, random_images, training_checkpoint
from safetensors.torch import save_file

from scicevpr.descriptors.describe import describe
from scicevpr.errors import WeightsError
from scicevpr.hub.load import load_backbone, load_model
from scicevpr.models import key_formats
from scicevpr.models.key_formats import state_to_published
from scicevpr.models.model import build_model
from scicevpr.models.native_checkpoints import save_weights

FORMATS = (key_formats.DINOV2, "timm", key_formats.TRANSFORMERS)


@pytest.fixture(scope="module")
def small():
    """(SciceVPR-S, its descriptors of two images, those images)."""
    model = filled_model("scicevpr-s")
    images = random_images(2, seed=2)
    return model, descriptors(model, images), images


def _with_other_backbone(model):
    """The same head on a freshly initialised backbone."""
    other = build_model(model.variant)
    head = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith("backbone.")}
    other.load_state_dict(head, strict=False)
    return other


@pytest.mark.parametrize("grid", [None, (16, 16)], ids=["37x37", "16x16"])
@pytest.mark.parametrize("key_format", FORMATS)
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
    assert not torch.allclose(descriptors(other, images), before, atol=1e-3)
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
