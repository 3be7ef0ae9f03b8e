from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def scaling():
    """benchmarks/scaling.py as a module."""
    spec = importlib.util.spec_from_file_location("scaling_benchmark", ROOT / "benchmarks" / "scaling.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def test_the_pages_hold_what_was_measured(scaling):
    for path, tables in scaling.PAGES.items():
        page = path.read_text(encoding="utf-8")
        assert scaling.written(page, tables=tables) == page, "run: python benchmarks/scaling.py --write"
        assert page.count("<!-- scaling") == len(tables)


def test_numbers_follow_from_the_files(scaling, tmp_path):
    for name in ("bulk.json", "packs.json", "latency.json"):
        shutil.copy(ROOT / "benchmarks" / name, tmp_path)
    latency = json.loads((tmp_path / "latency.json").read_text())
    latency["milliseconds a photo (median)"] = {"SciceVPR-T": 36.0}
    (tmp_path / "latency.json").write_text(json.dumps(latency | {"threads": 2}))
    [only] = scaling.describing(tmp_path)
    assert only.core_hours == pytest.approx(20.0)  # 36 ms on two cores: 72 core seconds a thousand photos
    assert "| 1 M | scicevpr-t, float32 | 20 | 19 minutes | 1 | 5.38 GB | 532 MB | 1 | 1 |" in scaling.plan(tmp_path)

    modes = {"plain": {"ms a photo, batch 16": 300.0}, "int8": {"ms a photo, batch 16": 90.0}}
    measured = {"machine": {"threads": 2}, "models": {"scicevpr-b": {"modes": modes}}}
    (tmp_path / "describing.json").write_text(json.dumps(measured))
    assert [(one.model, one.mode) for one in scaling.describing(tmp_path)] == [
        ("scicevpr-t", "float32"), ("scicevpr-b", "plain"), ("scicevpr-b", "int8"),
    ]  # fmt: skip
    assert "| 10 G | scicevpr-b, int8 | 500,000 |" in scaling.plan(tmp_path)
    assert "90 ms a photo on 2 cores | describing.json | 25.0 hours on 2 cores, 50 core hours" in scaling.costs(
        tmp_path
    )


def test_a_page_without_its_places_is_refused(scaling):
    with pytest.raises(SystemExit, match="0 places for the table costs"):
        scaling.written("no table")
