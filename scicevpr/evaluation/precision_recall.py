"""Precision and recall over a threshold on the similarity: robotics' way to ask which answers may be believed.

As VPR_Tutorial counts them (Schubert et al., "Visual Place Recognition: A Tutorial", IEEE RAM 2024): "single" looks at
the best answer to each query, "multi" at every pair of a query and a database photo. Extended precision is that of
Ferrarini et al., "Exploring Performance Bounds of Visual Place Recognition Using Extended Precision", RA-L 2020.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from scicevpr.datasets import Dataset
from scicevpr.errors import UsageError
from scicevpr.evaluation.uncertainty import LEVEL

MATCHINGS = ("single", "multi")
MOST_PAIRS = 50_000_000  # queries times database photos whose similarities are held at once
DRAWS = 1000


@dataclass(frozen=True)
class PRCurve:
    """Precision and recall [T] at falling thresholds [T]; before the first the curve starts at recall 0, precision 1.

    positives: what recall divides by: queries that have a right answer ("single"), or right pairs ("multi"). answers:
    how many queries or pairs were judged. intervals: low and high of each score, by its key in `scores`.
    """

    matching: str
    thresholds: np.ndarray
    precision: np.ndarray
    recall: np.ndarray
    positives: int
    answers: int
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def scores(self) -> dict[str, float]:
        """The numbers that papers print, 0..1.

        average precision: sum of precision times the recall gained; area: of the curve, by trapezoids from (0, 1) on;
        max F1; recall at 100 % precision: largest recall whose precision is 1; extended precision: mean of that and of
        the precision at the smallest recall above 0 (0 where nothing right is ever accepted)."""
        precision, recall = self.precision, self.recall
        total = precision + recall
        f1 = np.divide(2 * precision * recall, total, out=np.zeros_like(total), where=total > 0)
        sure = recall[precision == 1]
        gained = np.flatnonzero(recall > 0)
        first = float(precision[gained[0]]) if len(gained) else 0.0
        at_sure = float(sure.max(initial=0.0))
        whole = np.concatenate([[1.0], precision]), np.concatenate([[0.0], recall])
        return {
            "average precision": float((precision * np.diff(recall, prepend=0)).sum()),
            "area": float(np.trapezoid(*whole)),
            "max F1": float(f1.max(initial=0.0)),
            "recall at 100 % precision": at_sure,
            "extended precision": (first + at_sure) / 2,
        }

    @property
    def best_threshold(self) -> float:
        """The similarity from which answers are accepted at the largest F1."""
        total = self.precision + self.recall
        f1 = np.divide(2 * self.precision * self.recall, total, out=np.zeros_like(total), where=total > 0)
        return float(self.thresholds[f1.argmax()])

    def to_json(self, curve: bool = True) -> dict[str, Any]:
        """Plain numbers; curve: also the points."""
        content: dict[str, Any] = {
            "matching": self.matching,
            "positives": self.positives,
            "answers": self.answers,
            "scores": self.scores,
            "threshold of max F1": self.best_threshold,
            "intervals": {name: list(limits) for name, limits in self.intervals.items()},
        }
        if curve:
            points = {"threshold": self.thresholds, "precision": self.precision, "recall": self.recall}
            content["curve"] = {name: values.tolist() for name, values in points.items()}
        return content


def similarity_matrix(database: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """S [Q, N] float32, the cosine of queries [Q, D] and database [N, D]. UsageError where it would be too large."""
    if len(database) * len(queries) > MOST_PAIRS:
        raise UsageError(
            f"{len(queries)} queries and {len(database)} database photos are {len(database) * len(queries):,} pairs; "
            f"precision and recall of all pairs are computed up to {MOST_PAIRS:,}. Choose fewer queries (--query-list)."
        )
    one, other = (np.asarray(values, np.float32) for values in (queries, database))
    lengths = [np.maximum(np.linalg.norm(values, axis=1), 1e-12) for values in (one, other)]
    return (one @ other.T) / (lengths[0][:, None] * lengths[1])


def truth_matrix(positives: Sequence[np.ndarray], count: int) -> np.ndarray:
    """[Q, N] bool of database rows by query."""
    truth = np.zeros((len(positives), count), bool)
    for row, right in enumerate(positives):
        truth[row, right] = True
    return truth


def soft_truth(dataset: Dataset, soft_radius: float | None) -> np.ndarray | None:
    """[Q, N] bool: pairs within the wider radius, neither right nor wrong unless they are right. None without one.
    UsageError for a radius below the data set's own."""
    if soft_radius is None:
        return None
    if soft_radius < dataset.truth.radius:
        raise UsageError(
            f"The soft radius ({soft_radius:g} m) must not be below the one within which answers are right "
            f"({dataset.truth.radius:g} m)."
        )
    return truth_matrix(dataset.positives(soft_radius), len(dataset.database))


