"""What is damaged, absurd or of another kind is told in a sentence, and never becomes a result."""

from __future__ import annotations

import csv
import io
import json
import warnings
from pathlib import Path

import numpy as np
import pytest
from pack_samples import described, stand_in
from small_results import result, street

from scicevpr.cli.main import main
from scicevpr.datasets import Photo, positives
from scicevpr.datasets.ground_truth_files import read_truth
from scicevpr.datasets.tables import cell_text
from scicevpr.errors import DatasetError, IndexMismatchError, SciceVPRError, UsageError, WeightsError
from scicevpr.evaluation.benchmark import score
from scicevpr.evaluation.comparison import read_relevance
from scicevpr.evaluation.report import write_csv, write_descriptor_files, write_predictions
from scicevpr.evaluation.results import read_results
from scicevpr.evaluation.stored import open_descriptors
from scicevpr.files.descriptor_files import load_descriptors, save_descriptors
from scicevpr.files.reading import parse_json, read_npy
from scicevpr.hub.pretrained import from_pretrained
from scicevpr.packs.tables import COLUMNS, read_records, write_records
from scicevpr.retrieval.factory import build_index, make_index
from scicevpr.retrieval.manifest import read_manifest
from scicevpr.retrieval.pca import PCA
from scicevpr.retrieval.rows import find_rows
from scicevpr.retrieval.stored_index import open_index

CITY = street()


def _flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 16
    path.write_bytes(content)


# ---- bytes that changed -------------------------------------------------------------------------------------------


def test_a_flipped_byte_in_a_descriptor_file_is_noticed(tmp_path):
    path = save_descriptors(tmp_path / "d.safetensors", described(6, stand_in()), [f"{row}.jpg" for row in range(6)])
    assert load_descriptors(path)[0].values.shape == (6, 32)
    _flip(path, -40)
    for read in (load_descriptors, lambda path: load_descriptors(path, mapped=True), open_descriptors, find_rows):
        with pytest.raises(IndexMismatchError, match=r"d\.safetensors are damaged"):
            read(path)


def test_a_flipped_byte_in_exported_descriptors_is_noticed(tmp_path):
    database, queries, _ = write_descriptor_files(result({0}), tmp_path)
    assert open_descriptors(queries).names is not None
    _flip(database, -9)
    with pytest.raises(IndexMismatchError, match=r"database_descriptors\.npy was changed"):
        open_descriptors(database)


def test_a_flipped_byte_in_a_pca_is_noticed(tmp_path):
    path = PCA.fit(np.random.default_rng(0).normal(size=(9, 5)), 3).save(tmp_path / "pca.safetensors")
    assert PCA.load(path).dimension == 3
    _flip(path, -12)
    with pytest.raises(IndexMismatchError, match="damaged"):
        PCA.load(path)


# ---- values that cannot be compared -------------------------------------------------------------------------------


def test_a_record_that_names_no_photos_is_refused(tmp_path):
    paths = write_descriptor_files(result({0}), tmp_path)
    record = json.loads(paths[2].read_text())
    record["database"]["names"] = []
    record["database"].pop("sha256")
    paths[2].write_text(json.dumps(record))
    with pytest.raises(IndexMismatchError, match="names 0 photos"):
        open_descriptors(paths[0])


def test_within_a_huge_radius_every_photo_is_right():
    everything = positives([[0.0, 0.0], [1e7, 1e7]], [[5e5, 4e6]], radius=1e308)
    assert [rows.tolist() for rows in everything] == [[0, 1]]


@pytest.mark.parametrize("tier", ["exact", "int8", "streamed", "float16"])
def test_values_that_overflow_are_refused_by_every_index(tier):
    good, huge = np.ones((4, 8), np.float32), np.full((4, 8), 1e30, np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UsageError, match=r"contain (the value 1e\+30|NaN or infinite)"):
            make_index(huge, tier)
        with pytest.raises(UsageError, match=r"the value 1e\+30 \(row 0\)"):
            make_index(good, tier).search(huge, 1)
        with pytest.raises(UsageError, match=r"contain (the value|NaN or infinite)"):
            make_index(good.astype(np.float64) * 1e200, tier)


@pytest.mark.parametrize("tier", ["streamed", "int8", "ivf-pq"])
def test_no_index_is_built_of_values_that_overflow(tmp_path, tier):
    np.save(tmp_path / "huge.npy", np.full((40, 8), -1e30, np.float32))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UsageError, match=r"the value 1e\+30"):
            build_index(tmp_path / "i", tmp_path / "huge.npy", tier)
    assert not (tmp_path / "i").exists()


