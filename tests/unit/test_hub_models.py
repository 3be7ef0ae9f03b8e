"""Models by every kind of source, by name, and by the entry points of hubconf.py; what a source string means."""

from __future__ import annotations

import importlib.util
import runpy
from pathlib import Path

import pytest
import torch
from filled_models import INFO, backbone_file, descriptors, filled_model, random_images
from safetensors.torch import save_file
from stand_in_server import StandIn

from scicevpr.config import VARIANTS, bundled_path
from scicevpr.errors import UsageError, WeightsError
from scicevpr.hub import sources
from scicevpr.hub.load import assigned_weights, load_backbone, load_model
from scicevpr.hub.pretrained import save_pretrained
from scicevpr.hub.sources import (
    NO_OFFICIAL_WEIGHTS,
    HubFile,
    LocalFile,
    UrlFile,
    WeightsEntry,
    address,
    entries_named,
    parse_source,
    registry,
)
from scicevpr.models.key_formats import TRANSFORMERS, state_to_published
from scicevpr.models.model import build_model
from scicevpr.models.native_checkpoints import hash_tensors, save_weights


@pytest.fixture(autouse=True)
def apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In an empty folder, without network, bundled weights or variables, unless a stand-in server is asked for."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("SCICEVPR_ASSETS", str(tmp_path / "assets"))
    monkeypatch.delenv("SCICEVPR_WEIGHTS", raising=False)


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


SHA = "ab" * 32
RELEASE = "https://github.com/Lu-Feng/CricaVPR/releases/download/v1.0/CricaVPR.pth"


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("org/name", HubFile("org/name")),
        ("org/name@v1.0", HubFile("org/name", revision="v1.0")),
        ("org/name@refs/pr/3", HubFile("org/name", revision="refs/pr/3")),
        ("hf:org/name/best/model.pth", HubFile("org/name", "best/model.pth")),
        ("hf:org/name@feature%2Fx/a.safetensors", HubFile("org/name", "a.safetensors", "feature/x")),
        ("hf:org/name", HubFile("org/name")),
        ("https://huggingface.co/org/name", HubFile("org/name")),
        ("https://huggingface.co/org/name/blob/main/a/b.pth?download=true", HubFile("org/name", "a/b.pth")),
        ("https://hf.co/org/name/resolve/v2/b.pth", HubFile("org/name", "b.pth", "v2")),
        ("https://huggingface.co/datasets/org/name", UrlFile("https://huggingface.co/datasets/org/name")),
        ("http://host/a.pth", UrlFile("http://host/a.pth")),
        (f"https://host/a.pth#sha256={SHA.upper()}", UrlFile("https://host/a.pth", SHA)),
        (RELEASE, UrlFile(RELEASE, as_torch_hub=True)),
        ("CricaVPR-B", UrlFile(RELEASE, as_torch_hub=True)),
        ("dinov2-l:facebook", HubFile("facebook/dinov2-large")),
        ("runs/best.safetensors", LocalFile(Path("runs/best.safetensors"))),
        ("runs/one/best", LocalFile(Path("runs/one/best"))),
        ("./org/name", LocalFile(Path("org/name"))),
        ("/org/name", LocalFile(Path("/org/name"))),
        (Path("org/name"), LocalFile(Path("org/name"))),
    ],
)
def test_forms(text: str | Path, place: object) -> None:
    assert parse_source(text).places == (place,)


def test_an_existing_path_wins(tmp_path: Path) -> None:
    saved = tmp_path / "org" / "name"
    saved.mkdir(parents=True)
    (saved / "model.safetensors").touch()
    (tmp_path / "dinov2-b").touch()
    (tmp_path / "dinov2-s").mkdir()  # a folder without weights is not meant
    assert parse_source("org/name").places == (LocalFile(Path("org/name")),)
    assert parse_source("dinov2-b").places == (LocalFile(Path("dinov2-b")),)
    assert parse_source("dinov2-s").registered
    assert parse_source("hf:org/name").places == (HubFile("org/name"),)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nonsense", "no source of weights.*cricavpr-b, dinov2-s"),
        ("https://host/a.pth#md5=12", "64 hex digits; not 'md5=12'"),
        ("hf:name", "does not name a Hub repository"),
        ("hf:org/name/../../x", "does not name a Hub repository"),
        ("org name/x y", "does not name a Hub repository"),
    ],
)
def test_what_is_no_source(text: str, message: str) -> None:
    with pytest.raises(WeightsError, match=message):
        parse_source(text)


def test_the_registry_names_each_source_once_and_says_whose_it_is() -> None:
    entries = registry()
    assert len({entry.name for entry in entries}) == len(entries) == 3 + 1 + 9
    assert {entry.kind for entry in entries} == {"bundled", "hub", "url"}
    for entry in entries:
        assert (entry.variant is None) != (entry.size is None)
        assert entry.variant is None or VARIANTS[entry.variant].name == entry.name
        assert entry.licence in ("MIT", "Apache-2.0")
        assert entry.official != (entry.kind == "bundled")
        assert entry.kind == "bundled" or entry.where == address(entry.place)
    assert not any(entry.official and "scicevpr-" in entry.name.replace("super-", "") for entry in entries)
    assert "not official" in NO_OFFICIAL_WEIGHTS


def test_a_backbone_has_three_places() -> None:
    assert [entry.name for entry in entries_named("DINOv2-B")] == [
        "dinov2-b:timm", "dinov2-b:facebook", "dinov2-b:original",
    ]  # fmt: skip
    wheres = [entry.where for entry in entries_named("dinov2-b")]
    assert wheres == [
        "hf:timm/vit_base_patch14_dinov2.lvd142m/model.safetensors",
        "hf:facebook/dinov2-base/model.safetensors",
        "https://dl.fbaipublicfiles.com/dinov2/dinov2_vitb14/dinov2_vitb14_pretrain.pth",
    ]
    assert entries_named("dinov2-b")[2].place.file_name == "dinov2_vitb14_pretrain.pth"


def test_files_of_one_name_from_two_addresses_do_not_meet() -> None:
    one, two = UrlFile("https://a/x/model.pth"), UrlFile("https://b/model.pth?token=1")
    assert one.file_name != two.file_name
    assert one.file_name.startswith("model-")
    assert one.file_name.endswith(".pth")
    assert UrlFile("https://a/model.pth", as_torch_hub=True).file_name == "model.pth"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ({}, None)),
        ("org/name", ({}, "org/name")),
        (f"https://host/a.pth#sha256={SHA}", ({}, f"https://host/a.pth#sha256={SHA}")),
        ("SciceVPR-B = org/a@v=1 ; scicevpr-l=/x;", ({"scicevpr-b": "org/a@v=1", "scicevpr-l": "/x"}, None)),
    ],
)
def test_weights_from_the_environment(text: str, expected: tuple, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCICEVPR_WEIGHTS", text)
    assert assigned_weights() == expected


@pytest.mark.parametrize("text", ["scicevpr-x=/a;scicevpr-b=/b", "scicevpr-b=", "/a;/b"])
def test_a_wrong_environment_is_named(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCICEVPR_WEIGHTS", text)
    with pytest.raises(UsageError, match="SCICEVPR_WEIGHTS holds"):
        assigned_weights()


ROOT = str(Path(__file__).resolve().parents[2])


def _load(entry: str, **how):
    return torch.hub.load(ROOT, entry, source="local", **how)


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
