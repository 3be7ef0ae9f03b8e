"""Precision and recall equal an independent computation, with ties and with soft ground truth."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from scicevpr.datasets import read_dataset
from scicevpr.errors import UsageError
from scicevpr.evaluation.precision_recall import pr_curve, precision_recall, similarity_matrix, with_pr_intervals


def random_case(seed: int, ties: bool, soft: bool):
    rng = np.random.default_rng(seed)
    queries, database = rng.integers(3, 12, 2)
    values = rng.normal(size=(queries, database))
    if ties:
        values = np.round(values * 2) / 2
    hard = rng.random(values.shape) < 0.2
    hard[0, 0] = True
    return values, hard, (hard | (rng.random(values.shape) < 0.2)) if soft else None


def by_loops(values, hard, soft, matching, levels):
    """Precision and recall at each level, counted pair by pair."""
    values = [[float(v) for v in row] for row in values]
    lowest = min(min(row) for row in values)
    pairs = []
    for q, row in enumerate(values):
        judged = []
        for d, value in enumerate(row):
            ignored = soft is not None and soft[q][d] and not hard[q][d]
            judged.append((lowest if ignored else value, bool(hard[q][d])))
        if matching == "single":
            best = judged[0]
            for pair in judged[1:]:
                if pair[0] > best[0]:
                    best = pair
            judged = [best]
        pairs += judged
    total = sum(any(row) for row in hard) if matching == "single" else int(np.sum(hard))
    found = []
    for level in levels(sorted({value for value, _ in pairs}, reverse=True)):
        accepted = [right for value, right in pairs if value >= level]
        found.append((sum(accepted) / len(accepted) if accepted else 1.0, sum(accepted) / total))
    return found


@pytest.mark.parametrize("matching", ["single", "multi"])
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("ties", [False, True])
def test_curves_equal_an_independent_computation(matching, soft, ties):
    for seed in range(12):
        values, hard, ignored = random_case(seed, ties, soft)
        for count in (None, 7, 100):
            curve = pr_curve(values, hard, ignored, matching=matching, thresholds=count)
            levels = (
                (lambda occurring: occurring)
                if count is None
                else (
                    lambda occurring, count=count: [
                        *np.linspace(occurring[0], occurring[-1], count)[:-1],
                        occurring[-1],
                    ]
                )
            )
            wanted = by_loops(values, hard, ignored, matching, levels)
            np.testing.assert_allclose(np.column_stack([curve.precision, curve.recall]), wanted, atol=1e-12)
            points = [(1.0, 0.0), *wanted]
            scores = curve.scores
            area = sum((b[1] - a[1]) * (a[0] + b[0]) / 2 for a, b in itertools.pairwise(points))
            steps = sum((b[1] - a[1]) * b[0] for a, b in itertools.pairwise(points))
            f1 = max(2 * p * r / (p + r) if p + r else 0.0 for p, r in wanted)
            sure = max([r for p, r in wanted if p == 1], default=0.0)
            first = next((p for p, r in wanted if r > 0), 0.0)
            expected = {
                "average precision": steps,
                "area": area,
                "max F1": f1,
                "recall at 100 % precision": sure,
                "extended precision": (first + sure) / 2,
            }
            assert scores == pytest.approx(expected, abs=1e-12)


def test_average_precision_of_all_pairs_is_scikit_learns():
    for seed in range(5):
        values, hard, _ = random_case(seed, True, False)
        ours = pr_curve(values, hard, matching="multi").scores["average precision"]
        assert ours == pytest.approx(average_precision_score(hard.ravel(), values.ravel()))


def test_a_case_by_hand():
    # best answers: 0.9 right, 0.8 wrong, 0.7 right, 0.2 of a query without a right answer
    values = np.array([[0.9, 0.1], [0.8, 0.3], [0.1, 0.7], [0.2, 0.1]])
    hard = np.array([[1, 0], [0, 1], [0, 1], [0, 0]], bool)
    curve = pr_curve(values, hard)
    assert curve.precision.tolist() == [1, 0.5, 2 / 3, 0.5]
    assert curve.recall.tolist() == [1 / 3, 1 / 3, 2 / 3, 2 / 3]
    assert curve.positives == 3
    assert curve.scores["recall at 100 % precision"] == pytest.approx(1 / 3)
    assert curve.scores["extended precision"] == pytest.approx((1 + 1 / 3) / 2)
    assert curve.best_threshold == pytest.approx(0.7)
    # softly right: the wrong best answer of the second query counts as the least similar pair, and its own answer comes
    soft = np.array([[0, 0], [1, 0], [0, 0], [0, 0]], bool)
    assert pr_curve(values, hard, soft).precision.tolist() == [1, 1, 1, 0.75]


def test_intervals_hold_the_value_and_draw_places():
    rng = np.random.default_rng(0)
    hard = np.eye(60, dtype=bool)
    values = rng.normal(size=(60, 60)) + 2.5 * hard
    curve = pr_curve(values, hard)
    alone = with_pr_intervals(curve, values, hard, draws=200)
    together = with_pr_intervals(curve, values, hard, places=np.repeat(np.arange(6), 10), draws=200)
    for score, value in curve.scores.items():
        for low, high in (alone.intervals[score], together.intervals[score]):
            assert 0 <= low <= value + 0.02
            assert value - 0.02 <= high <= 1
    assert with_pr_intervals(curve, values, hard, places=np.zeros(60)).intervals == {}
    multi = pr_curve(values, hard, matching="multi")
    assert with_pr_intervals(multi, values, hard).intervals == {}


def test_a_data_set_by_condition(tiny_city):
    dataset = read_dataset(tiny_city)
    count = len(dataset.database)
    database = np.eye(count, 16, dtype=np.float32)
    queries = database[: len(dataset.queries)]  # every query looks like the photo of its place
    result = precision_recall("perfect", dataset, database, queries)
    assert set(result.curves["single"]) == {*dataset.conditions, "all"}
    scores = result.curves["single"]["all"].scores
    # the place of the last query is not in the database: its answer is as similar as the others, and wrong
    assert scores["average precision"] == pytest.approx(7 / 8)
    assert scores["recall at 100 % precision"] == 0
    assert {row["condition"] for row in result.rows()} == {*dataset.conditions, "all"}
    soft = precision_recall("soft", dataset, database, queries, soft_radius=60)
    assert soft.curves["single"]["all"].scores["recall at 100 % precision"] == 1
    with pytest.raises(UsageError, match="soft radius"):
        precision_recall("bad", dataset, database, queries, soft_radius=10)


def test_similarities_are_cosines():
    matrix = similarity_matrix(np.array([[3.0, 4.0], [0.0, 0.0]]), np.array([[6.0, 8.0], [4.0, -3.0]]))
    np.testing.assert_allclose(matrix, [[1, 0], [0, 0]], atol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"matching": "double"}, "'double'"),
        ({"thresholds": 1}, "at least 2"),
        ({"hard": np.zeros((2, 2), bool)}, "No query has a right answer"),
        ({"hard": np.ones((2, 3), bool)}, "one shape"),
        ({"similarities": np.array([[np.nan, 1], [0, 0]])}, "NaN"),
        ({"soft": np.ones((3, 3), bool)}, "soft ground truth"),
    ],
)
def test_what_has_no_curve_is_refused(change, message):
    arguments = {"similarities": np.eye(2), "hard": np.eye(2, dtype=bool), **change}
    similarities, hard = arguments.pop("similarities"), arguments.pop("hard")
    with pytest.raises(UsageError, match=message):
        pr_curve(similarities, hard, **arguments)
