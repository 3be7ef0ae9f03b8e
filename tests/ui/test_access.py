"""axe-core on every tab, light and dark, with results on them: nothing that our theme or code can mend."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

pytest.importorskip("playwright.sync_api", reason="playwright is not installed (pip install playwright)")

from page_tabs import go_to_tab
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.ui

PATIENCE = 120_000
TABS = (
    "Find", "Inside", "Stability", "Benchmarks", "Figures", "My places", "Training", "Models & data", "How it works",
)  # fmt: skip
AT_REST = "![...document.querySelectorAll('.progress-text, .pending')].some(one => one.getClientRects().length)"
KNOWN = Path(__file__).with_name("axe_known.txt")
"""What is gradio's or plotly's and cannot be reached: a rule and a selector a line, with the reason behind #."""


@pytest.fixture(scope="module")
def axe() -> str:
    """axe-core's script."""
    found = find_spec("axe_playwright_python")
    if found is None or not found.submodule_search_locations:
        pytest.skip("axe-core is not installed (pip install axe-playwright-python)")
    return (Path(found.submodule_search_locations[0]) / "axe.min.js").read_text(encoding="utf-8")


def known() -> list[tuple[str, str]]:
    """(rule, selector) of what is left to others."""
    lines = [line.split("#  ")[0].strip() for line in KNOWN.read_text(encoding="utf-8").splitlines()]
    return [tuple(line.split(" ", 1)) for line in lines if line]


def violations(page: Page) -> list[str]:
    """Rule, node and reason of every violation that is not known."""
    found = page.evaluate(
        """async known => {
          const result = await axe.run(document, { resultTypes: ["violations"] });
          const ours = (rule, node) => !known.some(([name, selector]) => name === rule && node?.closest(selector));
          return result.violations.flatMap(({ id, nodes }) => nodes
            .filter(({ target }) => ours(id, document.querySelector(target[target.length - 1])))
            .map(({ html, any }) => `${id}: ${html.slice(0, 120)} ${any[0]?.message ?? ""}`));
        }""",
        known(),
    )
    return list(found)


@pytest.mark.parametrize("dark", [False, True])
def test_no_tab_violates_a_rule_of_axe(open_page, axe, dark):
    page = open_page(dark=dark)
    page.locator("#examples button.thumbnail-item").first.click()
    expect(page.locator("#answer-baseline .card[data-verdict]").first).to_be_visible(timeout=PATIENCE)
    page.evaluate(axe)
    results = {"Inside": "#stage [data-view]", "Stability": "#stability-baseline .reaction"}
    found: list[str] = []
    for tab in TABS:
        go_to_tab(page, tab)
        if tab in results:
            expect(page.locator(results[tab]).first).to_be_visible(timeout=PATIENCE)
        page.wait_for_function(AT_REST)
        page.wait_for_timeout(800)  # colours fade in; axe measures what is there
        found += [f"{tab}: {line}" for line in violations(page)]
    assert not found, "\n".join(found)
