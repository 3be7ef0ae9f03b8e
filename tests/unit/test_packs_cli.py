from __future__ import annotations

import argparse
import json
from dataclasses import replace

import numpy as np
import pytest
from filled_models import INFO, filled_model
from pack_samples import content, described, small_pack, stand_in

from scicevpr.cli import options
from scicevpr.cli.chosen_data import pack_or_dataset
from scicevpr.cli.main import main
from scicevpr.datasets import read_dataset
from scicevpr.descriptors.describe import describe
from scicevpr.errors import DatasetError, UsageError
from scicevpr.hub.load import load_model
from scicevpr.models.native_checkpoints import save_weights
from scicevpr.packs import open_pack
from scicevpr.packs.build import Content, build_pack
from scicevpr.packs.pack import score_pack
from scicevpr.retrieval.exact import ExactIndex


def _run(*arguments) -> int:
    return main([str(argument) for argument in arguments])


def test_build_check_info_score_and_list(few, tmp_path, capsys, monkeypatch):
    save_weights(filled_model("cricavpr-t"), tmp_path / "w.safetensors", info=INFO)
    database = few / "images" / "test" / "database"
    shelf = tmp_path / "packs"
    code = _run(
        "pack", "build", shelf / "city", "--dataset", few, "--model", tmp_path / "w.safetensors", "--grouping",
        "sequential:2", "--query-grouping", "alone", "--pca-dim", 3, "--pca-folder", database,
        "--pca-file", tmp_path / "pca.safetensors", "--title", "Tiny city", "--thumbnails", 24,
    )  # fmt: skip
    shown = capsys.readouterr().out
    assert code == 0
    for words in ("Tiny city", "4 database photos, 2 queries, right within 25 m, thumbnails of at most 24 pixels",
                  "sequential 2", "alone", "2688 to 3 (exact solver, fitted on 4 photos)", "NOT trained"):  # fmt: skip
        assert words in shown
    assert _run("pack", "check", shelf / "city") == 0
    assert "every file is as it was made" in capsys.readouterr().out
    assert _run("pack", "info", shelf / "city") == 0
    assert capsys.readouterr().out == shown

    assert _run("pack", "score", shelf / "city", "--recall-values", 1, 2, "--json", tmp_path / "scores.json") == 0
    shown = capsys.readouterr().out
    for words in ("CricaVPR-T", "PCA 3", "R@2", "sequential 2", "float16"):
        assert words in shown
    assert len(json.loads((tmp_path / "scores.json").read_text())["results"]) == 2

    monkeypatch.setenv("SCICEVPR_PACKS", str(shelf))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "no"))
    assert _run("pack", "list") == 0
    assert "Tiny city" in capsys.readouterr().out
    monkeypatch.setenv("SCICEVPR_PACKS", str(tmp_path / "empty"))
    assert _run("pack", "list") == 0
    assert "No packs in" in capsys.readouterr().out

    (shelf / "city" / "queries.csv").write_text("")
    assert _run("pack", "check", shelf / "city") == 1
    assert "queries.csv is cut off" in capsys.readouterr().out


