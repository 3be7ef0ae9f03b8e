"""Rows are added and removed; an index that was cut off or altered is refused; the command."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from pack_samples import described, stand_in
from synthetic_city import City

from scicevpr.cli.main import main
from scicevpr.errors import IndexMismatchError, UsageError
from scicevpr.files.descriptor_files import save_descriptors
from scicevpr.retrieval import changes as changes_module
from scicevpr.retrieval.changes import add_records, compact_index, remove_records
from scicevpr.retrieval.exact import ExactIndex
from scicevpr.retrieval.factory import build_index, make_index
from scicevpr.retrieval.stored_index import check_index, open_index

TIERS = ("streamed", "int8", "ivf-pq")
SETTINGS = {"dimension": 40, "nlist": 16, "nprobe": 16, "rerank_k": 100, "questions": 40, "part_rows": 200}
COUNT = 600


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> tuple[Path, np.ndarray, np.ndarray]:
    """Folder with an index of each tier, its descriptors, and queries."""
    folder = tmp_path_factory.mktemp("indexes")
    city = City(COUNT + 90, 64, seed=6)
    values, queries = city.chunk(0).astype(np.float16), city.queries(12)[0]
    np.save(folder / "d.npy", values[:COUNT])
    np.save(folder / "more.npy", values[COUNT:])
    for tier in TIERS:
        build_index(folder / tier, folder / "d.npy", tier, **SETTINGS)
    return folder, values, queries


@pytest.fixture
def copied(data, tmp_path):
    """A copy of everything, to be changed."""
    shutil.copytree(data[0], tmp_path / "all")
    return tmp_path / "all", *data[1:]


@pytest.mark.parametrize("tier", TIERS)
def test_rows_are_added_removed_and_numbered_anew(copied, tier):
    folder, values, queries = copied
    index = add_records(folder / tier, folder / "more.npy")
    assert len(index) == COUNT + 90
    expected = ExactIndex(values).search(queries, 8)
    np.testing.assert_array_equal(index.search(queries, 8).indices, expected.indices)

    gone = np.unique(expected.indices[:, :2])
    index = remove_records(folder / tier, gone)
    left = np.setdiff1d(np.arange(COUNT + 90), gone)
    expected = ExactIndex(values[left]).search(queries, 6)
    found = index.search(queries, 6)
    np.testing.assert_array_equal(found.indices, left[expected.indices])
    np.testing.assert_array_equal(found.distances, expected.distances)
    assert len(index) == len(left)
    assert (index.search(queries, COUNT + 90).indices[:, len(left) :] == -1).all()

    np.testing.assert_array_equal(compact_index(folder / tier), left)
    index = open_index(folder / tier)
    np.testing.assert_array_equal(index.search(queries, 6).indices, expected.indices)
    index = add_records(folder / tier, values[gone])
    np.testing.assert_array_equal(index.search(queries, 4).distances, ExactIndex(values).search(queries, 4).distances)
    assert check_index(folder / tier) == []
    np.testing.assert_array_equal(compact_index(folder / tier), np.arange(COUNT + 90))


def test_ten_changes_keep_the_codes_in_order(copied):
    folder, values, queries = copied
    for start in range(COUNT, COUNT + 90, 9):
        index = add_records(folder / "int8", values[start : start + 9])
    expected = ExactIndex(values).search(queries, 8)
    np.testing.assert_array_equal(index.search(queries, 8).indices, expected.indices)
    assert index.metadata()["rows"] == "690"


@pytest.mark.parametrize("tier", TIERS)
def test_a_change_that_fails_changes_nothing(copied, tier, monkeypatch):
    folder, values, queries = copied
    before = open_index(folder / tier).search(queries, 5)
    manifest = (folder / tier / "index.json").read_bytes()

    def fails(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(changes_module, "write_manifest", fails)
        with pytest.raises(KeyboardInterrupt):
            add_records(folder / tier, values[COUNT:])
    assert (folder / tier / "index.json").read_bytes() == manifest
    np.testing.assert_array_equal(open_index(folder / tier).search(queries, 5).indices, before.indices)
    remove_records(folder / tier, [3])  # takes away what the failed change left
    assert not list((folder / tier).glob("added-*"))
    for rows, words in (([COUNT], "no row 600"), ([-1], "no row -1"), (range(COUNT), "every row")):
        with pytest.raises(UsageError, match=words):
            remove_records(folder / tier, rows)
    with pytest.raises(IndexMismatchError, match="of 3 dimensions, the index 64"):
        add_records(folder / tier, np.ones((2, 3), np.float32))


@pytest.mark.parametrize("tier", TIERS)
def test_every_file_that_is_cut_off_or_altered_is_refused(copied, tier):
    folder, _, _ = copied
    index = folder / tier
    for path in sorted(path for path in index.iterdir() if not path.name.startswith(".")):
        whole = path.read_bytes()
        flipped = bytearray(whole)
        flipped[len(whole) * 2 // 3] ^= 4
        damages = {"cut off|not a sound": whole[:-2], "changed|not a sound": bytes(flipped), "missing|no index": None}
        for words, damaged in damages.items():
            path.unlink() if damaged is None else path.write_bytes(damaged)
            with pytest.raises(IndexMismatchError, match=words) as caught:
                open_index(index)
            assert path.name in str(caught.value)
            assert "scicevpr index" in str(caught.value)
            if damaged is not None and path.name != "index.json":
                assert path.name in check_index(index)[0]
        path.write_bytes(whole)
    assert len(open_index(index)) == COUNT


@pytest.mark.parametrize("tier", TIERS)
def test_descriptors_that_changed_are_noticed(copied, tier):
    folder, values, _ = copied
    with (folder / "d.npy").open("rb+") as file:
        file.seek(-64 * 2 * 200, 2)  # row 400
        file.write(b"\x01")
    assert "Row 400" in check_index(folder / tier)[0]
    if tier != "streamed":
        with pytest.raises(IndexMismatchError, match="row 400 is not what it was"):
            open_index(folder / tier).search(values[400:401], 1)
    (folder / "d.npy").write_bytes((folder / "d.npy").read_bytes()[:-10])
    with pytest.raises(IndexMismatchError, match=r"d\.npy has \d+ bytes, not"):
        open_index(folder / tier)
    (folder / "d.npy").unlink()
    with pytest.raises(IndexMismatchError, match=r"d\.npy is missing"):
        open_index(folder / tier)


def test_an_index_moves_with_its_descriptors(copied):
    folder, _, queries = copied
    folder.rename(folder.with_name("moved"))
    assert open_index(folder.with_name("moved") / "ivf-pq").search(queries, 1).indices.shape == (12, 1)


def test_make_index_keeps_lists_in_a_folder(copied, tmp_path):
    folder, values, queries = copied
    mapped = np.load(folder / "d.npy", mmap_mode="r")
    built = make_index(mapped, "ivf-pq", folder=tmp_path / "kept")
    again = make_index(mapped, "ivf-pq", folder=tmp_path / "kept")
    np.testing.assert_array_equal(built.search(queries, 3).indices, again.search(queries, 3).indices)
    with pytest.raises(IndexMismatchError, match="holds an index of other descriptors"):
        make_index(np.load(folder / "more.npy", mmap_mode="r"), "ivf-pq", folder=tmp_path / "kept")
    with pytest.raises(UsageError, match="descriptors in a file"):
        make_index(values, "ivf-pq", folder=tmp_path / "new")


def _run(*arguments) -> int:
    return main([str(argument) for argument in arguments])


def test_the_command_builds_searches_changes_and_checks(tmp_path, capsys):
    found = described(12, stand_in())
    names = [f"photo {row}.jpg" for row in range(12)]
    save_descriptors(tmp_path / "d.safetensors", found, names)
    index = tmp_path / "i"
    assert _run("index", "build", index, "--descriptors", tmp_path / "d.safetensors", "--tier", "int8") == 0
    assert "exact, int8 codes" in capsys.readouterr().out
    assert _run("index", "remove", index, 3) == 0
    assert "rows: 11 (1 removed)" in capsys.readouterr().out
    assert _run("index", "compact", index) == 0
    assert _run("index", "add", index, tmp_path / "d.safetensors") == 0
    assert "rows: 23" in capsys.readouterr().out
    assert _run("index", "search", index, tmp_path / "d.safetensors", "-k", 2, "--json", tmp_path / "s.json") == 0
    assert "photo 11.jpg" in capsys.readouterr().out
    answers = json.loads((tmp_path / "s.json").read_text())["queries"]
    assert [match["row"] for match in answers[4]["matches"]] == [3, 15]
    assert [match["name"] for match in answers[4]["matches"]] == ["photo 4.jpg"] * 2
    assert _run("index", "check", index) == 0
    assert "everything is as it was built" in capsys.readouterr().out
    [codes] = index.glob("codes-4-*.npy")
    codes.write_bytes(codes.read_bytes()[:-1])
    assert _run("index", "check", index) == 1
    assert "is cut off" in capsys.readouterr().out
    assert _run("index", "info", index) == 2
    assert _run("index", "build", tmp_path / "j") == 2
    assert "either --descriptors or --pack" in capsys.readouterr().err


def test_another_models_descriptors_are_refused(tmp_path, capsys):
    from dataclasses import replace

    found = described(12, stand_in())
    save_descriptors(tmp_path / "a.safetensors", found, list("abcdefghijkl"))
    save_descriptors(tmp_path / "b.safetensors", replace(found, weights="f" * 12), list("abcdefghijkl"))
    index = build_index(tmp_path / "i", tmp_path / "a.safetensors", "streamed")
    with pytest.raises(IndexMismatchError, match="by another model"):
        add_records(tmp_path / "i", tmp_path / "b.safetensors")
    index.check_model(found.fingerprint, found.weights)
    with pytest.raises(IndexMismatchError, match="by another model"):
        index.check_model(found.fingerprint, "f" * 12)
    assert _run("index", "search", tmp_path / "i", tmp_path / "b.safetensors") == 2
    assert "by another model" in capsys.readouterr().err
