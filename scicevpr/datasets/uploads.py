"""Positions of photos that come from anywhere: from a table, from their names, or from the GPS of the camera."""

from __future__ import annotations

import math
import struct
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from scicevpr.datasets.photos import Photo, parse_name, position_problem
from scicevpr.datasets.positions import check_positions, read_positions, with_positions
from scicevpr.datasets.tables import NameIndex
from scicevpr.datasets.zones import frame_of, in_one_zone, latitude_letter, project, utm_zone
from scicevpr.errors import DatasetError
from scicevpr.files.photos import FORMATS

TABLE, NAME, GPS, NOWHERE = "table", "file name", "GPS of the camera", ""
GPS_BLOCK = 0x8825  # the EXIF tag that leads to it, and its own tags:
LATITUDE_SIDE, LATITUDE, LONGITUDE_SIDE, LONGITUDE, HEADING_KIND, HEADING = 1, 2, 3, 4, 16, 17
ZONE_UNKNOWN = "without a zone"


@dataclass(frozen=True)
class PlacedPhoto:
    """A photo with what is known of its position. source: TABLE, NAME, GPS or NOWHERE; problem: why nowhere, or ""."""

    photo: Photo
    source: str
    problem: str = ""


def place_photos(
    photos: Sequence[Path], table: Path | None = None, condition: str = ""
) -> tuple[list[PlacedPhoto], list[str]]:
    """Find the position of every photo, and say in notes how.

    With a table (CSV as for `with_positions`) only the table counts; photos it does not name have no position. Else
    the file name counts, then the camera's GPS, projected into the UTM zone of the photo. condition: for photos whose
    name or row says none.

    Photos of neighbouring UTM zones are put into one. Raises DatasetError for a table with none of the photos or with a
    value that is no number, and for positions in zones far apart, because metres between them mean nothing here.
    """
    named = [parse_name(path) for path in photos]
    if table is None:
        placed, notes = [_placed(photo) for photo in named], []
    else:
        try:
            placed, notes = _from_table(named, table)
        except DatasetError as error:  # a visitor knows the table by its name
            raise DatasetError(str(error).replace(str(table), table.name)) from error
    check_positions([found.photo for found in placed])
    moved, more = in_one_zone([found.photo for found in placed])
    placed = [
        replace(found, photo=replace(photo, condition=photo.condition or condition or None))
        for found, photo in zip(placed, moved, strict=True)
    ]
    _check_zones(placed)
    return placed, [*notes, *more]


def gps_of(path: Path) -> tuple[tuple[float, float] | None, float | None]:
    """Latitude and longitude in degrees (WGS 84) that the camera wrote into a photo, and the heading in degrees from
    true north; None for what it did not write.

    Raises DatasetError for a position that cannot be one: no numbers, off the Earth, or 0, 0 as cameras without a fix
    write it.
    """
    block = _gps_block(path)
    if LATITUDE not in block or LONGITUDE not in block:
        return None, None
    if _without_seconds(block[LATITUDE]) or _without_seconds(block[LONGITUDE]):
        raise DatasetError(
            "its GPS data gives degrees and minutes without seconds, which tells the place to a kilometre or two only"
        )
    latitude = _degrees(block[LATITUDE], block.get(LATITUDE_SIDE), "S")
    longitude = _degrees(block[LONGITUDE], block.get(LONGITUDE_SIDE), "W")
    if not (math.isfinite(latitude) and math.isfinite(longitude)):
        raise DatasetError("its GPS data holds no numbers")
    if latitude == longitude == 0:
        raise DatasetError("its GPS data says 0, 0: the camera had no fix")
    if abs(latitude) > 84 or abs(longitude) > 180:
        raise DatasetError(f"its GPS data says {latitude:g}, {longitude:g}, where UTM has no place")
    heading = None
    if HEADING in block and _letter(block.get(HEADING_KIND)) == "T":  # M counts from magnetic north
        angle = _number(block[HEADING])
        heading = angle % 360 if math.isfinite(angle) else None
    return (latitude, longitude), heading


def to_utm(latitude: float, longitude: float) -> tuple[tuple[float, float], str]:
    """UTM metres (east, north) and zone, such as "32U", of a point in degrees."""
    zone = utm_zone(latitude, longitude)
    return project(latitude, longitude, zone, latitude < 0), f"{zone}{latitude_letter(latitude)}"


