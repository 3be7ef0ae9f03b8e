"""How tests are spread over processes: a file stays together, and one process drives the browser.

Two browsers at once would wait for each other's drawing; beside tests that compute, one hardly waits at all.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
UPLOADS = tempfile.mkdtemp(prefix="scicevpr-tests-")  # gradio's own folder is shared with other programs
os.environ["GRADIO_TEMP_DIR"] = UPLOADS
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
atexit.register(shutil.rmtree, UPLOADS, ignore_errors=True)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    if not config.pluginmanager.hasplugin("xdist"):
        return

    def group(item) -> str:
        place = Path(item.fspath).relative_to(HERE)
        return "ui" if place.parts[0] == "ui" else str(place)

    for item in items:
        item.add_marker(pytest.mark.xdist_group(group(item)))
    items.sort(key=lambda item: group(item) != "ui")  # the longest first
