"""The Find tab in a real browser: what a visitor does, and what a visitor may do wrong."""

from __future__ import annotations

import re
import shutil

import pytest

pytest.importorskip("playwright.sync_api", reason="playwright is not installed (pip install playwright)")

from playwright.sync_api import Page, expect

from scicevpr.datasets.zones import degrees_of

pytestmark = pytest.mark.ui

PATIENCE = 120_000


def pick_example(page: Page, number: int = 0) -> None:
    page.locator("#examples button.thumbnail-item").nth(number).click()
    expect(page.locator("#answer-stable .card[data-verdict]").first).to_be_visible(timeout=PATIENCE)
    expect(page.locator("#answer-baseline .card[data-verdict]").first).to_be_visible(timeout=PATIENCE)


def upload(page: Page, path) -> None:
    page.locator("#photo input[type=file]").first.set_input_files(str(path))


def cards(page: Page, side: str = "stable"):
    return page.locator(f"#answer-{side} .card[data-verdict]")


def test_the_empty_page_says_what_to_do(shared_page):
    page = shared_page
    expect(page.locator("#answer-stable")).to_contain_text("Pick a photo")
    expect(page.locator("#notice")).to_contain_text("Untrained weights")
    expect(page.locator("#examples button.thumbnail-item")).to_have_count(8)
    expect(page.locator("#map .plotly").first).to_be_visible(timeout=PATIENCE)
    assert page.locator("#answer-stable").bounding_box()["y"] == page.locator("#answer-baseline").bounding_box()["y"]


@pytest.fixture(scope="module")
def answered(shared_page):
    """An example with its answers, in a page that several tests use."""
    pick_example(shared_page)
    return shared_page


def test_an_example_fills_both_columns_with_framed_photos(answered):
    page = answered
    for side in ("stable", "baseline"):
        expect(cards(page, side)).to_have_count(5)
        verdicts = cards(page, side).evaluate_all("cards => cards.map(card => card.dataset.verdict)")
        assert set(verdicts) <= {"right", "wrong"}
        frames = page.locator(f"#answer-{side} .card .photo").evaluate_all(
            "photos => photos.map(photo => [photo.parentElement.dataset.verdict, getComputedStyle(photo).borderTopColor"
            ", getComputedStyle(photo).borderTopStyle])"
        )
        assert len({(verdict, colour) for verdict, colour, _ in frames}) == len(set(verdicts))
        assert all(style == ("solid" if verdict == "right" else "dashed") for verdict, _, style in frames)
        expect(page.locator(f"#answer-{side} .card[data-rank='1'] .card__metres")).to_have_text(re.compile(r"\d+ m"))
        images = page.locator(f"#answer-{side} .card img")
        assert all(images.evaluate_all("images => images.map(image => image.naturalWidth > 0 && image.alt.length > 9)"))
        expect(page.locator(f"#answer-{side} .verdict")).to_have_text(re.compile("rank"))
        expect(page.locator(f"#answer-{side} .times")).to_have_text(re.compile(r"\d+ ms"))
    expect(page.locator("#strip .tile")).to_have_count(1)
    expect(page.locator("#protocol")).to_contain_text("sequential 16")
    expect(page.locator("#map .legendtext", has_text="query")).to_be_visible(timeout=PATIENCE)


def test_the_batch_stands_in_the_orange_frame_and_changes_the_baseline_only(answered):
    page = answered
    values = "cards => cards.map(card => card.querySelector('.card__similarity').textContent)"
    before = {side: cards(page, side).evaluate_all(values) for side in ("stable", "baseline")}
    page.locator("#batch-mates label", has_text="+7").click()
    expect(page.locator("#strip .tile")).to_have_count(8, timeout=PATIENCE)
    expect(page.locator("#answer-baseline .times")).to_contain_text("8 photos")
    assert cards(page, "stable").evaluate_all(values) == before["stable"]
    assert cards(page, "baseline").evaluate_all(values) != before["baseline"]
    frame = page.locator("#strip .batch").evaluate("element => getComputedStyle(element).borderTopColor")
    assert frame == "rgb(232, 135, 30)"


def test_k_changes_the_number_of_cards(answered):
    page = answered
    number = page.locator("#k input[type=number]")
    number.fill("12")
    number.press("Enter")
    expect(cards(page, "stable")).to_have_count(12, timeout=PATIENCE)
    expect(cards(page, "baseline")).to_have_count(12)


