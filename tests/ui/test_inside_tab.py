"""The Inside tab in a real browser: walking through the model with mouse and keyboard."""

from __future__ import annotations

import re

import pytest

pytest.importorskip("playwright.sync_api", reason="playwright is not installed (pip install playwright)")

from playwright.sync_api import Page, expect

pytestmark = pytest.mark.ui

PATIENCE = 120_000


def open_tab(page: Page, name: str = "Inside") -> None:
    page.get_by_role("tab", name=name).click()
    expect(page.locator("#inside-examples button.thumbnail-item").first).to_be_visible(timeout=PATIENCE)


def pick(page: Page, number: int = 0) -> None:
    page.locator("#inside-examples button.thumbnail-item").nth(number).click()
    expect(page.locator("#stage .map img").first).to_be_visible(timeout=PATIENCE)


def step(page: Page, name: str) -> None:
    page.locator("#stepper label", has_text=name).click()
    expect(page.locator(f"#stage [data-step={name.lower()}]")).to_be_visible(timeout=PATIENCE)


@pytest.fixture(scope="module")
def inside(shared_page):
    """The tab with a photo, in a page that several tests use."""
    open_tab(shared_page)
    pick(shared_page)
    return shared_page


def test_walk_through_the_model(open_page):
    page = open_page()
    open_tab(page)
    expect(page.locator("#stage")).to_contain_text("Pick a photo above")
    pick(page)
    expect(page.locator("#stepper label")).to_have_count(7)
    expect(page.locator("#stepper")).to_contain_text("1×197×192")
    for name in ("Input", "Layers", "Fusion", "Mixers", "Regions", "Descriptor"):
        step(page, name)
        images = page.locator("#stage .map img")
        assert images.count() >= 2
        assert all(images.evaluate_all("images => images.map(i => i.naturalWidth > 0 && i.alt.length > 5)"))
        page.locator("#stage summary").click()
        expect(page.locator("#stage .formula")).to_be_visible()
    expect(page.locator("#stage")).to_contain_text("add up to")
    step(page, "Encoder")
    expect(page.locator("#stage")).to_contain_text("cannot depend on the batch")


def test_hover_click_and_arrow_keys_on_a_map(inside):
    page = inside
    step(page, "Mixers")
    first = page.locator("#stage .map__picture").first
    first.hover(position={"x": 5, "y": 5})
    expect(first.locator(".map__value")).to_have_text(re.compile(r"row 1, column 1: \d"))
    first.click(position={"x": 5, "y": 5})
    expect(page.locator("#stage .map__picture[data-row='0'][data-column='0']").first).to_be_visible(timeout=PATIENCE)
    expect(page.locator("#cell-r input[type=number]")).to_have_value("1", timeout=PATIENCE)
    first = page.locator("#stage .map__picture").first
    first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    expect(page.locator("#cell-c input[type=number]")).to_have_value("2", timeout=PATIENCE)
    expect(page.locator("#cell-r input[type=number]")).to_have_value("2", timeout=PATIENCE)


def test_the_stepper_answers_the_keyboard(inside):
    page = inside
    expect(page.locator("#stepper")).to_contain_text("1×197×192")  # the labels have got their shapes
    page.locator("#stepper input").nth(1).focus()
    for name in ("fusion", "mixers"):  # the focus must stay where it is when the answer comes
        page.keyboard.press("ArrowRight")
        expect(page.locator(f"#stage [data-step={name}]")).to_be_visible(timeout=PATIENCE)


def test_cross_image_attention_shows_the_batch_on_both_axes(inside):
    page = inside
    page.locator("#inside-model").get_by_role("radio", name="CricaVPR", exact=True).click()
    step(page, "Encoder")
    table = page.locator("#stage table.matrix")
    expect(table).to_be_visible(timeout=PATIENCE)
    expect(table.locator("tbody tr")).to_have_count(4)
    expect(table.locator("thead img")).to_have_count(4)
    expect(page.locator("#attention-row")).to_be_visible()
    numbers = [float(text) for text in table.locator("tbody tr").first.locator("td").all_inner_texts()]
    assert sum(numbers) == pytest.approx(1, abs=0.003)
    step(page, "Mixers")
    expect(page.locator("#stage")).to_contain_text("nothing to see")


def test_the_photo_of_the_find_tab_is_taken_over(open_page):
    page = open_page()
    page.locator("#examples button.thumbnail-item").nth(2).click()
    expect(page.locator("#answer-stable .card[data-verdict]").first).to_be_visible(timeout=PATIENCE)
    page.get_by_role("tab", name="Inside").click()
    expect(page.locator("#stage .map img").first).to_be_visible(timeout=PATIENCE)


@pytest.mark.parametrize(("width", "dark"), [(390, False), (1280, True)])
def test_nothing_overflows(open_page, width, dark):
    page = open_page(width=width, dark=dark)
    open_tab(page)
    pick(page)
    for name in ("Layers", "Descriptor"):
        step(page, name)
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth + 1")
    page.locator("#inside-model").get_by_role("radio", name="CricaVPR", exact=True).click()
    step(page, "Encoder")
    expect(page.locator("#stage table.matrix")).to_be_visible(timeout=PATIENCE)
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth + 1")
