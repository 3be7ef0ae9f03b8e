"""The Stability tab without a browser: a batch in, answers out, the same as the whole models give."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import gradio as gr
import numpy as np
import pandas as pd
import pytest
import standin

from app.core import region_store
from app.core.model_slots import BASELINE, STABLE
from app.core.region_store import RegionStore
from app.core.values import joined, row_list
from app.tabs.stability.handlers import COLUMNS, StabilityHandlers, plane_of, search_words, summary, table_rows
from app.tabs.stability.html import pair_figure_html, reaction_html, reaction_words, tray_html
from app.tabs.stability.records import checked_batch_mates
from app.tabs.stability.service import FAIL, RIGHT, Stability
from app.ui.events import toasts
from scicevpr.descriptors.batches import Grouping
from scicevpr.descriptors.describe import describe, region_vectors
from scicevpr.errors import UsageError
from scicevpr.figures.scores import recall_curve
from scicevpr.models.model import WeightsInfo

pytestmark = pytest.mark.slow  # the experiments themselves are in tests/unit/test_batch_effects.py, which runs quickly


VISITOR = SimpleNamespace(session_hash="a visitor")


@pytest.fixture(scope="module")
def stability(services):
    return Stability(services)


@pytest.fixture(scope="module")
def session(services, stability):
    query = services.dataset(None)[1].queries[2]
    return stability.session(query.path, query.name, None)


@pytest.fixture(scope="module")
def reactions(stability, session):
    return stability.react(session, [5, 9, 1], stability.pool(session))


def answered_wrong_alone(stability):
    """The first query whose place is in the database and that the baseline answers wrong alone."""
    for query in stability.services.dataset(None)[1].queries:
        found = stability.session(query.path, query.name, None)
        known = stability.services.relevance(found.key, found.row, found.position).right
        if (
            known is not None
            and np.any(known)
            and not stability.react(found, [], stability.pool(found))[1].alone[0].right
        ):
            return found
    raise AssertionError("the baseline answers every query right")


def payload(place):
    return {"path": str(place.path), "orig_name": place.name, "url": None}


def test_reactions_are_what_the_whole_models_say(services, session, reactions):
    queries = session.dataset.queries
    paths = [queries[row].path for row in (2, 5, 9, 1)]
    for reaction, role in zip(reactions, (STABLE, BASELINE), strict=True):
        model = services.model(role)
        together = describe(model, paths, grouping=Grouping.explicit([range(4)])).values[0]
        alone = describe(model, paths[:1], grouping=Grouping.alone()).values[0]
        assert reaction.cosine == pytest.approx(float(alone @ together), abs=1e-6)
        database = services.described(role, session.key).descriptors.values
        assert reaction.alone[0].row == int(np.argmax(database @ alone))
        assert reaction.now[0].row == int(np.argmax(database @ together))
        assert reaction.flip == (reaction.alone[0].row != reaction.now[0].row)
    assert reactions[0].cosine == pytest.approx(1, abs=1e-6)
    assert reactions[1].cosine < 1 - 1e-5
    assert not reactions[0].draws["flip"].any()
    assert np.ptp(reactions[0].projection.cloud, axis=0).max() < 1e-4
    assert np.ptp(reactions[1].projection.cloud, axis=0).max() > 1e-4


def test_the_pool_holds_the_next_photos_and_some_others_but_never_the_query(stability, session):
    pool = stability.pool(session)
    assert pool[:8] == list(range(3, 11))
    assert 2 not in pool
    assert len(set(pool)) == len(pool) == 15
    assert stability.pool(session, 1)[:8] == pool[:8]


def test_an_uploaded_photo_can_be_the_query(stability):
    session = stability.session(standin.noise_photo(), "holiday.jpg", None)
    assert session.row is None
    stable, baseline = stability.react(session, [0, 1], stability.pool(session))
    assert stable.now[0].right is None
    assert stable.rewriting.max() < 1e-6
    assert baseline.rewriting.shape == (3, 14)
    assert baseline.rewriting.max() > 1e-4
    assert baseline.cosine < 1
    assert "another photo" in reaction_words(baseline, 2)[1] or "same" in reaction_words(baseline, 2)[1]


@pytest.mark.parametrize(
    ("batch_mates", "words"),
    [([2], "with itself"), ([99], "no photo 99"), ([3, 3], "only once"), (list(range(3, 16)) * 2, "only once")],
)
def test_impossible_batches(session, batch_mates, words):
    with pytest.raises(UsageError, match=words):
        checked_batch_mates(session, batch_mates)


def test_the_tray_shows_who_is_in_and_who_is_not(stability, session):
    pool = stability.pool(session)
    page = tray_html(session, [5, 9], pool)
    batch, others = page.split('data-zone="pool"')
    assert batch.count("<button") == 2
    assert 'data-row="5" data-to="pool"' in batch
    assert 'data-row="5"' not in others
    assert others.count('data-to="batch"') == len(pool) - 2
    assert "in a batch of 3" in page
    assert "{" not in page


def test_moving_photos(services, stability):
    handlers = StabilityHandlers(stability)

    def event(row, to):
        return SimpleNamespace(_data={"row": row, "to": to})

    assert handlers.moved("", event(5, "batch")) == "5"
    assert handlers.moved("5,7", event(3, "batch")) == "5,7,3"
    assert handlers.moved("5,7", event(7, "batch")) == "5,7"
    assert handlers.moved("5,7", event(5, "pool")) == "7"
    with pytest.raises(gr.Error, match="whole number"):
        handlers.moved("5", event("x", "pool"))
    with pytest.raises(gr.Error, match="numbers of photos"):
        handlers.moved("5;7", event(5, "pool"))
    assert row_list(joined([4, 2])) == [4, 2]


def test_handlers_fill_all_parts(services, stability, session):
    handlers = StabilityHandlers(stability)
    place = session.dataset.queries[2]
    parts = handlers.show(payload(place), None, "5,9", 0)
    assert "Untrained weights" in parts[0]
    assert 'data-row="9" data-to="pool"' in parts[1]
    assert 'data-flip="same"' in parts[2]
    assert "random batches" in parts[3]
    assert "who rewrote which region" in parts[4]
    assert parts[4].count('scope="row"') == 3
    assert parts[5].visible
    assert len(handlers.show(None, None, "", 0)) == len(parts)
    batch_mates, seed = handlers.drawn(payload(place), None, "5,9", 0)
    assert len(row_list(batch_mates)) == 2
    assert seed == 1
    with pytest.raises(gr.Error, match="no query yet"):
        handlers.drawn(None, None, "", 0)


def test_the_worst_batch_streams_and_ends_with_a_batch(services, stability, session):
    handlers = StabilityHandlers(stability)
    place = session.dataset.queries[2]
    seen = list(handlers.make_it_fail(payload(place), None, "5", 4))
    assert [batch_mates for batch_mates, _ in seen[:-1]] == ["5"] * (len(seen) - 1)
    found = row_list(seen[-1][0])
    assert len(set(found)) == 3
    assert 2 not in found
    assert "batches tried" in seen[-1][1]
    with pytest.raises(gr.Error, match="from 2 to 32"):
        next(handlers.make_it_fail(payload(place), None, "5", 1))


def test_the_curve_streams_row_by_row(services, stability):
    handlers = StabilityHandlers(stability)
    steps = list(handlers.curve(None, [1, 4], ["file", "shuffled"], 2, VISITOR))
    assert len(steps) == 3 * 4 + 1
    assert "12 of 12" in steps[-2][3]
    assert "SciceVPR-T always" in steps[-1][3]
    assert [len(row) for row in steps[-2][1]] == [len(COLUMNS)] * 12
    table = pd.read_csv(steps[-1][2])
    assert list(table["model"].unique()) == ["SciceVPR-T", "CricaVPR-T", "Super-CricaVPR-T"]
    assert summary(table) == steps[-1][3]
    assert len(table_rows(table)) == 12
    names = [trace.name for trace in recall_curve(table).data if trace.showlegend is not False]
    assert "SciceVPR-T, any batch" in names
    assert {"CricaVPR-T, shuffled", "Super-CricaVPR-T, shuffled"} & set(names)
    with pytest.raises(gr.Error, match="at least one batch size"):
        next(handlers.curve(None, [], ["file"], 2, VISITOR))


def test_a_measurement_stops_for_its_visitor_only(services, stability):
    handlers = StabilityHandlers(stability)
    steps = handlers.curve(None, [1, 4], ["file", "shuffled"], 2, VISITOR)
    next(steps)
    handlers.stops.stop(SimpleNamespace(session_hash="somebody else"))
    assert "settings measured" in next(steps)[3]
    handlers.stops.stop(VISITOR)
    [(_, _, file, words)] = list(steps)
    assert words.startswith("Stopped: 3 of ")
    assert file.endswith(".csv")


def test_figure_1_frames_right_and_wrong(stability):
    figure = stability.pairs(None, count=1)
    page = pair_figure_html(figure)
    assert page.count("pairs__batch--two") == 2
    assert page.count("<figure") == 8
    right = int(figure.table["right"].sum())
    assert page.count("pairs__answer--right") == right
    assert page.count("pairs__answer--wrong") == 8 - right
    assert "random pairs" in page


def test_the_endpoint_tells_both_models(services, stability, session):
    told = StabilityHandlers(stability).api_batch_mates(payload(session.dataset.queries[2]), None, "5,9")
    assert [model["model"] for model in told] == ["SciceVPR-T", "CricaVPR-T"]
    assert told[0]["cosine_to_alone"] == pytest.approx(1, abs=1e-6)
    assert not told[0]["first_answer_changed"]


def test_words_about_a_reaction(reactions):
    assert reaction_words(reactions[0], 0)[0] == "alone"
    assert reaction_words(reactions[0], 3) == ("same", "The first answer stays the same.")
    assert "In this batch" not in reaction_html(reactions[0], 0)
    assert "In this batch" in reaction_html(reactions[0], 3)


def test_region_vectors_are_remembered_and_kept_on_disk(services, session, tmp_path, monkeypatch):
    model, places = services.model(BASELINE), [*session.dataset.database, *session.dataset.queries[:8]]
    monkeypatch.setattr(model, "weights", WeightsInfo("test", "abc123", "nothing", False))
    monkeypatch.setattr(region_store, "BATCH", 8)  # so that 32 photos are many
    store = RegionStore(tmp_path)
    steps = []
    first = store.get(model, places, lambda done, total: steps.append((done, total)))
    assert steps[-1] == (40, 40)
    assert np.allclose(first, region_vectors(model, [place.path for place in places]), atol=1e-6)
    steps.clear()
    assert store.get(model, places[3:5], lambda *step: steps.append(step)).equal(first[3:5])
    again = RegionStore(tmp_path)
    assert again.get(model, places, lambda *step: steps.append(step)).equal(first)
    assert steps == []
    for file in (tmp_path / "regions").iterdir():
        file.write_bytes(b"broken")
    assert np.allclose(RegionStore(tmp_path).get(model, places), first, atol=1e-6)


def test_streams_turn_errors_into_toasts_as_well():
    @toasts
    def broken():
        yield 1
        raise UsageError("not <b>so</b>")

    stream = broken()
    assert next(stream) == 1
    with pytest.raises(gr.Error, match="not &lt;b&gt;so"):
        next(stream)


@pytest.mark.slow
def test_a_batch_that_makes_it_right_is_searched_among_the_positives(stability, session):
    asked = {FAIL: session, RIGHT: answered_wrong_alone(stability)}
    for aim, one in asked.items():
        *_, (found, rows) = stability.worst(one, 3, aim=aim)
        assert found.done
        assert len(rows) == 2
        words = search_words(found, aim)
        assert ("a right photo" in words) == (aim == RIGHT)
        assert "-" not in words.replace("-T", ""), "no negative lead is shown"
        if aim == RIGHT and found.flipped:
            assert stability.services.relevance(one.key, one.row, one.position).right[found.first]
    stranger = stability.session(standin.noise_photo(), "holiday.jpg", None)
    with pytest.raises(UsageError, match="can be made right"):
        next(stability.worst(stranger, 3, aim=RIGHT))


def test_a_batch_of_one_is_said_to_be_outside_what_cricavpr_was_trained_on(stability, session):
    stable, baseline = stability.react(session, [], stability.pool(session))
    wrong = [replace(reaction, alone=(replace(reaction.alone[0], right=False),)) for reaction in (stable, baseline)]
    assert "never on one" in reaction_words(wrong[1], 0)[1]
    assert "never on one" not in reaction_words(wrong[0], 0)[1]
    right = replace(baseline, alone=(replace(baseline.alone[0], right=True),))
    assert "never on one" not in reaction_words(right, 0)[1]


def test_a_batch_chosen_in_another_tab_arrives_as_rows(stability, session):
    handlers = StabilityHandlers(stability)
    photo = payload(session.dataset.queries[2])
    assert handlers.fresh(photo, None, "", "+3") == ("3,4,5", "", 0, session.dataset.queries[2].name, "")
    assert handlers.followed(photo, None, "+2", "9") == "3,4"
    assert handlers.followed(photo, None, "", "9") == "9"
    assert handlers.fresh(photo, None, "another.jpg", "")[0] == "", "no stale batch for another photo"
    with pytest.raises(gr.Error, match="whole number"):
        handlers.followed(photo, None, "+99", "")


def test_points_of_the_plane_stay_inside_and_the_legend_below(stability, session):
    figure = plane_of(stability.react(session, [5, 9], stability.pool(session))[1])
    assert figure.layout.legend.y < 0
    for trace in figure.data[1:]:
        for axis, values in ((figure.layout.xaxis, trace.x), (figure.layout.yaxis, trace.y)):
            assert all(axis.range[0] < value < axis.range[1] for value in values)
