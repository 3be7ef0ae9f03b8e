"""Figures for the screen (plotly) about scores: Recall@N, conditions, training, stability over batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from scicevpr.evaluation.batch_effects import batch_lines
from scicevpr.figures.screen import (
    BATCH,
    DATABASE,
    FAMILIES,
    QUERY,
    RIGHT,
    SECOND,
    TEXT,
    WRONG,
    axis,
    family_colour,
    heading,
    numbers,
    plain_layout,
)

OTHER_COLOURS = (QUERY, TEXT, "#c05a8a")
DASHES = ("solid", "dash", "dot", "dashdot")
SYMBOLS = ("circle", "square", "diamond", "triangle-up")
PATTERNS = ("", "/", ".", "x")
TICKS = (1, 2, 3, 5, 10, 20, 30, 50, 100)
MARKED = (1, 5, 10, 20, 50, 100)
MARGIN = {"t": 96, "r": 14, "b": 8, "l": 8}
TRAINING_MARGIN = {**MARGIN, "t": 92}


@dataclass(frozen=True)
class RecallCurve:
    """Recall@N of a model in percent. ns, recall, low, high: [K]; low and high (an interval) are None when unknown."""

    title: str
    ns: np.ndarray
    recall: np.ndarray
    low: np.ndarray | None = None
    high: np.ndarray | None = None


@dataclass(frozen=True)
class Bar:
    """Recall@1 in percent of a model under a condition, with its interval where it is known."""

    recall: float
    low: float | None = None
    high: float | None = None
    queries: int = 0


def recall_curves(curves: Sequence[RecallCurve], title: str) -> go.Figure:
    """Recall@N over N (logarithmic), one line a model (by colour, dash and mark), its interval as a band."""
    figure = go.Figure(layout=plain_layout(440, title=heading(title)))
    looks = _looks([curve.title for curve in curves])
    for curve, (colour, dash, symbol, _) in zip(curves, looks, strict=True):
        ns = [int(n) for n in curve.ns]
        if curve.low is not None:
            figure.add_scatter(
                x=[*ns, *reversed(ns)],
                y=[*numbers(curve.high, 3), *reversed(numbers(curve.low, 3))],
                fill="toself",
                mode="lines",
                line={"width": 0},
                fillcolor=colour,
                opacity=0.15,
                hoverinfo="skip",
                showlegend=False,
                legendgroup=curve.title,
            )
        marks = [8 if n in MARKED else 0 for n in ns]
        figure.add_scatter(
            x=ns,
            y=numbers(curve.recall, 3),
            mode="lines+markers",
            name=curve.title,
            legendgroup=curve.title,
            line={"color": colour, "width": 2.5, "dash": dash},
            marker={"size": marks, "symbol": symbol, "color": colour, "line": {"width": 0}},
            customdata=_limits(curve),
            hovertemplate=curve.title + "<br>Recall@%{x}: %{y:.1f} % %{customdata}<extra></extra>",
        )
    ticks = [tick for tick in TICKS if any(tick <= curve.ns.max() for curve in curves)]
    figure.update_layout(
        xaxis=axis("N: how many answers are looked at", type="log", tickvals=ticks, ticktext=[str(t) for t in ticks]),
        yaxis=axis("Recall@N, percent"),
        margin=MARGIN,
    )
    return figure


def condition_bars(models: Mapping[str, Mapping[str, Bar]], title: str) -> go.Figure:
    """Recall@1 as bars with intervals: one group a condition, one bar a model, told apart by colour and pattern."""
    figure = go.Figure(layout=plain_layout(440, title=heading(title), barmode="group", bargap=0.25))
    for (name, bars), (colour, _, _, pattern) in zip(models.items(), _looks(list(models)), strict=True):
        values = [bar.recall for bar in bars.values()]
        above = [0.0 if bar.high is None else bar.high - bar.recall for bar in bars.values()]
        below = [0.0 if bar.low is None else bar.recall - bar.low for bar in bars.values()]
        words = [
            ("" if bar.low is None else f"[{bar.low:.1f}, {bar.high:.1f}], ") + f"{bar.queries} queries"
            for bar in bars.values()
        ]
        figure.add_bar(
            x=list(bars),
            y=values,
            name=name,
            customdata=words,
            marker={"color": colour, "pattern": {"shape": pattern, "solidity": 0.25}},
            error_y={
                "type": "data",
                "symmetric": False,
                "array": above,
                "arrayminus": below,
                "color": TEXT,
                "thickness": 1.2,
                "width": 3,
            },
            hovertemplate=name + "<br>%{x}: %{y:.1f} % %{customdata}<extra></extra>",
        )
    figure.update_layout(
        xaxis=axis(showgrid=False), yaxis=axis("Recall@1, percent", range=[0, 104]), showlegend=True, margin=MARGIN
    )
    return figure


def _looks(titles: Sequence[str]) -> list[tuple[str, str, str, str]]:
    """Colour, dash, marker and pattern of every model; a model keeps its colour from one figure to the next."""
    spare, taken, looks = iter(OTHER_COLOURS), set(), []
    for number, title in enumerate(titles):
        colour = family_colour(title)
        if colour is None or colour in taken:
            colour = next(spare, TEXT)
        taken.add(colour)
        at = number % len(DASHES)
        looks.append((colour, DASHES[at], SYMBOLS[at], PATTERNS[at]))
    return looks


def _limits(curve: RecallCurve) -> list[str]:
    if curve.low is None:
        return [""] * len(curve.ns)
    return [f"[{low:.1f}, {high:.1f}]" for low, high in zip(curve.low, curve.high, strict=True)]


# ---- training --------------------------------------------------------------------------------------------------------


def loss_curves(
    steps: Sequence[int], total: Sequence[float], l_ms: Sequence[float], l_d: Sequence[float], weights: str
) -> go.Figure:
    """The losses of a distillation after each step; ``weights`` names the sum, such as "1·L_MS + 1·L_D"."""
    figure = go.Figure(layout=plain_layout(360, title=heading("Losses of each batch")))
    for name, values, colour, dash in (
        (f"L_T = {weights}", total, TEXT, "solid"),
        ("L_MS: tell places apart", l_ms, SECOND, "dash"),
        ("L_D: distance to the teacher", l_d, QUERY, "dot"),
    ):
        figure.add_scatter(
            x=list(steps),
            y=[round(float(value), 5) for value in values],
            mode="lines+markers",
            name=name,
            line={"color": colour, "width": 2.5, "dash": dash},
            marker={"size": 5},
            hovertemplate="step %{x}: %{y:.3f}<extra>" + name.split(":")[0] + "</extra>",
        )
    figure.update_layout(
        xaxis=axis("step", rangemode="tozero"),
        yaxis=axis("loss", rangemode="tozero"),
        margin=TRAINING_MARGIN,
        showlegend=True,
    )
    return figure


def epoch_curve(epochs: Sequence[int], recall: Sequence[float], lines: Mapping[str, float], last: int) -> go.Figure:
    """Recall@1 (percent) of a student after each epoch [E]; epoch 0 is untrained. lines: other models' values, drawn
    level. last: how many epochs there will be."""
    figure = go.Figure(layout=plain_layout(360, title=heading("Recall@1 on the half that nothing learns from")))
    for (name, value), dash in zip(lines.items(), ("dash", "dot", "dashdot"), strict=False):
        figure.add_scatter(
            x=[0, last],
            y=[value, value],
            mode="lines",
            name=name,
            line={"color": family_colour(name) or TEXT, "dash": dash},
            hovertemplate=name + ": %{y:.1f} %<extra></extra>",
        )
    figure.add_scatter(
        x=list(epochs),
        y=list(recall),
        mode="lines+markers",
        name="student",
        marker={"size": 9},
        line={"color": FAMILIES["SciceVPR"], "width": 2.5},
        hovertemplate="after epoch %{x}: %{y:.1f} %<extra>student</extra>",
    )
    figure.update_layout(
        xaxis=axis("epochs", dtick=1, range=[-0.2, last + 0.2]),
        yaxis=axis("Recall@1, percent"),
        margin=TRAINING_MARGIN,
        showlegend=True,
    )
    return figure


# ---- stability -------------------------------------------------------------------------------------------------------


ORDER_DASHES = {"any": "solid", "file": "solid", "shuffled": "dot", "place": "dash"}
ORDER_SYMBOLS = {"any": "circle", "file": "circle", "shuffled": "diamond", "place": "square"}


def projection(
    database: np.ndarray,
    cloud: np.ndarray,
    alone: np.ndarray,
    now: np.ndarray,
    answers: dict[str, tuple[np.ndarray, bool | None]],
    title: str,
    explained: float,
) -> go.Figure:
    """Descriptors of one model on a plane, around the query; a double click shows the whole database.

    Points [n, 2]: the database, the query in random batches (cloud), alone, as it is now. answers: name -> (point [2],
    right) of the photos answered first. explained: share of variance of the plane.
    """
    figure = go.Figure(layout=plain_layout(380, title=heading(title)))
    figure.add_scatter(
        x=numbers(database[:, 0], 5),
        y=numbers(database[:, 1], 5),
        mode="markers",
        name="database",
        marker={"size": 4, "color": DATABASE},
        hoverinfo="skip",
    )
    if len(cloud):
        figure.add_scatter(
            x=numbers(cloud[:, 0], 5),
            y=numbers(cloud[:, 1], 5),
            mode="markers",
            name=f"in {len(cloud)} random batches",
            hoverinfo="skip",
            marker={"size": 6, "color": BATCH, "opacity": 0.55},
        )
    figure.add_scatter(
        x=[*numbers(alone[:, 0], 5), *numbers(now[:, 0], 5)],
        y=[*numbers(alone[:, 1], 5), *numbers(now[:, 1], 5)],
        mode="lines",
        line={"color": QUERY, "width": 2},
        showlegend=False,
        hoverinfo="skip",
    )
    for points, name, symbol in ((alone, "query alone", "circle"), (now, "query in this batch", "star")):
        figure.add_scatter(
            x=numbers(points[:, 0], 5),
            y=numbers(points[:, 1], 5),
            mode="markers",
            name=name,
            hovertemplate=name + "<extra></extra>",
            marker={
                "size": 15 if symbol == "star" else 11,
                "symbol": symbol,
                "color": QUERY,
                "line": {"color": "white", "width": 1},
            },
        )
    for name, (point, right) in answers.items():
        colour = {True: RIGHT, False: WRONG, None: TEXT}[right]
        figure.add_scatter(
            x=[float(point[0])],
            y=[float(point[1])],
            mode="markers",
            name=name,
            hovertemplate=name + "<extra></extra>",
            marker={"size": 13, "symbol": "square-open", "color": colour, "line": {"width": 3}},
        )
    drawn = np.concatenate([cloud.reshape(-1, 2), alone, now, *(p[None] for p, _ in answers.values())])
    ranges = [_range(drawn[:, i], database[:, i]) for i in range(2)]
    note = f"{100 * explained:.0f} % of the database's variance"
    figure.update_layout(
        xaxis=axis("first direction · " + note, showticklabels=False, range=ranges[0]),
        yaxis=axis("second direction", showticklabels=False, range=ranges[1]),
        margin={"t": 44, "r": 14, "b": 8, "l": 8},
        legend={"orientation": "h", "x": 0, "y": -0.16, "yanchor": "top"},  # below: as many lines as it needs
        height=520,
    )
    return figure


def recall_curve(table: pd.DataFrame, title: str = "Recall@1 against the queries' batches") -> go.Figure:
    """Recall@1 (percent) over batch sizes, shuffled orders with their range; table: rows of `query_batches`."""
    figure = go.Figure(layout=plain_layout(440, title=heading(title)))
    for line in batch_lines(table):
        colour, name = family_colour(line.model) or TEXT, f"{line.model}, {line.label}"
        if line.order == "shuffled":
            figure.add_scatter(
                x=[*line.sizes, *reversed(line.sizes)],
                y=[*line.high, *reversed(line.low)],
                fill="toself",
                mode="lines",
                line={"width": 0},
                fillcolor=colour,
                opacity=0.18,
                hoverinfo="skip",
                showlegend=False,
            )
        figure.add_scatter(
            x=line.sizes,
            y=line.means,
            mode="lines+markers",
            name=name,
            line={"color": colour, "width": 2.5, "dash": ORDER_DASHES[line.order]},
            marker={"size": 8, "symbol": ORDER_SYMBOLS[line.order], "color": colour},
            hovertemplate=name + "<br>%{x} a batch: %{y:.1f} %<extra></extra>",
        )
    sizes = sorted(int(s) for s in table["size"].unique())
    figure.update_layout(
        xaxis=axis("queries in a batch", type="log", tickvals=sizes, ticktext=[str(s) for s in sizes]),
        yaxis=axis("Recall@1, percent"),
        margin={"t": 130, "r": 14, "b": 8, "l": 8},
    )
    return figure


def _range(drawn: np.ndarray, database: np.ndarray) -> list[float]:
    """Ends of an axis: around the query and its answers, with enough of the database to see where they lie."""
    span = max(1.5 * float(np.ptp(drawn)), 0.35 * float(np.ptp(database)))
    middle = float(drawn.min() + drawn.max()) / 2
    return [middle - span / 2, middle + span / 2]
