"""Drawings of results: plotly and overlays for the screen. Knows arrays and results, neither gradio nor models."""

from __future__ import annotations

from .screen import MapSeries, match_map

__all__ = ["MapSeries", "match_map"]
