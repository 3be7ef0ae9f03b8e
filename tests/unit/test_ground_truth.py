"""The four rules of what is right."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from photo_files import place

from scicevpr.datasets import GroundTruth, Photo, read_dataset
from scicevpr.datasets.ground_truth import frames_truth
from scicevpr.errors import DatasetError, UsageError


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
