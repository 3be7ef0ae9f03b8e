"""Layouts that list their right answers: photo lists in .npy files, and VPR-Bench folders."""

from __future__ import annotations

import os

import numpy as np
import pytest
from photo_files import photo

from scicevpr.datasets import read_dataset
from scicevpr.errors import DatasetError

DATABASE = ["b/2.jpg", "a/1.jpg", "b/1.jpg"]  # sorted by path: rows 1, 2, 0
QUERIES = ["q/9.jpg", "q/3.jpg"]


def _lists(folder, name="SPED", gt="_gt.npy", rows=((0, 2), (1,)), database=DATABASE, queries=QUERIES):
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / f"{name}_dbImages.npy", np.array(database))
    np.save(folder / f"{name}_qImages.npy", np.array(queries))
    if rows is not None:
        np.save(folder / f"{name}{gt}", _objects([np.array(row, dtype=np.int64) for row in rows]))


def _objects(items) -> np.ndarray:
    array = np.empty(len(items), dtype=object)
    for row, item in enumerate(items):
        array[row] = item
    return array


def _photos(root, names=(*DATABASE, *QUERIES)):
    for name in names:
        photo(root / name)


def _answers(dataset):
    """Names of the right database photos of each query."""
    return {
        query.path.name: [dataset.database[row].path.as_posix()[-7:] for row in rows]
        for query, rows in zip(dataset.queries, dataset.positives(), strict=True)
    }


@pytest.mark.parametrize("gt", ["_gt.npy", "_gt_25m.npy"])
@pytest.mark.parametrize("where", [".", "SPED", ".."])
def test_photo_lists_are_sorted_and_rows_go_with_them(tmp_path, gt, where):
    root = tmp_path / "lists"
    _lists(root, gt=gt)
    _photos(root / where)
    dataset = read_dataset(root)
    assert [entry.path.as_posix()[-7:] for entry in dataset.database] == ["a/1.jpg", "b/1.jpg", "b/2.jpg"]
    assert [entry.path.name for entry in dataset.queries] == ["3.jpg", "9.jpg"]
    assert _answers(dataset) == {"3.jpg": ["a/1.jpg"], "9.jpg": ["b/1.jpg", "b/2.jpg"]}
    assert (dataset.layout, dataset.name, dataset.benchmark) == ("npy", "SPED", "sped")
    assert dataset.truth.label() == f"the list in SPED{gt}"
    assert dataset.labelled
    assert not dataset.has_map


def test_a_plain_integer_array_is_ground_truth_too(tmp_path):
    _lists(tmp_path, rows=None)
    _photos(tmp_path)
    np.save(tmp_path / "SPED_gt.npy", np.array([[2], [1]]))
    assert _answers(read_dataset(tmp_path)) == {"3.jpg": ["a/1.jpg"], "9.jpg": ["b/1.jpg"]}


def test_msls_lists_name_the_queries_that_count(tmp_path):
    queries = ["q/1.jpg", "q/2.jpg", "q/3.jpg"]
    _lists(tmp_path, "msls_val", rows=None, queries=queries)
    np.save(tmp_path / "msls_val_qIdx.npy", np.array([2, 0]))
    np.save(tmp_path / "msls_val_pIdx.npy", _objects([np.array([0]), np.array([1, 2])]))
    _photos(tmp_path, (*DATABASE, *queries))
    dataset = read_dataset(tmp_path, "val")
    assert _answers(dataset) == {"1.jpg": ["a/1.jpg", "b/1.jpg"], "3.jpg": ["b/2.jpg"]}
    assert dataset.query_order == "by path, 2 of 3 as listed in msls_val_qIdx.npy"
    assert (dataset.benchmark, dataset.split) == ("msls-val", "val")
    (tmp_path / "one.txt").write_text("2.jpg\n3.jpg\n")
    assert _answers(read_dataset(tmp_path, "val", query_list=tmp_path / "one.txt")) == {
        "2.jpg": [],
        "3.jpg": ["b/2.jpg"],
    }
    np.save(tmp_path / "msls_val_qIdx.npy", np.array([2, 3]))
    with pytest.raises(DatasetError, match=r"msls_val_qIdx\.npy does not name rows of the 3 queries"):
        read_dataset(tmp_path, "val")
    np.save(tmp_path / "msls_val_qIdx.npy", np.array([2]))
    with pytest.raises(DatasetError, match=r"msls_val_pIdx\.npy holds positives of 2 queries, but .*names 1"):
        read_dataset(tmp_path, "val")


def test_one_of_several_sets_is_chosen_by_split(tmp_path):
    for name in ("pitts30k_val", "pitts30k_test"):
        _lists(tmp_path, name)
    _photos(tmp_path)
    assert read_dataset(tmp_path).benchmark == "pitts30k"
    assert read_dataset(tmp_path, "pitts30k_val").split == "val"
    with pytest.raises(DatasetError, match=r"2 sets .*pitts30k_test, pitts30k_val.*--split"):
        read_dataset(tmp_path, "train")