def pr_curve(
    similarities: np.ndarray,
    hard: np.ndarray,
    soft: np.ndarray | None = None,
    *,
    matching: str = "single",
    thresholds: int | None = None,
) -> PRCurve:
    """The curve of a similarity matrix.

    similarities: [Q, N]. hard: [Q, N] bool, right pairs. soft: [Q, N] bool; a pair that is soft and not hard gets the
    smallest similarity of all. thresholds: so many, evenly from the largest to the smallest similarity (VPR_Tutorial
    takes 100); default: every value that occurs, so that ties are accepted together.

    Raises UsageError for other shapes, values that are not finite, or when nothing can be right.
    """
    scores, right, _, positives = _judged(similarities, hard, soft, matching)
    if thresholds is None:
        return _curve(matching, *_accumulated(scores, right, np.ones(len(scores))), positives, len(scores))
    if thresholds < 2:
        raise UsageError(f"A curve needs at least 2 thresholds, not {thresholds}.")
    levels = np.linspace(scores.max(), scores.min(), thresholds)
    levels[-1] = scores.min()  # the last accepts everything, whatever the rounding
    order = np.argsort(-scores, kind="stable")
    hits = np.concatenate([[0], np.cumsum(right[order])])
    accepted = np.searchsorted(-scores[order], -levels, side="right")
    return _curve(matching, levels, hits[accepted].astype(float), accepted.astype(float), positives, len(scores))


