"""The stability experiments against the whole model, and against answers worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import spearmanr

from scicevpr.datasets import read_dataset
from scicevpr.descriptors.batches import Grouping
from scicevpr.descriptors.describe import describe, encode_groups
from scicevpr.errors import UsageError
from scicevpr.evaluation.batch_effects import (
    compare,
    database_batches,
    last_batch,
    photo_stability,
    prepare_stability,
    query_batches,
    rank_correlations,
    summarise,
)
from scicevpr.evaluation.batch_flips import flip_rates
from scicevpr.evaluation.batch_mates import (
    database_plane,
    pair_statistics,
    paired_queries,
    random_batches,
    same_answer,
    search_worst_batch,
    telling_pairs,
    worst_batch,
)
from scicevpr.evaluation.metrics import recall_at_n
from scicevpr.evaluation.protocols import ordered_groups, place_groups, shuffled_groups
from scicevpr.retrieval.exact import ExactIndex


@pytest.fixture(scope="module")
def dataset(tiny_city):
    return read_dataset(tiny_city)


@pytest.fixture(scope="module")
def setups(models, dataset):
    """Both kinds of model over the tiny city; 12 database photos, 8 queries."""
    made = {}
    for name in ("scicevpr-t", "cricavpr-t"):
        models[name].allow_untrained = True
        made[name] = prepare_stability(models[name], dataset, database_regions=True)
    return made


@pytest.fixture(scope="module")
def restless(setups):
    """A setup whose answers do depend on the batch: photos that are all much alike, drawn at random."""
    setup, random = setups["cricavpr-t"], torch.Generator().manual_seed(5)
    base = 2 * torch.randn(14, 192, generator=random)
    queries = base + torch.randn(*setup.queries.shape, generator=random)
    database = base + torch.randn(*setup.database_regions.shape, generator=random)
    database[:8] = 0.94 * database[:8] + 0.06 * queries
    return replace(setup, queries=queries, database_regions=database).with_database(Grouping.sequential(16))


@pytest.mark.slow
def test_the_setup_describes_as_the_whole_model_does(setups, dataset) -> None:
    for setup in setups.values():
        for grouping in (Grouping.alone(), Grouping.sequential(3), shuffled_groups(8, 5, 1)):
            whole = describe(setup.model, [p.path for p in dataset.queries], grouping=grouping).values
            assert np.abs(setup.describe(grouping) - whole).max() <= 5e-7
        whole = describe(setup.model, [p.path for p in dataset.database]).values
        assert np.abs(setup.database - whole).max() <= 5e-7
        again = prepare_stability(
            setup.model, dataset, database=describe(setup.model, [p.path for p in dataset.database])
        )
        assert np.abs(again.database - setup.database).max() <= 5e-7
        with pytest.raises(UsageError, match="database_regions"):
            again.with_database(Grouping.alone())


def test_rank_correlation_is_spearman() -> None:
    random = np.random.default_rng(0)
    reference = np.arange(10)[None].repeat(20, axis=0)
    ranks = np.stack([random.permutation(40)[:10] for _ in range(20)])
    expected = [spearmanr(np.arange(10), row).statistic for row in ranks]
    assert np.allclose(rank_correlations(reference, ranks), expected)
    assert rank_correlations(reference[:1], np.arange(10)[None] + 5)[0] == 1.0


def test_compare_row_by_row(restless, dataset) -> None:
    grouping = Grouping.sequential(3)
    table = compare(restless, grouping, top=5)
    before, after = restless.describe(Grouping.alone()), restless.describe(grouping)
    assert list(table["batch"]) == [3, 3, 3, 3, 3, 3, 2, 2]
    for row in range(8):
        assert table["cosine"][row] == pytest.approx(float(before[row] @ after[row]), abs=1e-5)
        old = np.argsort(-(restless.database @ before[row]))
        new = np.argsort(-(restless.database @ after[row]))
        assert (table["first_reference"][row], table["first"][row]) == (old[0], new[0])
        assert table["flip"][row] == (old[0] != new[0])
        ranks = [int(np.flatnonzero(new == item)[0]) for item in old[:5]]
        assert table["rank_correlation"][row] == pytest.approx(spearmanr(range(5), ranks).statistic)
        assert table["right"][row] == (new[0] in restless.positives[row])
    assert table["flip"].any()
    numbers = summarise(table)
    assert numbers["flips"] == table["flip"].sum()
    assert numbers["min_cosine"] == table["cosine"].min()
    answers = ExactIndex(restless.database).search(after, 1).indices
    assert numbers["recall_1"] == pytest.approx(recall_at_n(answers, restless.positives, (1,))[1])


def test_photo_stability_sums_up_the_orders(restless) -> None:
    table = photo_stability(restless, size=3, seeds=(4, 5))
    tables = [compare(restless, shuffled_groups(8, 3, seed)) for seed in (4, 5)]
    assert list(table["query"]) == [photo.name for photo in restless.dataset.queries]
    for row in range(8):
        cosines = [one["cosine"][row] for one in tables]
        assert table["min_cosine"][row] == pytest.approx(min(cosines))
        assert table["mean_cosine"][row] == pytest.approx(sum(cosines) / 2)
        assert table["flips"][row] == sum(one["flip"][row] for one in tables)
        assert table["right"][row] == 50 * sum(one["right"][row] for one in tables)


def test_scicevpr_does_not_feel_its_batch(setups) -> None:
    table = query_batches(setups["scicevpr-t"], sizes=(1, 2, 5), seeds=(0, 1))
    assert table["min_cosine"].min() > 1 - 1e-6
    assert table["flips"].sum() == 0
    assert table["recall_1"].nunique() == 1


def test_query_batches_has_a_row_per_setting(restless) -> None:
    table = query_batches(restless, sizes=(1, 4), seeds=(0, 1, 2))
    settings = list(table[["size", "order", "seed"]].astype(object).where(table.notna(), None).itertuples(index=False))
    shuffled = [(4, "shuffled", seed) for seed in (0, 1, 2)]
    assert [tuple(s) for s in settings] == [(1, "file", None), (4, "file", None), *shuffled, (4, "place", None)]
    assert table["min_cosine"][0] > 1 - 1e-6  # the reference itself
    assert table["min_cosine"][1:].max() < 1 - 1e-4
    again = query_batches(restless, sizes=(1, 4), seeds=(0, 1, 2))
    pd.testing.assert_frame_equal(table, again)


def test_place_order_without_labels_is_left_out(restless) -> None:
    blind = replace(restless, dataset=replace(restless.dataset, use_labels=False), positives=None)
    table = query_batches(blind, sizes=(4,), seeds=(0,))
    assert list(table["order"]) == ["file", "shuffled"]
    assert table["recall_1"].isna().all()
    assert compare(blind, Grouping.sequential(2))["right"].isna().all()


def test_orders(dataset) -> None:
    assert ordered_groups(dataset, "file", 3).label == "sequential 3"
    shuffled = ordered_groups(dataset, "shuffled", 3, seed=4).split(8)
    assert [len(group) for group in shuffled] == [3, 3, 2]
    assert shuffled == ordered_groups(dataset, "shuffled", 3, seed=4).split(8)
    east = [photo.utm[0] for photo in dataset.queries]
    for group in place_groups(dataset, 4).split(8):
        assert max(east[i] for i in group) - min(east[i] for i in group) < 400
    with pytest.raises(UsageError, match="file, shuffled, place"):
        ordered_groups(dataset, "backwards", 3)


def test_last_batch_holds_the_photos_left_over(restless) -> None:
    table = last_batch(restless, 3)
    assert list(table["query"]) == [photo.name for photo in restless.dataset.queries[6:]]
    assert (table["cosine"] < 1 - 1e-5).all()
    assert last_batch(restless, 4).empty


def test_database_batches_move_the_database_only(restless, setups) -> None:
    table = database_batches(restless, sizes=(1, 4), seeds=(0,))
    assert list(table["size"]) == [1, 4, 4]
    assert table["mean_cosine"].max() < 1
    stable = database_batches(setups["scicevpr-t"], sizes=(1, 4), seeds=(0,))
    assert stable["min_cosine"].min() > 1 - 1e-6


def test_random_batches_are_what_the_encoder_says(restless) -> None:
    draws = random_batches(restless, 2, size=4, draws=12, seed=3)
    assert len(draws.table) == 12
    for row, batch_mates in enumerate(draws.table["batch_mates"]):
        assert len(set(batch_mates)) == 3
        assert 2 not in batch_mates
        values = encode_groups(restless.model, restless.queries, np.array([[2, *batch_mates]]))[0, 0]
        assert np.abs(values - draws.descriptors[row]).max() <= 5e-7
        assert draws.table["cosine"][row] == pytest.approx(float(values @ draws.alone), abs=1e-6)
    again = random_batches(restless, 2, size=4, draws=12, seed=3)
    pd.testing.assert_frame_equal(draws.table, again.table)
    with pytest.raises(UsageError, match=r"0\.\.7"):
        random_batches(restless, 8)
    with pytest.raises(UsageError, match="2 to 8"):
        random_batches(restless, 0, size=9)


def test_the_plane_is_that_of_the_database(restless) -> None:
    plane = database_plane(restless)
    points = plane.transform(restless.database)
    centred = restless.database.astype(np.float64) - restless.database.mean(axis=0)
    singular = np.linalg.svd(centred, compute_uv=False)
    assert np.allclose(np.linalg.norm(points - points.mean(axis=0), axis=0), singular[:2], rtol=1e-3)
    assert np.allclose(points, plane.transform(restless.database))


def test_the_worst_batch_is_no_better_than_trying_them_all(restless) -> None:
    """Batches of 2 of 8 queries: seven choices, so the search must find the very worst."""
    for row in (0, 3, 6):
        found = worst_batch(restless, row, size=2, seed=1, rounds=4)
        same = same_answer(restless, row, found.first_alone)
        margins = {}
        for other in set(range(8)) - {row}:
            values = encode_groups(restless.model, restless.queries, np.array([[row, other]]))[0, 0]
            similarities = restless.database @ values
            margins[other] = similarities[~same].max() - similarities[same].max()
        assert found.batch_mates == (max(margins, key=margins.get),)
        assert found.margin == pytest.approx(max(margins.values()), abs=1e-6)
        assert found.flipped == (found.margin > 0)
        assert found.done


def test_the_worst_batch_of_scicevpr_changes_nothing(setups) -> None:
    steps = list(search_worst_batch(setups["scicevpr-t"], 1, size=4, seed=0, rounds=3))
    assert len(steps) == 4
    assert [step.done for step in steps] == [False, False, False, True]
    assert steps[-1].margin == pytest.approx(steps[-1].margin_alone, abs=1e-6)
    assert not steps[-1].flipped
    assert steps[-1].first == steps[-1].first_alone


def test_the_worst_batch_needs_photos_to_choose_from(restless) -> None:
    with pytest.raises(UsageError, match="cannot be filled"):
        worst_batch(restless, 0, size=9)


def test_figure_1_is_two_passes_of_the_whole_model(setups, dataset) -> None:
    setup = setups["cricavpr-t"]
    table = paired_queries(setup, [4, 1])
    assert list(table["batch"]) == ["alone", "alone", "pair", "pair"]
    database = describe(setup.model, [p.path for p in dataset.database], grouping=Grouping.sequential(2)).values
    queries = [dataset.queries[row].path for row in (4, 1)]
    for batch, grouping in (("alone", Grouping.alone()), ("pair", Grouping.sequential(2))):
        values = describe(setup.model, queries, grouping=grouping).values
        rows = table[table["batch"] == batch].reset_index(drop=True)
        for position in range(2):
            similarities = database @ values[position]
            assert rows["first"][position] == similarities.argmax()
            assert rows["similarity"][position] == pytest.approx(similarities.max(), abs=1e-5)
    assert list(table["partner"])[2:] == [1, 4]


def test_telling_pairs_change_an_answer(restless) -> None:
    chosen = telling_pairs(restless, count=2)
    assert len(chosen) in (2, 4)
    table = paired_queries(restless, chosen).set_index(["batch", "query"])["first"]
    for start in range(0, len(chosen), 2):
        assert any(table["alone", row] != table["pair", row] for row in chosen[start : start + 2])
    numbers = pair_statistics(restless)
    assert numbers["pairs"] == 28
    assert 0 < numbers["changed"] <= 100
    assert numbers["lost"] <= numbers["changed"]


def test_figure_2_starts_with_every_query_alone(restless) -> None:
    table = query_batches(restless, sizes=(1, 2), seeds=(0,))
    assert list(table["size"]) == [1, 2, 2, 2]


def test_photos_of_one_name_in_several_folders_stay_apart(models, dataset):
    models["cricavpr-t"].allow_untrained = True
    queries = tuple(replace(place, name=f"{row % 3}.jpg") for row, place in enumerate(dataset.queries[:6]))
    setup = prepare_stability(models["cricavpr-t"], replace(dataset, queries=queries))
    table = photo_stability(setup, size=4, seeds=range(3))
    assert list(table["query"]) == ["0.jpg", "1.jpg", "2.jpg", "0.jpg", "1.jpg", "2.jpg"]
    single = photo_stability(
        prepare_stability(models["cricavpr-t"], replace(dataset, queries=dataset.queries[:6])), 4, range(3)
    )
    pd.testing.assert_frame_equal(table.drop(columns="query"), single.drop(columns="query"))


def test_make_it_fail_and_make_it_right(restless) -> None:
    """Batches of 2 of 8 queries: all seven are tried, so what the search says is so."""
    for row in range(7):
        first = int(restless.index.search(restless.describe(Grouping.alone())[row][None], 1).indices[0, 0])
        right = first in restless.positives[row]
        goal, other = ("fail", "right") if right else ("right", "fail")
        found = worst_batch(restless, row, size=2, seed=1, rounds=4, goal=goal)
        answers = []
        for mate in set(range(8)) - {row}:
            values = encode_groups(restless.model, restless.queries, np.array([[row, mate]]))[0, :1]
            answers.append(int(restless.index.search(values, 1).indices[0, 0]) in restless.positives[row])
        assert found.flipped == any(answer != right for answer in answers)
        assert found.sentence.startswith(("Right", "Wrong") if found.flipped else f"None of the {found.tried} batches")
        with pytest.raises(UsageError, match=f"Look for a batch that makes it {goal}"):
            worst_batch(restless, row, size=2, goal=other)
    with pytest.raises(UsageError, match="'worse'"):
        worst_batch(restless, 0, size=2, goal="worse")
    with pytest.raises(UsageError, match="Nobody knows"):
        worst_batch(replace(restless, positives=None), 0, size=2, goal="fail")


def test_how_often_batches_flip_a_right_answer(restless, setups) -> None:
    table = flip_rates(restless, (2,), draws=30, searched=8).set_index("batch")
    assert list(table.index) == ["random", "same street", "worst"]
    assert (table["low"] <= table["flips"]).all()
    assert (table["flips"] <= table["high"]).all()
    alone = restless.index.search(restless.describe(Grouping.alone()), 1).indices[:, 0]
    asked = [row for row in range(8) if alone[row] in restless.positives[row]]
    wrong = {}
    for row in asked:
        groups = np.array([[row, mate] for mate in set(range(8)) - {row}])
        values = encode_groups(restless.model, restless.queries, groups, first_only=True)
        answers = restless.index.search(values, 1).indices[:, 0]
        wrong[row] = [answer not in restless.positives[row] for answer in answers]
    assert table["flips"]["worst"] == pytest.approx(100 * np.mean([any(flips) for flips in wrong.values()]))
    assert table["flips"]["random"] == pytest.approx(100 * np.mean([np.mean(f) for f in wrong.values()]), abs=12)
    quiet = flip_rates(setups["scicevpr-t"], (2, 4), draws=2)
    assert (quiet["flips"] == 0).all()
    assert (quiet["change"] < 1e-5).all()
    assert quiet["note"].iloc[-1] == "does not feel its batch: nothing to search"
    with pytest.raises(UsageError, match="2 to 8 photos"):
        flip_rates(restless, (9,))
