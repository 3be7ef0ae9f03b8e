"""Figures for the screen (plotly) about stability: where a descriptor goes with its batch, Recall over batches."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from scicevpr.evaluation.batch_effects import batch_lines
from scicevpr.figures.screen import (
    BATCH,
    DATABASE,
    QUERY,
    RIGHT,
    TEXT,
    WRONG,
    axis,
    family_colour,
    heading,
    numbers,
    plain_layout,
)

DASHES = {"any": "solid", "file": "solid", "shuffled": "dot", "place": "dash"}
SYMBOLS = {"any": "circle", "file": "circle", "shuffled": "diamond", "place": "square"}


def projection(
    database: np.ndarray,
    cloud: np.ndarray,
    alone: np.ndarray,
    now: np.ndarray,
    answers: dict[str, tuple[np.ndarray, bool | None]],
    title: str,
    explained: float,
) -> go.Figure:
    """Descriptors of one model on a plane.

    The axes show the neighbourhood of the query; a double click shows the whole database.

    Args:
        database, cloud, alone, now: points [n, 2]: the database, the query in random batches, alone, as it is now.
        answers: name -> (point [2], right) of the photos answered first. explained: share of variance of the plane.
    """
    figure = go.Figure(layout=plain_layout(380, title=heading(title)))
    figure.add_scatter(
        x=numbers(database[:, 0], 5), y=numbers(database[:, 1], 5), mode="markers", name="database",
        marker={"size": 4, "color": DATABASE}, hoverinfo="skip",
    )
    if len(cloud):
        figure.add_scatter(
            x=numbers(cloud[:, 0], 5), y=numbers(cloud[:, 1], 5), mode="markers",
            name=f"in {len(cloud)} random batches", hoverinfo="skip",
            marker={"size": 6, "color": BATCH, "opacity": 0.55},
        )
    figure.add_scatter(
        x=[*numbers(alone[:, 0], 5), *numbers(now[:, 0], 5)], y=[*numbers(alone[:, 1], 5), *numbers(now[:, 1], 5)],
        mode="lines", line={"color": QUERY, "width": 2}, showlegend=False, hoverinfo="skip",
    )
    for points, name, symbol in ((alone, "query alone", "circle"), (now, "query in this batch", "star")):
        figure.add_scatter(
            x=numbers(points[:, 0], 5), y=numbers(points[:, 1], 5), mode="markers", name=name,
            hovertemplate=name + "<extra></extra>",
            marker={"size": 15 if symbol == "star" else 11, "symbol": symbol, "color": QUERY,
                    "line": {"color": "white", "width": 1}},
        )
    for name, (point, right) in answers.items():
        colour = {True: RIGHT, False: WRONG, None: TEXT}[right]
        figure.add_scatter(
            x=[float(point[0])], y=[float(point[1])], mode="markers", name=name,
            hovertemplate=name + "<extra></extra>",
            marker={"size": 13, "symbol": "square-open", "color": colour, "line": {"width": 3}},
        )
    drawn = np.concatenate([cloud.reshape(-1, 2), alone, now, *(p[None] for p, _ in answers.values())])
    ranges = [_range(drawn[:, i], database[:, i]) for i in range(2)]
    note = f"{100 * explained:.0f} % of the database's variance"
    figure.update_layout(
        xaxis=axis("first direction · " + note, showticklabels=False, range=ranges[0]),
        yaxis=axis("second direction", showticklabels=False, range=ranges[1]),
        margin={"t": 118, "r": 14, "b": 8, "l": 8},
        height=440,
    )
    return figure


def recall_curve(table: pd.DataFrame, title: str = "Recall@1 against the queries' batches") -> go.Figure:
    """Recall@1 (percent) over batch sizes: the lines of `batch_lines`, shuffled orders with their range.

    table: rows of `query_batches`, of several models one below the other.
    """
    figure = go.Figure(layout=plain_layout(440, title=heading(title)))
    for line in batch_lines(table):
        colour, name = family_colour(line.model) or TEXT, f"{line.model}, {line.label}"
        if line.order == "shuffled":
            figure.add_scatter(
                x=[*line.sizes, *reversed(line.sizes)], y=[*line.high, *reversed(line.low)], fill="toself",
                mode="lines", line={"width": 0}, fillcolor=colour, opacity=0.18, hoverinfo="skip", showlegend=False,
            )
        figure.add_scatter(
            x=line.sizes, y=line.means, mode="lines+markers", name=name,
            line={"color": colour, "width": 2.5, "dash": DASHES[line.order]},
            marker={"size": 8, "symbol": SYMBOLS[line.order], "color": colour},
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
