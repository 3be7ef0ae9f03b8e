"""The UTM tree in its variants: records, conditions, positives, benchmarks, errors."""

from __future__ import annotations

import os

import pytest
from photo_files import photo, place, stand_in

from scicevpr.datasets import list_photos, read_dataset
from scicevpr.datasets.catalogue import get
from scicevpr.errors import DatasetError, UsageError

QUERIES = {"pitts30k": 2, "tokyo247": 1, "st_lucia": 3, "eynsham": 2}


def _rows(dataset, radius=None):
    return [rows.tolist() for rows in dataset.positives(radius)]


@pytest.mark.parametrize("name", QUERIES)
@pytest.mark.parametrize("split", ["val", "test"])
def test_the_standard_tree(tmp_path, name, split):
    base = tmp_path / name / "images" / split
    for number in range(4):
        place(base / "database" / f"{number % 2}", 500_000 + 20 * number)
    for number in range(QUERIES[name]):
        place(base / "queries", 500_005 + 20 * number, note="night")
    dataset = read_dataset(tmp_path / name, split)
    assert (dataset.name, dataset.split, dataset.layout) == (name, split, "utm-tree")
    paths = [entry.path for entry in dataset.database]
    assert paths == sorted(paths, key=str)
    east = [entry.utm[0] for entry in dataset.database]
    assert sorted(east[row] for row in dataset.positives()[0]) == [500_000, 500_020]
    assert dataset.truth.label() == "25 m"
    assert dataset.conditions == ["night"]
    assert dataset.has_map
    if split == "test":
        assert dataset.benchmark == {"st_lucia": "st-lucia"}.get(name, name)
    else:
        assert dataset.benchmark is None


def test_a_folder_that_is_named_like_a_benchmark_but_smaller_says_so(tmp_path):
    for side in ("database", "queries"):
        place(tmp_path / "pitts30k/images/test" / side, 500_000)
    dataset = read_dataset(tmp_path / "pitts30k")
    assert dataset.benchmark == "pitts30k"
    assert get(dataset.benchmark).cross_image_batch == 8
    assert "not the published Pitts30k: 1 database photos here, 10,000 published" in dataset.notes[-1]


def test_a_benchmark_may_be_named_and_must_exist(tmp_path):
    for side in ("database", "queries"):
        place(tmp_path / side, 500_000)
    assert read_dataset(tmp_path, benchmark="eynsham").benchmark == "eynsham"
    with pytest.raises(UsageError, match=r"no benchmark 'pits'.*pitts30k"):
        read_dataset(tmp_path, benchmark="pits")
    with pytest.raises(UsageError, match=r"layout 'tree'.*utm-tree"):
        read_dataset(tmp_path, layout="tree")


def test_svox_one_weather_or_all_at_once(tmp_path):
    base = tmp_path / "svox/images/test"
    place(base / "gallery", 500_000)
    for number, weather in enumerate(("", "_night", "_rain", "_sun")):
        place(base / f"queries{weather}", 500_000 + number)
    night = read_dataset(tmp_path / "svox", queries="queries_night")
    assert (night.conditions, night.benchmark) == (["night"], "svox-night")
    every = read_dataset(tmp_path / "svox", queries="queries_*")
    assert every.conditions == ["night", "rain", "sun"]
    assert every.benchmark is None
    plain = read_dataset(tmp_path / "svox")
    assert (len(plain.queries), plain.benchmark) == (1, "svox")
    with pytest.raises(DatasetError, match=r"queries_night, queries_rain, queries_sun.*pattern"):
        read_dataset(tmp_path / "svox", queries="queries_fog")


@pytest.mark.parametrize(
    ("database", "queries", "split"),
    [
        ("test/database", "test/queries_v1", "test"),
        ("processed/test/database", "processed/test/queries_v1", "test"),
        ("processed/val/database", "processed/val/queries_v1", "val"),
    ],
)
def test_sf_xl_in_both_layouts(tmp_path, database, queries, split):
    place(tmp_path / "SF_XL" / database, 500_000)
    place(tmp_path / "SF_XL" / queries, 500_010)
    dataset = read_dataset(tmp_path / "SF_XL", split, queries="queries_v1")
    assert (dataset.name, dataset.conditions, _rows(dataset)) == ("SF_XL", ["v1"], [[0]])
    assert dataset.benchmark == ("sf-xl-v1" if split == "test" else None)


