from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from filled_models import T_VARIANTS, descriptors, filled_model, random_images

from scicevpr.cli.main import main
from scicevpr.datasets import read_dataset
from scicevpr.descriptors import precision
from scicevpr.descriptors.batches import Grouping
from scicevpr.descriptors.describe import describe, find_descriptors
from scicevpr.descriptors.precision import best_mode, obstacle, precision_label, runner
from scicevpr.errors import UsageError
from scicevpr.evaluation import precision_cost as measure
from scicevpr.evaluation.precision_cost import relative_distance
from scicevpr.files.descriptor_files import save_descriptors
from scicevpr.models.fused_layers import FloatLinear, QuantisedLinear
from scicevpr.models.model import WeightsInfo

HERE = [mode for mode in ("bfloat16", "int8") if obstacle(mode) is None]
needs_int8 = pytest.mark.skipif(obstacle("int8") is not None, reason="no 8-bit products here")


def _moved(values: torch.Tensor, reference: torch.Tensor) -> float:
    apart = torch.cdist(reference, reference)
    return float((values - reference).norm(dim=1).max() / apart[apart > 0].median())


def _row(milliseconds: float, change: float = 0.0, p: float = 1.0) -> dict:
    return {"ms a photo": milliseconds, "change": change, "p": p, "recall": 74.0, "queries": 270, "times faster": 2.0}


def _measured(**modes: dict) -> dict:
    return {"models": [{"weights": "0" * 12, "modes": modes}]}


@pytest.fixture
def model():
    model = filled_model("scicevpr-t")
    model.weights = WeightsInfo("test", "0" * 12, "nothing", True)
    return model


@pytest.fixture
def any_processor(monkeypatch):
    monkeypatch.setattr(precision, "processor_flags", lambda: frozenset({"avx512_bf16", "avx512_vnni"}))


@pytest.mark.parametrize("mode", HERE)
@pytest.mark.parametrize("name", T_VARIANTS)
def test_lower_precision_stays_near(name, mode, models, images, expected):
    moved = _moved(descriptors(runner(models[name], mode), images), expected[name])
    assert 1e-4 < moved < 0.2  # of the distance between noise images, which lie near each other


@pytest.mark.parametrize("mode", HERE)
def test_a_photo_is_described_alike_alone_and_in_a_batch(mode, models, images):
    run = runner(models["scicevpr-t"], mode)
    alone = torch.cat([descriptors(run, photo[None]) for photo in images])
    limit = 5e-7 if mode == "float32" else 2e-3
    assert float((descriptors(run, images) - alone).abs().max()) < limit


@needs_int8
def test_the_8_bit_layer_rounds_each_token_by_itself():
    generator = torch.Generator().manual_seed(0)
    x, weight = torch.randn(5, 64, generator=generator), torch.randn(48, 64, generator=generator)
    bias = torch.randn(48, generator=generator)
    x[2] *= 1e4  # one huge token must not coarsen the others
    x[4] = 0
    exact, found = FloatLinear(weight, bias, torch.float32)(x), QuantisedLinear(weight, bias, 5)(x)
    errors = (found - exact).norm(dim=1) / (exact - bias).norm(dim=1).clamp(min=1)
    assert float(errors.max()) < 0.03
    assert torch.equal(found[4], bias)
    assert torch.equal(QuantisedLinear(weight, bias, 1)(x[:1]), found[:1])


def test_a_prepared_model_is_kept_until_its_weights_change(model):
    images = random_images(1, seed=7)
    first = runner(model, "float32")
    assert runner(model, "float32") is first
    with torch.no_grad():
        model.fusion.conv.bias += 0.5
    second = runner(model, "float32")
    assert second is not first
    assert float((descriptors(second, images) - descriptors(model, images)).abs().max()) <= 5e-7


