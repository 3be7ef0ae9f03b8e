"""Official MSLS: positions by CSV, panoramas, 25 m and 40 degrees, selections, test cities, errors."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from photo_files import photo

from scicevpr.datasets import read_dataset
from scicevpr.errors import DatasetError

# key, easting, heading, night, panorama, in the subtask "all", in the subtask "n2d"
DATABASE = [("d0", 0, 0, 0, 0, 1, 1), ("d1", 10, 180, 0, 0, 1, 0), ("d2", 500, 0, 0, 0, 1, 1), ("dp", 0, 0, 0, 1, 1, 1)]
QUERY = [
    ("q0", 5, 350, 1, 0, 1, 1),  # within 25 m of d0 and d1, looks like d0 (10 degrees, across north)
    ("q1", 5, 90, 0, 0, 1, 0),  # near, but turned away from both: no positives
    ("q2", 490, 40, 0, 0, 0, 0),  # 40 degrees are still right; not in the selection
    ("q3", 490, 41, 0, 0, 1, 0),  # 41 degrees are not
    ("qp", 0, 0, 0, 1, 1, 1),
]


def _write(path: Path, header: list[str], rows: list[list]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["", *header], *([number, *row] for number, row in enumerate(rows))])


def _side(folder: Path, prefix: str, rows: list[tuple], positions: bool = True) -> None:
    offset = {"cph": 0, "sf": 10_000}.get(prefix, 20_000)
    rows = [(prefix + key, east + offset, *rest) for key, east, *rest in rows]
    for key, *_ in rows:
        photo(folder / "images" / f"{key}.jpg")
    raw = [[key, 12.5, 55.6, ca, "2016-05-19", bool(pano)] for key, _, ca, _, pano, *_ in rows]
    _write(folder / "raw.csv", ["key", "lon", "lat", "ca", "captured_at", "pano"], raw)
    if positions:
        post = [[key, east, 6_000_000, bool(night)] for key, east, _, night, *_ in rows]
        _write(folder / "postprocessed.csv", ["key", "easting", "northing", "night"], post)
    index = [[bool(every), bool(n2d)] for *_, every, n2d in rows]
    _write(folder / "subtask_index.csv", ["all", "n2d"], index)


@pytest.fixture
def msls(tmp_path):
    root = tmp_path / "msls"
    for city in ("cph", "sf", "trondheim"):
        _side(root / "train_val" / city / "database", city, DATABASE)
        _side(root / "train_val" / city / "query", city, QUERY)
    for side, rows in (("database", DATABASE), ("query", QUERY)):
        _side(root / "test" / "miami" / side, "miami", rows, positions=False)
    return root


def _keys(places):
    return [entry.path.stem for entry in places]


def test_the_official_selection_of_the_validation_cities(msls):
    dataset = read_dataset(msls, "val")
    assert _keys(dataset.database) == ["cphd0", "cphd1", "cphd2", "sfd0", "sfd1", "sfd2"]  # no panoramas
    assert _keys(dataset.queries) == ["cphq0", "sfq0"]  # subtask "all", with positives
    assert [rows.tolist() for rows in dataset.positives()] == [[0], [3]]
    assert dataset.truth.label() == "25 m and 40 degrees"
    assert (dataset.layout, dataset.benchmark, dataset.name) == ("msls", "msls-val", "msls")
    assert "official selection" in dataset.query_order
    assert any("two protocols" in note for note in dataset.notes)
    assert any("2 queries here, 740 published" in note for note in dataset.notes)
    assert dataset.queries[0].condition == "night"
    assert (dataset.queries[0].heading, dataset.queries[0].timestamp) == (350.0, "20160519")


def test_every_query_is_the_other_protocol(msls):
    dataset = read_dataset(msls, "val", queries="full")
    assert _keys(dataset.queries)[:4] == ["cphq0", "cphq1", "cphq2", "cphq3"]
    assert [rows.tolist() for rows in dataset.positives()][:4] == [[0], [], [2], []]
    assert dataset.benchmark == "msls-val-full"
    assert dataset.conditions == ["night", "day"]


def test_a_subtask_restricts_both_sides(msls):
    dataset = read_dataset(msls, "val", queries="n2d")
    assert _keys(dataset.queries) == ["cphq0", "sfq0"]
    assert _keys(dataset.database) == ["cphd0", "cphd2", "sfd0", "sfd2"]
    assert (dataset.name, dataset.benchmark) == ("msls n2d", None)


@pytest.mark.parametrize("form", ["text", "npy", "index"])
def test_a_published_query_list_is_taken_exactly(msls, tmp_path, form):
    path = tmp_path / ("keys.txt" if form == "text" else "msls_val_qIdx.npy")
    names = ["train_val/sf/query/images/sfq2.jpg", "train_val/cph/query/images/cphq1.jpg"]
    if form == "text":
        path.write_text("sfq2\n\ncphq1\n")
    elif form == "npy":
        np.save(path, np.array(names))
    else:
        np.save(tmp_path / "msls_val_qImages.npy", np.array(["unused.jpg", *names]))
        np.save(path, np.array([1, 2]))
    dataset = read_dataset(msls, "val", query_list=path)
    assert _keys(dataset.queries) == ["cphq1", "sfq2"]
    assert [rows.tolist() for rows in dataset.positives()] == [[], [5]]
    assert dataset.benchmark == "msls-val"
    assert dataset.query_order == f"by path, 2 of 8 as listed in {path.name}"


def test_splits_cities_and_folders(msls):
    assert {key[:5] for key in _keys(read_dataset(msls, "train").database)} == {"trond"}
    assert _keys(read_dataset(msls, "sf").database) == ["sfd0", "sfd1", "sfd2"]
    assert read_dataset(msls / "train_val", "val").name == "msls"
    assert read_dataset(msls / "train_val" / "sf").split == "sf"
    with pytest.raises(DatasetError, match="no cities of the split 'paris'; cities found: cph, sf, trondheim"):
        read_dataset(msls, "paris")
    with pytest.raises(DatasetError, match=r"no queries 'w2x'.*s2w"):
        read_dataset(msls, "val", queries="w2x")


def test_a_missing_city_is_noted(msls):
    (msls / "train_val" / "sf").rename(msls / "train_val" / "oslo")
    assert "The city sf is missing" in read_dataset(msls, "val").notes[0]


def test_test_cities_are_for_predictions(msls):
    dataset = read_dataset(msls, "test")
    assert len(dataset.queries) == 4
    assert not dataset.labelled
    assert dataset.benchmark == "msls-challenge"
    assert any("no public positions" in note and "--split val" in note for note in dataset.notes)


def test_wrong_files_are_named(msls):
    query = msls / "train_val" / "cph" / "query"
    (query / "images" / "cphq0.jpg").rename(query / "images" / "other.jpg")
    with pytest.raises(DatasetError, match=r"1 photos that .*cph/query/raw\.csv names are not in .*cphq0\.jpg"):
        read_dataset(msls, "val")
    (query / "images" / "other.jpg").rename(query / "images" / "cphq0.jpg")
    text = (query / "postprocessed.csv").read_text()
    (query / "postprocessed.csv").write_text(text.replace("easting", "east"))
    with pytest.raises(DatasetError, match=r"postprocessed\.csv has no column 'easting'"):
        read_dataset(msls, "val")
    (query / "postprocessed.csv").write_text(text.replace("6000000", "north", 1))
    with pytest.raises(DatasetError, match=r"postprocessed\.csv has 'north' where a number is needed.*cphq0"):
        read_dataset(msls, "val")
    (query / "postprocessed.csv").write_text(text)
    (query / "subtask_index.csv").write_text("all\nTrue\n")
    with pytest.raises(DatasetError, match=r"subtask_index\.csv has 1 rows, raw\.csv beside it 5"):
        read_dataset(msls, "val")
    (query / "subtask_index.csv").unlink()
    with pytest.raises(DatasetError, match=r"no .*subtask_index\.csv.*--query-folder full"):
        read_dataset(msls, "val")
