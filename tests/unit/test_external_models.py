"""Models of other people: loaded from folders made here, measured, evaluated, stored."""

from __future__ import annotations

import copy
import threading
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_hub import cut_off, load_entry, random_photos, write_hub
from torch import nn

from scicevpr.config import Preprocessing
from scicevpr.datasets import read_dataset
from scicevpr.descriptors.describe import describe, region_vectors
from scicevpr.errors import IndexMismatchError, UsageError, WeightsError
from scicevpr.evaluation.benchmark import evaluate
from scicevpr.explanations import Explanation
from scicevpr.external_models.loading import BATCH_TOLERANCE, load_any, load_external, probe_batch_dependence
from scicevpr.external_models.registry import KNOWN, is_external, parse_source
from scicevpr.files.descriptor_files import load_descriptors, save_descriptors
from scicevpr.models.model import build_model
from scicevpr.retrieval.pca import PCA


@pytest.fixture(autouse=True)
def _offline(monkeypatch, tmp_path):
    cut_off(monkeypatch, tmp_path / "torch")


@pytest.fixture(scope="module")
def hub(tmp_path_factory) -> Path:
    return write_hub(tmp_path_factory.mktemp("hub") / "tiny-repo")


# ---- what a loaded model offers -----------------------------------------------------------------------------------


def test_a_hub_entry_gives_unit_descriptors_and_says_what_it_is(hub, capsys) -> None:
    model = load_entry(hub, "plain")
    variant = model.variant
    assert (variant.name, variant.title, variant.code) == ("tiny-repo-plain", "plain (tiny-repo)", "tiny-repo:plain")
    assert variant.descriptor_dim == 12
    assert variant.preprocessing == Preprocessing(size=(56, 56), antialias=True)
    assert not variant.cross_image
    assert variant.batch_dependence < 1e-6
    assert not variant.unit_output
    assert model.weights.source == "tiny-repo:plain"
    assert len(model.weights.sha256) == 12
    photos = random_photos(3)
    values = describe(model, photos).values
    own = model.inner(photos).detach().numpy()
    np.testing.assert_allclose(values, own / np.linalg.norm(own, axis=1, keepdims=True), atol=1e-6)
    shown = capsys.readouterr()
    assert shown.out == ""  # results only
    assert "loading" in shown.err


def test_the_first_element_of_a_tuple_is_the_descriptor(hub) -> None:
    model = load_entry(hub, "with_attention")
    assert model.variant.unit_output
    assert describe(model, random_photos(2)).values.shape == (2, 12)


def test_arguments_in_the_name_and_in_python(hub) -> None:
    assert load_entry(hub, "plain?values=7").variant.descriptor_dim == 7
    model = load_external(f"hub:{hub}:plain", {"values": 8}, trust=True, size=56)
    assert model.variant.descriptor_dim == 8
    assert model.variant.fingerprint != load_entry(hub, "plain").variant.fingerprint


def test_a_known_model_with_other_arguments_has_another_name() -> None:
    source = parse_source("cosplace?fc_output_dim=512")
    assert (source.title, source.name) == ("CosPlace (fc_output_dim=512)", "cosplace-fc_output_dim-512")
    assert source.kwargs == {"backbone": "ResNet50", "fc_output_dim": 512}
    assert (parse_source("selavpr++").title, parse_source("selavpr++").name) == ("SelaVPR++ (DINOv2-L)", "selavpr++")


def test_a_wrapped_module_leaves_its_data_parallel_shell(hub) -> None:
    assert not isinstance(load_entry(hub, "parallel").inner, nn.DataParallel)


def test_batch_dependence_is_measured_and_decides_the_grouping(hub) -> None:
    crowd, plain = load_entry(hub, "crowd"), load_entry(hub, "plain")
    assert crowd.variant.cross_image
    assert crowd.variant.batch_dependence > 1e-3
    result = describe(crowd, random_photos(3))
    assert result.grouping == "sequential 16"
    assert "depends on its batch" in result.protocol()["batch probe"]
    result = describe(plain, random_photos(3))
    assert result.grouping == "independent of the batch"
    assert "independent of its batch" in result.protocol_line()


