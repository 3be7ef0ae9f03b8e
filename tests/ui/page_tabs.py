"""Going to a tab as a visitor does: on a narrow page those that do not fit stand behind "…"."""

from __future__ import annotations

from playwright.sync_api import Page

PATIENCE = 120_000
"""Milliseconds to wait for anything: a busy machine is slow, not broken."""


def settled(page: Page) -> None:
    """Wait until the page has nothing left to do: the fields of a tab listen a step after they are seen."""
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestIdleCallback(() => done())))")


def go_to_tab(page: Page, name: str) -> None:
    """Open a tab by its name."""
    page.wait_for_selector("#tabs [role=tab]")
    tab = page.get_by_role("tab", name=name)
    if tab.count():
        tab.click()
        return
    page.get_by_role("button", name="More tabs").click()
    page.locator(".overflow-dropdown button", has_text=name).click()