def test_lists_that_do_not_fit_are_named(tmp_path):
    _lists(tmp_path)
    with pytest.raises(DatasetError, match=r"SPED_dbImages\.npy, b/2\.jpg, is not below .*--image-root"):
        read_dataset(tmp_path)
    _photos(tmp_path / "far" / "away")
    assert len(read_dataset(tmp_path, images=tmp_path / "far" / "away").database) == 3
    (tmp_path / "far/away/q/3.jpg").unlink()
    with pytest.raises(DatasetError, match=r"1 of the 2 photos of .*SPED_qImages\.npy .* the first is q/3\.jpg"):
        read_dataset(tmp_path, images=tmp_path / "far" / "away")
    _photos(tmp_path)
    _lists(tmp_path, rows=((0,), (3,)))
    with pytest.raises(DatasetError, match=r"SPED_gt\.npy names database row 3 for query 1, but there are 3"):
        read_dataset(tmp_path)
    _lists(tmp_path, rows=((0,), (1,), (2,)))
    with pytest.raises(DatasetError, match=r"SPED_gt\.npy holds positives of 3 queries, but there are 2"):
        read_dataset(tmp_path)
    (tmp_path / "SPED_gt.npy").unlink()
    with pytest.raises(DatasetError, match=r"no ground truth of SPED.*SPED_gt_25m\.npy.*--no-labels"):
        read_dataset(tmp_path)
    assert not read_dataset(tmp_path, labels=False).labelled


@pytest.fixture
def bench(tmp_path):
    root = tmp_path / "GardensPoint"
    for number in (2, 10, 1):
        photo(root / "query" / f"{number}.jpg")
    for number in range(12):
        photo(root / "ref" / f"{number}.jpg")
    _write_truth(root, [[0, [0, 1]], [1, np.array([10])], [2, [2]]])
    return root


def _write_truth(root, rows):
    pairs = np.empty((len(rows), 2), dtype=object)
    for row, (query, found) in enumerate(rows):
        pairs[row, 0], pairs[row, 1] = query, found
    np.save(root / "ground_truth_new.npy", pairs)


def test_vpr_bench_counts_in_the_order_of_the_numbers(bench):
    dataset = read_dataset(bench)
    answers = {
        query.path.stem: [dataset.database[row].path.stem for row in rows]
        for query, rows in zip(dataset.queries, dataset.positives(), strict=True)
    }
    # by number: queries 1, 2, 10 and refs 0, 1, 2, ... 10, 11; by path "10" comes before "2"
    assert answers == {"1": ["0", "1"], "10": ["2"], "2": ["10"]}
    assert [entry.path.stem for entry in dataset.queries] == ["1", "10", "2"]
    assert (dataset.layout, dataset.benchmark) == ("vpr-bench", "gardenspoint")
    assert dataset.truth.label() == "the list in ground_truth_new.npy"


def test_vpr_bench_files_that_do_not_fit_are_named(bench):
    _write_truth(bench, [[0, [12]], [1, [1]], [2, [1]]])
    with pytest.raises(DatasetError, match=r"ground_truth_new\.npy names database row 12 for query 0.* 12 database"):
        read_dataset(bench)
    _write_truth(bench, [[0, [1]], [1, [1]]])
    with pytest.raises(DatasetError, match=r"ground_truth_new\.npy holds 2 queries, but query/ has 3 photos"):
        read_dataset(bench)
    _write_truth(bench, [[0, [1]], [1, [1]], [3, [1]]])
    with pytest.raises(DatasetError, match=r"Entry 2 of .* is about query 3"):
        read_dataset(bench)
    _write_truth(bench, [[0, ["one"]], [1, [1]], [2, [1]]])
    with pytest.raises(DatasetError, match=r"entry 0 of .*whole numbers"):
        read_dataset(bench)
    (bench / "ground_truth_new.npy").unlink()
    with pytest.raises(DatasetError, match=r"no .*ground_truth_new\.npy.*--ground-truth"):
        read_dataset(bench)
    assert not read_dataset(bench, labels=False).labelled
    assert read_dataset(bench, frames=0).truth.label() == "same frame number (numbers from the names)"


def test_a_ground_truth_that_would_run_code_is_refused(bench, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    class Bad:
        def __reduce__(self):
            return os.mkdir, ("ran",)

    _write_truth(bench, [[0, Bad()], [1, [1]], [2, [1]]])
    with pytest.raises(DatasetError, match=r"ground_truth_new\.npy asks Python to run `\w+\.mkdir`"):
        read_dataset(bench)
    assert not (tmp_path / "ran").exists()
