"""Deep links in a real browser: the address follows what is chosen, opens it again, and says what is not there."""

from __future__ import annotations

from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

pytest.importorskip("playwright.sync_api", reason="playwright is not installed (pip install playwright)")

from page_tabs import PATIENCE
from playwright.sync_api import Page, expect


def words(page: Page) -> dict[str, list[str]]:
    return parse_qs(urlsplit(page.url).query)


def wait_for(page: Page, **wanted: str) -> None:
    """Wait until the address says so; "" means: not at all."""
    page.wait_for_function(
        "wanted => { const now = new URLSearchParams(location.search);"
        "return Object.entries(wanted).every(([word, value]) => (now.get(word) ?? '') === value); }",
        arg=wanted,
        timeout=PATIENCE,
    )


def follow(page: Page, address: str, **parts: object) -> None:
    page.goto(f"{address}?{urlencode(parts, doseq=True)}")


def test_the_address_follows_the_choices_and_opens_them_again(open_page, services, address):
    page = open_page()
    assert words(page) == {}
    page.locator("#examples button.thumbnail-item").nth(1).click()
    name = services.examples(None)[1].name
    wait_for(page, tab="find", query=name, database="Tiny city", k="")
    page.locator("#batch-mates label", has_text="+3").click()
    wait_for(page, batch_mates="3")
    expect(page.locator("#strip .tile")).to_have_count(4, timeout=PATIENCE)
    link, asked = page.url, []
    page.on("request", lambda request: asked.append(request.url) if "queue/join" in request.url else None)
    page.goto("about:blank")
    page.goto(link)
    expect(page.locator("#strip .tile")).to_have_count(4, timeout=PATIENCE)
    expect(page.locator("#answer-stable [data-verdict]")).to_have_count(5, timeout=PATIENCE)
    wait_for(page, query=name, batch_mates="3")
    assert page.url == link
    assert len(asked) <= 6, "two questions to restore, then a search for the photo and one for its batch"
    page.locator("#photo button[aria-label='Remove Image']").click()
    wait_for(page, query="", batch_mates="3")


def test_inside_and_stability_come_back_with_photo_step_and_batch(open_page, services, address):
    page = open_page()
    query = services.dataset("Village")[1].queries[1].name
    chosen = {"database": "Village", "query": query, "model": "baseline", "match": 2, "batch_mates": 1}
    follow(page, address, tab="inside", step="descriptor", **chosen)
    expect(page.get_by_role("tab", name="Inside")).to_have_attribute("aria-selected", "true", timeout=PATIENCE)
    expect(page.locator("#inside-examples button.thumbnail-item")).to_have_count(3, timeout=PATIENCE)
    expect(page.locator("#stage [data-view=terms]")).to_be_visible(timeout=PATIENCE)
    expect(page.locator("#stepper")).to_contain_text("2×14×192")
    wait_for(page, tab="inside", step="descriptor", database="Village", model="baseline")
    follow(page, address, tab="stability", query=services.dataset(None)[1].queries[2].name, batch_mates="9,14")
    batch = page.locator("#tray [data-zone=batch] button[data-row]")
    expect(batch).to_have_count(2, timeout=PATIENCE)
    wait_for(page, tab="stability", batch_mates="9,14", database="Tiny city")
    batch.first.click()
    wait_for(page, batch_mates="14")


def test_unknown_names_become_a_toast_and_the_page_stays_whole(open_page, address):
    page = open_page(width=390, height=844)
    toast = page.locator("[data-testid='toast-body']")
    for parts, said in (
        ({"tab": "find", "database": "Atlantis", "query": "x.jpg", "k": 3}, "not here"),
        ({"tab": "attic"}, "no tab"),
    ):
        follow(page, address, **parts)
        expect(toast.first).to_contain_text(said, timeout=PATIENCE)
        expect(page.locator("#answer-stable .answer--waiting")).to_be_visible()
        wait_for(page, database="", query="", k="")


def test_copying_says_so_and_leaves_the_address_of_this_view(open_page, address):
    page = open_page(width=390, height=844, dark=True)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=address)
    follow(page, address, tab="benchmarks", grouping="alone", __theme="dark")
    expect(page.locator("#benchmarks-run")).to_be_visible(timeout=PATIENCE)
    wait_for(page, tab="benchmarks", grouping="alone", __theme="dark")
    before = page.locator("#tabs").bounding_box()
    page.get_by_role("button", name="Copy link").click()
    expect(page.get_by_role("status").filter(has_text="Link copied")).to_be_visible()
    assert page.locator("#tabs").bounding_box() == before, "nothing moves"
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert parse_qs(urlsplit(copied).query) == {"tab": ["benchmarks"], "grouping": ["alone"]}
