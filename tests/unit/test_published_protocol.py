"""What --published means for each model, and that paths, precision and batches of a PCA are told or agree."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from filled_models import filled_model

from scicevpr.cli.main import main
from scicevpr.config import VARIANTS, get_variant
from scicevpr.datasets import read_dataset, read_folders
from scicevpr.descriptors.batches import Grouping
from scicevpr.descriptors.precision import precision_label
from scicevpr.evaluation.benchmark import evaluate
from scicevpr.evaluation.comparison import compare, read_relevance
from scicevpr.evaluation.pca_fit import fit_pca
from scicevpr.evaluation.protocols import published_batch, published_rounding
from scicevpr.models import WeightsInfo
from scicevpr.models.native_checkpoints import save_weights


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> dict[str, Path]:
    """Files of filled weights of both families."""
    from filled_models import INFO

    folder = tmp_path_factory.mktemp("weights")
    for name in ("scicevpr-t", "cricavpr-t"):
        save_weights(filled_model(name), folder / f"{name}.safetensors", info=INFO)
    return {name: folder / f"{name}.safetensors" for name in ("scicevpr-t", "cricavpr-t")}


def _protocols(tmp_path, *arguments) -> list[dict[str, str]]:
    assert main([*map(str, ("evaluate", *arguments, "--json", tmp_path / "r.json"))]) == 0
    return [result["protocol"] for result in json.loads((tmp_path / "r.json").read_text())["results"]]


def test_positions_are_rounded_only_where_the_published_code_rounds_them():
    rule = {name: published_rounding(variant) for name, variant in VARIANTS.items()}
    assert {rule[name] for name in rule if name.startswith("cricavpr")} == {"float64"}
    assert {rule[name] for name in rule if not name.startswith("cricavpr")} == {"float32"}


def test_published_runs_say_their_rounding_and_batches(tiny_city, weights, tmp_path):
    files = [option for name in weights for option in ("--weights", weights[name])]
    scicevpr, cricavpr = _protocols(
        tmp_path, "--dataset", tiny_city, *files, "--published", "--infer_batch_size", 4, "--benchmark", "pitts30k",
    )  # fmt: skip
    assert scicevpr["UTM rounding"] == "float32 (as published)"
    assert cricavpr["UTM rounding"] == "float64"
    assert cricavpr["database grouping"] == cricavpr["query grouping"] == "sequential 2"
    [elsewhere] = _protocols(
        tmp_path, "--dataset", tiny_city, "--weights", weights["cricavpr-t"], "--infer_batch_size", 4,
        "--pca-dim", 3, "--pca-folder", tiny_city / "images/test/queries",
    )  # fmt: skip
    assert elsewhere["database grouping"] == "sequential 4"
    assert elsewhere["PCA"].endswith("batches of the fit sequential 4 (the published code shuffles them)")


def test_only_cricavprs_code_halves_the_batch_and_only_on_pittsburgh(tiny_city):
    dataset = read_dataset(tiny_city)
    pittsburgh, tokyo = (replace(dataset, benchmark=name) for name in ("pitts30k", "tokyo247"))
    assert published_batch(get_variant("cricavpr-b"), pittsburgh, 16) == 8
    assert published_batch(get_variant("cricavpr-b"), pittsburgh, 1) == 1
    assert published_batch(get_variant("cricavpr-b"), tokyo, 16) == 16
    assert published_batch(get_variant("super-cricavpr-b"), pittsburgh, 16) == 16
    assert published_batch(get_variant("cricavpr-b"), dataset, 16) == 16


def test_a_pca_is_fitted_in_the_precision_of_the_queries_or_says_that_it_was_not(tiny_city, tmp_path):
    model = filled_model("scicevpr-t")
    model.weights = WeightsInfo(source="test", sha256="0123456789ab", trained_on="nothing", trained=False)
    photos, dataset = tiny_city / "images/test/queries", read_dataset(tiny_city)
    plain = fit_pca(model, photos, 3, cache=tmp_path)
    other = fit_pca(model, photos, 3, precision="float32", cache=tmp_path)
    assert len(list(tmp_path.iterdir())) == 2, "another way of computing is another file"
    assert (plain.dtype, other.dtype) == ("float32", "float32")
    assert evaluate(model, dataset, pca=plain).protocol["PCA"] == plain.label
    mixed = replace(plain, dtype=precision_label("int8"))
    assert evaluate(model, dataset, pca=mixed).protocol["PCA"].endswith(f"fitted on descriptors in {mixed.dtype}")


def test_identical_runs_are_comparable_however_their_folders_were_written(tiny_city, tmp_path, monkeypatch):
    city = shutil.copytree(tiny_city / "images" / "test", tmp_path / "city")
    (tmp_path / "link").symlink_to(city)
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    model = filled_model("scicevpr-t")
    model.allow_untrained = True
    written = []
    for number, base in enumerate((city, Path("../city"), tmp_path / "link", Path("../link"))):
        dataset = read_folders(base / "database", base / "queries")
        found = evaluate(model, dataset, database_grouping=Grouping.alone())
        path = tmp_path / f"{number}.json"
        path.write_text(json.dumps({"results": [found.to_json()]}))
        written.append(read_relevance(path)[0])
    for other in written[1:]:
        assert other.queries == written[0].queries
        assert compare(written[0], other).rows["all"][0].difference == 0
    assert not any(os.path.isabs(name) for name in written[1].queries)