def test_descriptors_that_are_zero_are_not_scored_without_a_word():
    rows = len(CITY.database), len(CITY.queries)
    database, queries = (np.eye(count, 40, dtype=np.float32) for count in rows)
    with pytest.raises(UsageError, match="All 12 database descriptors are zero"):
        score("model", CITY, database * 0, queries)
    with pytest.raises(UsageError, match="All 36 query descriptors are zero"):
        score("model", CITY, database, queries * 0)
    database[[3, 4]] = 0
    notes = score("model", CITY, database, queries).notes
    assert any("2 of 12 database descriptors are zero" in note for note in notes)


# ---- files of another kind ----------------------------------------------------------------------------------------


def _npy(path: Path, shape: str, content: bytes = b"\0" * 64) -> Path:
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".encode()
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + content)
    return path


SHAPES = ["(10**9, 10**9)", "(4000000000, 4000000000)", "(-1, 4)", "(4, -4)", f"({2**63}, 2)", "(1e3, 4)", "('a', 4)"]


@pytest.mark.parametrize("shape", SHAPES)
def test_an_npy_file_with_an_impossible_shape_is_refused_by_every_reader(tmp_path, shape):
    path = _npy(tmp_path / "a.npy", shape)
    np.save(tmp_path / "d.npy", np.eye(4, dtype=np.float32))
    index = build_index(tmp_path / "i", tmp_path / "d.npy", "streamed").folder
    readers = (read_npy, open_descriptors, find_rows, lambda path: read_truth(path, CITY.database, CITY.queries))
    for read in readers:
        with pytest.raises(SciceVPRError, match=r"a\.npy"):
            read(path)
    assert main(["index", "search", str(index), str(path)]) == 2


@pytest.mark.parametrize("order", "<>")
def test_text_that_is_no_unicode_is_refused(tmp_path, order):
    np.save(tmp_path / "a.npy", np.array(["Zürich", "b"]).astype(f"{order}U6"))
    assert read_npy(tmp_path / "a.npy").tolist() == ["Zürich", "b"]
    _flip(tmp_path / "a.npy", -1 if order == "<" else -4)
    with pytest.raises(DatasetError, match="text that is no Unicode"):
        read_npy(tmp_path / "a.npy")


def test_an_npy_list_that_names_itself_many_times_is_refused(tmp_path):
    inner = list(range(200))
    for _ in range(3):
        inner = [inner] * 200  # 1.6 billion items in a few bytes
    values = np.empty(1, object)
    values[0] = inner
    np.save(tmp_path / "laughs.npy", values, allow_pickle=True)
    with pytest.raises(DatasetError, match=r"more than 3000000 items|nested too deeply"):
        read_npy(tmp_path / "laughs.npy")


JSON = {
    "deep": "[" * 200_000 + "]" * 200_000,
    "deep objects": '{"results":' * 100_000 + "1" + "}" * 100_000,
    "a huge number": '{"results": [' + "9" * 5000 + '], "format": ' + "9" * 400 + "}",
    "no text": "\xff\xfe\x00",
    "half of a character": '{"results": "\\ud83d", "config": 1}',
    "a list": "[1, 2]",
    "a number": "3",
}


@pytest.mark.parametrize("content", JSON)
def test_json_that_is_too_deep_or_too_large_is_refused_by_every_reader(tmp_path, content):
    for name in ("results.json", "index.json", "pack.json", "config.json", "descriptors.json", "d.npy.json"):
        (tmp_path / name).write_bytes(JSON[content].encode("latin1"))
    np.save(tmp_path / "d.npy", np.eye(2, dtype=np.float32))
    save_descriptors(tmp_path / "model.safetensors", described(2, stand_in()), ["a", "b"])
    results = tmp_path / "results.json"
    for read, words in (
        (lambda: read_relevance(results), "results"),
        (lambda: read_results(results), "results"),
        (lambda: read_truth(results, CITY.database, CITY.queries), "results"),
        (lambda: read_manifest(tmp_path), "index"),
        (lambda: from_pretrained(tmp_path), "config"),
        (lambda: open_descriptors(tmp_path / "d.npy"), "descriptors"),
    ):
        with pytest.raises((DatasetError, IndexMismatchError, WeightsError), match=words):
            read()


