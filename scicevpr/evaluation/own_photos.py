"""Queries that are themselves in the database: found, told, and on request left out of their own answers."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from scicevpr.datasets import Dataset
from scicevpr.files.reading import known_sha256
from scicevpr.retrieval import Matches

SAME_DISTANCE = 1e-6  # squared, of unit descriptors of one photo: rounding alone


def own_rows(dataset: Dataset, matches: Matches | None = None) -> dict[int, np.ndarray]:
    """Query row -> database rows that hold the same photo: the same file, or a file of the same content.

    Contents are compared where names and sizes are the same, and where the first answer is as near as the photo itself.
    """
    by_file: dict[str, list[int]] = defaultdict(list)
    by_name: dict[tuple[str, int], list[int]] = defaultdict(list)
    for row, place in enumerate(dataset.database):
        by_file[os.path.realpath(place.path)].append(row)
        by_name[place.path.name, _size(place.path)].append(row)
    found = {}
    for query, place in enumerate(dataset.queries):
        size = _size(place.path)
        rows = set(by_file.get(os.path.realpath(place.path), ()))
        candidates = set(by_name.get((place.path.name, size), ())) if size >= 0 else set()
        if matches is not None and matches.distances.shape[1] and matches.distances[query, 0] <= SAME_DISTANCE:
            first = int(matches.indices[query, 0])
            candidates |= {first} if first >= 0 and _size(dataset.database[first].path) == size >= 0 else set()
        rows |= {row for row in candidates - rows if _same(place.path, dataset.database[row].path)}
        if rows:
            found[query] = np.array(sorted(rows), np.int64)
    return found


def without_rows(matches: Matches, left_out: dict[int, np.ndarray], k: int) -> Matches:
    """The first k answers of each query, without the database rows that it is itself."""
    parts = [np.array(part[:, :k]) for part in (matches.indices, matches.distances, matches.similarities)]
    for query, rows in left_out.items():
        kept = np.flatnonzero(~np.isin(matches.indices[query], rows))[:k]
        for part, whole, empty in zip(
            parts, (matches.indices, matches.distances, matches.similarities), (-1, np.inf, np.nan), strict=True
        ):
            part[query] = empty
            part[query, : len(kept)] = whole[query, kept]
    return Matches(*parts)


def without_positives(right: Sequence[np.ndarray], left_out: dict[int, np.ndarray]) -> list[np.ndarray]:
    """Positives of each query, without the photo itself."""
    return [np.setdiff1d(rows, left_out[query]) if query in left_out else rows for query, rows in enumerate(right)]


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
