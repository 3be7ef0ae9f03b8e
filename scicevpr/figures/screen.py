"""Figures for the screen (plotly): what they share, and the map of matches.

Readable on light and dark pages, drawn on plain UTM axes, nothing fetched.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

TEXT = "#808080"
GRID = "rgba(128, 128, 128, 0.22)"
DATABASE = "rgba(128, 128, 128, 0.45)"
RIGHT = "#2a9d61"
WRONG = "#dc4a4a"
NEUTRAL = "#7d8590"
QUERY = "#3b82c4"
BATCH = "#e8871e"
SECOND = "#b07cc6"
FAMILIES = {"SciceVPR": RIGHT, "CricaVPR": BATCH, "Super-CricaVPR": "#8f63b8"}
LABEL_POSITIONS = ("top left", "bottom right", "top right", "bottom left")
LABEL_SPACE = 0.035
"""Matches closer than this share of the drawing get one label together."""

MAX_DOTS = 4000
"""Larger databases are drawn thinned out to at most this many dots."""


def plain_layout(height: int = 340, **more: object) -> dict:
    """Layout shared by all figures: transparent, grey text that reads on light and dark pages."""
    return {
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"color": TEXT, "size": 12, "family": "Source Sans Pro, system-ui, sans-serif"},
        "margin": {"t": 76, "r": 14, "b": 8, "l": 8},
        "height": height,
        "autosize": True,
        "legend": {"orientation": "h", "x": 0, "y": 1.0, "yanchor": "bottom"},
        **more,
    }


def heading(text: str) -> dict:
    """A figure's title, at its upper left."""
    corner = {"x": 0, "xanchor": "left", "y": 1, "yanchor": "top", "pad": {"t": 18, "l": 10}}
    return {"text": text, "font": {"size": 13}, **corner}


def axis(title: str = "", **more: object) -> dict:
    """An axis with faint lines."""
    return {"title": {"text": title}, "gridcolor": GRID, "zeroline": False, "automargin": True, **more}


def numbers(values: np.ndarray, digits: int) -> list[float]:
    """Values [N] as plotly takes them, rounded."""
    return np.asarray(values, dtype=float).round(digits).tolist()


def family_colour(title: str) -> str | None:
    """The colour of a model's family, the same in every figure; None for other people's models."""
    return next((colour for family, colour in FAMILIES.items() if title.startswith(family)), None)


# ---- the map of matches ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class MapSeries:
    """The matches of one model. utm [K, 2] metres, best first; right: True, False or None (unknown) per match.

    symbol: a plotly marker name, so that models differ by shape and not by colour alone. notes: hover text per match.
    """

    title: str
    utm: np.ndarray
    right: Sequence[bool | None]
    symbol: str
    notes: Sequence[str]


def match_map(
    database_utm: np.ndarray,
    series: Sequence[MapSeries] = (),
    query_utm: tuple[float, float] | None = None,
    radius: float = 25.0,
) -> go.Figure:
    """Draw where the query and its matches lie: metres east and north of a printed origin, equal aspect.

    database_utm: [D, 2]. series: one per model. radius: metres of the circle around the query. A query far outside the
    database is named in words instead of drawn. The view starts at the query and the matches; a button shows the whole
    database.
    """
    origin = np.floor(database_utm.min(axis=0) / 10.0) * 10.0
    extent = float(np.ptp(database_utm, axis=0).max()) + 4 * radius
    outside = query_utm is not None and distance_to_box(query_utm, database_utm) > 2 * extent
    figure = go.Figure(layout=_layout(origin))
    _add_database(figure, database_utm - origin)
    shown = [np.asarray(one.utm, dtype=float) - origin for one in series if len(one.utm)]
    if query_utm is not None and not outside:
        local = np.asarray(query_utm) - origin
        shown.append(local[None] + radius * np.array([[-1, -1], [1, 1]]))
        _add_query(figure, local, radius)
    if shown and series:
        extent = _zoom(figure, np.concatenate(shown), np.concatenate([database_utm - origin, *shown]), radius)
    for position, one in zip(LABEL_POSITIONS, series, strict=False):
        _add_matches(figure, one, origin, position, LABEL_SPACE * extent)
    if outside:
        kilometres = distance_to_box(query_utm, database_utm) / 1000.0
        figure.add_annotation(
            text=f"The query lies {kilometres:,.1f} km from this database: outside the drawing",
            x=0.5,
            y=0.5,
            xref="paper",
            yref="paper",
            showarrow=False,
            font={"size": 14, "color": WRONG},
        )
    return figure


