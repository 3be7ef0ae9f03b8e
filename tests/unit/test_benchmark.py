from __future__ import annotations

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from filled_models import filled_model
from PIL import Image

from scicevpr.datasets import read_dataset, utm_array
from scicevpr.descriptors.batches import Grouping
from scicevpr.errors import ImageError, IndexMismatchError, UsageError, WeightsError
from scicevpr.evaluation.baselines import BASELINES, colour_histogram, hog
from scicevpr.evaluation.benchmark import evaluate, evaluate_baseline, score
from scicevpr.evaluation.protocols import place_groups, published_grouping
from scicevpr.evaluation.report import write_predictions
from scicevpr.models.model import build_model
from scicevpr.retrieval.pca import PCA

NS = (1, 5, 10)
FAMILIES = ("scicevpr", "super-cricavpr", "cricavpr")


@pytest.fixture(scope="module")
def dataset(tiny_city):
    return read_dataset(tiny_city)


def _model(name: str):
    torch.manual_seed(0)
    model = build_model(name)
    model.allow_untrained = True
    return model


@pytest.fixture(scope="module")
def stable():
    return _model("scicevpr-t")


@pytest.fixture(scope="module")
def result(stable, dataset):
    return evaluate(stable, dataset, ns=NS)


def test_scores_per_condition_add_up_to_the_whole(result):
    assert list(result.conditions) == ["day", "night"]
    assert result.overall.queries == 8
    assert result.overall.without_positives == 1
    for n in NS:
        parts = [scores.recalls[n] * scores.queries for scores in result.conditions.values()]
        assert result.overall.recalls[n] == pytest.approx(sum(parts) / 8)
    assert result.conditions["day"].recalls[1] == 100.0  # the same pattern, slightly blurred
    assert result.overall.recalls[10] <= 87.5  # one query has nothing to find
    assert result.predictions.shape == (8, 10)


def test_the_protocol_names_all_that_moves_the_numbers(result, dataset):
    protocol = result.protocol
    assert protocol["variant"] == "scicevpr-t"
    assert "NOT trained" in protocol["weights"]
    assert "224x224 bilinear" in protocol["resize"]
    assert protocol["dataset"] == f"{dataset.name} / test"
    assert (protocol["database"], protocol["queries"]) == ("12 photos", "8 photos")
    assert protocol["queries without positives"] == "1"
    assert (protocol["right within"], protocol["UTM rounding"]) == ("25 m", "float64")
    assert protocol["torch"] == torch.__version__
    assert "query grouping independent of the batch" in result.protocol_line()
    assert "The weights are not trained." in result.notes


def test_json_and_csv_hold_every_prediction(result, tmp_path):
    content = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert content["overall"]["recall_percent"]["1"] == result.overall.recalls[1]
    assert len(content["predictions"]) == 8
    first = content["predictions"][0]["matches"][0]
    assert first["correct"] is True
    assert first["metres"] == 10.0
    with write_predictions(result, tmp_path / "deep").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["query", "rank", "database", "similarity", "metres", "correct"]
    assert len(rows) == 8 * 10
    assert (rows[0]["query"], rows[0]["database"]) == (content["predictions"][0]["query"], first["database"])
    assert sum(row["correct"] == "1" for row in rows if row["rank"] == "1") / 8 * 100 == result.overall.recalls[1]


def test_scicevpr_does_not_feel_its_batch_and_cricavpr_does(stable, dataset, result):
    shuffled = dataset.shuffle_queries(2)
    order = [dataset.queries.index(photo) for photo in shuffled.queries]
    for other in (
        evaluate(stable, shuffled, ns=NS, batch_size=3, database=result.database),
        evaluate(stable, shuffled, ns=NS, query_grouping=Grouping.alone(), database=result.database),
    ):
        np.testing.assert_array_equal(other.predictions, result.predictions[order])
        assert other.overall.recalls == result.overall.recalls
    cross = _model("cricavpr-t")
    together = evaluate(cross, dataset, ns=NS)
    alone = evaluate(cross, dataset, ns=NS, query_grouping=Grouping.alone(), database=together.database)
    assert together.protocol["query grouping"] == "sequential 16"
    assert alone.protocol["query grouping"] == "alone"
    assert alone.protocol["database grouping"] == "sequential 16"
    assert np.abs(alone.matches.similarities - together.matches.similarities).max() > 1e-4


