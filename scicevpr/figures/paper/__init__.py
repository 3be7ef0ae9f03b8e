"""Figures for paper: all by name, and the one function that draws them.

Vector PDF and SVG, PNG, the plotted numbers as CSV, and a caption with the whole protocol. Drawn with matplotlib's
objects, never with pyplot, so that several visitors can draw at once. The same data and the same style give the same
bytes. A figure stands in one file, with the numbers it shows (`..._data`), its drawing, its table and its caption.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from scicevpr.datasets.tables import cell_text
from scicevpr.errors import UsageError
from scicevpr.figures.paper import batches, maps, retrieval, scores
from scicevpr.figures.paper.style import Style, parse_labels, settings

__all__ = ["FIGURES", "FORMATS", "Drawing", "FigureKind", "Style", "draw", "figure_kind", "parse_labels"]

FORMATS = ("pdf", "svg", "png", "csv", "tex", "txt")
"""What a drawing can be written as: txt is the caption, tex the LaTeX table."""
DECIMALS = 6


@dataclass(frozen=True)
class FigureKind:
    """One figure. needs: "photo" (and a database), "queries" (a whole data set) or "results" (of `evaluate --json`).

    panels: key and words of its parts that can be left out.
    """

    name: str
    title: str
    sentence: str
    needs: str
    paint: Callable[[Figure, Any, Style, bool], None]
    table: Callable[[Any], pd.DataFrame]
    caption: Callable[[Any, Style], str]
    latex: Callable[[Any, Style], str] | None = None
    panels: tuple[tuple[str, str], ...] = ()


_ALL = (
    FigureKind(
        "figure-1",
        "Figure 1: queries alone and in pairs",
        "The same queries alone and in a batch of two, with what each model answers first.",
        "queries",
        retrieval.paint_pairs,
        retrieval.pair_table,
        retrieval.pair_caption,
    ),
    FigureKind(
        "figure-2",
        "Figure 2: Recall@1 against batch size and order",
        "Recall@1 of each model over the number of queries that share a batch, in several orders.",
        "queries",
        batches.paint_curves,
        batches.curve_table,
        batches.curve_caption,
        panels=batches.CURVE_PANELS,
    ),
    FigureKind(
        "figure-4",
        "Figure 4: the 14 regions of a pair",
        "How similar each region of a query and a database photo is, for the models side by side.",
        "photo",
        maps.paint_regions,
        maps.region_table,
        maps.region_caption,
    ),
    FigureKind(
        "fusion",
        "Maps of the fusion",
        "What each tapped layer adds to the fused map of a photo, and what the token mixers make of it.",
        "photo",
        maps.paint_fusion,
        maps.fusion_table,
        maps.fusion_caption,
        panels=maps.FUSION_PANELS,
    ),
    FigureKind(
        "attention",
        "Attention between the photos of a batch",
        "Who reads whom in a batch of CricaVPR, and which region of the query was rewritten by whom.",
        "photo",
        batches.paint_attention,
        batches.attention_table,
        batches.attention_caption,
        panels=batches.ATTENTION_PANELS,
    ),
    FigureKind(
        "strip",
        "Retrieval strip",
        "A query and the best answers of each model, framed right and wrong, with similarity and metres.",
        "photo",
        retrieval.paint_strip,
        retrieval.strip_table,
        retrieval.strip_caption,
    ),
    FigureKind(
        "recall",
        "Recall@N curves",
        "Recall over N with intervals, from results that “scicevpr evaluate --json” has written.",
        "results",
        scores.paint_recall,
        scores.recall_table,
        scores.recall_caption,
    ),
    FigureKind(
        "conditions",
        "Bars per condition",
        "Recall@N of every weather, hour or season with intervals, from written results.",
        "results",
        scores.paint_conditions,
        scores.condition_table,
        scores.condition_caption,
    ),
    FigureKind(
        "table",
        "Benchmark table",
        "Recall@N and mean reciprocal rank as a table, also for LaTeX, from written results.",
        "results",
        scores.paint_table,
        scores.result_table,
        scores.table_caption,
        scores.table_latex,
        scores.TABLE_PANELS,
    ),
)
FIGURES: dict[str, FigureKind] = {kind.name: kind for kind in _ALL}


@dataclass(frozen=True)
class Drawing:
    """A figure ready to be written. Every format is drawn afresh, so the same choices always give the same bytes."""

    kind: FigureKind
    data: Any
    style: Style

    @property
    def formats(self) -> tuple[str, ...]:
        """The formats that this figure has."""
        return tuple(name for name in FORMATS if name != "tex" or self.kind.latex is not None)

    @property
    def caption(self) -> str:
        """What the figure shows, with the whole protocol."""
        return self.kind.caption(self.data, self.style)

    @property
    def table(self) -> pd.DataFrame:
        """The plotted numbers, rounded to six decimals."""
        return self.kind.table(self.data).round(DECIMALS)

    def render(self, form: str, dpi: int | None = None) -> bytes:
        """The content of a file. form: one of FORMATS that this figure has, else UsageError. dpi: of a PNG, instead of
        the style's (for a preview)."""
        if form not in self.formats:
            raise UsageError(f"{self.kind.title} can be written as {', '.join(self.formats)}, not as {form!r}.")
        if form == "csv":
            return self.table.map(cell_text).to_csv(index=False, lineterminator="\n").encode()
        if form == "txt":
            return (self.caption + "\n").encode()
        if form == "tex" and self.kind.latex is not None:
            return self.kind.latex(self.data, self.style).encode()
        return self._picture(form, dpi)

    def write(self, path: Path | str) -> Path:
        """Write a file in the format that its ending says."""
        path = Path(path)
        path.write_bytes(self.render(path.suffix.lower().removeprefix(".")))
        return path

    def figure(self, vector: bool = False) -> Figure:
        """The figure itself. Call it within `settings(style)`."""
        figure = Figure(figsize=(self.style.inches, 2.0))
        self.kind.paint(figure, self.data, self.style, vector)
        return figure

    def _picture(self, form: str, dpi: int | None) -> bytes:
        metadata = {
            "pdf": {"Title": self.kind.title, "Creator": "SciceVPR Studio", "CreationDate": None},
            "svg": {"Title": self.kind.title, "Creator": "SciceVPR Studio", "Date": None},
            "png": {"Title": self.kind.title},
        }[form]
        file = io.BytesIO()
        with settings(self.style):
            figure = self.figure(vector=form != "png")
            figure.savefig(file, format=form, dpi=dpi or self.style.dpi, metadata=metadata)
        return file.getvalue()


def draw(name: str, data: Any, style: Style | None = None) -> Drawing:
    """A figure by name from its data, in a style. UsageError: no such figure, or a panel that it does not have."""
    kind = figure_kind(name)
    style = style or Style()
    if style.panels:
        style.chosen([key for key, _ in kind.panels])
    return Drawing(kind, data, style)


def figure_kind(name: str) -> FigureKind:
    """A figure's entry by name. UsageError names those that exist."""
    if name not in FIGURES:
        raise UsageError(f"There is no figure {name!r}. Choose one of: {', '.join(FIGURES)}.")
    return FIGURES[name]
