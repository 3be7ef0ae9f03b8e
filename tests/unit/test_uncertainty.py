from __future__ import annotations

import json
from dataclasses import replace
from math import comb

import numpy as np
import pytest
from small_results import PLACES, VISITS, result, street

from scicevpr.cli.main import main
from scicevpr.cli.outputs import write_json
from scicevpr.datasets import GroundTruth
from scicevpr.errors import DatasetError, UsageError
from scicevpr.evaluation.comparison import StoredRelevance, compare, read_relevance
from scicevpr.evaluation.uncertainty import (
    bootstrap_limits,
    compare_recalls,
    mcnemar,
    places_by_position,
    places_by_positives,
    score_intervals,
    wilson_limits,
)


def _hits(right: int, count: int, columns: int = 5) -> np.ndarray:
    hits = np.zeros((count, columns), dtype=bool)
    hits[:right, 0] = True
    return hits


def test_the_bootstrap_is_that_of_a_plain_loop():
    rng = np.random.default_rng(3)
    values, places = rng.random((60, 2)), np.repeat(np.arange(20), 3)
    for labels in (None, places):
        means = []
        for _ in range(4000):
            units = np.arange(60)[:, None] if labels is None else np.arange(60).reshape(20, 3)
            means.append(values[units[rng.integers(0, len(units), len(units))].ravel()].mean(axis=0))
        expected = np.quantile(means, (0.025, 0.975), axis=0)
        np.testing.assert_allclose(bootstrap_limits(values, labels, draws=4000, seed=1), expected, atol=0.012)


def test_places_of_different_size_are_drawn_as_a_whole():
    # One place of 9 right queries, one of a single wrong one: a draw is 0, 0.9 or 1, each known to come up.
    values, places = np.array([1.0] * 9 + [0.0])[:, None], np.array([4] * 9 + [2])
    assert set(bootstrap_limits(values, places, level=0.4, draws=999).ravel()) == {0.9}
    assert bootstrap_limits(values, places).ravel().tolist() == [0.0, 1.0]


def test_intervals_hold_the_value_agree_with_wilson_and_repeat():
    found = score_intervals(_hits(150, 200), (1, 5))
    assert found.recalls[1] == pytest.approx([100 * limit for limit in wilson_limits(150, 200)], abs=1.2)
    assert found.mrr == pytest.approx([limit / 100 for limit in found.recalls[1]])  # every hit stands at rank 1
    assert found == score_intervals(_hits(150, 200), (1, 5))
    assert found != score_intervals(_hits(150, 200), (1, 5), seed=1)
    narrow = score_intervals(_hits(150, 200), (1,), level=0.5).recalls[1]
    assert found.recalls[1][0] < narrow[0] < 75 < narrow[1] < found.recalls[1][1]


def test_queries_that_fall_together_are_worth_fewer():
    hits = np.repeat(np.random.default_rng(0).random(50) < 0.7, 8)[:, None]
    single, grouped = score_intervals(hits, (1,)), score_intervals(hits, (1,), np.repeat(np.arange(50), 8))
    widths = [np.diff(found.recalls[1])[0] for found in (single, grouped)]
    assert widths[1] / widths[0] == pytest.approx(np.sqrt(8), rel=0.15)
    assert (single.by, single.units, grouped.by, grouped.units) == ("query", 400, "place", 50)


def test_all_right_is_not_certain():
    found = score_intervals(_hits(30, 30), (1, 5), np.repeat(np.arange(10), 3))
    assert found.recalls[1] == pytest.approx([100 * 10 / (10 + 1.959964**2), 100])  # Wilson over ten places
    assert found.mrr == pytest.approx([10 / (10 + 1.959964**2), 1])
    assert score_intervals(_hits(0, 30), (1,)).recalls[1][1] == pytest.approx(11.35, abs=0.01)
    assert score_intervals(_hits(3, 3), (1,), np.zeros(3)) is None


