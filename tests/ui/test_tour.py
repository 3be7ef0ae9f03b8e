"""The tour and the How it works tab in a real browser, by keyboard and on a phone."""

from __future__ import annotations

import pytest

pytest.importorskip("playwright.sync_api", reason="playwright is not installed (pip install playwright)")

from page_tabs import PATIENCE, go_to_tab
from playwright.sync_api import Page, expect


def step(page: Page, number: int) -> None:
    expect(page.locator(".tour__count")).to_have_text(f"Step {number} of 7", timeout=PATIENCE)


def forward(page: Page, number: int) -> None:
    page.locator("[data-tour-next]").click()
    step(page, number)


def test_the_tour_breaks_the_baseline_with_the_visitor_and_is_remembered(open_page):
    page = open_page()
    expect(page.locator(".tour")).to_be_hidden(timeout=PATIENCE)
    invitation = page.locator(".invitation")
    expect(invitation).to_be_visible(timeout=PATIENCE)
    box, tabs = invitation.bounding_box(), page.locator("#tabs").bounding_box()
    assert box["y"] + box["height"] <= tabs["y"], "the invitation covers nothing"

    invitation.locator("[data-tour-start]").focus()
    page.keyboard.press("Enter")
    step(page, 1)
    expect(invitation).to_be_hidden(timeout=PATIENCE)
    expect(page.locator(".tour__title")).to_be_focused(timeout=PATIENCE)
    page.locator("[data-tour-do]").click()
    expect(page.locator("#answer-baseline .card[data-verdict]").first).to_be_visible(timeout=PATIENCE)
    expect(page.locator(".tour__told")).to_contain_text("Done", timeout=PATIENCE)
    forward(page, 2)
    expect(page.locator(".tour__told")).to_contain_text("CricaVPR: ", timeout=PATIENCE)
    forward(page, 3)
    page.locator("[data-tour-do]").click()
    expect(page.locator(".tour__told")).to_contain_text("14 terms add up", timeout=PATIENCE)
    forward(page, 4)
    page.locator("[data-tour-do]").click()
    expect(page.locator("#strip .tile")).to_have_count(8, timeout=PATIENCE)
    forward(page, 5)
    expect(page.locator("[data-tour-do]")).to_be_visible(timeout=PATIENCE)  # its search is tried in test_stability_tab
    forward(page, 6)
    expect(page.locator(".tour__words")).to_contain_text("The same batch", timeout=PATIENCE)
    forward(page, 7)
    expect(page.locator(".tour__words")).to_contain_text("3. A figure", timeout=PATIENCE)
    expect(page.locator("#learn-figure.tour-target")).to_be_visible(timeout=PATIENCE)
    page.locator(".tour__title").focus()
    page.keyboard.press("Escape")
    expect(page.locator(".tour")).to_be_hidden(timeout=PATIENCE)
    expect(page.locator(".tour-target")).to_have_count(0, timeout=PATIENCE)

    page.reload()
    page.wait_for_selector("#examples button.thumbnail-item", timeout=PATIENCE)
    expect(page.locator(".invitation")).to_be_hidden(timeout=PATIENCE)
    page.locator(".masthead [data-tour-start]").click()
    step(page, 1)


def test_how_it_works_by_keyboard_on_a_phone_in_the_dark(open_page):
    page = open_page(width=390, height=844, dark=True)
    go_to_tab(page, "How it works")
    figure, part = page.locator("#learn-figure"), page.locator("#learn-part")
    expect(part.locator(".part__tensors")).to_be_visible(timeout=PATIENCE)
    expect(part).to_contain_text("scicevpr/models/encoders.py", timeout=PATIENCE)
    figure.locator("[data-part=regions]").focus()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Enter")
    expect(part.locator("[data-shown=mixers]")).to_be_visible(timeout=PATIENCE)
    expect(part).to_contain_text("4×192×14×14", timeout=PATIENCE)
    expect(figure.locator("[data-part=mixers]")).to_have_attribute("aria-pressed", "true", timeout=PATIENCE)
    expect(figure.locator("[data-part=mixers]")).to_be_focused(timeout=PATIENCE)
    page.locator("#learn-family label", has_text="CricaVPR").first.click()
    expect(figure.locator("figure[data-variant=cricavpr-t]")).to_be_visible(timeout=PATIENCE)
    expect(part).to_contain_text("CricaVPR has no such part", timeout=PATIENCE)
    page.locator("#glossary-search input, #glossary-search textarea").fill("gallery")
    expect(page.locator("#glossary dt")).to_have_text(["Database"], timeout=PATIENCE)
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert page.locator(".part").evaluate("part => getComputedStyle(part).backgroundColor") == "rgb(24, 33, 45)"
