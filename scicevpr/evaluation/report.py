"""Results of several models as CSV, Markdown and LaTeX, each with the protocol that its numbers depend on."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from scicevpr.datasets.tables import cell_text
from scicevpr.errors import UsageError
from scicevpr.evaluation.results import Evaluation, Scores

COLUMNS = ("model", "condition", "metric", "n", "value", "low", "high", "queries", "protocol")
ALL = "all"
LATEX_SIGNS = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", "[": "{[}", "]": "{]}", "*": "{*}", "±": r"$\pm$", "≤": r"$\leq$", "°": r"$^\circ$",
    "×": r"$\times$", "·": r"$\cdot$", "–": "--", "…": r"\dots{}", "\n": " ",
}


def tidy_rows(results: Sequence[Evaluation]) -> list[dict[str, Any]]:
    """One record per model, condition, metric and N, with the keys of COLUMNS.

    recall is in percent, mrr and f1 in 0..1; n of mrr is how far it looks; low and high are None without intervals.
    Raises UsageError when no result has scores.
    """
    rows = []
    for result in _scored(results):
        for condition, scores in _parts(result):
            own = scores.intervals
            values = [("recall", n, value, own and own.recalls[n]) for n, value in scores.recalls.items()]
            values.append(("mrr", max(result.ns), scores.mrr, own and own.mrr))
            values += [("f1", n, value, None) for n, value in scores.f1.items()]
            for metric, n, value, limits in values:
                low, high = limits or (None, None)
                row = (result.title, condition, metric, n, value, low, high, scores.queries, result.protocol_line())
                rows.append(dict(zip(COLUMNS, row, strict=True)))
    return rows


def write_csv(results: Sequence[Evaluation], path: Path | str) -> Path:
    """Write `tidy_rows` as CSV."""
    path = Path(path)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows({key: cell_text(value) for key, value in row.items()} for row in tidy_rows(results))
    return path


def markdown_table(results: Sequence[Evaluation], *, per_condition: bool = False) -> str:
    """A Markdown table of Recall@N and MRR with intervals, and the protocols as a list below it.

    per_condition: one row per model and condition instead of one per model. Raises UsageError when no result has
    scores, or their N differ.
    """
    results, headings, blocks = _table(results, per_condition)
    first = ["Model", *(["Condition"] if per_condition else []), "Queries"]
    rows = [[*first, *headings], ["---"] * (len(first) + len(headings))]
    for condition, block in blocks:
        for model, queries, cells in block:
            name = [condition] if per_condition else []
            rows.append([model, *name, queries, *(_cell(*cell, "**{}**", "{}") for cell in cells)])
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    shared, own = shared_protocol(results)
    lines += ["", f"Protocol: {_sentence(shared)}." if shared else "Protocol, by model:", ""]
    lines += [f"- {title}: {_sentence(protocol)}." for title, protocol in own if protocol]
    return "\n".join(lines).rstrip() + "\n"


def latex_table(results: Sequence[Evaluation], *, per_condition: bool = False, label: str = "tab:recall") -> str:
    r"""A LaTeX table (package booktabs) of Recall@N and MRR, the best of each column bold, its protocol in the caption.

    per_condition: a block of rows for every condition. Raises UsageError when no result has scores, or their N differ.
    (Not pandas' Styler: a block's heading over all columns and two texts in a cell are more work there.)
    """
    results, headings, blocks = _table(results, per_condition)
    caption = ["Recall@N in percent and mean reciprocal rank (MRR)."]
    if any(result.overall.intervals for result in results):
        caption.append("In brackets: confidence intervals.")
    caption += protocol_sentences(results)
    width = 2 + len(headings)
    lines = [
        r"\begin{table}[t]",
        r"\centering",
        rf"\caption{{{latex_text(' '.join(caption))}}}",
        rf"\label{{{label}}}",
        rf"\begin{{tabular}}{{l{'r' * (width - 1)}}}",
        r"\toprule",
        " & ".join(["Model", "Queries", *headings]) + r" \\",
    ]
    for condition, block in blocks:
        lines.append(r"\midrule")
        if per_condition:
            lines.append(rf"\multicolumn{{{width}}}{{l}}{{\textit{{{latex_text(condition)}}}}} \\")
        for model, queries, cells in block:
            texts = [_cell(*cell, r"\textbf{{{}}}", r"{{\scriptsize {}}}") for cell in cells]
            lines.append(" & ".join([latex_text(model), queries, *texts]) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}", r"\end{table}"]
    return "\n".join(lines) + "\n"


def latex_text(text: str) -> str:
    """Text with every sign that LaTeX would take for a command written as a letter."""
    return "".join(LATEX_SIGNS.get(sign, sign) for sign in text)


def shared_protocol(results: Sequence[Evaluation]) -> tuple[dict[str, str], list[tuple[str, dict[str, str]]]]:
    """What all protocols agree on, and (title, what is left) per result, so that a caption says nothing twice."""
    first = results[0].protocol
    shared = {
        key: value for key, value in first.items() if all(result.protocol.get(key) == value for result in results)
    }
    own = [
        (result.title, {key: value for key, value in result.protocol.items() if key not in shared})
        for result in results
    ]
    return shared, own


def protocol_sentences(results: Sequence[Evaluation]) -> list[str]:
    """The protocols of all results as sentences for a caption: first what they share."""
    shared, own = shared_protocol(results)
    sentences = [f"Protocol: {_sentence(shared)}."] if shared else []
    return sentences + [f"{title}: {_sentence(protocol)}." for title, protocol in own if protocol]


def _sentence(protocol: dict[str, str]) -> str:
    return "; ".join(f"{key} {value}" for key, value in protocol.items())


def interval_texts(scores: Scores, ns: Iterable[int]) -> list[str]:
    """The intervals of each Recall@N and of MRR as they stand in a table; empty where there are none."""
    if scores.intervals is None:
        return [""] * (len(list(ns)) + 1)
    low, high = scores.intervals.mrr
    recalls = (scores.intervals.recalls[n] for n in ns)
    return [*(f"[{low:.1f}, {high:.1f}]" for low, high in recalls), f"[{low:.3f}, {high:.3f}]"]


Row = tuple[str, str, list[tuple[str, str, bool]]]
"""A model's row of a table: its title, the number of queries, and cells of (value, interval, is it the best?)."""