def test_wilson_gives_the_textbook_values():
    assert wilson_limits(15, 50) == pytest.approx((0.1910, 0.4375), abs=1e-4)
    assert wilson_limits(0, 10)[0] == pytest.approx(0, abs=1e-12)
    with pytest.raises(UsageError, match="12 of 10"):
        wilson_limits(12, 10)


def test_mcnemar_is_the_binomial_test_on_the_queries_that_differ():
    assert mcnemar(10, 2) == pytest.approx(2 * sum(comb(12, k) for k in range(3)) / 2**12)
    assert mcnemar(2, 10) == mcnemar(10, 2)
    assert mcnemar(0, 0) == 1.0
    assert mcnemar(5, 5) == 1.0


def test_paired_rows_count_what_only_one_model_answers():
    a, b = _hits(8, 10), np.zeros((10, 3), dtype=bool)
    b[[0, 1, 2, 9], 0] = True
    b[3, 2] = True
    first, third = compare_recalls(a, b, (1, 3))
    assert (first.recall_a, first.recall_b, first.difference) == (80, 40, pytest.approx(40))
    assert (first.only_a, first.only_b, first.p_value) == (5, 1, pytest.approx(14 / 64))
    assert first.low < 40 < first.high
    assert (third.only_a, third.only_b) == (4, 1)
    same = compare_recalls(a, a, (1,))[0]
    assert (same.low, same.high, same.p_value) == (None, None, 1)  # no difference seen is not "certainly none"
    assert compare_recalls(a, b, (1,), np.zeros(10))[0].low is None
    with pytest.raises(UsageError, match="10 and 9 queries"):
        compare_recalls(a, b[:9], (1,))
    with pytest.raises(UsageError, match="Recall@4"):
        compare_recalls(a, b, (4,))


def test_places_do_not_chain_along_a_street():
    line = np.column_stack([np.arange(10) * 20.0, np.zeros(10)])
    assert places_by_position(line, 25).tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    listed = [np.array([0, 1]), np.array([1, 2]), np.array([2, 3]), np.array([], dtype=int), np.array([0])]
    assert places_by_positives(listed).tolist() == [0, 0, 1, 2, 0]


@pytest.mark.parametrize("options", [{"level": 1.0}, {"draws": 0}])
def test_impossible_options_are_refused(options):
    with pytest.raises(UsageError, match="bootstrap needs"):
        score_intervals(_hits(1, 3), (1,), **options)


def test_a_result_gets_intervals_for_everything_and_says_how():
    plain = result({0, 1, 2, 8})
    found = plain.with_intervals()
    assert plain.overall.intervals is None
    assert "intervals" not in plain.to_json()["overall"]
    assert found.overall.intervals.units == PLACES
    assert found.conditions["night"].intervals.by == "place"
    assert found.conditions["night"].intervals.units == PLACES
    assert found.protocol["intervals"].startswith("95% bootstrap over places, 2000 draws, seed 0")
    low, high = found.to_json()["overall"]["intervals"]["recall_percent"]["1"]
    assert low < found.overall.recalls[1] < high
    assert found.with_intervals("query").overall.intervals.units == PLACES * VISITS
    with pytest.raises(UsageError, match="'city'"):
        found.with_intervals("city")
    unlabelled = result(set(), dataset=replace(street(), use_labels=False))
    assert unlabelled.with_intervals() is unlabelled


def test_places_and_ground_truth_do_not_depend_on_the_order_of_the_queries():
    plain, dataset = result(set()), street()
    shuffled = dataset.shuffle_queries(1)
    order = [dataset.queries.index(query) for query in shuffled.queries]
    other = replace(plain, dataset=shuffled, positives=tuple(plain.positives[row] for row in order))
    assert other.places().tolist() == plain.places()[order].tolist()
    assert other.ground_truth() == plain.ground_truth()
    wider = result(set(), dataset=replace(dataset, truth=GroundTruth(radius=150)))
    assert wider.ground_truth() != plain.ground_truth()
    listed = result(set(), dataset=replace(dataset, truth=GroundTruth.lists(plain.positives, "as listed")))
    assert listed.places().tolist() == plain.places().tolist()


