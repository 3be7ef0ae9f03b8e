"""Which database photos show the place of a query: those within a radius of its UTM position."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from scicevpr.datasets.names import Photo
from scicevpr.datasets.zones import frame_of, metres_between
from scicevpr.errors import DatasetError, UsageError

ROUNDINGS = ("float64", "float32")
FAR = 1e8  # metres, more than any two photos of one zone can be apart


def positives(
    database_utm: np.ndarray | Sequence,
    query_utm: np.ndarray | Sequence,
    radius: float = 25.0,
    rounding: str = "float64",
) -> list[np.ndarray]:
    """Database rows within `radius` metres (inclusive) of every query.

    database_utm [D, 2], query_utm [Q, 2]: east and north in metres. Returns Q ascending int64 arrays, possibly empty.
    rounding "float32" first rounds the coordinates to single precision, as the published SciceVPR evaluation does:
    northings are then only exact to 0.25-0.5 m, which flips photos at the border. Zones are not compared.

    Raises UsageError for another rounding, a radius that is not a positive number, or arrays of another shape.
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


def distances(database: Sequence[Photo], queries: Sequence[Photo], rows: np.ndarray) -> np.ndarray:
    """Metres between each query and its database rows [Q, K] (float64; NaN where a row is -1 or a position unknown)."""
    metres, one_zone = np.full(rows.shape, np.nan), len({place.zone for place in (*database, *queries)}) == 1
    for index, place in enumerate(queries):
        for rank, row in enumerate(rows[index]):
            if row >= 0 and one_zone and place.utm is not None and database[row].utm is not None:
                metres[index, rank] = math.hypot(*(a - b for a, b in zip(place.utm, database[row].utm, strict=True)))
            elif row >= 0:
                metres[index, rank] = metres_between(place, database[row])
    return metres


def separate_positions(places: Sequence[Photo]) -> np.ndarray:
    """Positions [N, 2] as `utm_array` gives them, those of zones far apart moved far apart: equal numbers of two zones
    are not one place."""
    positions, frames = utm_array(places), [frame_of(place) for place in places]
    numbers = {frame: number for number, frame in enumerate(dict.fromkeys(frames))}
    return positions + np.array([[FAR * numbers[frame], 0.0] for frame in frames]).reshape(-1, 2)


def utm_array(places: Sequence[Photo]) -> np.ndarray:
    """Positions of labelled places [N, 2] float64. Raises DatasetError naming the first photo without one."""
    for place in places:
        if place.utm is None:
            raise DatasetError(f"{place.path} carries no position in its name (expected @east@north@...@.jpg).")
    return np.array([place.utm for place in places], dtype=np.float64).reshape(-1, 2)


def _coordinates(rows: np.ndarray | Sequence, rounding: str) -> np.ndarray:
    array = np.asarray(rows, dtype=np.float64)
    if array.size == 0:
        array = array.reshape(0, 2)
    if array.ndim != 2 or array.shape[1] != 2:
        raise UsageError(f"UTM positions must have the shape [N, 2] (east, north), not {list(array.shape)}.")
    return array.astype(np.float32).astype(np.float64) if rounding == "float32" else array
