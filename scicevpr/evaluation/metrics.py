"""Recall@N, mean reciprocal rank and F1@N, exactly as the published evaluation counts them.

predictions [Q, K]: database rows, nearest first, -1 where there is none. positives: for each query the database rows
that show its place. A query without any positive stays in the denominator: it counts as a miss everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from scicevpr.errors import UsageError


def recall_at_n(
    predictions: np.ndarray, positives: Sequence[np.ndarray], ns: Sequence[int] = (1, 5, 10)
) -> dict[int, float]:
    """Percentage of all queries with at least one positive among their first N predictions.

    Raises UsageError when there are no queries, counts differ, an N is below 1, or fewer than N columns were searched.
    """
    first = _first_hits(predictions, positives, ns)
    return {n: 100.0 * int(np.count_nonzero(first < n)) / len(first) for n in ns}


def mean_reciprocal_rank(
    predictions: np.ndarray, positives: Sequence[np.ndarray], ns: Sequence[int] = (1, 5, 10)
) -> float:
    """Mean over all queries of 1 / rank of the first positive; 0 when it comes after the largest N.

    The value therefore grows with the list `ns`. Raises UsageError as recall_at_n does.
    """
    first = _first_hits(predictions, positives, ns)
    seen = first < max(ns)
    return float((1.0 / (first[seen] + 1)).sum() / len(first))


def f1_at_n(
    predictions: np.ndarray, positives: Sequence[np.ndarray], ns: Sequence[int] = (1, 5, 10)
) -> dict[int, float]:
    """Mean over all queries of the harmonic mean of precision and recall among the first N predictions (0 to 1).

    Precision divides by N even where the database holds fewer photos; recall divides by all positives of the query.
    Raises UsageError as recall_at_n does.
    """
    hits = hit_matrix(predictions, positives, ns)
    totals = np.array([len(rows) for rows in positives], dtype=np.float64)
    scores = {}
    for n in ns:
        # 2PR / (P + R) with P = found/n and R = found/total is 2 * found / (n + total)
        found = hits[:, :n].sum(axis=1)
        scores[n] = float(np.mean(2 * found / (n + totals)))
    return scores


def hit_matrix(predictions: np.ndarray, positives: Sequence[np.ndarray], ns: Sequence[int]) -> np.ndarray:
    """Is this prediction a positive of its query? [Q, K] bool. Raises UsageError as recall_at_n does."""
    rows = np.asarray(predictions)
    if rows.ndim != 2 or len(rows) == 0:
        raise UsageError(f"The predictions must have the shape [Q, K] with at least one query, not {list(rows.shape)}.")
    if len(rows) != len(positives):
        raise UsageError(f"{len(rows)} queries were predicted, but positives are given for {len(positives)}.")
    if not ns or min(ns) < 1 or max(ns) > rows.shape[1]:
        raise UsageError(
            f"The values of N must lie between 1 and the number of matches searched ({rows.shape[1]}), "
            f"not {', '.join(map(str, ns)) or 'an empty list'}."
        )
    return np.stack([np.isin(row, right) & (row >= 0) for row, right in zip(rows, positives, strict=True)])


def _first_hits(predictions: np.ndarray, positives: Sequence[np.ndarray], ns: Sequence[int]) -> np.ndarray:
    """[Q] column of the first positive; a value beyond every N where there is none."""
    hits = hit_matrix(predictions, positives, ns)
    return np.where(hits.any(axis=1), hits.argmax(axis=1), hits.shape[1])