def _table(
    results: Sequence[Evaluation], per_condition: bool
) -> tuple[list[Evaluation], list[str], list[tuple[str, list[Row]]]]:
    """Results with scores, headings of the numbers, and blocks of rows: (condition, rows)."""
    results = _scored(results)
    ns = results[0].ns
    if any(result.ns != ns for result in results):
        raise UsageError("One table needs the same values of N everywhere; evaluate all models with the same ones.")
    conditions = list(dict.fromkeys(name for result in results for name in result.conditions)) if per_condition else []
    blocks = []
    for condition in (*conditions, ALL):
        found = [(result.title, dict(_parts(result)).get(condition)) for result in results]
        found = [(title, scores) for title, scores in found if scores is not None]
        texts = [[*(f"{value:.1f}" for value in scores.recalls.values()), f"{scores.mrr:.3f}"] for _, scores in found]
        best = [max(column, key=float) if len(found) > 1 else None for column in zip(*texts, strict=True)]
        rows = []
        for (title, scores), own in zip(found, texts, strict=True):
            cells = zip(own, interval_texts(scores, scores.recalls), best, strict=True)
            rows.append((title, str(scores.queries), [(text, limits, text == top) for text, limits, top in cells]))
        blocks.append((condition, rows))
    return results, [*(f"R@{n}" for n in ns), "MRR"], blocks


def _cell(text: str, interval: str, best: bool, bold: str, small: str) -> str:
    text = bold.format(text) if best else text
    return f"{text} {small.format(interval)}" if interval else text


def _scored(results: Sequence[Evaluation]) -> list[Evaluation]:
    scored = [result for result in results if result.overall is not None]
    if not scored:
        raise UsageError("There is nothing to tabulate: without labels there are predictions only, no scores.")
    return scored


def _parts(result: Evaluation) -> list[tuple[str, Scores]]:
    return [*result.conditions.items(), (ALL, result.overall)]
