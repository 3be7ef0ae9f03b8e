"""Published checkpoints come back to the same descriptors; whatever does not fit is refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from filled_models import T_VARIANTS, descriptors, save_checkpoint, training_checkpoint

from scicevpr.descriptors.describe import describe
from scicevpr.errors import UsageError, WeightsError
from scicevpr.hub.load import load_model
from scicevpr.models.key_formats import detect, state_to_published, unwrap
from scicevpr.models.model import build_model
from scicevpr.models.native_checkpoints import hash_tensors

WRAPPERS = {
    "bare": lambda state: state,
    "training checkpoint": training_checkpoint,
    "state_dict": lambda state: {"state_dict": state, "epoch": 1},
    "model": lambda state: {"model": {f"module.{name}": tensor for name, tensor in state.items()}},
}


@pytest.mark.parametrize("name", T_VARIANTS)
@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_published_checkpoints_round_trip(name, wrapper, models, images, expected, tmp_path: Path) -> None:
    path = tmp_path / "best_model.pth"
    torch.save(WRAPPERS[wrapper](state_to_published(models[name])), path)
    loaded = load_model(path)
    assert loaded.variant.name == name
    assert not loaded.training
    assert torch.equal(descriptors(loaded, images), expected[name])
    assert loaded.weights.sha256 == hash_tensors(models[name].state_dict())
    assert loaded.weights.source == "best_model.pth"
    assert loaded.weights.trained_on.startswith("not recorded")
    assert ("epoch 4" in loaded.weights.trained_on) == (wrapper == "training checkpoint")


@pytest.mark.parametrize("name", T_VARIANTS)
def test_published_names_are_those_of_the_released_code(name: str, models) -> None:
    names = set(state_to_published(models[name]))
    if name == "cricavpr-t":
        assert {"backbone.cls_token", "backbone.blocks.3.adapter.D_fc2.bias", "aggregation.1.p"} <= names
        assert "encoder.layers.1.linear2.bias" in names
    else:
        assert {"backbone.dino_model.blocks.0.ls1.gamma", "conv.bias", "tokenmix.1.mix.2.weight", "gem.p"} <= names
        assert ("encoder.layers.1.linear2.bias" in names) == (name == "super-cricavpr-t")
    assert not any(key.startswith(("fusion.", "module.")) for key in names)


PREFIXES = {
    "DataParallel twice": lambda state: {f"module.module.{name}": tensor for name, tensor in state.items()},
    "torch.compile": lambda state: {f"_orig_mod.{name}": tensor for name, tensor in state.items()},
    "compiled inside": lambda state: {name.replace("tokenmix.", "tokenmix._orig_mod."): t for name, t in state.items()},
    "DataParallel of compiled": lambda state: {f"module._orig_mod.{name}": tensor for name, tensor in state.items()},
    "Lightning": lambda state: {
        "state_dict": {f"model.{name}": tensor for name, tensor in state.items()},
        "pytorch-lightning_version": "2.4",
    },
    "Lightning with a loss": lambda state: {
        "state_dict": {**{f"net.model.{name}": tensor for name, tensor in state.items()}, "loss.w": torch.ones(3)}
    },
}


@pytest.mark.parametrize("prefix", PREFIXES)
def test_what_other_programs_put_before_the_names_is_left_off_and_told(prefix, models, caplog) -> None:
    state = state_to_published(models["scicevpr-t"])
    found, _ = unwrap(PREFIXES[prefix](state), "best.ckpt")
    assert found.keys() == state.keys()
    assert all(found[name] is state[name] for name in state)
    assert "best.ckpt: " in caplog.text
    assert ("1 tensors outside" in caplog.text) == (prefix == "Lightning with a loss")


def test_a_lightning_checkpoint_loads(models, tmp_path: Path) -> None:
    torch.save(PREFIXES["Lightning"](state_to_published(models["scicevpr-t"])), tmp_path / "epoch=3.ckpt")
    assert load_model(tmp_path / "epoch=3.ckpt").weights.sha256 == hash_tensors(models["scicevpr-t"].state_dict())


def test_two_models_in_one_file_are_refused(models) -> None:
    state = state_to_published(models["scicevpr-t"])
    both = {f"{role}.{name}": tensor for role in ("student", "teacher") for name, tensor in state.items()}
    with pytest.raises(WeightsError, match=r"holds 2 models: the names under student\., teacher\."):
        unwrap(both, "both.pth")
    with pytest.raises(WeightsError, match="one name twice"):
        unwrap({"gem.p": torch.ones(1), "_orig_mod.gem.p": torch.ones(1)}, "twice.pth")
    with pytest.raises(WeightsError, match="no model known here"):
        detect(unwrap({"a.b": torch.ones(1), "c.d": torch.ones(1)}, "other.pth")[0], "other.pth")


def test_missing_unexpected_and_misshaped_tensors_are_named(models, tmp_path: Path) -> None:
    state = state_to_published(models["scicevpr-t"])
    del state["conv.bias"], state["tokenmix.1.norm.weight"]
    state["head.weight"] = torch.ones(1)
    state["gem.p"] = torch.ones(14)
    path = save_checkpoint(tmp_path, state)
    with pytest.raises(WeightsError) as caught:
        load_model(path, variant="scicevpr-t")
    message = str(caught.value)
    assert "2 missing: conv.bias, tokenmix.1.norm.weight" in message
    assert "1 unexpected: head.weight" in message
    assert "1 mis-shaped: gem.p is [14] instead of [1]" in message
    with pytest.raises(WeightsError, match="does not fit scicevpr-t"):  # also when the variant is left to be found
        load_model(path)


def test_long_lists_are_cut_and_counted(models, tmp_path: Path) -> None:
    whole = state_to_published(models["cricavpr-t"])
    state = {name: value for name, value in whole.items() if not name.startswith("backbone.blocks.3.")}
    count = len(whole) - len(state)
    with pytest.raises(WeightsError, match=rf"{count} missing: backbone\.blocks\.3\.norm1\.weight.* …"):
        load_model(save_checkpoint(tmp_path, state))


def test_the_variant_that_fits_is_named(models, tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path, state_to_published(models["super-cricavpr-t"]))
    with pytest.raises(WeightsError, match=r"12 unexpected: encoder\.layers\.1\..*fits super-cricavpr-t exactly"):
        load_model(path, variant="scicevpr-t")
    with pytest.raises(WeightsError, match="mis-shaped"):
        load_model(path, variant="super-cricavpr-s")
    with pytest.raises(UsageError, match="scicevpr-z"):
        load_model(path, variant="scicevpr-z")


def test_the_mask_token_may_be_missing_and_does_not_change_the_hash(models, images, expected, tmp_path: Path) -> None:
    state = state_to_published(models["scicevpr-t"])
    del state["backbone.dino_model.mask_token"]
    loaded = load_model(save_checkpoint(tmp_path, state))
    assert torch.equal(descriptors(loaded, images), expected["scicevpr-t"])
    assert loaded.weights.sha256 == hash_tensors(models["scicevpr-t"].state_dict())


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (torch.full((192,), torch.nan), "conv.bias holds values that are not finite"),
        (torch.ones(192, dtype=torch.int64), "conv.bias is stored as torch.int64"),
        (torch.ones(192).to_sparse(), "conv.bias is stored as torch.float32, torch.sparse_coo"),
    ],
    ids=["nan", "integers", "sparse"],
)
def test_values_that_are_no_weights(value: torch.Tensor, message: str, models, tmp_path: Path) -> None:
    state = state_to_published(models["scicevpr-t"]) | {"conv.bias": value}
    with pytest.raises(WeightsError, match=message):
        load_model(save_checkpoint(tmp_path, state))


def test_half_precision_files_load_as_float32(models, images, expected, tmp_path: Path) -> None:
    state = {
        name: tensor.half() if tensor.is_floating_point() else tensor
        for name, tensor in state_to_published(models["scicevpr-t"]).items()
    }
    loaded = load_model(save_checkpoint(tmp_path, state))
    assert loaded.gem.p.dtype == torch.float32
    assert torch.allclose(descriptors(loaded, images), expected["scicevpr-t"], atol=2e-3)


def test_a_model_without_weights_refuses_to_describe(images, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SCICEVPR_ASSETS", str(tmp_path))
    model = build_model("scicevpr-t")
    with pytest.raises(WeightsError, match="no weights loaded"):
        describe(model, images)
    with pytest.raises(WeightsError, match=r"No weights for scicevpr-b .*Bundled: none"):
        load_model("scicevpr-b")
    untrained = load_model("SciceVPR-T", allow_untrained=True)
    assert untrained.weights is None
    assert "NOT trained" in describe(untrained, images).protocol_line()


def test_names_and_variants_must_agree(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("SCICEVPR_ASSETS", str(tmp_path))
    with pytest.raises(UsageError, match="contradict"):
        load_model("scicevpr-t", variant="cricavpr-t")


def test_loading_sets_device_and_precision_and_leaves_random_numbers_alone(models, tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path, state_to_published(models["cricavpr-t"]))
    before = torch.random.get_rng_state()
    model = load_model(path, device="cpu", dtype=torch.bfloat16)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    assert model.weights.sha256 == hash_tensors(models["cricavpr-t"].state_dict())
    trained = [value for name, value in model.named_parameters() if ".features." not in name]
    assert all(parameter.requires_grad for parameter in trained)
