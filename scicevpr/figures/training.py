"""Figures for the screen (plotly) about training: losses step by step, Recall@1 epoch by epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from scicevpr.figures.inside import SECOND, axis, heading, plain_layout
from scicevpr.figures.screen import QUERY, TEXT
from scicevpr.figures.stability import LINE_COLOURS

MARGIN = {"t": 92, "r": 14, "b": 8, "l": 8}


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
        )  # fmt: skip
    figure.update_layout(
        xaxis=axis("step", rangemode="tozero"), yaxis=axis("loss", rangemode="tozero"), margin=MARGIN, showlegend=True
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
            x=[0, last], y=[value, value], mode="lines", name=name, line={"color": _colour(name), "dash": dash},
            hovertemplate=name + ": %{y:.1f} %<extra></extra>",
        )  # fmt: skip
    figure.add_scatter(
        x=list(epochs), y=list(recall), mode="lines+markers", name="student", marker={"size": 9},
        line={"color": LINE_COLOURS["SciceVPR"], "width": 2.5},
        hovertemplate="after epoch %{x}: %{y:.1f} %<extra>student</extra>",
    )  # fmt: skip
    figure.update_layout(
        xaxis=axis("epochs", dtick=1, range=[-0.2, last + 0.2]), yaxis=axis("Recall@1, percent"), margin=MARGIN,
        showlegend=True,
    )  # fmt: skip
    return figure


def _colour(name: str) -> str:
    return next((colour for start, colour in LINE_COLOURS.items() if name.startswith(start)), TEXT)
