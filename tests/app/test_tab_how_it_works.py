"""How it works, glossary and tour: what they say is true of the code, and what they point at is there."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from types import SimpleNamespace

import gradio as gr
import pytest
import standin

from app.tabs.how_it_works.architecture import ABSENT, FAMILIES, LESSONS, PARTS, SIZES, family_rows
from app.tabs.how_it_works.handlers import FIRST_PART, LearnHandlers
from app.tabs.how_it_works.html import FIGURE, explained_text, families_html, figure_html, glossary_html, part_html
from app.tabs.how_it_works.service import ROOT, Learning, code_of, walk
from app.ui.glossary import TERMS, search_terms, terms_in
from app.ui.tour import STEPS, tour_html
from scicevpr.config import VARIANTS, get_variant
from scicevpr.errors import UsageError
from scicevpr.explanations import Explanation

KEYS = [part.key for part in PARTS]


@pytest.fixture(scope="module")
def learning(services):
    return Learning(services)


def sentences(text: str) -> int:
    return len(re.findall(r"[.!?](?:\s|$)", text))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_shapes_are_those_of_a_real_photo_in_the_real_model(family):
    model = standin.untrained(f"{family}-t")
    walked = walk(model.variant, 2)
    real = Explanation(model, [standin.noise_photo(1), standin.noise_photo(2)])
    shown = [row for tensors in walked.tensors.values() for row in tensors]
    assert all((what, shape) in shown for _, what, shape in real.shapes())
    assert walked.total == sum(weight.numel() for weight in model.parameters())
    if model.variant.cross_image:
        assert tuple(real.trace.attention[0].shape) in [shape for _, shape in walked.tensors["encoder"]]


@pytest.mark.parametrize("size", SIZES)
def test_every_size_has_its_shapes(learning, size):
    walked = learning.walk("scicevpr", size, 3)
    variant = get_variant(f"scicevpr-{size}")
    assert walked.output("descriptor") == (3, variant.descriptor_dim)
    assert walked.output("mixers") == (3, variant.channels, *variant.grid)
    assert walked.tensors["search"][0][1] == (2 * standin.PLACES, variant.descriptor_dim)


def test_every_part_of_every_family_is_explained(learning):
    for family in FAMILIES:
        walked = learning.walk(family, "T", 1)
        for key in KEYS:
            explained = learning.explain(walked, key)
            assert explained.present == bool(walked.tensors[key])
            assert sentences(explained.what) == 2, explained.what
            html = part_html(walked, explained)
            assert (explained.code[0].path if explained.present else ABSENT[:20]) in html
    assert {part.differs.keys() == FAMILIES.keys() for part in PARTS if part.differs} == {True}


def test_the_files_are_those_that_implement_the_parts():
    for part in PARTS:
        for target in (*part.code, *(other for code in part.codes.values() for other in code)):
            code = code_of(target)
            first = (ROOT / code.path).read_text(encoding="utf-8").splitlines()[code.line - 1]
            assert re.match(rf"\s*(class|def) {code.name.split('.')[-1]}\b", first)
            assert code.text.startswith(first.strip())


def test_the_figure_has_every_part_and_marks_the_chosen_one(learning):
    root = ElementTree.parse(FIGURE).getroot()
    assert [element.get("data-part") for element in root.iter() if element.get("data-part")] == KEYS
    html = figure_html(learning.walk("super-cricavpr", "B", 16), "mixers")
    assert not re.search(r"@[\w-]+@|[{}$`]", html)
    assert html.count('role="button"') == len(KEYS)
    assert re.findall(r'data-part="(\w+)"[^>]*aria-pressed="true"', html) == ["mixers"]
    assert "arch--cross arch--fused" in html
    assert "16×768×16×16" in html
    assert "arch--self" in figure_html(learning.walk("scicevpr", "T", 1), "mixers")


def test_the_families_are_marked_where_they_differ():
    rows = dict(family_rows("B"))
    assert rows["Encoder"][0] == rows["Encoder"][1] != rows["Encoder"][2]
    assert rows["Dimensions of a descriptor"] == ("14 × 768 = 10,752",) * 3
    html = families_html("B", "scicevpr")
    encoder = html[html.index(">Encoder<") :].split("</tr>")[0]
    assert [cell.count("≠") for cell in encoder.split("<td")[1:]] == [0, 0, 1]
    assert VARIANTS["cricavpr-b"].weights_note in html


def test_a_wrong_choice_is_said_and_nothing_is_drawn_before_the_first_visit(learning):
    handlers = LearnHandlers(learning)
    for choice in (("x", "T", 1), ("scicevpr", "Q", 1), ("scicevpr", "T", 0), ("scicevpr", "T", "many")):
        with pytest.raises(gr.Error):
            handlers.show(*choice, FIRST_PART)
    with pytest.raises(gr.Error, match="no part"):
        handlers.picked("scicevpr", "T", 1, SimpleNamespace(_data={"part": "engine"}))
    with pytest.raises(UsageError, match="no part"):
        learning.explain(learning.outline("scicevpr", "T", 1), None)
    assert handlers.picked("scicevpr", "T", 1, SimpleNamespace(_data={"part": "photo"}))[0] == "photo"
    figure, part, _ = handlers.waiting()
    assert "learned" not in figure
    assert "being worked out" in part
    told = handlers.api_architecture("cricavpr", "B", 2)
    assert [part["part"] for part in told["parts"]] == [
        part.title for part in PARTS if part.key not in ("fusion", "mixers")
    ]
    assert told["learned"] == 106_760_897


def test_the_glossary_is_sorted_short_and_can_be_searched():
    names = [term.name.lower() for term in TERMS]
    assert names == sorted(names)
    assert len({term.anchor for term in TERMS}) == len(TERMS) >= 30
    assert all(1 <= sentences(term.meaning) <= 2 for term in TERMS)
    assert search_terms("recall")[0].name == "Recall@K"
    assert search_terms("gallery")[0].name == "Database"
    assert search_terms("  ") == TERMS
    assert "No term fits" in glossary_html(search_terms("xyzzy"), "xyzzy")
    assert "<b>" not in LearnHandlers(None).terms("<b>{x}")


def test_terms_are_found_in_text_once_and_the_longest_wins():
    found = [(text, term.name) for text, term in _found("Token mixers and tokens; a Token, the map. Recall@1!")]
    assert found == [("Token mixers", "Token mixer"), ("tokens", "Token"), ("map", "Map"), ("Recall@1", "Recall@K")]
    html = explained_text("a <b> query")
    assert '&lt;b&gt; <a class="term" href="#term-query"' in html


def _found(text: str) -> list:
    return [(text[start:end], term) for start, end, term in terms_in(text)]


def test_the_tour_points_at_what_is_there(services):
    from app.build import build_app

    page = build_app(services)
    ids = {block.elem_id for block in page.blocks.values()}
    tabs = {block.label for block in page.blocks.values() if isinstance(block, gr.Tab)}
    for step in STEPS:
        named = " ".join([step.look_at, step.done, step.follow, *(what for move in step.moves for what in move[1:])])
        named += " ".join(selector for _, selector in step.read)
        assert set(re.findall(r"#([a-z][\w-]*)", named)) <= ids, step.title
        assert step.tab in tabs
        assert bool(step.offer) == bool(step.moves)
        assert not step.offer or step.done, "a button that works needs a sign that it has worked"
    assert not re.search(r"[{}$`]", tour_html())


def test_the_lessons_are_there():
    assert [name for name, _ in LESSONS if not (ROOT / "lessons" / name).is_file()] == []
