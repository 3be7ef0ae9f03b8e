"""Two plain folders, and right answers from elsewhere: files, frames, names, positions."""

from __future__ import annotations

import json

import numpy as np
import pytest
from photo_files import photo, place

from scicevpr.datasets import read_dataset, read_folders
from scicevpr.errors import DatasetError, UsageError


@pytest.fixture
def folders(tmp_path):
    """Five database photos and three queries without positions; the names overlap."""
    for number in range(5):
        photo(tmp_path / "db" / f"img_{number}.{'png' if number % 2 else 'jpg'}")
    for number in range(3):
        photo(tmp_path / "q" / f"img_{number}.JPG")
    return tmp_path / "db", tmp_path / "q"


def _rows(dataset):
    return [rows.tolist() for rows in dataset.positives()]


def test_without_labels_there_are_only_predictions(folders):
    dataset = read_folders(*folders, labels=False)
    assert (len(dataset.database), len(dataset.queries), dataset.labelled) == (5, 3, False)
    with pytest.raises(DatasetError, match=r"--positions.*--ground-truth, --frames, --same-name.*--no-labels"):
        read_folders(*folders)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("gt.csv", "query,database\nimg_0.JPG,img_0.jpg\nimg_2,img_4\nimg_2,db/img_3.png\n"),
        ("gt.csv", "0,0\n2,4\n2,3\n1,\n"),
        ("gt.csv", "img_0,0\nimg_2,4\nimg_2,3\n"),
        ("gt.json", json.dumps({"img_0": ["img_0"], "q/img_2.JPG": ["img_4", "img_3"]})),
        ("gt.json", json.dumps({"img_0": [0], "img_2": [4, 3]})),
        ("gt.json", json.dumps([[0], [], [3, 4]])),
    ],
)
def test_ground_truth_as_text(folders, tmp_path, name, text):
    (tmp_path / name).write_text(text)
    dataset = read_folders(*folders, ground_truth=tmp_path / name)
    assert _rows(dataset) == [[0], [], [3, 4]]
    assert dataset.labelled
    assert not dataset.has_map
    assert dataset.truth.label() == f"the list in {name}"


def test_ground_truth_as_npy(folders, tmp_path):
    lists = np.empty(3, dtype=object)
    lists[:] = [np.array([0]), np.array([], dtype=int), np.array([4, 3])]
    pairs = np.empty((2, 2), dtype=object)
    pairs[0], pairs[1] = [2, [3, 4]], [0, [0]]
    table = np.zeros((3, 5), dtype=bool)
    table[[0, 2, 2], [0, 3, 4]] = True
    for values in (lists, pairs, table):
        np.save(tmp_path / "gt.npy", values)
        assert _rows(read_folders(*folders, ground_truth=tmp_path / "gt.npy")) == [[0], [], [3, 4]]
    np.save(tmp_path / "gt.npy", table.T)
    with pytest.raises(DatasetError, match="table of 5 x 3, but there are 3 queries"):
        read_folders(*folders, ground_truth=tmp_path / "gt.npy")


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("gt.csv", "img_0,img_9\n", r"gt\.csv names 'img_9', which is not among the 5 database photos .*img_0\.jpg"),
        ("gt.csv", "img_9,img_0\n", r"gt\.csv names 'img_9', which is not among the 3 query photos"),
        ("gt.csv", "3,0\n", r"row 3 of the query photos, but there are 3"),
        ("gt.csv", "0,0,0\n", r"Pair 1 of .*gt\.csv has 3 cells"),
        ("gt.csv", "", r"gt\.csv is empty"),
        ("gt.json", "{", r"gt\.json is not readable JSON"),
        ("gt.json", '{"img_0": 3}', r"must hold"),
        ("gt.json", "[[0], [1]]", r"positives of 2 queries, but there are 3"),
        ("gt.json", "[[0], [1], [-1]]", r"row -1 of the database photos"),
        ("gt.txt", "0 0", r"\.csv, \.json, \.npy or \.npz"),
    ],
)
def test_ground_truth_that_does_not_fit(folders, tmp_path, name, text, words):
    (tmp_path / name).write_text(text)
    with pytest.raises(DatasetError, match=words):
        read_folders(*folders, ground_truth=tmp_path / name)
    with pytest.raises(DatasetError, match="no file"):
        read_folders(*folders, ground_truth=tmp_path / "none.csv")


def test_a_name_that_fits_two_photos_needs_more_of_its_path(tmp_path):
    for name in ("a/1.jpg", "b/1.jpg"):
        photo(tmp_path / "db" / name)
    photo(tmp_path / "q" / "x.jpg")
    (tmp_path / "gt.csv").write_text("x,1.jpg\n")
    with pytest.raises(DatasetError, match=r"2 of the database photos are called that\. Write more of their path"):
        read_folders(tmp_path / "db", tmp_path / "q", ground_truth=tmp_path / "gt.csv")
    (tmp_path / "gt.csv").write_text("x,b/1\n")
    assert _rows(read_folders(tmp_path / "db", tmp_path / "q", ground_truth=tmp_path / "gt.csv")) == [[1]]


