"""Positions of photos: from a table, from their names or from the GPS of the camera, and whether they can be true."""

from __future__ import annotations

import io
import math
import struct
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from scicevpr.datasets.ground_truth import DEFAULT_RADIUS
from scicevpr.datasets.photos import Photo, parse_name, position_problem
from scicevpr.datasets.tables import NameIndex, number_of, read_table
from scicevpr.datasets.zones import frame_of, in_one_zone, latitude_letter, project, to_utm, utm_zone
from scicevpr.errors import DatasetError
from scicevpr.files.photos import FORMATS

UTM_LIMITS = (1_000_000.0, 10_000_000.0)  # metres east and north that UTM coordinates cannot exceed
LARGEST = 40_075_017.0  # metres, the Earth's equator: no local coordinates are larger
POSITION_COLUMNS = "name and either east,north (metres) or latitude,longitude (degrees)"
UTM_EAST = (100_000.0, 900_000.0)  # metres: a zone and what is read beyond its borders


def with_positions(path: Path | str, database: Sequence[Photo], queries: Sequence[Photo]) -> tuple[list[Photo], str]:
    """The photos (database, then queries) with positions from a CSV file, and a note on how they were read.

    Columns: POSITION_COLUMNS, perhaps ``heading`` (degrees) and ``condition``. A name may carry folders where names
    repeat. Degrees are projected into the one UTM zone of the middle photo, so that distances hold across zone borders
    too. Raises DatasetError for a missing column, a value that is no number, or a photo without a row.
    """
    path, photos = Path(path), [*database, *queries]
    table, columns = read_positions(path)
    index = NameIndex(photos, "photos")
    values: dict[int, tuple[float, float]] = {}
    lines: dict[int, tuple[int, dict[str, str]]] = {}
    for number, line in enumerate(table, 2):
        if line["name"] not in index:
            continue  # a table of a whole collection may name more photos than these
        row = index.row(line["name"], path)
        if row in values:
            raise DatasetError(f"Row {number} of {path} names {line['name']!r} again. Leave one row per photo.")
        values[row] = (_cell(path, number, line, columns[0]), _cell(path, number, line, columns[1]))
        lines[row] = (number, line)
    if len(values) < len(photos):
        missing = next(photo for row, photo in enumerate(photos) if row not in values)
        raise DatasetError(
            f"{path} has no position of {len(photos) - len(values)} of {len(photos)} photos, the first is "
            f"{missing.path}. Add a row with its name (the base name is enough where it occurs once)."
        )
    ordered = np.array([values[row] for row in range(len(photos))])
    zone, note = None, f"Positions were read from {path.name}."
    if columns[0] == "latitude":
        ordered, zone = _project(path, ordered)
        note += f" Latitudes and longitudes were projected into UTM zone {zone}."
    placed = []
    for row, (photo, (east, north)) in enumerate(zip(photos, ordered.tolist(), strict=True)):
        number, line = lines[row]
        heading = _cell(path, number, line, "heading") if line.get("heading") else photo.heading
        condition = line.get("condition") or photo.condition
        placed.append(replace(photo, utm=(east, north), zone=zone, heading=heading, condition=condition))
    return placed, note


def read_positions(path: Path) -> tuple[list[dict[str, str]], tuple[str, str]]:
    """The rows of a table of positions, and which two columns hold them. DatasetError when it has neither pair."""
    table = read_table(path, ("name",), POSITION_COLUMNS)
    columns = table[0] if table else {}
    for pair in (("east", "north"), ("latitude", "longitude")):
        if all(column in columns for column in pair):
            return table, pair
    if not table:
        raise DatasetError(f"{path} has a header and no rows. Write one row per photo.")
    raise DatasetError(
        f"{path} holds no positions: its columns are {', '.join(filter(None, columns))}. Needed are {POSITION_COLUMNS}."
    )


def check_positions(photos: Sequence[Photo]) -> None:
    """Raise DatasetError for positions that cannot be UTM metres: too large, too small for a zone, or degrees."""
    for photo in photos:
        if photo.utm is None or photo.mock_position:
            continue
        limits = UTM_LIMITS if photo.zone else (LARGEST, LARGEST)
        for name, value, limit in zip(("east", "north"), photo.utm, limits, strict=True):
            if abs(value) > limit:
                raise DatasetError(
                    f"{photo.path} says {name} {value:.2f} m, more than {'a UTM' if photo.zone else 'any'} coordinate "
                    f"can be ({limit:.0f} m). Expected @east@north@zone@letter@... in metres: are digits doubled or "
                    "pieces of the name out of place?"
                )
        if photo.zone and not UTM_EAST[0] <= photo.utm[0] <= UTM_EAST[1]:
            raise DatasetError(
                f"{photo.path} says east {photo.utm[0]:g} m in UTM zone {photo.zone}, but east lies between "
                f"{UTM_EAST[0]:,.0f} and {UTM_EAST[1]:,.0f} m in every zone. Are these degrees (give a table with "
                "latitude,longitude: --positions), or metres of your own (leave the zone out)?"
            )
    _check_degrees(photos)


