from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from photo_files import photo

from scicevpr.cli.main import main
from scicevpr.datasets import (
    distances,
    format_name,
    list_photos,
    parse_name,
    positives,
    read_dataset,
    read_folders,
    utm_array,
)
from scicevpr.errors import DatasetError, IndexMismatchError, UsageError
from scicevpr.files.descriptor_files import Descriptors, load_descriptors, save_descriptors
from scicevpr.models.model import build_model

FULL = {
    "east": 584309.153, "north": 4477123.4, "zone_number": 17, "zone_letter": "T", "latitude": 40.4427,
    "longitude": -79.9959, "pano_id": "abc", "tile": 3, "heading": 92.4, "pitch": -5, "timestamp": "20240102_030405",
    "note": "rain",
}  # fmt: skip


def test_format_name_writes_the_sixteen_pieces_of_the_field():
    name = format_name(**FULL)
    assert name == "@0584309.15@4477123.40@17@T@040.44270@-079.99590@abc@03@092@-05@@@20240102_030405@rain@.jpg"
    assert len(name.split("@")) == 16


def test_parse_name_reads_back_what_was_written():
    photo = parse_name(Path("a@b/c") / format_name(**FULL))
    assert photo.utm == (584309.15, 4477123.4)
    assert (photo.zone, photo.heading, photo.timestamp, photo.condition) == ("17T", 92.0, "20240102_030405", "rain")


def test_parse_name_takes_empty_and_missing_pieces_as_unknown():
    short = parse_name("@500000.5@4000000@.jpg")
    assert short.utm == (500000.5, 4000000.0)
    assert (short.zone, short.heading, short.timestamp, short.condition) == (None, None, None, None)
    assert parse_name(format_name(east=1, north=2)).condition is None


@pytest.mark.parametrize("name", ["a@1@2@3/photo.jpg", "photo.jpg", "@x@y@@.jpg", "@nan@5@@.jpg", "@12@.jpg"])
def test_parse_name_gives_no_position_where_there_is_none(name):
    assert parse_name(name).utm is None


def test_heading_wraps_at_360():
    assert parse_name(format_name(east=1, north=2, heading=359.7)).heading == 0
    assert parse_name(format_name(east=1, north=2, heading=-90)).heading == 270


@pytest.mark.parametrize(
    "wrong", [{"note": "a@b"}, {"pano_id": "a/b"}, {"timestamp": "yesterday"}, {"heading": np.inf}]
)
def test_format_name_refuses_what_cannot_be_read_back(wrong):
    with pytest.raises(UsageError):
        format_name(**{**FULL, **wrong})


@pytest.mark.parametrize("inside", [".", "images", "images/test"])
def test_a_data_set_may_be_named_at_three_levels(tiny_city, inside):
    dataset = read_dataset(tiny_city / inside)
    assert (len(dataset.database), len(dataset.queries), dataset.split) == (12, 8, "test")
    assert dataset.name == tiny_city.name
    assert dataset.conditions == ["day", "night"]
    assert dataset.labelled
    assert dataset.has_map
    assert [photo.path for photo in dataset.database] == sorted(photo.path for photo in dataset.database)


def test_the_split_of_the_folder_wins_and_is_noted(tmp_path):
    for folder in ("database", "queries"):
        photo(tmp_path / "images" / "val" / folder / "@1@2@.jpg")
    dataset = read_dataset(tmp_path / "images" / "val")
    assert dataset.split == "val"
    assert "val" in dataset.notes[0]


def test_svox_folders_give_the_condition(tmp_path):
    photo(tmp_path / "images/test/gallery/@500000@4000000@.jpg")
    photo(tmp_path / "images/test/queries_night/@500000@4000000@.jpg")
    with pytest.raises(DatasetError, match="queries_night"):
        read_dataset(tmp_path)
    assert read_dataset(tmp_path, queries="queries_night").conditions == ["night"]


def test_photos_are_found_in_subfolders_with_any_case_of_extension(tmp_path):
    wanted = [photo(tmp_path / name) for name in ("b/1.JPG", "a.png", "c.jpeg")]
    (tmp_path / "notes.txt").write_text("no photo")
    assert list_photos(tmp_path) == sorted(wanted)


def test_a_name_that_is_no_text_is_told_at_once_by_library_and_command_line(tmp_path, capsys):
    """Later it could not be hashed, shown, or written into results, and every question about its set failed."""
    name = os.fsencode(tmp_path) + b"/caf\xe9.jpg"
    photo(tmp_path / "a.jpg")
    shutil.copyfile(tmp_path / "a.jpg", name)
    with pytest.raises(DatasetError, match=r"caf\\udce9.jpg' is not UTF-8.*Rename it"):
        list_photos(tmp_path)
    assert main(["describe", os.fsdecode(name), "-o", str(tmp_path / "d.npy")]) == 2
    assert "caf\\udce9.jpg' is not UTF-8" in capsys.readouterr().err


def test_mock_coordinates_are_scored_but_not_mapped(tmp_path):
    for folder in ("database", "queries"):
        photo(tmp_path / folder / "@0@1000.0@@@@@1@@@@@@@@.jpg")
    dataset = read_folders(tmp_path / "database", tmp_path / "queries")
    assert dataset.labelled
    assert not dataset.has_map
    assert "stand-in" in dataset.notes[0]


def test_several_zones_are_put_into_one_and_noted(tmp_path):
    photo(tmp_path / "database" / format_name(east=5e5, north=4e6, zone_number=31, zone_letter="U"))
    photo(tmp_path / "queries" / format_name(east=5e5, north=4e6, zone_number=32, zone_letter="U"))
    note = read_folders(tmp_path / "database", tmp_path / "queries").notes[0]
    assert "1 in 32U" in note
    assert "projected into zone 31" in note


