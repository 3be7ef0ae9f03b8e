"""From models, photos and data sets to what a figure for paper is made of, each with its protocol in sentences.

The command line and the app both come through here, so that both draw the same figure byte for byte.
"""

from __future__ import annotations

from scicevpr.figures.paper.from_experiments import curve_data, pair_data
from scicevpr.figures.paper.from_parts import Described, Subject, subject_of
from scicevpr.figures.paper.from_photos import (
    MOST_ANSWERS,
    MOST_COMPANY,
    attention_data,
    best_match,
    fusion_data,
    region_data,
    strip_data,
)
from scicevpr.figures.paper.from_results import StoredResult, read_results, result_data

__all__ = [
    "MOST_ANSWERS",
    "MOST_COMPANY",
    "Described",
    "StoredResult",
    "Subject",
    "attention_data",
    "best_match",
    "curve_data",
    "fusion_data",
    "pair_data",
    "read_results",
    "region_data",
    "result_data",
    "strip_data",
    "subject_of",
]