def test_modes_that_the_machine_lacks_are_refused_with_the_reason(model, monkeypatch):
    monkeypatch.setattr(precision, "processor_flags", lambda: frozenset({"avx2"}))
    with pytest.raises(UsageError, match="no instructions for bfloat16"):
        runner(model, "bfloat16")
    with pytest.raises(UsageError, match="VNNI"):
        runner(model, "int8")
    with pytest.raises(UsageError, match="GPUs"):
        runner(model, "float16")
    with pytest.raises(UsageError, match="choose one of float32"):
        runner(model, "int4")
    assert best_mode(model, measured=_measured(float32=_row(30), int8=_row(10))).mode == "float32"


def test_the_fastest_mode_without_loss_is_picked(model, any_processor):
    lossless = _measured(float32=_row(30), bfloat16=_row(20), int8=_row(10))
    choice = best_mode(model, measured=lossless)
    assert choice.mode == "int8"
    assert "74.0 %" in choice.reason
    large = _measured(float32=_row(30), bfloat16=_row(20, 0.4, 0.01), int8=_row(10, -0.6, 0.9))
    assert best_mode(model, measured=large).mode == "bfloat16"
    assert "int8 would lose 0.6 points" in best_mode(model, measured=large).reason
    significant = _measured(float32=_row(30), bfloat16=_row(20, -0.3, 0.04), int8=_row(10, -0.4, 0.01))
    assert best_mode(model, measured=significant).mode == "float32"


def test_weights_that_nobody_measured_stay_in_float32(model):
    choice = best_mode(model, measured={"models": []})
    assert choice.mode == "float32"
    assert "not measured" in choice.reason


def test_describe_says_which_precision_it_used(model, images):
    plain = describe(model, images)
    same = describe(model, images, precision="float32")
    assert same.dtype == plain.dtype == "float32"
    assert np.abs(same.values - plain.values).max() <= 5e-7
    assert describe(model, images, precision="auto").dtype == "float32"  # never measured
    with pytest.raises(UsageError, match="say the same thing"):
        describe(model, images, precision="float32", dtype=torch.bfloat16)
    for mode in HERE:
        lower = describe(model, images, precision=mode)
        assert lower.dtype == precision_label(mode)
        assert 0 < np.abs(lower.values - plain.values).max() < 0.01


@needs_int8
def test_stored_descriptors_of_another_precision_are_passed_over(model, images, tmp_path):
    names = ["a", "b", "c"]
    save_descriptors(tmp_path / "int8.safetensors", describe(model, images, precision="int8"), names)
    asked = (tmp_path, model, names, Grouping.alone(), model.variant.preprocessing)
    assert find_descriptors(*asked) is None
    assert find_descriptors(*asked, precision_label("int8")) is not None


def test_relative_distance_of_known_vectors():
    reference = np.eye(4, dtype=np.float32)
    moved = reference.copy()
    moved[0] = [0, 1, 0, 0]
    found = relative_distance(moved, reference)
    assert found["between photos"] == pytest.approx(2**0.5)
    assert found["median"] == 0
    assert found["largest"] == pytest.approx(1)


@pytest.mark.slow
def test_the_command_measures_every_mode(tiny_city, tmp_path, capsys, own_file, monkeypatch):
    monkeypatch.setattr(measure, "TIMED_PHOTOS", 1)
    written = tmp_path / "precision.json"
    options = ["--dataset", str(tiny_city), "--model", str(own_file), "--rounds", "1", "--json", str(written)]
    assert main(["precision", *options]) == 0
    [found] = json.loads(written.read_text())["models"]
    assert set(found["modes"]) == {"float32", *HERE}
    plain = found["modes"]["float32"]
    assert plain["distance"]["largest"] == 0
    assert plain["change"] == 0
    assert plain["queries"] == len(read_dataset(tiny_city).queries)
    assert "auto would pick" in capsys.readouterr().out


@needs_int8
def test_the_command_line_describes_in_8_bits(tiny_city, tmp_path, own_file):
    out = tmp_path / "d.npy"
    photos = str(tiny_city / "images" / "test" / "queries")
    assert main(["describe", photos, "--model", str(own_file), "--precision", "int8", "--output", str(out)]) == 0
    assert json.loads((tmp_path / "d.npy.json").read_text())["protocol"]["dtype"] == precision_label("int8")
    assert main(["describe", photos, "--dtype", "float64", "--precision", "int8", "--output", str(out)]) == 2
