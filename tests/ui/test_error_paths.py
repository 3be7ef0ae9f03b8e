"""What goes wrong in Find, in a real browser: bad files, a choice taken back, visitors who come at the same time."""

from __future__ import annotations

import re
import shutil
import threading
from urllib.parse import quote

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("playwright.sync_api", reason="playwright is not installed (pip install playwright)")

from page_tabs import PATIENCE, go_to_tab, settled
from playwright.sync_api import Page, expect

LIMIT = "100kb"
EXAMPLES = "#examples button.thumbnail-item"
IN_BATCH = "#tray [data-zone=batch] button"


@pytest.fixture(scope="module")
def own_services(city_folder):
    """Services that no other page of this run uses."""
    import standin

    return standin.city_services(city_folder)


@pytest.fixture(scope="module")
def address(own_services):
    """A page of its own that takes small files only."""
    from wire import served

    from app.build import build_app

    page = build_app(own_services)
    own_services.warm_up().join()
    with served(page, own_services, max_file_size=LIMIT) as found:
        yield found.url


@pytest.fixture
def held(own_services, monkeypatch):
    """Searches that wait for `held.go`; `held.begun` is set when the first one runs."""

    class Held:
        go, begun = threading.Event(), threading.Event()

    real = own_services.find

    def find(*values):
        Held.begun.set()
        Held.go.wait(PATIENCE / 1000)
        return real(*values)

    monkeypatch.setattr(own_services, "find", find)
    yield Held
    Held.go.set()


def cards(page: Page, side: str):
    return page.locator(f"#answer-{side} .card[data-verdict]")


def shown(page: Page, side: str) -> list[list[str]]:
    """File name and similarity of every answer on the page."""
    return cards(page, side).evaluate_all(
        "cards => cards.map(card => [card.querySelector('[data-caption]').dataset.caption.split('. ').pop(),"
        " card.querySelector('.card__similarity').textContent])"
    )


def expected(services, row: int, batch_mates: int, side: str) -> list[list[str]]:
    """The same of a search without any page."""
    place = services.examples(None)[row]
    answer = getattr(services.find(place.path, place.name, None, 5, batch_mates), side)
    return [[hit.photo.name, f"{hit.similarity:.3f}"] for hit in answer.hits]


def upload(page: Page, path) -> None:
    page.locator("#photo input[type=file]").first.set_input_files(str(path))


def test_bad_files_are_said_and_what_was_entered_stays(open_page, own_services, tmp_path):
    text, huge, good = tmp_path / "letter.jpg", tmp_path / "poster.jpg", tmp_path / "street.jpg"
    text.write_text("dear reader")
    noise = np.random.default_rng(0).integers(0, 255, (400, 500, 3), dtype=np.uint8)
    Image.fromarray(noise).save(huge, quality=95)
    query = own_services.dataset(None)[1].queries[9]
    shutil.copy(query.path, good)
    assert good.stat().st_size < 100_000 < huge.stat().st_size
    page = open_page()
    page.locator("#position button").first.click()
    where = page.locator("#where input, #where textarea")
    where.fill(f"{query.utm[0]} {query.utm[1]}")
    page.locator("#k input[type=number]").fill("3")
    page.locator("#k input[type=number]").press("Enter")
    page.locator("#batch-mates label", has_text="+3").click()
    toasts = page.locator("[data-testid='toast-body']")
    upload(page, huge)
    expect(toasts.filter(has_text="maximum allowed size")).to_contain_text("poster.jpg", timeout=PATIENCE)
    expect(page.locator("#photo img")).to_have_count(0)
    upload(page, text)
    expect(toasts.filter(has_text="letter.jpg")).to_contain_text("not", timeout=PATIENCE)
    expect(page.locator("#answer-stable .answer--waiting")).to_be_visible()
    page.locator("#photo button[aria-label='Remove Image']").click()
    upload(page, good)
    expect(cards(page, "stable")).to_have_count(3, timeout=PATIENCE)
    expect(cards(page, "baseline")).to_have_count(3)
    expect(page.locator("#strip .tile")).to_have_count(4)
    assert where.input_value() == f"{query.utm[0]} {query.utm[1]}"
    verdicts = cards(page, "stable").evaluate_all("cards => cards.map(card => card.dataset.verdict)")
    assert "neutral" not in verdicts, "the position that was entered is not used"


def test_two_visitors_at_once_see_their_own_answers_and_trays(open_page, own_services, held):
    ann, ben = open_page(), open_page(width=390, height=844, dark=True)
    names = [place.name for place in own_services.examples(None)]
    ben.locator("#batch-mates label", has_text="+3").click()
    ann.locator(EXAMPLES).nth(1).click()
    assert held.begun.wait(PATIENCE / 1000)
    ben.locator(EXAMPLES).nth(4).click()
    for side in ("stable", "baseline"):
        expect(ben.locator(f"#answer-{side}")).to_contain_text("queue: 1/1", timeout=PATIENCE)
    held.go.set()
    for page, row, batch_mates in ((ann, 1, 0), (ben, 4, 3)):
        expect(page.locator("#strip .tile")).to_have_count(batch_mates + 1, timeout=PATIENCE)
        for side in ("stable", "baseline"):
            expect(cards(page, side)).to_have_count(5, timeout=PATIENCE)
            assert shown(page, side) == expected(own_services, row, batch_mates, side)
        caption = page.locator("#strip .tile--query [data-caption]").get_attribute("data-caption")
        assert caption == f"Your query. {names[row]}"
    for page in (ann, ben):
        go_to_tab(page, "Stability")
        expect(page.locator("#stability-baseline .reaction")).to_be_visible(timeout=PATIENCE)
    expect(ben.locator(IN_BATCH)).to_have_count(3, timeout=PATIENCE)  # what he chose in Find
    expect(ben.locator("#stability-baseline")).to_contain_text("In this batch", timeout=PATIENCE)
    settled(ben)
    before = ben.locator("#stability-baseline .reaction").inner_text()
    ann.locator("#stability-random").click()
    expect(ann.locator(IN_BATCH)).to_have_count(1, timeout=PATIENCE)
    expect(ann.locator("#stability-baseline")).to_contain_text("In this batch", timeout=PATIENCE)
    expect(ben.locator(IN_BATCH)).to_have_count(3)
    assert ben.locator("#stability-baseline .reaction").inner_text() == before
    queries = [page.locator("#tray .tray__tile--query img").get_attribute("src") for page in (ann, ben)]
    assert queries[0] != queries[1]
    stranger = open_page()
    expect(stranger.locator("#answer-stable .answer--waiting")).to_be_visible(timeout=PATIENCE)
    expect(stranger.locator("#photo img")).to_have_count(0)


def test_a_choice_taken_back_and_a_visitor_who_leaves_hold_nobody_up(open_page, own_services, held):
    leaving, page = open_page(), open_page()
    leaving.locator(EXAMPLES).nth(0).click()
    assert held.begun.wait(PATIENCE / 1000)
    page.locator(EXAMPLES).nth(2).click()
    expect(page.locator("#answer-stable")).to_contain_text("queue: 1/1", timeout=PATIENCE)
    page.locator(EXAMPLES).nth(5).click()  # instead
    name = own_services.examples(None)[5].name
    expect(page.locator("#photo img")).to_have_attribute("src", re.compile(re.escape(quote(name))), timeout=PATIENCE)
    leaving.close()
    held.go.set()
    caption = page.locator("#strip .tile--query [data-caption]")
    expect(caption).to_have_attribute("data-caption", f"Your query. {name}", timeout=PATIENCE)
    assert shown(page, "baseline") == expected(own_services, 5, 0, "baseline")
