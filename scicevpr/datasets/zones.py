"""UTM zones: which one a point lies in, and photos of several zones put into one, so that metres between them hold.

East and north count anew in every zone, and north in each half of the Earth; equal numbers of different zones are
hundreds of kilometres apart, and photos on both sides of a border have different numbers a few metres from each other.

UTM itself is 50 lines here, better than a millimetre, instead of a dependency on PROJ: the series of Krueger to the
third power of the third flattening, as given by Karney, "Transverse Mercator with an accuracy of a few nanometers"
(2011).
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from math import asin, atan, atanh, cos, cosh, degrees, radians, sin, sinh, sqrt

import numpy as np

from scicevpr.datasets.photos import Photo, degrees_in_name

SOUTHERN_NORTH = 10_000_000.0  # metres, added to the north of the southern half, so that it is positive
SOUTHERN_LETTERS = "CDEFGHJKLM"
WIDEST = 12.0  # degrees of longitude from a zone's middle to which its projection is carried on: two zones further
AT_EQUATOR = 1.0  # degrees of latitude within which photos of both halves may share one zone
EARTH_RADIUS = 6_371_009.0  # metres, mean
ZONE = re.compile(r"0*([1-9]|[1-5]\d|60)([C-HJ-NP-X]?)", re.IGNORECASE)

EQUATOR_RADIUS = 6378137.0  # metres
FLATTENING = 1 / 298.257223563
SCALE = 0.9996
FALSE_EAST = 500_000.0
THIRD_FLATTENING = FLATTENING / (2 - FLATTENING)
_n = THIRD_FLATTENING
RECTIFYING_RADIUS = EQUATOR_RADIUS / (1 + _n) * (1 + _n**2 / 4 + _n**4 / 64)
ALPHA = (_n / 2 - 2 * _n**2 / 3 + 5 * _n**3 / 16, 13 * _n**2 / 48 - 3 * _n**3 / 5, 61 * _n**3 / 240)
BETA = (_n / 2 - 2 * _n**2 / 3 + 37 * _n**3 / 96, _n**2 / 48 + _n**3 / 15, 17 * _n**3 / 480)
DELTA = (2 * _n - 2 * _n**2 / 3 - 2 * _n**3, 7 * _n**2 / 3 - 8 * _n**3 / 5, 56 * _n**3 / 15)

Frame = tuple[int, bool] | None
"""A zone's number and whether north counts from 10,000 km at the equator; None for a position without a zone."""


