"""Results that score elsewhere: the public metrics, written from their description, give the numbers that we give."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from scicevpr.cli.main import main
from scicevpr.datasets import bundled_city, read_dataset
from scicevpr.errors import UsageError
from scicevpr.evaluation.benchmark import evaluate
from scicevpr.evaluation.exports import export, save_truth
from scicevpr.files.reading import read_npy
from scicevpr.hub.load import load_model


def recall_at(similarities: np.ndarray, hard: np.ndarray, k: int) -> float:
    """VPR_Tutorial: the share of queries with any GThard among the K most similar, of those that have one at all."""
    best = np.argsort(-similarities, axis=0, kind="stable")[:k]
    some = hard.any(axis=0)
    return 100.0 * np.take_along_axis(hard, best, axis=0).any(axis=0)[some].mean()


def area_under_curve(similarities: np.ndarray, hard: np.ndarray, soft: np.ndarray, thresholds: int = 100) -> float:
    """VPR_Tutorial's precision-recall curve, single match a query: 100 thresholds, starting at precision 1."""
    similarities = np.where(soft & ~hard, similarities.min(), similarities)
    best = similarities.argmax(axis=0)
    columns = np.arange(similarities.shape[1])
    right, values, positives = hard[best, columns], similarities[best, columns], hard.any(axis=0).sum()
    precision, recall = [1.0], [0.0]
    for threshold in np.linspace(similarities.max(), similarities.min(), thresholds):
        shown = values >= threshold
        if shown.any():
            precision.append((right & shown).sum() / shown.sum())
            recall.append((right & shown).sum() / positives)
    return float(np.trapezoid(precision, recall))


@pytest.fixture(scope="module")
def result():
    """Sixteen photos of the bundled city, every one with answers."""
    city = bundled_city()
    few = city.select_queries(range(0, len(city.queries), 18), "every 18th")
    kept = sorted({int(row) for rows in few.positives() for row in rows[:2]})
    gone = {photo.path for row, photo in enumerate(few.database) if row not in kept}
    return evaluate(load_model("scicevpr-t"), few.without_photos(gone))


def test_a_similarity_matrix_scores_elsewhere_as_here(result, tmp_path: Path) -> None:
    with np.load(export(result, tmp_path / "s.npz")) as written:
        similarities, hard, soft = (written[name] for name in ("S", "GThard", "GTsoft"))
        assert written["queries"].tolist() == [photo.name for photo in result.dataset.queries]
    assert similarities.shape == hard.shape == (len(result.dataset.database), len(result.dataset.queries))
    for n, recall in result.overall.recalls.items():
        assert recall_at(similarities, hard, n) == pytest.approx(recall)
    assert np.array_equal(np.argmax(similarities, axis=0), result.predictions[:, 0])
    assert np.array_equal(hard, soft)
    assert 0 < area_under_curve(similarities, hard, soft) <= 1


def test_predictions_for_the_challenge(result, tmp_path: Path) -> None:
    path = export(result, tmp_path / "own.zip")
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == ["own.csv"]
        rows = [line.split(" ") for line in archive.read("own.csv").decode().splitlines()]
    assert [row[0] for row in rows] == [photo.path.stem for photo in result.dataset.queries]
    first = result.dataset.database[int(result.predictions[0, 0])]
    assert rows[0][1] == first.path.stem
    assert {len(row) for row in rows} == {1 + min(max(result.ns), len(result.dataset.database))}


def test_what_is_right_is_read_again_as_it_was(tiny_city: Path, tmp_path: Path, capsys) -> None:
    positives = [rows.tolist() for rows in read_dataset(tiny_city).positives()]
    for name in ("GT.npz", "ground_truth_new.npy"):
        assert main(["datasets", "truth", str(tiny_city), "--output", str(tmp_path / name)]) == 0
        again = read_dataset(tiny_city, ground_truth=tmp_path / name)
        assert [rows.tolist() for rows in again.positives()] == positives, name
    assert read_npy(tmp_path / "ground_truth_new.npy").shape == (8, 2)
    capsys.readouterr()


def test_what_cannot_be_written(result, tmp_path: Path, tiny_city: Path, capsys) -> None:
    with pytest.raises(UsageError, match="no one descriptor"):
        export(replace(result, queries=None), tmp_path / "s.npz")
    with pytest.raises(UsageError, match="says no form"):
        export(result, tmp_path / "s.txt")
    with pytest.raises(UsageError, match="no labels"):
        save_truth(read_dataset(tiny_city, labels=False), tmp_path / "GT.npz")
    assert main(["evaluate", str(tiny_city), "--export", str(tmp_path / "s.mat")]) == 2
    assert "must end in .npz" in capsys.readouterr().err


def test_the_option_writes_one_file_a_model(tiny_city: Path, tmp_path: Path, capsys) -> None:
    shared = ["evaluate", str(tiny_city), "--no-intervals", "--export", str(tmp_path / "s.npz")]
    assert main(shared) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s-cricavpr-t.npz", "s-scicevpr-t.npz"]
    assert "for other tools" in capsys.readouterr().out
