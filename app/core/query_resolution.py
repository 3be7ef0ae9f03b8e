"""The parts of a search that need no model: which query it is, where it lies, its batch, and what is relevant to it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from app.core.records import Hit, Position
from scicevpr.datasets import Dataset, Photo, parse_name, positives
from scicevpr.datasets.zones import metres_between
from scicevpr.errors import UsageError
from scicevpr.figures.screen import distance_to_box

MOST_BATCH_MATES = 31
"""Photos that may share a query's batch: 32 together."""


def query_photo(dataset: Dataset, name: str) -> tuple[Photo, int | None]:
    """The query as a Photo, and its row in the query list when its file name stands there."""
    for row, photo in enumerate(dataset.queries):
        if name and photo.name == name:
            return photo, row
    return parse_name(name or "photo"), None


def listed_photo(dataset: Dataset, title: str, name: str) -> Photo:
    """A photo of the query list by its name. UsageError (title: the database's) for an unknown or absent one."""
    photo, row = query_photo(dataset, name)
    if row is None:
        raise UsageError(f"The photo {name!r} is not among the queries of {title}.")
    if not photo.path.is_file():
        raise UsageError(f"The photo {name!r} is known, but {title} came without photos.")
    return photo


def batch_mates_of(dataset: Dataset, row: int | None, count: int) -> list[Photo]:
    """The count queries after a row of the query list, around its end; from the top for a photo not in it."""
    others = len(dataset.queries) - (row is not None)
    if count > others:
        raise UsageError(f"The query list has only {others} other photos, so {count} cannot share the batch.")
    start = 0 if row is None else row + 1
    return [dataset.queries[(start + step) % len(dataset.queries)] for step in range(count)]


def files_of(photos: Sequence[Photo]) -> list[Path]:
    """The files of photos. UsageError, without a path of the server, where one is not here."""
    missing = next((photo for photo in photos if not photo.path.is_file()), None)
    if missing is not None:
        raise UsageError(
            f"The photo {missing.name} is needed for this and is not here: its database came as a pack without photos. "
            "Open the pack together with the folder of its photos."
        )
    return [photo.path for photo in photos]


def drawable_positions(dataset: Dataset) -> np.ndarray | None:
    """Positions of the database [D, 2], or None when some are unknown or stand-ins."""
    if not dataset.use_labels or any(photo.utm is None or photo.mock_position for photo in dataset.database):
        return None
    return np.array([photo.utm for photo in dataset.database])


@dataclass(frozen=True)
class Relevance:
    """Every database photo as an answer to one query: metres to it [D] and whether it is right [D]; None: unknown.

    outside: metres from the query to the area of the database, where it lies farther outside than an answer may be.
    """

    metres: np.ndarray | None
    right: np.ndarray | None
    outside: float | None = None

    @property
    def positives(self) -> int | None:
        """How many photos are right."""
        return None if self.right is None else int(self.right.sum())

    def first_positive(self, ranking: np.ndarray) -> tuple[int, float | None] | None:
        """Rank (from 1) of the first positive in a ranking of database rows, and its metres; None without one."""
        if self.right is None or not self.right[ranking].any():
            return None
        rank = int(np.argmax(self.right[ranking]))
        return rank + 1, None if self.metres is None else float(self.metres[ranking[rank]])


def relevance_to(dataset: Dataset, position: Position | None, positive_rows: np.ndarray | None) -> Relevance:
    """Which database photos are right answers to a query at a position.

    positive_rows: the query's positives by the data set's own rule, where the query is one of its list; else photos
    within the radius of the position are right (a rule that compares headings says nothing about other photos).
    """
    database = np.array([photo.utm or (math.nan, math.nan) for photo in dataset.database])
    own = metres = None
    if position is not None and dataset.use_labels and np.isfinite(database).all():
        own = np.array([[position.east, position.north]])
        metres = np.hypot(*(database - own).T)
        if (
            positive_rows is None
            and (outside := distance_to_box((position.east, position.north), database)) > dataset.truth.radius
        ):
            return Relevance(metres, None, outside)
    if positive_rows is None:
        if own is None or dataset.truth.listed is not None or dataset.truth.max_heading_difference is not None:
            return Relevance(metres, None)
        positive_rows = positives(database, own, dataset.truth.radius)[0]
    right = np.zeros(len(database), dtype=bool)
    right[positive_rows] = True
    return Relevance(metres, right)


def lead_of(hits: Sequence[Hit], dataset: Dataset) -> float | None:
    """By how much cosine rank 1 lies before the best photo of another place: one farther from it than the radius within
    which an answer is right. None without positions, or when all hits show the first one's place."""
    if not hits or not dataset.use_labels or hits[0].photo.utm is None or hits[0].photo.mock_position:
        return None
    other = (hit for hit in hits if metres_between(hits[0].photo, hit.photo) > dataset.truth.radius)
    best = next(other, None)
    return None if best is None else hits[0].similarity - best.similarity


def spread_over_conditions(queries: Sequence[Photo], count: int) -> list[Photo]:
    """Some queries in turn from every condition, each from another stretch of the list."""
    by_condition: dict[str | None, list[Photo]] = {}
    for photo in queries:
        by_condition.setdefault(photo.condition, []).append(photo)
    picked: list[Photo] = []
    while len(picked) < min(count, len(queries)):
        for group in list(by_condition.values()):
            if group and len(picked) < count:
                picked.append(group.pop(len(picked) * len(group) // count))
    return picked
