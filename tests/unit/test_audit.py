"""The protocol audit: rows equal plain evaluations, a planted sensitivity is found, an interrupted run goes on."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from filled_models import filled_model
from PIL import Image
from tiny_hub import cut_off

from scicevpr.cli.main import main
from scicevpr.datasets import format_name, read_dataset
from scicevpr.errors import UsageError
from scicevpr.evaluation import benchmark
from scicevpr.evaluation.audit import Choice, choices_for, run_audit, spread
from scicevpr.external_models.loading import load_external


@pytest.fixture(scope="module")
def model():
    found = filled_model("scicevpr-t")
    found.allow_untrained = True
    return found


def test_rows_equal_plain_evaluations(tiny_city, tmp_path, model):
    dataset = read_dataset(tiny_city)
    chosen = [
        choice
        for choice in choices_for(model, dataset)
        if choice.key in ("antialias: off", "JPEG quality: 50", "right within: 50 m", "positions: rounded to float32")
    ]
    assert len(chosen) == 4
    rows = {row.what: row for row in run_audit(model, dataset, chosen)}
    plain = benchmark.evaluate(model, dataset, ns=(1,)).overall.recalls[1]
    photos = []
    for number, photo in enumerate((*dataset.database, *dataset.queries)):
        path = tmp_path / f"{number:03d}.jpg"
        Image.open(photo.path).convert("RGB").save(path, quality=50)
        photos.append(replace(photo, path=path))
    wanted = {
        "plain": plain,
        "antialias": benchmark.evaluate(model, dataset, ns=(1,), antialias=False).overall.recalls[1],
        "JPEG quality": benchmark.evaluate(model, dataset.with_photos(photos), ns=(1,)).overall.recalls[1],
        "right within": benchmark.evaluate(model, dataset, ns=(1,), radius=50).overall.recalls[1],
        "positions": benchmark.evaluate(model, dataset, ns=(1,), rounding="float32").overall.recalls[1],
    }
    assert {what: row.recall for what, row in rows.items()} == pytest.approx(wanted)
    assert {row.plain for row in rows.values()} == {plain}
    assert rows["right within"].difference == pytest.approx(wanted["right within"] - plain)
    assert spread(list(rows.values())) == pytest.approx(max(wanted.values()) - min(wanted.values()))


def test_every_choice_of_a_small_set_can_be_made(tiny_city, model):
    dataset = read_dataset(tiny_city)
    choices = [choice for choice in choices_for(model, dataset) if choice.what not in ("JPEG quality", "antialias")]
    rows = run_audit(model, dataset, choices)
    assert [f"{row.what}: {row.setting}" for row in rows[1:]] == [choice.key for choice in choices]
    assert all(0 <= row.recall <= 100 for row in rows)
    cross = choices_for(filled_model("cricavpr-t"), dataset)
    assert {"photos a batch", "query order", "database order", "input size"} <= {choice.what for choice in cross}


ROW_READER = """
import torch
dependencies = ["torch"]

class Row(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(1))

    def forward(self, x):
        return self.scale * x[:, :, x.shape[2] // 2].flatten(1)

def row(**kwargs):
    return Row()
"""


def test_a_model_that_reads_one_pixel_row_is_found_out(tmp_path, monkeypatch):
    """Two middle rows of each photo hold the place's own code, those around them another place's: a resize without
    antialiasing reads the former, one with it mostly the latter."""
    cut_off(monkeypatch, tmp_path / "torch")
    hub = tmp_path / "row-reader"
    hub.mkdir()
    (hub / "hubconf.py").write_text(ROW_READER)
    count, codes = 9, np.random.default_rng(0).integers(0, 256, (9, 56, 3)).repeat(4, axis=1).astype(np.uint8)
    for part, shift in (("database", 3), ("queries", 5)):
        folder = tmp_path / "set" / "images" / "test" / part
        folder.mkdir(parents=True)
        for place in range(count):
            pixels = np.full((224, 224, 3), 128, np.uint8)
            pixels[106:122] = codes[(place + shift) % count]
            pixels[113:115] = codes[place]
            name = format_name(east=500_000 + 200 * place, north=4e6, zone_number=32, zone_letter="U", pano_id=place)
            Image.fromarray(pixels).save((folder / name).with_suffix(".png"))
    dataset, reader = read_dataset(tmp_path / "set"), load_external(f"hub:{hub}:row", trust=True, size=56)
    rows = run_audit(reader, dataset, [c for c in choices_for(reader, dataset) if c.what in ("antialias", "positions")])
    assert [(row.what, row.recall) for row in rows] == [("plain", 0), ("antialias", 100), ("positions", 0)]
    assert rows[1].difference == 100
    assert rows[1].p_value < 0.01


def test_an_interrupted_audit_goes_on(tiny_city, tmp_path, model, monkeypatch):
    dataset, kept = read_dataset(tiny_city), tmp_path / "rows.json"
    chosen = [Choice("right within", "50 m", scoring={"radius": 50.0})]
    first = run_audit(model, dataset, chosen, kept=kept)
    monkeypatch.setattr(benchmark, "evaluate", None)  # nothing is measured twice
    assert run_audit(model, dataset, chosen, kept=kept) == first
    with pytest.raises(UsageError, match="another model or data set"):
        run_audit(filled_model("cricavpr-t"), dataset, chosen, kept=kept)
    kept.write_text(json.dumps({"of": json.loads(kept.read_text())["of"], "rows": [{"what": "x"}]}))
    with pytest.raises(UsageError, match="holds no audit"):
        run_audit(model, dataset, chosen, kept=kept)
    with pytest.raises(UsageError, match="needs labels"):
        run_audit(model, replace(dataset, use_labels=False), chosen)


def test_on_the_command_line(tiny_city, tmp_path, capsys):
    options = ["audit", "--dataset", str(tiny_city), "--model", "scicevpr-t", "--choices"]
    assert main([*options, "right", "--json", str(tmp_path / "audit.json")]) == 0
    assert "points apart" in capsys.readouterr().out
    assert [row["setting"] for row in json.loads((tmp_path / "audit.json").read_text())["rows"]][1:] == ["10 m", "50 m"]
    assert main([*options, "weather"]) == 2
    assert "No choice begins with weather" in capsys.readouterr().err
