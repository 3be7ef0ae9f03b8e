"""Figures for the screen (plotly) about stability: where a descriptor goes with its company, Recall over batches."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from scicevpr.figures.inside import axis, heading, plain_layout
from scicevpr.figures.screen import DATABASE, QUERY, RIGHT, TEXT, WRONG

BATCH = "#e8871e"
LINE_COLOURS = {"SciceVPR": RIGHT, "CricaVPR": BATCH, "Super-CricaVPR": "#8f63b8"}
ORDER_DASH = {"file": "solid", "shuffled": "dot", "place": "dash"}
ORDER_SYMBOL = {"file": "circle", "shuffled": "diamond", "place": "square"}
ORDER_WORDS = {"file": "file order", "shuffled": "shuffled", "place": "grouped by place"}


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
        database, cloud, alone, now: points [n, 2]: the database, the query in random companies, alone, as it is now.
        answers: name -> (point [2], right) of the photos answered first. explained: share of variance of the plane.
    """
    figure = go.Figure(layout=plain_layout(380, title=heading(title)))
    figure.add_scatter(
        x=_list(database[:, 0]), y=_list(database[:, 1]), mode="markers", name="database",
        marker={"size": 4, "color": DATABASE}, hoverinfo="skip",
    )  # fmt: skip
    if len(cloud):
        figure.add_scatter(
            x=_list(cloud[:, 0]), y=_list(cloud[:, 1]), mode="markers", name=f"in {len(cloud)} random companies",
            marker={"size": 6, "color": BATCH, "opacity": 0.55}, hoverinfo="skip",
        )  # fmt: skip
    figure.add_scatter(
        x=[*_list(alone[:, 0]), *_list(now[:, 0])], y=[*_list(alone[:, 1]), *_list(now[:, 1])], mode="lines",
        line={"color": QUERY, "width": 2}, showlegend=False, hoverinfo="skip",
    )  # fmt: skip
    for points, name, symbol in ((alone, "query alone", "circle"), (now, "query in this company", "star")):
        figure.add_scatter(
            x=_list(points[:, 0]), y=_list(points[:, 1]), mode="markers", name=name,
            hovertemplate=name + "<extra></extra>",
            marker={"size": 15 if symbol == "star" else 11, "symbol": symbol, "color": QUERY,
                    "line": {"color": "white", "width": 1}},
        )  # fmt: skip
    for name, (point, right) in answers.items():
        colour = {True: RIGHT, False: WRONG, None: TEXT}[right]
        figure.add_scatter(
            x=[float(point[0])], y=[float(point[1])], mode="markers", name=name,
            hovertemplate=name + "<extra></extra>",
            marker={"size": 13, "symbol": "square-open", "color": colour, "line": {"width": 3}},
        )  # fmt: skip
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
    """Recall@1 (percent) over batch sizes; one line per model and order, shuffled orders with their range.

    table: rows of :func:`scicevpr.evaluation.batch_effects.query_batches`, of several models one below the other. A model
    whose rows all agree is drawn as one line.
    """
    figure = go.Figure(layout=plain_layout(440, title=heading(title)))
    for model in table["model"].unique():
        rows = table[table["model"] == model]
        colour = next((c for name, c in LINE_COLOURS.items() if model.startswith(name)), TEXT)
        if rows["recall_1"].nunique() == 1 and rows["flips"].sum() == 0 and len(rows) > 1:
            sizes = sorted(rows["size"].unique())
            _line(figure, sizes, [float(rows["recall_1"].iloc[0])] * len(sizes), f"{model}, any batch", colour, "file")
            continue
        alone = rows[rows["size"] == 1]
        for order in ("file", "shuffled", "place"):
            own = rows[(rows["order"] == order) & (rows["size"] > 1)]
            if own.empty:
                continue
            both = pd.concat([alone, own])
            groups = both.groupby("size")["recall_1"]
            sizes, means = list(groups.mean().index), groups.mean().tolist()
            if order == "shuffled":
                low, high = groups.min().tolist(), groups.max().tolist()
                figure.add_scatter(
                    x=[*sizes, *reversed(sizes)], y=[*high, *reversed(low)], fill="toself", mode="lines",
                    line={"width": 0}, fillcolor=colour, opacity=0.18, hoverinfo="skip", showlegend=False,
                )  # fmt: skip
            _line(figure, sizes, means, f"{model}, {ORDER_WORDS[order]}", colour, order)
    sizes = sorted(int(s) for s in table["size"].unique())
    figure.update_layout(
        xaxis=axis("queries in a batch", type="log", tickvals=sizes, ticktext=[str(s) for s in sizes]),
        yaxis=axis("Recall@1, percent"),
        margin={"t": 130, "r": 14, "b": 8, "l": 8},
    )
    return figure


def _line(figure: go.Figure, sizes: Sequence[int], values: Sequence[float], name: str, colour: str, order: str) -> None:
    figure.add_scatter(
        x=[int(s) for s in sizes], y=[float(v) for v in values], mode="lines+markers", name=name,
        line={"color": colour, "width": 2.5, "dash": ORDER_DASH[order]},
        marker={"size": 8, "symbol": ORDER_SYMBOL[order], "color": colour},
        hovertemplate=name + "<br>%{x} a batch: %{y:.1f} %<extra></extra>",
    )  # fmt: skip


def _range(drawn: np.ndarray, database: np.ndarray) -> list[float]:
    """Ends of an axis: around the query and its answers, with enough of the database to see where they lie."""
    span = max(1.5 * float(np.ptp(drawn)), 0.35 * float(np.ptp(database)))
    middle = float(drawn.min() + drawn.max()) / 2
    return [middle - span / 2, middle + span / 2]


def _list(values: np.ndarray) -> list[float]:
    return np.asarray(values, dtype=float).round(5).tolist()
