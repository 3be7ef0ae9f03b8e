"""The command line against a plain evaluation written out here: same checkpoint, same photos, same numbers.

Photos are prepared by hand in the published order (normalise, then resize without antialiasing), described in file
order in batches of 16, and ranked and scored with NumPy alone.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from filled_models import filled_model, save_checkpoint
from PIL import Image

from scicevpr.cli.main import main
from scicevpr.models import key_formats

MEAN = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
STD = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
BATCH = 16
NS = (1, 3)


def _prepared(path: Path) -> torch.Tensor:
    pixels = torch.from_numpy(np.array(Image.open(path).convert("RGB"))).permute(2, 0, 1).float() / 255
    normalised = (pixels - MEAN) / STD
    return F.interpolate(normalised[None], size=(224, 224), mode="bilinear", align_corners=False, antialias=False)[0]


def _described(model: torch.nn.Module, paths: list[Path]) -> np.ndarray:
    photos = torch.stack([_prepared(path) for path in paths])
    with torch.inference_mode():
        return torch.cat([model(photos[start : start + BATCH]) for start in range(0, len(photos), BATCH)]).numpy()


def _position(path: Path) -> np.ndarray:
    return np.array([float(field) for field in path.name.split("@")[1:3]])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["scicevpr-s", "super-cricavpr-s", "cricavpr-s"])
def test_evaluate_gives_what_a_plain_evaluation_gives(name, few, tmp_path, capsys) -> None:
    model = filled_model(name)
    checkpoint = save_checkpoint(tmp_path, key_formats.state_to_published(model))
    folders = [few / "images/test" / folder for folder in ("database", "queries")]
    database, queries = ([*sorted(folder.glob("*.jpg"))] for folder in folders)
    chosen = ["--model", str(checkpoint), "--variant", name]

    assert main(["describe", str(folders[1]), *chosen, "--output", str(tmp_path / "queries.npy")]) == 0
    mine = _described(model, queries)
    np.testing.assert_allclose(np.load(tmp_path / "queries.npy"), mine, atol=2e-6)

    recalls = ["--recall-values", *map(str, NS)]
    options = ["--dataset", str(few), *recalls, "--json", str(tmp_path / "all.json")]
    assert main(["evaluate", *options, *chosen]) == 0
    capsys.readouterr()
    [result] = json.loads((tmp_path / "all.json").read_text())["results"]
    theirs = _described(model, database)
    similarities = mine @ theirs.T
    distances = np.linalg.norm(
        np.stack([_position(path) for path in queries])[:, None] - np.stack([_position(path) for path in database]),
        axis=2,
    )
    rows = {path.name: row for row, path in enumerate(database)}
    for query, answer in enumerate(result["predictions"]):
        assert Path(answer["query"]).name == queries[query].name
        found = [rows[Path(match["database"]).name] for match in answer["matches"]]
        shown = [match["similarity"] for match in answer["matches"]]
        np.testing.assert_allclose(shown, similarities[query, found], atol=2e-6)
        np.testing.assert_allclose(shown, np.sort(similarities[query])[::-1][: max(NS)], atol=2e-6)
    order = np.argsort(-similarities, axis=1, kind="stable")
    right = np.take_along_axis(distances <= 25, order, axis=1)
    for n in NS:
        expected = 100 * right[:, :n].any(axis=1).mean()
        assert result["overall"]["recall_percent"][str(n)] == pytest.approx(expected, abs=0.01)
    assert "no antialias" in result["protocol"]["resize"]
    wanted = "independent of the batch" if name.startswith("scicevpr") else "sequential 16"
    assert result["protocol"]["query grouping"] == result["protocol"]["database grouping"] == wanted
