"""Successes and failures query by query: which models answer rightly, and by how much similarity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from app.core.records import Hit
from app.tabs.benchmarks.results import Result
from scicevpr.datasets import Dataset, Photo
from scicevpr.datasets.ground_truth import distances
from scicevpr.errors import UsageError
from scicevpr.evaluation.results import UNNAMED

ANY, ONLY, NONE_RIGHT, ALL_RIGHT, NEAR = "any", "only", "wrong", "right", "near"
CLOSE, MISTAKES, SUCCESSES, IN_ORDER = "close", "mistakes", "successes", "file"
SELECTIONS = (
    ("every query", ANY),
    ("only this model is wrong", ONLY),
    ("all models are wrong", NONE_RIGHT),
    ("all models are right", ALL_RIGHT),
    ("near misses", NEAR),
)
QUERY_ORDERS = (
    ("closest decisions first", CLOSE),
    ("surest mistakes first", MISTAKES),
    ("surest right answers first", SUCCESSES),
    ("order of the query list", IN_ORDER),
)
NEAR_FACTOR = 2.0


@dataclass(frozen=True)
class QueryAnswer:
    """A model's first answer. margin: cosine of the best right photo minus that of the best wrong one, negative for a
    mistake; at_least: one kind is missing among the predictions, so its size is at least that. None: nothing to
    compare with."""

    role: str
    title: str
    hit: Hit
    margin: float | None
    at_least: bool


@dataclass(frozen=True)
class QueryRow:
    """A query and what every model answered first. row: in the query list. findable: a right photo exists."""

    row: int
    query: Photo
    answers: tuple[QueryAnswer, ...]
    findable: bool

    def to_json(self) -> dict[str, Any]:
        """The record as plain JSON values."""
        utm = self.query.utm
        return {
            "row": self.row,
            "photo": self.query.name,
            "condition": self.query.condition,
            "east": utm[0] if utm else None,
            "north": utm[1] if utm else None,
            "findable": self.findable,
            "answers": [
                {
                    "role": answer.role,
                    "model": answer.title,
                    **answer.hit.to_json(),
                    "margin": answer.margin,
                    "margin_is_at_least": answer.at_least,
                }
                for answer in self.answers
            ],
        }


class QueryTable:
    """All queries of one database with the answers of one or more models.

    Raises UsageError without results, or for results of different databases.
    """

    def __init__(self, results: Sequence[Result]) -> None:
        if not results:
            raise UsageError("There is nothing to look at yet. Measure a model first.")
        if len({result.database for result in results}) > 1:
            raise UsageError("Answers can be looked at for one database at a time.")
        self.results = tuple(results)
        first = np.array([result.evaluation.predictions[:, 0] for result in results])
        self.right = np.array([result.hits[:, 0] for result in results])  # [models, queries]
        self.metres: np.ndarray | None = None
        if self.dataset.has_map:
            self.metres = distances(self.dataset.database, self.dataset.queries, first.T).T
        parts = [_margins(result) for result in results]
        self.margins, self.at_least = np.array([m for m, _ in parts]), np.array([a for _, a in parts])
        self.findable = results[0].findable

    @property
    def dataset(self) -> Dataset:
        """The photos that were searched."""
        return self.results[0].dataset

    @property
    def near_limit(self) -> float:
        """Metres within which a wrong first answer counts as a near miss."""
        return NEAR_FACTOR * self.dataset.truth.radius

    def select(self, show: str, role: str, condition: str | None = None, order: str = CLOSE) -> np.ndarray:
        """Rows of the query list, sorted.

        show: "any", "only" (the model of ``role`` is the only one wrong), "wrong" (all are), "right" (all are) or
        "near" (some model's first answer is wrong, but within twice the radius). condition: only its queries. order:
        by the margin of the model of ``role`` ("close": smallest first, "mistakes": surest mistakes first,
        "successes": surest right answers first) or "file".

        Raises UsageError for other words.
        """
        roles = [result.role for result in self.results]
        if role not in roles:
            raise UsageError(f"{role!r} was not measured here; choose one of: {', '.join(roles)}.")
        own = roles.index(role)
        chosen = self._filtered(show, own)
        if condition:
            names = np.array([query.condition or UNNAMED for query in self.dataset.queries])
            chosen = chosen & (names == condition)
        rows, margins = np.flatnonzero(chosen), self.margins[own]
        keys = {CLOSE: np.abs(margins), MISTAKES: margins, SUCCESSES: -margins, IN_ORDER: np.arange(len(margins))}
        if order not in keys:
            raise UsageError(f"The order {order!r} is unknown; choose one of: {', '.join(keys)}.")
        return rows[np.argsort(keys[order][rows], kind="stable")]  # unknown margins (NaN) come last

    def row(self, row: int) -> QueryRow:
        """A query with its answers."""
        found = []
        for at, result in enumerate(self.results):
            predictions = result.evaluation.matches
            answer = int(predictions.indices[row, 0])
            metres = None if self.metres is None else float(self.metres[at, row])
            photo, similarity = self.dataset.database[answer], float(predictions.similarities[row, 0])
            hit = Hit(1, answer, photo, similarity, metres, bool(self.right[at, row]))
            margin = float(self.margins[at, row])
            known = None if np.isnan(margin) else margin
            found.append(QueryAnswer(result.role, result.title, hit, known, bool(self.at_least[at, row])))
        return QueryRow(row, self.dataset.queries[row], tuple(found), bool(self.findable[row]))

    def _filtered(self, show: str, own: int) -> np.ndarray:
        wrong = ~self.right
        if show == ANY:
            return np.ones(wrong.shape[1], dtype=bool)
        if show == ONLY:
            return wrong[own] & (wrong.sum(axis=0) == 1)
        if show == NONE_RIGHT:
            return np.all(wrong, axis=0)
        if show == ALL_RIGHT:
            return np.all(self.right, axis=0)
        if show == NEAR:
            if self.metres is None:
                raise UsageError("Near misses need true positions, and these photos have none.")
            return np.any(wrong & (self.metres <= self.near_limit), axis=0)
        known = ", ".join(key for _, key in SELECTIONS)
        raise UsageError(f"The selection {show!r} is unknown; choose one of: {known}.")


def _margins(result: Result) -> tuple[np.ndarray, np.ndarray]:
    """Margins [Q] (NaN: no right photo exists, or only one photo was searched), and where they are lower bounds."""
    hits, cosines = result.hits, result.evaluation.matches.similarities.astype(np.float64)
    known = ~np.isnan(cosines)
    last = np.where(known, cosines, np.inf).min(axis=1)
    best_right, best_wrong = (np.where(kind & known, cosines, -np.inf).max(axis=1) for kind in (hits, ~hits))
    at_least = np.isinf(best_right) | np.isinf(best_wrong)
    margins = np.where(np.isinf(best_right), last, best_right) - np.where(np.isinf(best_wrong), last, best_wrong)
    unknown = ~result.findable | (known.sum(axis=1) < 2)
    return np.where(unknown, np.nan, margins), at_least & ~unknown