def test_an_upload_with_a_position_in_its_name_is_judged(open_page, tmp_path, services):
    query = services.dataset(None)[1].queries[9]
    named = tmp_path / f"@{query.utm[0]:010.2f}@{query.utm[1]:010.2f}@.jpg"
    shutil.copy(query.path, named)
    page = open_page()
    upload(page, named)
    expect(cards(page)).to_have_count(5, timeout=PATIENCE)
    expect(page.locator("#answer-stable .card__metres")).to_have_count(5)
    assert "neutral" not in cards(page).evaluate_all("cards => cards.map(card => card.dataset.verdict)")


def test_an_upload_without_position_is_neutral_until_one_is_entered(open_page, tmp_path, services):
    query = services.dataset(None)[1].queries[9]
    plain = tmp_path / "holiday photo.jpg"
    shutil.copy(query.path, plain)
    page = open_page()
    upload(page, plain)
    expect(page.locator("#answer-stable .card[data-verdict='neutral']")).to_have_count(5, timeout=PATIENCE)
    expect(page.locator("#answer-stable .verdict")).to_contain_text("Position unknown")
    expect(page.locator("#place")).to_contain_text("is not known")
    page.locator("#position button").first.click()
    field = page.locator("#where input, #where textarea")
    expect(field).to_have_value("")
    page.locator("#go").click()  # opening the field enters nothing
    expect(page.locator("#answer-stable [data-verdict='neutral']")).to_have_count(5, timeout=PATIENCE)
    latitude, longitude = degrees_of(query)
    field.fill(f"{latitude:.6f}, {longitude:.6f}")
    field.press("Enter")
    expect(page.locator("#answer-stable .card[data-verdict='neutral']")).to_have_count(0, timeout=PATIENCE)
    expect(page.locator("#answer-stable .card__metres")).to_have_count(5)
    field.fill("-33.9, 151.2")
    field.press("Enter")
    expect(page.locator("#place")).to_contain_text("outside this database's area", timeout=PATIENCE)
    expect(page.locator("#answer-stable .card[data-verdict='neutral']")).to_have_count(5, timeout=PATIENCE)


