"""Every exact tier gives the answer of a search by hand; the choice of a tier; what re-ranking promises."""

from __future__ import annotations

import numpy as np
import pytest
from synthetic_city import CHUNK, PHOTOS, City

from scicevpr.config import assets_folder
from scicevpr.errors import IndexMismatchError, UsageError
from scicevpr.files.descriptor_files import load_descriptors
from scicevpr.retrieval import agreement as agreeing
from scicevpr.retrieval.exact import ExactIndex, Int8ExactIndex
from scicevpr.retrieval.factory import build_index, choose_tier, make_index
from scicevpr.retrieval.matches import Index

EXACT = ("exact", "int8", "streamed")


def _clusters() -> tuple[np.ndarray, np.ndarray]:
    city = City(1000, 256, seed=3)
    return np.concatenate([block for _, block in city.chunks()]), city.queries(12)[0]


def _duplicates() -> tuple[np.ndarray, np.ndarray]:
    """Photos that are in the database many times, a zero row, lengths from 0.1 to 30."""
    rng = np.random.default_rng(5)
    values = rng.standard_normal((400, 40)).astype(np.float32) * rng.uniform(0.1, 5, (400, 1)).astype(np.float32)
    values[100:180] = values[7]
    values[300:303] = values[8]
    values[50] = 0
    return values, np.concatenate([values[[7, 8, 50]], rng.standard_normal((3, 40)).astype(np.float32)])


def _bundled() -> tuple[np.ndarray, np.ndarray]:
    found, _ = load_descriptors(assets_folder() / "descriptors" / "procity-test.scicevpr-t.safetensors")
    return found.values[:800], found.values[800:]


def _static_camera() -> tuple[np.ndarray, np.ndarray]:
    """400 frames that differ by a billionth in their squared distances, among other photos; queries are such frames."""
    rng = np.random.default_rng(11)
    frame = rng.standard_normal(2688)
    frame /= np.linalg.norm(frame)
    frames = frame + rng.standard_normal((464, 2688)) * 2e-6
    others = rng.standard_normal((100, 2688)) / 52
    return np.concatenate([others, frames[:400]]).astype(np.float32), frames[400:].astype(np.float32)


def _many_equal() -> tuple[np.ndarray, np.ndarray]:
    """More equal rows than candidates, nearer ones behind them that single precision cannot tell from them."""
    rng = np.random.default_rng(12)
    query = rng.standard_normal((64, 512)).astype(np.float32)
    values = np.repeat(query[:1], 300, axis=0)
    values[:, 0] += np.float32(2e-4)
    values[250:, 0] -= np.float32(1.9e-4)
    return values, np.concatenate([query[:1], query])


DATA = {
    "clusters": _clusters,
    "duplicates": _duplicates,
    "bundled city": _bundled,
    "static camera": _static_camera,
    "many equal": _many_equal,
}