def test_raw_training_photos_have_no_queries_but_a_database(tmp_path):
    place(tmp_path / "sf_xl/raw/train/database", 500_000)
    with pytest.raises(DatasetError, match="query folders found: none"):
        read_dataset(tmp_path / "sf_xl", "train")
    assert len(read_dataset(tmp_path / "sf_xl", "train", queries=None, labels=False).database) == 1


def test_nordland_is_ten_frames_either_way(tmp_path):
    base = tmp_path / "nordland/images/test"
    for frame in range(24):
        for side in ("database", "queries"):
            stand_in(base / side, frame * 25 / 10.5, frame)
    dataset = read_dataset(tmp_path / "nordland")
    sides = (dataset.database, dataset.queries)
    frames, asked = ([int(entry.name.split("@")[7]) for entry in side] for side in sides)
    found = dict(zip(asked, dataset.positives(), strict=True))
    assert sorted(frames[row] for row in found[12]) == list(range(2, 23))
    assert sorted(frames[row] for row in found[0]) == list(range(11))
    assert dataset.truth.label() == "25 m (±10 frames: stand-in positions every 2.4 m)"
    assert not dataset.has_map
    assert dataset.benchmark == "nordland"
    assert any("two Nordland sets" in note for note in dataset.notes)


@pytest.mark.parametrize("name", ["amstertime", "sped"])
def test_pairs_of_the_same_number(tmp_path, name):
    for number in range(12):
        for side in ("database", "queries"):
            stand_in(tmp_path / name / "images/test" / side, number * 1000, number)
    dataset = read_dataset(tmp_path / name)
    assert _rows(dataset) == [[row] for row in range(12)]
    assert dataset.truth.label() == "25 m (pairs of the same number: stand-in positions every 1000 m)"
    assert dataset.truth.label(60) == "60 m"
    assert dataset.benchmark == name


def test_msls_as_a_tree_is_the_full_protocol(tmp_path):
    for side in ("database", "queries"):
        place(tmp_path / "msls/images/val" / side, 500_000, note="day_forward_cph")
    dataset = read_dataset(tmp_path / "msls", "val")
    assert dataset.benchmark == "msls-val-full"
    assert any("90.8 and 86.6" in note and "SelaVPR/issues/1" in note for note in dataset.notes)
    os.symlink(tmp_path / "msls/images/val", tmp_path / "msls/images/test")
    assert read_dataset(tmp_path / "msls").benchmark == "msls-val-full"


def test_links_are_followed_and_broken_ones_named(tmp_path):
    place(tmp_path / "elsewhere", 500_000)
    place(tmp_path / "queries", 500_000)
    (tmp_path / "database").mkdir()
    os.symlink(tmp_path / "elsewhere", tmp_path / "database" / "city")
    os.symlink(tmp_path / "database", tmp_path / "elsewhere" / "round")  # a link back must not be walked for ever
    assert len(read_dataset(tmp_path).database) == 1
    os.symlink(tmp_path / "gone.jpg", tmp_path / "database" / "@1@2@.jpg")
    with pytest.raises(DatasetError, match=r"@1@2@\.jpg is a link to .*gone\.jpg, which does not exist"):
        list_photos(tmp_path / "database")
    os.symlink(tmp_path / "moved", tmp_path / "gallery")
    with pytest.raises(DatasetError, match=r"a link to .*moved"):
        list_photos(tmp_path / "gallery")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("photo.jpg", "no @east@north@"),
        ("@five@2@32@U@.jpg", "east is 'five'"),
        ("@500000@@32@U@.jpg", "north is ''"),
        ("@500000@.jpg", "only 2 @ signs"),
        ("@5000000000@4000000@32@U@.jpg", r"east 5000000000.00 m, more than a UTM"),
        ("@500000@99999999@32@U@.jpg", r"north 99999999.00 m, more than a UTM"),
        ("@500000@4e12@.jpg", r"more than any coordinate"),
    ],
)
def test_names_that_cannot_be_positions(tmp_path, name, words):
    place(tmp_path / "queries", 500_000)
    photo(tmp_path / "database" / name)
    with pytest.raises(DatasetError, match=words) as error:
        read_dataset(tmp_path)
    assert name in str(error.value)
    assert len(read_dataset(tmp_path, labels=False).database) == 1


def test_gsv_cities_is_named_as_training_data(tmp_path):
    for folder in ("Dataframes", "Images"):
        (tmp_path / folder).mkdir()
    with pytest.raises(DatasetError, match="GSV-Cities, which is for training"):
        read_dataset(tmp_path)
