"""Where a query was taken: typed in, from its file name, or from the camera's GPS; in the metres of the database."""

from __future__ import annotations

import math
import re
from typing import Any

from app.core.records import Position
from app.core.values import plain_text, real_number
from scicevpr.datasets import Dataset, Photo
from scicevpr.datasets.positions import UTM_LIMITS
from scicevpr.datasets.zones import EARTH_RADIUS, WIDEST, ZONE, Frame, central_meridian, degrees_of, frame_of, project
from scicevpr.errors import UsageError

LONGEST_POSITION = 100
EXAMPLES = "49.39797, 8.18961 (latitude, longitude) or 441199.99 5472013.72 (easting, northing), perhaps after 32U"
ANGLE = re.compile(
    r"([+-]?\d+(?:\.\d+)?)\s*°?\s*(?:(\d+(?:\.\d+)?)\s*['′]\s*)?(?:(\d+(?:\.\d+)?)\s*(?:[\"″]|'')\s*)?([NSEW]\b)?",
    re.IGNORECASE,
)
"""A number, perhaps with minutes, seconds and a side: 49.4, 49°23'52.3"N."""
FARTHEST = 3 * WIDEST
POLAR = 84.0
"""Degrees of longitude from a zone's middle to which its metres are computed."""


def known_position(
    photo: Photo, dataset: Dataset, east: Any = None, north: Any = None, where: Any = "",
    gps: tuple[float, float] | None = None,
) -> Position | None:  # fmt: skip
    """The query's position: typed in, else from its file name, else from its GPS, else None.

    where: latitude and longitude, or easting and northing, as a text. gps: latitude and longitude in degrees.
    UsageError for half or bad numbers.
    """
    entered = [value for value in (east, north) if value not in (None, "")]
    if len(entered) == 1:
        raise UsageError("A position needs both easting and northing. Fill in both fields, or empty both.")
    text = plain_text(where, "The position", LONGEST_POSITION).strip()
    if text:
        return Position(*read_position(text, dataset), "entered")
    if entered:
        try:
            return Position(real_number(east, "", -1e8, 1e8), real_number(north, "", -1e8, 1e8), "entered")
        except UsageError:
            raise UsageError(
                f"Easting {repr(east)[:40]} and northing {repr(north)[:40]} are not a UTM position. Enter metres, for "
                "example 584309.15 and 4477012.40."
            ) from None
    if not dataset.use_labels:
        return None
    frame, own = frame_of_dataset(dataset), frame_of(photo)
    if photo.utm is not None:
        degrees = degrees_of(photo) if own is not None and frame is not None and own != frame else None
        return Position(*(photo.utm if degrees is None else _projected(degrees, frame)), "file name")
    return None if gps is None or frame is None or abs(gps[0]) > POLAR else Position(*_projected(gps, frame), "GPS")


def read_position(text: str, dataset: Dataset) -> tuple[float, float]:
    """East and north in the database's metres from typed text: degrees, or metres with or without a zone. UsageError
    for text that is no position, and for degrees where the database has no zone."""
    frame = frame_of_dataset(dataset)
    zone, rest = _zone_apart(text)
    found = list(ANGLE.finditer(rest))
    if len(found) != 2 or ANGLE.sub("", rest).strip(" ,;\t"):
        raise UsageError(f"{text[:60]!r} is not a position. Enter two numbers: {EXAMPLES}.")
    values, sides = [_angle(one) for one in found], [(one[4] or "").upper() for one in found]
    if sides[0] in ("E", "W") or sides[1] in ("N", "S"):  # longitude, or north, does not stand where it usually does
        degrees, metres = (values[1], values[0]), (values[0], values[1])
    else:
        degrees, metres = (values[0], values[1]), (values[1], values[0]) if any(sides) else (values[0], values[1])
    if zone is None and abs(degrees[0]) <= 90 and abs(degrees[1]) <= 180:
        if frame is None:
            raise UsageError(
                "The positions of this database name no UTM zone, so degrees cannot be compared with them. Enter "
                "easting and northing in metres as its file names have them."
            )
        if abs(degrees[0]) > POLAR:
            raise UsageError(f"{text[:60]!r} lies beyond {POLAR} degrees, where UTM and with it this page ends.")
        return _projected(degrees, frame)
    limits = (1e8, 1e8) if zone is None and frame is None else UTM_LIMITS
    if any(abs(value) > limit for value, limit in zip(metres, limits, strict=True)):
        raise UsageError(f"{text[:60]!r} is not a position on the Earth. Enter for example {EXAMPLES}.")
    typed = Photo(path=dataset.root, name="typed", utm=metres, zone=zone)
    own = frame_of(typed)
    if frame is None or own is None or own == frame:
        return metres
    place = degrees_of(typed)
    return metres if place is None else _projected(place, frame)


def _zone_apart(text: str) -> tuple[str | None, str]:
    """A zone such as 32U in front of or behind two numbers, and the rest of the text."""
    for part in re.split(r"[\s,;]+", text):
        found, rest = ZONE.fullmatch(part), text.replace(part, " ", 1)
        if found and found[2] and len(list(ANGLE.finditer(rest))) == 2:
            return part, rest
    return None, text


def frame_of_dataset(dataset: Dataset) -> Frame:
    """The zone in which the database's positions are given; None where they name none."""
    return next((frame for frame in map(frame_of, dataset.database) if frame is not None), None)


def _projected(degrees: tuple[float, float], frame: tuple[int, bool]) -> tuple[float, float]:
    """UTM metres of a point in a zone. Far from it, where the zone has no numbers, only the distance counts: the point
    is put at its distance along the parallel."""
    (latitude, longitude), (zone, south) = degrees, frame
    middle = central_meridian(zone)
    off = (longitude - middle + 180) % 360 - 180
    if abs(off) <= FARTHEST:
        return project(latitude, longitude, zone, south)
    east, north = project(latitude, middle, zone, south)
    return east + math.radians(off) * math.cos(math.radians(latitude)) * EARTH_RADIUS, north


def _angle(found: re.Match[str]) -> float:
    size = float(found[1])
    if max(float(found[2] or 0), float(found[3] or 0)) >= 60:
        raise UsageError(f"{found[0].strip()!r} has 60 minutes or seconds and more. Enter for example {EXAMPLES}.")
    size = math.copysign(abs(size) + float(found[2] or 0) / 60 + float(found[3] or 0) / 3600, size)
    return -abs(size) if (found[4] or "").upper() in ("S", "W") else size
