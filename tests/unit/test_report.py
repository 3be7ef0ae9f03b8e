"""Results as tables, predictions and descriptor files."""

from __future__ import annotations

import argparse
import csv
import io
import json
import re
import shutil
import subprocess
from dataclasses import replace
from datetime import datetime
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from small_results import PLACES, result, street

from scicevpr.cli import options
from scicevpr.cli.outputs import add_intervals, check_output_options, output_options, show_evaluation, write_outputs
from scicevpr.errors import DatasetError, UsageError
from scicevpr.evaluation import report
from scicevpr.evaluation.report import (
    COLUMNS,
    latex_table,
    latex_text,
    markdown_table,
    new_run_folder,
    tidy_rows,
    write_csv,
    write_descriptor_files,
)
from scicevpr.figures import strips
from scicevpr.figures.strips import GAP, LINE, RIGHT, TILE, WRONG, Tile, draw_strip, write_prediction_files


@pytest.fixture(scope="module")
def results():
    return [result({0, 1, 2, 3, 4}, "Model_A & 50%").with_intervals(), result({0, 1}, "Model B").with_intervals()]


def test_csv_holds_one_tidy_line_per_number(results, tmp_path):
    with write_csv(results, tmp_path / "scores.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    assert len(rows) == 2 * 3 * 5  # models, conditions and all, R@1 R@5 MRR F1@1 F1@5
    row = next(row for row in rows if (row["model"], row["condition"], row["metric"]) == ("Model B", "all", "recall"))
    scores = results[1].overall
    assert (row["n"], float(row["value"]), row["queries"]) == ("1", scores.recalls[1], "36")
    assert (float(row["low"]), float(row["high"])) == scores.intervals.recalls[1]
    assert row["protocol"] == results[1].protocol_line()
    mrr = next(row for row in rows if row["metric"] == "mrr")
    assert (mrr["n"], mrr["low"] != "") == ("5", True)
    assert {row["low"] for row in rows if row["metric"] == "f1"} == {""}
    assert tidy_rows([result({1})])[0]["low"] is None


def test_latex_is_a_whole_booktabs_table_with_its_protocol(results):
    text = latex_table(results)
    for command in (r"\toprule", r"\midrule", r"\bottomrule", r"\begin{tabular}{lrrrr}", r"\label{tab:recall}"):
        assert text.count(command) == 1
    assert text.count(r"\begin{") == text.count(r"\end{") == 2
    body = text[text.index(r"\midrule") : text.index(r"\bottomrule")].splitlines()[1:]
    assert all(line.count(" & ") == 4 and line.endswith(r"\\") for line in body)
    assert r"Model\_A \& 50\%" in body[0]
    note = re.search(r"\\footnotesize (.*)\}\n", text).group(1)
    for words in (
        "right within 25 m",
        "dataset street / test",
        r"95\% bootstrap over places",
        "Model B: variant model b",
    ):
        assert words in note
    assert note.count("right within") == note.count("Protocol:") == 1
    assert not re.search(r"(?<!\\)[&%_#]", note)
    assert text.count("{") == text.count("}")


def test_only_the_best_of_a_column_is_bold(results):
    first, second = latex_table(results).splitlines()[9:11]
    assert r"\textbf" not in first
    assert second.count(r"\textbf{94.4} {\scriptsize [") == 2
    assert second.count(r"\textbf") == 3
    same = latex_table([results[1], replace(results[1], title="Twin")])
    assert same.count(r"\textbf") == 6  # equals are both best
    assert r"\textbf" not in latex_table(results[:1])


def test_a_latex_table_is_compact_and_names_its_package(results, tmp_path):
    text = latex_table(results)
    caption = re.search(r"\\caption\{(.*)\}", text)[1]
    assert caption == "Recall@N (R@N) in percent and mean reciprocal rank (MRR@5)."
    assert "booktabs" in text.splitlines()[0]
    assert text.index("In brackets") > text.index(r"\end{tabular}"), "intervals and protocol stand in the note"
    assert "scriptsize" not in latex_table(results, intervals=False)
    assert "In brackets" not in latex_table(results, intervals=False)
    if (tex := shutil.which("pdflatex")) is not None:
        whole = rf"\documentclass{{article}}\usepackage{{booktabs}}\begin{{document}}{text}\end{{document}}"
        (tmp_path / "table.tex").write_text(whole)
        command = [tex, "-interaction=nonstopmode", "table.tex"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
        assert done.returncode == 0, done.stdout[-2000:]


def test_conditions_become_blocks(results):
    text = latex_table(results, per_condition=True)
    names = re.findall(r"\\multicolumn\{5\}\{l\}\{\\textit\{(\w+)\}\}", text)
    assert names == ["day", "night", "all"]
    assert text.count(r"\midrule") == 3
    lines = markdown_table(results, per_condition=True).splitlines()
    assert lines[0] == "| Model | Condition | Queries | R@1 | R@5 | MRR@5 |"
    assert [line.split(" | ")[1] for line in lines[2:8]] == ["day", "day", "night", "night", "all", "all"]


def test_markdown_shows_intervals_and_the_protocol_below(results):
    text = markdown_table(results)
    low, high = results[1].overall.intervals.recalls[1]
    assert f"| Model B | 36 | **94.4** [{low:.1f}, {high:.1f}] |" in text
    assert "Protocol: PCA none; dataset street / test" in text
    assert text.rstrip().endswith("- Model B: variant model b.")
    assert "[" not in markdown_table([result({1})]).split("Protocol")[0]


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("a_b & 50% #1 {x} $y$", r"a\_b \& 50\% \#1 \{x\} \$y\$"),
        ("C:\\x~^", r"C:\textbackslash{}x\textasciitilde{}\textasciicircum{}"),
        ("±10 frames, [a] <b|c>", r"$\pm$10 frames, {[}a{]} \textless{}b\textbar{}c\textgreater{}"),
    ],
)
def test_no_sign_of_a_text_is_a_command(text, written):
    assert latex_text(text) == written


