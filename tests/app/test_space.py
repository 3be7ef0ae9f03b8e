"""The Space: its front matter."""

from __future__ import annotations

import re
from pathlib import Path

import gradio
import pytest

ROOT = Path(__file__).resolve().parents[2]
COLOURS = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}


def test_the_front_matter_is_what_a_space_reads():
    yaml = pytest.importorskip("yaml")
    said = yaml.safe_load((ROOT / "README.md").read_text(encoding="utf-8").split("---")[1])
    assert said["sdk"] == "gradio"
    assert (ROOT / said["app_file"]).is_file()
    assert {said["colorFrom"], said["colorTo"]} <= COLOURS
    assert len(said["short_description"]) <= 60
    assert re.fullmatch(r"3\.1[123]", said["python_version"])
    assert said["license"] == "mit"
    version = tuple(map(int, said["sdk_version"].split(".")))
    assert version[0] == 6
    assert version <= tuple(map(int, gradio.__version__.split(".")[:3])), "not newer than what the tests ran with"
    assert "gradio[mcp]" in (ROOT / "requirements.txt").read_text(encoding="utf-8")
