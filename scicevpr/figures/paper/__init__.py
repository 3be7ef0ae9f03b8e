"""Figures for paper: vector PDF and SVG, PNG, the plotted numbers as CSV, and a caption with the whole protocol.

Drawn with matplotlib's objects, never with pyplot, so that several visitors can draw at once. The same data and the
same style give the same bytes.
"""

from __future__ import annotations

from scicevpr.figures.paper.catalogue import FIGURES, FORMATS, Drawing, FigureKind, draw, figure_kind
from scicevpr.figures.paper.style import Style, parse_labels

__all__ = ["FIGURES", "FORMATS", "Drawing", "FigureKind", "Style", "draw", "figure_kind", "parse_labels"]
