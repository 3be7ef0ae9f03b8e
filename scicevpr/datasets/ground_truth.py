"""What makes an answer right: a rule of the data set, from which the positives of every query follow.

The field has four rules: within a radius (25 m, most sets), within a radius and looking the same way (25 m and 40
degrees, MSLS), within some frames of the same drive (Nordland, GardensPoint), and lists that the data set ships with.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scicevpr.datasets.photos import Photo
from scicevpr.datasets.zones import frame_of, metres_between
from scicevpr.errors import DatasetError, UsageError

DEFAULT_RADIUS = 25.0
ROUNDINGS = ("float64", "float32")
FAR = 1e8  # metres, more than any two photos of one zone can be apart
DIGITS = re.compile(r"\d+")


@dataclass(frozen=True)
class GroundTruth:
    """The rule by which database photos are positives of a query.

    radius: metres, inclusive. max_heading_difference: degrees, or None when headings do not count. listed: database
    rows per query, when the data set names them itself; the other two are not used then. name: what a listed rule is
    called in a protocol; else what the radius stands for, where it needs saying.

    Raises UsageError for a radius that is no positive number, and a difference that is no angle from 0 to 180.
    """

    radius: float = DEFAULT_RADIUS
    max_heading_difference: float | None = None
    listed: tuple[np.ndarray, ...] | None = None
    name: str = ""

    def __post_init__(self) -> None:
        if not (isinstance(self.radius, int | float) and 0 < self.radius < np.inf):
            raise UsageError(f"The radius must be a positive number of metres, not {self.radius!r}.")
        angle = self.max_heading_difference
        if angle is not None and not (isinstance(angle, int | float) and 0 <= angle <= 180):
            raise UsageError(f"The headings may differ by an angle from 0 to 180 degrees, not by {angle!r}.")

    @classmethod
    def lists(cls, rows: Sequence[Sequence[int] | np.ndarray], name: str) -> GroundTruth:
        """Positives that a data set lists: database rows for every query, in query order."""
        return cls(listed=tuple(np.unique(np.asarray(row, dtype=np.int64).reshape(-1)) for row in rows), name=name)

    def label(self, radius: float | None = None) -> str:
        """The rule as protocols call it: "25 m", "25 m and 40 degrees", "±10 frames", "25 m (stand-in ...)"."""
        if self.listed is not None:
            return self.name
        metres = f"{self.radius if radius is None else radius:g} m"
        if self.max_heading_difference is not None:
            metres = f"{metres} and {self.max_heading_difference:g} degrees"
        return f"{metres} ({self.name})" if self.name and radius in (None, self.radius) else metres

    def positives(
        self,
        database: Sequence[Photo],
        queries: Sequence[Photo],
        radius: float | None = None,
        rounding: str = "float64",
    ) -> list[np.ndarray]:
        """Database rows that show the place of each query, ascending; ``radius`` replaces the rule's own.

        Raises UsageError for a radius where positives are listed, DatasetError for a photo without position, or without
        heading where headings count, and for listed rows that the database does not have.
        """
        if self.listed is None:
            reach = self.radius if radius is None else radius
            rows = _near(database, queries, reach, rounding)
            if self.max_heading_difference is None:
                return rows
            headings, apart = _headings(database), []
            for near, heading in zip(rows, _headings(queries), strict=True):
                apart.append(np.abs((headings[near] - heading + 180.0) % 360.0 - 180.0))
            return [near[angles <= self.max_heading_difference] for near, angles in zip(rows, apart, strict=True)]
        if radius is not None:
            raise UsageError(
                f"This data set lists its positives itself ({self.name}), so a radius of {radius:g} m has no meaning "
                "for it. Leave the radius out."
            )
        largest = max((int(row[-1]) for row in self.listed if len(row)), default=-1)
        if len(self.listed) != len(queries) or largest >= len(database):
            raise DatasetError(
                f"The ground truth names {len(self.listed)} queries and database rows up to {largest}, but there are "
                f"{len(queries)} queries and {len(database)} database photos: it belongs to other photos."
            )
        return list(self.listed)


def _near(database: Sequence[Photo], queries: Sequence[Photo], radius: float, rounding: str) -> list[np.ndarray]:
    """Database rows within a radius of every query; photos of UTM zones far apart are never near each other."""
    positions, count = (utm_array(database), utm_array(queries)), len(database)
    zones = {photo.zone for photo in (*database, *queries)}
    if len(zones) == 1 and (next(iter(zones)) or "A")[-1].isalpha():  # one zone, one half of the Earth
        return positives(*positions, radius, rounding)
    frames = [frame_of(photo) for photo in (*database, *queries)]
    known = dict.fromkeys(frame for frame in frames if frame is not None)
    if len(known) < 2:
        return positives(*positions, radius, rounding)
    found: list[np.ndarray] = [np.empty(0, np.int64)] * len(queries)
    for own in (*known, *([None] if None in frames else [])):
        rows = np.array([row for row, frame in enumerate(frames[:count]) if frame == own], dtype=np.int64)
        asked = [row for row, frame in enumerate(frames[count:]) if frame == own]
        near = positives(positions[0][rows], positions[1][asked], radius, rounding)
        for query, close in zip(asked, near, strict=True):
            found[query] = rows[close]
    return found


def _headings(photos: Sequence[Photo]) -> np.ndarray:
    missing = next((photo for photo in photos if photo.heading is None), None)
    if missing is not None:
        raise DatasetError(f"{missing.path} carries no heading, but this data set's rule compares headings.")
    return np.array([photo.heading for photo in photos], dtype=np.float64)


# ---- positions -------------------------------------------------------------------------------------------------------


def positives(
    database_utm: np.ndarray | Sequence,
    query_utm: np.ndarray | Sequence,
    radius: float = 25.0,
    rounding: str = "float64",
) -> list[np.ndarray]:
    """Database rows within `radius` metres (inclusive) of every query.

    database_utm [D, 2], query_utm [Q, 2]: metres. Returns Q ascending int64 arrays. rounding "float32" first rounds the
    coordinates to single precision, as the published SciceVPR evaluation does: northings are then only exact to 0.25 to
    0.5 m, which flips photos at the border. Zones are not compared. Raises UsageError for what it cannot use.
    """
    if rounding not in ROUNDINGS:
        raise UsageError(f"UTM rounding {rounding!r} is unknown; choose one of {', '.join(ROUNDINGS)}.")
    if not (np.isfinite(radius) and radius > 0):
        raise UsageError(f"The radius must be a positive number of metres, not {radius}.")
    database, queries = (_coordinates(rows, rounding) for rows in (database_utm, query_utm))
    axis = int(np.ptp(database, axis=0).argmax()) if len(database) else 0  # stand-in positions lie on one line
    order = np.argsort(database[:, axis], kind="stable")  # sorted along it: each query looks at one strip only
    ordered = database[order]
    reach = radius + 1.0  # a little wider than the radius, so that rounding at the strip's edge cannot matter
    first = np.searchsorted(ordered[:, axis], queries[:, axis] - reach, side="left")
    last = np.searchsorted(ordered[:, axis], queries[:, axis] + reach, side="right")
    found = []
    for query, start, stop in zip(queries, first, last, strict=True):
        offsets = ordered[start:stop] - query
        near = offsets[:, 0] ** 2 + offsets[:, 1] ** 2 <= radius**2
        found.append(np.sort(order[start:stop][near]))
    return found


def _coordinates(rows: np.ndarray | Sequence, rounding: str) -> np.ndarray:
    array = np.asarray(rows, dtype=np.float64)
    if array.size == 0:
        array = array.reshape(0, 2)
    if array.ndim != 2 or array.shape[1] != 2:
        raise UsageError(f"UTM positions must have the shape [N, 2] (east, north), not {list(array.shape)}.")
    return array.astype(np.float32).astype(np.float64) if rounding == "float32" else array


def distances(database: Sequence[Photo], queries: Sequence[Photo], rows: np.ndarray) -> np.ndarray:
    """Metres between each query and its database rows [Q, K] (float64; NaN where a row is -1 or a position unknown)."""
    metres, one_zone = np.full(rows.shape, np.nan), len({photo.zone for photo in (*database, *queries)}) == 1
    for index, photo in enumerate(queries):
        for rank, row in enumerate(rows[index]):
            if row >= 0 and one_zone and photo.utm is not None and database[row].utm is not None:
                metres[index, rank] = math.hypot(*(a - b for a, b in zip(photo.utm, database[row].utm, strict=True)))
            elif row >= 0:
                metres[index, rank] = metres_between(photo, database[row])
    return metres


def separate_positions(photos: Sequence[Photo]) -> np.ndarray:
    """Positions [N, 2] as `utm_array` gives them, those of zones far apart moved far apart: equal numbers of two zones
    are not one place."""
    positions, frames = utm_array(photos), [frame_of(photo) for photo in photos]
    numbers = {frame: number for number, frame in enumerate(dict.fromkeys(frames))}
    return positions + np.array([[FAR * numbers[frame], 0.0] for frame in frames]).reshape(-1, 2)


def utm_array(photos: Sequence[Photo]) -> np.ndarray:
    """Positions of photos [N, 2] float64. Raises DatasetError naming the first photo without one."""
    for photo in photos:
        if photo.utm is None:
            raise DatasetError(f"{photo.path} carries no position in its name (expected @east@north@...@.jpg).")
    return np.array([photo.utm for photo in photos], dtype=np.float64).reshape(-1, 2)


# ---- frames of a drive -----------------------------------------------------------------------------------------------


def frames_truth(database: Sequence[Photo], queries: Sequence[Photo], tolerance: int) -> GroundTruth:
    """A query shows what the database frames show whose number is its own, ``tolerance`` more or less.

    Numbers come from the names ("img_007.png" is frame 7, whatever the zeros). Where names carry none, frames are
    counted by row, which needs as many photos on both sides. Raises DatasetError when the sides cannot be matched.
    """
    numbers = {"database": frame_numbers(database), "query": frame_numbers(queries)}
    own = {side: "numbers" if found is not None else "no numbers" for side, found in numbers.items()}
    if len(set(own.values())) == 2:
        raise DatasetError(
            f"Frames cannot be matched: the names of the database photos carry {own['database']} that tell them apart "
            f"(such as {database[0].name}), those of the queries {own['query']} (such as {queries[0].name}). Name the "
            "right answers in a list (--ground-truth), or rename the photos."
        )
    counted = numbers["database"] is None
    if counted and len(database) != len(queries):
        raise DatasetError(
            f"Frames cannot be matched: the names carry no frame numbers ({database[0].name}, {queries[0].name}), and "
            f"by row {len(queries)} queries do not go with {len(database)} database photos. Name the right answers in "
            "a list (--ground-truth), or number the photos."
        )
    frames, asked = numbers["database"], numbers["query"]
    if frames is None or asked is None:
        frames, asked = np.arange(len(database)), np.arange(len(queries))
    order = np.argsort(frames, kind="stable")
    first = np.searchsorted(frames[order], asked - tolerance, side="left")
    last = np.searchsorted(frames[order], asked + tolerance, side="right")
    rows = [np.sort(order[start:stop]) for start, stop in zip(first, last, strict=True)]
    if rows and not any(len(found) for found in rows):
        raise DatasetError(
            f"Frames cannot be matched: the database's numbers go from {frames.min()} to {frames.max()}, the queries' "
            f"from {asked.min()} to {asked.max()}, and none are within {tolerance} of each other. Are they two "
            "drives of one route, counted alike?"
        )
    rule = f"±{tolerance} frames" if tolerance else "same frame number"
    return GroundTruth.lists(rows, f"{rule} ({'counted by row' if counted else 'numbers from the names'})")


def frame_numbers(photos: Sequence[Photo]) -> np.ndarray | None:
    """The number [N] of every frame: the only number in the names that differs between photos, or in names with
    coordinates the panorama's. None where there is no such number. Raises DatasetError where two photos have the same.
    """
    names = [_numbered_part(photo) for photo in photos]
    found = [[int(text) for text in DIGITS.findall(name)] for name in names]
    forms = {DIGITS.sub("#", name) for name in names}
    if len(forms) != 1 or not found[0]:
        return None
    table = np.array(found, dtype=object)
    varying = [column for column in range(table.shape[1]) if len(set(table[:, column])) > 1]
    if len(photos) == 1:
        varying = [table.shape[1] - 1]
    if len(varying) != 1:
        return None
    numbers = table[:, varying[0]]
    if max(numbers) >= 2**62:
        return None
    repeated = [number for number, count in Counter(numbers).items() if count > 1]
    if repeated:
        names = [str(photo.path) for photo, number in zip(photos, numbers, strict=True) if number == repeated[0]]
        raise DatasetError(
            f"Frames cannot be matched: {len(repeated)} numbers occur twice, such as {repeated[0]} in {names[0]} and "
            f"{names[1]}. Give one drive at a time, or name the right answers in a list (--ground-truth)."
        )
    return numbers.astype(np.int64)


def _numbered_part(photo: Photo) -> str:
    """Where a name may carry a frame number: @east@north@zone@letter@latitude@longitude@PANO@..., else all of it."""
    pieces = photo.path.stem.split("@")
    if len(pieces) < 4:
        return photo.path.stem
    return pieces[7] if len(pieces) > 8 else ""