def test_a_database_alone_makes_a_pack(few, tmp_path, capsys):
    save_weights(filled_model("scicevpr-t"), tmp_path / "w.safetensors", info=INFO)
    database = few / "images" / "test" / "queries"
    assert _run("pack", "build", tmp_path / "p", "--database", database, "--model", tmp_path / "w.safetensors") == 0
    assert "2 database photos, 0 queries" in capsys.readouterr().out
    pack = open_pack(tmp_path / "p", photos=database)
    assert pack.dataset.database[0].path.is_file()
    with pytest.raises(DatasetError, match="holds no descriptors of queries"):
        list(score_pack(pack))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["build", "{tmp}/p", "--model", "scicevpr-t", "--pca-dim", "8"], "belong together"),
        (["build", "{tmp}/p", "--dataset", "{tmp}/nowhere"], "does not exist"),
        (["build", "{tmp}/p", "--pca-only"], "--pca-only needs a PCA"),
        (["check", "{tmp}"], "is not a database pack"),
        (["info", "{tmp}/nowhere"], "does not exist"),
        (["push", "{tmp}", "me/x"], "is not a database pack"),
        (["push", "{tmp}", "x"], "does not name a Hub repository"),
        (["pull", "nobody/nothing", "--local-files-only"], "no pack of that name was pulled"),
    ],
)
def test_errors_are_one_clear_line_and_code_2(tmp_path, capsys, arguments, words, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    code = _run("pack", *(argument.format(tmp=tmp_path) for argument in arguments))
    shown = capsys.readouterr()
    assert code == 2
    assert words in shown.err
    assert shown.err.count("\n") == 1


def test_a_pack_takes_the_place_of_a_data_set(tiny_city, tmp_path):
    folder = small_pack(tmp_path / "pack", tiny_city).folder
    parser = argparse.ArgumentParser()
    options.data_options(parser)
    options.query_options(parser)
    options.pack_options(parser)

    def chosen(*arguments):
        return pack_or_dataset(parser.parse_args([str(argument) for argument in arguments]))

    dataset, pack = chosen("--pack", folder, "--photos", tiny_city / "images" / "test")
    assert dataset.database[0].path.is_file()
    assert pack.descriptors(stand_in()).values.shape == (12, 32)
    dataset, pack = chosen("--dataset", tiny_city)
    assert (len(dataset.queries), pack) == (8, None)
    with pytest.raises(UsageError, match="either --pack or a data set"):
        chosen("--pack", folder, "--dataset", tiny_city)
    with pytest.raises(UsageError, match="--photos belongs to --pack"):
        chosen("--photos", tiny_city)


def test_a_pack_scores_as_its_descriptors_do(tiny_city, tmp_path):
    city = read_dataset(tiny_city)
    right = city.positives()
    model, database = stand_in(), described(12, stand_in())
    rows = [int(found[0]) if len(found) else 0 for found in right]
    queries = replace(content(city).queries, values=database.values[rows])
    pack = build_pack(tmp_path / "pack", city, [Content(database, queries)])
    [result] = score_pack(pack, ns=(1, 5))
    assert result.overall.recalls[1] == pytest.approx(100 * np.mean([len(found) > 0 for found in right]))
    assert result.protocol["variant"] == model.variant.name


@pytest.mark.slow
def test_evaluate_and_search_take_a_pack_and_say_what_it_lacks(few, tmp_path, capsys):
    city, model = read_dataset(few), load_model("scicevpr-t")
    pack = build_pack(tmp_path / "pack", city, [model])
    assert _run("evaluate", "--pack", pack.folder, "--model", "scicevpr-t") == 2
    assert "scicevpr pack score" in capsys.readouterr().err
    found = []
    for number, where in enumerate((("--pack", pack.folder, "--photos", few), ("--dataset", few))):
        model = ("--model", "scicevpr-t") if number else ()  # a pack's own model is the default
        assert _run("evaluate", *where, *model, "--json", tmp_path / "r.json") == 0
        found += json.loads((tmp_path / "r.json").read_text())["results"]
    assert found[0]["overall"]["recall_percent"] == found[1]["overall"]["recall_percent"]
    assert found[0]["protocol"]["database descriptors"].startswith("of the pack")
    query = city.queries[0].path
    capsys.readouterr()
    assert _run("search", query, "--pack", pack.folder, "-k", 4, "--json", tmp_path / "s.json") == 0
    [answer] = json.loads((tmp_path / "s.json").read_text())["results"][0]["queries"]
    assert len(answer["matches"]) == 4
    assert answer["matches"][0]["similarity"] > answer["matches"][-1]["similarity"]
    assert _run("search", query, "--pack", pack.folder, "--model", "cricavpr-t") == 2
    assert "has no full descriptors of cricavpr-t" in capsys.readouterr().err


def test_a_pack_of_reduced_descriptors_is_searched_and_scored_with_new_queries(few, tmp_path):
    save_weights(filled_model("scicevpr-t"), tmp_path / "w.safetensors", info=INFO)
    base = few / "images" / "test"
    model = ("--model", tmp_path / "w.safetensors")
    code = _run(
        "pack", "build", tmp_path / "pack", "--dataset", few, *model, "--pca-dim", 3,
        "--pca-folder", base / "database", "--pca-only",
    )  # fmt: skip
    assert code == 0
    pack = ("--pack", tmp_path / "pack")
    query = sorted((base / "queries").iterdir())[0]
    assert _run("search", query, *pack, *model, "--json", tmp_path / "s.json") == 0
    [result] = json.loads((tmp_path / "s.json").read_text())["results"]
    assert result["protocol"]["PCA"].startswith("2688 to 3")
    found = [match["row"] for match in result["queries"][0]["matches"]]
    loaded = load_model(tmp_path / "w.safetensors")
    opened = open_pack(tmp_path / "pack")
    values = opened.pca(loaded).transform(describe(loaded, [query]).values)
    nearest = ExactIndex(opened.descriptors(loaded, reduced=True).values).search(values, 4).indices[0]
    assert found == nearest.tolist()
    scored = ("evaluate", *pack, "--photos", few, *model, "--recall-values", 1, "--json", tmp_path / "r.json")
    assert _run(*scored) == 0
    [result] = json.loads((tmp_path / "r.json").read_text())["results"]
    assert result["protocol"]["PCA"].startswith("2688 to 3")
    assert _run(*scored, "--pca-dim", 2, "--pca-folder", base / "database") == 2
