"""What a benchmark run gives: one measured result a model and database, and what such results cost."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from scicevpr.datasets import Dataset
from scicevpr.evaluation.comparison import Comparison, StoredRelevance, compare
from scicevpr.evaluation.metrics import hit_matrix
from scicevpr.evaluation.results import Evaluation, relative_name
from scicevpr.evaluation.uncertainty import score_intervals
from scicevpr.figures.scores import RecallCurve

CURVE_LENGTH = 100
FLOAT_BYTES = 4


@dataclass(frozen=True)
class Cost:
    """What a model costs on a database. values: numbers in a descriptor. ms_a_photo: measured while the queries were
    described, reading and resizing them included; None when nothing was described. photos: of the database."""

    values: int
    photos: int
    ms_a_photo: float | None

    @property
    def kilobytes_a_photo(self) -> float:
        """A descriptor in float32, as it is searched."""
        return self.values * FLOAT_BYTES / 1e3

    @property
    def database_megabytes(self) -> float:
        """All descriptors of the database in float32, as they are searched."""
        return self.photos * self.values * FLOAT_BYTES / 1e6

    def to_json(self) -> dict[str, Any]:
        """The record as plain JSON values."""
        return {
            "descriptor_values": self.values,
            "kilobytes_a_photo": self.kilobytes_a_photo,
            "ms_a_photo": self.ms_a_photo,
            "database_megabytes": self.database_megabytes,
        }


@dataclass(frozen=True)
class Result:
    """One model on one database under one grouping.

    key: the fingerprint and the role under which it is remembered. database: the name that asks for it. database_title:
    what to call it. source: "measured now", or "remembered". evaluation: with intervals, without descriptors.
    """

    key: str
    database: str
    database_title: str
    role: str
    evaluation: Evaluation
    cost: Cost
    source: str

    @property
    def title(self) -> str:
        """The model's name, unique among the roles."""
        return self.evaluation.title

    @property
    def dataset(self) -> Dataset:
        """The photos that were searched."""
        return self.evaluation.dataset

    @cached_property
    def hits(self) -> np.ndarray:
        """Which predictions are right, [Q, K] bool."""
        length = self.evaluation.predictions.shape[1]
        return hit_matrix(self.evaluation.predictions, self.evaluation.positives, (length,))

    @cached_property
    def curve(self) -> RecallCurve:
        """Recall@N for N = 1 ... 100 (or the size of the database) with 95 % intervals over places."""
        ns = range(1, min(CURVE_LENGTH, self.hits.shape[1], len(self.dataset.database)) + 1)
        found = np.logical_or.accumulate(self.hits[:, : len(ns)], axis=1).mean(axis=0)
        intervals = score_intervals(self.hits, ns, self.evaluation.places())
        limits = (None, None) if intervals is None else np.array([intervals.recalls[n] for n in ns]).T
        return RecallCurve(self.title, np.array(ns), 100 * found, *limits)

    @property
    def answers(self) -> StoredRelevance:
        """What a comparison needs."""
        evaluation, queries = self.evaluation, self.dataset.queries
        return StoredRelevance(
            title=self.title,
            protocol=evaluation.protocol,
            ns=evaluation.ns,
            queries=tuple(relative_name(query.path, self.dataset.root) for query in queries),
            conditions=tuple(query.condition for query in queries),
            hits=self.hits,
            places=evaluation.places(),
            ground_truth=evaluation.ground_truth() or "",
        )

    def to_json(self) -> dict[str, Any]:
        """The result as plain JSON values, without predictions."""
        content = self.evaluation.to_json(predictions=False)
        return {"database": self.database_title, "role": self.role, **content, "cost": self.cost.to_json()}


def compared(a: Result, b: Result) -> Comparison:
    """Recall@1 of two models query by query. UsageError when they were measured on different databases."""
    return compare(a.answers, b.answers, (1,))


@dataclass(frozen=True)
class Step:
    """A moment of a run. new: the result that has just come, if any; problem: why one did not. words: what is going
    on. done, total: photos described of those at hand."""

    words: str
    new: Result | None = None
    problem: str = ""
    done: int = 0
    total: int = 0