@pytest.mark.parametrize(("number", "kind"), [(1, "text"), (2, "cut"), (3, "empty")])
def test_junk_becomes_a_toast_and_leaves_no_old_answer(answered, tmp_path, services, number, kind):
    whole = services.dataset(None)[1].queries[0].path.read_bytes()
    junk = tmp_path / f"{kind}.jpg"
    junk.write_bytes({"text": b"dear reader", "cut": whole[: len(whole) // 2], "empty": b""}[kind])
    page = answered
    pick_example(page, number)
    page.locator("#photo button[aria-label='Remove Image']").click()
    expect(page.locator("#answer-stable .answer--waiting")).to_be_visible(timeout=PATIENCE)
    upload(page, junk)
    toast = page.locator("[data-testid='toast-body']", has_text=f"{kind}.jpg").first
    expect(toast).to_be_visible(timeout=PATIENCE)
    expect(page.locator("#answer-stable .answer--waiting")).to_be_visible()


def test_searching_without_a_photo_is_a_toast(open_page):
    page = open_page()
    page.locator("#go").click()
    expect(page.locator("[data-testid='toast-body']").first).to_contain_text("no photo yet", timeout=PATIENCE)


def test_another_database_brings_its_own_examples(open_page):
    page = open_page()
    pick_example(page)
    page.locator("#database input").click()
    page.get_by_role("option", name="Village").click()
    expect(page.locator("#examples button.thumbnail-item")).to_have_count(3, timeout=PATIENCE)
    expect(page.locator("#answer-stable .answer--waiting")).to_be_visible()
    pick_example(page, 2)
    expect(page.locator("#protocol")).to_contain_text("Village")


def test_a_photo_opens_large_by_keyboard_and_closes_with_escape(answered):
    page = answered
    pick_example(page, 4)
    page.locator("#answer-baseline .card[data-rank='2'] button.photo").focus()
    page.keyboard.press("Enter")
    dialog = page.locator("dialog.lightbox")
    expect(dialog).to_be_visible()
    expect(dialog.locator("figcaption")).to_contain_text("rank 2")
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()


def test_a_phone_stacks_the_columns_and_never_scrolls_sideways(open_page):
    page = open_page(width=390, height=844)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    pick_example(page)
    page.wait_for_function(  # the answer comes into view
        "() => { const { top } = document.querySelector('#place').getBoundingClientRect();"
        " return top >= 0 && top < 0.75 * window.innerHeight; }"
    )
    page.locator("#batch-mates label", has_text="+15").click()
    expect(page.locator("#strip .tile")).to_have_count(16, timeout=PATIENCE)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    stable, baseline = (page.locator(f"#answer-{side} .answer").bounding_box() for side in ("stable", "baseline"))
    assert baseline["y"] >= stable["y"] + stable["height"]


def test_three_columns_fit_on_a_phone(open_page):
    page = open_page(width=390, height=844)
    pick_example(page)
    page.evaluate(  # a third model, as the server would show it
        "() => { const third = document.querySelector('#answer-baseline').cloneNode(true); third.id = 'third';"
        "document.querySelector('#answers').append(third); }"
    )
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_a_match_opens_beside_the_query_with_next_wipe_and_why(open_page):
    page = open_page()
    pick_example(page, 2)
    expect(page.locator("#place")).to_contain_text("Most likely here", timeout=PATIENCE)
    page.locator("#batch-mates label", has_text="+3").click()
    expect(page.locator("#strip .tile")).to_have_count(4, timeout=PATIENCE)
    page.locator("#answer-baseline .card[data-rank='1'] [data-enlarge]").click()
    dialog = page.locator("dialog.lightbox")
    expect(dialog.locator("[data-part=query]")).to_be_visible()
    expect(dialog.locator("[data-part=previous]")).to_be_disabled()
    page.keyboard.press("ArrowRight")
    expect(dialog.locator("figcaption")).to_contain_text("rank 2")
    dialog.locator("input[type=range]").fill("40")
    expect(page.locator("dialog.lightbox--wiped")).to_be_visible()
    dialog.locator("[data-part=why]").click()
    expect(page.locator("#stage [data-view]")).to_be_visible(timeout=PATIENCE)
    expect(page.locator("#inside-model").get_by_role("radio", name="CricaVPR", exact=True)).to_be_checked()
    expect(page.locator("#inside-rank input")).to_have_value("rank 2")
    expect(page.locator("#inside-batch-mates input[value='3']")).to_be_checked()
    expect(page.locator("#stage figcaption").last).to_contain_text("match, rank 2", timeout=PATIENCE)
    page.get_by_role("tab", name="Stability").click()
    expect(page.locator("#tray [data-zone=batch] button[data-row]")).to_have_count(3, timeout=PATIENCE)


def test_the_marked_example_is_the_one_that_is_shown(open_page, tmp_path, services):
    page = open_page()
    pick_example(page, 3)
    chosen = page.locator("#examples button.thumbnail-item.selected")
    expect(chosen).to_have_count(1, timeout=PATIENCE)
    own = tmp_path / "my own.jpg"
    shutil.copy(services.dataset(None)[1].queries[9].path, own)
    page.locator("#photo button[aria-label='Remove Image']").click()
    expect(chosen).to_have_count(0, timeout=PATIENCE)
    upload(page, own)
    expect(page.locator("#answer-stable .card[data-verdict='neutral']")).to_have_count(5, timeout=PATIENCE)
    expect(chosen).to_have_count(0)


def test_dark_mode_is_dark_and_readable(open_page):
    page = open_page(dark=True)
    pick_example(page)
    paint = "element => getComputedStyle(element).{}.match(/[0-9.]+/g).slice(0, 3).map(Number)"
    ground = page.locator("#answer-stable .answer").evaluate(paint.format("backgroundColor"))
    text = page.locator("#answer-stable .card__similarity").first.evaluate(paint.format("color"))
    assert max(ground) < 80
    assert min(text) > 180
    assert page.locator("#map .main-svg").first.evaluate("svg => svg.style.background") in (
        "",
        "rgba(0, 0, 0, 0)",
        "rgba(0, 0, 0, 0) none repeat scroll 0% 0%",
    )


def test_the_map_clips_its_points_whatever_the_address_became(open_page):
    page = open_page()
    pick_example(page, 1)
    page.wait_for_function("location.search.includes('query')")
    page.wait_for_function(
        "() => { const clipped = [...document.querySelectorAll('#map .scatterlayer')]"
        ".map((layer) => layer.closest('[clip-path]') ?? layer.querySelector('[clip-path]'));"
        " const here = (node) => node?.getAttribute('clip-path')?.replace(/['\"]/g, '').startsWith('url(#');"
        " return clipped.length && clipped.every(here); }",
        timeout=PATIENCE,
    )
