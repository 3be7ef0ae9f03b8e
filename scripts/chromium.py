"""The system's Chromium for pictures and measurements of the page: found by name, and kept from the internet."""

from __future__ import annotations

import shutil

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
)
HOW_TO_GET = "No Chromium found: apt-get install -y --no-install-recommends chromium"


def launch(playwright):
    """Start it, without a window. Raises FileNotFoundError where there is none."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        raise FileNotFoundError(HOW_TO_GET)
    return playwright.chromium.launch(executable_path=path, headless=True, args=list(ARGUMENTS))
