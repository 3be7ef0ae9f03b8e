"""GSV-Cities on disk: street photos of many cities, grouped by place (Ali-bey et al., 2022).

``Dataframes/<City>.csv`` lists the photos of a city; each lies in ``Images/<city_id>/`` under a name put together from
its row: ``<city_id>_<place>_<year>_<month>_<northdeg>_<lat>_<lon>_<panoid>.jpg`` (or ``.JPG``). The full release and
the light one have this same layout.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scicevpr.errors import DatasetError

COLUMNS = ("place_id", "year", "month", "northdeg", "city_id", "lat", "lon", "panoid")
PLACE_NUMBERS = 10**5
"""Place numbers of all cities may share one count; names carry them modulo this."""
PUBLISHED_MIN_PHOTOS = 4
PUBLISHED_CITIES = (
    "Bangkok", "BuenosAires", "LosAngeles", "MexicoCity", "OSL", "Rome", "Barcelona", "Chicago", "Madrid", "Miami",
    "Phoenix", "TRT", "Boston", "Lisbon", "Medellin", "Minneapolis", "PRG", "WashingtonDC", "Brussels", "London",
    "Melbourne", "Osaka", "PRS",
)  # fmt: skip
"""The 23 cities in the order of the published list, in which the published batches take them."""


@dataclass(frozen=True)
class GsvCities:
    """The photos of P places in some cities, sorted by city and place.

    ``files`` [N] bytes: paths below ``root``; ``first`` [P + 1]: place p has the photos ``first[p]`` up to
    ``first[p + 1]``; ``place_cities`` [P]: position in ``cities``. ``listed``: the cities in the order asked for (all:
    the published one, others after them by name). ``table_places``: of every city, the place of each row of its table,
    -1 where the row is not used. ``too_few``: places left out because they have too few photos; ``missing``: photos
    left out because their file is not there (only where that was allowed).
    """

    root: Path
    cities: tuple[str, ...]
    files: np.ndarray
    first: np.ndarray
    place_cities: np.ndarray
    listed: tuple[str, ...]
    table_places: tuple[np.ndarray, ...]
    too_few: int = 0
    missing: int = 0

    def __len__(self) -> int:
        return len(self.files)

    @property
    def places(self) -> int:
        """How many places there are."""
        return len(self.place_cities)

    def path(self, row: int) -> Path:
        """The file of a photo."""
        return self.root / os.fsdecode(bytes(self.files[row]))

    @property
    def digest(self) -> str:
        """12 hex digits over the photos' names and places, to know the data again."""
        digest = hashlib.sha256(self.files.tobytes())
        digest.update(self.first.astype("<i8").tobytes())
        return digest.hexdigest()[:12]


def read_gsv_cities(
    root: Path | str,
    cities: Sequence[str] | None = None,
    *,
    min_photos: int = PUBLISHED_MIN_PHOTOS,
    skip_missing: bool = False,
) -> GsvCities:
    """List the photos of GSV-Cities; none is opened.

    root: folder with ``Dataframes`` and ``Images``. cities: names of the cities to use, as the CSVs are called; None:
    all. min_photos: places with fewer photos are left out (published: 4). skip_missing: leave photos without a file out
    (a partial download) instead of refusing. Raises DatasetError: a folder, CSV, column or photo is missing, a CSV
    cannot be read, no place is left.
    """
    root = Path(root)
    tables = _tables(root, cities)
    files: list[bytes] = []
    first, absent, table_places = [0], [], []
    place_cities: list[int] = []
    too_few = 0
    for number, table in enumerate(tables):
        by_place, numbers, gone = _read_places(root, table)
        absent += gone
        used: dict[int, int] = {}
        for place in sorted(by_place):
            photos = sorted(by_place[place])
            if len(photos) < min_photos:
                too_few += 1
                continue
            used[place] = len(place_cities)
            files += photos
            first.append(len(files))
            place_cities.append(number)
        table_places.append(np.array([used.get(place, -1) for place in numbers], dtype=np.int64))
    if absent and not skip_missing:
        raise DatasetError(
            f"{len(absent)} photos that are listed in {root / 'Dataframes'} are missing ({len(files)} are there), the "
            f"first is {absent[0]}. Finish the download, choose the cities that are complete with --cities, or leave "
            "such photos out with --skip_missing_photos."
        )
    if not place_cities:
        raise DatasetError(
            f"No place in {root} has {min_photos} photos or more ({too_few} have fewer). "
            "Choose more cities, or lower --min_photos."
        )
    names = tuple(table.stem for table in tables)
    return GsvCities(
        root=root,
        cities=names,
        files=np.array(files, dtype=np.bytes_),
        first=np.array(first, dtype=np.int64),
        place_cities=np.array(place_cities, dtype=np.int64),
        listed=tuple(dict.fromkeys(cities or (*(c for c in PUBLISHED_CITIES if c in names), *names))),
        table_places=tuple(table_places),
        too_few=too_few,
        missing=len(absent),
    )