def test_tables_need_scores_and_the_same_n(results):
    unlabelled = result(set(), dataset=replace(street(), use_labels=False))
    for table in (latex_table, markdown_table, tidy_rows):
        with pytest.raises(UsageError, match="nothing to tabulate"):
            table([unlabelled])
        assert table([unlabelled, *results])
    with pytest.raises(UsageError, match="same values of N"):
        latex_table([results[0], result({1}, ns=(1, 3))])


def test_the_terminal_shows_how_far_an_interval_reaches(results):
    stream = io.StringIO()
    show_evaluation(Console(file=stream, width=140), results[1])
    low, high = results[1].overall.intervals.recalls[1]
    assert f"94.4 ±{max(94.4444 - low, high - 94.4444):.1f}" in stream.getvalue()
    assert "intervals 95% bootstrap over places" in stream.getvalue()
    show_evaluation(Console(file=stream, width=140), result({1}))
    show_evaluation(Console(file=stream, width=140), result(set()).with_intervals())
    assert "100.0 [75.8, 100.0]" in stream.getvalue()  # Wilson over twelve places
    assert stream.getvalue().count("±") == 6  # R@1, R@5 and MRR of day and all: by night no query is wrong


# ---- files of a run --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def city(tmp_path_factory):
    """The street with photos on disk, but one: the database photo of the second place is missing."""
    dataset = street(tmp_path_factory.mktemp("street"))
    for number, photo in enumerate((*dataset.database, *dataset.queries)):
        photo.path.parent.mkdir(exist_ok=True)
        if number != 1:
            Image.new("RGB", (40, 30), (5 * number, 90, 200)).save(photo.path)
    return dataset


def test_paths_are_written_as_other_tools_read_them(city, tmp_path):
    found = result({0, 4}, dataset=city, ns=(1, 3))
    seen = []
    assert write_prediction_files(found, tmp_path, 3, only_wrong=True, progress=lambda *step: seen.append(step)) == 2
    assert sorted(path.name for path in (tmp_path / "preds").iterdir()) == ["000.jpg", "000.txt", "004.jpg", "004.txt"]
    assert seen[-1] == (36, 36)
    best = [city.database[row].path for row in found.predictions[4][:3]]
    expected = ["Query path:", city.queries[4].path, "", "Predictions paths:", *best, ""]
    expected += ["Positives paths:", city.database[1].path, ""]
    assert (tmp_path / "preds/004.txt").read_text() == "\n".join(map(str, expected))
    with Image.open(tmp_path / "preds/004.jpg") as strip:
        assert strip.size == (4 * (TILE + GAP) + GAP, 384 + 2 * LINE + 2 * GAP)  # photos of shape 4:3


