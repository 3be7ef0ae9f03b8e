from __future__ import annotations

import numpy as np
import pytest

from scicevpr.datasets import positives
from scicevpr.errors import UsageError
from scicevpr.evaluation.metrics import f1_at_n, mean_reciprocal_rank, recall_at_n
from scicevpr.retrieval.exact import ExactIndex


@pytest.mark.parametrize("case", ["random", "geo"])
@pytest.mark.parametrize("suffix", ["", "_over100"])
def test_the_whole_protocol_equals_the_reference(golden, case, suffix):
    data = golden("eval_protocol")
    ns = data[f"recall_values{suffix}"].tolist()
    right = positives(data[f"{case}_db_utm"], data[f"{case}_q_utm"], 25.0, "float32")
    matches = ExactIndex(data[f"{case}_db"]).search(data[f"{case}_q"], max(ns))
    np.testing.assert_array_equal(matches.indices, data[f"{case}_predictions{suffix}"])
    if not suffix:
        np.testing.assert_allclose(matches.distances, data[f"{case}_distances"], rtol=1e-5)
    assert list(recall_at_n(matches.indices, right, ns).values()) == data[f"{case}_recalls{suffix}"].tolist()
    expected = float(data[f"{case}_mrr{suffix}"])
    assert mean_reciprocal_rank(matches.indices, right, ns) == pytest.approx(expected, abs=1e-9)
    np.testing.assert_allclose(
        list(f1_at_n(matches.indices, right, ns).values()), data[f"{case}_f1{suffix}"], rtol=0, atol=1e-9
    )


def test_float64_positives_change_the_result_where_rounding_flips_one(golden):
    data = golden("eval_protocol")
    ns = data["recall_values"].tolist()
    scores = [
        f1_at_n(data["geo_predictions"], positives(data["geo_db_utm"], data["geo_q_utm"], 25.0, rounding), ns)
        for rounding in ("float32", "float64")
    ]
    assert scores[0] != scores[1]


RIGHT = [np.array([3]), np.array([1, 2]), np.array([], dtype=int), np.array([9])]
PREDICTIONS = np.array([[3, 0, 1], [0, 2, 1], [0, 1, 2], [0, 1, -1]])


def test_recall_by_hand_keeps_queries_without_positives():
    assert recall_at_n(PREDICTIONS, RIGHT, [1, 2, 3]) == {1: 25.0, 2: 50.0, 3: 50.0}


def test_reciprocal_rank_stops_at_the_largest_n():
    assert mean_reciprocal_rank(PREDICTIONS, RIGHT, [1, 2]) == pytest.approx((1 + 1 / 2) / 4)
    assert mean_reciprocal_rank(PREDICTIONS, RIGHT, [1]) == pytest.approx(1 / 4)


def test_f1_by_hand_divides_precision_by_n():
    assert f1_at_n(PREDICTIONS, RIGHT, [3])[3] == pytest.approx((2 * 1 / (3 + 1) + 2 * 2 / (3 + 2)) / 4)


def test_padding_is_never_a_hit():
    assert recall_at_n(np.array([[-1]]), [np.array([-1])], [1]) == {1: 0.0}


@pytest.mark.parametrize("ns", [[], [0], [4]])
def test_impossible_n(ns):
    with pytest.raises(UsageError, match="values of N"):
        recall_at_n(PREDICTIONS, RIGHT, ns)


def test_counts_must_agree():
    with pytest.raises(UsageError, match="4 queries were predicted, but positives are given for 3"):
        recall_at_n(PREDICTIONS, RIGHT[:3], [1])
    with pytest.raises(UsageError, match="at least one query"):
        recall_at_n(np.zeros((0, 3)), [], [1])
