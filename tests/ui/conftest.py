"""The page in a real browser: the server in this process, the system's Chromium, and no way out of the machine."""

from __future__ import annotations

import os
import shutil
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "app"), str(HERE.parents[1] / "scripts")]

PATIENCE = 120_000
"""Milliseconds to wait for anything: a busy machine is slow, not broken."""


def pytest_collection_modifyitems(items):
    for item in items:
        if Path(__file__).parent in Path(item.fspath).parents:
            item.add_marker("ui")


@pytest.fixture(scope="session")
def browser():
    import chromium

    path = next(filter(None, map(shutil.which, chromium.NAMES)), None)
    if path is None:
        pytest.skip("no Chromium on this machine (apt-get install -y --no-install-recommends chromium)")
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (pip install playwright)")
    with sync_api.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=path, headless=True, args=chromium.ARGUMENTS)
        yield found
        found.close()


@pytest.fixture(scope="session")
def city_folder(tmp_path_factory):
    import standin

    return standin.write_city(tmp_path_factory.mktemp("tiny") / "city")


@pytest.fixture(scope="session")
def services(city_folder, tmp_path_factory):
    import standin

    from scicevpr.datasets import read_dataset

    second = standin.write_city(tmp_path_factory.mktemp("second") / "village", places=3)
    return standin.city_services(city_folder, Village=read_dataset(second))


@pytest.fixture(scope="session")
def address(services):
    from wire import served

    from app.build import build_app

    page = build_app(services)
    services.warm_up()
    with served(page, services) as found:
        yield found.url


@pytest.fixture(scope="session")
def used_context(browser):
    """The context of the first page of every test: it has gradio's scripts already, which a fresh one fetches anew."""
    context = browser.new_context()
    yield context
    context.close()


@pytest.fixture
def open_page(browser, used_context, address):
    """Open the page as a new visitor, as often as the test likes."""
    with visitors(browser, used_context, address) as opened:
        yield opened


@pytest.fixture(scope="module")
def shared_page(browser, address):
    """One page for the tests of a module that look at it one after the other, each from where the last one left it."""
    context = browser.new_context()
    with visitors(browser, context, address) as opened:
        yield opened()
    context.close()


@contextmanager
def visitors(browser, used_context, address):
    """A function that opens the page; at the end no request may have left the machine and no script have failed.

    The first page stands in the used context, emptied; every other one in a context of its own.
    """
    opened, contexts, outside, errors = [], [], [], []

    def context_of(page_number: int):
        if page_number == 0:
            return used_context
        contexts.append(browser.new_context())
        return contexts[-1]

    def open_one(width=1280, height=900, dark=False):
        context = context_of(len(opened))
        page = context.new_page()
        opened.append(page)
        page.set_default_timeout(PATIENCE)
        page.set_viewport_size({"width": width, "height": height})
        page.emulate_media(color_scheme="dark" if dark else "light")
        if context is used_context:
            stored = {"origin": address, "storageTypes": "cookies,local_storage,indexeddb,service_workers"}
            context.new_cdp_session(page).send("Storage.clearDataForOrigin", stored)
        page.on("request", lambda request: outside.append(request.url) if leaves(request.url, address) else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(address)
        page.wait_for_selector("#examples button.thumbnail-item", timeout=PATIENCE)
        return page

    yield open_one
    for page in opened:
        page.close()
    for context in contexts:
        context.close()
    used_context.clear_permissions()
    assert outside == [], "requests left the machine"
    assert errors == [], "the page raised errors"


def leaves(url: str, address: str) -> bool:
    return not url.startswith((address, address.replace("http", "ws"), "data:", "blob:"))