def test_more_than_a_thousand_queries_get_more_digits(city, tmp_path, monkeypatch):
    monkeypatch.setattr(strips, "draw_strip", lambda tiles: Image.new("RGB", (1, 1)))
    many = replace(city, queries=city.queries[:1] * 1001)
    plain = result(set(), dataset=city)
    matches = replace(
        plain.matches, **{key: np.repeat(getattr(plain.matches, key)[:1], 1001, 0) for key in vars(plain.matches)}
    )
    found = replace(plain, dataset=many, matches=matches, positives=plain.positives[:1] * 1001)
    write_prediction_files(found, tmp_path, 1)
    assert (tmp_path / "preds/1000.txt").is_file()
    assert (tmp_path / "preds/007.txt").is_file()


def test_without_labels_there_are_no_positives_and_nothing_is_wrong(city, tmp_path):
    unlabelled = replace(city, use_labels=False, queries=city.queries)
    found = result(set(), dataset=unlabelled)
    write_prediction_files(found, tmp_path, 1)
    assert "Positives" not in (tmp_path / "preds/000.txt").read_text()
    with pytest.raises(UsageError, match="nobody knows which predictions are wrong"):
        write_prediction_files(found, tmp_path, 1, only_wrong=True)
    with pytest.raises(UsageError, match="6 predictions a query cannot be saved: 5 were searched"):
        write_prediction_files(found, tmp_path, 6)


def test_frames_say_right_and_wrong_in_colour_and_in_shape():
    photo = Image.new("RGB", (400, 200), (120, 120, 120))
    tiles = [Tile(photo, "q", "Query"), Tile(photo, "a", "Pred1", "1 m", True), Tile(photo, "b", "Pred2", "2 m", False)]
    pixels = np.asarray(draw_strip(tiles))
    assert pixels.shape[0] == TILE // 2 + 2 * LINE + 2 * GAP  # as high as the photos, which are twice as wide
    middle = GAP + LINE + TILE // 4

    def tile(number: int) -> np.ndarray:
        left = GAP + number * (TILE + GAP)
        return pixels[middle - 128 : middle + 128, left : left + TILE]

    for number, colour in ((1, RIGHT), (2, WRONG)):
        assert (tile(number)[:20] == colour).all(axis=2).mean() > 0.9
        assert (tile(number)[128] == colour).all(axis=1).sum() == 40  # 20 pixels on each side
    assert (tile(0) == (120, 120, 120)).all()  # a query has no frame
    marks = [(tile(number)[:60, -60:] == (255, 255, 255)).all(axis=2) for number in (1, 2)]
    assert min(mark.sum() for mark in marks) > 150
    assert (marks[0] != marks[1]).sum() > 150
    assert (pixels[:GAP] == 255).all()


def test_a_missing_photo_is_a_grey_tile_with_its_name(city, tmp_path):
    assert not city.database[1].path.exists()
    found = result({4}, dataset=city)
    row = next(row for row, rows in enumerate(found.predictions) if rows[0] == 1)
    write_prediction_files(found, tmp_path, 2)
    with Image.open(tmp_path / f"preds/{row:03d}.jpg") as strip:
        assert strip.size == (3 * (TILE + GAP) + GAP, TILE + 2 * LINE + 2 * GAP)
    grey = np.asarray(draw_strip([Tile(None, "@0500100.00@4000000.00@.jpg", "Pred1", correct=False)]))
    assert (grey == (205, 208, 213)).all(axis=2).mean() > 0.5
    assert (grey == (20, 24, 32)).all(axis=2).sum() > 300  # letters


def test_a_run_never_writes_into_another(tmp_path):
    now = datetime(2025, 3, 4, 5, 6, 7)
    names = [new_run_folder(tmp_path / "logs", now).name for _ in range(3)]
    assert names == ["2025-03-04_05-06-07", "2025-03-04_05-06-07-2", "2025-03-04_05-06-07-3"]


def test_descriptors_are_written_in_blocks_with_what_they_are(city, tmp_path, monkeypatch):
    monkeypatch.setattr(report, "BYTES_AT_ONCE", 4 * PLACES * 5)  # five rows a block
    found = result({0}, "Model", dataset=city)
    found = replace(found, protocol={**found.protocol, "PCA": "12 to 4"})
    half = replace(found.database, values=found.database.values.astype(np.float16))
    paths = write_descriptor_files(replace(found, database=half), tmp_path / "new")
    assert [path.name for path in paths] == ["database_descriptors.npy", "queries_descriptors.npy", "descriptors.json"]
    database, queries = (np.load(path) for path in paths[:2])
    assert (database.dtype, queries.dtype) == (np.float32, np.float32)
    np.testing.assert_array_equal(database, found.database.values)
    np.testing.assert_array_equal(queries, found.queries.values)
    record = json.loads(paths[2].read_text())
    assert record["model"] == {"variant": "toy", "fingerprint": "f" * 12, "weights": "w" * 12, "trained": True}
    assert record["protocol"]["PCA"] == "none"  # what is stored is what the model gave
    assert "right within" not in record["protocol"]
    assert record["database"]["names"][0] == f"database/{city.database[0].name}"
    assert record["queries"]["rows"] == 36