def _placed(photo: Photo) -> PlacedPhoto:
    if photo.utm is not None:
        return PlacedPhoto(photo, NAME)
    in_name = f"{position_problem(photo.name)}; " if "@" in photo.name else ""
    try:
        degrees, heading = gps_of(photo.path)
    except DatasetError as error:
        return PlacedPhoto(photo, NOWHERE, f"{in_name}{error}")
    if degrees is None:
        return PlacedPhoto(photo, NOWHERE, f"{in_name}neither its name nor its GPS data says where it was taken")
    utm, zone = to_utm(*degrees)
    return PlacedPhoto(replace(photo, utm=utm, zone=zone, heading=photo.heading or heading), GPS)


def _from_table(photos: Sequence[Photo], table: Path) -> tuple[list[PlacedPhoto], list[str]]:
    lines, _ = read_positions(table)
    index = NameIndex(photos, "photos")
    names = [line["name"] for line in lines if line["name"] in index]
    rows = sorted({index.row(name, Path(table.name)) for name in names})
    if not rows:
        raise DatasetError(
            f"{table.name} names none of the {len(photos)} photos (they are called like {photos[0].name!r}). Write the "
            "names as the files have them; upper and lower case count."
        )
    positioned, note = with_positions(table, [photos[row] for row in rows], ())
    by_row = dict(zip(rows, positioned, strict=True))
    nowhere = f"{table.name} has no row for it"
    placed = [
        PlacedPhoto(by_row[row], TABLE) if row in by_row else PlacedPhoto(replace(photo, utm=None), NOWHERE, nowhere)
        for row, photo in enumerate(photos)
    ]
    return placed, [note]


def _check_zones(placed: Sequence[PlacedPhoto]) -> None:
    located = [found for found in placed if found.photo.utm is not None]
    zones = Counter(_half_zone(found.photo) for found in located)
    if len(zones) < 2:
        return
    counts = ", ".join(f"{count} {zone}" for zone, count in zones.items())
    examples = {_half_zone(found.photo): found.photo.name for found in reversed(located)}
    first, second = [examples[zone] for zone in zones][:2]
    raise DatasetError(
        f"The photos do not lie in one UTM zone ({counts}; for instance {first} and {second}), so metres between them "
        "mean nothing. Bring one zone's photos, or a table with latitude,longitude: it is projected into one zone."
    )


def _half_zone(photo: Photo) -> str:
    """Zone number and half of the Earth: bands of latitude share their metres."""
    frame = frame_of(photo)
    return ZONE_UNKNOWN if frame is None else f"in zone {frame[0]}{' south' if frame[1] else ''}"


def _gps_block(path: Path) -> dict:
    Image.init()
    formats = [form for form in FORMATS if form in Image.OPEN]
    try:
        with Image.open(path, formats=formats) as image:
            return dict(image.getexif().get_ifd(GPS_BLOCK))
    except (OSError, ValueError, SyntaxError, LookupError, TypeError, struct.error, Image.DecompressionBombError):
        return {}


def _degrees(value: object, side: object, negative: str) -> float:
    """Degrees, minutes and seconds to degrees; nan for what is no number."""
    parts = value if isinstance(value, (tuple, list)) else (value,)
    numbers = [_number(part) for part in parts][:3]
    size = sum(number / 60**power for power, number in enumerate(numbers)) if numbers else math.nan
    return -size if _letter(side) == negative else size


def _without_seconds(value: object) -> bool:
    """True for whole degrees and whole minutes whose seconds are missing (0/0) or not there at all."""
    numbers = [_number(part) for part in value] if isinstance(value, (tuple, list)) else []
    if len(numbers) < 2 or not all(math.isfinite(number) and number == int(number) for number in numbers[:2]):
        return False
    return len(numbers) == 2 or not math.isfinite(numbers[2])


def _number(value: object) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, ZeroDivisionError):
        return math.nan


def _letter(value: object) -> str:
    text = value.decode("ascii", "ignore") if isinstance(value, bytes) else str(value or "")
    return text.strip("\0 ").upper()[:1]
