"""Occlusion maps, deletion tests and smallest changes on toy models whose truth is known."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from scicevpr.cli.main import main
from scicevpr.errors import UsageError
from scicevpr.explanations.changes import CHANGES, TOLERANCE, changed, smallest_flip, what_would_it_take
from scicevpr.explanations.occlusion import cell_edges, compare_maps, deletion_test, occlusion_map

ROWS, COLUMNS = 4, 6
RNG = np.random.default_rng(0)
IMPORTANCE = RNG.random((ROWS, COLUMNS)) ** 2


def photo() -> Image.Image:
    """Every cell is white on its left half and black on its right: covering a cell by the mean changes it."""
    pixels = np.zeros((ROWS * 8, COLUMNS * 8, 3), np.uint8)
    pixels[:, np.arange(COLUMNS * 8) % 8 < 4] = 255
    return Image.fromarray(pixels)


def linear(photos) -> np.ndarray:
    """Two numbers: how much of the pattern is there, weighted by importance, and unweighted."""
    found = []
    for image in photos:
        pixels = np.asarray(image, float)[..., 0] / 255
        cells = pixels.reshape(ROWS, 8, COLUMNS, 8).mean(axis=1)  # (ROWS, COLUMNS, 8)
        there = cells[..., :4].mean(axis=2) - cells[..., 4:].mean(axis=2)
        found.append([(there * IMPORTANCE).sum(), there.sum()])
    return np.array(found)


MATCH, RIVAL = np.array([1.0, 0.0]), np.array([0.0, 0.1])


def test_windows_of_one_cell_give_the_linear_models_weights():
    found = occlusion_map(linear, photo(), MATCH, RIVAL, grid=(ROWS, COLUMNS), window=1)
    assert found.similarity == pytest.approx(IMPORTANCE.sum())
    np.testing.assert_allclose(found.drop, IMPORTANCE, atol=1e-9)
    np.testing.assert_allclose(found.margin_drop, IMPORTANCE - 0.1, atol=1e-9)
    assert found.margin == pytest.approx(IMPORTANCE.sum() - 0.1 * ROWS * COLUMNS)


def test_larger_windows_equal_a_direct_computation():
    found = occlusion_map(linear, photo(), MATCH, grid=(ROWS, COLUMNS), window=2)
    drop, times = np.zeros((ROWS, COLUMNS)), np.zeros((ROWS, COLUMNS))
    for top in range(ROWS - 1):
        for left in range(COLUMNS - 1):
            pixels = np.asarray(photo()).copy()
            pixels[8 * top : 8 * top + 16, 8 * left : 8 * left + 16] = 128
            value = IMPORTANCE.sum() - linear([Image.fromarray(pixels)])[0, 0]
            drop[top : top + 2, left : left + 2] += value
            times[top : top + 2, left : left + 2] += 1
    np.testing.assert_allclose(found.drop, drop / times, atol=1e-9)
    assert found.margin is None
    with pytest.raises(UsageError, match="does not fit"):
        occlusion_map(linear, photo(), MATCH, grid=(2, 2), window=3)


def test_deletion_knows_the_truth_of_a_linear_model():
    test = deletion_test(linear, photo(), MATCH, IMPORTANCE, steps=ROWS * COLUMNS)
    largest = np.sort(IMPORTANCE.ravel())[::-1]
    np.testing.assert_allclose(test.deletion, largest.sum() - np.concatenate([[0], np.cumsum(largest)]), atol=1e-9)
    np.testing.assert_allclose(test.insertion, np.concatenate([[0], np.cumsum(largest)]), atol=1e-9)
    rows = compare_maps(
        linear, photo(), MATCH, {"wrong": -IMPORTANCE, "truth": IMPORTANCE, "blunt": np.round(IMPORTANCE)}
    )
    assert [row["map"] for row in rows] == ["truth", "blunt", "random", "wrong"]
    with pytest.raises(UsageError, match="one grid"):
        compare_maps(linear, photo(), MATCH, {"a": IMPORTANCE, "b": IMPORTANCE.T})
    with pytest.raises(UsageError, match="finite"):
        deletion_test(linear, photo(), MATCH, np.full((2, 2), np.nan))


def test_cells_cover_the_photo():
    assert cell_edges(10, 4).tolist() == [0, 2, 5, 8, 10]


def brightness(photos) -> np.ndarray:
    return np.array([[np.asarray(image, float).mean()] for image in photos])


def test_the_smallest_darkness_is_found_by_bisection():
    image = Image.new("RGB", (16, 16), (200, 200, 200))
    flip = smallest_flip(brightness, lambda values: values[0] >= 120, image, "darkness")
    assert flip.strength == pytest.approx(0.4, abs=0.01 + TOLERANCE)  # 200 times 0.6 is 120
    assert (flip.answer, flip.other) == (True, False)
    assert flip.amount == f"{flip.strength:.0%} darker"
    assert flip.tried <= 1 + 8 + 5
    below = np.asarray(changed(image, {"darkness": flip.strength - TOLERANCE - 0.01})).mean()
    assert below >= 119
    never = smallest_flip(brightness, lambda values: values[0] >= 0, image, "darkness")
    assert never.strength is None
    assert never.amount == "none, not even black"


def test_every_change_starts_with_the_photo_and_ends_far_from_it():
    image = Image.fromarray(RNG.integers(0, 256, (60, 80, 3), dtype=np.uint8))
    for kind in CHANGES:
        assert changed(image, {kind: 0}).tobytes() == image.tobytes()
        strong = np.asarray(changed(image, {kind: 1}).resize(image.size), float)
        weak = np.asarray(changed(image, {kind: 0.05}).resize(image.size), float)
        assert np.abs(strong - np.asarray(image)).mean() > np.abs(weak - np.asarray(image)).mean() > 0, kind
        assert changed(image, {kind: 0.5}).tobytes() == changed(image, {kind: 0.5}).tobytes()
    flips = what_would_it_take(brightness, lambda values: round(values[0] / 40), image, ("darkness", "fog"))
    assert [flip.kind for flip in flips] == ["darkness", "fog"]
    with pytest.raises(UsageError, match="'rain'"):
        changed(image, {"rain": 0.5})
    with pytest.raises(UsageError, match=r"2\.0"):
        changed(image, {"fog": 2.0})


def test_occlude_on_the_command_line(tiny_city, tmp_path, capsys):
    query = sorted((tiny_city / "images" / "test" / "queries").glob("*.jpg"))[0]
    command = ["occlude", str(query), "--dataset", str(tiny_city), "--model", "scicevpr-t", "--grid", "2", "3"]
    assert main([*command, "--window", "1", "--output", str(tmp_path), "--changes", "darkness"]) == 0
    assert "darkness" in capsys.readouterr().out
    [found] = json.loads((tmp_path / "occlusion.json").read_text())["results"]
    assert {row["map"] for row in found["deletion and insertion"]} == {"occlusion", "margin", "random"}
    assert [flip["kind"] for flip in found["changes"]] == ["darkness"]
    assert (tmp_path / "scicevpr-t-occlusion.png").stat().st_size > 0
    assert np.load(tmp_path / "scicevpr-t.npz")["occlusion"].shape == (2, 3)
    assert main([*command, "--window", "3", "--output", str(tmp_path)]) == 2
    assert "does not fit" in capsys.readouterr().err
