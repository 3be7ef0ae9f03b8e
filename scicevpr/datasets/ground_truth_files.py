"""What makes an answer right: a rule of the data set, from which the positives of every query follow.

The field has four rules: within a radius (25 m, most sets), within a radius and looking the same way (25 m and 40
degrees, MSLS), within some frames of the same drive (Nordland, GardensPoint), and lists that the data set ships with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scicevpr.datasets.names import Photo
from scicevpr.datasets.positives import positives, utm_array
from scicevpr.datasets.zones import frame_of
from scicevpr.errors import DatasetError, UsageError

DEFAULT_RADIUS = 25.0


@dataclass(frozen=True)
class GroundTruth:
    """The rule by which database photos are positives of a query.

    radius: metres, inclusive. turn: degrees by which the headings may differ at most, or None when they do not count.
    listed: database rows per query, when the data set names them itself; radius and turn are not used then. words:
    what the rule is called in a protocol when rows are listed; else what the radius stands for, where it needs saying.

    Raises UsageError for a radius that is no positive number of metres, and a turn that is no angle from 0 to 180.
    """

    radius: float = DEFAULT_RADIUS
    turn: float | None = None
    listed: tuple[np.ndarray, ...] | None = None
    words: str = ""

    def __post_init__(self) -> None:
        if not (isinstance(self.radius, int | float) and 0 < self.radius < np.inf):
            raise UsageError(f"The radius must be a positive number of metres, not {self.radius!r}.")
        if self.turn is not None and not (isinstance(self.turn, int | float) and 0 <= self.turn <= 180):
            raise UsageError(f"The headings may differ by an angle from 0 to 180 degrees, not by {self.turn!r}.")

    @classmethod
    def lists(cls, rows: Sequence[Sequence[int] | np.ndarray], words: str) -> GroundTruth:
        """Positives that a data set lists: database rows for every query, in query order."""
        return cls(listed=tuple(np.unique(np.asarray(row, dtype=np.int64).reshape(-1)) for row in rows), words=words)

    def label(self, radius: float | None = None) -> str:
        """Protocol words: ``"25 m"``, ``"25 m and 40 degrees"``, ``"±10 frames"``, ``"25 m (stand-in ...)"``."""
        if self.listed is not None:
            return self.words
        metres = f"{self.radius if radius is None else radius:g} m"
        if self.turn is not None:
            metres = f"{metres} and {self.turn:g} degrees"
        return f"{metres} ({self.words})" if self.words and radius in (None, self.radius) else metres

    def positives(
        self,
        database: Sequence[Photo],
        queries: Sequence[Photo],
        radius: float | None = None,
        rounding: str = "float64",
    ) -> list[np.ndarray]:
        """Database rows that show the place of each query, ascending; ``radius`` replaces the rule's own.

        Raises:
            UsageError: a radius for a data set that lists its positives. DatasetError: a photo without position, or
            without heading where headings count; listed rows that the database does not have.
        """
        if self.listed is None:
            reach = self.radius if radius is None else radius
            rows = _near(database, queries, reach, rounding)
            return rows if self.turn is None else self._turned_alike(rows, database, queries)
        if radius is not None:
            raise UsageError(
                f"This data set lists its positives itself ({self.words}), so a radius of {radius:g} m has no meaning "
                "for it. Leave the radius out."
            )
        largest = max((int(row[-1]) for row in self.listed if len(row)), default=-1)
        if len(self.listed) != len(queries) or largest >= len(database):
            raise DatasetError(
                f"The ground truth names {len(self.listed)} queries and database rows up to {largest}, but there are "
                f"{len(queries)} queries and {len(database)} database photos: it belongs to other photos."
            )
        return list(self.listed)

    def _turned_alike(
        self, rows: list[np.ndarray], database: Sequence[Photo], queries: Sequence[Photo]
    ) -> list[np.ndarray]:
        headings = _headings(database)
        kept = []
        for near, heading in zip(rows, _headings(queries), strict=True):
            apart = np.abs((headings[near] - heading + 180.0) % 360.0 - 180.0)
            kept.append(near[apart <= self.turn])
        return kept


def _near(database: Sequence[Photo], queries: Sequence[Photo], radius: float, rounding: str) -> list[np.ndarray]:
    """Database rows within a radius of every query; photos of UTM zones far apart are never near each other."""
    places, counts = (utm_array(database), utm_array(queries)), len(database)
    zones = {place.zone for place in (*database, *queries)}
    if len(zones) == 1 and (next(iter(zones)) or "A")[-1].isalpha():  # one zone, one half of the Earth
        return positives(*places, radius, rounding)
    frames = [frame_of(place) for place in (*database, *queries)]
    known = dict.fromkeys(frame for frame in frames if frame is not None)
    if len(known) < 2:
        return positives(*places, radius, rounding)
    found: list[np.ndarray] = [np.empty(0, np.int64)] * len(queries)
    for own in (*known, *([None] if None in frames else [])):
        rows = np.array([row for row, frame in enumerate(frames[:counts]) if frame == own], dtype=np.int64)
        chosen = [row for row, frame in enumerate(frames[counts:]) if frame == own]
        for query, near in zip(chosen, positives(places[0][rows], places[1][chosen], radius, rounding), strict=True):
            found[query] = rows[near]
    return found


def _headings(places: Sequence[Photo]) -> np.ndarray:
    missing = next((place for place in places if place.heading is None), None)
    if missing is not None:
        raise DatasetError(f"{missing.path} carries no heading, but this data set's rule compares headings.")
    return np.array([place.heading for place in places], dtype=np.float64)
