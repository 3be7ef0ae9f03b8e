"""Exact search: equal to a search by hand, whatever the block size and wherever the descriptors lie."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import faiss
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from scicevpr.datasets import parse_name
from scicevpr.errors import IndexMismatchError, UsageError
from scicevpr.files.writing import DescriptorWriter, release, scratch_folder
from scicevpr.retrieval import exact as index_module
from scicevpr.retrieval.exact import ExactIndex
from scicevpr.retrieval.matches import Matches, list_matches

BLOCKS = (1, 7, None)


def _random(rows: int, seed: int, unit: bool = True, width: int = 32) -> np.ndarray:
    values = np.random.default_rng(seed).standard_normal((rows, width)).astype(np.float32)
    return values / np.linalg.norm(values, axis=1, keepdims=True) if unit else values


def _unit(rows: int, seed: int, width: int = 48) -> np.ndarray:
    return _random(rows, seed, width=width)


def _by_hand(database: np.ndarray, queries: np.ndarray, k: int) -> np.ndarray:
    squared = ((queries[:, None].astype(np.float64) - database[None].astype(np.float64)) ** 2).sum(axis=2)
    return np.argsort(squared, axis=1, kind="stable")[:, :k]


@pytest.mark.parametrize("unit", [True, False])
def test_search_equals_a_search_by_hand(unit):
    database, queries = _random(50, 1, unit), _random(7, 2, unit)
    matches = ExactIndex(database).search(queries, 5)
    squared = ((queries[:, None].astype(np.float64) - database[None]) ** 2).sum(axis=2)
    nearest = np.argsort(squared, axis=1)[:, :5]
    np.testing.assert_array_equal(matches.indices, nearest)
    np.testing.assert_allclose(matches.distances, np.take_along_axis(squared, nearest, 1), rtol=1e-5)
    norms = np.linalg.norm(queries, axis=1)[:, None] * np.linalg.norm(database, axis=1)
    cosines = queries @ database.T / norms
    np.testing.assert_allclose(matches.similarities, np.take_along_axis(cosines, nearest, 1), atol=1e-5)
    assert (matches.indices.dtype, matches.distances.dtype) == (np.int64, np.float32)


def test_a_small_database_is_padded():
    matches = ExactIndex(_random(3, 1)).search(_random(2, 2), 5)
    assert (matches.indices[:, 3:] == -1).all()
    assert (matches.indices[:, :3] >= 0).all()
    assert np.isinf(matches.distances[:, 3:]).all()
    assert np.isnan(matches.similarities[:, 3:]).all()


def test_many_queries_are_searched_in_parts():
    database = _random(1500, 3)
    index = ExactIndex(database)
    assert (len(index), index.dimension) == (1500, 32)
    np.testing.assert_array_equal(index.search(database, 1).indices[:, 0], np.arange(1500))


def test_bad_descriptors_are_refused():
    index = ExactIndex(_random(3, 1))
    with pytest.raises(IndexMismatchError, match="16 dimensions, the database 32"):
        index.search(_random(2, 2)[:, :16], 1)
    with pytest.raises(UsageError, match="at least 1, not 0"):
        index.search(_random(2, 2), 0)
    with pytest.raises(UsageError, match="empty"):
        ExactIndex(np.zeros((0, 32)))
    with pytest.raises(UsageError, match="shape"):
        ExactIndex(np.zeros(32))
    with pytest.raises(UsageError, match="NaN"):
        ExactIndex(np.full((2, 32), np.nan))


def test_matches_become_records():
    database = [parse_name("@0@0@.jpg"), parse_name("@0@30@.jpg"), parse_name("plain.jpg")]
    matches = Matches(
        np.array([[1, 2, 0, -1]]), np.zeros((1, 4), np.float32), np.array([[0.9, 0.8, 0.7, np.nan]], np.float32)
    )
    [answer] = list_matches(matches, database, [parse_name("@0@10@.jpg")], radius=15)
    assert [(match.rank, match.row, match.metres, match.correct) for match in answer] == [
        (1, 1, 20.0, False), (2, 2, None, None), (3, 0, 10.0, True),
    ]  # fmt: skip
    with pytest.raises(UsageError, match="do not belong"):
        list_matches(matches, database[:1], [parse_name("@0@10@.jpg")])


@pytest.mark.parametrize("k", [1, 10, 100])
def test_the_block_size_changes_nothing(k):
    database, queries = _unit(150, 1), _unit(20, 2)
    found = [ExactIndex(database, rows).search(queries, k) for rows in BLOCKS]
    np.testing.assert_array_equal(found[0].indices, _by_hand(database, queries, k))
    for other in found[1:]:
        np.testing.assert_array_equal(other.indices, found[0].indices)
        np.testing.assert_array_equal(other.distances, found[0].distances)
        np.testing.assert_array_equal(other.similarities, found[0].similarities)


@pytest.mark.parametrize("copies", [20, 300])
def test_equal_photos_come_in_the_order_of_their_rows(copies):
    """20 copies fit beside the best k in the candidates, 300 do not."""
    database = _unit(360, 3)
    rows = np.sort(np.random.default_rng(4).permutation(360)[:copies])
    database[rows] = database[rows[0]]
    queries = np.concatenate([database[rows[:1]], _unit(2, 5)])
    queries[0, 0] += 0.1
    for block_rows in BLOCKS:
        matches = ExactIndex(database, block_rows).search(queries, 6)
        np.testing.assert_array_equal(matches.indices[0], rows[:6])
        np.testing.assert_array_equal(matches.indices, _by_hand(database, queries, 6))


def test_a_collapsed_model_gives_the_first_rows():
    database = np.repeat(_unit(1, 6), 500, axis=0)
    for block_rows in BLOCKS:
        matches = ExactIndex(database, block_rows).search(database[:2], 100)
        np.testing.assert_array_equal(matches.indices, np.tile(np.arange(100), (2, 1)))
        np.testing.assert_allclose(matches.similarities, 1, atol=1e-6)


def test_single_precision_is_not_trusted_with_the_order(monkeypatch):
    """FAISS's matrix product loses small |a-b|^2 in rounding far from the origin; the comparison after it does not."""
    monkeypatch.setattr(faiss.cvar, "distance_compute_blas_threshold", 1)
    rng = np.random.default_rng(7)
    database = (rng.standard_normal((40, 48)) * 0.01 + 100).astype(np.float32)
    queries = database[:30] + np.float32(0.001)
    expected = _by_hand(database, queries, 8)
    assert (faiss.knn(queries, database, 8)[1] != expected).any()
    for block_rows in BLOCKS:
        np.testing.assert_array_equal(ExactIndex(database, block_rows).search(queries, 8).indices, expected)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_files_are_searched_where_they_lie(tmp_path, dtype):
    database, queries = _unit(60, 8).astype(dtype), _unit(9, 9).astype(dtype)
    expected = ExactIndex(database).search(queries, 5)
    np.save(tmp_path / "database.npy", database)
    save_file({"descriptors": database}, tmp_path / "database.safetensors")
    mapped = np.load(tmp_path / "database.npy", mmap_mode="r")
    with safe_open(tmp_path / "database.safetensors", framework="numpy") as file:
        for values in (mapped, file.get_slice("descriptors"), database.astype(np.float64)):
            matches = ExactIndex(values, 11).search(queries, 5)
            np.testing.assert_array_equal(matches.indices, expected.indices)
            np.testing.assert_array_equal(matches.distances, expected.distances)


