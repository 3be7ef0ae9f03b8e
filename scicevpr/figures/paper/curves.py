"""Figure 2 of the SciceVPR paper: Recall@1 over the queries' batches; and the axes that figures of scores share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from scicevpr.evaluation.batch_effects import StabilitySetup, batch_lines
from scicevpr.figures.paper.sheet import wrapped
from scicevpr.figures.paper.style import Style, legend_columns
from scicevpr.figures.paper.subjects import data_sentence, grouped, model_sentences

DASHES = {"any": "-", "file": "-", "shuffled": (0, (1, 1.4)), "place": (0, (4, 1.6))}
MARKERS = {"any": "o", "file": "o", "shuffled": "D", "place": "s"}
CURVE_PANELS = (("recall", "Recall@1"), ("changed", "first answers that changed"))


@dataclass(frozen=True)
class CurveData:
    """Figure 2 of the paper. table: rows of `scicevpr.evaluation.batch_effects.query_batches` of several models.

    queries: how many there are. protocol (here and below): sentences for the caption.
    """

    table: pd.DataFrame
    queries: int
    protocol: str


def curve_data(setups: Sequence[tuple[str, StabilitySetup]], table: pd.DataFrame) -> CurveData:
    """Figure 2 from setups (title, setup) and the rows of `query_batches` measured with them, under these titles."""
    dataset = setups[0][1].dataset
    parts = [
        (title, setup.model, f"database described {grouped(setup.model, setup.database_grouping)}")
        for title, setup in setups
    ]
    return CurveData(table, len(dataset.queries), f"{data_sentence(dataset)} {model_sentences(parts)}")


def paint_curves(figure: Figure, data: CurveData, style: Style, vector: bool) -> None:
    """Recall@1, and how many first answers changed, over the size of the queries' batches."""
    panels = style.chosen([key for key, _ in CURVE_PANELS])
    side_by_side = style.double and len(panels) > 1
    rows, columns = (1, len(panels)) if side_by_side else (len(panels), 1)
    axes = figure.subplots(rows, columns, squeeze=False).flatten()
    labels: list[str] = []
    for number, (panel, plot) in enumerate(zip(panels, axes, strict=True)):
        _curve_panel(plot, panel, data, style)
        if len(panels) > 1 and style.letters:
            plot.set_title(style.letter(number), loc="left", fontweight="bold")
        labels = plot.get_legend_handles_labels()[1]
    height = 2.35 if style.double else 2.1
    add_legend(figure, axes[0], labels, style, height * rows)


def _curve_panel(plot: Any, panel: str, data: CurveData, style: Style) -> None:
    table = data.table.assign(changed=100.0 * data.table["flips"] / max(1, data.queries))
    colours = style.colours(list(table["model"].unique()))
    for line in batch_lines(table, "recall_1" if panel == "recall" else "changed"):
        colour = colours[line.model]
        if line.order == "shuffled":
            plot.fill_between(line.sizes, line.low, line.high, color=colour, alpha=0.18, linewidth=0, zorder=2)
        plot.plot(
            line.sizes, line.means, linestyle=DASHES[line.order], marker=MARKERS[line.order],
            label=f"{style.name(line.model)}, {line.label}", color=colour, clip_on=False, zorder=3,
        )
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


def add_legend(figure: Figure, plot: Any, labels: list[str], style: Style, height: float) -> None:
    """A legend below everything, and as much height as both need."""
    columns = legend_columns(labels, style)
    shown = ["\n".join(wrapped(label, style.inches / columns - 0.55, style.small)) for label in labels]
    lines = sum(text.count("\n") + 1 for text in shown) / columns
    figure.set_size_inches(style.inches, height + 1.45 * math.ceil(lines) * style.small / 72 + 0.1)
    figure.set_layout_engine("constrained", w_pad=0.04, h_pad=0.04)
    figure.legend(
        plot.get_legend_handles_labels()[0], shown, loc="outside lower center", ncols=columns, handlelength=2.2,
        columnspacing=1.4, labelspacing=0.3, borderaxespad=0.1,
    )
