"""GSV-Cities on disk: what is read, and what is said when something is missing or wrong."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
from gsv_photos import write_gsv_cities

from scicevpr.errors import DatasetError
from training.gsv_cities import read_gsv_cities
from training.photo_loader import decode_photo


@pytest.fixture
def own_copy(gsv_cities: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(gsv_cities, tmp_path / "gsv"))


def test_places_of_both_cities_are_read(gsv_cities: Path) -> None:
    data = read_gsv_cities(gsv_cities)
    assert data.cities == ("Aville", "Btown")
    assert (data.places, len(data), data.too_few) == (13, 52, 2)
    assert list(data.place_cities) == [0] * 8 + [1] * 5
    assert list(np.diff(data.first)) == [4] * 13
    assert all(data.path(row).is_file() for row in range(len(data)))
    assert data.path(32).suffix == ".JPG"
    names = [data.path(row).name for row in range(4)]
    assert names[0] == "Aville_0000001_2010_01_000_40.10_-8.70_pa_0-0.jpg"  # the zero of 40.10 is part of the name
    assert len({name.split("_")[1] for name in names}) == 1


def test_the_same_data_are_known_again(gsv_cities: Path, tmp_path: Path) -> None:
    data = read_gsv_cities(gsv_cities)
    assert data.digest == read_gsv_cities(write_gsv_cities(tmp_path / "again")).digest
    assert data.digest != read_gsv_cities(gsv_cities, ["Aville"]).digest
    assert data.digest != read_gsv_cities(gsv_cities, min_photos=3).digest


def test_any_subset_of_cities_in_any_order(gsv_cities: Path) -> None:
    assert read_gsv_cities(gsv_cities, ["Btown"]).places == 5
    assert read_gsv_cities(gsv_cities, ["Btown", "Aville"]).digest == read_gsv_cities(gsv_cities).digest
    assert read_gsv_cities(gsv_cities, min_photos=3).places == 15
    with pytest.raises(DatasetError, match=r"no table for London.*It has: Aville, Btown"):
        read_gsv_cities(gsv_cities, ["Btown", "London"])


def test_place_numbers_of_all_cities_may_share_one_count(own_copy: Path) -> None:
    table = own_copy / "Dataframes" / "Btown.csv"
    rows = list(csv.reader(table.open(newline="")))
    with table.open("w", newline="") as file:
        csv.writer(file).writerows([rows[0], *([str(int(row[0]) + 300_000), *row[1:]] for row in rows[1:])])
    assert read_gsv_cities(own_copy).digest == read_gsv_cities(own_copy).digest
    assert read_gsv_cities(own_copy).places == 13


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda root: shutil.rmtree(root), "does not exist"),
        (lambda root: shutil.rmtree(root / "Dataframes"), "has no folder Dataframes; it holds Images"),
        (lambda root: shutil.rmtree(root / "Images"), "has no folder Images"),
        (lambda root: [path.unlink() for path in (root / "Dataframes").iterdir()], "holds no CSV"),
        (lambda root: shutil.rmtree(root / "Images" / "Btown"), r"no photo folder .*Btown.*--cities"),
        (lambda root: (root / "Dataframes" / "Btown.csv").write_text(""), r"Btown\.csv is no readable CSV"),
        (lambda root: (root / "Dataframes" / "Btown.csv").write_bytes(b"place_id\n\xff\xfe"), "no readable CSV"),
        (
            lambda root: (root / "Dataframes" / "Btown.csv").write_text("place_id,year,lat\n1,2,3\n"),
            r"Btown\.csv has no column month, northdeg, city_id, lon, panoid; it has place_id, year, lat",
        ),
        (
            lambda root: (root / "Dataframes" / "Btown.csv").write_text(
                "place_id,year,month,northdeg,city_id,lat,lon,panoid\n1,2,3,4,B,5,6,7\nx,2,3,4,B,5,6,7\n"
            ),
            r"Btown\.csv, line 3: place_id 'x'",
        ),
    ],
)
def test_wrong_folders_and_tables_are_named(own_copy: Path, spoil, message: str) -> None:
    spoil(own_copy)
    with pytest.raises(DatasetError, match=message):
        read_gsv_cities(own_copy)


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "gsv.zip").touch()
    with pytest.raises(DatasetError, match="is a file"):
        read_gsv_cities(tmp_path / "gsv.zip")


def test_missing_photos_are_counted_and_the_first_is_named(own_copy: Path) -> None:
    photos = sorted((own_copy / "Images" / "Aville").iterdir())
    for path in photos[4:10]:
        path.unlink()
    with pytest.raises(DatasetError, match=rf"6 photos .* is Images/Aville/{photos[4].stem}\.jpg.*--skip_missing"):
        read_gsv_cities(own_copy)
    data = read_gsv_cities(own_copy, skip_missing=True)
    assert (data.missing, data.places, data.too_few) == (6, 11, 4)


def test_no_place_with_enough_photos(gsv_cities: Path) -> None:
    with pytest.raises(DatasetError, match=r"5 photos or more \(15 have fewer\).*--min_photos"):
        read_gsv_cities(gsv_cities, min_photos=5)


def test_photos_are_resized_with_antialiasing_and_bad_ones_named(own_copy: Path) -> None:
    data = read_gsv_cities(own_copy)
    photo = decode_photo(data.path(0), (28, 42))
    assert photo.size == (42, 28)
    data.path(1).write_bytes(data.path(1).read_bytes()[:300])
    data.path(2).write_bytes(b"no photo")
    for row in (1, 2):
        with pytest.raises(DatasetError, match=rf"{data.path(row).name} cannot be decoded"):
            decode_photo(data.path(row), (28, 42))
