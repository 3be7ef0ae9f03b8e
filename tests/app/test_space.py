"""The Space: its front matter, and the ZeroGPU decorator, which does nothing elsewhere."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import SimpleNamespace

import gradio
import pytest

from app import zero

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


def work(photos):
    return len(photos)


def test_elsewhere_it_is_the_function_itself(monkeypatch):
    for name in ("SPACE_ID", "SPACES_ZERO_GPU"):
        monkeypatch.delenv(name, raising=False)
    assert zero.on_gpu(duration=30)(work) is work
    monkeypatch.setenv("SPACE_ID", "owner/name")
    assert zero.on_gpu()(work) is work, "a Space with a processor only"


@pytest.fixture
def zero_gpu(monkeypatch):
    monkeypatch.setenv("SPACE_ID", "owner/name")
    monkeypatch.setenv("SPACES_ZERO_GPU", "true")
    monkeypatch.setattr(zero, "find_spec", lambda name: object())


def test_on_zero_gpu_the_package_decorates(monkeypatch, zero_gpu):
    asked = []

    def gpu(duration):
        asked.append(duration)
        return lambda function: lambda *values: ("on a GPU", function(*values))

    monkeypatch.setitem(sys.modules, "spaces", SimpleNamespace(GPU=gpu))
    assert zero.on_gpu(duration=30)(work)([1, 2]) == ("on a GPU", 2)
    assert asked == [30]


def test_a_package_that_does_not_load_leaves_the_processor(monkeypatch, zero_gpu, caplog):
    monkeypatch.setitem(sys.modules, "spaces", None)
    assert zero.on_gpu()(work) is work
    assert "run on the CPU" in caplog.text
