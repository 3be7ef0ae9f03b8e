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
    sys.path.insert(0, str(ROOT / "benchmarks"))  # as when it is run
    spec.loader.exec_module(module)
    yield module
    sys.path.remove(str(ROOT / "benchmarks"))
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
    assert "| 1 M | scicevpr-t, float32 | 20 | 19 minutes | 1 | 5.38 GB | 148 MB | 1 | 1 |" in scaling.plan(tmp_path)

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


def test_the_plan_for_searching_is_the_line_through_two_measurements(scaling, tmp_path):
    assert "ms" not in scaling.searching(tmp_path)
    small = {"rows": 100_000, "ivf-pq": {"milliseconds a query (median)": 8.0}}
    cached = "milliseconds a query, descriptors in the file cache (median)"
    found = {
        "tiers": {"measured": [small]},
        "large build": {"measured": {"seconds of this call": 360.0}},
        "large measure": {"measured": {"rows": 1_000_000, cached: 17.0}, "values a descriptor": 10_752},
    }
    (tmp_path / "search.json").write_text(json.dumps(found))
    lines = scaling.searching(tmp_path).splitlines()[2:]
    assert [line.split(" | ")[1] for line in lines] == ["17 ms", "107 ms", "1,007 ms"]
    assert "| 100,000,000 | 1,007 ms | 14.8 GB | 51.2 GB | 2.15 TB | 10.0 hours |" in lines


def test_targets_say_what_was_not_met(scaling, tmp_path):
    assert scaling.targets(tmp_path) == []
    ways = {"plain": 1.0, "float32": 1.0, "bfloat16": 2.0, "int8": 2.9}
    sizes = ("batch 1", "batch 16", "many")
    row = {mode: {f"times plain, {size}": factor for size in sizes} for mode, factor in ways.items()}
    for mode in row:
        row[mode] |= {"batch 1 / batch 16": 1.05} | {f"share of the matrix rate, batch {n}": 0.8 for n in (1, 16)}
    (tmp_path / "describing.json").write_text(json.dumps({"models": {"scicevpr-b": {"modes": row}}}))
    found = {aim.split(",")[0]: (words, met) for aim, words, met in scaling.targets(tmp_path)}
    words = "int8 2.90× alone, 2.90× in batches of 16, 2.90× with many photos"
    assert found["SciceVPR-B at least 3× plain"] == (words, "no")
    assert [met for _, met in found.values()].count("yes") == 3


def test_a_page_without_its_places_is_refused(scaling):
    with pytest.raises(SystemExit, match="0 places for the table costs"):
        scaling.written("no table")
