"""How far a score could have come out otherwise: confidence intervals, and the comparison of two models.

All functions work on a hit matrix [Q, K] (see `scicevpr.evaluation.metrics.hit_matrix`): is the prediction of this rank
a positive of this query? Several queries of one place are not independent of each other. Where place labels are given,
whole places are drawn, which makes intervals as wide as they should be: the reason for a bootstrap of our own, as
scipy's knows no clusters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

from scicevpr.errors import UsageError

DRAWS = 2000
LEVEL = 0.95
UNITS = ("place", "query")
VALUES_AT_ONCE = 8_000_000


@dataclass(frozen=True)
class Intervals:
    """Confidence intervals of the scores of some queries.

    recalls: N to (low, high) in percent. mrr: (low, high). level: 0..1. by: what was drawn, "query" or "place". units:
    how many of them there are. draws, seed: of the bootstrap.
    """

    recalls: dict[int, tuple[float, float]]
    mrr: tuple[float, float]
    level: float
    by: str
    units: int
    draws: int
    seed: int

    @property
    def label(self) -> str:
        """How protocols call it."""
        units = "queries" if self.by == "query" else "places"
        return (
            f"{self.level:.0%} bootstrap over {units}, {self.draws} draws, seed {self.seed} "
            "(Wilson where all or none are right)"
        )

    def to_json(self) -> dict[str, Any]:
        """Plain numbers; the values of N become text keys."""
        return {
            "level": self.level,
            "by": self.by,
            "units": self.units,
            "draws": self.draws,
            "seed": self.seed,
            "recall_percent": {str(n): list(limits) for n, limits in self.recalls.items()},
            "mrr": list(self.mrr),
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Intervals:
        """The opposite of `to_json`. ValueError (or KeyError, TypeError ...) for anything else."""
        low, high = content["mrr"]
        return cls(
            recalls={int(n): (float(low), float(high)) for n, (low, high) in content["recall_percent"].items()},
            mrr=(float(low), float(high)),
            level=float(content["level"]),
            by=str(content["by"]),
            units=int(content["units"]),
            draws=int(content["draws"]),
            seed=int(content["seed"]),
        )


@dataclass(frozen=True)
class PairedRecall:
    """Recall@N of two models, A and B, on the same queries.

    recall_a, recall_b, difference (A - B) and its interval low..high in percent points; there is none (None) where the
    two never differ, because drawing the same answers again says nothing, and for a single place. only_a, only_b:
    queries that only one of them answers. p_value: exact McNemar test, which takes the queries to be independent.
    """

    n: int
    queries: int
    recall_a: float
    recall_b: float
    difference: float
    low: float | None
    high: float | None
    only_a: int
    only_b: int
    p_value: float


def score_intervals(
    hits: np.ndarray,
    ns: Sequence[int],
    places: np.ndarray | None = None,
    *,
    level: float = LEVEL,
    draws: int = DRAWS,
    seed: int = 0,
) -> Intervals | None:
    """Percentile bootstrap intervals of Recall@N and MRR.

    hits: [Q, K] bool. places: labels [Q]; queries of one place are drawn together (None: every query by itself).
    Where all queries are right, or none is, drawing them again says nothing; such limits are Wilson's over the units.
    Returns None for fewer than two units. Raises UsageError for an impossible level, number of draws or N.
    """
    values = np.column_stack([*(_found(hits, n) for n in ns), _reciprocal_ranks(hits[:, : max(ns)])])
    units = len(values) if places is None else len(np.unique(places))
    if units < 2:
        return None
    limits = bootstrap_limits(values, places, level=level, draws=draws, seed=seed)
    for column in np.flatnonzero((values == values[0]).all(axis=0) & np.isin(values[0], (0, 1))):
        limits[:, column] = wilson_limits(units * values[0, column], units, level)
    return Intervals(
        recalls={n: (100 * float(low), 100 * float(high)) for n, (low, high) in zip(ns, limits.T[:-1], strict=True)},
        mrr=(float(limits[0, -1]), float(limits[1, -1])),
        level=level,
        by="query" if places is None else "place",
        units=units,
        draws=draws,
        seed=seed,
    )


def bootstrap_limits(
    values: np.ndarray, places: np.ndarray | None = None, *, level: float = LEVEL, draws: int = DRAWS, seed: int = 0
) -> np.ndarray:
    """Percentile limits [2, M] (low, high) of the means of values [Q, M], with queries (or places) drawn anew. Places
    keep their size, so that a draw's mean is a ratio of sums. UsageError for what cannot be drawn."""
    if not 0 < level < 1 or draws < 1:
        raise UsageError(f"A bootstrap needs a level between 0 and 1 and at least 1 draw, not {level} and {draws}.")
    values = np.asarray(values, dtype=np.float64)
    table = np.column_stack([np.ones(len(values)), values])
    if places is not None:
        if len(places) != len(values):
            raise UsageError(f"{len(places)} place labels were given for {len(values)} queries.")
        _, label = np.unique(places, return_inverse=True)
        summed = np.zeros((label.max() + 1, table.shape[1]))
        np.add.at(summed, label, table)
        table = summed
    # Units that look alike are interchangeable, so it is enough to draw how many of each kind come.
    kinds, counts = np.unique(table, axis=0, return_counts=True)
    share, random = counts / counts.sum(), np.random.default_rng(seed)
    step, means = max(1, VALUES_AT_ONCE // len(kinds)), []
    for start in range(0, draws, step):
        sums = random.multinomial(len(table), share, size=min(step, draws - start)) @ kinds
        means.append(sums[:, 1:] / sums[:, :1])
    tail = (1 - level) / 2
    return np.quantile(np.concatenate(means), (tail, 1 - tail), axis=0)


def wilson_limits(right: float, count: int, level: float = LEVEL) -> tuple[float, float]:
    """Wilson's score interval (0..1) of a share of `right` out of `count` independent queries (Wilson, 1927); not
    scipy's, which differs in the last bit."""
    if count < 1 or not 0 <= right <= count:
        raise UsageError(f"{right} of {count} is not a share of which an interval can be given.")
    z = NormalDist().inv_cdf((1 + level) / 2)
    share, spread = right / count, z * z / count
    centre = (share + spread / 2) / (1 + spread)
    reach = z / (1 + spread) * ((share * (1 - share) + spread / 4) / count) ** 0.5
    return max(0.0, centre - reach), min(1.0, centre + reach)


def compare_recalls(
    hits_a: np.ndarray,
    hits_b: np.ndarray,
    ns: Sequence[int],
    places: np.ndarray | None = None,
    *,
    level: float = LEVEL,
    draws: int = DRAWS,
    seed: int = 0,
) -> tuple[PairedRecall, ...]:
    """Compare two models query by query, one row per N. hits_a [Q, K], hits_b [Q, L]: the same queries in the same
    order; queries (or places) are drawn with both answers together. UsageError for other counts or another N."""
    if len(hits_a) != len(hits_b):
        raise UsageError(f"Results over {len(hits_a)} and {len(hits_b)} queries cannot be paired.")
    found = [(_found(hits_a, n), _found(hits_b, n)) for n in ns]
    differences = np.column_stack([a.astype(int) - b for a, b in found])
    limits = 100 * bootstrap_limits(differences, places, level=level, draws=draws, seed=seed)
    several = len(np.unique(places)) > 1 if places is not None else len(hits_a) > 1
    rows = []
    for n, (a, b), (low, high) in zip(ns, found, limits.T, strict=True):
        only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
        known = several and only_a + only_b > 0
        rows.append(
            PairedRecall(
                n=n,
                queries=len(a),
                recall_a=100 * float(a.mean()),
                recall_b=100 * float(b.mean()),
                difference=100 * (only_a - only_b) / len(a),
                low=float(low) if known else None,
                high=float(high) if known else None,
                only_a=only_a,
                only_b=only_b,
                p_value=mcnemar(only_a, only_b),
            )
        )
    return tuple(rows)


def mcnemar(only_a: int, only_b: int) -> float:
    """Two-sided exact p-value that two models are equally often the only right one (McNemar, 1947); 1 if never."""
    from scipy.stats import binomtest

    return float(binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0


def places_by_position(positions: np.ndarray, radius: float) -> np.ndarray:
    """Place labels [Q] of queries at positions [Q, 2] (metres): a first query and all not yet taken within `radius`, so
    that queries along a street do not chain into one place."""
    from scipy.spatial import KDTree

    tree = KDTree(positions)
    return _take_in_turn(
        len(positions), lambda query: np.array(tree.query_ball_point(positions[query], radius), dtype=np.int64)
    )


def places_by_positives(positives: Sequence[np.ndarray]) -> np.ndarray:
    """Place labels [Q] where only positives are known: a first query and all not yet taken that share one with it; a
    query without positives is a place of its own."""
    asked_by: dict[int, list[int]] = {}
    for query, rows in enumerate(positives):
        for row in rows:
            asked_by.setdefault(int(row), []).append(query)
    return _take_in_turn(
        len(positives), lambda query: np.array([query, *(o for row in positives[query] for o in asked_by[int(row)])])
    )


def _take_in_turn(count: int, neighbours: Callable[[int], np.ndarray]) -> np.ndarray:
    labels, places = np.full(count, -1), 0
    for query in range(count):
        if labels[query] < 0:
            near = neighbours(query)
            labels[near[labels[near] < 0]] = places
            places += 1
    return labels


def _found(hits: np.ndarray, n: int) -> np.ndarray:
    if not 1 <= n <= hits.shape[1]:
        raise UsageError(f"Recall@{n} cannot be had from predictions of length {hits.shape[1]}; search further.")
    return np.any(hits[:, :n], axis=1)


def _reciprocal_ranks(hits: np.ndarray) -> np.ndarray:
    return np.where(hits.any(axis=1), 1 / (hits.argmax(axis=1) + 1), 0.0)
