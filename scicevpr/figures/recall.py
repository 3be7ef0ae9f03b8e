"""Figures for the screen (plotly) about benchmarks: Recall@N of several models, and Recall@1 condition by condition."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from scicevpr.figures.inside import axis, heading, plain_layout
from scicevpr.figures.screen import QUERY, TEXT
from scicevpr.figures.stability import LINE_COLOURS

OTHER_COLOURS = (QUERY, TEXT, "#c05a8a")
DASHES = ("solid", "dash", "dot", "dashdot")
SYMBOLS = ("circle", "square", "diamond", "triangle-up")
PATTERNS = ("", "/", ".", "x")
TICKS = (1, 2, 3, 5, 10, 20, 30, 50, 100)
MARKED = (1, 5, 10, 20, 50, 100)


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
                x=[*ns, *reversed(ns)], y=[*_list(curve.high), *reversed(_list(curve.low))], fill="toself",
                mode="lines", line={"width": 0}, fillcolor=colour, opacity=0.15, hoverinfo="skip", showlegend=False,
                legendgroup=curve.title,
            )  # fmt: skip
        marks = [8 if n in MARKED else 0 for n in ns]
        figure.add_scatter(
            x=ns, y=_list(curve.recall), mode="lines+markers", name=curve.title, legendgroup=curve.title,
            line={"color": colour, "width": 2.5, "dash": dash},
            marker={"size": marks, "symbol": symbol, "color": colour, "line": {"width": 0}}, customdata=_limits(curve),
            hovertemplate=curve.title + "<br>Recall@%{x}: %{y:.1f} % %{customdata}<extra></extra>",
        )  # fmt: skip
    ticks = [tick for tick in TICKS if any(tick <= curve.ns.max() for curve in curves)]
    figure.update_layout(
        xaxis=axis("N: how many answers are looked at", type="log", tickvals=ticks, ticktext=[str(t) for t in ticks]),
        yaxis=axis("Recall@N, percent"),
        margin={"t": 96, "r": 14, "b": 8, "l": 8},
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
        )  # fmt: skip
    figure.update_layout(
        xaxis=axis(showgrid=False), yaxis=axis("Recall@1, percent", range=[0, 104]), showlegend=True,
        margin={"t": 96, "r": 14, "b": 8, "l": 8},
    )  # fmt: skip
    return figure


def _looks(titles: Sequence[str]) -> list[tuple[str, str, str, str]]:
    """Colour, dash, marker and pattern of every model; a model keeps its colour from one figure to the next."""
    spare, taken, looks = iter(OTHER_COLOURS), set(), []
    for number, title in enumerate(titles):
        colour = next((c for name, c in LINE_COLOURS.items() if title.startswith(name)), None)
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


def _list(values: np.ndarray) -> list[float]:
    return np.asarray(values, dtype=float).round(3).tolist()
