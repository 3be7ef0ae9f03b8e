"""A small GSV-Cities of generated photos."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from PIL import Image

CITIES = {"Aville": 9, "Btown": 6}
COLUMNS = ("place_id", "year", "month", "northdeg", "city_id", "lat", "lon", "panoid")


def write_gsv_cities(root: Path, cities: dict[str, int] = CITIES, photos: int = 4) -> Path:
    """A GSV-Cities folder with so many places a city; the last place has one photo less, Btown's files are .JPG."""
    rng = np.random.default_rng(5)
    (root / "Dataframes").mkdir(parents=True)
    for city, places in cities.items():
        folder = root / "Images" / city
        folder.mkdir(parents=True)
        rows = []
        for place in range(places):
            pattern = rng.integers(0, 255, (6, 8, 3))
            for photo in range(photos - (place == places - 1)):
                position, pano = (f"4{place}.10", "-8.70"), f"pa_{place}-{photo}"
                row = (place + 1, 2010 + photo, 1 + photo, 30 * photo, city, *position, pano)
                name = f"{city}_{place + 1:07d}_{row[1]}_{row[2]:02d}_{row[3]:03d}_{row[5]}_{row[6]}_{row[7]}"
                picture = np.clip(np.kron(pattern, np.ones((8, 8, 1))) + rng.normal(0, 15, (48, 64, 3)), 0, 255)
                Image.fromarray(picture.astype(np.uint8)).save(folder / f"{name}.jpg", quality=90)
                if city == "Btown":
                    (folder / f"{name}.jpg").rename(folder / f"{name}.JPG")
                rows.append(row)
        with (root / "Dataframes" / f"{city}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([COLUMNS, *rows])
    return root
