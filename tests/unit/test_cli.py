from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from scicevpr import __version__
from scicevpr.cli import installation
from scicevpr.cli.main import main
from scicevpr.cli.options import RECALL_VALUES
from scicevpr.cli.outputs import show_matches
from scicevpr.datasets import Photo
from scicevpr.evaluation.benchmark import DEFAULT_NS
from scicevpr.files.descriptor_files import load_descriptors
from scicevpr.retrieval.matches import Match


def _run(*arguments) -> int:
    return main([str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def photos(tiny_city):
    return sorted((tiny_city / "images/test/queries").glob("*.jpg"))


def test_help_is_quick_and_the_version_is_told():
    code = "import sys\nfrom scicevpr.cli.main import main\n"
    code += "try: main(['evaluate', '--help'])\nexcept SystemExit: pass\n"
    done = subprocess.run(
        [sys.executable, "-c", code + "assert 'torch' not in sys.modules and 'numpy' not in sys.modules"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "--recall-values" in done.stdout
    done = subprocess.run([sys.executable, "-m", "scicevpr", "--version"], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == f"scicevpr {__version__}"


@pytest.mark.slow
def test_evaluate_prints_a_table_and_protocol_per_model_and_writes_all(tiny_city, tmp_path, capsys):
    code = _run(
        "evaluate", "--dataset", tiny_city, "--model", "scicevpr-t", "--model", "cricavpr-t", "--baselines",
        "--allow-untrained", "--infer_batch_size", 4, "--recall_values", 1, 5, "--val_positive_dist_threshold", 25,
        "--json", tmp_path / "new" / "all.json", "--save-predictions", tmp_path / "predictions",
    )  # fmt: skip
    shown = capsys.readouterr()
    assert code == 0
    assert shown.err == ""
    for words in ("SciceVPR-T", "CricaVPR-T", "HOG", "Colour histogram", "R@1", "night", "all"):
        assert words in shown.out
    assert shown.out.count("Protocol: variant") == 5
    content = json.loads((tmp_path / "new" / "all.json").read_text())
    assert [result["title"] for result in content["results"]] == [
        "SciceVPR-T", "CricaVPR-T", "ImageNet features", "HOG", "Colour histogram",
    ]  # fmt: skip
    assert content["results"][0]["conditions"]["day"]["recall_percent"]["1"] == 100.0
    tables = sorted(path.name for path in (tmp_path / "predictions").iterdir())
    assert tables == ["colour-histogram.csv", "cricavpr-t.csv", "hog.csv", "imagenet-features.csv", "scicevpr-t.csv"]


def test_evaluate_options_show_in_the_protocol(tiny_city, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))  # the fitted PCA goes there
    code = _run(
        "evaluate", "--dataset", tiny_city, "--model", "cricavpr-t", "--allow-untrained", "--grouping", "sequential:8",
        "--query-grouping", "alone", "--shuffle-queries", 3, "--no-antialias", "--utm-rounding", "published",
        "--pca-dim", 4, "--pca-folder", tiny_city, "--dtype", "bfloat16", "--radius", 60,
    )  # fmt: skip
    shown = capsys.readouterr().out
    assert code == 0
    for words in (
        "database grouping sequential 8", "query grouping alone", "shuffled with seed 3", "no antialias",
        "float32 (as published)", "PCA 2688 to 4 (exact solver, fitted on 20 photos)", "dtype bfloat16",
            "right within 60 m",
    ):  # fmt: skip
        assert words in shown


def test_two_folders_without_labels(tiny_city, tmp_path, capsys):
    base = tiny_city / "images/test"
    code = _run(
        "evaluate", "--database", base / "database", "--queries", base / "queries", "--no-labels", "--allow-untrained",
        "--model", "scicevpr-t", "--save-predictions", tmp_path,
    )  # fmt: skip
    assert code == 0
    assert "predictions only" in capsys.readouterr().out
    with (tmp_path / "scicevpr-t.csv").open() as file:
        assert {row["correct"] for row in csv.DictReader(file)} == {""}


def test_search_finds_the_place(tiny_city, photos, tmp_path, capsys):
    json_file = tmp_path / "s.json"
    code = _run(
        "search", photos[0], photos[2], "--dataset", tiny_city, "--allow-untrained", "-k", 2, "--json", json_file
    )
    assert code == 0
    assert "right" in capsys.readouterr().out
    answers = json.loads(json_file.read_text())["results"][0]["queries"]
    assert [len(answer["matches"]) for answer in answers] == [2, 2]
    assert answers[0]["matches"][0]["correct"] is True
    assert answers[0]["matches"][0]["metres"] == 10.0


def test_a_path_is_never_broken_however_narrow_the_console_is(tmp_path):
    folder = tmp_path / ("a long folder name " * 6)
    folder.mkdir()
    place = Photo(path=folder / "photo.jpg", name="photo.jpg", utm=(1.0, 2.0))
    place.path.touch()
    stream = io.StringIO()
    answer = [Match(1, 0, place, 0.5, 12.0, True), Match(2, 1, place, 0.25, None, None)]
    show_matches(Console(file=stream, width=40), "SciceVPR-T: query.jpg", answer)
    lines = stream.getvalue().strip().splitlines()
    assert len(lines) == 4
    assert all(line.endswith(str(place.path)) for line in lines[2:])
    assert lines[2].split()[:4] == ["1", "0.5000", "12.0", "right"]


@pytest.mark.parametrize(
    "words",
    [("search", "nowhere.jpg"), ("describe", "nowhere", "--output", "x.npy"), ("explain", "no.jpg", "--output", "x")],
)
def test_a_missing_photo_is_said_before_torch_is_imported(words):
    code = f"import sys\nfrom scicevpr.cli.main import main\ncode = main({list(words)!r})\n"
    done = subprocess.run(
        [sys.executable, "-c", code + "assert code == 2 and 'torch' not in sys.modules"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "There is no photo at no" in done.stderr


def test_the_command_line_looks_as_far_as_the_page():
    assert RECALL_VALUES == DEFAULT_NS


def test_describe_writes_both_kinds(tiny_city, photos, tmp_path, capsys):
    folder = tiny_city / "images/test/queries"
    for output in ("d.npy", "d.safetensors"):
        assert _run("describe", folder, "--output", tmp_path / output, "--allow-untrained") == 0
    assert "8 descriptors of 2688 dimensions" in capsys.readouterr().out
    values = np.load(tmp_path / "d.npy")
    packed, names = load_descriptors(tmp_path / "d.safetensors")
    np.testing.assert_allclose(packed.values, values, atol=1e-3)
    assert names == [photo.name for photo in photos]
    assert json.loads((tmp_path / "d.npy.json").read_text())["names"] == names


def test_models_lists_all_variants(capsys):
    assert _run("models") == 0
    shown = capsys.readouterr().out
    for name in ("scicevpr-t", "super-cricavpr-l", "cricavpr-b"):
        assert name in shown


def test_verify_passes_its_options_on_and_tells_misses(monkeypatch, tmp_path, capsys):
    asked, verdicts = {}, []

    def verify_folder(folder, **options):
        options.pop("progress")("losses", 1, 2)
        asked.update(options, folder=folder)
        return [
            SimpleNamespace(file="a", array="x", error=1e-7, tolerance=5e-6, passed=True, note=""),
            SimpleNamespace(file="a", array="y", error=1e-2, tolerance=5e-6, passed=verdicts[-1], note="far off"),
        ]

    monkeypatch.setitem(sys.modules, "scicevpr.evaluation.verify", SimpleNamespace(verify_folder=verify_folder))
    for passed, code in ((True, 0), (False, 1)):
        verdicts.append(passed)
        assert _run("verify", tmp_path, "--only", "losses", "pca", "--dtype", "float64") == code
    assert asked == {"folder": tmp_path, "device": "cpu", "dtype": "float64", "only": ["losses", "pca"]}
    shown = capsys.readouterr().out
    assert "MISS" in shown
    assert "2 checks, 1 missed" in shown


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["evaluate", "--dataset", "{tmp}/nowhere"], "does not exist"),
        (["evaluate", "--dataset", "{tmp}"], "does not look like a data set"),
        (["evaluate", "--dataset", "{city}", "--split", "val"], "Other splits of the tree: test"),
        (["evaluate", "--dataset", "{city}", "--database", "{city}"], "either --dataset, or both"),
        (["evaluate", "--database", "{city}"], "both --database and --queries"),
        (["evaluate", "--dataset", "{city}", "--model", "nothing"], "nothing"),
        (["evaluate", "--dataset", "{city}", "--pca-dim", "8"], "belong together"),
        (["evaluate", "--dataset", "{city}", "--device", "cuda:99", "--allow-untrained"], "cannot be used"),
        (["evaluate", "--dataset", "{city}", "--device", "toaster", "--allow-untrained"], "cannot be used"),
        (["evaluate", "--dataset", "{city}", "--grouping", "pairs", "--allow-untrained"], "Grouping 'pairs'"),
        (["evaluate", "--dataset", "{city}", "--radius", "-1", "--allow-untrained"], "positive number of metres"),
        (["evaluate", "--dataset", "{city}", "--json", "{tmp}"], "is a folder"),
        (["search", "{tmp}/none.jpg", "--dataset", "{city}", "--allow-untrained"], "There is no photo at"),
        (["search", "{tmp}/bad.jpg", "--dataset", "{city}", "--allow-untrained"], "bad.jpg"),
        (["describe", "{tmp}", "--output", "{tmp}/a.txt"], "must end in .npy or .safetensors"),
        (["describe", "{tmp}/empty", "--output", "{tmp}/a.npy", "--allow-untrained"], "holds no photos"),
    ],
)
def test_errors_are_one_clear_line_and_code_2(tiny_city, tmp_path, capsys, arguments, words):
    (tmp_path / "bad.jpg").write_text("not a photo")
    (tmp_path / "empty").mkdir()
    code = _run(*(argument.format(tmp=tmp_path, city=tiny_city) for argument in arguments))
    shown = capsys.readouterr()
    assert code == 2
    assert shown.err.startswith("scicevpr: error: ")
    assert shown.err.count("\n") == 1
    assert words in shown.err


def test_a_truncated_photo_in_the_database_is_named(tiny_city, tmp_path, capsys):
    Image.new("RGB", (64, 64)).save(tmp_path / "fine.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "fine.jpg").read_bytes()[:300])
    assert _run("describe", tmp_path, "--output", tmp_path / "d.npy", "--allow-untrained") == 2
    assert "cut.jpg" in capsys.readouterr().err
    assert not (tmp_path / "d.npy").exists()


def test_ctrl_c_is_quiet(monkeypatch, capsys):
    def stop(arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(installation, "models", stop)
    assert _run("models") == 130
    assert capsys.readouterr().err == "scicevpr: stopped.\n"


@pytest.mark.parametrize(
    "arguments", [[], ["evaluate", "--batch-size", "0"], ["evaluate", "--dtype", "int8"], ["paint"]]
)
def test_bad_options_end_with_code_2(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert "usage: scicevpr" in capsys.readouterr().err
