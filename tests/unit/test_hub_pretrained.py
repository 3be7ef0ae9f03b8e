"""save_pretrained, from_pretrained, push_to_hub: what is written, what is refused, what the card says."""

from __future__ import annotations

import copy
import json
import shutil
from dataclasses import replace
from pathlib import Path

import huggingface_hub
import pytest
import torch
import yaml
from filled_models import INFO, descriptors, filled_model
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from stand_in_server import StandIn

from scicevpr.config import VARIANTS, Preprocessing
from scicevpr.errors import UsageError, WeightsError
from scicevpr.hub.load import load_model
from scicevpr.hub.pretrained import from_pretrained, model_card, push_to_hub, save_pretrained
from scicevpr.models.model import VPRModel, build_model
from scicevpr.models.native_checkpoints import hash_tensors, save_weights

RESULT = {
    "title": "SciceVPR-T",
    "protocol": {"variant": "scicevpr-t", "weights": "?", "resize": "224x224 bilinear, antialias", "dataset": "city"},
    "overall": {"queries": 20, "recall_percent": {"1": 75.0, "5": 95.04}},
    "conditions": {"night": {"queries": 8, "recall_percent": {"1": 50.0, "5": 87.5}}},
}

FILES = ["LICENSE.efficientnet-lite0.txt", "README.md", "config.json", "model.safetensors"]


@pytest.fixture(scope="module")
def run_file(tmp_path_factory) -> Path:
    """SciceVPR-T in a file that records its training."""
    path = tmp_path_factory.mktemp("run") / "run.safetensors"
    save_weights(filled_model("scicevpr-t"), path, info=INFO | {"seed": 3, "licence": "MIT"})
    return path


@pytest.fixture
def model(run_file: Path) -> VPRModel:
    return load_model(run_file)


@pytest.fixture(scope="module")
def saved_once(run_file: Path, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    save_pretrained(load_model(run_file), folder)
    return folder


@pytest.fixture
def saved(saved_once: Path, tmp_path: Path) -> Path:
    return shutil.copytree(saved_once, tmp_path / "saved")


def _config(saved: Path, **changes) -> dict:
    config = json.loads((saved / "config.json").read_text()) | changes
    (saved / "config.json").write_text(json.dumps(config))
    return config


def test_a_folder_round_trip(saved: Path, model: VPRModel, images, expected) -> None:
    assert sorted(path.name for path in saved.iterdir()) == FILES
    loaded = from_pretrained(saved)
    assert torch.equal(descriptors(loaded, images), expected["scicevpr-t"])
    assert not loaded.training
    assert loaded.weights == replace(model.weights, source=str(saved))
    assert dict(loaded.weights.metadata) == {"command": "pytest", "seed": "3", "licence": "MIT"}
    config = _config(saved)
    assert config["variant"] == "scicevpr-t"
    assert config["fingerprint"] == VARIANTS["scicevpr-t"].fingerprint
    assert config["preprocessing"]["antialias"] is True
    with safe_open(saved / "model.safetensors", framework="pt") as file:
        assert file.metadata()["sha256"] == config["weights_sha256"] == model.weights.sha256


def test_saving_changes_nothing_and_copies_still_work(images, expected, tmp_path: Path) -> None:
    model = filled_model("scicevpr-t")
    before = set(model.state_dict())
    save_pretrained(model, tmp_path / "saved")
    assert model.weights is None
    twin = copy.deepcopy(model)
    assert torch.equal(descriptors(twin, images), expected["scicevpr-t"])
    assert set(twin.state_dict()) == before
    assert twin.variant is not None
    loaded = from_pretrained(str(tmp_path / "saved"), dtype=torch.bfloat16)
    assert (loaded.weights.trained, loaded.weights.trained_on) == (False, "nothing: random weights")
    assert loaded.gem.p.dtype == torch.bfloat16


def test_another_preprocessing_comes_back_with_the_model(model: VPRModel, tmp_path: Path) -> None:
    model.variant = replace(model.variant, preprocessing=Preprocessing(antialias=False))
    save_pretrained(model, tmp_path / "plain")
    assert from_pretrained(tmp_path / "plain").variant == model.variant


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fingerprint": "0123456789ab"}, "another architecture: fingerprint 0123456789ab"),
        ({"variant": "super-cricavpr-t"}, "another architecture"),
        ({"variant": "resnet"}, "for the model 'resnet', which this version does not know"),
        ({"weights_sha256": "0" * 12}, "belongs to weights 000000000000, but"),
        ({"preprocessing": {"size": [224, 224], "crop": 1}}, "no preprocessing that this version understands"),
        ({"preprocessing": {"size": [448, 448]}}, "another architecture"),
    ],
)
def test_a_configuration_that_does_not_fit_is_refused(changes: dict, message: str, saved: Path) -> None:
    _config(saved, **changes)
    with pytest.raises(WeightsError, match=message):
        from_pretrained(saved)


