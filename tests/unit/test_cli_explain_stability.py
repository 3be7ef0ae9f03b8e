"""`scicevpr explain` and `scicevpr stability`: the numbers of the library, in files and tables."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from scicevpr.cli.main import main

pytestmark = pytest.mark.slow  # the library itself is tested quickly: test_explain.py, test_batch_effects.py

MODEL = ("--model", "cricavpr-t", "--allow-untrained")


def _run(*arguments) -> int:
    return main([str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def queries(tiny_city):
    return sorted((tiny_city / "images/test/queries").glob("*.jpg"))


def test_explain_writes_maps_pictures_and_numbers(tiny_city, queries, tmp_path, capsys):
    code = _run(
        "explain", queries[0], "--dataset", tiny_city, "--output", tmp_path / "out", "--model", "super-cricavpr-t",
        "--allow-untrained", "--batch-mates", queries[1], queries[2], "--cell", 3, 5,
        "--maps", "energy:fused", "influence", "pooling:4",
    )  # fmt: skip
    shown = capsys.readouterr()
    assert code == 0, shown.err
    content = json.loads((tmp_path / "out" / "explanation.json").read_text())
    assert sum(content["region_terms"].values()) == pytest.approx(content["similarity"])
    assert content["deciding_region"] in content["region_terms"]
    assert sum(content["layer_energy_shares"]) == pytest.approx(1, abs=1e-5)
    assert len(content["nearest_patches"]) == 3
    assert all(-1 <= value <= 1 for value in content["cosine_through_the_encoder"].values())
    arrays = np.load(tmp_path / "out" / "maps.npz")
    assert arrays["influence"].shape == (14, 14)
    assert arrays["pooling-4"].sum() == pytest.approx(1, abs=1e-5)
    assert arrays["cross_image_attention"].shape == (3, 3)
    assert arrays["rewriting"].shape == (3, 14)
    Image.open(tmp_path / "out" / "energy-fused.png").verify()
    assert "3 maps as pictures" in shown.out


def test_explain_against_a_chosen_photo(queries, tmp_path, capsys):
    code = _run("explain", queries[0], "--match", queries[0], "--output", tmp_path, *MODEL, "--maps", "energy:last")
    assert code == 0, capsys.readouterr().err
    content = json.loads((tmp_path / "explanation.json").read_text())
    assert content["similarity"] == pytest.approx(1, abs=1e-5)
    assert "deciding_region" not in content
    assert "layer_energy_shares" not in content


def test_explain_refuses_what_is_not_there(tiny_city, queries, tmp_path, capsys):
    common = ("explain", queries[0], "--dataset", tiny_city, "--output", tmp_path, *MODEL)
    assert _run(*common, "--maps", "energy:fused") == 2
    assert "has no map 'energy:fused'" in capsys.readouterr().err
    assert _run(*common, "--rank", 99) == 2
    assert "no match of rank 99" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("experiment", "options", "rows"),
    [
        ("batches", ("--sizes", 1, 4, "--seeds", 2, "--orders", "file", "shuffled"), 4),
        ("photos", ("--size", 3, "--seeds", 2), 8),
        ("database", ("--sizes", 1, 4, "--seeds", 1), 3),
        ("last", ("--size", 3), 2),
        ("batch-mates", ("--query", 1, "--size", 3, "--draws", 4), 4),
        ("batch-mates", ("--query", 1, "--batch-mates", 2, 3), 1),
        ("worst", ("--query", 1, "--size", 3), 1),
    ],
)
def test_every_experiment_gives_its_table(experiment, options, rows, tiny_city, tmp_path, capsys):
    file = tmp_path / "table.csv"
    code = _run("stability", experiment, "--dataset", tiny_city, *MODEL, *options, "--csv", file)
    shown = capsys.readouterr()
    assert code == 0, shown.err
    table = pd.read_csv(file)
    assert len(table) == rows
    assert set(table["model"]) == {"CricaVPR-T"}
    assert "8 queries" in shown.out
    assert {"x", "y"} <= set(table.columns) or experiment != "batch-mates" or "--batch-mates" in options


def test_the_worst_batch_says_right_or_wrong_and_whose_answer_it_is(tiny_city, capsys):
    options = ("--dataset", tiny_city, "--model", "scicevpr-t", *MODEL, "--query", 1, "--size", 3)
    assert _run("stability", "worst", *options) == 0
    shown = capsys.readouterr().out
    assert "SciceVPR-T describes every photo alone, so no batch changes its answer: @" in shown
    told = next(line for line in shown.splitlines() if line.startswith("CricaVPR-T: ") and "answers" in line)
    assert "(right)" in told or "(wrong)" in told


def test_stability_compares_models_and_knows_queries_by_name(tiny_city, queries, tmp_path, capsys):
    file = tmp_path / "table.csv"
    code = _run(
        "stability", "batch-mates", "--dataset", tiny_city, "--model", "scicevpr-t", *MODEL, "--query", queries[3].name,
        "--batch-mates", queries[0].name, 5, "--csv", file,
    )  # fmt: skip
    assert code == 0, capsys.readouterr().err
    table = pd.read_csv(file)
    assert list(table["model"]) == ["SciceVPR-T", "CricaVPR-T"]
    assert list(table["query"]) == [queries[3].name] * 2
    assert table["cosine"][0] == pytest.approx(1, abs=1e-6)
    assert table["cosine"][1] < 1 - 1e-6
    assert list(table["batch"]) == [3, 3]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("batch-mates",), "name it with --query"),
        (("worst", "--query", "nobody.jpg"), "no query 'nobody.jpg'"),
        (("batch-mates", "--query", 1, "--batch-mates", 1), "different rows"),
        (("worst", "--query", 1, "--size", 40), "cannot be filled"),
    ],
)
def test_bad_experiments_say_what_to_do(options, words, tiny_city, capsys):
    assert _run("stability", *options, "--dataset", tiny_city, *MODEL) == 2
    assert words in capsys.readouterr().err
