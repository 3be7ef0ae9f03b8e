"""The parts of a search that need no models: which query it is, where it lies, who keeps it company, what is right."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from app.records import Position
from scicevpr.datasets import Dataset, Photo, parse_name, positives
from scicevpr.errors import UsageError


def whole_number(value: Any, what: str, low: int, high: int) -> int:
    """A whole number between low and high from whatever a form sent. UsageError says what is allowed."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number) or number != int(number) or not low <= number <= high:
        raise UsageError(f"{what} must be a whole number from {low} to {high}, not {repr(value)[:60]}.")
    return int(number)


def query_place(dataset: Dataset, name: str) -> tuple[Photo, int | None]:
    """The query as a Place, and its row in the query list when its file name stands there."""
    for row, place in enumerate(dataset.queries):
        if name and place.name == name:
            return place, row
    return parse_name(name or "photo"), None


def listed_photo(dataset: Dataset, title: str, name: str) -> Photo:
    """A photo of the query list by its name. UsageError (title: the database's) for an unknown or absent one."""
    place, row = query_place(dataset, name)
    if row is None:
        raise UsageError(f"The photo {name!r} is not among the queries of {title}.")
    if not place.path.is_file():
        raise UsageError(f"The photo {name!r} is known, but {title} came without photos.")
    return place


def known_position(place: Photo, dataset: Dataset, east: Any, north: Any) -> Position | None:
    """The query's position: entered by hand, else from its file name, else None. UsageError for half or bad numbers."""
    entered = [value if value not in (None, "") else None for value in (east, north)]
    if entered != [None, None]:
        if None in entered:
            raise UsageError("A position needs both easting and northing. Fill in both fields, or empty both.")
        try:
            numbers = [float(value) for value in entered]
        except (TypeError, ValueError, OverflowError):
            numbers = [math.nan]
        if not all(math.isfinite(number) and abs(number) < 1e8 for number in numbers):
            raise UsageError(
                f"Easting {repr(entered[0])[:40]} and northing {repr(entered[1])[:40]} are not a UTM position. Enter "
                "metres, for example 584309.15 and 4477012.40."
            )
        return Position(numbers[0], numbers[1], "entered")
    if place.utm is None or not dataset.use_labels:
        return None
    return Position(place.utm[0], place.utm[1], "file name")


def batch_mates_of(dataset: Dataset, row: int | None, count: int) -> list[Photo]:
    """The count queries after a row of the query list, around its end; from the top for a photo not in it."""
    others = len(dataset.queries) - (row is not None)
    if count > others:
        raise UsageError(f"The query list has only {others} other photos, so the company cannot be {count}.")
    start = 0 if row is None else row + 1
    return [dataset.queries[(start + step) % len(dataset.queries)] for step in range(count)]


@dataclass(frozen=True)
class Relevance:
    """Every database photo as an answer to one query: metres to it [D] and whether it is right [D]; None: unknown."""

    metres: np.ndarray | None
    right: np.ndarray | None

    def first_right(self, ranking: np.ndarray) -> tuple[int, float | None] | None:
        """Rank (from 1) of the first right photo in a ranking of database rows, and its metres; None without one."""
        if self.right is None or not self.right[ranking].any():
            return None
        rank = int(np.argmax(self.right[ranking]))
        return rank + 1, None if self.metres is None else float(self.metres[ranking[rank]])


def judge(dataset: Dataset, position: Position | None, right_rows: np.ndarray | None) -> Relevance:
    """Judge all database photos for a query at a position.

    right_rows: the query's positives by the data set's own rule, where the query is one of its list; else photos
    within the radius of the position are right (a rule that compares headings says nothing about other photos).
    """
    database = np.array([place.utm or (np.nan, np.nan) for place in dataset.database])
    known = position is not None and dataset.use_labels and bool(np.isfinite(database).all())
    metres = np.hypot(*(database - (position.east, position.north)).T) if known else None
    truth = dataset.truth
    if right_rows is None and (not known or truth.listed is not None or truth.max_heading_difference is not None):
        return Relevance(metres, None)
    right = np.zeros(len(database), dtype=bool)
    if right_rows is None:
        query = np.array([[position.east, position.north]])
        right_rows = positives(database, query, dataset.truth.radius)[0]
    right[right_rows] = True
    return Relevance(metres, right)


def spread_over_conditions(queries: Sequence[Photo], count: int) -> list[Photo]:
    """Some queries in turn from every condition, each from another stretch of the list."""
    by_condition: dict[str | None, list[Photo]] = {}
    for place in queries:
        by_condition.setdefault(place.condition, []).append(place)
    picked: list[Photo] = []
    while len(picked) < min(count, len(queries)):
        for group in list(by_condition.values()):
            if group and len(picked) < count:
                picked.append(group.pop(len(picked) * len(group) // count))
    return picked


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """What work returns, and how long it took in milliseconds."""
    started = time.perf_counter()
    result = work()
    return result, (time.perf_counter() - started) * 1000.0
