"""The Stability tab in a real browser: photos dragged into a batch and out, and the bundled city's proof."""

from __future__ import annotations

import re

import pytest

pytest.importorskip("playwright.sync_api", reason="playwright is not installed (pip install playwright)")

from playwright.sync_api import Page, expect

from scicevpr.config import assets_folder

pytestmark = pytest.mark.ui

PATIENCE = 240_000
IN_BATCH = "#tray [data-zone=batch] button"
ON_OFFER = "#tray [data-zone=pool] button"


def open_tab(page: Page) -> None:
    page.get_by_role("tab", name="Stability").click()
    expect(page.locator("#stability-examples button.thumbnail-item").first).to_be_visible(timeout=PATIENCE)


def pick(page: Page, number: int = 0) -> None:
    page.locator("#stability-examples button.thumbnail-item").nth(number).click()
    expect(page.locator("#stability-baseline .reaction")).to_be_visible(timeout=PATIENCE)
    expect(page.locator(ON_OFFER).first).to_be_visible(timeout=PATIENCE)


def cosine(page: Page, side: str) -> float:
    words = page.locator(f"#stability-{side} .times").inner_text()
    return float(re.search(r"cosine to alone ([\d.]+)", words).group(1))


def test_photos_are_dragged_into_the_batch_and_out_again(open_page):
    page = open_page(height=1300)  # both zones in view: a drag that has to scroll is not tried here
    open_tab(page)
    expect(page.locator("#tray")).to_contain_text("Pick a query above")
    pick(page)
    page.locator(ON_OFFER).nth(3).drag_to(page.locator("#tray [data-zone=batch]"))
    expect(page.locator(IN_BATCH)).to_have_count(1, timeout=PATIENCE)
    expect(page.locator("#stability-baseline")).to_contain_text("In this batch", timeout=PATIENCE)
    assert cosine(page, "stable") == 1.0
    assert cosine(page, "baseline") < 1.0
    page.locator(IN_BATCH).first.drag_to(page.locator("#tray [data-zone=pool]"))
    expect(page.locator(IN_BATCH)).to_have_count(0, timeout=PATIENCE)
    expect(page.locator("#stability-baseline")).not_to_contain_text("In this batch", timeout=PATIENCE)


@pytest.fixture(scope="module")
def stability(shared_page):
    """The tab with a query, in a page that several tests use."""
    open_tab(shared_page)
    pick(shared_page)
    return shared_page


def test_photos_are_moved_with_the_keyboard(stability):
    page = stability
    page.locator(ON_OFFER).nth(1).focus()
    page.keyboard.press("Enter")
    expect(page.locator(IN_BATCH)).to_have_count(1, timeout=PATIENCE)
    page.locator("#stability-empty").focus()
    page.keyboard.press("Enter")
    expect(page.locator(IN_BATCH)).to_have_count(0, timeout=PATIENCE)


def test_random_and_worst_batch(stability):
    page = stability
    page.locator("#stability-random").click()
    expect(page.locator(IN_BATCH)).to_have_count(1, timeout=PATIENCE)
    page.locator("#stability-worst").click()
    expect(page.locator("#stability-words")).to_contain_text("Found", timeout=PATIENCE)
    expect(page.locator(IN_BATCH)).to_have_count(7, timeout=PATIENCE)
    expect(page.locator("#stability-plane-baseline .plotly").first).to_be_visible(timeout=PATIENCE)


def test_the_curve_is_measured_and_figure_1_drawn(stability):
    page = stability
    page.locator("#curve-run").click()
    expect(page.locator("#curve-words")).to_contain_text("over all settings", timeout=PATIENCE)
    expect(page.locator("#curve-words")).to_contain_text("SciceVPR-T always")
    expect(page.locator("#curve .legendtext", has_text="SciceVPR-T, any batch")).to_be_visible(timeout=PATIENCE)
    page.locator("#figure-1").click()
    expect(page.locator("#pairs .pairs__batch--two").first).to_be_visible(timeout=PATIENCE)
    images = page.locator("#pairs img")
    assert all(images.evaluate_all("images => images.map(i => i.naturalWidth > 0 && i.alt.length > 5)"))


def test_a_long_run_can_be_stopped_and_another_started(open_page):
    page = open_page()
    open_tab(page)
    page.locator("#figure-2").click()
    expect(page.locator("#curve-words")).to_contain_text("settings measured", timeout=PATIENCE)
    page.locator("#curve-stop").click()
    expect(page.locator("#curve-words")).to_contain_text("Stopped", timeout=PATIENCE)
    pick(page)  # the model is free for other questions
    expect(page.locator("#curve-words")).to_contain_text("Stopped")  # and nothing is measured any more


@pytest.mark.parametrize(("width", "dark"), [(390, True), (1280, False)])
def test_nothing_overflows(open_page, width, dark):
    page = open_page(width=width, dark=dark)
    open_tab(page)
    pick(page)
    page.locator("#stability-random").click()
    expect(page.locator("#stability-why table.matrix")).to_be_visible(timeout=PATIENCE)
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth + 1")


@pytest.fixture
def bundled_page(browser, monkeypatch):
    """The app as a visitor gets it: bundled weights and the bundled city, with every ninth of its queries."""
    if not (assets_folder() / "weights" / "scicevpr-t.safetensors").is_file():
        pytest.fail("the bundled weights are missing from assets/weights")
    from wire import served

    import app.start
    from app.build import build_app
    from scicevpr.datasets import bundled_city

    city = bundled_city()
    city = city.select_queries(range(0, len(city.queries), 9), "every ninth by path")
    monkeypatch.setattr(app.start, "bundled_city", lambda: city)
    services = app.start.make_services(app.start.read_arguments(["--no-cache"]))
    services.warm_up()
    with served(build_app(services), services) as found:
        context = browser.new_context(viewport={"width": 1280, "height": 900})
        opened = context.new_page()
        opened.set_default_timeout(PATIENCE)
        opened.goto(found.url)
        yield opened
        context.close()


def test_a_batch_flips_cricavpr_and_not_scicevpr_on_the_bundled_city(bundled_page):
    """The claim of the whole page: with trained weights, some batch changes CricaVPR's first answer only."""
    page = bundled_page
    open_tab(page)
    for number in range(8):
        pick(page, number)
        expect(page.locator(IN_BATCH)).to_have_count(0, timeout=PATIENCE)
        page.locator("#stability-worst").click()
        expect(page.locator("#stability-words")).to_contain_text("Found", timeout=PATIENCE)
        expect(page.locator(IN_BATCH)).to_have_count(7, timeout=PATIENCE)
        expect(page.locator("#stability-baseline")).to_contain_text("In this batch", timeout=PATIENCE)
        assert page.locator("#stability-stable .reaction").get_attribute("data-flip") == "same"
        assert cosine(page, "stable") == 1.0
        if page.locator("#stability-baseline .reaction").get_attribute("data-flip") == "flip":
            break
    expect(page.locator("#stability-baseline")).to_contain_text("The first answer changed")
    expect(page.locator("#stability-stable")).to_contain_text("The first answer stays the same")

    def first(side: str, when: int) -> str:
        return page.locator(f"#stability-{side} ol").nth(when).locator("img").first.get_attribute("alt")

    assert first("baseline", 0) != first("baseline", 1)
    assert first("stable", 0) == first("stable", 1)
    expect(page.locator("#notice")).not_to_contain_text("Untrained")
