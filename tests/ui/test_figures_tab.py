"""The Figures tab in a real browser: draw, look, take the files home."""

from __future__ import annotations

import pytest

pytest.importorskip("playwright.sync_api", reason="playwright is not installed (pip install playwright)")

from page_tabs import PATIENCE, go_to_tab, settled
from playwright.sync_api import Page, expect


def open_tab(page: Page) -> None:
    go_to_tab(page, "Figures")
    expect(page.locator("#figures-draw")).to_be_visible(timeout=PATIENCE)
    settled(page)


def choose(page: Page, words: str) -> None:
    page.locator("#figures-figure label", has_text=words).click()


def test_a_figure_without_its_photo_says_what_to_do_and_that_of_find_becomes_a_strip_with_files(open_page):
    page = open_page(width=390, height=844, dark=True)
    open_tab(page)
    choose(page, "Retrieval strip")
    page.locator("#figures-draw").click()
    expect(page.locator(".toast-body")).to_contain_text("photo", timeout=PATIENCE)
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    go_to_tab(page, "Find")
    page.locator("#examples button.thumbnail-item").first.click()
    expect(page.locator("#answer-stable [data-verdict]")).to_have_count(5, timeout=PATIENCE)
    open_tab(page)
    expect(page.locator("#figures-photo img")).to_be_visible(timeout=PATIENCE)  # Find's
    page.locator("#figures-draw").click()
    expect(page.locator("#figures-sheet img")).to_be_visible(timeout=PATIENCE)
    assert page.locator("#figures-sheet img").evaluate("image => image.naturalWidth") > 300
    expect(page.locator("#figures-sheet")).to_contain_text("CricaVPR-T")
    expect(page.locator("#figures-files")).to_contain_text(".pdf", timeout=PATIENCE)