def test_a_value_that_is_not_finite_is_told_in_any_block():
    database, queries = _unit(30, 1), _unit(3, 2)
    database[29, 5] = np.inf
    with pytest.raises(UsageError, match="database descriptors contain NaN"):
        ExactIndex(database, 7)
    queries[2, 0] = np.nan
    with pytest.raises(UsageError, match="query descriptors contain NaN"):
        ExactIndex(_unit(30, 1)).search(queries, 1)


def test_a_float32_array_is_not_copied(monkeypatch):
    database, blocks = _unit(64, 1), []
    real = index_module.row_blocks

    def watched(values, rows=None):
        for start, block in real(values, rows):
            blocks.append(np.shares_memory(block, values))
            yield start, block

    monkeypatch.setattr(index_module, "row_blocks", watched)
    ExactIndex(database, 10).search(_unit(4, 2), 3)
    assert len(blocks) >= 14
    assert all(blocks)


def test_rows_reach_a_file_in_any_order(tmp_path):
    values = _unit(12, 3)
    order = np.random.default_rng(1).permutation(12)
    for target in ({"path": tmp_path / "rows.npy"}, {"scratch": tmp_path}, {}):
        with DescriptorWriter(values.shape, "float16", **target) as store:
            for part in np.split(order, 4):
                store.write(part.tolist(), values[part])
            stored = store.finish()
        np.testing.assert_array_equal(stored, values.astype(np.float16))
        if target:
            assert isinstance(stored, np.memmap)
            assert not stored.flags.writeable
            release(stored)
            np.testing.assert_array_equal(stored, values.astype(np.float16))
    assert [path.name for path in tmp_path.iterdir()] == ["rows.npy"]
    np.testing.assert_array_equal(np.load(tmp_path / "rows.npy"), values.astype(np.float16))


def _write_and_stop(target: dict) -> None:
    with DescriptorWriter((5, 4), **target) as store:
        store.write([0], np.ones((1, 4)))
        raise RuntimeError("stop")


def test_nothing_stays_after_an_error_and_the_disk_is_checked_first(tmp_path, monkeypatch):
    (tmp_path / "old.npy").write_bytes(b"old")
    for target in ({"path": tmp_path / "old.npy"}, {"scratch": tmp_path}):
        with pytest.raises(RuntimeError, match="stop"):
            _write_and_stop(target)
    assert [path.name for path in tmp_path.iterdir()] == ["old.npy"]
    assert (tmp_path / "old.npy").read_bytes() == b"old"
    with (
        pytest.raises(UsageError, match=r"need 4000.00 GB .* are free there"),
        DescriptorWriter((10**9, 1000), scratch=tmp_path),
    ):
        pass
    with pytest.raises(UsageError, match="does not exist"):
        scratch_folder(10, memory_limit=0, storage=tmp_path / "none")
    assert scratch_folder(10, memory_limit=10) is None
    assert scratch_folder(11, memory_limit=10, storage=tmp_path) == tmp_path


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
@pytest.mark.parametrize(("way", "most"), [("on disk", 160), ("in memory", 240)])
def test_an_evaluation_holds_the_descriptors_once_or_not_at_all(way, most):
    """3,000 descriptors of 10,752 values are 129 MB; a copy of them would be seen."""
    script = Path(__file__).resolve().parents[2] / "benchmarks" / "evaluation_memory.py"
    command = [sys.executable, script, "--way", way, "--database", "3000", "--queries", "100"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert json.loads(done.stdout)["peak above the loaded model, MB"] < most
