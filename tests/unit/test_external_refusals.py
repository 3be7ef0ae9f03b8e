"""Models of other people that are not loaded: not allowed, of no use, or not on a machine without connection."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_hub import cut_off, load_entry, random_photos, write_hub

from scicevpr.descriptors.describe import describe
from scicevpr.errors import UsageError, WeightsError
from scicevpr.external_models.loading import load_any, load_external


@pytest.fixture(autouse=True)
def _offline(monkeypatch, tmp_path):
    cut_off(monkeypatch, tmp_path / "torch")


@pytest.fixture(scope="module")
def hub(tmp_path_factory) -> Path:
    return write_hub(tmp_path_factory.mktemp("hub") / "tiny-repo")


def test_code_of_others_runs_only_when_allowed(hub) -> None:
    for name, words in (
        ("megaloc", "GitHub repository gmberton/MegaLoc (licence: MIT) and runs its code, get_trained_model()"),
        ("hub:some/repo:net", "https://github.com/some/repo first; then allow it with --trust-remote-code"),
        (f"hub:{hub}:plain?values=3", f"the folder {hub} holds it, and loading runs its code, plain(values=3)"),
        ("python:antigravity:build", "the module antigravity holds it"),
    ):
        with pytest.raises(UsageError) as refused:
            load_external(name)
        assert words in str(refused.value)
        with pytest.raises(UsageError, match="trust=True"):
            load_any(name)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("wrong?kind=maps", r"float32 tensor of the shape \[1, 3, 56, 56\] for 1 photos; .* \[1, D\] are needed"),
        ("wrong?kind=one", r"of the shape \[3\] for 1 photos"),
        ("wrong?kind=dict", "a dict with the keys global, local"),
        ("wrong?kind=none", "gives nothing"),
        ("wrong?kind=nan", "not finite"),
        ("wrong?kind=zeros", "descriptor of zeros"),
        ("wrong?kind=binary", "a uint8 tensor"),
        ("wrong?kind=number", "is an object of the type int"),
        ("wrong?kind=else", "could not be loaded: its code failed with KeyError: 'else'"),
        ("random_each_time", "describes the same photo differently each time"),
        ("lacking", "its code needs the package 'timm_that_nobody_has', which is not installed here"),
        ("absent", "Cannot find callable absent in hubconf"),
    ],
)  # fmt: skip
def test_a_model_that_cannot_be_used_says_why(hub, entry, message) -> None:
    with pytest.raises(WeightsError, match=message):
        load_entry(hub, entry)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is here")
def test_a_model_that_needs_cuda(hub) -> None:
    with pytest.raises(WeightsError, match="its code needs CUDA, and there is no CUDA device here"):
        load_entry(hub, "cuda")
    with pytest.raises(WeightsError, match="CUDA"):
        load_entry(hub, "plain", device="cuda")


def test_missing_dependencies_are_named(tmp_path) -> None:
    (tmp_path / "hubconf.py").write_text('dependencies = ["torch", "no_such_einops"]\n')
    with pytest.raises(WeightsError, match=r"needs the package\(s\) no_such_einops"):
        load_entry(tmp_path, "net")
    with pytest.raises(WeightsError, match=r"no hubconf.py in .*nowhere"):
        load_entry(tmp_path / "nowhere", "net")


def test_another_length_than_stated(hub) -> None:
    with pytest.raises(WeightsError, match="12 dimensions, but 16 are expected"):
        load_entry(hub, "plain", descriptor_dim=16)


def test_another_input_size_that_changes_the_length() -> None:
    model = load_external(lambda x: x.mean(dim=(1, 2)), name="columns", size=56)
    assert model.variant.descriptor_dim == 56
    with pytest.raises(WeightsError, match="28 dimensions for photos of 28x28 pixels, but 56 are expected"):
        describe(model, random_photos(1, 28))


def test_options_that_make_no_sense_are_refused(hub) -> None:
    with pytest.raises(UsageError, match="given as an object"):
        load_external(torch.nn.Flatten(), {"values": 3})
    with pytest.raises(UsageError, match="not 0x4"):
        load_external(f"hub:{hub}:plain", trust=True, size=(0, 4))


def test_an_input_size_it_cannot_take_is_told(hub) -> None:
    with pytest.raises(WeightsError, match=r"could not be run on a batch \[1, 3, 8, 8\] \(float32, cpu\)"):
        load_external(f"hub:{hub}:plain", trust=True, size=8)


# ---- without a connection -------------------------------------------------------------------------------------------


def test_a_repository_that_is_not_here(tmp_path) -> None:
    for options, why in (({}, "there is no connection"), ({"local_files_only": True}, "downloading is switched off")):
        with pytest.raises(WeightsError) as refused:
            load_external("megaloc", trust=True, **options)
        message = str(refused.value)
        assert message.startswith("MegaLoc could not be loaded: the code of gmberton/MegaLoc is not on this machine")
        assert f"({tmp_path / 'torch' / 'hub'}) and {why}" in message
        assert "torch.hub.load('gmberton/MegaLoc', 'get_trained_model', trust_repo=True)" in message


def test_weights_that_its_code_would_download(hub, tmp_path) -> None:
    with pytest.raises(WeightsError) as refused:
        load_entry(hub, "downloading")
    message = str(refused.value)
    assert "https://weights.invalid/other.pth is not on this machine" in message
    assert str(tmp_path / "torch/hub/checkpoints/other.pth") in message
    with pytest.raises(WeightsError, match="the code of facebookresearch/dinov2 is not on this machine"):
        load_entry(hub, "asking_github")


def test_a_repository_that_was_fetched_before_needs_no_connection(hub, tmp_path) -> None:
    write_hub(tmp_path / "torch" / "hub" / "some_repo_main")
    model = load_external("hub:some/repo:plain", trust=True, size=56)
    assert model.variant.code == "some/repo:plain"
    assert model.weights.sha256 == load_entry(hub, "plain").weights.sha256
    with pytest.raises(WeightsError, match="the code of some/repo:v2 is not on this machine"):
        load_external("hub:some/repo@v2:plain", trust=True)


def test_a_known_model_is_held_to_what_was_published(tmp_path) -> None:
    kept = tmp_path / "torch" / "hub" / "gmberton_MegaLoc_main"
    kept.mkdir(parents=True)
    (kept / "hubconf.py").write_text("def get_trained_model():\n    return lambda x: x.mean(dim=(2, 3))\n")
    with pytest.raises(WeightsError, match="MegaLoc gives descriptors of 3 dimensions, but 8448 are expected"):
        load_external("megaloc", trust=True)
    model = load_external("megaloc", trust=True, descriptor_dim=3, size=(40, 60))
    assert model.variant.preprocessing.size == (40, 60)
