"""Results of several models as CSV, Markdown and LaTeX, each with the protocol that its numbers depend on."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scicevpr.datasets.tables import cell_text
from scicevpr.errors import UsageError
from scicevpr.evaluation.results import Evaluation, Scores

COLUMNS = ("model", "condition", "metric", "n", "value", "low", "high", "queries", "protocol")
ALL = "all"
LATEX_SIGNS = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "[": "{[}",
    "]": "{]}",
    "*": "{*}",
    "±": r"$\pm$",
    "≤": r"$\leq$",
    "°": r"$^\circ$",
    "×": r"$\times$",
    "·": r"$\cdot$",
    "–": "--",
    "…": r"\dots{}",
    "\n": " ",
}


def tidy_rows(results: Sequence[Evaluation]) -> list[dict[str, Any]]:
    """One record per model, condition, metric and N, with the keys of COLUMNS.

    recall is in percent, mrr and f1 in 0..1; n of mrr is how far it looks; low and high are None without intervals.
    Raises UsageError when no result has scores.
    """
    return [
        row for result in _scored(results) for name, scores in _parts(result) for row in _tidy(result, name, scores)
    ]


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
    table = _table(results, per_condition)
    headings = ["Model", *(["Condition"] if per_condition else []), "Queries", *table.headings]
    lines = [_markdown_row(headings), _markdown_row(["---"] * len(headings))]
    for block in table.blocks:
        for row in block.rows:
            cells = [_bold(cell, "**{}**") for cell in row.cells]
            name = [block.condition] if per_condition else []
            lines.append(_markdown_row([row.model, *name, str(row.queries), *cells]))
    shared, own = shared_protocol(table.results)
    lines += ["", f"Protocol: {_sentence(shared)}." if shared else "Protocol, by model:", ""]
    lines += [f"- {title}: {_sentence(words)}." for title, words in own if words]
    return "\n".join(lines).rstrip() + "\n"


def latex_table(results: Sequence[Evaluation], *, per_condition: bool = False, label: str = "tab:recall") -> str:
    r"""A LaTeX table (package booktabs) of Recall@N and MRR, the best of each column bold, its protocol in the caption.

    per_condition: a block of rows for every condition. Raises UsageError when no result has scores, or their N differ.
    """
    table = _table(results, per_condition)
    width = 2 + len(table.headings)
    lines = [
        r"\begin{table}[t]",
        r"\centering",
        rf"\caption{{{_caption(table.results)}}}",
        rf"\label{{{label}}}",
        rf"\begin{{tabular}}{{l{'r' * (width - 1)}}}",
        r"\toprule",
        " & ".join(["Model", "Queries", *table.headings]) + r" \\",
    ]
    for block in table.blocks:
        lines.append(r"\midrule")
        if per_condition:
            lines.append(rf"\multicolumn{{{width}}}{{l}}{{\textit{{{latex_text(block.condition)}}}}} \\")
        for row in block.rows:
            cells = [_bold(cell, r"\textbf{{{}}}", r"{{\scriptsize {}}}") for cell in row.cells]
            lines.append(" & ".join([latex_text(row.model), str(row.queries), *cells]) + r" \\")
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


@dataclass(frozen=True)
class _Cell:
    text: str
    interval: str
    best: bool


@dataclass(frozen=True)
class _Row:
    model: str
    queries: int
    cells: tuple[_Cell, ...]


@dataclass(frozen=True)
class _Block:
    condition: str
    rows: tuple[_Row, ...]


@dataclass(frozen=True)
class _Table:
    results: tuple[Evaluation, ...]
    headings: tuple[str, ...]
    blocks: tuple[_Block, ...]


def _table(results: Sequence[Evaluation], per_condition: bool) -> _Table:
    results = tuple(_scored(results))
    ns = results[0].ns
    if any(result.ns != ns for result in results):
        raise UsageError("One table needs the same values of N everywhere; evaluate all models with the same ones.")
    conditions = list(dict.fromkeys(name for result in results for name in result.conditions)) if per_condition else []
    blocks = []
    for condition in (*conditions, ALL):
        found = [(result.title, dict(_parts(result)).get(condition)) for result in results]
        found = [(title, scores) for title, scores in found if scores is not None]
        blocks.append(_Block(condition, _rows(found)))
    return _Table(results, (*(f"R@{n}" for n in ns), "MRR"), tuple(blocks))


def _rows(found: Sequence[tuple[str, Scores]]) -> tuple[_Row, ...]:
    texts = [[*(f"{value:.1f}" for value in scores.recalls.values()), f"{scores.mrr:.3f}"] for _, scores in found]
    best = [max(column, key=float) for column in zip(*texts, strict=True)]
    rows = []
    for (title, scores), own in zip(found, texts, strict=True):
        cells = (
            _Cell(text, interval, len(found) > 1 and text == top)
            for text, interval, top in zip(own, _interval_texts(scores), best, strict=True)
        )
        rows.append(_Row(title, scores.queries, tuple(cells)))
    return tuple(rows)


def _interval_texts(scores: Scores) -> list[str]:
    if scores.intervals is None:
        return [""] * (len(scores.recalls) + 1)
    low, high = scores.intervals.mrr
    return [
        *(f"[{low:.1f}, {high:.1f}]" for low, high in scores.intervals.recalls.values()),
        f"[{low:.3f}, {high:.3f}]",
    ]


def _scored(results: Sequence[Evaluation]) -> list[Evaluation]:
    scored = [result for result in results if result.overall is not None]
    if not scored:
        raise UsageError("There is nothing to tabulate: without labels there are predictions only, no scores.")
    return scored


def _parts(result: Evaluation) -> list[tuple[str, Scores]]:
    return [*result.conditions.items(), (ALL, result.overall)]


def _tidy(result: Evaluation, condition: str, scores: Scores) -> Iterator[dict[str, Any]]:
    common = {"queries": scores.queries, "protocol": result.protocol_line()}
    own = scores.intervals
    values = [("recall", n, value, own and own.recalls[n]) for n, value in scores.recalls.items()]
    values.append(("mrr", max(result.ns), scores.mrr, own and own.mrr))
    values += [("f1", n, value, None) for n, value in scores.f1.items()]
    for metric, n, value, limits in values:
        low, high = limits or (None, None)
        key = {"model": result.title, "condition": condition, "metric": metric, "n": n}
        yield {**key, "value": value, "low": low, "high": high, **common}


def _caption(results: Sequence[Evaluation]) -> str:
    shared, own = shared_protocol(results)
    parts = ["Recall@N in percent and mean reciprocal rank (MRR)."]
    if any(result.overall.intervals for result in results):
        parts.append("In brackets: confidence intervals.")
    if shared:
        parts.append(f"Protocol: {_sentence(shared)}.")
    parts += [f"{title}: {_sentence(words)}." for title, words in own if words]
    return latex_text(" ".join(parts))


def _sentence(words: dict[str, str]) -> str:
    return "; ".join(f"{key} {value}" for key, value in words.items())


def _bold(cell: _Cell, bold: str, small: str = "{}") -> str:
    text = bold.format(cell.text) if cell.best else cell.text
    return f"{text} {small.format(cell.interval)}" if cell.interval else text


def _markdown_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