@pytest.mark.parametrize(("name", "depends"), [("scicevpr-t", False), ("cricavpr-t", True)])
def test_the_probe_knows_this_projects_models_too(name, depends) -> None:
    torch.manual_seed(1)
    assert (probe_batch_dependence(build_model(name), photos=2) > BATCH_TOLERANCE) == depends


@pytest.mark.parametrize("entry", ["plain", "with_attention"])
def test_it_can_be_copied_and_moved(hub, entry) -> None:
    model = load_entry(hub, entry)
    photos = random_photos(2)
    twin = copy.deepcopy(model)
    assert torch.equal(twin(photos), model(photos))
    if entry == "plain":  # the other is a function over a module that cannot be reached
        half = describe(model, photos, dtype=torch.bfloat16)
        assert half.dtype == "bfloat16"
        assert next(model.parameters()).dtype == torch.float32
        np.testing.assert_allclose(half.values, describe(model, photos).values, atol=0.02)
        np.testing.assert_allclose(np.linalg.norm(half.values, axis=1), 1, atol=1e-6)
        assert next(load_entry(hub, "plain", dtype=torch.bfloat16).inner.parameters()).dtype == torch.bfloat16


def test_a_function_without_tensors_is_a_model() -> None:
    model = load_external(lambda x: x.mean(dim=(2, 3)), name="mean colour", trained=False, trained_on="nothing")
    assert (model.variant.title, model.variant.name) == ("mean colour", "mean-colour")
    assert model.weights.trained is False
    assert describe(model, random_photos(2, 224)).values.shape == (2, 3)
    assert describe(model, random_photos(2, 224), dtype=torch.float64).dtype == "float64"


def test_a_function_of_a_package(tmp_path, monkeypatch) -> None:
    (tmp_path / "my_place_model.py").write_text("def build(k=2):\n    return lambda x: x.mean(dim=(2, 3)) * k\n")
    monkeypatch.syspath_prepend(tmp_path)
    model = load_external("python:my_place_model:build?k=3", trust=True)
    assert model.variant.name == "my_place_model-build"
    assert model.variant.descriptor_dim == 3


def test_two_repositories_with_modules_of_the_same_name(hub, tmp_path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "hubconf.py").write_text("from util import build\n")
    (other / "util.py").write_text("def build():\n    return lambda x: x.amax(dim=(2, 3))\n")
    assert load_entry(hub, "plain").variant.descriptor_dim == 12
    assert load_entry(other, "build").variant.descriptor_dim == 3
    assert load_entry(hub, "plain").variant.descriptor_dim == 12


# ---- the rest of the library takes it -----------------------------------------------------------------------------


def test_it_is_evaluated_like_any_model(hub, tiny_city) -> None:
    dataset = read_dataset(tiny_city)
    model = load_entry(hub, "crowd")
    result = evaluate(model, dataset, ns=(1, 5))
    assert result.title == "crowd (tiny-repo)"
    assert result.overall.recalls[1] > 0.3
    assert result.protocol["database grouping"] == "sequential 16"
    assert result.protocol["code"] == "tiny-repo:crowd"
    assert "measured" in result.protocol["batch probe"]
    pca = PCA.fit(
        result.database.values, 4, fingerprint=model.variant.fingerprint, weights=model.weights.sha256
    )  # fmt: skip
    assert evaluate(model, dataset, ns=(1,), pca=pca, database=result.database).protocol["PCA"].startswith("12 to 4")
    with pytest.raises(IndexMismatchError, match="belongs to another"):
        evaluate(load_entry(hub, "plain"), dataset, ns=(1,), pca=pca)