def test_photos_without_positions_need_no_labels(tmp_path):
    photo(tmp_path / "database" / "one.jpg")
    photo(tmp_path / "queries" / "two.jpg")
    with pytest.raises(DatasetError, match="--no-labels"):
        read_folders(tmp_path / "database", tmp_path / "queries")
    dataset = read_folders(tmp_path / "database", tmp_path / "queries", labels=False)
    assert not dataset.labelled
    assert not dataset.has_map


def test_missing_and_empty_folders_say_what_was_looked_for(tmp_path, tiny_city):
    with pytest.raises(DatasetError, match="does not exist"):
        read_dataset(tmp_path / "nowhere")
    with pytest.raises(DatasetError, match=r"images/test/database.*an empty folder"):
        read_dataset(tmp_path)
    with pytest.raises(DatasetError, match="Other splits of the tree: test"):
        read_dataset(tiny_city, split="train")
    (tmp_path / "database").mkdir()
    with pytest.raises(DatasetError, match="holds no photos"):
        read_folders(tmp_path / "database", tmp_path / "database")


def test_shuffled_queries_are_the_same_photos_in_another_order(tiny_city):
    dataset = read_dataset(tiny_city)
    shuffled = dataset.shuffle_queries(1)
    assert shuffled.queries != dataset.queries
    assert set(shuffled.queries) == set(dataset.queries)
    assert shuffled.queries == dataset.shuffle_queries(1).queries
    assert "seed 1" in shuffled.query_order


@pytest.mark.parametrize("case", ["random", "geo"])
@pytest.mark.parametrize(("rounding", "array"), [("float32", "positives"), ("float64", "positives_float64")])
def test_positives_equal_the_reference(golden, case, rounding, array):
    data = golden("eval_protocol")
    found = positives(data[f"{case}_db_utm"], data[f"{case}_q_utm"], float(data["radius_m"]), rounding)
    table = np.zeros((len(found), len(data[f"{case}_db_utm"])), dtype=np.uint8)
    for row, right in enumerate(found):
        table[row, right] = 1
    np.testing.assert_array_equal(table, data[f"{case}_{array}"])


def test_positives_include_the_border_and_may_be_empty():
    found = positives([[0, 0], [15, 20], [15.01, 20]], [[0, 0], [9e5, 9e6]], 25)
    assert [rows.tolist() for rows in found] == [[0, 1], []]


@pytest.mark.parametrize("wrong", [{"radius": 0}, {"radius": np.nan}, {"rounding": "float16"}, {"query_utm": [1, 2]}])
def test_positives_refuse_bad_arguments(wrong):
    with pytest.raises(UsageError):
        positives(**{"database_utm": [[0, 0]], "query_utm": [[0, 0]], **wrong})


def test_distances_in_metres_and_unknown_ones():
    database = [parse_name("@3@4@.jpg"), parse_name("unknown.jpg")]
    metres = distances(database, [parse_name("@0@0@.jpg")], np.array([[0, 1, -1]]))
    np.testing.assert_array_equal(metres, [[5.0, np.nan, np.nan]])
    with pytest.raises(DatasetError, match=r"unknown\.jpg"):
        utm_array(database)


@pytest.fixture
def described():
    values = np.random.default_rng(0).standard_normal((3, 8)).astype(np.float32)
    return Descriptors(
        values=values, variant="scicevpr-t", fingerprint="f" * 12, weights="w" * 12, trained=True, grouping="alone",
        preprocessing={"size": (224, 224), "antialias": True}, device="cpu", dtype="float32", seconds=1.5,
    )  # fmt: skip


def test_a_pack_returns_what_was_saved(tmp_path, described):
    path = save_descriptors(tmp_path / "deep" / "city.safetensors", described, ["a", "b", "c"])
    loaded, names = load_descriptors(path)
    assert names == ["a", "b", "c"]
    np.testing.assert_allclose(loaded.values, described.values, rtol=1e-3)
    assert loaded.values.dtype == np.float32
    assert replace(loaded, values=None) == replace(described, values=None)
    assert [file.name for file in path.parent.iterdir()] == ["city.safetensors"]


def test_a_pack_of_other_photos_another_model_or_no_pack_is_refused(tmp_path, described):
    path = save_descriptors(tmp_path / "city.safetensors", described, ["a", "b", "c"])
    with pytest.raises(IndexMismatchError, match=r"row 1 is 'b', 'x'"):
        load_descriptors(path, names=["a", "x", "c"])
    with pytest.raises(IndexMismatchError, match="holds 3 photos, 2"):
        load_descriptors(path, names=["a", "b"])
    with pytest.raises(IndexMismatchError, match="other architecture"):
        load_descriptors(path, build_model("scicevpr-t"))
    with pytest.raises(IndexMismatchError, match="no descriptor file"):
        load_descriptors(tmp_path / "none.safetensors")
    (tmp_path / "text.safetensors").write_text("not a pack")
    with pytest.raises(IndexMismatchError, match="not a readable"):
        load_descriptors(tmp_path / "text.safetensors")
    with pytest.raises(UsageError, match="2 photo names"):
        save_descriptors(path, described, ["a", "b"])


def test_a_pack_of_other_weights_is_refused(tmp_path, described):
    model = build_model("scicevpr-t")
    mine = replace(described, fingerprint=model.variant.fingerprint)
    with pytest.raises(IndexMismatchError, match="other weights"):
        load_descriptors(save_descriptors(tmp_path / "a.safetensors", mine, list("abc")), model)
    untrained = replace(mine, weights="random")
    loaded, _ = load_descriptors(save_descriptors(tmp_path / "b.safetensors", untrained, list("abc")), model)
    assert loaded.weights == "random"