def _stored(tmp_path, change) -> Path:
    content = {"results": [result({0}, "Model").to_json()]}
    change(content["results"][0])
    path = tmp_path / "results.json"
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda found: found.update(title="x" * 20_000), "title of the length 20000; at most 200"),
        (lambda found: found["protocol"].update(variant="x" * 20_000), "line of a protocol of the length 20000"),
        (lambda found: found["overall"]["recall_percent"].update({"1": 250.0}), "no results of an evaluation"),
        (lambda found: found["overall"].update(mrr=float("nan")), "no results of an evaluation"),
        (lambda found: found["overall"]["recall_percent"].update({"1": 1e400}), "no results of an evaluation"),
        (lambda found: found["overall"].update(recall_percent={}), "no results of an evaluation"),
    ],
)
def test_results_that_cannot_be_drawn_are_refused(tmp_path, change, words):
    with pytest.raises(DatasetError, match=words):
        read_results(_stored(tmp_path, change))


@pytest.mark.parametrize(
    "change",
    [
        lambda found: found["predictions"][0]["matches"][0].update(rank=-1),
        lambda found: found["predictions"][0]["matches"][0].update(rank=0),
        lambda found: found["predictions"][0]["matches"][0].update(rank=10**9),
        lambda found: found["overall"]["recall_percent"].update({str(10**12): 5.0}),
        lambda found: found["predictions"][0].update(query=["a"]),
        lambda found: found["predictions"][0].update(place={}),
        lambda found: found.update(protocol=3),
    ],
)
def test_results_that_cannot_be_compared_are_refused(tmp_path, change):
    with pytest.raises(DatasetError, match=r"is not a result of"):
        read_relevance(_stored(tmp_path, change))


def test_an_index_whose_manifest_fits_its_checksum_but_not_its_files_is_refused(tmp_path):
    from scicevpr.retrieval.manifest import _checksum

    np.save(tmp_path / "d.npy", np.eye(8, dtype=np.float32))
    index = build_index(tmp_path / "i", tmp_path / "d.npy", "int8").folder
    sound = json.loads((index / "index.json").read_text())
    for change in (
        {"count": 0}, {"count": -3}, {"count": 10**18}, {"count": 7}, {"dimension": 4}, {"removed": 2},
        {"files": {}}, {"files": {**sound["files"], "pack.json": [1, "a"]}}, {"generation": "1"}, {"sources": []},
        {"tier": "ivf-pq"},
        {"files": {"rows-1.safetensors": sound["files"]["rows-1.safetensors"]}},
        {"sources": [{**sound["sources"][0], "width": 4}]}, {"sources": [{**sound["sources"][0], "path": 3}]},
    ):  # fmt: skip
        content = {**sound, **change}
        content["checksum"] = _checksum(content)
        (index / "index.json").write_text(json.dumps(content))
        with pytest.raises(IndexMismatchError, match=r"i|index"):
            open_index(index)


# ---- what goes out ------------------------------------------------------------------------------------------------


def test_no_title_becomes_a_formula_in_a_spreadsheet(tmp_path):
    found = result({0}, '=HYPERLINK("http://x","Model")')
    with write_csv([found], tmp_path / "scores.csv").open() as file:
        assert {row["model"] for row in csv.DictReader(file)} == {"'" + found.title}
    name = "@0500310.00@4000000.00@32@U@@@3@@@@@@@night@.jpg"
    assert cell_text(name) == name, "the field's names stay comparable"
    assert [cell_text(text)[0] for text in ("@SUM(A1)", "@1@2@=A1", "@1@2@(A1)", "-2+3")] == ["'"] * 4
    text = write_predictions(result({0}, "=1+1"), tmp_path).read_text()
    assert not any(cell.startswith("=") for row in csv.reader(io.StringIO(text)) for cell in row)


def test_no_name_in_a_pack_is_a_formula_and_none_is_changed(tmp_path):
    names = ["=1+1.jpg", "+1.jpg", "-1.jpg", "@SUM(A1).jpg", "'=1.jpg", "''a.jpg", "'a.jpg", "a.jpg", "\tx.jpg"]
    photos = [Photo(Path(name), name, (-1.5, 2.0), zone="=Z", condition="@night") for name in names]
    write_records(tmp_path / "records.csv", photos, Path(), None)
    with (tmp_path / "records.csv").open(newline="") as file:
        rows = list(csv.reader(file))[1:]
    texts = [row[at] for row in rows for at, column in enumerate(COLUMNS) if column not in ("east", "north", "heading")]
    assert not [text for text in texts if text[:1] in ("=", "+", "-", "@", "\t")]
    assert read_records(tmp_path / "records.csv", len(names))[0] == photos


def test_escaped_characters_are_read_and_halves_of_them_are_not():
    assert parse_json('["\\ud83d\\ude00 \\\\ud83d"]') == ["\U0001f600 \\ud83d"]
    for text in ('{"\\ud83d": 1}', '[["\\ude00\\ud83d"]]', b'"\\uDFFF"'):
        with pytest.raises(ValueError, match="half of a character"):
            parse_json(text)