def _judged(
    similarities: np.ndarray, hard: np.ndarray, soft: np.ndarray | None, matching: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Similarity, rightness and query of every answer that is judged, and what recall divides by."""
    if matching not in MATCHINGS:
        raise UsageError(f"Matches are judged as {' or '.join(MATCHINGS)}, not as {matching!r}.")
    values, truth = np.array(similarities, np.float64), np.asarray(hard, bool)
    if values.ndim != 2 or not values.size or truth.shape != values.shape:
        raise UsageError(
            f"Similarities and ground truth must be tables [queries, database] of one shape, not {list(values.shape)} "
            f"and {list(truth.shape)}."
        )
    if not np.isfinite(values).all():
        raise UsageError("The similarities hold NaN or infinite values. Describe the photos again.")
    if soft is not None:
        if np.shape(soft) != values.shape:
            raise UsageError(f"The soft ground truth is {list(np.shape(soft))}, the similarities {list(values.shape)}.")
        values[np.asarray(soft, bool) & ~truth] = values.min()
    positives = int(truth.any(axis=1).sum()) if matching == "single" else int(truth.sum())
    if not positives:
        raise UsageError("No query has a right answer in the database, so there is no recall.")
    rows = np.arange(len(values))
    if matching == "single":
        best = values.argmax(axis=1)
        return values[rows, best], truth[rows, best], rows, positives
    return values.ravel(), truth.ravel(), np.repeat(rows, values.shape[1]), positives


def _accumulated(
    scores: np.ndarray, right: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Thresholds, true positives and accepted answers, one entry for each value that occurs."""
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    last = np.flatnonzero(np.append(np.diff(ordered) != 0, True))  # the last of equal ones
    hits, accepted = np.cumsum(weights[order] * right[order]), np.cumsum(weights[order])
    return ordered[last], hits[last], accepted[last]


def _curve(
    matching: str, levels: np.ndarray, hits: np.ndarray, accepted: np.ndarray, positives: float, answers: int
) -> PRCurve:
    precision = np.divide(hits, accepted, out=np.ones_like(hits), where=accepted > 0)
    return PRCurve(matching, levels, precision, hits / positives, int(positives), answers)


def with_pr_intervals(
    curve: PRCurve,
    similarities: np.ndarray,
    hard: np.ndarray,
    soft: np.ndarray | None = None,
    places: np.ndarray | None = None,
    *,
    level: float = LEVEL,
    draws: int = DRAWS,
    seed: int = 0,
) -> PRCurve:
    """A "single" curve with percentile bootstrap intervals of its scores; queries of one place [Q] are drawn together.

    Of "multi" no intervals are given: the pairs of all queries share one ranking, and drawing them takes too long."""
    if curve.matching != "single":
        return curve
    scores, right, _, _ = _judged(similarities, hard, soft, "single")
    has = np.asarray(hard, bool).any(axis=1)
    _, label = np.unique(np.arange(len(scores)) if places is None else places, return_inverse=True)
    random, count, found = np.random.default_rng(seed), int(label.max()) + 1, []
    for _ in range(draws if count > 1 else 0):
        weights = random.multinomial(count, np.full(count, 1 / count))[label].astype(float)
        positives = (weights * has).sum()
        if positives:
            drawn = _curve("single", *_accumulated(scores, right, weights), 1, len(scores))
            drawn = PRCurve("single", drawn.thresholds, drawn.precision, drawn.recall / positives, 1, len(scores))
            found.append(list(drawn.scores.values()))
    if not found:
        return curve
    tail = (1 - level) / 2
    limits = np.quantile(np.array(found), (tail, 1 - tail), axis=0)
    intervals = {name: (float(low), float(high)) for name, (low, high) in zip(curve.scores, limits.T, strict=True)}
    return PRCurve(
        curve.matching, curve.thresholds, curve.precision, curve.recall, curve.positives, curve.answers, intervals
    )


# ---- of a data set ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PRResult:
    """One model's curves: matching -> condition ("all" last) -> curve. soft_radius: metres, or None."""

    title: str
    curves: dict[str, dict[str, PRCurve]]
    soft_radius: float | None = None
    protocol: dict[str, str] = field(default_factory=dict)

    def rows(self) -> list[dict[str, Any]]:
        """One row per matching, condition and score."""
        found = []
        for matching, parts in self.curves.items():
            for condition, curve in parts.items():
                for score, value in curve.scores.items():
                    low, high = curve.intervals.get(score, (None, None))
                    found.append(
                        {
                            "model": self.title,
                            "matching": matching,
                            "condition": condition,
                            "score": score,
                            "value": value,
                            "low": low,
                            "high": high,
                            "positives": curve.positives,
                        }
                    )
        return found

    def to_json(self) -> dict[str, Any]:
        """Plain numbers, with the curves."""
        curves = {
            matching: {condition: curve.to_json() for condition, curve in parts.items()}
            for matching, parts in self.curves.items()
        }
        return {"title": self.title, "soft radius": self.soft_radius, "protocol": self.protocol, "curves": curves}


def precision_recall(
    title: str,
    dataset: Dataset,
    database: np.ndarray,
    queries: np.ndarray,
    *,
    soft_radius: float | None = None,
    thresholds: int | None = None,
    places: np.ndarray | None = None,
    intervals: bool = True,
    positives: Sequence[np.ndarray] | None = None,
) -> PRResult:
    """The curves of a labelled data set from its descriptors [N, D] and [Q, D], for every condition and for all
    queries. places: labels [Q] for the intervals. positives: database rows by query, where they are known already.
    Conditions without a right answer are left out; UsageError where no query has one."""
    matrix = similarity_matrix(database, queries)
    hard = truth_matrix(dataset.positives() if positives is None else positives, len(dataset.database))
    soft = soft_truth(dataset, soft_radius)
    named = np.array([photo.condition or "" for photo in dataset.queries])
    groups = {name: np.flatnonzero(named == name) for name in dataset.conditions} if dataset.conditions else {}
    curves: dict[str, dict[str, PRCurve]] = {}
    for matching in MATCHINGS:
        curves[matching] = {}
        for condition, rows in (*groups.items(), ("all", np.arange(len(named)))):
            part = (matrix[rows], hard[rows], None if soft is None else soft[rows])
            if condition != "all" and not part[1].any():
                continue
            curve = pr_curve(*part, matching=matching, thresholds=thresholds)
            if intervals:
                curve = with_pr_intervals(curve, *part, None if places is None else places[rows])
            curves[matching][condition] = curve
    return PRResult(title, curves, soft_radius)
