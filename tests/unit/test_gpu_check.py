"""scripts/gpu-check: it ends in time with its results written, whatever a part meets; the rehearsal has every key."""

from __future__ import annotations

import argparse
import importlib.machinery
import importlib.util
import json
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "gpu-check"
KEYS = {
    "machine": {"device", "name", "torch", "memory_gb", "cores", "cuda", "matmul_tflops"},
    "verify": {"float32", "bfloat16", "float16"},
    "describe": {"t", "s", "b", "l"},
    "search": {"photos", "dimensions", "milliseconds_a_query"},
    "explain": {"scicevpr", "super-cricavpr", "cricavpr"},
    "app": {"find", "inside", "stability"},
    "train": {"super-cricavpr", "scicevpr", "cricavpr"},
    "family": {"photos", "steps", "recall_1", "finished", "ended"},
}
"""What a run on a GPU and a rehearsal write of every part."""


def _script() -> ModuleType:
    loader = importlib.machinery.SourceFileLoader("gpu_check", str(SCRIPT))
    spec = importlib.util.spec_from_loader("gpu_check", loader)
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


@pytest.mark.slow
def test_the_rehearsal_writes_what_a_gpu_would(tmp_path: Path) -> None:
    out = tmp_path / "gpu.json"
    command = [sys.executable, str(SCRIPT), "--rehearse", "--out", str(out), "--minutes", "9"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    facts = json.loads(out.read_text())
    assert list(facts["parts"]) == list(KEYS) == list(_script().PARTS)
    for name, keys in KEYS.items():
        assert facts["parts"][name]["found"].keys() == keys, name
    steps = facts["parts"]["train"]["found"]
    assert all(row["error"] == "" and row["loss"] >= 0 for part in steps.values() for row in part.values())
    assert all(not part["missed"] for part in facts["parts"]["verify"]["found"].values())


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("import time; time.sleep(60)", "stopped after 6 s"),
        ("import os; os.abort()", "exit code -6"),
        ("raise SystemExit('no such GPU')", "exit code 1: no such GPU"),
    ],
)
def test_a_part_that_hangs_or_dies_keeps_nothing_from_ending(
    code: str, error: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = _script()
    (tmp_path / "benchmarks").mkdir()
    before = "import sys; file = open(sys.argv[2], 'w'); file.write('{\"found before\": 1}'); file.close(); "
    (tmp_path / "benchmarks" / "gpu_parts.py").write_text(before + code)
    monkeypatch.setattr(script, "ROOT", tmp_path)
    options = argparse.Namespace(device="cpu", rehearse=True)
    started = time.monotonic()
    found = script.run_part("search", options, tmp_path, 6 if "stopped" in error else 30)
    assert found["error"] == error
    assert not found["ok"]
    assert time.monotonic() - started < 30
    assert found["found"] == {"found before": 1}  # what was written before the end counts
    assert script.run_part("search", options, tmp_path, 0.5)["error"] == "no time was left"