def test_descriptors_that_are_not_there_or_do_not_fit_are_refused(city, tmp_path, monkeypatch):
    found = result(set(), dataset=city)
    with pytest.raises(UsageError, match="queries descriptors of Model cannot be saved"):
        write_descriptor_files(replace(found, queries=None), tmp_path)
    monkeypatch.setattr(report.shutil, "disk_usage", lambda folder: SimpleNamespace(free=1000))
    with pytest.raises(DatasetError, match="MiB left"):
        write_descriptor_files(found, tmp_path)
    assert list(tmp_path.iterdir()) == []


def _arguments(*words: str, no_labels: bool = False, recall_values=(1, 5)) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    output_options(parser)
    options.query_options(parser)
    parser.set_defaults(recall_values=recall_values)
    arguments = parser.parse_args([str(word) for word in words])
    arguments.no_labels = no_labels
    return arguments


def test_every_output_that_is_asked_for_is_written(city, tmp_path):
    arguments = _arguments(
        "--json", tmp_path / "a/r.json", "--csv", tmp_path / "r.csv", "--latex", tmp_path / "r.tex", "--markdown",
        tmp_path / "r.md", "--save-predictions", tmp_path / "p", "--num_preds_to_save", 2, "--save_only_wrong_preds",
        "--save_descriptors", "--save_dir", tmp_path / "runs", "--log_dir", "night",
    )  # fmt: skip
    check_output_options(arguments)
    stream = io.StringIO()
    plain = replace(result({5}, "HOG", dataset=city), database=None, queries=None)
    write_outputs(arguments, [result({0}, "A (x/y.pth)", dataset=city), plain], Console(file=stream, width=400))
    [run] = (tmp_path / "runs/night").iterdir()
    files = {path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file()}
    assert files == {
        "a-x-y.pth/preds/000.jpg", "a-x-y.pth/preds/000.txt", "a-x-y.pth/database_descriptors.npy",
        "a-x-y.pth/queries_descriptors.npy", "a-x-y.pth/descriptors.json", "hog/preds/005.jpg", "hog/preds/005.txt",
        "results.json",
    }  # fmt: skip
    assert "Descriptors of HOG: not saved" in stream.getvalue()
    assert sorted(path.name for path in (tmp_path / "p").iterdir()) == ["a-x-y.pth.csv", "hog.csv"]
    content = json.loads((tmp_path / "a/r.json").read_text())
    assert content["results"][0]["overall"]["intervals"]["by"] == "place"
    assert content["results"][0]["predictions"][2]["condition"] == "night"
    for name in ("r.csv", "r.tex", "r.md"):
        assert "HOG" in (tmp_path / name).read_text()
        assert str(tmp_path / name) in stream.getvalue()


def test_a_folder_alone_gets_the_scores(city, tmp_path):
    arguments = _arguments("--save_dir", tmp_path / "runs")  # as people type it for the published codes
    check_output_options(arguments)
    write_outputs(arguments, [result({0}, dataset=city)], Console(file=io.StringIO()))
    [run] = (tmp_path / "runs").iterdir()
    assert [path.name for path in run.iterdir()] == ["results.json"]


def test_intervals_are_as_the_options_say(city):
    found = result({0}, dataset=city)
    assert add_intervals(_arguments("--no-intervals"), found) is found
    assert add_intervals(_arguments("--intervals-by", "query"), found).overall.intervals.by == "query"


@pytest.mark.parametrize(
    ("words", "labels", "said"),
    [
        (["--save_only_wrong_preds"], True, "add --num_preds_to_save"),
        (["--num_preds_to_save", "9"], True, "Add --recall_values 9"),
        (["--csv", "x.csv"], False, "--csv needs labels"),
        (["--num_preds_to_save", "2", "--save_only_wrong_preds"], False, "--save_only_wrong_preds needs labels"),
        (["--latex", "{tmp}"], True, "is a folder"),
        (["--save_descriptors", "--save_dir", "{tmp}/file"], True, "is a file"),
    ],
)
def test_what_cannot_be_written_is_said_before_the_work(tmp_path, words, labels, said):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=said):
        check_output_options(_arguments(*(word.format(tmp=tmp_path) for word in words), no_labels=not labels))