def test_its_descriptors_are_kept_and_refused_where_they_do_not_fit(hub, tiny_city, tmp_path) -> None:
    photos = [place.path for place in read_dataset(tiny_city).database]
    model = load_entry(hub, "crowd")
    described = describe(model, photos)
    path = save_descriptors(tmp_path / "pack.safetensors", described, [photo.name for photo in photos])
    found, _ = load_descriptors(path, model)
    np.testing.assert_allclose(found.values, described.values, atol=1e-3)
    assert found.protocol() == described.protocol()
    with pytest.raises(IndexMismatchError, match="other architecture"):
        load_descriptors(path, load_entry(hub, "plain"))


def test_what_needs_the_inside_of_a_model_refuses_it(hub, tiny_city) -> None:
    model = load_entry(hub, "plain")
    with pytest.raises(UsageError, match=r"plain \(tiny-repo\) is not one of this project's models"):
        region_vectors(model, random_photos(2))
    with pytest.raises(UsageError, match="only its descriptors are known"):
        Explanation(model, [next((tiny_city / "images/test/queries").glob("*.jpg"))])


def test_load_any_tells_them_apart(hub) -> None:
    assert load_any(f"hub:{hub}:plain", trust=True, size=56, allow_untrained=True).variant.descriptor_dim == 12
    assert load_any("scicevpr-t", allow_untrained=True, trust=True).variant.name == "scicevpr-t"
    with pytest.raises(UsageError, match="leave out the variant"):
        load_any("megaloc", variant="scicevpr-b")
    with pytest.raises(WeightsError, match="neither a variant nor"):
        load_any("scicevpr-z")


def test_names_of_models_of_others(tmp_path, monkeypatch) -> None:
    assert is_external("MegaLoc")
    assert is_external("cosplace?fc_output_dim=512")
    assert is_external("hub:a/b:c")
    assert not is_external("scicevpr-b")
    assert not is_external("dinov2-b")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "megaloc").mkdir()
    assert not is_external("megaloc")


@pytest.mark.parametrize("name", ["hub:", "hub:a/b", "hub:a b/c:d", "python:math:", "hub:a/b/c:d", "megalok"])
def test_a_name_of_no_form_is_refused(name) -> None:
    with pytest.raises(UsageError, match=r"names no model\. Write megaloc"):
        load_external(name, trust=True)


def test_the_registry_is_sound() -> None:
    for name, entry in KNOWN.items():
        assert name == entry.name.lower()
        assert entry.link.startswith("https://github.com/")
        assert entry.repository.count("/") == 1
        assert all(side > 0 for side in entry.preprocessing.size)
    assert asdict(KNOWN["boq"])["kwargs"] == {"backbone_name": "dinov2", "output_dim": 12288}
    assert KNOWN["salad"].licence == "GPL-3.0"


# ---- models that keep something in forward ------------------------------------------------------------------------


class Keeping(nn.Module):
    """Stores the photos in one line of its forward and uses them in the next."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x):
        self.kept = x
        for _ in range(50):  # time for another thread to come in between
            torch.randn(64, 64).sum()
        return self.kept.flatten(1)[:, :16] * self.scale


@pytest.fixture
def four_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


def test_a_model_that_keeps_something_in_forward_gives_every_photo_its_own_row(four_threads):
    model = load_external(Keeping(), preprocessing=Preprocessing(size=(8, 8)), trust=True)
    photos = torch.randn(55, 3, 8, 8)
    own = torch.nn.functional.normalize(photos.flatten(1)[:, :16], dim=1)
    np.testing.assert_allclose(describe(model, photos, batch_size=1).values, own, atol=1e-6)


def test_two_callers_of_one_external_model_take_turns(four_threads):
    model = load_external(Keeping(), preprocessing=Preprocessing(size=(8, 8)), trust=True)
    photos = torch.randn(2, 24, 1, 3, 8, 8)
    found = [[], []]

    def call(caller: int) -> None:
        found[caller] += [model(photo).detach() for photo in photos[caller]]

    threads = [threading.Thread(target=call, args=(caller,)) for caller in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    own = torch.nn.functional.normalize(photos.flatten(3).flatten(2)[:, :, :16], dim=2)
    for caller in (0, 1):
        np.testing.assert_allclose(torch.cat(found[caller]), own[caller], atol=1e-6)