def _check_degrees(photos: Sequence[Photo]) -> None:
    """Raise DatasetError for photos whose east and north look like degrees: 25 metres would be half a continent."""
    located = [photo for photo in photos if photo.utm is not None and not photo.mock_position and not photo.zone]
    if not located:
        return
    values = np.array([photo.utm for photo in located])
    largest, extent = np.abs(values).max(axis=0), np.ptp(values, axis=0)
    fits = largest.max() <= 180 and largest.min() <= 90
    fine = np.abs(values * 100 - np.round(values * 100)).max() > 1e-6  # metres are written to the centimetre
    if fits and fine and extent.max() < DEFAULT_RADIUS:
        east, north = values[0]
        raise DatasetError(
            f"The positions look like degrees, not metres: {located[0].path} says east {east:g}, north {north:g}, and "
            f"all {len(located)} lie within {extent.max():.2g} of each other, so nearly all would count as the same "
            "place. Give latitude and longitude in a table (--positions CSV with the columns "
            "name,latitude,longitude). If they are metres of a place that small, add 1,000 to every east."
        )


def missing_positions(photos: Sequence[Photo]) -> str:
    """What an error says about photos without position, with the first example; empty when there are none."""
    missing = [photo for photo in photos if photo.utm is None]
    if not missing:
        return ""
    return (
        f"{len(missing)} of {len(photos)} photos carry no position in their name, the first is {missing[0].path} "
        f"({position_problem(missing[0].name)}; expected @utm_east@utm_north@...@.jpg)."
    )


def position_notes(photos: Sequence[Photo]) -> list[str]:
    """Sentences about stand-in coordinates, and zones that some photos state and others do not."""
    notes, located = [], [photo for photo in photos if photo.utm is not None]
    without = [photo for photo in located if not photo.zone and not photo.mock_position]
    if without and any(photo.zone for photo in located):
        notes.append(
            f"{len(without)} of {len(located)} positions state no UTM zone, such as {without[0].name}: they are taken "
            "to lie in the zone of the others."
        )
    if any(photo.mock_position for photo in photos):
        notes.append("The names carry stand-in coordinates (east 0, no zone): good for scoring, not for a map.")
    return notes


def stand_in_rule(photos: Sequence[Photo], radius: float = DEFAULT_RADIUS) -> str:
    """What a radius means where all positions are stand-ins; else empty. Frame i is at north 25 / 10.5 * i (Nordland:
    25 m are 10 frames) or photo i at 1000 * i (AmsterTime, SPED: 25 m are the photo of the same number)."""
    if not photos or not all(photo.mock_position for photo in photos):
        return ""
    norths = np.unique([photo.utm[1] for photo in photos if photo.utm is not None])
    spacing = float(np.median(np.diff(norths))) if len(norths) > 1 else 0.0
    if spacing <= 0:
        return "stand-in positions"
    frames = int(radius // spacing)
    meaning = f"±{frames} frames" if frames else "pairs of the same number"
    return f"{meaning}: stand-in positions every {spacing:g} m"


def _project(path: Path, degrees: np.ndarray) -> tuple[np.ndarray, str]:
    if np.abs(degrees[:, 0]).max() > 84 or np.abs(degrees[:, 1]).max() > 180:
        row = int(np.argmax((np.abs(degrees[:, 0]) > 84) | (np.abs(degrees[:, 1]) > 180)))
        raise DatasetError(
            f"{path} holds latitude {degrees[row, 0]:g}, longitude {degrees[row, 1]:g}; UTM reaches from -84 to 84 and "
            "-180 to 180 degrees. Are the columns exchanged?"
        )
    latitude, longitude = np.median(degrees, axis=0)
    zone = utm_zone(latitude, longitude)
    if np.abs(degrees[:, 1] - longitude).max() > 20:
        raise DatasetError(
            f"The photos of {path} lie up to {np.abs(degrees[:, 1] - longitude).max():.0f} degrees of longitude apart, "
            "too far for one projection. Split the data set, or give east and north."
        )
    metres = np.array([project(north, east, zone, latitude < 0) for north, east in degrees.tolist()])
    return metres, f"{zone}{latitude_letter(latitude)}"


def _cell(path: Path, row: int, line: dict[str, str], column: str) -> float:
    value = number_of(line[column])
    if not np.isfinite(value):
        raise DatasetError(f"Row {row} of {path} has {line[column]!r} in the column {column!r}; a number is needed.")
    return value


# ---- photos that come from anywhere ----------------------------------------------------------------------------------


TABLE, NAME, GPS, NOWHERE = "table", "file name", "GPS of the camera", ""
GPS_BLOCK = 0x8825  # the EXIF tag that leads to it, and its own tags:
LATITUDE_SIDE, LATITUDE, LONGITUDE_SIDE, LONGITUDE, HEADING_KIND, HEADING = 1, 2, 3, 4, 16, 17
ZONE_UNKNOWN = "without a zone"


@dataclass(frozen=True)
class PlacedPhoto:
    """source: of its position: TABLE, NAME, GPS or NOWHERE; problem: why nowhere, or ""."""

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

    Neighbouring UTM zones are put into one. DatasetError for a table that does not fit, and for zones far apart.
    """
    named = [parse_name(path) for path in photos]
    if table is None:
        placed = [_placed(photo) for photo in named]
        notes: list[str] = []
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


def gps_of(photo: Path | bytes) -> tuple[tuple[float, float] | None, float | None]:
    """Latitude and longitude in degrees (WGS 84) that the camera wrote into a photo (a file or its bytes), and the
    heading from true north; None for what it did not write. DatasetError for a position that cannot be one."""
    block = _gps_block(photo)
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


def _gps_block(photo: Path | bytes) -> dict:
    Image.init()
    formats = [form for form in FORMATS if form in Image.OPEN]
    try:
        with Image.open(io.BytesIO(photo) if isinstance(photo, bytes) else photo, formats=formats) as image:
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
