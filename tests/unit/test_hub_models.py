"""Models by every kind of source, and by name with weights from the environment or from their authors' release."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from filled_models import INFO, backbone_file, descriptors, filled_model
from safetensors.torch import save_file
from stand_in_server import StandIn, stand_in

from scicevpr.config import bundled_path
from scicevpr.errors import WeightsError
from scicevpr.hub import sources
from scicevpr.hub.load import load_backbone, load_model
from scicevpr.hub.pretrained import save_pretrained
from scicevpr.hub.sources import HubFile, UrlFile, WeightsEntry
from scicevpr.models import build_model
from scicevpr.models.key_formats import TRANSFORMERS, state_to_published
from scicevpr.models.native_checkpoints import hash_tensors, save_weights


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The only Hub and host there is; no bundled weights, no variable, caches of the test's own."""
    for name in ("HF_HUB_OFFLINE", "SCICEVPR_WEIGHTS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SCICEVPR_ASSETS", str(tmp_path / "assets"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    with stand_in() as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        yield running


def _release_of(name: str, models, folder: Path) -> bytes:
    torch.save({"model_state_dict": state_to_published(models[name])}, folder / "release.pth")
    return (folder / "release.pth").read_bytes()


def test_a_model_from_a_hub_repository_and_from_a_web_address(server: StandIn, own_file: Path, models) -> None:
    server.add_hub_file("org/name", "model.safetensors", own_file.read_bytes())
    server.add_file("/files/best.safetensors", own_file.read_bytes())
    sha = hash_tensors(models["scicevpr-t"].state_dict())
    told = []
    for source in ("org/name", f"{server.url}/files/best.safetensors?key=secret"):
        server.files["/files/best.safetensors?key=secret"] = server.files["/files/best.safetensors"]
        model = load_model(source, progress=lambda done, total: told.append(done == total))
        assert (model.variant.name, model.weights.sha256) == ("scicevpr-t", sha)
        assert model.weights.source == source.partition("?")[0]
        assert told.pop()
    asked = len(server.requests)
    assert load_model("org/name", local_files_only=True).weights.sha256 == sha
    assert len(server.requests) == asked
    with pytest.raises(WeightsError, match="made for scicevpr-t, not super-cricavpr-t"):
        load_model("org/name", variant="super-cricavpr-t")


def test_the_environment_assigns_weights_by_name(server: StandIn, own_file: Path, models, monkeypatch) -> None:
    with pytest.raises(WeightsError, match="No weights for scicevpr-t"):
        load_model("scicevpr-t")
    sha = hash_tensors(models["scicevpr-t"].state_dict())
    monkeypatch.setenv("SCICEVPR_WEIGHTS", f"scicevpr-t={own_file};super-cricavpr-t={own_file}")
    assert load_model("scicevpr-t").weights.sha256 == sha
    with pytest.raises(WeightsError, match="made for scicevpr-t, not super-cricavpr-t"):
        load_model("super-cricavpr-t")
    monkeypatch.setenv("SCICEVPR_WEIGHTS", str(own_file))
    assert load_model("scicevpr-t").weights.source == "mine.safetensors"
    with pytest.raises(
        WeightsError, match=r"No weights for super-cricavpr-t.*mine\.safetensors, which is for scicevpr-t"
    ):
        load_model("super-cricavpr-t")
    assert load_model("super-cricavpr-t", allow_untrained=True).weights is None


def test_an_assignment_goes_before_bundled_weights_and_a_single_source_after(
    server: StandIn, own_file: Path, monkeypatch
) -> None:
    other = build_model("scicevpr-t")
    bundled = save_weights(other, bundled_path(other.variant), info=INFO)
    monkeypatch.setenv("SCICEVPR_WEIGHTS", str(own_file))
    assert load_model("scicevpr-t").weights == bundled
    monkeypatch.setenv("SCICEVPR_WEIGHTS", f"scicevpr-t={own_file}")
    assert load_model("scicevpr-t").weights.source == "mine.safetensors"


def test_a_published_release_is_downloaded_only_when_asked(server: StandIn, models, tmp_path, monkeypatch) -> None:
    place = UrlFile(f"{server.url}/CricaVPR.pth", as_torch_hub=True)
    release = WeightsEntry("cricavpr-t", place, "stand-in", "MIT", True, variant="cricavpr-t")
    monkeypatch.setattr(sources, "REGISTRY", (release,))
    server.add_file("/CricaVPR.pth", _release_of("cricavpr-t", models, tmp_path))
    with pytest.raises(WeightsError, match="not on this computer: get them with `scicevpr weights get cricavpr-t`"):
        load_model("cricavpr-t")
    assert load_model("cricavpr-t", allow_untrained=True).weights is None
    assert server.requests == []
    model = load_model("cricavpr-t", download=True)
    assert model.weights.source == "CricaVPR.pth"
    assert model.weights.sha256 == hash_tensors(models["cricavpr-t"].state_dict())
    asked = len(server.requests)
    assert load_model("cricavpr-t").weights == model.weights  # from torch.hub's folder from now on
    assert len(server.requests) == asked


def test_the_published_cricavpr_is_asked_for_by_one_command(server: StandIn) -> None:
    with pytest.raises(WeightsError, match="`scicevpr weights get cricavpr-b`"):
        load_model("cricavpr-b")
    with pytest.raises(WeightsError, match="no weights are published at this size"):
        load_model("cricavpr-l")


def test_a_backbone_by_its_registry_name(server: StandIn, tmp_path: Path, monkeypatch) -> None:
    """A DINOv2-S of random values in the place of the real one."""
    teacher, model = build_model("scicevpr-s"), build_model("cricavpr-s")
    save_file({k: v.contiguous() for k, v in backbone_file(teacher, TRANSFORMERS).items()}, tmp_path / "s.safetensors")
    entry = WeightsEntry("dinov2-s:x", HubFile("stand-in/dinov2"), "stand-in", "Apache-2.0", True, size="S")
    monkeypatch.setattr(sources, "REGISTRY", (entry,))
    server.add_hub_file("stand-in/dinov2", "model.safetensors", (tmp_path / "s.safetensors").read_bytes())
    with pytest.raises(WeightsError, match=r"dinov2-s \(hf:stand-in/dinov2/model.*`scicevpr weights get dinov2-s`"):
        load_backbone(model, "dinov2-s")
    assert server.requests == []
    loaded = load_backbone(model, "dinov2-s:x", download=True)
    assert torch.equal(model.backbone.blocks[11].attn.qkv.weight, teacher.backbone.blocks[11].attn.qkv.weight)
    assert load_backbone(model, "dinov2-s") == loaded
    with pytest.raises(WeightsError, match="backbone only"):
        load_model("dinov2-s")


def test_a_saved_folder_is_a_source(server: StandIn, images, models, expected, tmp_path: Path) -> None:
    save_pretrained(filled_model("scicevpr-t"), tmp_path / "saved")
    assert torch.equal(descriptors(load_model(tmp_path / "saved"), images), expected["scicevpr-t"])


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("nothere", "'nothere' is neither a variant nor a file"),
        ("nothere.pth", r"no weights file at .*nothere\.pth"),
        ("hf:nothere", "is neither a variant nor a file"),
        ("org/name", "There is no repository org/name"),
    ],
)
def test_sources_that_are_not_there(source: str, message: str, server: StandIn) -> None:
    server.add_hub_error("/org/name/resolve/main/model.safetensors", 404, "RepoNotFound")
    with pytest.raises(WeightsError, match=message):
        load_model(source)