def _tables(root: Path, cities: Sequence[str] | None) -> list[Path]:
    """The CSVs of the wanted cities, sorted by name."""
    if not root.is_dir():
        raise DatasetError(f"The GSV-Cities folder {root} {'is a file' if root.exists() else 'does not exist'}.")
    for name in ("Dataframes", "Images"):
        if not (root / name).is_dir():
            held = ", ".join(sorted(path.name for path in root.iterdir())[:6]) or "nothing"
            raise DatasetError(
                f"{root} has no folder {name}; it holds {held}. GSV-Cities has Dataframes/<City>.csv and "
                "Images/<City>/: give the folder that holds both."
            )
    known = {path.stem: path for path in sorted((root / "Dataframes").iterdir()) if path.suffix.lower() == ".csv"}
    if not known:
        raise DatasetError(f"{root / 'Dataframes'} holds no CSV. GSV-Cities has one a city, e.g. London.csv.")
    if cities is None:
        return list(known.values())
    unknown = [city for city in cities if city not in known]
    if unknown or not cities:
        raise DatasetError(
            f"{root / 'Dataframes'} has no table for {', '.join(unknown) or 'an empty list of cities'}. "
            f"It has: {', '.join(known)}."
        )
    return [known[city] for city in sorted(set(cities))]


def _read_places(root: Path, table: Path) -> tuple[dict[int, list[bytes]], list[int], list[str]]:
    """Paths below the root of the photos of every place of a city, the place numbers of the table's rows, and the
    paths of photos that are not there."""
    import pandas as pd

    try:
        rows = pd.read_csv(table, dtype=str, keep_default_na=False)  # as text: lat and lon are part of file names
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise DatasetError(f"{table} is no readable CSV: {error}. Download or copy it again.") from None
    lacking = [name for name in COLUMNS if name not in rows.columns]
    if lacking:
        raise DatasetError(
            f"{table} has no column {', '.join(lacking)}; it has {', '.join(map(str, rows.columns))}. "
            f"GSV-Cities tables have {', '.join(COLUMNS)}."
        )
    wrong = np.flatnonzero(~rows["place_id"].str.fullmatch(r"\d+"))
    if len(wrong):
        said = f"line {wrong[0] + 2}: place_id {rows['place_id'][wrong[0]]!r} is no whole number"
        raise DatasetError(f"{table}, {said}. Copy the table again.")
    by_place: dict[int, list[bytes]] = {}
    listings: dict[str, dict[str, str]] = {}
    absent, numbers = [], []
    for row in rows[list(COLUMNS)].itertuples(index=False, name=None):
        place, year, month, north, city, lat, lon, pano = row
        if city not in listings:
            listings[city] = _listing(root / "Images" / city)
        number = int(place)
        numbers.append(number)
        stem = (
            f"{city}_{number % PLACE_NUMBERS:07d}_{year.zfill(4)}_{month.zfill(2)}_{north.zfill(3)}_{lat}_{lon}_{pano}"
        )
        name, photos = listings[city].get(stem), by_place.setdefault(number, [])
        if name is None:
            absent.append(f"Images/{city}/{stem}.jpg")
        else:
            photos.append(os.fsencode(f"Images/{city}/{name}"))
    return by_place, numbers, absent


def _listing(folder: Path) -> dict[str, str]:
    """Name without extension -> name of the JPEG files in a folder."""
    if not folder.is_dir():
        raise DatasetError(
            f"There is no photo folder {folder}. Unpack the photos of that city, or leave it out with --cities."
        )
    names = [entry.name for entry in os.scandir(folder)]
    return {name.rpartition(".")[0]: name for name in names if name.lower().endswith((".jpg", ".jpeg"))}
