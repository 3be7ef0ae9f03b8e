"""Describing fast: folded models, precision modes and their measured loss, two models in one pass."""

from __future__ import annotations

from scicevpr.speed.choice import Choice, best_mode
from scicevpr.speed.folding import FoldedModel, folded
from scicevpr.speed.precision import MODES, obstacle, precision_words, runner
from scicevpr.speed.shared import describe_many

__all__ = [
    "MODES",
    "Choice",
    "FoldedModel",
    "best_mode",
    "describe_many",
    "folded",
    "obstacle",
    "precision_words",
    "runner",
]
