"""Describing fast: folded models, precision modes and their measured loss, a pass that models share."""

from __future__ import annotations

from scicevpr.speed.choice import Choice, best_mode
from scicevpr.speed.folding import FoldedModel, folded
from scicevpr.speed.precision import MODES, obstacle, precision_words, runner
from scicevpr.speed.shared import SharedPasses

__all__ = [
    "MODES",
    "Choice",
    "FoldedModel",
    "SharedPasses",
    "best_mode",
    "folded",
    "obstacle",
    "precision_words",
    "runner",
]
