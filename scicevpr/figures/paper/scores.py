"""Figures of scores: Recall@N curves, bars per condition, the benchmark table, drawn and as LaTeX."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from scicevpr.errors import UsageError
from scicevpr.evaluation.report import interval_texts, latex_table, protocol_sentences
from scicevpr.evaluation.results import mrr_name
from scicevpr.figures.paper.sheet import INK, MARGIN, SOFT, Sheet, add_legend, text_width, wrapped
from scicevpr.figures.paper.style import SMALLEST, Style

LINE_STYLES = ("-", (0, (4, 1.6)), (0, (1, 1.4)), (0, (5, 1.5, 1, 1.5)))
SYMBOLS = ("o", "s", "D", "^", "v", "P", "X", "*")
HATCHES = ("", "////", "....", "xxxx", "\\\\\\\\", "++++", "----", "oooo")
TABLE_PANELS = (("all", "all queries"), ("conditions", "each condition"))


@dataclass(frozen=True)
class ResultData:
    """Evaluations of several models with labels: `Evaluation` or `StoredResult` of scicevpr.evaluation.results. n:
    which Recall@N the bars show. protocol: sentences for the caption."""

    results: Sequence[Any]
    protocol: str
    n: int = 1


def result_data(results: Sequence[Any], n: int | None = None) -> ResultData:
    """Results (stored ones, or of `evaluate`) for recall, conditions and table; n: of the bars (default: the
    smallest). Raises UsageError for an n that was not evaluated, or two results of one title."""
    results = [result for result in results if result.overall is not None]
    if not results:
        raise UsageError("There is nothing to draw: without labels there are predictions only, no scores.")
    titles = [result.title for result in results]
    counted = [f"{t} ({titles[: i + 1].count(t)})" if titles.count(t) > 1 else t for i, t in enumerate(titles)]
    results = [r if r.title == t else replace(r, title=t) for r, t in zip(results, counted, strict=True)]
    common = [value for value in results[0].ns if all(value in result.ns for result in results)]
    n = n or (common or [0])[0]
    if n not in common:
        raise UsageError(f"Recall@{n} was not evaluated for all models; there is {', '.join(map(str, common))}.")
    return ResultData(tuple(results), " ".join(protocol_sentences(results)), n)


# ---- Recall@N --------------------------------------------------------------------------------------------------------


def paint_recall(figure: Figure, data: ResultData, style: Style, vector: bool) -> None:
    """Recall over N, with intervals."""
    plot = figure.subplots()
    titles = [result.title for result in data.results]
    colours, labels = style.colours(titles), []
    for number, result in enumerate(data.results):
        ns = list(result.ns)
        shift = 1.03 ** (number - (len(titles) - 1) / 2)  # so that intervals do not hide each other
        values = [result.overall.recalls[n] for n in ns]
        limits = _limits(result.overall, ns)
        labels.append(style.name(result.title))
        plot.errorbar(
            [n * shift for n in ns],
            values,
            yerr=limits,
            label=labels[-1],
            color=colours[result.title],
            linestyle=LINE_STYLES[number % len(LINE_STYLES)],
            marker=SYMBOLS[number % len(SYMBOLS)],
            capsize=1.8,
            elinewidth=0.8,
            capthick=0.8,
        )
    ns = sorted({n for result in data.results for n in result.ns})
    plot.set_xscale("log")
    plot.set_xticks(ns, [str(n) for n in ns])
    plot.minorticks_off()
    plot.set_xlabel("N (answers looked at)")
    plot.set_ylabel("Recall@N (%)")
    plot.set_ylim(top=min(100.5, plot.get_ylim()[1]))
    add_legend(figure, plot, labels, style, 2.6 if style.double else 2.2)


# ---- bars per condition ----------------------------------------------------------------------------------------------


def paint_conditions(figure: Figure, data: ResultData, style: Style, vector: bool) -> None:
    """Recall@N of every condition and of all queries, a bar a model."""
    plot = figure.subplots()
    titles = [result.title for result in data.results]
    conditions = condition_names(data)
    colours, width, labels = style.colours(titles), 0.8 / len(titles), []
    for number, result in enumerate(data.results):
        parts = {**result.conditions, "all": result.overall}
        found = [(at, parts[name]) for at, name in enumerate(conditions) if name in parts]
        at = [position + (number - (len(titles) - 1) / 2) * width for position, _ in found]
        values = [scores.recalls[data.n] for _, scores in found]
        lows, highs = zip(*(_reach(scores, data.n) for _, scores in found), strict=True)
        labels.append(style.name(result.title))
        plot.bar(
            at,
            values,
            width * 0.92,
            yerr=[lows, highs] if any((*lows, *highs)) else None,
            label=labels[-1],
            color=colours[result.title],
            edgecolor="white",
            linewidth=0.3,
            hatch=HATCHES[number % len(HATCHES)],
            error_kw={"elinewidth": 0.7, "capsize": 1.3, "capthick": 0.7, "ecolor": "#333333"},
        )
    plot.grid(visible=False, axis="x")
    turned = len(conditions) * max(map(len, conditions)) * 0.6 * style.small / 72 > 0.85 * style.inches
    words = [name.replace("_", " ") for name in conditions]
    plot.set_xticks(
        range(len(conditions)),
        words,
        rotation=40 if turned else 0,
        ha="right" if turned else "center",
        rotation_mode="anchor",
    )
    plot.tick_params(axis="x", length=0)
    plot.set_ylabel(f"Recall@{data.n} (%)")
    plot.set_ylim(0, 103)  # space for the cap of an interval that ends at 100
    plot.set_yticks(range(0, 101, 20))
    plot.set_xlim(-0.6, len(conditions) - 0.4)
    if len(conditions) > 1:
        plot.axvline(len(conditions) - 1.5, color="#999999", linewidth=0.6)
    add_legend(figure, plot, labels, style, 2.5 if style.double else 2.2)


def condition_names(data: ResultData) -> list[str]:
    """All conditions in their order, "all" last."""
    return [*dict.fromkeys(name for result in data.results for name in result.conditions), "all"]


def result_table(data: ResultData) -> pd.DataFrame:
    """The numbers of a result, one row per model, condition and N."""
    rows = []
    for result in data.results:
        for condition, scores in (*result.conditions.items(), ("all", result.overall)):
            for n, value in scores.recalls.items():
                low, high = scores.intervals.recalls[n] if scores.intervals else (None, None)
                rows.append((result.title, condition, n, value, low, high, scores.queries, scores.mrr))
    columns = ["model", "condition", "n", "recall", "low", "high", "queries", "mrr"]
    return pd.DataFrame(rows, columns=columns)


def recall_table(data: ResultData) -> pd.DataFrame:
    """The plotted numbers of the curves."""
    table = result_table(data)
    return table[table["condition"] == "all"].drop(columns=["condition", "mrr"])


def condition_table(data: ResultData) -> pd.DataFrame:
    """The plotted numbers of the bars."""
    table = result_table(data)
    return table[table["n"] == data.n].drop(columns="mrr")


def _interval_sentence(data: ResultData) -> str:
    """What the error bars are."""
    intervals = next((r.overall.intervals for r in data.results if r.overall.intervals), None)
    if intervals is None:
        return ""
    what = "places" if intervals.by == "place" else "queries"
    return f" Error bars: {intervals.level:.0%} intervals (bootstrap over {what})."


def recall_caption(data: ResultData, style: Style) -> str:
    """What the curves show, with the protocol."""
    return f"Recall@N: queries with a right photo among the first N answers.{_interval_sentence(data)} {data.protocol}"


def condition_caption(data: ResultData, style: Style) -> str:
    """What the bars show, with the protocol."""
    return (
        f"Recall@{data.n} of each condition of the queries, each alone, and of all queries together."
        f"{_interval_sentence(data)} {data.protocol}"
    )


def _limits(scores: Any, ns: list[int]) -> list[list[float]] | None:
    if scores.intervals is None:
        return None
    lows, highs = zip(*(_reach(scores, n) for n in ns), strict=True)
    return [list(lows), list(highs)]


def _reach(scores: Any, n: int) -> tuple[float, float]:
    """How far the interval reaches down and up from the value."""
    if scores.intervals is None:
        return 0.0, 0.0
    low, high = scores.intervals.recalls[n]
    return max(0.0, scores.recalls[n] - low), max(0.0, high - scores.recalls[n])


# ---- benchmark table -------------------------------------------------------------------------------------------------


def paint_table(figure: Figure, data: ResultData, style: Style, vector: bool) -> None:
    """Recall@N and MRR of every model, intervals below the numbers, the best of a column bold."""
    sheet = Sheet(figure, style, vector)
    ns = _ns(data)
    headings = ["Queries", *(f"R@{n}" for n in ns), mrr_name(ns)]
    blocks = _blocks(data, style)
    texts = [interval_texts(scores, ns) for _, rows in blocks for _, scores in rows]
    size = style.font_size
    while True:  # letters that leave space for the names, an inch at most
        note = max(SMALLEST - 1, size - 1.5)
        columns = [text_width("Queries", size, True) + 0.06]
        columns += [
            max(text_width("100.0", size, True), *(text_width(t[i], note) for t in texts)) + 0.1
            for i in range(len(ns) + 1)
        ]
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
            cells = zip(ends[1:], _rounded(scores, ns), best, interval_texts(scores, ns), strict=True)
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


def table_caption(data: ResultData, style: Style) -> str:
    """What the numbers are, with the protocol."""
    words = _interval_sentence(data).replace("Error bars", "In brackets")
    name = mrr_name(data.results[0].ns)
    return f"Recall@N in percent and mean reciprocal rank ({name}), the best of a column bold.{words} {data.protocol}"


def table_latex(data: ResultData, style: Style) -> str:
    """The table for LaTeX (package booktabs), with the names of the style."""
    named = [replace(result, title=style.name(result.title)) for result in data.results]
    return latex_table(named, per_condition="conditions" in style.panels)