def utm_zone(latitude: float, longitude: float) -> int:
    """The UTM zone of a point in degrees, with the exceptions for south-west Norway (32V) and Svalbard (31X to 37X)."""
    zone = min(60, int((longitude + 180) // 6) + 1)
    if 56 <= latitude < 64 and 3 <= longitude < 12:
        return 32
    if 72 <= latitude <= 84 and 0 <= longitude < 42:
        return 31 if longitude < 9 else 33 if longitude < 21 else 35 if longitude < 33 else 37
    return zone


def project(latitude: float, longitude: float, zone: int, south: bool) -> tuple[float, float]:
    """UTM metres (east, north) of a point in degrees in a zone, which need not be its own; south: as in `Frame`."""
    east, north = from_latitude_longitude(latitude, longitude, zone)
    return east, north + (SOUTHERN_NORTH if south else 0.0)


def to_utm(latitude: float, longitude: float) -> tuple[tuple[float, float], str]:
    """UTM metres (east, north) and zone, such as "32U", of a point in degrees."""
    zone = utm_zone(latitude, longitude)
    return project(latitude, longitude, zone, latitude < 0), f"{zone}{latitude_letter(latitude)}"


def frame_of(photo: Photo) -> Frame:
    """In which numbers a place's position is given. Half of the Earth: by the latitude in the name, else the letter."""
    found = ZONE.fullmatch(photo.zone or "")
    if found is None or photo.utm is None:
        return None
    stated = degrees_in_name(photo.name)
    if found[2]:
        south = found[2].upper() in SOUTHERN_LETTERS
        if stated is not None and (stated[0] < 0) != south and abs(stated[0]) > AT_EQUATOR:
            south = stated[0] < 0  # "34S" may be a band of the north or say "south"
        return int(found[1]), south
    return int(found[1]), stated[0] < 0 if stated is not None else photo.utm[1] < 0


def degrees_of(photo: Photo) -> tuple[float, float] | None:
    """Latitude and longitude of a position with a zone, None without one."""
    frame = frame_of(photo)
    return None if frame is None or photo.utm is None else _degrees(frame, photo.utm)


def _degrees(frame: tuple[int, bool], utm: tuple[float, float]) -> tuple[float, float]:
    (zone, south), (east, north) = frame, utm
    return to_latitude_longitude(east, north - (SOUTHERN_NORTH if south and north >= 0 else 0.0), zone)


def in_one_zone(photos: Sequence[Photo]) -> tuple[list[Photo], list[str]]:
    """The photos with their positions in one zone where they lie near enough to each other, and notes about it.

    Positions of other zones are projected into the zone that most photos have; so are southern norths that count from
    0 at the equator among others that count from 10,000 km. Photos too far away keep their zone: see `frame_of`.
    """
    frames = [frame_of(photo) for photo in photos]
    known = Counter(frame for frame in frames if frame is not None)
    norths = [(frame, photo.utm[1]) for photo, frame in zip(photos, frames, strict=True) if frame and photo.utm]
    mixed = any(south and north < 0 for (_, south), north in norths) and any(north >= 0 for _, north in norths)
    if len(known) < 2 and not mixed:
        return list(photos), []
    target = min(known, key=lambda frame: (-known[frame], frame))
    moved: Counter[str | None] = Counter()
    far: Counter[str | None] = Counter()
    signs, result = 0, []
    for photo, frame in zip(photos, frames, strict=True):
        if frame is None or photo.utm is None:
            result.append(photo)
            continue
        if frame == target:
            low = frame[1] and photo.utm[1] < 0
            signs += low
            result.append(replace(photo, utm=(photo.utm[0], photo.utm[1] + SOUTHERN_NORTH)) if low else photo)
            continue
        latitude, longitude = _degrees(frame, photo.utm)
        off = abs((longitude - central_meridian(target[0]) + 180) % 360 - 180)
        if off > WIDEST or (frame[1] != target[1] and abs(latitude) > AT_EQUATOR):
            far[photo.zone] += 1
            result.append(photo)
            continue
        moved[photo.zone] += 1
        result.append(replace(photo, utm=project(latitude, longitude, *target), zone=_named(target)))
    notes = []
    if moved:
        notes.append(
            f"Positions of other UTM zones ({_counted(moved)}) were projected into zone {_named(target)}, so that "
            "metres hold across the border."
        )
    if signs:
        notes.append(
            f"{signs} southern positions counted north from 0 at the equator, the others from 10,000 km; the former "
            "had 10,000 km added."
        )
    if far:
        notes.append(
            f"Positions lie in UTM zones far away from zone {_named(target)} ({_counted(far)}): photos of zones "
            "far apart are never near each other."
        )
    return result, notes


def metres_between(a: Photo, b: Photo) -> float:
    """Metres between two positions; on the sphere where they lie in different zones, NaN where one is unknown."""
    if a.utm is None or b.utm is None:
        return math.nan
    one, other = frame_of(a), frame_of(b)
    if one is None or other is None or one == other:
        return math.hypot(a.utm[0] - b.utm[0], a.utm[1] - b.utm[1])
    (lat1, lon1), (lat2, lon2) = (map(math.radians, _degrees(*both)) for both in ((one, a.utm), (other, b.utm)))
    half = math.sin((lat2 - lat1) / 2) ** 2 + math.cos(lat1) * math.cos(lat2) * math.sin((lon2 - lon1) / 2) ** 2
    return 2 * EARTH_RADIUS * math.asin(math.sqrt(min(1.0, half)))


def metres_apart(one: tuple[float, float] | None, other: tuple[float, float] | None) -> float | None:
    """Metres between two positions of one zone; None where one is unknown."""
    return None if one is None or other is None else float(np.hypot(one[0] - other[0], one[1] - other[1]))


def _counted(zones: Counter) -> str:
    return ", ".join(f"{count} in {zone}" for zone, count in sorted(zones.items()))


def _named(frame: tuple[int, bool]) -> str:
    """A zone's name with the letter of the band at its side of the equator: all bands of a half share their metres."""
    return f"{frame[0]}{latitude_letter(-1.0 if frame[1] else 1.0)}"


# ---- UTM on the WGS 84 ellipsoid -------------------------------------------------------------------------------------


def central_meridian(zone_number: int) -> float:
    """Degrees east of the middle of a UTM zone."""
    return zone_number * 6 - 183.0


def to_latitude_longitude(east: float, north: float, zone_number: int) -> tuple[float, float]:
    """Degrees (latitude, longitude) of a point of the northern hemisphere given in UTM metres."""
    xi = north / (SCALE * RECTIFYING_RADIUS)
    eta = (east - FALSE_EAST) / (SCALE * RECTIFYING_RADIUS)
    xi_sphere = xi - sum(b * sin(2 * k * xi) * cosh(2 * k * eta) for k, b in enumerate(BETA, 1))
    eta_sphere = eta - sum(b * cos(2 * k * xi) * sinh(2 * k * eta) for k, b in enumerate(BETA, 1))
    chi = asin(sin(xi_sphere) / cosh(eta_sphere))
    latitude = chi + sum(d * sin(2 * k * chi) for k, d in enumerate(DELTA, 1))
    longitude = atan(sinh(eta_sphere) / cos(xi_sphere))
    return degrees(latitude), central_meridian(zone_number) + degrees(longitude)


def from_latitude_longitude(latitude: float, longitude: float, zone_number: int) -> tuple[float, float]:
    """UTM metres (east, north) of a point of the northern hemisphere; the inverse of `to_latitude_longitude`."""
    phi, difference = radians(latitude), radians(longitude - central_meridian(zone_number))
    e = 2 * sqrt(THIRD_FLATTENING) / (1 + THIRD_FLATTENING)
    t = sinh(atanh(sin(phi)) - e * atanh(e * sin(phi)))
    xi_sphere = atan(t / cos(difference))
    eta_sphere = atanh(sin(difference) / sqrt(1 + t * t))
    east = eta_sphere + sum(a * cos(2 * k * xi_sphere) * sinh(2 * k * eta_sphere) for k, a in enumerate(ALPHA, 1))
    north = xi_sphere + sum(a * sin(2 * k * xi_sphere) * cosh(2 * k * eta_sphere) for k, a in enumerate(ALPHA, 1))
    return FALSE_EAST + SCALE * RECTIFYING_RADIUS * east, SCALE * RECTIFYING_RADIUS * north


def latitude_letter(latitude: float) -> str:
    """The letter of a latitude band, C to X."""
    return "CDEFGHJKLMNPQRSTUVWX"[min(19, max(0, int((latitude + 80) // 8)))]
