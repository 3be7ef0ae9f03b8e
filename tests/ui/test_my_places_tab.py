"""The My places tab in a real browser: two visitors at once, mistakes, and nothing left after the page is closed."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest

pytest.importorskip("playwright.sync_api", reason="playwright is not installed (pip install playwright)")

from page_tabs import PATIENCE, go_to_tab, settled
from playwright.sync_api import Page, expect


@pytest.fixture(scope="module")
def mine(city_folder):
    import standin

    from app.tabs.my_places.service import MyPlaces
    from scicevpr.datasets.intake import Limits

    return MyPlaces(standin.recorded_services(city_folder), Limits(photos=12))


@pytest.fixture(scope="module")
def uploads(tmp_path_factory):
    """Where this page's uploads go."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(tmp_path_factory.mktemp("uploads")))
        yield


@pytest.fixture(scope="module")
def address(mine, uploads):
    """The whole page over these places."""
    from wire import served

    from app.build import build_app

    with served(build_app(mine.services, mine=mine), mine.services) as found:
        yield found.url


@pytest.fixture(scope="module")
def photos(city_folder, tmp_path_factory):
    """Files on the visitor's machine."""
    folder = tmp_path_factory.mktemp("visitor")
    found = sorted((city_folder / "images" / "test" / "database").iterdir())[:14]
    return [shutil.copy(path, folder / path.name) for path in found]


def uploaded() -> set[str]:
    """Names of the files that gradio keeps of what was uploaded."""
    from gradio.utils import get_upload_folder

    return {path.name for path in Path(get_upload_folder()).rglob("*") if path.is_file()}


def choose(page: Page, files: list) -> None:
    go_to_tab(page, "My places")
    expect(page.locator("#mine-go")).to_be_visible(timeout=PATIENCE)
    settled(page)
    page.locator("#mine-files input[type=file]").set_input_files([str(file) for file in files])
    expect(page.locator("#mine-files .file-preview")).to_be_visible(timeout=PATIENCE)
    page.locator("#mine-go").click()


def offered(page: Page) -> list[str]:
    go_to_tab(page, "Find")
    page.locator("#database input").click()
    expect(page.get_by_role("option").first).to_be_visible(timeout=PATIENCE)
    names = [option.inner_text().strip() for option in page.get_by_role("option").all()]
    page.keyboard.press("Escape")
    return names


def test_two_visitors_bring_places_search_them_and_see_only_their_own(open_page, photos, mine):
    ann, ben = open_page(), open_page()
    copy = shutil.copy(photos[7], photos[7].with_name("copy.jpg"))
    choose(ann, photos[:7])
    choose(ben, [*photos[7:12], copy])
    for page in (ann, ben):
        expect(page.locator("#mine-words")).to_contain_text("can be searched", timeout=PATIENCE)
    expect(ann.locator("#mine-listed tbody tr")).to_have_count(7)
    expect(ben.locator("#mine-listed")).to_contain_text("the same photo as")
    assert photos[0].name not in ben.locator("#mine-listed").inner_text()
    ann.locator("#mine-find").click()
    expect(ann.locator("#database input")).to_have_value("My places (only you)", timeout=PATIENCE)
    ann.locator("#examples button.thumbnail-item").first.click()
    expect(ann.locator("#answer-stable [data-verdict]")).to_have_count(5, timeout=PATIENCE)
    expect(ann.locator("#protocol")).to_contain_text("My places, uploaded, 6 photos")
    for page in (ann, ben):
        assert sum("only you" in name for name in offered(page)) == 1
    with ann.expect_download() as download:
        go_to_tab(ann, "My places")
        ann.locator("#mine-archive").click()
    assert download.value.suggested_filename == "my-places.zip"
    go_to_tab(ann, "Benchmarks")
    ann.locator("#benchmarks-databases label", has_text="My places (only you)").click()
    ann.locator("#benchmarks-databases label", has_text="Tiny city").click()
    ann.locator("#benchmarks-run").click()
    expect(ann.locator("#benchmarks-words")).to_contain_text("Done: 2 of 2", timeout=PATIENCE)
    expect(ann.locator("#benchmarks-count")).to_contain_text("1 of 1 queries", timeout=PATIENCE)
    assert "mine-" not in ann.locator("#tab-benchmarks").inner_text()
    stranger = open_page()
    go_to_tab(stranger, "Benchmarks")
    expect(stranger.locator("#benchmarks-databases")).to_contain_text("Tiny city", timeout=PATIENCE)
    assert "only you" not in stranger.locator("#benchmarks-databases").inner_text()
    assert not any("only you" in name for name in offered(stranger))
    assert len(list(mine.root.iterdir())) == 2
    names = {path.name for path in photos[:12]}
    assert names <= uploaded()
    for page in (ann, ben):
        page.close()
    end = time.monotonic() + 60
    while list(mine.root.iterdir()) and time.monotonic() < end:
        stranger.wait_for_timeout(50)
    assert list(mine.root.iterdir()) == []
    assert uploaded().isdisjoint(names)


def test_mistakes_are_said_and_what_was_chosen_stays(open_page, photos, tmp_path):
    page = open_page()
    choose(page, photos)
    expect(page.locator(".toast-body")).to_contain_text("These are 14 photos; at most 12", timeout=PATIENCE)
    expect(page.locator("#mine-files")).to_contain_text(".jpg")
    page.reload()
    page.wait_for_selector("#examples button.thumbnail-item", timeout=PATIENCE)
    (tmp_path / "town.zip").write_text("no zip")
    choose(page, [tmp_path / "town.zip"])
    expect(page.locator(".toast-body")).to_contain_text("town.zip is not a readable zip", timeout=PATIENCE)
    expect(page.locator("#mine-words")).to_contain_text("Nothing here yet")


def test_places_can_be_removed_at_once_on_a_phone(open_page, photos, mine):
    page = open_page(width=390, height=844)
    others = set(mine.root.iterdir())  # pages closed a step ago may still be leaving
    choose(page, photos[:3])
    expect(page.locator("#mine-words")).to_contain_text("can be searched", timeout=PATIENCE)
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    page.locator("#mine-remove").click()
    page.locator("#mine-no").click()
    expect(page.locator("#mine-sure")).to_be_hidden(timeout=PATIENCE)
    expect(page.locator("#mine-words")).to_contain_text("can be searched")
    page.locator("#mine-remove").click()
    page.locator("#mine-yes").click()
    expect(page.locator("#mine-words")).to_contain_text("Nothing here yet", timeout=PATIENCE)
    expect(page.locator("#mine-listed tbody tr")).to_have_count(0)
    expect(page.locator("#mine-files .file-preview")).to_have_count(0)
    expect(page.locator("#mine-find")).to_be_disabled()
    assert set(mine.root.iterdir()) <= others
    go_to_tab(page, "Find")
    expect(page.locator("#database input")).to_have_value("Tiny city", timeout=PATIENCE)
