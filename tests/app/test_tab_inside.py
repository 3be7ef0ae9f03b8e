"""The Inside tab without a browser: what is shown is what the library says."""

from __future__ import annotations

from html import unescape

import gradio as gr
import numpy as np
import pytest
import standin

from app.core.model_slots import BASELINE, STABLE, TEACHER
from app.tabs.inside.handlers import ATTENTION_CHOICES, InsideHandlers, plot_of
from app.tabs.inside.html import lead_words, stage_html, step_choices
from app.tabs.inside.service import FIRST_RIGHT, Inspector, chosen_view
from app.ui.html import change_matrix, matrix_table, two_sided
from scicevpr.descriptors.batches import Grouping
from scicevpr.descriptors.describe import describe
from scicevpr.errors import UsageError
from scicevpr.explanations import STEPS, region_terms

CELL = (4, 10)


@pytest.fixture(scope="module")
def inspector(services):
    return Inspector(services)


@pytest.fixture(scope="module")
def query(services):
    return services.dataset(None)[1].queries[3]


def payload(place):
    return {"path": str(place.path), "orig_name": place.name, "url": None}


@pytest.mark.slow
def test_matches_are_those_of_the_search_and_terms_add_up_to_their_similarity(services, inspector, query):
    for role, batch_mates in ((STABLE, 0), (BASELINE, 3)):
        found = services.find(query.path, query.name, k=5, batch_mates=batch_mates)
        answer = found.stable if role == STABLE else found.baseline
        for rank in (1, 3):
            inspected = inspector.inspect(query.path, query.name, None, role, rank, batch_mates)
            assert [hit.row for hit in inspected.hits[:5]] == [hit.row for hit in answer.hits]
            assert inspected.hit.similarity == pytest.approx(answer.hits[rank - 1].similarity, abs=1e-6)
            assert inspected.terms.sum() == pytest.approx(inspected.hit.similarity, abs=1e-5)
            assert inspected.decision.gap == pytest.approx(
                inspected.hit.similarity - inspected.rival.similarity, abs=2e-5
            )


def test_the_batch_is_the_query_and_those_after_it(services, inspector, query):
    dataset = services.dataset(None)[1]
    inspected = inspector.inspect(query.path, query.name, None, BASELINE, 1, 2)
    assert [place.name for place in inspected.batch_mates] == [place.name for place in dataset.queries[4:6]]
    paths = [query.path, *(place.path for place in inspected.batch_mates)]
    model = services.model(BASELINE)
    whole = describe(model, paths, grouping=Grouping.explicit([range(3)])).values
    assert np.abs(inspected.explanation.descriptors - whole).max() < 5e-7
    assert inspector.inspect(query.path, query.name, None, STABLE, 1, 2).batch_mates == ()


@pytest.mark.slow
def test_the_same_question_is_answered_from_memory(inspector, query):
    first = inspector.inspect(query.path, query.name, None, TEACHER, 1, 1)
    assert inspector.inspect(query.path, query.name, None, TEACHER, 1, 1) is first
    assert inspector.inspect(query.path, query.name, None, TEACHER, 2, 1).explanation is first.explanation


@pytest.mark.slow
@pytest.mark.parametrize("role", [STABLE, TEACHER, BASELINE])
def test_every_picture_of_every_step_can_be_drawn(inspector, query, role):
    inspected = inspector.inspect(query.path, query.name, None, role, 2, 2)
    drawn = 0
    for step, _ in STEPS:
        views = inspected.views(step)
        if not views:
            assert "nothing to see" in stage_html(inspected, step, None, CELL)
        for view in views[:2]:
            page = stage_html(inspected, step, view, CELL)
            assert f'data-view="{view.key}"' in page
            assert "data:image/jpeg;base64," in page or view.kind == "encoder"
            assert "Formula and tensors" in page
            assert "{" not in page
            plot_of(inspected, view, CELL)
            drawn += 1
    assert drawn >= 9
    assert ("skipped" in str(step_choices(inspected))) == (role == BASELINE)


def test_the_numbers_under_the_mouse_are_the_map(inspector, query):
    inspected = inspector.inspect(query.path, query.name, None, STABLE, 1, 0)
    view = chosen_view(inspected, "fusion", "energy:fused")
    page = stage_html(inspected, "fusion", view, CELL)
    numbers = page.split('data-values="')[1].split('"')[0].split(",")
    heat = inspected.explanation.heat_map("energy:fused").values
    assert np.allclose(np.array(numbers, dtype=float).reshape(14, 14), heat, rtol=1e-3)
    assert 'data-pick="1"' not in page
    assert 'data-pick="1"' in stage_html(inspected, "mixers", chosen_view(inspected, "mixers", "influence"), CELL)


def test_the_framed_region_of_the_difference_is_the_largest_and_no_lead_is_negative(inspector, query):
    for rank in (1, 2):
        inspected = inspector.inspect(query.path, query.name, None, STABLE, rank, 0)
        view = chosen_view(inspected, "descriptor", "difference")
        page = stage_html(inspected, "descriptor", view, CELL)
        assert inspected.decision.region == inspected.decision.differences.argmax()
        assert inspected.decision.differences.sum() == pytest.approx(inspected.decision.gap, abs=1e-6)
        assert 'class="scale"' in page
        words = lead_words(inspected)
        assert words in unescape(page)
        assert f"Rank {rank} {'leads' if rank == 1 else 'lies behind'} rank {3 - rank} by 0." in words


