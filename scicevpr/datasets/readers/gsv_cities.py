"""GSV-Cities, seen from outside: training data, so it is recognised and counted here, and read by training/.

Dataframes/<City>.csv lists the photos of Images/<city_id>/.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scicevpr.datasets.photos import EXTENSIONS
from scicevpr.errors import DatasetError

LOOKS_LIKE = "Dataframes/CITY.csv and Images/CITY (GSV-Cities, training data)"
COLUMNS = ("place_id", "year", "month", "northdeg", "city_id", "lat", "lon", "panoid")


@dataclass(frozen=True)
class City:
    """rows: photos that the table lists. photos: files in the folder. usable: places of at least four photos."""

    name: str
    rows: int
    photos: int
    places: int
    usable: int


def recognises(root: Path) -> bool:
    """True for a folder with tables and images of GSV-Cities."""
    return (root / "Dataframes").is_dir() and (root / "Images").is_dir()


def count(root: Path) -> list[City]:
    """Count the cities. DatasetError when there is no table, or one lacks a column."""
    import pandas as pd

    tables = sorted((root / "Dataframes").glob("*.csv"))
    if not tables:
        raise DatasetError(f"{root / 'Dataframes'} holds no CSV tables; unpack Dataframes of the release there.")
    cities = []
    for path in tables:
        try:
            table = pd.read_csv(path, dtype=str)
        except (ValueError, OSError) as error:
            raise DatasetError(f"{path} cannot be read as a CSV table ({error}). Download it again.") from error
        missing = [column for column in COLUMNS if column not in table.columns]
        if missing:
            raise DatasetError(f"{path} has no column {missing[0]!r}; needed are {', '.join(COLUMNS)}.")
        sizes = table.groupby("place_id").size()
        cities.append(City(path.stem, len(table), _photos(root, path, table), len(sizes), int((sizes >= 4).sum())))
    return cities


def _photos(root: Path, path: Path, table: Any) -> int:
    folders = {path.stem, *table["city_id"].dropna().unique()}
    return sum(
        file.suffix.lower() in EXTENSIONS
        for name in folders
        if (root / "Images" / name).is_dir()
        for file in (root / "Images" / name).iterdir()
    )
