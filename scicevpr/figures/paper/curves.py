"""Figures of scores: Figure 2 of the SciceVPR paper, Recall@N curves, bars per condition."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from scicevpr.figures.paper.data import CurveData, ResultData
from scicevpr.figures.paper.sheet import wrapped
from scicevpr.figures.paper.style import Style, legend_columns

ORDERS = {"file": "file order", "shuffled": "shuffled", "place": "grouped by place"}
DASHES = {"file": "-", "shuffled": (0, (1, 1.4)), "place": (0, (4, 1.6))}
MARKERS = {"file": "o", "shuffled": "D", "place": "s"}
CURVE_PANELS = (("recall", "Recall@1"), ("changed", "first answers that changed"))
LINE_STYLES = ("-", (0, (4, 1.6)), (0, (1, 1.4)), (0, (5, 1.5, 1, 1.5)))
SYMBOLS = ("o", "s", "D", "^", "v", "P", "X", "*")
HATCHES = ("", "////", "....", "xxxx", "\\\\\\\\", "++++", "----", "oooo")


# ---- Figure 2 -------------------------------------------------------------------------------------------------------


def paint_curves(figure: Figure, data: CurveData, style: Style, vector: bool) -> None:
    """Recall@1, and how many first answers changed, over the size of the queries' batches."""
    panels = style.chosen([key for key, _ in CURVE_PANELS])
    side_by_side = style.double and len(panels) > 1
    rows, columns = (1, len(panels)) if side_by_side else (len(panels), 1)
    axes = figure.subplots(rows, columns, squeeze=False).flatten()
    labels: list[str] = []
    for number, (panel, plot) in enumerate(zip(panels, axes, strict=True)):
        _curve_panel(plot, panel, data, style)
        _letter(plot, style.letter(number) if len(panels) > 1 else "")
        labels = plot.get_legend_handles_labels()[1]
    height = 2.35 if style.double else 2.1
    _finish(figure, axes[0], labels, style, height * rows)


def _curve_panel(plot: Any, panel: str, data: CurveData, style: Style) -> None:
    table = data.table.assign(changed=100.0 * data.table["flips"] / max(1, data.queries))
    column = "recall_1" if panel == "recall" else "changed"
    models = list(table["model"].unique())
    colours = style.colours(models)
    for model in models:
        rows, name = table[table["model"] == model], style.name(model)
        look = {"color": colours[model], "clip_on": False, "zorder": 3}
        if len(rows) > 1 and rows["recall_1"].nunique() == 1 and rows["flips"].sum() == 0:
            sizes = sorted(rows["size"].unique())
            plot.plot(sizes, [float(rows[column].iloc[0])] * len(sizes), "-o", label=f"{name}, any batch", **look)
            continue
        alone = rows[rows["size"] == 1]
        for order in ORDERS:
            own = rows[(rows["order"] == order) & (rows["size"] > 1)]
            if own.empty:
                continue
            groups = pd.concat([alone, own]).groupby("size")[column]
            means = groups.mean()
            if order == "shuffled":
                plot.fill_between(
                    means.index, groups.min(), groups.max(), color=colours[model], alpha=0.18, linewidth=0, zorder=2
                )
            plot.plot(
                means.index, means, linestyle=DASHES[order], marker=MARKERS[order], label=f"{name}, {ORDERS[order]}",
                **look,
            )  # fmt: skip
    sizes = sorted(int(size) for size in table["size"].unique())
    plot.set_xscale("log", base=2)
    plot.set_xticks(sizes, [str(size) for size in sizes])
    plot.minorticks_off()
    plot.set_xlabel("queries in a batch")
    plot.set_ylabel("Recall@1 (%)" if panel == "recall" else "first answers changed (%)")
    if panel == "changed":
        plot.set_ylim(bottom=0)


def curve_table(data: CurveData) -> pd.DataFrame:
    """The plotted numbers: one row a setting and seed."""
    names = ("model", "order", "size", "seed", "recall_1", "flips")
    table = data.table[[name for name in names if name in data.table]].copy()
    table["seed"] = table["seed"].astype("Int64")  # there is none where nothing is shuffled
    return table.assign(changed=100.0 * table["flips"] / max(1, data.queries), queries=data.queries)


def curve_caption(data: CurveData, style: Style) -> str:
    """What the curves show, with the protocol."""
    table = data.table
    seeds = int(table["seed"].nunique())
    shuffled = f" Shuffled: mean and range over {seeds} random orders." if seeds else ""
    place = " Grouped by place uses the true positions." if (table["order"] == "place").any() else ""
    panels = style.chosen([key for key, _ in CURVE_PANELS])
    words = {"recall": "Recall@1", "changed": "the share of queries whose first answer is not the one they get alone"}
    what = " and ".join(
        f"({style.letter(n)}) {words[p]}" if style.letters and len(panels) > 1 else words[p]
        for n, p in enumerate(panels)
    )
    return (
        f"{what[0].upper()}{what[1:]} over the number of queries that share a batch; one photo a batch is every query "
        f"alone. {data.queries} queries.{shuffled}{place} {data.protocol} After Figure 2 of the SciceVPR paper "
        "(arXiv 2502.20676)."
    )


