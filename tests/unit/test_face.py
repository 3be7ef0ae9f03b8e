"""The public face: six names, imported when they are used, and the example that stands on them."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

import scicevpr

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "evaluate.py"


def test_importing_the_face_imports_nothing_heavy():
    code = "import sys, scicevpr; print([name for name in ('torch', 'numpy', 'PIL', 'faiss') if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize("name", scicevpr.__all__)
def test_every_public_name_is_there(name):
    assert callable(getattr(scicevpr, name))
    assert name in dir(scicevpr)


def test_other_names_are_not():
    with pytest.raises(AttributeError, match="no attribute 'train'"):
        scicevpr.train  # noqa: B018


def test_the_example_prints_recalls(tiny_city, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [str(EXAMPLE), "--dataset", str(tiny_city), "--ns", "1", "5"])
    runpy.run_path(str(EXAMPLE), run_name="__main__")
    *_, heads, recalls = capsys.readouterr().out.splitlines()
    assert heads.split() == ["R@1", "R@5"]
    assert [float(recall) for recall in recalls.split()] == [87.5, 87.5]  # one of the eight is not in the database
    assert len(EXAMPLE.read_text().splitlines()) < 100
