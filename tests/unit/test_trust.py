"""Trust: every cue by its formula, calibration and risk by hand, the fit on made-up answers, the command line."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
from filled_models import filled_model

from scicevpr.cli.main import main
from scicevpr.datasets import read_dataset
from scicevpr.datasets.ground_truth import GroundTruth
from scicevpr.errors import UsageError, WeightsError
from scicevpr.evaluation import cues, trust
from scicevpr.evaluation.answers import AnswerLists
from scicevpr.evaluation.fits import write_fit
from scicevpr.evaluation.unrelated import unrelated_pictures


def one_list(similarities, positions, counts=None, right=None) -> AnswerLists:
    similarities = np.array([similarities], np.float32)
    count = similarities.shape[1]
    return AnswerLists(
        "one",
        np.where(np.isnan(similarities), -1, np.arange(count)),
        similarities,
        None if counts is None else np.array([counts]),
        np.array([positions], float),
        np.zeros((1, count), bool) if right is None else np.array([right]),
        np.ones(1, bool),
        np.zeros(1, int),
        25.0,
    )


EAST = [[0, 0], [10, 0], [100, 0], [200, 0]]


def test_the_cues_by_their_formulas():
    answers = one_list([0.9, 0.88, 0.6, 0.5], EAST, [30, 50, 8, 2])
    found = {name: float(cue(answers)[0]) for name, cue in cues.CUES.items()}
    weights = np.exp(30 * np.array([0.9, 0.88, 0.6, 0.5]))
    weights /= weights.sum()
    east = np.array([0, 10, 100, 200])
    values = np.array([0.9, 0.88, 0.6, 0.5])
    expected = {
        "similarity": 0.9,
        "margin": 0.9 - 0.6,  # the second answer shows the same place
        "ratio": -np.sqrt((2 - 1.8) / (2 - 1.76)),
        "SUE": -(weights @ (east - weights @ east) ** 2),
        "SD": -0.74 / 0.9,
        "RS": -np.mean(np.array([0.88, 0.6, 0.5]) / 0.9),
        "SU": -(0.74 / 0.9 + np.mean(np.array([0.88, 0.6, 0.5]) / 0.9)) / 2,
        "inliers": 30,
        "inlier margin": np.log(31) - np.log(9),
        "list spread": (0.9 - values.mean()) / values.std(),
        "near duplicates": 0,
    }
    assert found == pytest.approx(expected, rel=1e-4)


def test_cues_without_positions_and_with_short_lists():
    unknown = one_list([0.9, 0.89, 0.885, np.nan], np.full((4, 2), np.nan), [3, 9, 0, -1])
    assert cues.margin(unknown)[0] == pytest.approx(0.01, abs=1e-6)  # every other answer may be another place
    assert cues.near_duplicates(unknown)[0] == -2
    assert cues.spread_on_the_map(unknown)[0] == 0
    assert cues.inlier_margin(unknown)[0] == pytest.approx(np.log(4) - np.log(10))
    assert cues.similarity_distribution(unknown)[0] == pytest.approx(-0.89 / 0.9)
    assert cues.ratio_spread(unknown)[0] == pytest.approx(-(0.89 + 0.885) / 1.8)
    single = one_list([0.7], [[0, 0]], [4])
    for name, cue in cues.CUES.items():
        assert np.isfinite(cue(single)).all(), name
    assert cues.margin(single)[0] == pytest.approx(0.7)
    with pytest.raises(UsageError, match="no inliers"):
        cues.inliers(replace(single, counts=None))


def made_up(count: int, known: bool, seed: int, name: str = "made up") -> AnswerLists:
    """Answers that are right more often the larger the margin and the more inliers they have."""
    rng = np.random.default_rng(seed)
    places = np.repeat(np.arange(-(-count // 3)), 3)[:count]
    sure = rng.random(count) < (0.8 if known else 0.1)
    first = np.where(sure, 0.8, 0.6) + rng.normal(0, 0.08, count)
    others = np.sort(rng.uniform(0.3, 0.55, (count, 5)), axis=1)[:, ::-1]
    own = np.where(sure, rng.poisson(40, count), rng.poisson(9, count))
    counts = np.column_stack([own, rng.poisson(8, (count, 5))])
    right = np.zeros((count, 6), bool)
    right[:, 0] = known & (rng.random(count) < np.where(sure, 0.95, 0.3))
    positions = np.dstack([np.tile(np.arange(6) * 100.0, (count, 1)), np.zeros((count, 6))])
    similarities = np.column_stack([np.maximum(first, others[:, 0] + 0.001), others]).astype(np.float32)
    return AnswerLists(
        name,
        np.tile(np.arange(6), (count, 1)),
        similarities,
        counts.astype(np.int32),
        positions,
        right,
        np.full(count, known),
        places,
        25.0,
    )


@pytest.fixture(scope="module")
def fitted():
    known, unknown = made_up(600, True, 0), made_up(600, False, 1)
    return {
        "similarities": trust.fit_trust([known], [unknown], False),
        "inliers": trust.fit_trust([known], [unknown], True),
    }


def test_probabilities_are_calibrated_and_carry_over(fitted):
    known, unknown = made_up(900, True, 5, "other"), made_up(900, False, 6, "other")
    report = trust.trust_report("Made up", known, unknown, fitted)
    assert report["from"] == "inliers"
    assert report["expected calibration error"] < 0.08
    table = {(row["cue"], row["fitted"]): row["auroc"] for row in report["right against wrong"]}
    assert table["ours, with inliers", "elsewhere"] >= table["similarity", "published"] - 0.01
    assert ("ours, with inliers", "on this database") in table
    assert report["called unknown"]["place taken out"] > 0.7
    assert report["called unknown"]["place in the database"] < 0.3
    risk = report["risk coverage"]
    assert risk["coverage"][-1] == 1
    assert risk["risk"][-1] == pytest.approx(1 - known.first_right.mean())
    assert risk["area"] < risk["risk"][-1]
    json.dumps(report, allow_nan=False)
    from_similarities = trust.trust_report("Made up", known, unknown, {"similarities": fitted["similarities"]})
    assert from_similarities["from"] == "similarities"
    reranked = trust.trust_report("Made up", known, unknown, fitted, unrelated=unknown, weight=0.1)
    assert reranked["unrelated pictures"] == 900
    with pytest.raises(UsageError, match="No trust was fitted"):
        trust.trust_report("Made up", known, unknown, {"similarities": None})


def test_too_few_answers_fit_nothing():
    with pytest.raises(UsageError, match="at least 10 answers"):
        trust.fit_trust([made_up(20, True, 0)], [made_up(8, False, 1)], False)


def test_fits_are_stored_as_plain_numbers(fitted, tmp_path):
    model, path = filled_model("scicevpr-t"), tmp_path / "trust.json"
    write_fit(path, model, {"trust": {kind: part.to_json() for kind, part in fitted.items()}})
    for kind, part in fitted.items():
        assert trust.find_trust(model, kind == "inliers", path) == part
    assert trust.find_trust(model, False) is None  # nothing is claimed for weights that nothing was fitted for
    stored = json.loads(path.read_text())
    stored["models"][0]["trust"]["inliers"]["models"]["known"]["scale"][0] = 0
    path.write_text(json.dumps(stored))
    with pytest.raises(WeightsError, match="damaged"):
        trust.find_trust(model, True, path)


@pytest.mark.parametrize(
    "change",
    [{"names": ["similarity"]}, {"names": [*trust.FROM_SIMILARITIES[:3], "luck"]}, {"intercept": float("nan")}],
)
def test_numbers_that_are_no_regression(fitted, change):
    with pytest.raises(ValueError, match=r"regression|unknown"):
        trust.Logistic.from_json({**asdict(fitted["similarities"].models["right"]), **change})


def test_calibration_and_risk_by_hand():
    probability, right = np.array([0.95, 0.95, 0.15, 0.15, 0.15, 1.0]), np.array([1, 0, 0, 0, 1, 1], bool)
    rows = trust.reliability(probability, right)
    assert [row["answers"] for row in rows] == [0, 3, 0, 0, 0, 0, 0, 0, 0, 3]
    assert rows[1]["right"] == pytest.approx(1 / 3)
    wanted = (3 * abs(1 / 3 - 0.15) + 3 * abs(2 / 3 - 2.9 / 3)) / 6
    assert trust.calibration_error(probability, right) == pytest.approx(wanted)
    risk = trust.risk_coverage(np.array([3.0, 2.0, 2.0, 1.0]), np.array([1, 1, 0, 0], bool))
    assert risk["coverage"] == [0.25, 0.75, 1]
    assert risk["risk"] == pytest.approx([0, 1 / 3, 1 / 2])
    assert risk["area"] == pytest.approx((0 + 2 / 3 + 1 / 2) / 4)
    assert trust.auroc(np.array([1.0, 2.0, 2.0, 3.0]), np.array([0, 0, 1, 1])) == pytest.approx(0.875)
    assert trust.auroc(np.ones(3), np.ones(3)) is None


def test_drawn_pictures_are_the_same_from_a_seed():
    one, other = unrelated_pictures(9, seed=3), unrelated_pictures(9, seed=3)
    assert [image.tobytes() for image in one] == [image.tobytes() for image in other]
    assert len({image.tobytes() for image in one}) == 9
    assert {image.size for image in one} == {(320, 240)}


def test_fit_and_report_on_the_command_line(tiny_city, tmp_path, capsys, monkeypatch):
    dataset = read_dataset(tiny_city)
    rows = [[row if row < 5 else row + 1] for row in range(len(dataset.queries))]  # the last three are answered wrongly
    listed = replace(dataset, truth=GroundTruth.lists(rows, "listed"))
    monkeypatch.setattr("scicevpr.cli.trust.read_sets", lambda names: [listed])
    monkeypatch.setattr(trust, "FEWEST", 1)
    fits, numbers = tmp_path / "fits.json", tmp_path / "report.json"
    options = ["--model", "scicevpr-t", "--no-inliers"]
    assert main(["trust", "fit", "--on", str(tiny_city), "--output", str(fits), *options]) == 0
    figure = tmp_path / "reliability.svg"
    shown = ["trust", "report", "--dataset", str(tiny_city), *options]
    assert main([*shown, "--fits", str(fits), "--json", str(numbers), "--figure", str(figure)]) == 0
    assert "probably not in this database" in capsys.readouterr().out
    [report] = json.loads(numbers.read_text())["results"]
    assert report["queries"] == 7
    assert b"<svg" in figure.read_bytes()
    assert main([*shown, "--fits", str(tmp_path / "none.json")]) == 2
    assert "has no fit for scicevpr-t" in capsys.readouterr().err
    assert main([*shown, "--rerank"]) == 2
    assert "Leave one of the two out" in capsys.readouterr().err
