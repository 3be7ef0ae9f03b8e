"""The floors of app/: what may import what, and that a tab is one folder and one line."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from gradio.utils import get_upload_folder

from app.core.upload_cache import upload_folder

APP = Path(__file__).resolve().parents[2] / "app"
FORBIDDEN = {"core": ("gradio", "app.ui", "app.tabs", "app.page", "app.build"), "ui": ("app.tabs", "app.build")}


def imports(path: Path) -> set[str]:
    """Modules that a file imports anywhere."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
    return found


@pytest.mark.parametrize("floor", FORBIDDEN)
def test_nothing_imports_upwards(floor):
    for path in (APP / floor).glob("*.py"):
        wrong = [name for name in imports(path) if name.startswith(FORBIDDEN[floor])]
        assert not wrong, (path.name, wrong)


def test_services_and_records_of_tabs_know_no_gradio():
    for path in APP.glob("tabs/*/*.py"):
        if path.stem not in ("layout", "handlers"):
            assert "gradio" not in imports(path), path


def test_the_upload_folder_is_gradios(monkeypatch, tmp_path):
    assert str(upload_folder()) == get_upload_folder()
    monkeypatch.delenv("GRADIO_TEMP_DIR", raising=False)
    assert str(upload_folder()) == get_upload_folder()
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    assert str(upload_folder()) == get_upload_folder()
