"""Nothing of others is lost beside an index, and files of different types are no damage."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from scicevpr.cli.main import main
from scicevpr.errors import UsageError
from scicevpr.retrieval import builder
from scicevpr.retrieval.changes import add_records, compact_index, remove_records
from scicevpr.retrieval.exact import ExactIndex
from scicevpr.retrieval.factory import build_index
from scicevpr.retrieval.manifest import LOCK
from scicevpr.retrieval.rows import RowFiles, find_rows
from scicevpr.retrieval.stored_index import check_index, open_index

VALUES = np.random.default_rng(0).normal(size=(60, 8)).astype(np.float32)


@pytest.fixture
def index(tmp_path) -> Path:
    np.save(tmp_path / "d.npy", VALUES[:40])
    return build_index(tmp_path / "index", tmp_path / "d.npy", "int8").folder


def test_a_source_inside_the_index_and_foreign_files_stay(index):
    np.save(index / "mine.npy", VALUES[40:])
    external = [index / name for name in ("notes.txt", "photo-1.npy", "rows.safetensors", ".hidden")]
    for path in external:
        path.write_text("mine")
    assert main(["index", "add", str(index), str(index / "mine.npy")]) == 0
    remove_records(index, [3, 4])
    compact_index(index)
    assert np.array_equal(np.load(index / "mine.npy"), VALUES[40:])
    assert {path.read_text() for path in external} == {"mine"}
    assert open_index(index).search(VALUES[41:42], 1).similarities[0, 0] == pytest.approx(1)
    assert check_index(index) == []


def test_a_source_with_a_name_of_the_index_is_refused(index):
    for name in ("added-2.npy", "rows-7.npy.part", "bytes-9.npy"):
        np.save(index / "x.npy", VALUES[40:])
        os.replace(index / "x.npy", index / name)
    with pytest.raises(UsageError, match=r"bytes-9\.npy lies in the index's folder"):
        add_records(index, index / "bytes-9.npy")
    assert (index / "bytes-9.npy").is_file()


def test_restart_leaves_a_running_build_and_foreign_files_alone(tmp_path):
    np.save(tmp_path / "d.npy", VALUES)
    draft = tmp_path / "i.building"
    (draft / "work").mkdir(parents=True)
    (draft / "work" / "part-00000.safetensors").write_text("half done")
    with FileLock(draft / LOCK), pytest.raises(UsageError, match="being built by another process"):
        build_index(tmp_path / "i", tmp_path / "d.npy", "streamed", restart=True)
    assert (draft / "work" / "part-00000.safetensors").read_text() == "half done"

    (draft / "work" / "thesis.txt").write_text("mine")
    (draft / "photos.npy").write_text("mine")
    index = build_index(tmp_path / "i", tmp_path / "d.npy", "streamed", restart=True)
    assert len(index) == 60
    assert [(tmp_path / "i" / name).read_text() for name in ("work/thesis.txt", "photos.npy")] == ["mine", "mine"]


def test_descriptors_that_are_not_finite_take_only_the_draft_away(tmp_path):
    np.save(tmp_path / "nan.npy", np.full((4, 8), np.nan, np.float32))
    with pytest.raises(UsageError, match="NaN or infinite"):
        build_index(tmp_path / "i", tmp_path / "nan.npy", "int8")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["nan.npy"]
    (tmp_path / "i.building").mkdir()
    (tmp_path / "i.building" / "thesis.txt").write_text("mine")
    with pytest.raises(UsageError, match="NaN or infinite"):
        build_index(tmp_path / "i", tmp_path / "nan.npy", "int8")
    assert (tmp_path / "i.building" / "thesis.txt").read_text() == "mine"
    np.save(tmp_path / "i.building" / "d.npy", VALUES)
    with pytest.raises(UsageError, match="where the index will be made"):
        build_index(tmp_path / "i", tmp_path / "i.building" / "d.npy", "int8")


def test_two_builds_at_once_end_with_one_index_and_a_sentence(tmp_path, monkeypatch):
    np.save(tmp_path / "d.npy", VALUES)
    lock = builder.FileLock

    def late(*place, **how):  # the other process finishes while this one is about to begin
        monkeypatch.setattr(builder, "FileLock", lock)
        build_index(tmp_path / "i", tmp_path / "d.npy", "streamed")
        return lock(*place, **how)

    monkeypatch.setattr(builder, "FileLock", late)
    with pytest.raises(UsageError, match="exists already"):
        build_index(tmp_path / "i", tmp_path / "d.npy", "streamed")
    assert len(open_index(tmp_path / "i")) == 60
    assert sorted(path.name for path in tmp_path.iterdir()) == ["d.npy", "i"]


@pytest.mark.parametrize("tier", ["streamed", "int8", "ivf-pq"])
def test_files_of_different_types_are_searched_and_sound(tmp_path, tier):
    np.save(tmp_path / "half.npy", VALUES[:30].astype(np.float16))
    np.save(tmp_path / "single.npy", VALUES[30:40])
    settings = {"dimension": 4, "nlist": 2, "nprobe": 2, "rerank_k": 40, "questions": 10, "part_rows": 16}
    sources = [tmp_path / "half.npy", tmp_path / "single.npy"]
    index = build_index(tmp_path / "i", sources, tier, **(settings if tier == "ivf-pq" else {}))
    whole = np.concatenate([VALUES[:30].astype(np.float16).astype(np.float32), VALUES[30:40]])
    np.testing.assert_array_equal(index.search(whole, 3).indices, ExactIndex(whole).search(whole, 3).indices)
    assert check_index(index.folder) == []
    np.save(tmp_path / "double.npy", VALUES[40:].astype(np.float64))
    index = add_records(index.folder, tmp_path / "double.npy")
    whole = np.concatenate([whole, VALUES[40:]])
    np.testing.assert_array_equal(index.search(whole, 3).indices, ExactIndex(whole).search(whole, 3).indices)
    compact_index(remove_records(index.folder, [0, 35]).folder)
    assert check_index(index.folder) == []
    with (tmp_path / "single.npy").open("rb+") as file:  # real damage is still found
        file.seek(-3, 2)
        file.write(b"\x7f")
    assert "Row" in check_index(index.folder)[0]


def test_rows_are_read_where_the_system_has_no_preadv(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "preadv")
    np.save(tmp_path / "d.npy", VALUES)
    rows = RowFiles([find_rows(tmp_path / "d.npy")])
    np.testing.assert_array_equal(rows[7:50], VALUES[7:50])
    np.testing.assert_array_equal(rows.take_rows(np.array([59, 0, 3])), VALUES[[59, 0, 3]])


def test_a_build_that_was_killed_frees_its_lock_and_takes_nothing_with_it(tmp_path):
    from test_index_builder import _build

    np.save(tmp_path / "d.npy", np.repeat(VALUES, 5, axis=0))
    assert _build(tmp_path / "i", tmp_path / "d.npy", "int8", "codes-1-00001.npy", "half") == -signal.SIGKILL
    (tmp_path / "i.building" / "thesis.txt").write_text("mine")
    index = build_index(tmp_path / "i", tmp_path / "d.npy", "int8", restart=True)
    assert check_index(index.folder) == []
    assert (tmp_path / "i" / "thesis.txt").read_text() == "mine"
    assert not list(index.folder.glob(".*.part"))