def _by_hand(database: np.ndarray, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    far = np.stack([((database.astype(np.float64) - query) ** 2).sum(axis=1) for query in queries.astype(np.float64)])
    rows = np.argsort(far, axis=1, kind="stable")[:, :k]
    return rows, np.take_along_axis(far, rows, axis=1).astype(np.float32)


@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("tier", EXACT)
def test_exact_tiers_are_brute_force(data, tier):
    database, queries = DATA[data]()
    expected = _by_hand(database, queries, 10)
    index = make_index(database, tier)
    assert isinstance(index, Index)
    assert index.label.startswith("exact")
    found = index.search(queries, 10)
    np.testing.assert_array_equal(found.indices, expected[0])
    np.testing.assert_array_equal(found.distances, expected[1])
    np.testing.assert_array_equal(found.similarities, ExactIndex(database).search(queries, 10).similarities)


@pytest.mark.parametrize("tier", EXACT)
def test_more_answers_than_rows_are_padded(tier):
    database, queries = _duplicates()
    found = make_index(database[:30], tier).search(queries, 50)
    np.testing.assert_array_equal(found.indices[:, :30], _by_hand(database[:30], queries, 30)[0])
    assert (found.indices[:, 30:] == -1).all()
    assert np.isinf(found.distances[:, 30:]).all()
    assert np.isnan(found.similarities[:, 30:]).all()


def test_half_precision_is_exact_for_the_rounded_descriptors():
    database, queries = _clusters()
    index = make_index(database, "float16")
    np.testing.assert_array_equal(
        index.search(queries, 10).indices, _by_hand(database.astype(np.float16).astype(np.float32), queries, 10)[0]
    )
    assert (index.label, index.metadata()["in memory"]) == ("exact, float16", "0.5 MB")


def test_8_bit_bounds_hold_and_leave_few_rows():
    """The proof itself: no row's true distance lies outside its bounds, whatever its length."""
    for make in DATA.values():
        database, queries = make()
        index = Int8ExactIndex(database)
        products, rests = index._products(queries)
        for row, query in enumerate(queries.astype(np.float64)):
            middle, margin = index._bounds(products[:, row], query, rests[row])
            far = ((database.astype(np.float64) - query) ** 2).sum(axis=1)
            assert (np.abs(far - middle) <= margin).all()
    database, queries = _clusters()
    index = Int8ExactIndex(database)
    products, rests = index._products(queries)
    left = [len(index._left(products[:, row], query, rests[row], 10)) for row, query in enumerate(queries)]
    assert max(left) < 100


def test_8_bit_searches_exactly_where_too_many_rows_are_left():
    database = np.repeat(_duplicates()[0][:1], 3000, axis=0)
    index = Int8ExactIndex(database)
    found = index.search(database[:2], 5)
    np.testing.assert_array_equal(found.indices, np.tile(np.arange(5), (2, 1)))
    assert index.fallbacks == 2


def test_tiers_refuse_what_they_cannot_search():
    database, queries = _clusters()
    for tier in EXACT:
        with pytest.raises(UsageError, match="NaN"):
            make_index(np.full((3, 8), np.nan, np.float32), tier)
        with pytest.raises(UsageError, match="empty"):
            make_index(np.empty((0, 8), np.float32), tier)
        with pytest.raises(IndexMismatchError, match="100 dimensions, the database 256"):
            make_index(database, tier).search(queries[:, :100], 1)
        with pytest.raises(UsageError, match="at least 1"):
            make_index(database, tier).search(queries, 0)
    with pytest.raises(UsageError, match="There is no index tier 'tree'"):
        make_index(database, "tree")
    with pytest.raises(UsageError, match="name a folder"):
        make_index(database, "ivf-pq")


@pytest.mark.parametrize(
    ("count", "memory", "tier"),
    [
        (840, 2**30, "exact"),
        (10_000, 2**30, "exact"),
        (100_000, 4 * 2**30, "int8"),
        (100_000, 2**29, "streamed"),
        (1_000_000, 2**35, "ivf-pq"),
        (840, 2**20, "streamed"),
    ],
)
def test_the_tier_follows_size_and_memory(count, memory, tier):
    assert choose_tier(count, 10_752, memory) == tier


def test_auto_takes_exact_for_small_data_and_never_lists_without_a_folder(monkeypatch):
    database, _ = _clusters()
    assert make_index(database).label == "exact, float32"
    monkeypatch.setattr("scicevpr.retrieval.factory.MEMORY_LIMIT", 1000)
    monkeypatch.setattr("scicevpr.retrieval.factory.MANY_ROWS", 500)
    assert make_index(database).label.startswith("exact, int8")
    assert make_index(database, folder="nowhere").label.startswith("exact, int8"), "an array is no file"
    assert make_index(database, memory=1000).label == "exact, float32"  # streamed, of an array in memory


@pytest.mark.slow
def test_re_ranking_reaches_the_agreement_it_states(tmp_path):
    city = City(4000, 256, seed=1)
    np.save(tmp_path / "d.npy", np.concatenate([block for _, block in city.chunks()]).astype(np.float16))
    index = build_index(tmp_path / "i", tmp_path / "d.npy", "ivf-pq", dimension=48, nlist=64, part_rows=700)
    assert isinstance(index, Index)
    stated = index.manifest.agreement
    values, queries = np.load(tmp_path / "d.npy"), city.queries(300)[0]
    exact, found = ExactIndex(values).search(queries, 10), index.search(queries, 10)
    first = (exact.indices[:, 0] == found.indices[:, 0]).mean()
    best = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(exact.indices, found.indices, strict=True)])
    assert stated["questions"] == 200
    assert first >= stated["first"] - 0.03
    assert best == pytest.approx(stated["best"], abs=0.05)
    equal = exact.indices[:, 0] == found.indices[:, 0]
    np.testing.assert_array_equal(found.distances[equal, 0], exact.distances[equal, 0])
    assert "held-out questions" in index.metadata()["agreement with exact search"]
    assert f"PCA 48, IVF-PQ nlist 64, nprobe {index.manifest.settings['nprobe']}, 4 bit" in index.label
    everything = index.search(queries[:2], 4000)
    np.testing.assert_array_equal(np.sort(everything.indices, axis=1), np.tile(np.arange(4000), (2, 1)))
    assert (index.search(queries[:2], 4001).indices[:, -1] == -1).all()


def test_agreement_counts_what_is_missed():
    questions, answers = np.array([5, 6, 7, 8]), np.array([[1, 2], [3, 4], [1, 2], [3, 4]])

    def candidates(nprobe: int, length: int) -> np.ndarray:
        worse = [[5, 1, 2, 9], [6, 9, 3, 4], [7, 9, 9, 1], [8, 9, 9, 9]]
        better = [[5, 1, 2, 9], [3, 6, 9, 4], [7, 1, 2, 9], [8, 3, 4, 9]]
        return np.array(better if nprobe == 2 else worse)[:, :length]

    found = agreeing.tune(candidates, questions, answers, nlist=2, list_bytes=10, row_bytes=1, nprobe=1, rerank_k=1)
    assert (found.first, found.best, found.questions) == (0.0, 0.0, 2)
    found = agreeing.tune(candidates, questions, answers, nlist=2, list_bytes=10, row_bytes=1, nprobe=1, rerank_k=2)
    assert (found.first, found.best) == (0.5, 0.25)
    found = agreeing.tune(candidates, questions, answers, nlist=2, list_bytes=10, row_bytes=1, rerank_k=3)
    assert (found.first, found.best, found.nprobe) == (1.0, 1.0, 2)


def test_the_generator_is_a_city():
    city = City(CHUNK + 100, 2688, seed=2)
    values = np.concatenate([block for _, block in city.chunks()])
    assert values.shape == (CHUNK + 100, 2688)
    np.testing.assert_array_equal(values[CHUNK:], city.chunk(1))
    np.testing.assert_array_equal(values[:100], City(100, 2688, seed=2).chunk(0))
    np.testing.assert_allclose(np.linalg.norm(values, axis=1), 1, atol=1e-5)
    queries, first = city.queries(100)
    found = ExactIndex(values).search(queries, 1).indices[:, 0]
    assert (found // PHOTOS * PHOTOS == first).mean() > 0.9
    same = (values[:-1] * values[1:]).sum(axis=1)[::PHOTOS]
    any_two = (values[: CHUNK // 2] * values[CHUNK // 2 : CHUNK]).sum(axis=1)
    assert 0.5 < same.mean() < 0.66
    assert 0.04 < any_two.mean() < 0.12