# ---- Recall@N -------------------------------------------------------------------------------------------------------


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
            [n * shift for n in ns], values, yerr=limits, label=labels[-1], color=colours[result.title],
            linestyle=LINE_STYLES[number % len(LINE_STYLES)], marker=SYMBOLS[number % len(SYMBOLS)], capsize=1.8,
            elinewidth=0.8, capthick=0.8,
        )  # fmt: skip
    ns = sorted({n for result in data.results for n in result.ns})
    plot.set_xscale("log")
    plot.set_xticks(ns, [str(n) for n in ns])
    plot.minorticks_off()
    plot.set_xlabel("N (answers looked at)")
    plot.set_ylabel("Recall@N (%)")
    plot.set_ylim(top=min(100.5, plot.get_ylim()[1]))
    _finish(figure, plot, labels, style, 2.6 if style.double else 2.2)


# ---- bars per condition ---------------------------------------------------------------------------------------------


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
            at, values, width * 0.92, yerr=[lows, highs] if any((*lows, *highs)) else None, label=labels[-1],
            color=colours[result.title], edgecolor="white", linewidth=0.3, hatch=HATCHES[number % len(HATCHES)],
            error_kw={"elinewidth": 0.7, "capsize": 1.3, "capthick": 0.7, "ecolor": "#333333"},
        )  # fmt: skip
    plot.grid(visible=False, axis="x")
    turned = len(conditions) * max(map(len, conditions)) * 0.6 * style.small / 72 > 0.85 * style.inches
    words = [name.replace("_", " ") for name in conditions]
    plot.set_xticks(range(len(conditions)), words, rotation=40 if turned else 0, ha="right" if turned else "center",
                    rotation_mode="anchor")  # fmt: skip
    plot.tick_params(axis="x", length=0)
    plot.set_ylabel(f"Recall@{data.n} (%)")
    plot.set_ylim(0, 103)  # room for the cap of an interval that ends at 100
    plot.set_yticks(range(0, 101, 20))
    plot.set_xlim(-0.6, len(conditions) - 0.4)
    if len(conditions) > 1:
        plot.axvline(len(conditions) - 1.5, color="#999999", linewidth=0.6)
    _finish(figure, plot, labels, style, 2.5 if style.double else 2.2)


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
                rows.append(
                    {"model": result.title, "condition": condition, "n": n, "recall": value, "low": low, "high": high,
                     "queries": scores.queries, "mrr": scores.mrr}
                )  # fmt: skip
    return pd.DataFrame(rows)


def recall_table(data: ResultData) -> pd.DataFrame:
    """The plotted numbers of the curves."""
    table = result_table(data)
    return table[table["condition"] == "all"].drop(columns=["condition", "mrr"])


def condition_table(data: ResultData) -> pd.DataFrame:
    """The plotted numbers of the bars."""
    table = result_table(data)
    return table[table["n"] == data.n].drop(columns="mrr")


def interval_words(data: ResultData) -> str:
    """What the error bars are."""
    intervals = next((r.overall.intervals for r in data.results if r.overall.intervals), None)
    if intervals is None:
        return ""
    what = "places" if intervals.by == "place" else "queries"
    return f" Error bars: {intervals.level:.0%} intervals (bootstrap over {what})."


def recall_caption(data: ResultData, style: Style) -> str:
    """What the curves show, with the protocol."""
    return f"Recall@N: queries with a right photo among the first N answers.{interval_words(data)} {data.protocol}"


def condition_caption(data: ResultData, style: Style) -> str:
    """What the bars show, with the protocol."""
    return (
        f"Recall@{data.n} of each condition of the queries, each alone, and of all queries together."
        f"{interval_words(data)} {data.protocol}"
    )


# ---- shared ---------------------------------------------------------------------------------------------------------


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


def _letter(plot: Any, letter: str) -> None:
    if letter:
        plot.set_title(letter, loc="left", fontweight="bold")


def _finish(figure: Figure, plot: Any, labels: list[str], style: Style, height: float) -> None:
    """A legend below everything, and as much height as both need."""
    columns = legend_columns(labels, style)
    shown = ["\n".join(wrapped(label, style.inches / columns - 0.55, style.small)) for label in labels]
    lines = sum(text.count("\n") + 1 for text in shown) / columns
    figure.set_size_inches(style.inches, height + 1.45 * math.ceil(lines) * style.small / 72 + 0.1)
    figure.set_layout_engine("constrained", w_pad=0.04, h_pad=0.04)
    figure.legend(
        plot.get_legend_handles_labels()[0], shown, loc="outside lower center", ncols=columns, handlelength=2.2,
        columnspacing=1.4, labelspacing=0.3, borderaxespad=0.1,
    )  # fmt: skip
