"""What the figures for paper are made of: plain records, whose makers stand in scicevpr.figures.paper.sources."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from scicevpr.datasets import parse_name
from scicevpr.models.regions import Region


@dataclass(frozen=True)
class CurveData:
    """Figure 2 of the paper. table: rows of :func:`scicevpr.evaluation.batch_effects.query_batches` of several models.

    queries: how many there are. protocol (here and below): sentences for the caption.
    """

    table: pd.DataFrame
    queries: int
    protocol: str


@dataclass(frozen=True)
class PairData:
    """Figure 1 of the paper. table: rows of :func:`scicevpr.figures.paper.export.figure_1` of several models.

    chosen: query rows, two a pair. queries, answers: photos by row (None: not here). names: of both, by row.
    """

    table: pd.DataFrame
    chosen: tuple[int, ...]
    queries: dict[int, Image.Image | None]
    answers: dict[int, Image.Image | None]
    query_names: dict[int, str]
    answer_names: dict[int, str]
    statistics: dict[str, float]
    searched_for: str
    protocol: str


@dataclass(frozen=True)
class RegionScores:
    """One model's view of a pair of photos. cosines, terms [14]: of each region part, and their part of the sum."""

    title: str
    names: tuple[str, ...]
    cosines: np.ndarray
    terms: np.ndarray

    @property
    def similarity(self) -> float:
        """Similarity of the two photos."""
        return float(self.terms.sum())


@dataclass(frozen=True)
class RegionData:
    """Figure 4 of the paper: the 14 regions on a pair of photos, for several models. verdict: words about the pair."""

    query: Image.Image
    match: Image.Image
    query_name: str
    match_name: str
    verdict: str
    regions: tuple[Region, ...]
    models: tuple[RegionScores, ...]
    protocol: str


@dataclass(frozen=True)
class MapStep:
    """One map of the model's inside. group: the panel it belongs to. values [rows, columns]. share: of the energy."""

    key: str
    label: str
    group: str
    values: np.ndarray
    share: float | None = None


@dataclass(frozen=True)
class FusionData:
    """The maps of the fusion steps of one photo in one model."""

    title: str
    photo: Image.Image
    photo_name: str
    steps: tuple[MapStep, ...]
    protocol: str


@dataclass(frozen=True)
class AttentionData:
    """A batch in a cross-image model. attention [B, B]: row reads column. rewriting [B, 14]: of the first photo."""

    title: str
    photos: tuple[Image.Image, ...]
    names: tuple[str, ...]
    regions: tuple[str, ...]
    attention: np.ndarray
    rewriting: np.ndarray
    protocol: str


@dataclass(frozen=True)
class Answer:
    """One database photo in an answer. photo: None when it is not here; metres, right: None when unknown."""

    photo: Image.Image | None
    name: str
    similarity: float
    metres: float | None
    right: bool | None


@dataclass(frozen=True)
class StripData:
    """A query and what each model answers: rows of (title, answers)."""

    query: Image.Image
    query_name: str
    rows: tuple[tuple[str, tuple[Answer, ...]], ...]
    protocol: str


@dataclass(frozen=True)
class ResultData:
    """Evaluations of several models with labels: :class:`scicevpr.evaluation.results.Evaluation`, or stored results
    that have the same title, ns, overall, conditions and protocol. n: which Recall@N the bars show."""

    results: Sequence[Any]
    protocol: str
    n: int = 1
    notes: tuple[str, ...] = field(default=())


def short_name(name: str) -> str:
    """A photo's name for a caption: pano and condition of the field's long file names, else the name as it is."""
    place, fields = parse_name(name), name.split("@")
    if len(fields) < 9 or not fields[7]:
        return name
    return " ".join(filter(None, (fields[7], place.condition)))