def test_frames_and_same_names(folders, tmp_path):
    dataset = read_folders(*folders, frames=1)
    assert _rows(dataset) == [[0, 1], [0, 1, 2], [1, 2, 3]]
    assert dataset.truth.label() == "±1 frames (numbers from the names)"
    same = read_folders(*folders, same_name=True)
    assert _rows(same) == [[0], [1], [2]]
    assert same.truth.label() == "photos of the same name"
    photo(tmp_path / "other" / "x.jpg")
    with pytest.raises(DatasetError, match=r"x\.jpg.*--frames 0"):
        read_folders(folders[0], tmp_path / "other", same_name=True)


def test_choices_that_contradict_each_other(folders, tmp_path):
    with pytest.raises(UsageError, match="--frames and --same-name"):
        read_folders(*folders, frames=1, same_name=True)
    with pytest.raises(UsageError, match=r"--no-labels ignores .* --frames"):
        read_folders(*folders, labels=False, frames=1)
    with pytest.raises(UsageError, match="0 or more, not -1"):
        read_folders(*folders, frames=-1)


def test_positions_in_metres(folders, tmp_path):
    rows = [f"db/img_{number},{500_000 + 100 * number},4000000,{10 * number}" for number in range(5)]
    rows += [f"q/img_{number},{500_010 + 100 * number},4000000," for number in range(3)]
    (tmp_path / "p.csv").write_text("name,east,north,heading\n" + "\n".join([*rows, "q/unused,1,2,3"]))
    dataset = read_folders(*folders, positions=tmp_path / "p.csv")
    assert _rows(dataset) == [[0], [1], [2]]
    assert dataset.database[2].heading == 20.0
    assert dataset.has_map
    assert "Positions were read from p.csv" in dataset.notes[0]


@pytest.mark.parametrize("latitude", [48.0, -33.9])
def test_positions_in_degrees_hold_across_a_zone_border(tmp_path, latitude):
    photo(tmp_path / "db" / "west.jpg")
    photo(tmp_path / "db" / "far.jpg")
    photo(tmp_path / "q" / "east.jpg")
    (tmp_path / "p.csv").write_text(
        f"name,latitude,longitude\nwest,{latitude},11.9999\nfar,{latitude + 0.001},11.9999\neast,{latitude},12.0001\n"
    )
    dataset = read_folders(tmp_path / "db", tmp_path / "q", positions=tmp_path / "p.csv")
    assert _rows(dataset) == [[1]]  # 0.0002 degrees of longitude are 15 to 19 m here, 0.001 of latitude 111 m
    assert dataset.database[0].zone == ("32U" if latitude > 0 else "32H")
    assert dataset.queries[0].utm[1] > 0
    metres = np.subtract(dataset.database[0].utm, dataset.database[1].utm)
    assert abs(np.hypot(*metres) - 111.0) < 0.5


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name,east\na,1\n", r"holds no positions: its columns are name, east"),
        ("name,east,north\na,1,2\n", r"no position of 1 of 2 photos, the first is .*b\.jpg"),
        ("name,east,north\na,1,2\nb,x,2\n", r"Row 3 of .*p\.csv has 'x' in the column 'east'"),
        ("name,east,north\na,1,2\na,1,2\nb,1,2\n", r"Row 3 of .*names 'a' again"),
        ("name,east,north\na,1\n", r"Row 2 of .*p\.csv has 2 cells, its header 3"),
        ("name,latitude,longitude\na,120,40\nb,40,120\n", r"latitude 120, longitude 40.*exchanged"),
        ("name,latitude,longitude\na,10,0\nb,10,90\n", r"too far for one projection"),
    ],
)
def test_positions_that_do_not_fit(tmp_path, text, words):
    photo(tmp_path / "db" / "a.jpg")
    photo(tmp_path / "q" / "b.jpg")
    (tmp_path / "p.csv").write_text(text)
    with pytest.raises(DatasetError, match=words):
        read_folders(tmp_path / "db", tmp_path / "q", positions=tmp_path / "p.csv")


def test_a_query_list_keeps_the_order_of_the_data_set_and_its_answers(folders, tmp_path):
    (tmp_path / "list.txt").write_text("img_2\nimg_0\n")
    dataset = read_folders(*folders, frames=0, query_list=tmp_path / "list.txt")
    assert [entry.path.stem for entry in dataset.queries] == ["img_0", "img_2"]
    assert _rows(dataset) == [[0], [2]]
    np.save(tmp_path / "rows.npy", np.array([2]))
    assert _rows(read_folders(*folders, frames=0, query_list=tmp_path / "rows.npy")) == [[2]]
    np.save(tmp_path / "rows.npy", np.array([3]))
    with pytest.raises(DatasetError, match=r"rows\.npy names 1 queries and row 3; there are 3 queries"):
        read_folders(*folders, frames=0, query_list=tmp_path / "rows.npy")


def test_right_answers_from_elsewhere_serve_trees_too(tmp_path):
    for number in range(3):
        for side in ("database", "queries"):
            place(tmp_path / side, 500_000 + 1000 * number)
    assert _rows(read_dataset(tmp_path, frames=1)) == [[0, 1], [0, 1, 2], [1, 2]]
