"""Recall@N, mean reciprocal rank and F1@N, exactly as the published evaluation counts them, and what they do not show.

predictions [Q, K]: database rows, nearest first, -1 where there is none. positives: for each query the database rows
that show its place. A query without any positive stays in the denominator: it counts as a miss everywhere.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from scicevpr.datasets import Dataset
from scicevpr.errors import UsageError
from scicevpr.files.reading import known_sha256
from scicevpr.retrieval.matches import Matches
from scicevpr.retrieval.rows import shape_of, zero_rows


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

    The value therefore grows with the list `ns`.
    """
    first = _first_hits(predictions, positives, ns)
    seen = first < max(ns)
    return float((1.0 / (first[seen] + 1)).sum() / len(first))


def f1_at_n(
    predictions: np.ndarray, positives: Sequence[np.ndarray], ns: Sequence[int] = (1, 5, 10)
) -> dict[int, float]:
    """Mean over all queries of the harmonic mean of precision and recall among the first N predictions (0 to 1).

    Precision divides by N even where the database holds fewer photos; recall divides by all positives of the query.
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


# ---- what a score does not show --------------------------------------------------------------------------------------


SAME_DISTANCE = 1e-6  # squared, of unit descriptors of one photo: rounding alone


def truth_notes(dataset: Dataset, positives: Sequence[np.ndarray] | None) -> list[str]:
    """What a score does not show: queries that nothing can answer, and a truth that everything answers."""
    if not positives:
        return []
    notes, without = [], sum(len(rows) == 0 for rows in positives)
    if without:
        notes.append(
            f"{without} of {len(positives)} queries have no right answer in the database; they count as wrong, so "
            f"Recall cannot exceed {100 * (1 - without / len(positives)):.1f}."
        )
    if len(dataset.database) > 1 and all(len(rows) == len(dataset.database) for rows in positives):
        notes.append("Every database photo is right for every query, so Recall is 100 whatever the model answers.")
    return notes


def zero_notes(database: Any, queries: Any) -> list[str]:
    """What is said of descriptors that are zero throughout. UsageError where all of the database or of the queries
    are: such an export is broken, and its order of answers is that of the rows."""
    notes = []
    for what, values in (("database descriptors", database), ("query descriptors", queries)):
        zero, count = zero_rows(values), shape_of(values, what)[0]
        if zero and zero == count:
            raise UsageError(
                f"All {count} {what} are zero throughout, so every answer would be as good as any other. Describe the "
                "photos again."
            )
        if zero:
            notes.append(f"{zero} of {count} {what} are zero throughout: they are equally far from everything.")
    return notes


def own_rows(dataset: Dataset, matches: Matches | None = None) -> dict[int, np.ndarray]:
    """Query row -> database rows that hold the same photo: the same file, or a file of the same content.

    Contents are compared where names and sizes are the same, and where the first answer is as near as the photo itself.
    """
    by_file: dict[str, list[int]] = defaultdict(list)
    by_name: dict[tuple[str, int], list[int]] = defaultdict(list)
    for row, photo in enumerate(dataset.database):
        by_file[os.path.realpath(photo.path)].append(row)
        by_name[photo.path.name, _size(photo.path)].append(row)
    found = {}
    for query, photo in enumerate(dataset.queries):
        size = _size(photo.path)
        rows = set(by_file.get(os.path.realpath(photo.path), ()))
        candidates = set(by_name.get((photo.path.name, size), ())) if size >= 0 else set()
        if matches is not None and matches.distances.shape[1] and matches.distances[query, 0] <= SAME_DISTANCE:
            first = int(matches.indices[query, 0])
            candidates |= {first} if first >= 0 and _size(dataset.database[first].path) == size >= 0 else set()
        rows |= {row for row in candidates - rows if _same(photo.path, dataset.database[row].path)}
        if rows:
            found[query] = np.array(sorted(rows), np.int64)
    return found


def without_rows(matches: Matches, left_out: dict[int, np.ndarray], k: int) -> Matches:
    """The first k answers of each query, without the database rows that it is itself."""
    wholes = (matches.indices, matches.distances, matches.similarities)
    parts = [np.array(whole[:, :k]) for whole in wholes]
    for query, rows in left_out.items():
        kept = np.flatnonzero(~np.isin(matches.indices[query], rows))[:k]
        for part, whole, empty in zip(parts, wholes, (-1, np.inf, np.nan), strict=True):
            part[query] = empty
            part[query, : len(kept)] = whole[query, kept]
    return Matches(*parts)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1


def _same(one: Path, other: Path) -> bool:
    try:
        return known_sha256(one) == known_sha256(other)
    except OSError:
        return False
