"""The Benchmarks tab in a real browser: measure, look at single queries, open one in another tab, stop."""

from __future__ import annotations

import json
import re
import threading

import pytest

pytest.importorskip("playwright.sync_api", reason="playwright is not installed (pip install playwright)")

from page_tabs import PATIENCE, go_to_tab, settled
from playwright.sync_api import Page, expect

ROWS = "#benchmarks-table tr[data-model]"
CASES = "#benchmarks-queries .query"


def open_tab(page: Page) -> None:
    go_to_tab(page, "Benchmarks")
    expect(page.locator("#benchmarks-run")).to_be_visible(timeout=PATIENCE)
    expect(page.locator("#benchmarks-table")).to_contain_text("press Measure")
    settled(page)


def measure(page: Page, rows: int) -> None:
    page.locator("#benchmarks-run").click()
    expect(page.locator("#benchmarks-words")).to_contain_text(f"Done: {rows} of {rows}", timeout=PATIENCE)
    expect(page.locator(ROWS)).to_have_count(rows)
    expect(page.locator(CASES).first).to_be_visible(timeout=PATIENCE)


def choose(page: Page, dropdown: str, words: str) -> None:
    page.locator(f"{dropdown} input").click()
    page.get_by_role("option", name=words, exact=True).click()


@pytest.fixture(scope="module")
def measured(shared_page):
    """Both models measured, in a page that several tests use."""
    open_tab(shared_page)
    measure(shared_page, 2)
    return shared_page


def test_two_models_are_measured_compared_and_written(measured):
    page = measured
    first = page.locator(ROWS).first.inner_text()
    assert "SciceVPR-T" in first
    assert re.search(r"\d+\.\d to \d+\.\d", first)
    expect(page.locator("#benchmarks-curves .plotly")).to_be_visible(timeout=PATIENCE)
    expect(page.locator("#benchmarks-bars .legendtext", has_text="CricaVPR-T").first).to_be_visible(timeout=PATIENCE)
    expect(page.locator("#benchmarks-sentence")).to_contain_text("of 16")
    page.locator("#benchmarks-protocols summary").click()
    expect(page.locator("#benchmarks-protocols")).to_contain_text("sequential 16")
    with page.expect_download() as download:
        page.get_by_text("All as JSON").click()
    content = json.loads(download.value.path().read_text(encoding="utf-8"))
    recalls = [result["overall"]["recall_percent"]["1"] for result in content["results"]]
    shown = [float(row.split("\t")[1].split()[0]) for row in page.locator(ROWS).all_inner_texts()]
    assert shown == [round(value, 1) for value in recalls]
    page.locator("#benchmarks-figure").click()
    expect(page.get_by_role("tab", name="Figures")).to_have_attribute("aria-selected", "true", timeout=PATIENCE)
    expect(page.locator("#figures-results")).to_contain_text(re.compile(r"benchmark\s*\.json"), timeout=PATIENCE)
    settled(page)
    page.locator("#figures-draw").click()
    expect(page.locator("#figures-words")).to_contain_text("is ready", timeout=PATIENCE)


def test_queries_are_filtered_paged_and_opened(measured):
    page = measured
    go_to_tab(page, "Benchmarks")
    expect(page.locator("#benchmarks-count")).to_contain_text("16 of 16 queries; shown: 1 to 6.")
    page.locator("#benchmarks-after").click()
    expect(page.locator("#benchmarks-count")).to_contain_text("shown: 7 to 12.", timeout=PATIENCE)
    choose(page, "#benchmarks-condition", "fog")
    expect(page.locator("#benchmarks-count")).to_contain_text("3 of 16 queries; shown: 1 to 3.", timeout=PATIENCE)
    choose(page, "#benchmarks-show", "all models are right")
    expect(page.locator(f"{CASES} [data-verdict=wrong]")).to_have_count(0, timeout=PATIENCE)
    choose(page, "#benchmarks-condition", "all conditions")
    choose(page, "#benchmarks-show", "every query")
    choose(page, "#benchmarks-order", "order of the query list")
    expect(page.locator(CASES).first).to_have_attribute("data-row", "0", timeout=PATIENCE)
    button = page.get_by_role("button", name=re.compile("Open query 3.* in Inside"))
    button.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("tab", name="Inside")).to_have_attribute("aria-selected", "true", timeout=PATIENCE)
    expect(page.locator("#stage .map img").first).to_be_visible(timeout=PATIENCE)
    go_to_tab(page, "Benchmarks")
    page.get_by_role("button", name=re.compile("Open query 3.* in Find")).click()
    expect(page.locator("#answer-stable [data-verdict]")).to_have_count(5, timeout=PATIENCE)


def test_two_databases_stand_in_one_table_and_are_looked_at_in_turn(open_page):
    page = open_page(width=390, height=844, dark=True)
    open_tab(page)
    page.locator("#benchmarks-databases label", has_text="Village").click()
    measure(page, 4)
    expect(page.locator("#benchmarks-count")).to_contain_text("of 16 queries")
    page.locator("#benchmarks-shown label", has_text="Village").click()
    expect(page.locator("#benchmarks-count")).to_contain_text("of 3 queries", timeout=PATIENCE)
    expect(page.locator("#benchmarks-sentence")).to_contain_text("Village")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_nothing_chosen_is_said(measured):
    page = measured
    go_to_tab(page, "Benchmarks")
    page.locator("#benchmarks-databases label", has_text="Tiny city").click()
    page.locator("#benchmarks-run").click()
    expect(page.locator(".toast-body")).to_contain_text("Choose at least one database", timeout=PATIENCE)


def test_stop_ends_the_work_and_keeps_the_rows(open_page, monkeypatch):
    import app.tabs.benchmarks.service

    real, ended = app.tabs.benchmarks.service.evaluate, threading.Event()

    def endless(model, *values, progress, **named):
        if not model.variant.cross_image:
            return real(model, *values, progress=progress, **named)
        try:
            for done in range(100_000):
                progress("queries", done, 100_000)
                threading.Event().wait(0.02)
        finally:
            ended.set()

    monkeypatch.setattr(app.tabs.benchmarks.service, "evaluate", endless)
    page = open_page()
    open_tab(page)
    page.locator("#benchmarks-grouping label", has_text="shuffled").click()  # not remembered yet
    expect(page.locator("#benchmarks-seed")).to_be_visible(timeout=PATIENCE)
    page.locator("#benchmarks-run").click()
    expect(page.locator("#benchmarks-words")).to_contain_text("of 100,000 queries described", timeout=PATIENCE)
    expect(page.locator(ROWS)).to_have_count(1)
    page.locator("#benchmarks-stop").click()
    expect(page.locator("#benchmarks-words")).to_contain_text("Stopped. 1 measured", timeout=PATIENCE)
    assert ended.wait(10), "the work goes on after Stop"
    expect(page.locator(CASES).first).to_be_visible(timeout=PATIENCE)
    expect(page.locator(ROWS)).to_have_count(1)
