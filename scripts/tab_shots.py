"""The tabs as scripts/screenshot photographs them: one line a tab, and what a visitor does in it before the picture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PHOTOS = ROOT / "assets" / "procity" / "images" / "test" / "database"
PATIENCE_MS = 900_000
LOOKS = {"light": (1280, "light"), "dark": (1280, "dark"), "phone": (390, "light")}
"""Width of the window and colour scheme of every picture of a tab."""
Use = Callable[[Any, "Wish"], None]


@dataclass(frozen=True)
class Wish:
    """What to show. example: which example query, from 1; batch_mates: other photos in the baseline's batch in Find."""

    example: int = 1
    batch_mates: int = 7


@dataclass(frozen=True)
class TabShot:
    """One tab. key: its name in files and on the command line; title: on the page; sentence: what the picture shows.

    readme: its file in assets/, where the README shows it.
    """

    key: str
    title: str
    sentence: str
    use: Use
    readme: str = ""


def pressed(button: str, words: str, said: str, then: str = "") -> Use:
    """Press a button, wait until an element says something, and until another one is there."""

    def use(page: Any, wish: Wish) -> None:
        page.locator(button).click()
        says(page, words, said)
        if then:
            page.wait_for_selector(then)

    return use


def says(page: Any, element: str, words: str) -> None:
    """Wait until an element contains these words."""
    from playwright.sync_api import expect

    expect(page.locator(element)).to_contain_text(words, timeout=PATIENCE_MS)


def find(page: Any, wish: Wish) -> None:
    """Pick the example, put other photos into the batch."""
    from playwright.sync_api import expect

    page.locator("#examples button.thumbnail-item").nth(wish.example - 1).click()
    expect(page.locator("#answer-baseline .card[data-verdict]").first).to_be_visible(timeout=PATIENCE_MS)
    if wish.batch_mates:
        page.locator("#batch-mates label", has_text=f"+{wish.batch_mates}").first.click()
        expect(page.locator("#strip .tile")).to_have_count(wish.batch_mates + 1, timeout=PATIENCE_MS)
    expect(page.locator("#map .legendtext", has_text="query")).to_be_visible(timeout=PATIENCE_MS)


def inside(page: Any, wish: Wish) -> None:
    """Pick the example, go to the last step: the similarity region by region."""
    page.locator("#inside-examples button.thumbnail-item").nth(wish.example - 1).click()
    page.wait_for_selector("#stage .map img")
    page.locator("#stepper label", has_text="Descriptor").click()
    page.wait_for_selector("#stage [data-view=terms]")
    page.wait_for_selector("#inside-plot .plotly")


def stability(page: Any, wish: Wish) -> None:
    """Pick the second example, whose answer a batch flips, search the worst batch, measure the curve."""
    page.locator("#stability-examples button.thumbnail-item").nth(max(wish.example, 2) - 1).click()
    page.wait_for_selector("#stability-baseline .reaction")
    pressed("#stability-worst", "#stability-words", "Found")(page, wish)
    says(page, "#stability-baseline", "In this batch")
    pressed("#curve-run", "#curve-words", "over all settings", "#curve .plotly")(page, wish)


def figures(page: Any, wish: Wish) -> None:
    """Draw the retrieval strip of the example."""
    page.locator("#figures-examples button.thumbnail-item").nth(wish.example - 1).click()
    page.wait_for_selector("#figures-photo img")
    page.locator("#figures-draw").click()
    page.wait_for_selector("#figures-sheet img")
    says(page, "#figures-files", ".pdf")


def places(page: Any, wish: Wish) -> None:
    """Make a database of some photos of the bundled city."""
    files = sorted(PHOTOS.iterdir())[:12]
    page.locator("#mine-files input[type=file]").set_input_files([str(file) for file in files])
    page.wait_for_selector("#mine-files .file-preview")
    pressed("#mine-go", "#mine-words", "can be searched", "#mine-listed tbody tr")(page, wish)


def learn(page: Any, wish: Wish) -> None:
    """Look at the fusion in the figure."""
    says(page, "#learn-part", "×")
    page.locator("#learn-figure [data-part=fusion]").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("#learn-figure [data-part=fusion][aria-pressed=true]")


def sources(page: Any, wish: Wish) -> None:
    """Load the teacher as a third model."""
    page.locator("#load-from input, #load-from textarea").fill("super-cricavpr-t")
    pressed("#load-go", "#source-words", "is loaded")(page, wish)


TABS = (
    TabShot("find", "Find", "A query with seven others in its batch, and where both models place it.", find,
            "screenshot.png"),
    TabShot("inside", "Inside", "The similarity to a match as a sum over 14 regions.", inside, "inside.png"),
    TabShot("stability", "Stability", "The batch that changes CricaVPR's answer most; Recall@1 against batch size.",
            stability, "stability.png"),
    TabShot("benchmarks", "Benchmarks", "Two models on the bundled city, and every query behind the numbers.",
            pressed("#benchmarks-run", "#benchmarks-words", "Done", "#benchmarks-queries .query")),
    TabShot("figures", "Figures", "A retrieval strip for a paper, and its files.", figures),
    TabShot("my_places", "My places", "Twelve photos made searchable for this visitor alone.", places),
    TabShot("training", "Training", "A student distilled here and now from the teacher, epoch by epoch.",
            pressed("#train-run", "#train-words", "Done: ", "#train-recall .plotly")),
    TabShot("how_it_works", "How it works", "The models part by part with their tensors, and the glossary.", learn),
    TabShot("models_and_data", "Models & data", "What is loaded; the teacher stands in the third column.", sources),
)  # fmt: skip
"""Models & data changes what other tabs offer, so it comes last."""


def go_to(page: Any, title: str) -> None:
    """Open a tab; on a narrow page those that do not fit stand behind "…"."""
    tab = page.get_by_role("tab", name=title, exact=True)
    if tab.count():
        tab.click()
    else:
        page.get_by_role("button", name="More tabs").click()
        page.locator(".overflow-dropdown button", has_text=title).click()
    page.wait_for_timeout(800)  # a tab's fields listen a moment after they are seen


def gallery() -> str:
    """docs/screens.md: every tab with its three pictures."""
    lines = ["# All tabs", "", "Made by `scripts/screenshot --all`, with the bundled city and weights.", ""]
    for tab in TABS:
        lines += [f"## {tab.title}", "", tab.sentence, "", "| light | dark | 390 pixels wide |", "| --- | --- | --- |"]
        cells = [f"![{tab.title}, {look}](screens/{tab.key}-{look}.jpg)" for look in LOOKS]
        lines += [f"| {' | '.join(cells)} |", ""]
    return "\n".join(lines[:-1]) + "\n"
