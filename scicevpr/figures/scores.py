"""Figures for the screen (plotly) about scores: Recall@N, conditions, and training step by step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from scicevpr.figures.screen import FAMILIES, QUERY, SECOND, TEXT, axis, family_colour, heading, numbers, plain_layout

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
                x=[*ns, *reversed(ns)], y=[*numbers(curve.high, 3), *reversed(numbers(curve.low, 3))], fill="toself",
                mode="lines", line={"width": 0}, fillcolor=colour, opacity=0.15, hoverinfo="skip", showlegend=False,
                legendgroup=curve.title,
            )
        marks = [8 if n in MARKED else 0 for n in ns]
        figure.add_scatter(
            x=ns, y=numbers(curve.recall, 3), mode="lines+markers", name=curve.title, legendgroup=curve.title,
            line={"color": colour, "width": 2.5, "dash": dash},
            marker={"size": marks, "symbol": symbol, "color": colour, "line": {"width": 0}}, customdata=_limits(curve),
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
        known = [bar.low is not None for bar in bars.values()]
        above = [bar.high - bar.recall if has else 0.0 for bar, has in zip(bars.values(), known, strict=True)]
        below = [bar.recall - bar.low if has else 0.0 for bar, has in zip(bars.values(), known, strict=True)]
        words = [
            f"[{bar.low:.1f}, {bar.high:.1f}], {bar.queries} queries" if has else f"{bar.queries} queries"
            for bar, has in zip(bars.values(), known, strict=True)
        ]
        figure.add_bar(
            x=list(bars), y=values, name=name, customdata=words,
            marker={"color": colour, "pattern": {"shape": pattern, "solidity": 0.25}},
            error_y={"type": "data", "symmetric": False, "array": above, "arrayminus": below, "color": TEXT,
                     "thickness": 1.2, "width": 3},
            hovertemplate=name + "<br>%{x}: %{y:.1f} % %{customdata}<extra></extra>",
        )
    figure.update_layout(
        xaxis=axis(showgrid=False), yaxis=axis("Recall@1, percent", range=[0, 104]), showlegend=True,
        margin=MARGIN,
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
            x=list(steps), y=[round(float(value), 5) for value in values], mode="lines+markers", name=name,
            line={"color": colour, "width": 2.5, "dash": dash}, marker={"size": 5},
            hovertemplate="step %{x}: %{y:.3f}<extra>" + name.split(":")[0] + "</extra>",
        )
    figure.update_layout(
        xaxis=axis("step", rangemode="tozero"), yaxis=axis("loss", rangemode="tozero"), margin=TRAINING_MARGIN,
        showlegend=True,
    )
    return figure


def epoch_curve(epochs: Sequence[int], recall: Sequence[float], lines: Mapping[str, float], last: int) -> go.Figure:
    """Recall@1 (percent) of a student after each epoch.

    Args:
        epochs, recall: [E]; epoch 0 is the untrained student. lines: other models' values, drawn level. last: how many
            epochs there will be.
    """
    figure = go.Figure(layout=plain_layout(360, title=heading("Recall@1 on the half that nothing learns from")))
    for (name, value), dash in zip(lines.items(), ("dash", "dot", "dashdot"), strict=False):
        figure.add_scatter(
            x=[0, last], y=[value, value], mode="lines", name=name,
            line={"color": family_colour(name) or TEXT, "dash": dash},
            hovertemplate=name + ": %{y:.1f} %<extra></extra>",
        )
    figure.add_scatter(
        x=list(epochs), y=list(recall), mode="lines+markers", name="student", marker={"size": 9},
        line={"color": FAMILIES["SciceVPR"], "width": 2.5},
        hovertemplate="after epoch %{x}: %{y:.1f} %<extra>student</extra>",
    )
    figure.update_layout(
        xaxis=axis("epochs", dtick=1, range=[-0.2, last + 0.2]), yaxis=axis("Recall@1, percent"),
        margin=TRAINING_MARGIN, showlegend=True,
    )
    return figure
