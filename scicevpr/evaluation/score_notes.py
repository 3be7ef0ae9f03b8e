"""What a score does not show: queries that are in the database, that nothing can answer, descriptors of zeros."""

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