def test_options_reach_the_result(stable, dataset, result):
    steps = []
    other = evaluate(
        stable,
        dataset,
        ns=[100, 1],
        radius=60,
        rounding="float32",
        antialias=not stable.variant.preprocessing.antialias,
        database_grouping=Grouping.sequential(5),
        progress=lambda stage, done, total: steps.append((stage, done, total)),
    )
    assert other.ns == (1, 100)
    assert other.overall.recalls[100] == 100.0  # at 60 m the last query has a positive too
    assert (other.predictions[:, 12:] == -1).all()
    assert other.protocol["resize"] != result.protocol["resize"]
    assert other.protocol["UTM rounding"] == "float32 (as published)"
    assert other.protocol["query grouping"] == "sequential 5"
    assert steps[0] == ("database", 5, 12)
    assert steps[-1] == ("queries", 8, 8)
    json.dumps(other.to_json(), allow_nan=False)


def test_the_published_batches_follow_the_benchmark(dataset):
    cross, stable = _model("cricavpr-t").variant, _model("scicevpr-t").variant
    for benchmark, size in (("pitts30k", 8), ("tokyo247", 16), (None, 16)):
        known = replace(dataset, benchmark=benchmark)
        assert published_grouping(cross, known) == Grouping.sequential(size)
        assert published_grouping(stable, known) is None


def test_batches_of_a_known_benchmark_reach_the_protocol(dataset):
    small = replace(dataset, database=dataset.database[:10], queries=dataset.queries[:1], benchmark="pitts30k")
    result = evaluate(_model("cricavpr-t"), small, ns=[1], query_grouping=place_groups(small, 4))
    assert result.protocol["database grouping"] == "sequential 8"
    assert result.protocol["query grouping"] == "by place 4"


@pytest.mark.slow
@pytest.mark.parametrize("limit", [0, 2**30])
def test_descriptors_on_disk_give_the_same_result(stable, dataset, result, tmp_path, limit):
    pca = PCA.fit(result.database.values, 6)
    found = evaluate(stable, dataset, ns=NS, pca=pca, memory_limit=limit, storage=tmp_path, num_workers=3)
    kept = evaluate(stable, dataset, ns=NS, pca=pca, num_workers=0)
    np.testing.assert_array_equal(found.predictions, kept.predictions)
    np.testing.assert_array_equal(found.matches.distances, kept.matches.distances)
    np.testing.assert_array_equal(found.database.values, result.database.values)
    assert isinstance(found.database.values, np.memmap) == (limit == 0)
    assert isinstance(found.queries.values, np.memmap) == (limit == 0)
    assert list(tmp_path.iterdir()) == []


def test_no_file_stays_when_a_photo_is_bad(stable, dataset, tmp_path):
    bad = tmp_path / "bad.jpg"
    bad.write_text("no photo")
    broken = replace(dataset, database=(*dataset.database[:3], replace(dataset.database[3], path=bad)))
    (tmp_path / "storage").mkdir()
    with pytest.raises(ImageError, match=r"bad\.jpg"):
        evaluate(stable, broken, memory_limit=0, storage=tmp_path / "storage")
    assert list((tmp_path / "storage").iterdir()) == []
    with pytest.raises(UsageError, match="does not exist"):
        evaluate(stable, dataset, memory_limit=0, storage=tmp_path / "nowhere")


def _plain_descriptors(model, photos) -> np.ndarray:
    """The published evaluation, written out: normalise, then resize without antialias; file order, 16 a batch."""
    mean, std = (torch.tensor(values)[:, None, None] for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    prepared = []
    for photo in photos:
        pixels = np.array(Image.open(photo.path).convert("RGB"), dtype=np.float32) / 255
        tensor = (torch.from_numpy(pixels).permute(2, 0, 1) - mean) / std
        prepared.append(F.interpolate(tensor[None], (224, 224), mode="bilinear", align_corners=False, antialias=False))
    batches = torch.cat(prepared).split(16)
    with torch.no_grad():
        return torch.cat([model(batch) for batch in batches]).numpy()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["scicevpr-s", "super-cricavpr-s", *(f"{family}-b" for family in FAMILIES)])
