"""The benchmark table, drawn and as LaTeX."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from scicevpr.evaluation.report import latex_table
from scicevpr.figures.paper.curves import interval_words, result_table
from scicevpr.figures.paper.data import ResultData
from scicevpr.figures.paper.sheet import INK, MARGIN, SOFT, Sheet, text_width, wrapped
from scicevpr.figures.paper.style import SMALLEST, Style

TABLE_PANELS = (("all", "all queries"), ("conditions", "each condition"))


def paint_table(figure: Figure, data: ResultData, style: Style, vector: bool) -> None:
    """Recall@N and MRR of every model, intervals below the numbers, the best of a column bold."""
    sheet = Sheet(figure, style, vector)
    ns = _ns(data)
    headings = ["Queries", *(f"R@{n}" for n in ns), "MRR"]
    blocks = _blocks(data, style)
    texts = [_intervals(scores, ns) for _, rows in blocks for _, scores in rows]
    size = style.font_size
    while True:  # letters that leave room for the names, an inch at most
        note = max(SMALLEST - 1, size - 1.5)
        columns = [text_width("Queries", size, True) + 0.06]
        columns += [max(text_width("100.0", size, True), *(text_width(t[i], note) for t in texts)) + 0.1
                    for i in range(len(ns) + 1)]  # fmt: skip
        name = sheet.width - 2 * MARGIN - sum(columns)
        longest = max(text_width(title, size) for _, rows in blocks for title, _ in rows) + 0.2
        if name >= min(1.0, longest) or size <= SMALLEST:
            break
        size -= 0.25
    spare = max(0.0, name - longest) / len(columns)
    name, columns = min(name, longest), [column + spare for column in columns]
    ends = [MARGIN + name + sum(columns[: number + 1]) for number in range(len(columns))]
    y = _rule(sheet, 0.05, 0.9)
    sheet.text(MARGIN, y, "Model", size, bold=True)
    for end, words in zip(ends, headings, strict=True):
        sheet.text(end, y, words, size, ha="right", bold=True)
    y = _rule(sheet, y + sheet.line_height(size) + 0.02, 0.5)
    for block, rows in blocks:
        if block is not None:
            sheet.text(MARGIN, y, block.replace("_", " "), size, colour=SOFT, bold=True)
            y += sheet.line_height(size)
        best = [max(column) for column in zip(*(_rounded(scores, ns) for _, scores in rows), strict=True)]
        for title, scores in rows:
            lines = wrapped(title, name - 0.08, size)
            for number, line in enumerate(lines):
                sheet.text(MARGIN, y + number * sheet.line_height(size), line, size)
            sheet.text(ends[0], y, str(scores.queries), size, ha="right")
            cells = zip(ends[1:], _rounded(scores, ns), best, _intervals(scores, ns), strict=True)
            for position, (end, value, top, interval) in enumerate(cells):
                words = f"{value:.3f}" if position == len(ns) else f"{value:.1f}"
                sheet.text(end, y, words, size, ha="right", bold=len(rows) > 1 and value == top)
                sheet.text(end, y + sheet.line_height(size), interval, note, ha="right", colour=SOFT)
            height = sheet.line_height(size) * len(lines)
            if scores.intervals:
                height = max(height, sheet.line_height(size) + sheet.line_height(note))
            y += height + 0.04
        y = _rule(sheet, y, 0.5)
    sheet.finish(y)


def _rule(sheet: Sheet, y: float, line: float) -> float:
    sheet.line([(MARGIN, y), (sheet.width - MARGIN, y)], INK, line)
    return y + 0.05


def _ns(data: ResultData) -> list[int]:
    return [n for n in data.results[0].ns if all(n in result.ns for result in data.results)]


def _rounded(scores: Any, ns: list[int]) -> list[float]:
    return [*(round(scores.recalls[n], 1) for n in ns), round(scores.mrr, 3)]


def _intervals(scores: Any, ns: list[int]) -> list[str]:
    if scores.intervals is None:
        return [""] * (len(ns) + 1)
    low, high = scores.intervals.mrr
    recalls = (scores.intervals.recalls[n] for n in ns)
    return [*(f"[{low:.1f}, {high:.1f}]" for low, high in recalls), f"[{low:.3f}, {high:.3f}]"]


def _blocks(data: ResultData, style: Style) -> list[tuple[str | None, list[tuple[str, Any]]]]:
    """Blocks of rows: their heading (None for the only one), and the models' names and scores."""
    panels = style.chosen([key for key, _ in TABLE_PANELS]) if style.panels else ["all"]
    names = list(dict.fromkeys(n for r in data.results for n in r.conditions)) if "conditions" in panels else []
    blocks = []
    for condition in names:
        rows = [(style.name(r.title), r.conditions[condition]) for r in data.results if condition in r.conditions]
        blocks.append((condition, rows))
    if "all" in panels or not names:
        everything = [(style.name(result.title), result.overall) for result in data.results]
        blocks.append(("all queries" if names else None, everything))
    return blocks


def table_table(data: ResultData) -> pd.DataFrame:
    """All numbers of the table."""
    return result_table(data)


def table_caption(data: ResultData, style: Style) -> str:
    """What the numbers are, with the protocol."""
    words = interval_words(data).replace("Error bars", "In brackets")
    return f"Recall@N in percent and mean reciprocal rank (MRR), the best of each column bold.{words} {data.protocol}"


def table_latex(data: ResultData, style: Style) -> str:
    """The table for LaTeX (package booktabs), with the names of the style."""
    named = [replace(result, title=style.name(result.title)) for result in data.results]
    return latex_table(named, per_condition="conditions" in style.panels)
