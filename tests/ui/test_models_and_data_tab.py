"""The Models & data tab in a real browser: another model, a pack, a mistake, and a server that is locked."""

from __future__ import annotations

import pytest

pytest.importorskip("playwright.sync_api", reason="playwright is not installed (pip install playwright)")

from page_tabs import PATIENCE, go_to_tab, settled
from playwright.sync_api import Page, expect


@pytest.fixture(scope="module")
def pack(city_folder, tmp_path_factory):
    import standin

    from scicevpr.datasets import read_dataset
    from scicevpr.packs.build import build_pack

    models = [standin.recorded(name) for name in ("scicevpr-t", "cricavpr-t")]
    folder = tmp_path_factory.mktemp("packs") / "town"
    return build_pack(folder, read_dataset(city_folder), models, title="Packed town", thumbnails=200).folder


@pytest.fixture(scope="module")
def address(city_folder):
    """A page of its own, whose models and databases may be changed."""
    import standin
    from wire import served

    from app.build import build_app
    from app.tabs.models_and_data.service import Sources

    services = standin.recorded_services(city_folder)
    page = build_app(services, Sources(services, standin.load_recorded))
    services.warm_up()
    with served(page, services) as found:
        yield found.url


def load(page: Page, source: str) -> None:
    go_to_tab(page, "Models & data")
    field = page.locator("#load-from input, #load-from textarea")
    expect(field).to_be_visible(timeout=PATIENCE)
    settled(page)
    field.fill(source)
    field.blur()
    page.locator("#load-go").click()


def test_a_third_column_comes_and_goes(shared_page):
    page = shared_page
    expect(page.locator("#answer-third")).to_have_count(0)
    load(page, "super-cricavpr-t")
    expect(page.locator("#source-words")).to_contain_text("Super-CricaVPR-T is loaded", timeout=PATIENCE)
    expect(page.locator("#models-table")).to_contain_text("A third column")
    go_to_tab(page, "Find")
    page.locator("#examples button.thumbnail-item").nth(1).click()
    expect(page.locator("#answer-third [data-verdict]")).to_have_count(5, timeout=PATIENCE)
    expect(page.locator("#protocol")).to_contain_text("Super-CricaVPR-T")
    go_to_tab(page, "Models & data")
    page.locator("#load-reset").click()
    expect(page.locator("#models-table")).not_to_contain_text("A third column", timeout=PATIENCE)
    go_to_tab(page, "Find")
    expect(page.locator("#answer-third")).to_have_count(0, timeout=PATIENCE)
    expect(page.locator("#answer-stable [data-verdict]")).to_have_count(5, timeout=PATIENCE)


def test_a_source_that_is_not_there_is_said_and_nothing_changes(shared_page):
    page = shared_page
    load(page, "nothing")
    expect(page.locator(".toast-body")).to_contain_text("There is nothing there", timeout=PATIENCE)
    expect(page.locator("#models-table")).to_contain_text("hash-scicevpr-t")


def test_a_pack_can_be_searched(shared_page, pack):
    page = shared_page
    go_to_tab(page, "Models & data")
    field = page.locator("#pack-from input, #pack-from textarea")
    expect(field).to_be_visible(timeout=PATIENCE)
    settled(page)
    field.fill(str(pack))
    field.blur()
    page.locator("#pack-go").click()
    expect(page.locator("#source-words")).to_contain_text("Packed town is open", timeout=PATIENCE)
    expect(page.locator("#databases-table")).to_contain_text("Packed town")
    go_to_tab(page, "Find")
    expect(page.locator("#database input")).to_have_value("Packed town", timeout=PATIENCE)
    page.locator("#examples button.thumbnail-item").first.click()
    expect(page.locator("#answer-stable [data-verdict]")).to_have_count(5, timeout=PATIENCE)
    expect(page.locator("#protocol")).to_contain_text("opened pack")
    widths = page.locator("#answer-stable img").evaluate_all("images => images.map(i => i.naturalWidth)")
    assert all(width > 50 for width in widths)


def test_nothing_overflows_on_a_phone(shared_page):
    page = shared_page
    page.set_viewport_size({"width": 390, "height": 844})
    go_to_tab(page, "Models & data")
    expect(page.locator("#models-table table")).to_be_visible(timeout=PATIENCE)
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
