from __future__ import annotations

import csv
import io
import re
from dataclasses import replace

import pytest
from rich.console import Console
from small_results import result, street

from scicevpr.cli.outputs import show_evaluation
from scicevpr.errors import UsageError
from scicevpr.evaluation.report import COLUMNS, latex_table, latex_text, markdown_table, tidy_rows, write_csv


@pytest.fixture(scope="module")
def results():
    return [
        result({0, 1, 2, 3, 4}, "Model_A & 50%").with_intervals(),
        result({0, 1}, "Model B").with_intervals(),
    ]


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
    caption = re.search(r"\\caption\{(.*)\}\n\\label", text).group(1)
    for words in (
        "right within 25 m",
        "dataset street / test",
        r"95\% bootstrap over places",
        "Model B: variant model b",
    ):
        assert words in caption
    assert caption.count("right within") == caption.count("Protocol:") == 1
    assert not re.search(r"(?<!\\)[&%_#]", caption)
    assert text.count("{") == text.count("}")


def test_only_the_best_of_a_column_is_bold(results):
    first, second = latex_table(results).splitlines()[8:10]
    assert r"\textbf" not in first
    assert second.count(r"\textbf{94.4} {\scriptsize [") == 2
    assert second.count(r"\textbf") == 3
    same = latex_table([results[1], replace(results[1], title="Twin")])
    assert same.count(r"\textbf") == 6  # equals are both best
    assert r"\textbf" not in latex_table(results[:1])


def test_conditions_become_blocks(results):
    text = latex_table(results, per_condition=True)
    names = re.findall(r"\\multicolumn\{5\}\{l\}\{\\textit\{(\w+)\}\}", text)
    assert names == ["day", "night", "all"]
    assert text.count(r"\midrule") == 3
    lines = markdown_table(results, per_condition=True).splitlines()
    assert lines[0] == "| Model | Condition | Queries | R@1 | R@5 | MRR |"
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