def test_tensors_that_are_not_those_saved_are_refused(saved: Path) -> None:
    with safe_open(saved / "model.safetensors", framework="pt") as file:
        facts = file.metadata()
    tensors = load_file(saved / "model.safetensors")
    tensors["gem.p"] += 1
    save_file(tensors, saved / "model.safetensors", metadata=facts)
    with pytest.raises(WeightsError, match="is damaged"):
        from_pretrained(saved)
    (saved / "config.json").write_text("{")
    with pytest.raises(WeightsError, match="is not readable JSON"):
        from_pretrained(saved)
    (saved / "config.json").unlink()
    with pytest.raises(WeightsError, match=r"neither a folder with config\.json"):
        from_pretrained(saved)


def test_a_model_goes_to_the_hub_and_comes_back(server: StandIn, model: VPRModel, images, expected) -> None:
    url = push_to_hub(model, "org/name", private=True, token="hf_test")
    assert url == f"{server.url}/org/name/commit/{'c0ffee' + '0' * 34}"
    created = next(post for path, post in server.posts if path == "/api/repos/create")
    assert created["token"] == "Bearer hf_test"
    assert "private" in str(created["lines"][0])
    assert sorted(path.rpartition("/")[2] for path in server.files) == FILES
    card = server.files["/org/name/resolve/main/README.md"].content.decode()
    assert 'from_pretrained("org/name")' in card
    loaded = from_pretrained("org/name")
    assert torch.equal(descriptors(loaded, images), expected["scicevpr-t"])
    assert loaded.weights.source == "org/name"
    asked = len(server.requests)
    assert from_pretrained("org/name", local_files_only=True).weights == loaded.weights
    assert len(server.requests) == asked


def test_the_upload_call_is_huggingface_hubs(model: VPRModel, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = {}

    class Recorded:
        def __init__(self, **how) -> None:
            calls["api"] = how

        def create_repo(self, repo: str, **how) -> huggingface_hub.RepoUrl:
            calls["create"] = (repo, how)
            return huggingface_hub.RepoUrl(f"https://huggingface.co/{repo}")

        def upload_folder(self, **how) -> str:
            calls["upload"] = how | {"files": sorted(path.name for path in Path(how["folder_path"]).iterdir())}
            return "https://huggingface.co/org/name/commit/1"

    monkeypatch.setattr(huggingface_hub, "HfApi", Recorded)
    push_to_hub(model, "org/name", endpoint="http://hub.local/", branch="v2", commit_message="second")
    assert calls["api"] == {"endpoint": "http://hub.local", "token": None, "library_name": "scicevpr"}
    assert calls["create"] == ("org/name", {"private": None, "exist_ok": True})
    assert calls["upload"]["repo_id"] == "org/name"
    assert (calls["upload"]["revision"], calls["upload"]["commit_message"]) == ("v2", "second")
    assert calls["upload"]["files"] == FILES


@pytest.mark.parametrize(
    ("status", "message"),
    [(401, "does not know you, so nothing was uploaded"), (403, "does not let you write"), (500, "answers 500")],
)
def test_a_refused_upload(status: int, message: str, server: StandIn, model: VPRModel) -> None:
    server.add_hub_error("/api/repos/create", status, "")
    with pytest.raises(WeightsError, match=message):
        push_to_hub(model, "org/name", token="hf_test")


def test_the_card_says_what_the_weights_are(model: VPRModel) -> None:
    result = RESULT | {"protocol": RESULT["protocol"] | {"weights": f"{model.weights.sha256} (NOT trained)"}}
    text = model_card(model, results=[result], repo="org/name")
    header = yaml.safe_load(text.split("---")[1])
    assert header["license"] == "mit"
    assert header["library_name"] == "scicevpr"
    for words in (
        "**not official**", "NOT trained", "nothing (test)", model.weights.sha256, model.variant.fingerprint,
        "2688 dimensions", "| night | 8 | 50.0 | 87.5 |", "| all | 20 | 75.0 | 95.0 |", "Protocol: variant scicevpr-t",
        "No official weights", "| Seed | 3 |",
    ):  # fmt: skip
        assert words in text


def test_the_card_claims_nothing_that_is_not_known(model: VPRModel) -> None:
    with pytest.raises(UsageError, match="measured with scicevpr-t \\?, but the card is for scicevpr-t"):
        model_card(model, results=[RESULT])
    model.weights = replace(model.weights, trained=True, metadata=())
    text = model_card(model)
    assert "NOT trained" not in text
    assert "No measured numbers were given" in text
    assert "None is stated" in text
    assert "license" not in text.split("---")[1]
    random = model_card(build_model("cricavpr-t"))
    assert "NOT trained" in random
    assert "depends on the photos that share its batch" in random


def test_a_card_that_somebody_wrote_stays(model: VPRModel, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("mine")
    save_pretrained(model, tmp_path)
    assert (tmp_path / "README.md").read_text() == "mine"


def test_the_saved_hash_is_that_of_the_model(saved: Path) -> None:
    loaded = from_pretrained(saved)
    assert loaded.weights.sha256 == hash_tensors(loaded.state_dict())
