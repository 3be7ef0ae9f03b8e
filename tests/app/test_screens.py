"""The pictures of the tabs (scripts/screenshot --all): none is missing, none is left over from a tab that is gone."""

from __future__ import annotations

import sys
from pathlib import Path

import gradio as gr

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

from tab_shots import LOOKS, TABS, gallery

from app.build import build_app

ROOT = Path(__file__).resolve().parents[2]
SCREENS = ROOT / "docs" / "screens"


def test_every_tab_of_the_page_is_photographed(services):
    page = build_app(services)
    titles = {block.label for block in page.blocks.values() if isinstance(block, gr.Tab)}
    assert {tab.title for tab in TABS} == titles, "a tab is one line in scripts/tab_shots.py"


def test_the_pictures_are_there_and_shown():
    names = {f"{tab.key}-{look}.jpg" for tab in TABS for look in LOOKS}
    assert {path.name for path in SCREENS.iterdir()} == names, "run scripts/screenshot --all"
    assert (ROOT / "docs" / "screens.md").read_text(encoding="utf-8") == gallery()