def _zoom(figure: go.Figure, near: np.ndarray, everything: np.ndarray, radius: float) -> float:
    """Show the points near [N, 2], with a button for all points [M, 2]; returns the side of what is shown in metres."""
    views = [_ranges(points, 2 * radius) for points in (near, everything)]
    figure.update_xaxes(range=views[0][0])
    figure.update_yaxes(range=views[0][1])
    buttons = [
        {"label": words, "method": "relayout", "args": [{"xaxis.range": x, "yaxis.range": y}]}
        for words, (x, y) in zip(("Query and matches", "Whole database"), views, strict=True)
    ]
    figure.update_layout(
        updatemenus=[{
            "type": "buttons", "direction": "right", "buttons": buttons, "active": 0, "showactive": True,
            "x": 0, "xanchor": "left", "y": 0, "yanchor": "bottom", "pad": {"l": 6, "b": 6},
            "font": {"color": TEXT, "size": 12}, "bgcolor": "rgba(128, 128, 128, 0.12)", "bordercolor": GRID,
        }]
    )  # fmt: skip
    return max(views[0][0][1] - views[0][0][0], views[0][1][1] - views[0][1][0])


def _ranges(points: np.ndarray, margin: float) -> tuple[list[float], list[float]]:
    """The ranges of both axes around points [N, 2], in metres."""
    low, high = points.min(axis=0) - margin, points.max(axis=0) + margin
    return [round(float(low[0]), 1), round(float(high[0]), 1)], [round(float(low[1]), 1), round(float(high[1]), 1)]


def distance_to_box(point: tuple[float, float], positions: np.ndarray) -> float:
    """Metres from a point to the axis-parallel box around positions [N, 2]; 0 inside."""
    low, high = positions.min(axis=0), positions.max(axis=0)
    gap = np.maximum(np.maximum(low - point, np.asarray(point) - high), 0.0)
    return float(math.hypot(*gap))


def rank_labels(positions: np.ndarray, ranks: Sequence[int], closeness: float) -> list[str]:
    """One label per position [K, 2]; those within `closeness` metres of an earlier one are named there: "1, 4"."""
    groups: list[list[int]] = []
    for row in range(len(ranks)):
        near = (g for g in groups if math.dist(positions[g[0]], positions[row]) < closeness)
        group = next(near, None)
        if group is None:
            groups.append([row])
        else:
            group.append(row)
    labels = [""] * len(ranks)
    for group in groups:
        labels[group[0]] = ", ".join(str(ranks[row]) for row in group)
    return labels


def _layout(origin: np.ndarray) -> dict:
    lines = {"ticks": "outside", "tickcolor": GRID, "linecolor": GRID}
    return plain_layout(
        460,
        margin={"t": 64, "r": 12, "b": 8, "l": 8},
        dragmode="pan",
        hoverlabel={"font": {"size": 12}},
        legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "itemsizing": "constant"},
        xaxis=axis(f"metres east of {origin[0]:,.0f}", **lines),
        yaxis=axis(f"metres north of {origin[1]:,.0f}", scaleanchor="x", scaleratio=1, **lines),
    )


def _add_database(figure: go.Figure, local: np.ndarray) -> None:
    step = max(1, math.ceil(len(local) / MAX_DOTS))
    note = "" if step == 1 else f" (1 in {step} drawn)"
    figure.add_scatter(
        x=numbers(local[::step, 0], 2),
        y=numbers(local[::step, 1], 2),
        mode="markers",
        marker={"size": 5, "color": DATABASE},
        name=f"database{note}",
        hoverinfo="skip",
    )


def _add_query(figure: go.Figure, local: np.ndarray, radius: float) -> None:
    angle = np.linspace(0, 2 * np.pi, 73)
    figure.add_scatter(
        x=numbers(local[0] + radius * np.cos(angle), 2),
        y=numbers(local[1] + radius * np.sin(angle), 2),
        mode="lines",
        line={"color": QUERY, "width": 1.5, "dash": "dot"},
        fill="toself",
        fillcolor="rgba(59, 130, 196, 0.12)",
        name=f"within {radius:.0f} m",
        hoverinfo="skip",
    )
    figure.add_scatter(
        x=[round(float(local[0]), 2)],
        y=[round(float(local[1]), 2)],
        mode="markers",
        name="query",
        marker={"symbol": "star", "size": 17, "color": QUERY, "line": {"color": "white", "width": 1}},
        hovertemplate="the query<extra></extra>",
    )


def _add_matches(figure: go.Figure, series: MapSeries, origin: np.ndarray, position: str, closeness: float) -> None:
    """One trace per verdict (for its colour) and an empty grey one for the legend, where only the shape counts."""
    if len(series.utm) == 0:
        return
    local = np.asarray(series.utm) - origin
    marker = {"symbol": series.symbol, "size": 13, "line": {"width": 2.5}}
    shared = {"name": series.title, "legendgroup": series.title}
    figure.add_scatter(x=[None], y=[None], mode="markers", marker={**marker, "color": NEUTRAL}, **shared)
    for verdict, colour in ((True, RIGHT), (False, WRONG), (None, NEUTRAL)):
        rows = [row for row, value in enumerate(series.right) if value is verdict]
        if rows:
            figure.add_scatter(
                x=numbers(local[rows, 0], 2),
                y=numbers(local[rows, 1], 2),
                mode="markers+text",
                showlegend=False,
                marker={**marker, "color": colour},
                text=rank_labels(local[rows], [row + 1 for row in rows], closeness),
                textposition=position,
                textfont={"color": colour, "size": 13},
                hovertemplate="%{customdata}<extra></extra>",
                customdata=[series.notes[row] for row in rows],
                **shared,
            )
