"""Short codes of the list tier: what a byte loses, distances by bytes, and lists of very few rows."""

from __future__ import annotations

import numpy as np
import pytest
from synthetic_city import City

from scicevpr.errors import IndexMismatchError
from scicevpr.retrieval import ExactIndex, add_records, build_index, compact_index, open_index, remove_records
from scicevpr.retrieval.ivf_pq import SCANNED, STEPS, ShortCodes, default_nlist


def test_a_byte_is_off_by_half_a_step_at_most():
    rng = np.random.default_rng(1)
    sample = rng.normal(3, [[1, 5, 0.01, 0]], (500, 4)).astype(np.float32)
    codes = ShortCodes.of(sample)
    off = np.abs(codes.decode(codes.encode(sample)) - sample)
    assert (off <= 0.5001 * codes.step).all()
    assert (codes.step[:3] < 1.2 * (sample.max(0) - sample.min(0))[:3] / STEPS).all()
    far = np.array([[1e6, -1e6, 3, 3]], np.float32)
    np.testing.assert_array_equal(codes.encode(far)[0, :2], [STEPS, 0])
    again = ShortCodes(*codes.table)
    np.testing.assert_array_equal(again.encode(sample), codes.encode(sample))


def test_distances_are_those_of_the_decoded_values():
    rng = np.random.default_rng(2)
    sample, query = rng.standard_normal((80, 12)).astype(np.float32), rng.standard_normal(12).astype(np.float32)
    codes = ShortCodes.of(sample)
    found = codes.distances(codes.encode(sample), query)
    np.testing.assert_allclose(found, ((codes.decode(codes.encode(sample)) - query) ** 2).sum(1), rtol=1e-4)


@pytest.mark.parametrize(("rows", "dimension"), [(2, 1), (17, 5), (60, 7), (300, 33)])
def test_few_rows_and_odd_dimensions_are_searched_as_exactly_as_the_rest(tmp_path, rows, dimension):
    city = City(rows, 64, seed=rows)
    values, queries = city.chunk(0).astype(np.float16), city.queries(6)[0]
    np.save(tmp_path / "d.npy", values)
    index = build_index(tmp_path / "i", tmp_path / "d.npy", "ivf-pq", dimension=dimension, rerank_k=rows)
    expected = ExactIndex(values).search(queries, min(rows, 9))
    found = index.search(queries, min(rows, 9))
    np.testing.assert_array_equal(found.indices, expected.indices)
    np.testing.assert_array_equal(found.distances, expected.distances)


def test_lists_are_made_again_from_the_bytes_alone(tmp_path):
    """Removing and compacting gives the lists of an index that never had the rows, and so does adding."""
    city = City(900, 64, seed=3)
    values, queries = city.chunk(0).astype(np.float16), city.queries(9)[0]
    np.save(tmp_path / "d.npy", values)
    build_index(tmp_path / "i", tmp_path / "d.npy", "ivf-pq", dimension=16, nlist=8, nprobe=3, rerank_k=30)
    before = open_index(tmp_path / "i").search(queries, 5)
    add_records(tmp_path / "i", values[:40])
    remove_records(tmp_path / "i", np.arange(900, 940))
    np.testing.assert_array_equal(open_index(tmp_path / "i").search(queries, 5).indices, before.indices)
    np.testing.assert_array_equal(compact_index(tmp_path / "i"), np.arange(900))
    np.testing.assert_array_equal(open_index(tmp_path / "i").search(queries, 5).indices, before.indices)
    [codes] = (tmp_path / "i").glob("bytes-*.npy")
    assert np.load(codes).shape == (900, 16)


def test_an_index_of_another_format_is_refused_with_a_remedy(tmp_path, monkeypatch):
    from scicevpr.retrieval import manifest as index_manifest

    np.save(tmp_path / "d.npy", City(50, 32).chunk(0))
    for version, remedy in ((2, "Build the index again"), (4, "Update the program")):
        with monkeypatch.context() as patched:
            patched.setattr(index_manifest, "FORMAT_VERSION", version)
            folder = tmp_path / str(version)
            build_index(folder, tmp_path / "d.npy", "streamed")
        with pytest.raises(IndexMismatchError, match=remedy):
            open_index(folder)


def test_lists_grow_with_the_square_root():
    assert [default_nlist(count) for count in (2, 63, 1000, 100_000, 1_000_000)] == [1, 1, 8, 64, 256]
    assert SCANNED >= 20 * 100  # twenty times the usual rerank_k
