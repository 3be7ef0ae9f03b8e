"""Figures for the screen (plotly) about the inside of a model: bars, and maps as numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from scicevpr.figures.screen import NEUTRAL, QUERY, SECOND, axis, heading, plain_layout


def share_bars(labels: Sequence[str], series: dict[str, Sequence[float]], title: str) -> go.Figure:
    """Horizontal bars of shares in percent, one colour a series."""
    figure = go.Figure(layout=plain_layout(300, title=heading(title), barmode="group"))
    for (name, values), colour in zip(series.items(), (QUERY, NEUTRAL), strict=False):
        percent = [100 * float(v) for v in values]
        figure.add_bar(
            y=list(labels), x=percent, orientation="h", name=name, marker={"color": colour},
            text=[f"{p:.0f} %" if p >= 1 else f"{p:.2g} %" for p in percent], textposition="auto",
            hovertemplate="%{y}: %{x:.3g} %<extra></extra>",
        )
    figure.update_layout(xaxis=axis("percent"), yaxis=axis(autorange="reversed"), showlegend=len(series) > 1)
    return figure


def value_grid(values: np.ndarray, title: str, cell: tuple[int, int] | None = None) -> go.Figure:
    """A map [rows, columns] as numbers under the mouse."""
    figure = go.Figure(layout=plain_layout(360, title=heading(title)))
    figure.add_heatmap(
        z=np.asarray(values, dtype=float).tolist(), colorscale="Inferno", colorbar={"thickness": 12, "outlinewidth": 0},
        hovertemplate="row %{y}, column %{x}: %{z:.4g}<extra></extra>",
    )
    if cell is not None:
        figure.add_scatter(
            x=[cell[1]], y=[cell[0]], mode="markers", hoverinfo="skip", showlegend=False,
            marker={"symbol": "square-open", "size": 16, "color": "white", "line": {"width": 2}},
        )
    figure.update_layout(
        xaxis=axis("column", showgrid=False, constrain="domain", range=[-0.5, values.shape[1] - 0.5]),
        yaxis=axis("row", showgrid=False, scaleanchor="x", constrain="domain", range=[values.shape[0] - 0.5, -0.5]),
    )
    return figure


def turning_bars(cosines: np.ndarray, regions: Sequence[str]) -> go.Figure:
    """Cosine of each region vector before and after the encoder."""
    title = "Cosine before and after the encoder, region by region"
    figure = go.Figure(layout=plain_layout(360, title=heading(title)))
    figure.add_bar(
        y=list(regions), x=np.asarray(cosines, dtype=float).tolist(), orientation="h", marker={"color": QUERY},
        hovertemplate="%{y}: %{x:.3f}<extra></extra>",
    )
    figure.update_layout(xaxis=axis("cosine"), yaxis=axis(autorange="reversed"))
    return figure


def term_bars(
    first: np.ndarray, second: np.ndarray | None, regions: Sequence[str], names: Sequence[str], decided: int | None
) -> go.Figure:
    """The 14 terms of one or two candidates; the region that decided between them is named in the title."""
    title = "Similarity = sum of 14 region terms"
    if decided is not None:
        title += f"<br>“{regions[decided]}” speaks most for {names[0]}"
    figure = go.Figure(layout=plain_layout(430, title=heading(title), barmode="group"))
    for values, name, colour in zip((first, second), names, (QUERY, SECOND), strict=False):
        if values is not None:
            figure.add_bar(
                y=list(regions), x=np.asarray(values, dtype=float).tolist(), orientation="h", name=name,
                marker={"color": colour}, hovertemplate="%{y}: %{x:.4f}<extra>" + name + "</extra>",
            )
    if decided is not None:
        figure.add_shape(
            type="rect", xref="paper", x0=0, x1=1, y0=decided - 0.5, y1=decided + 0.5, line={"width": 0},
            fillcolor="rgba(128, 128, 128, 0.16)", layer="below",
        )
    figure.update_layout(xaxis=axis("part of the similarity"), yaxis=axis(autorange="reversed"))
    return figure
