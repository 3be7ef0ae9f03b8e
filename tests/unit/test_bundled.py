"""What ships in assets/: weights, descriptors, the city, and the numbers printed about them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from scicevpr.config import assets_folder
from scicevpr.datasets import bundled_city, positives, utm_array
from scicevpr.descriptors.batches import Grouping
from scicevpr.descriptors.describe import describe, find_descriptors
from scicevpr.evaluation.benchmark import score
from scicevpr.hub.load import load_model
from training.procity.conditions import QUERY_CONDITIONS
from training.procity.dataset import read_csv
from training.procity.querysets import benchmark_sets
from training.results import markdown_table, real_table, summary_rows

ROOT = Path(__file__).parents[2]
MODELS = ("scicevpr-t", "super-cricavpr-t", "cricavpr-t")


@pytest.fixture(scope="module")
def city():
    return bundled_city()


@pytest.fixture(scope="module")
def results() -> dict:
    return json.loads((assets_folder() / "weights" / "results.json").read_text())


@pytest.fixture(scope="module")
def full_results() -> dict:
    return json.loads((assets_folder() / "weights" / "results-full.json").read_text())


def test_the_city_is_what_its_card_says(city) -> None:
    assert len(city.database) == 840
    assert len(city.queries) == 15 * 18
    counts = {c: sum(p.condition == c for p in city.queries) for c in city.conditions}
    assert counts == {query_set.name: 18 for query_set in benchmark_sets(1)}
    right = positives(utm_array(city.database), utm_array(city.queries))
    assert min(map(len, right)) >= 2
    for query, rows in zip(city.queries, right, strict=True):
        turns = [abs((city.database[r].heading - query.heading + 180) % 360 - 180) for r in rows]
        assert min(turns) <= 41  # headings are rounded to whole degrees in the names


def test_every_photo_is_in_the_table(city) -> None:
    rows = {Path(row["file"]).name: row for row in read_csv(assets_folder() / "procity" / "procity.csv")}
    assert set(rows) == {place.name for place in (*city.database, *city.queries)}
    for place in city.queries:
        assert rows[place.name]["query_set"] == place.condition
        assert (float(rows[place.name]["east"]), float(rows[place.name]["north"])) == place.utm


def test_the_bundle_is_small() -> None:
    def size(folder: Path) -> float:
        return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6

    assert size(assets_folder() / "procity") <= 25
    assert sum(path.stat().st_size for path in (assets_folder() / "weights").glob("*.safetensors")) <= 45e6


def test_every_example_is_a_query_of_the_city(city) -> None:
    examples = json.loads((assets_folder() / "examples.json").read_text())
    assert len(examples) >= 8
    assert {e["name"] for e in examples} <= {p.name for p in city.queries}


@pytest.mark.parametrize("name", MODELS)
def test_bundled_descriptors_are_those_of_the_bundled_weights(name: str, city) -> None:
    model = load_model(name)
    assert model.weights.trained
    names = [place.name for place in city.database]
    pack = find_descriptors(assets_folder() / "descriptors", model, names, None, model.variant.preprocessing)
    assert pack is not None
    first = [place.path for place in city.database[:16]]  # the first batch of "sequential 16"
    fresh = describe(model, first).values
    assert np.abs(pack.values[:16] - fresh).max() < 1e-3  # stored as float16
    if name == "scicevpr-t":  # whose photos may be described in any batch: some from all over the city
        some = np.arange(9, len(names), 37)
        fresh = describe(model, [city.database[row].path for row in some], precision="float32").values
        assert np.abs(pack.values[some] - fresh).max() < 1e-3


def test_the_three_models_share_one_backbone() -> None:
    states = [load_model(name).state_dict() for name in MODELS]
    shared = [k for k in states[0] if k.startswith("backbone.")]
    assert shared
    for key in shared:
        assert (states[0][key] == states[1][key]).all()
        assert (states[0][key] == states[2][key]).all()


@pytest.mark.slow
def test_scicevpr_answers_alike_in_every_batch_and_cricavpr_does_not(city) -> None:
    queries = [place.path for place in city.queries[:24]]
    shuffled = Grouping.explicit([list(range(0, 24, 2)), list(range(1, 24, 2))])
    stable, baseline = load_model("scicevpr-t"), load_model("cricavpr-t")
    alone = describe(stable, queries, grouping=Grouping.alone()).values
    for grouping in (Grouping.sequential(16), Grouping.sequential(5), shuffled):
        assert np.abs(describe(stable, queries, grouping=grouping).values - alone).max() <= 5e-7
    drift = describe(baseline, queries, grouping=Grouping.sequential(16)).values
    assert np.abs(drift - describe(baseline, queries, grouping=Grouping.alone()).values).max() > 1e-3


@pytest.mark.slow
def test_recall_on_the_bundled_city_is_as_printed_and_well_above_the_baselines(city, results) -> None:
    """Queries described now, in batches of another size than the printed ones, and searched in the bundled descriptors
    (which are those of the weights: see above)."""
    row = results["rows"]["SciceVPR-T, single image"]
    model = load_model("scicevpr-t")
    names = [place.name for place in city.database]
    pack = find_descriptors(assets_folder() / "descriptors", model, names, None, model.variant.preprocessing)
    queries = describe(model, [place.path for place in city.queries], batch_size=11, precision="float32")
    result = score(model.variant.title, city, pack.values, queries.values, ns=(1, 5, 10))
    printed = row["overall"]["recall_percent"]
    for n in (1, 5, 10):
        assert result.overall.recalls[n] == pytest.approx(printed[str(n)], abs=0.75)  # two queries: other processors
    for title in ("HOG", "Colour histogram"):
        assert result.overall.recalls[1] > results["rows"][title]["overall"]["recall_percent"]["1"] + 5


def test_scicevpr_does_not_move_and_the_others_do(results, full_results) -> None:
    for content in (results, full_results):
        assert content["movement"]["SciceVPR-T"] <= 5e-7
        assert content["movement"]["CricaVPR-T"] > 1e-3


def test_the_printed_tables_are_the_measured_ones(results, full_results) -> None:
    card = (assets_folder() / "weights" / "README.md").read_text()
    assert markdown_table(full_results["rows"]) in card
    assert markdown_table(results["rows"], short=True) in card
    assert markdown_table(full_results["rows"], short=True) in (ROOT / "docs" / "models.md").read_text()


def test_summary_takes_means_over_shuffled_orders(full_results) -> None:
    rows = full_results["rows"]
    table = summary_rows(rows)
    shuffled = [
        row["overall"]["recall_percent"]["1"]
        for title, row in rows.items()
        if "seed" in title and title.split(",")[0] == "CricaVPR-T"
    ]
    assert len(shuffled) == 10
    name = "CricaVPR-T, queries shuffled, 16 a batch"
    assert table[f"{name}, mean of 10"][0] == pytest.approx(np.mean(shuffled))
    assert table[f"{name}, lowest"][0] == min(shuffled)
    single = rows["SciceVPR-T, single image"]["conditions"]
    eight = [single[c]["recall_percent"]["1"] for c in QUERY_CONDITIONS]
    assert table["SciceVPR-T, single image"][3] == pytest.approx(np.mean(eight))


def test_real_photos_stand_in_the_card_as_measured() -> None:
    folder = assets_folder() / "weights"
    sets = json.loads((folder / "results-real.json").read_text())["sets"]
    assert real_table(sets) in (folder / "README.md").read_text()
    for rows in sets.values():
        assert rows["SciceVPR-T"]["protocol"]["weights"].startswith(load_model("scicevpr-t").weights.sha256)
        assert rows["SciceVPR-T"]["overall"]["recall_percent"]["1"] > rows["HOG"]["overall"]["recall_percent"]["1"]
