"""Positions as people bring them: degrees, zones, southern norths, tables, frame numbers, names of macOS."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import numpy as np
import pytest
from brought import gps, gps_without_seconds, name, put, tree, utm

from scicevpr.datasets import Photo, distances, read_dataset, read_folders
from scicevpr.datasets.ground_truth import separate_positions
from scicevpr.datasets.positions import place_photos
from scicevpr.datasets.tables import number_of, read_table
from scicevpr.datasets.zones import degrees_of, utm_zone
from scicevpr.errors import DatasetError
from scicevpr.evaluation.uncertainty import places_by_position


def _right(dataset) -> list[list[int]]:
    return [rows.tolist() for rows in dataset.positives()]


# ---- degrees ------------------------------------------------------------------------------------------------------

CITY = ((45.07010, 7.68050), (45.08010, 7.69050), (45.09010, 7.70050))


def test_degrees_in_the_place_of_metres_are_refused_with_the_remedy(tmp_path):
    database, queries = tree(tmp_path)
    for number, (latitude, longitude) in enumerate(CITY):
        put(database / f"@{latitude:.5f}@{longitude:.5f}@@@@@@@@@@@@{number}@.jpg", number)
    put(queries / "@45.07010@7.68050@@@@@@@@@@@@q@.jpg", 4)
    with pytest.raises(DatasetError, match=r"look like degrees.*east 45\.0701.*--positions.*name,latitude,longitude"):
        read_dataset(tmp_path)
    with pytest.raises(DatasetError, match="look like degrees"):
        place_photos(sorted(database.iterdir()))
    (tmp_path / "p.csv").write_text(
        "name,latitude,longitude\n"
        + "".join(f"{path.name},{path.name.split('@')[1]},{path.name.split('@')[2]}\n" for path in database.iterdir())
        + "@45.07010@7.68050@@@@@@@@@@@@q@.jpg,45.07010,7.68050\n"
    )
    assert _right(read_dataset(tmp_path, positions=tmp_path / "p.csv")) == [[0]]


def test_degrees_in_the_columns_east_and_north_are_refused(tmp_path):
    for number in range(2):
        put(tmp_path / "db" / f"{number}.jpg")
    put(tmp_path / "q" / "q.jpg")
    (tmp_path / "p.csv").write_text("name,east,north\n0,7.68051,45.07012\n1,7.69053,45.08011\nq,7.68055,45.07013\n")
    with pytest.raises(DatasetError, match="look like degrees"):
        read_folders(tmp_path / "db", tmp_path / "q", positions=tmp_path / "p.csv")


def test_small_numbers_of_ones_own_are_no_utm_but_may_be_metres(tmp_path):
    database, queries = tree(tmp_path / "zone")
    put(database / name(12.5, 80, 32, "U"))
    put(queries / name(14.5, 82, 32, "U"))
    with pytest.raises(DatasetError, match=r"east 12\.5 m in UTM zone 32U.*100,000.*leave the zone out"):
        read_dataset(tmp_path / "zone")
    database, queries = tree(tmp_path / "own")
    put(database / name(12.5, 80))
    put(database / name(12.5, 180))
    put(queries / name(14.5, 82))
    assert _right(read_dataset(tmp_path / "own")) == [[0]]


# ---- zones --------------------------------------------------------------------------------------------------------


def test_equal_numbers_of_two_zones_are_never_near(tmp_path):
    database, queries = tree(tmp_path)
    put(database / name(500000, 5411000, 31, "U"))
    put(database / name(501000, 5411000, 31, "U"))
    put(queries / name(500000, 5411000, 32, "U"))
    dataset = read_dataset(tmp_path)
    assert _right(dataset) == [[]]
    assert any("1 in 32U" in note and "projected into zone 31" in note for note in dataset.notes)
    assert distances(dataset.database, dataset.queries, np.array([[0]]))[0, 0] == pytest.approx(440_000, rel=0.01)


def test_zones_too_far_for_one_projection_are_kept_apart(tmp_path):
    def place(number: int, zone: str) -> Photo:
        return Photo(tmp_path / f"{number}.jpg", f"{number}.jpg", (551000.0, 4181000.0), zone)

    from scicevpr.datasets.zones import in_one_zone

    places, notes = in_one_zone([place(0, "10S"), place(1, "10S"), place(2, "33S")])
    assert [place.zone for place in places] == ["10S", "10S", "33S"]
    assert "never near each other" in notes[0]
    from scicevpr.datasets import GroundTruth

    assert [rows.tolist() for rows in GroundTruth().positives(places[:1], places[1:])] == [[0], []]
    assert distances(places[:1], places[2:], np.array([[0]]))[0, 0] > 9e6
    assert places_by_position(separate_positions(places), 25.0).tolist() == [0, 0, 1]


@pytest.mark.parametrize("stated", [True, False])
def test_a_zone_border_is_no_wall(tmp_path, stated):
    database, queries = tree(tmp_path)
    for folder, longitude, zone in ((database, -0.0001, 30), (queries, 0.0001, 31)):
        degrees = (51.4779, longitude) if stated else ("", "")
        put(folder / name(*utm(51.4779, longitude, zone), zone, "U", *degrees))
    put(database / name(*utm(51.4879, -0.0001, 30), 30, "U"))
    dataset = read_dataset(tmp_path)
    near = distances(dataset.database, dataset.queries, np.array([[0, 1]]))
    assert sorted(near[0]) == pytest.approx([13.9, 1112.8], abs=0.1)
    assert [len(rows) for rows in dataset.positives()] == [1]


@pytest.mark.parametrize("points", [((51.4779, -0.0001), (51.4779, 0.0001)), ((0.00008, 32.5), (-0.00008, 32.5))])
def test_photos_of_cameras_on_both_sides_of_a_border_are_one_place(tmp_path, points):
    photos = [put(tmp_path / f"{number}.jpg", exif=gps(*point)) for number, point in enumerate(points)]
    placed, notes = place_photos(photos)
    one, other = (photo.photo for photo in placed)
    assert np.hypot(*np.subtract(one.utm, other.utm)) < 20
    assert any("projected into zone" in note for note in notes)


def test_both_habits_of_counting_southern_norths_are_the_same_place(tmp_path):
    database, queries = tree(tmp_path)
    east, north = utm(-22.2111, 21.2, 34)
    put(database / name(east, north, 34, "K", -22.2111, 21.2))
    put(database / name(east + 500, north, 34, "K", -22.2111, 21.205))
    put(queries / name(east, north - 1e7, 34, "K", -22.2111, 21.2))
    dataset = read_dataset(tmp_path)
    assert _right(dataset) == [[0]]
    assert any("counted north from 0 at the equator" in note for note in dataset.notes)
    assert degrees_of(dataset.queries[0]) == pytest.approx((-22.2111, 21.2), abs=1e-6)


def test_one_habit_alone_keeps_its_numbers(tmp_path):
    database, queries = tree(tmp_path)
    put(database / name(520613.51, -2456206.67, 34, "K"))
    put(queries / name(520613.51, -2456206.67, 34, "K"))
    dataset = read_dataset(tmp_path)
    assert dataset.queries[0].utm == (520613.51, -2456206.67)
    assert dataset.notes == ()


@pytest.mark.parametrize(
    ("latitude", "longitude", "zone"),
    [(60.39, 5.32, 32), (58.0, 2.9, 31), (78.2, 15.6, 33), (78.0, 8.9, 31), (78.0, 9.1, 33), (79, 21, 35), (79, 33, 37),
     (51.5, 0.1, 31), (51.5, -0.1, 30), (-33.9, 18.4, 34), (0, 180, 60), (65, 5.3, 31)],
)  # fmt: skip
def test_the_grid_has_its_exceptions(latitude, longitude, zone):
    assert utm_zone(latitude, longitude) == zone


# ---- frames and names ---------------------------------------------------------------------------------------------


def _drive(folder: Path, numbers, form: str = "{:03d}.png") -> Path:
    for number in numbers:
        put(folder / form.format(number), number)
    return folder


def test_frame_numbers_come_from_the_names(tmp_path):
    summer, winter = _drive(tmp_path / "summer", range(24)), _drive(tmp_path / "winter", [*range(4), *range(14, 24)])
    dataset = read_folders(summer, winter, frames=2)
    assert _right(dataset)[3] == [1, 2, 3, 4, 5]
    assert _right(dataset)[4] == [12, 13, 14, 15, 16]
    assert dataset.truth.label() == "±2 frames (numbers from the names)"
    short = _drive(tmp_path / "short", [7, 11], "frame_{}.png")
    assert _right(read_folders(summer, short, frames=0)) == [[11], [7]]  # sorted by path: 11 before 7


def test_frames_that_cannot_be_matched_are_refused(tmp_path):
    summer = _drive(tmp_path / "summer", range(6))
    named = [put(tmp_path / "named" / f"{word}.png") for word in ("a", "b", "c", "d", "e", "f")]
    with pytest.raises(DatasetError, match=r"numbers that tell them apart .* queries no numbers"):
        read_folders(summer, tmp_path / "named", frames=1)
    assert read_folders(tmp_path / "named", tmp_path / "named", frames=1).truth.label() == "±1 frames (counted by row)"
    put(tmp_path / "two" / "x.png")
    with pytest.raises(DatasetError, match="by row 6 queries do not go with 1 database photos"):
        read_folders(tmp_path / "two", named[0].parent, frames=1)
    with pytest.raises(DatasetError, match="none are within 2 of each other"):
        read_folders(summer, _drive(tmp_path / "later", range(100, 106)), frames=2)
    _drive(tmp_path / "cameras" / "left", range(3)), _drive(tmp_path / "cameras" / "right", range(3))
    with pytest.raises(DatasetError, match=r"3 numbers occur twice.*left.*right"):
        read_folders(tmp_path / "cameras", summer, frames=1)


def test_names_are_compared_in_one_unicode_form(tmp_path):
    put(tmp_path / "db" / (unicodedata.normalize("NFD", "Zürich") + ".jpg"), 1)
    put(tmp_path / "db" / "Bern.jpg", 2)
    put(tmp_path / "q" / "Zürich.jpg", 1)
    (tmp_path / "gt.csv").write_text("query,database\nZürich.jpg,Zürich.jpg\n")
    (tmp_path / "pos.csv").write_text("name,east,north\nZürich.jpg,0,0\nBern.jpg,5000,0\n")
    folders = tmp_path / "db", tmp_path / "q"
    assert _right(read_folders(*folders, ground_truth=tmp_path / "gt.csv")) == [[1]]
    assert _right(read_folders(*folders, same_name=True)) == [[1]]
    placed, _ = place_photos(sorted((tmp_path / "db").iterdir()), tmp_path / "pos.csv")
    assert {photo.source for photo in placed} == {"table"}


# ---- tables -------------------------------------------------------------------------------------------------------

ROWS = [("IMG_1.jpg", 48.8583, 2.2944), ("IMG_2.jpg", 48.8683, 2.3044), ("Q_1.jpg", 48.8583, 2.2944)]


def _table(separator: str, comma: bool, head=("name", "latitude", "longitude")) -> str:
    def cell(value) -> str:
        return str(value).replace(".", ",") if comma and isinstance(value, float) else str(value)

    return "".join(separator.join(map(cell, row)) + "\r\n" for row in (head, *ROWS))


@pytest.mark.parametrize(
    "text",
    [
        _table(";", True),
        _table(",", False, ("Name", " Latitude", " Longitude")),
        _table("\t", True, ("FILE NAME", "Lat", "LON")),
        _table(",", False).replace("48.8583", '"48,8583"'),
    ],
)
def test_tables_of_spreadsheets_are_read_everywhere(tmp_path, text):
    for number in (1, 2):
        put(tmp_path / "db" / f"IMG_{number}.jpg", number)
    put(tmp_path / "q" / "Q_1.jpg", 1)
    table = tmp_path / "t.csv"
    table.write_bytes(text.encode("utf-8-sig"))
    assert _right(read_folders(tmp_path / "db", tmp_path / "q", positions=table)) == [[0]]
    placed, _ = place_photos(sorted((tmp_path / "db").iterdir()), table)
    assert [photo.source for photo in placed] == ["table", "table"]
    (tmp_path / "gt.csv").write_text("Query;Database\nQ_1.jpg;IMG_2.jpg\n")
    assert _right(read_folders(tmp_path / "db", tmp_path / "q", ground_truth=tmp_path / "gt.csv")) == [[1]]


def test_a_column_that_comes_twice_is_refused(tmp_path):
    put(tmp_path / "db" / "a.jpg")
    put(tmp_path / "q" / "q.jpg")
    (tmp_path / "t.csv").write_text("name,east,north,East\na,1,2,3\nq,1,2,3\n")
    with pytest.raises(DatasetError, match="the column 'east' 2 times"):
        read_folders(tmp_path / "db", tmp_path / "q", positions=tmp_path / "t.csv")
    with pytest.raises(DatasetError, match="the column 'key' 2 times"):
        read_table(Path(_written(tmp_path, "key,pano,key\n1,2,3\n")), ("key",))
    with pytest.raises(DatasetError, match=r"t\.csv has the column 'east' 2 times"):
        place_photos([tmp_path / "db" / "a.jpg"], tmp_path / "t.csv")
    assert read_table(Path(_written(tmp_path, "name,file\n1,2\n")), ("name",)) == [{"name": "1", "file": "2"}]


def _written(folder: Path, text: str) -> Path:
    (folder / "written.csv").write_text(text)
    return folder / "written.csv"


def test_what_a_table_lacks_is_named_with_both_ways(tmp_path):
    put(tmp_path / "db" / "a.jpg")
    with pytest.raises(DatasetError, match=r"east,north \(metres\) or latitude,longitude \(degrees\)") as caught:
        place_photos([tmp_path / "db" / "a.jpg"], _written(tmp_path, "name;x;y\na;1;2\n"))
    assert str(tmp_path) not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1.5", 1.5), ("48,8583", 48.8583), (" -3 ", -3), ("1e3", 1000), ("1.234,5", None), ("1_0", None),
        ("nan", None), ("inf", None), ("", None), ("9" * 5000, None),
    ],
)  # fmt: skip
def test_numbers_of_tables(text, value):
    assert number_of(text) == value if value is not None else np.isnan(number_of(text))


def test_gps_without_seconds_is_left_out_with_that_reason(tmp_path):
    [photo], _ = place_photos([put(tmp_path / "a.jpg", exif=gps_without_seconds())])
    assert photo.photo.utm is None
    assert "degrees and minutes without seconds, which tells the place to a kilometre" in photo.problem


# ---- data sets that lack something --------------------------------------------------------------------------------


def test_msls_without_its_tables_names_them_and_their_archive(tmp_path):
    for part in ("database", "query"):
        put(tmp_path / f"train_val/cph/{part}/images/{part}.jpg")
    for split in ("val", "cph"):
        with pytest.raises(DatasetError, match=r"postprocessed\.csv and raw\.csv are missing.*msls_metadata\.zip"):
            read_dataset(tmp_path, split=split)
    assert not read_dataset(tmp_path, split="val", labels=False).labelled


def test_photos_of_all_types_are_taken_or_counted(tmp_path):
    database, queries = tree(tmp_path)
    for number, end in enumerate((".jpg", ".JPG", ".jpeg", ".png", ".webp", ".tif")):
        put(database / name(500000 + 100 * number, 0, end=end), number)
        put(queries / name(500000 + 100 * number, 0), number)
    (database / "a.HEIC").write_bytes(b"x")
    (queries / "b.dng").write_bytes(b"x")
    dataset = read_dataset(tmp_path)
    assert len(dataset.database) == 6
    assert _right(dataset) == [[row] for row in range(6)]
    assert dataset.notes == (
        "2 files were left out, because their type is not read: 1 DNG, 1 HEIC. Save them as JPEG.",
    )
    folders = read_folders(database, queries)
    assert folders.notes == dataset.notes
