"""Ranked answers with all that is known of them: similarity, inliers, where they lie, whether they are right.

What re-ranking and trust are fitted and judged on. The same queries can be asked of the database without their place:
then nothing is right, and a model should say so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from scicevpr.datasets import Dataset, Photo
from scicevpr.datasets.ground_truth import utm_array
from scicevpr.errors import UsageError
from scicevpr.evaluation.metrics import without_rows
from scicevpr.local_features.rerank import CANDIDATES, CandidateChecks, PairChecker, check_candidates, rerank_order
from scicevpr.progress import Progress
from scicevpr.retrieval.exact import ExactIndex
from scicevpr.retrieval.matches import Matches

STREET = 4.0  # times the radius: what is taken out of the database with a query's place


@dataclass(frozen=True)
class AnswerLists:
    """The first K answers to Q queries, best first.

    indices: [Q, K] database rows, -1 where there is none. similarities: [Q, K] cosine, NaN there. counts: [Q, K]
    inliers, -1 where not checked, or None. positions: [Q, K, 2] metres, NaN where unknown. right: [Q, K] bool. known:
    [Q] bool, is the query's place in the database? places: [Q] labels of the queries' places. radius: metres.
    """

    name: str
    indices: np.ndarray
    similarities: np.ndarray
    counts: np.ndarray | None
    positions: np.ndarray
    right: np.ndarray
    known: np.ndarray
    places: np.ndarray
    radius: float

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def first_right(self) -> np.ndarray:
        """[Q] bool: is the first answer right?"""
        return self.right[:, 0]

    def ordered(self, order: np.ndarray) -> AnswerLists:
        """The same answers with their first N columns in this order [Q, N]; what lies behind them is left out."""

        def take(values: np.ndarray) -> np.ndarray:
            index = order if values.ndim == 2 else order[..., None]
            return np.take_along_axis(values[:, : order.shape[1]], index, axis=1)

        counts = None if self.counts is None else take(self.counts)
        taken = {name: take(getattr(self, name)) for name in ("indices", "similarities", "positions", "right")}
        return replace(self, counts=counts, **taken)

    def reranked(self, by: str = "xfeat", weight: float = 0.1) -> AnswerLists:
        """The answers re-ranked by their inliers. UsageError where those were not counted."""
        if self.counts is None:
            raise UsageError(f"The answers of {self.name} have no inliers; check the candidates first.")
        return self.ordered(rerank_order(self.similarities, self.counts, by, weight))

    def other_place(self) -> np.ndarray:
        """[Q, K] bool: does this answer show another place than the first? Where positions are unknown every other
        answer counts as another place."""
        return other_place(self.positions, self.radius) & (self.indices >= 0)


def other_place(positions: np.ndarray, radius: float) -> np.ndarray:
    """[Q, K] bool: is an answer more than `radius` metres from the first one? positions: [Q, K, 2], NaN unknown, and
    then all but the first are other places."""
    away = np.sqrt(((positions - positions[:, :1]) ** 2).sum(axis=2))
    apart = np.where(np.isnan(away), True, away > radius)
    apart[:, 0] = False
    return apart


def answer_lists(
    name: str,
    dataset: Dataset,
    matches: Matches,
    positives: Sequence[np.ndarray] | None = None,
    places: np.ndarray | None = None,
    counts: np.ndarray | None = None,
    top: int = CANDIDATES,
) -> AnswerLists:
    """Answers of a search. positives: database rows by query, where the labels should not be read again. places:
    labels of the queries (default: each its own)."""
    indices = matches.indices[:, :top]
    positions = np.full((*indices.shape, 2), np.nan)
    if dataset.positioned:
        where = utm_array(dataset.database)
        positions[indices >= 0] = where[indices[indices >= 0]]
    rows = list(positives) if positives is not None else dataset.positives()
    right = np.stack([np.isin(found, own) & (found >= 0) for found, own in zip(indices, rows, strict=True)])
    known = np.array([len(own) > 0 for own in rows])
    labels = np.arange(len(indices)) if places is None else places
    radius = dataset.truth.radius
    return AnswerLists(name, indices, matches.similarities[:, :top], counts, positions, right, known, labels, radius)


def place_rows(dataset: Dataset, street: float = STREET) -> list[np.ndarray]:
    """For every query the database rows to take out, so that its place is not there: all within `street` times the
    radius, and every positive."""
    positives = dataset.positives()
    if dataset.truth.listed is not None or not dataset.positioned:
        return positives
    near = dataset.positives(street * dataset.truth.radius)
    return [np.union1d(a, b) for a, b in zip(near, positives, strict=True)]


def gather_answers(
    name: str,
    dataset: Dataset,
    database: np.ndarray,
    queries: np.ndarray,
    *,
    checker: PairChecker | None = None,
    top: int = CANDIDATES,
    unknown: bool = False,
    places: np.ndarray | None = None,
    memo: dict[tuple[int, int], int] | None = None,
    progress: Progress | None = None,
) -> tuple[AnswerLists, CandidateChecks | None]:
    """Search, and count the inliers of the answers where a checker is given.

    database [N, D], queries [Q, D]: descriptors. unknown: take every query's place out of the database first (see
    `place_rows`). places, memo: as in `answer_lists` and `check_candidates`. UsageError for a data set without labels.
    """
    if not dataset.labelled:
        raise UsageError(f"{name} has no labels, so nobody knows which answers are right.")
    index, gone = ExactIndex(database), place_rows(dataset) if unknown else []
    more = max(map(len, gone), default=0)
    matches = index.search(queries, min(len(dataset.database), top + more))
    if unknown:
        matches = without_rows(matches, dict(enumerate(gone)), top)
    checks = None
    if checker is not None:
        checks = check_candidates(
            checker, matches, dataset.database, dataset.queries, top, memo=memo, progress=progress
        )
    positives = [np.empty(0, np.int64)] * len(dataset.queries) if unknown else dataset.positives()
    counts = None if checks is None else checks.counts
    return answer_lists(name, dataset, matches, positives, places, counts, top), checks


def unknown_answers(
    name: str,
    dataset: Dataset,
    photos: Sequence[Photo],
    database: np.ndarray,
    values: np.ndarray,
    pictures: Sequence[Any],
    checker: PairChecker | None = None,
    top: int = CANDIDATES,
) -> AnswerLists:
    """Answers to pictures that show no place of a database: none is right. values [Q, D]: their descriptors."""
    matches = ExactIndex(database).search(values, min(len(photos), top))
    checks = None if checker is None else check_candidates(checker, matches, photos, pictures, top)
    count = len(matches.indices)
    positions = np.full((count, matches.indices.shape[1], 2), np.nan)
    if dataset.positioned:
        positions[:] = utm_array(photos)[matches.indices]
    return AnswerLists(
        name,
        matches.indices,
        matches.similarities,
        None if checks is None else checks.counts,
        positions,
        np.zeros(matches.indices.shape, bool),
        np.zeros(count, bool),
        np.arange(count),
        dataset.truth.radius,
    )
