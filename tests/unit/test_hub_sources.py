"""What a source string means, and what the registry states."""

from __future__ import annotations

from pathlib import Path

import pytest

from scicevpr.config import VARIANTS
from scicevpr.errors import UsageError, WeightsError
from scicevpr.hub.load import assigned_weights
from scicevpr.hub.sources import (
    NO_OFFICIAL_WEIGHTS,
    HubFile,
    LocalFile,
    UrlFile,
    address,
    entries_named,
    parse_source,
    registry,
)

SHA = "ab" * 32
RELEASE = "https://github.com/Lu-Feng/CricaVPR/releases/download/v1.0/CricaVPR.pth"


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


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
