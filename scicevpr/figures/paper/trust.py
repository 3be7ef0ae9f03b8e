"""Figures of trust: precision over recall, reliability of probabilities, risk over coverage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from scicevpr.evaluation.precision_recall import PRResult
from scicevpr.evaluation.report import latex_text
from scicevpr.figures.paper import FigureKind
from scicevpr.figures.paper.scores import LINE_STYLES
from scicevpr.figures.paper.sheet import add_legend
from scicevpr.figures.paper.style import Style

POINTS = 2000  # of a curve that are drawn at most


def paint_curves(figure: Figure, data: Sequence[PRResult], style: Style, vector: bool) -> None:
    """Precision over recall of all queries, a panel for single-best and one for multi-match."""
    matchings = list(data[0].curves)
    plots = figure.subplots(1, len(matchings), squeeze=False)[0]
    colours, labels = style.colours([result.title for result in data]), []
    for number, result in enumerate(data):
        labels.append(style.name(result.title))
        for plot, matching in zip(plots, matchings, strict=True):
            curve = result.curves[matching]["all"]
            step = -(-len(curve.recall) // POINTS)
            recall, precision = (
                [start, *values[::step].tolist(), float(values[-1])]
                for start, values in ((0.0, curve.recall), (1.0, curve.precision))
            )
            plot.plot(
                recall,
                precision,
                color=colours[result.title],
                label=labels[-1],
                linestyle=LINE_STYLES[number % len(LINE_STYLES)],
            )
    words = {"single": "best answer to each query", "multi": "every pair"}
    for number, (plot, matching) in enumerate(zip(plots, matchings, strict=True)):
        plot.set_title(f"{style.letter(number)}  {words[matching]}".strip(), loc="left")
        plot.set_xlabel("recall")
        plot.set_ylabel("precision" if not number else "")
        plot.set_xlim(0, 1)
        plot.set_ylim(0, 1.02)
    add_legend(figure, plots[0], labels, style, 2.7 if style.double else 2.2)


def curve_table(data: Sequence[PRResult]) -> pd.DataFrame:
    """The scores of every model, matching and condition with their intervals."""
    return pd.DataFrame([row for result in data for row in result.rows()])


def curve_caption(data: Sequence[PRResult], style: Style) -> str:
    """What the curves show."""
    soft = data[0].soft_radius
    ignored = f" Pairs within {soft:g} m that are not right are ignored." if soft is not None else ""
    return (
        "Precision over recall for a threshold on the similarity: of the best answer to each query, and of every pair "
        f"of a query and a database photo.{ignored} Scores: average precision, area, largest F1, recall at 100 % "
        "precision, extended precision, with 95 % intervals (bootstrap over places)."
    )


def curve_latex(data: Sequence[PRResult], style: Style) -> str:
    """The scores of all queries for LaTeX (package booktabs), the best of each column bold."""
    scores = list(data[0].curves["single"]["all"].scores)
    short = {
        "average precision": "AP",
        "area": "AUC",
        "max F1": "max F1",
        "recall at 100 % precision": "R@100P",
        "extended precision": "EP",
    }
    lines = [
        r"\begin{table}[t]",
        r"\centering",
        rf"\caption{{{latex_text(curve_caption(data, style))}}}",
        r"\label{tab:precision-recall}",
        rf"\begin{{tabular}}{{ll{'r' * len(scores)}}}",
        r"\toprule",
        " & ".join(["Model", "Matches", *(short[score] for score in scores)]) + r" \\",
    ]
    for matching in data[0].curves:
        lines.append(r"\midrule")
        found = [result.curves[matching]["all"] for result in data]
        best = {score: max(round(curve.scores[score], 3) for curve in found) for score in scores}
        for result, curve in zip(data, found, strict=True):
            cells = []
            for score in scores:
                text = f"{curve.scores[score]:.3f}"
                text = rf"\textbf{{{text}}}" if len(data) > 1 and round(curve.scores[score], 3) == best[score] else text
                limits = curve.intervals.get(score)
                cells.append(text + (rf" {{\scriptsize [{limits[0]:.3f}, {limits[1]:.3f}]}}" if limits else ""))
            lines.append(" & ".join([latex_text(style.name(result.title)), matching, *cells]) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}"]) + "\n"


PRECISION_RECALL = FigureKind(
    "precision-recall",
    "Precision and recall",
    "Precision over recall for a threshold on the similarity.",
    "results",
    paint_curves,
    curve_table,
    curve_caption,
    curve_latex,
)


# ---- reliability, risk -----------------------------------------------------------------------------------------------


def paint_reliability(figure: Figure, data: Sequence[dict[str, Any]], style: Style, vector: bool) -> None:
    """How often answers are right over the probability that was given, and risk over coverage."""
    plots = figure.subplots(1, 2)
    titles = [part["title"] for part in data]
    colours, labels = style.colours(titles), []
    plots[0].plot([0, 1], [0, 1], color="#999999", linewidth=0.7)
    for number, part in enumerate(data):
        labels.append(style.name(part["title"]))
        line = {"color": colours[part["title"]], "linestyle": LINE_STYLES[number % len(LINE_STYLES)]}
        bins = [row for row in part["reliability"] if row["answers"]]
        plots[0].plot(
            [row["probability"] for row in bins], [row["right"] for row in bins], marker="o", label=labels[-1], **line
        )
        curve = part["risk coverage"]
        plots[1].plot([100 * value for value in curve["coverage"]], [100 * value for value in curve["risk"]], **line)
    words = (("probability given", "share that is right"), ("answers accepted (%)", "wrong among them (%)"))
    for number, (plot, (across, up)) in enumerate(zip(plots, words, strict=True)):
        plot.set_xlabel(across)
        plot.set_ylabel(up)
        plot.set_title(style.letter(number), loc="left")
    plots[0].set_xlim(0, 1)
    plots[0].set_ylim(0, 1.02)
    plots[1].set_xlim(0, 100)
    plots[1].set_ylim(bottom=0)
    add_legend(figure, plots[0], labels, style, 2.7 if style.double else 2.2)


def reliability_table(data: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """The bins of the reliability diagram."""
    return pd.DataFrame([{"model": part["title"], **row} for part in data for row in part["reliability"]])


def reliability_caption(data: Sequence[dict[str, Any]], style: Style) -> str:
    """What the curves show."""
    errors = "; ".join(f"{style.name(part['title'])} {100 * part['expected calibration error']:.1f}" for part in data)
    return (
        "Share of first answers that are right, in ten bins of the probability that was given for it, and the share of "
        f"wrong ones among the answers accepted, most certain first. Expected calibration error in points: {errors}."
    )


RELIABILITY = FigureKind(
    "reliability",
    "Reliability of trust",
    "How often answers are right, over the probability given.",
    "results",
    paint_reliability,
    reliability_table,
    reliability_caption,
)