def test_evaluate_equals_a_plain_loop(dataset, name):
    model = filled_model(name)
    model.allow_untrained = True
    if name in ("scicevpr-b", "super-cricavpr-b"):  # as at S, where there are two batches: few photos are enough
        dataset = replace(dataset, database=dataset.database[:5], queries=dataset.queries[:3])
    else:
        seventeen = dataset.database + dataset.queries[:5]  # two batches
        dataset = replace(dataset, database=seventeen, queries=dataset.queries[5:])
    result = evaluate(model, dataset, ns=NS)
    database, queries = _plain_descriptors(model, dataset.database), _plain_descriptors(model, dataset.queries)
    np.testing.assert_allclose(result.database.values, database, atol=1e-6)
    np.testing.assert_allclose(result.queries.values, queries, atol=1e-6)
    squared = ((queries[:, None].astype(np.float64) - database) ** 2).sum(axis=2)
    order = np.argsort(squared, axis=1, kind="stable")
    metres = np.linalg.norm(utm_array(dataset.queries)[:, None] - utm_array(dataset.database), axis=2)
    for n in NS:
        found = [bool((metres[query, order[query, :n]] <= 25).any()) for query in range(len(order))]
        assert result.overall.recalls[n] == 100 * sum(found) / len(found)


def test_pca_shortens_and_belongs_to_its_model(stable, dataset, result):
    pca = PCA.fit(result.database.values, 6, fingerprint=stable.variant.fingerprint, weights="random")
    other = evaluate(stable, dataset, ns=NS, pca=pca, database=result.database)
    assert other.protocol["PCA"].startswith("2688 to 6")
    assert other.overall.recalls[10] >= 50
    with pytest.raises(IndexMismatchError, match="another weights"):
        evaluate(stable, dataset, pca=replace(pca, weights="abc"))


def test_what_does_not_belong_together_is_refused(stable, dataset, result):
    with pytest.raises(IndexMismatchError, match="cricavpr-t"):
        evaluate(_model("cricavpr-t"), dataset, database=result.database)
    with pytest.raises(UsageError, match="do not fit a data set of 12 and 8"):
        score("x", dataset, np.ones((3, 4)), np.ones((8, 4)))
    with pytest.raises(UsageError, match="at least 1"):
        evaluate(stable, dataset, ns=[0])
    with pytest.raises(WeightsError, match="no weights"):
        evaluate(build_model("scicevpr-t"), dataset)


def test_without_labels_there_are_predictions_only(stable, dataset, result, tmp_path):
    plain = evaluate(stable, replace(dataset, use_labels=False), ns=NS, database=result.database)
    assert plain.overall is None
    assert plain.conditions == {}
    assert plain.to_json()["overall"] is None
    np.testing.assert_array_equal(plain.predictions, result.predictions)
    assert "right within" not in plain.protocol
    assert write_predictions(plain, tmp_path).read_text().splitlines()[1].endswith(",,")


@pytest.mark.parametrize("name", list(BASELINES))
def test_baselines_run_through_the_same_code(dataset, name):
    found = evaluate_baseline(name, dataset, ns=NS)
    assert found.conditions["day"].recalls[1] == 100.0
    assert found.protocol["weights"] == BASELINES[name].weights
    with pytest.raises(UsageError, match="no baseline 'magic'"):
        evaluate_baseline("magic", dataset)


def test_hog_sees_edges_and_not_brightness_and_colours_the_opposite():
    rng = np.random.default_rng(1)
    scene = rng.integers(60, 200, (96, 128, 3), dtype=np.uint8)
    darker = (scene * 0.5).astype(np.uint8)
    mirrored = scene[:, ::-1]
    edges, colours = hog([scene, darker, mirrored]), colour_histogram([scene, darker, mirrored])
    assert edges.shape == (3, 5940)
    assert colours.shape == (3, 512)
    np.testing.assert_allclose(np.linalg.norm(edges, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(colours, axis=1), 1, atol=1e-5)
    assert edges[0] @ edges[1] > 0.99 > edges[0] @ edges[2]
    assert colours[0] @ colours[2] > 0.99 > colours[0] @ colours[1]
