"""The four rules of what is right, and the metrics that count it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from photo_files import place

from scicevpr.datasets import GroundTruth, Photo, positives, read_dataset
from scicevpr.datasets.ground_truth import frames_truth
from scicevpr.errors import DatasetError, UsageError
from scicevpr.evaluation.metrics import f1_at_n, mean_reciprocal_rank, recall_at_n
from scicevpr.retrieval.exact import ExactIndex


def _place(east, heading=None):
    return Photo(Path(f"{east}.jpg"), f"{east}.jpg", (float(east), 0.0), "32U", heading)


def _rows(found):
    return [rows.tolist() for rows in found]


def test_headings_are_compared_across_north_and_inclusively():
    database = [_place(0, 350), _place(1, 30), _place(2, 31), _place(3, 200), _place(99, 350)]
    rule = GroundTruth(max_heading_difference=40)
    assert _rows(rule.positives(database, [_place(0, 350), _place(0, 160)])) == [[0, 1], [3]]
    assert _rows(rule.positives(database, [_place(0, 351)], radius=200)) == [[0, 1, 2, 4]]
    with pytest.raises(DatasetError, match=r"7\.jpg carries no heading"):
        rule.positives(database, [_place(7)])


def test_frames_end_where_the_drive_ends():
    drives = ([Photo(Path(f"{frame}.jpg"), f"{frame}.jpg") for frame in range(count)] for count in (4, 6))
    rule = frames_truth(*drives, 1)
    assert _rows(rule.listed) == [[0, 1], [0, 1, 2], [1, 2, 3], [2, 3], [3], []]
    assert rule.label() == "±1 frames (numbers from the names)"


def test_words_say_what_a_radius_stands_for_unless_it_is_replaced():
    rule = GroundTruth(name="±10 frames: stand-in positions")
    assert rule.label() == rule.label(25) == "25 m (±10 frames: stand-in positions)"
    assert rule.label(5) == "5 m"
    assert GroundTruth(max_heading_difference=40).label() == "25 m and 40 degrees"


def test_listed_rows_refuse_a_radius_and_other_photos():
    rule = GroundTruth.lists([[1, 0, 1]], "as listed")
    assert _rows(rule.positives([_place(0), _place(1)], [_place(0)])) == [[0, 1]]
    with pytest.raises(UsageError, match="radius of 5 m has no meaning"):
        rule.positives([_place(0), _place(1)], [_place(0)], radius=5)
    with pytest.raises(DatasetError, match="belongs to other photos"):
        rule.positives([_place(0)], [_place(0)])


def test_shuffled_and_selected_queries_keep_their_listed_rows(tmp_path):
    for number in range(6):
        for side in ("database", "queries"):
            place(tmp_path / side, 500_000 + 1000 * number)
    dataset = read_dataset(tmp_path, frames=0)
    for changed in (dataset.shuffle_queries(3), dataset.select_queries([4, 1], "two of them")):
        for query, rows in zip(changed.queries, changed.positives(), strict=True):
            assert [dataset.database[row].utm for row in rows] == [query.utm]
    shuffled = dataset.select_queries(np.array([4, 1, 3]), "three of them").shuffle_queries(1)
    assert shuffled.query_order == "three of them, shuffled with seed 1"


# ---- metrics ---------------------------------------------------------------------------------------------------------


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