def test_the_first_right_match_can_be_compared_with(services, inspector, query):
    inspected = inspector.inspect(query.path, query.name, None, STABLE, FIRST_RIGHT, 0)
    assert inspected.hit.right
    assert not any(hit.right for hit in inspected.hits[: inspected.rank - 1])
    with pytest.raises(UsageError, match="Choose a rank"):
        inspector.inspect(standin.noise_photo(), "nowhere.jpg", None, STABLE, FIRST_RIGHT, 0)


def test_what_single_photos_do_not_explain_is_said():
    together = np.array([[0.3] * 14, [0.01] * 14, [0.02] * 14])
    assert "No single photo explains that" in change_matrix(together, [None] * 3, ["region"] * 14)[1]
    assert "Photo 2 alone accounts for most" in change_matrix(together * [[1], [1], [14]], [None] * 3, ["r"] * 14)[1]


def test_attention_is_coloured_around_an_even_share(inspector, query):
    inspected = inspector.inspect(query.path, query.name, None, BASELINE, 1, 3)
    page = stage_html(inspected, "encoder", chosen_view(inspected, "encoder", "cross-image"), CELL)
    assert "1/4 = 0.250" in page
    even = two_sided(np.array([[0.25, 0.5, 0.0]]), 0.25, 0.25)[0]
    assert even[0].tolist() == [255, 255, 255]
    assert even[1][0] > even[1][2]
    assert even[2][0] < even[2][2]


def test_the_page_counts_from_1(inspector, query):
    inspected = inspector.inspect(query.path, query.name, None, TEACHER, 1, 1)
    labels = [view.label for step, _ in STEPS for view in inspected.views(step)]
    assert any(label.startswith("region 1:") for label in labels)
    assert not any(label.startswith(("region 0", "block 0")) for label in labels)
    assert any(label.startswith("block 4") for label in labels)
    assert ("region 14", "13") in ATTENTION_CHOICES["region"]


def test_a_matrix_shows_every_number():
    values = np.array([[0.75, 0.25], [0.5, 0.5]])
    table = matrix_table(values, [None, "p.jpg"], ["a", "b"], None, ["c", "d"], "attention", 0, 1)
    assert table.count("<td style") == 4
    assert "0.750" in table
    assert 'title="b, c: attention 0.5000"' in table


def test_handlers_fill_all_parts_and_offer_the_steps_pictures(services, query):
    handlers = InsideHandlers(services)
    form = [None, BASELINE, 1, 2, "encoder", None, 5, 11, "1", "3", "mean"]
    notice, stage, plot, step, view, cell_row, attention_row = handlers.show(payload(query), *form)
    assert "Untrained weights" in notice
    assert "evenly" not in stage
    assert "and of the others most from" in stage
    assert [key for _, key in view.choices] == ["cross-image", "rewriting"]
    assert view.value == "cross-image"
    assert (cell_row.visible, attention_row.visible, plot.visible) == (False, True, False)
    assert len(step.choices) == 7
    waiting = handlers.show(None, *form)
    assert len(waiting) == 7
    assert "Pick a photo above" in waiting[1]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({1: "nobody"}, "no model"),
        ({2: 99}, "The match must be a whole number from 1 to 20"),
        ({3: 99}, "other photos in the batch must be a whole number"),
        ({4: "nowhere"}, "no step"),
        ({6: 17}, "row must be a whole number from 1 to 16"),
        ({8: "x"}, "layer must be a whole number"),
        ({9: "40"}, "no head 40"),
    ],
)
def test_bad_choices_become_toasts(services, query, change, words):
    form = [None, BASELINE, 1, 2, "encoder", None, 5, 11, "mean", "mean", "mean"]
    for place, value in change.items():
        form[place] = value
    with pytest.raises(gr.Error, match=words):
        InsideHandlers(services).show(payload(query), *form)


def test_the_endpoint_tells_terms_that_add_up(services, query):
    told = InsideHandlers(services).api_explain(payload(query), None, STABLE, 1, 0)
    assert sum(told["region_terms"].values()) == pytest.approx(told["similarity"])
    assert told["similarity"] == pytest.approx(told["matches"][0]["similarity"], abs=1e-5)
    assert told["deciding_region"] in told["region_terms"]
    assert sum(part["energy"] for part in told["layer_shares"].values()) == pytest.approx(1, abs=1e-5)
    assert told["tensors"][-1]["shape"] == [1, 2688]


def test_unknown_steps_are_named(inspector, query):
    inspected = inspector.inspect(query.path, query.name)
    with pytest.raises(UsageError, match="input, layers"):
        inspected.views("roof")
    descriptor = inspected.explanation.descriptors[0]
    assert region_terms(descriptor, descriptor).sum() == pytest.approx(1)