def _answers(wrong: set[int], title: str, **options) -> StoredRelevance:
    return StoredRelevance.from_json(json.loads(json.dumps(result(wrong, title, **options).to_json())))


def test_two_results_are_compared_per_condition():
    comparison = compare(_answers({0}, "A"), _answers({0, 1, 4, 5, 11}, "B"))
    assert list(comparison.rows) == ["day", "night", "all"]
    row = comparison.rows["all"][0]
    assert (row.n, row.queries, row.only_a, row.only_b) == (1, 36, 4, 0)
    assert row.difference == pytest.approx(100 * 4 / 36)
    assert row.p_value == pytest.approx(2 / 16)
    assert comparison.rows["night"][0].only_a == 2
    assert comparison.protocol["right within"] == "25 m"
    assert "variant" not in comparison.protocol
    json.dumps(comparison.to_json(), allow_nan=False)


def test_the_order_of_the_queries_does_not_matter_to_a_comparison():
    a, b = _answers({0, 7}, "A"), _answers({1}, "B")
    order = np.random.default_rng(0).permutation(len(b.queries))
    queries, conditions = (tuple(np.array(names)[order]) for names in (b.queries, b.conditions))
    turned = replace(b, queries=queries, conditions=conditions, hits=b.hits[order], places=b.places[order])
    assert compare(a, turned).rows == compare(a, b).rows


def test_what_cannot_be_paired_is_refused():
    a, dataset = _answers(set(), "A"), street()
    with pytest.raises(UsageError, match=r"right within: 25 m and 150 m"):
        compare(a, _answers(set(), "B", dataset=replace(dataset, truth=GroundTruth(radius=150))))
    with pytest.raises(UsageError, match="different queries"):
        compare(a, replace(a, queries=("other", *a.queries[1:])))
    old = replace(a, ground_truth="")
    with pytest.raises(UsageError, match="differ in 'database'"):
        compare(old, replace(old, protocol={**a.protocol, "database": "9 photos"}))
    with pytest.raises(UsageError, match="by query"):
        compare(replace(a, places=None), a)
    with pytest.raises(UsageError, match="no judged predictions"):
        StoredRelevance.from_json(result(set()).to_json(predictions=False))
    with pytest.raises(DatasetError, match=r"x\.json is not a result"):
        StoredRelevance.from_json({"title": "x"}, "x.json")


def test_files_are_compared_on_the_command_line(tmp_path, capsys):
    one, two = tmp_path / "one.json", tmp_path / "two.json"
    write_json(one, {"results": [result({0}, "A").to_json()]})
    write_json(two, {"results": [result({0, 1, 4}, "B").to_json(), result({5}, "C").to_json()]})
    assert main(["compare", str(one), str(two), "--models", "a", "B", "--json", str(tmp_path / "c.json")]) == 0
    shown = capsys.readouterr().out
    assert "A: A   B: B" in shown
    assert "exact McNemar test" in shown
    rows = json.loads((tmp_path / "c.json").read_text())["comparison"]["rows"]
    assert [(row["condition"], row["n"]) for row in rows][-2:] == [("all", 1), ("all", 5)]
    assert rows[-2]["only_a"] == 2
    assert main(["compare", str(two)]) == 0
    assert "A: B   B: C" in capsys.readouterr().out
    assert main(["compare", str(one), str(one)]) == 0
    assert f"A: A ({one})   B: A ({one})".replace(" ", "") in "".join(capsys.readouterr().out.split())
    for arguments, words in (
        ([one, two], "Choose two with --models"),
        ([one, two, "--models", "A", "D"], "0 results have the title 'D'"),
        ([one, two, two], "not from 3"),
        ([one, tmp_path / "none.json"], "cannot be read"),
    ):
        assert main(["compare", *map(str, arguments)]) == 2
        assert words in capsys.readouterr().err
    (tmp_path / "bad.json").write_text("[]")
    with pytest.raises(DatasetError, match="holds no"):
        read_relevance(tmp_path / "bad.json")
