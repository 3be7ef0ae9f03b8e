from __future__ import annotations

import numpy as np
import pytest

from scicevpr.datasets import parse_name
from scicevpr.errors import IndexMismatchError, UsageError
from scicevpr.retrieval.exact import ExactIndex
from scicevpr.retrieval.matches import Matches, list_matches


def _random(rows: int, seed: int, unit: bool = True) -> np.ndarray:
    values = np.random.default_rng(seed).standard_normal((rows, 32)).astype(np.float32)
    return values / np.linalg.norm(values, axis=1, keepdims=True) if unit else values


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
