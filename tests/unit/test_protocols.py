"""What --published means for each model, the published test methods, and that protocols tell or agree."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from filled_models import filled_model
from PIL import Image

from scicevpr.cli.main import main
from scicevpr.config import VARIANTS, Preprocessing, get_variant
from scicevpr.datasets import read_dataset, read_folders
from scicevpr.descriptors.batches import Grouping
from scicevpr.descriptors.describe import describe
from scicevpr.descriptors.precision import precision_label
from scicevpr.descriptors.preprocessing import to_views
from scicevpr.errors import ImageError, UsageError
from scicevpr.evaluation.benchmark import evaluate
from scicevpr.evaluation.comparison import compare, read_relevance
from scicevpr.evaluation.pca_fit import fit_pca
from scicevpr.evaluation.protocols import (
    METHODS,
    find_method,
    published_batch,
    published_rounding,
    search_queries,
    vote,
)
from scicevpr.models.model import WeightsInfo
from scicevpr.models.native_checkpoints import save_weights
from scicevpr.retrieval.exact import ExactIndex


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> dict[str, Path]:
    """Files of filled weights of both families."""
    from filled_models import INFO

    folder = tmp_path_factory.mktemp("weights")
    for name in ("scicevpr-t", "cricavpr-t"):
        save_weights(filled_model(name), folder / f"{name}.safetensors", info=INFO)
    return {name: folder / f"{name}.safetensors" for name in ("scicevpr-t", "cricavpr-t")}


def _protocols(tmp_path, *arguments) -> list[dict[str, str]]:
    assert main([*map(str, ("evaluate", *arguments, "--json", tmp_path / "r.json"))]) == 0
    return [result["protocol"] for result in json.loads((tmp_path / "r.json").read_text())["results"]]


def test_positions_are_rounded_only_where_the_published_code_rounds_them():
    rule = {name: published_rounding(variant) for name, variant in VARIANTS.items()}
    assert {rule[name] for name in rule if name.startswith("cricavpr")} == {"float64"}
    assert {rule[name] for name in rule if not name.startswith("cricavpr")} == {"float32"}


def test_published_runs_say_their_rounding_and_batches(tiny_city, weights, tmp_path):
    files = [option for name in weights for option in ("--weights", weights[name])]
    scicevpr, cricavpr = _protocols(
        tmp_path, "--dataset", tiny_city, *files, "--published", "--infer_batch_size", 4, "--benchmark", "pitts30k",
    )  # fmt: skip
    assert scicevpr["UTM rounding"] == "float32 (as published)"
    assert cricavpr["UTM rounding"] == "float64"
    assert cricavpr["database grouping"] == cricavpr["query grouping"] == "sequential 2"
    [elsewhere] = _protocols(
        tmp_path, "--dataset", tiny_city, "--weights", weights["cricavpr-t"], "--infer_batch_size", 4,
        "--pca-dim", 3, "--pca-folder", tiny_city / "images/test/queries",
    )  # fmt: skip
    assert elsewhere["database grouping"] == "sequential 4"
    assert elsewhere["PCA"].endswith("batches of the fit sequential 4 (the published code shuffles them)")


def test_only_cricavprs_code_halves_the_batch_and_only_on_pittsburgh(tiny_city):
    dataset = read_dataset(tiny_city)
    pittsburgh, tokyo = (replace(dataset, benchmark=name) for name in ("pitts30k", "tokyo247"))
    assert published_batch(get_variant("cricavpr-b"), pittsburgh, 16) == 8
    assert published_batch(get_variant("cricavpr-b"), pittsburgh, 1) == 1
    assert published_batch(get_variant("cricavpr-b"), tokyo, 16) == 16
    assert published_batch(get_variant("super-cricavpr-b"), pittsburgh, 16) == 16
    assert published_batch(get_variant("cricavpr-b"), dataset, 16) == 16


def test_a_pca_is_fitted_in_the_precision_of_the_queries_or_says_that_it_was_not(tiny_city, tmp_path):
    model = filled_model("scicevpr-t")
    model.weights = WeightsInfo(source="test", sha256="0123456789ab", trained_on="nothing", trained=False)
    photos, dataset = tiny_city / "images/test/queries", read_dataset(tiny_city)
    plain = fit_pca(model, photos, 3, cache=tmp_path)
    other = fit_pca(model, photos, 3, precision="float32", cache=tmp_path)
    assert len(list(tmp_path.iterdir())) == 2, "another way of computing is another file"
    assert (plain.dtype, other.dtype) == ("float32", "float32")
    assert evaluate(model, dataset, pca=plain).protocol["PCA"] == plain.label
    mixed = replace(plain, dtype=precision_label("int8"))
    assert evaluate(model, dataset, pca=mixed).protocol["PCA"].endswith(f"fitted on descriptors in {mixed.dtype}")


def test_identical_runs_are_comparable_however_their_folders_were_written(tiny_city, tmp_path, monkeypatch):
    city = shutil.copytree(tiny_city / "images" / "test", tmp_path / "city")
    (tmp_path / "link").symlink_to(city)
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    model = filled_model("scicevpr-t")
    model.allow_untrained = True
    written = []
    for number, base in enumerate((city, Path("../city"), tmp_path / "link", Path("../link"))):
        dataset = read_folders(base / "database", base / "queries")
        found = evaluate(model, dataset, database_grouping=Grouping.alone())
        path = tmp_path / f"{number}.json"
        path.write_text(json.dumps({"results": [found.to_json()]}))
        written.append(read_relevance(path)[0])
    for other in written[1:]:
        assert other.queries == written[0].queries
        assert compare(written[0], other).rows["all"][0].difference == 0
    assert not any(os.path.isabs(name) for name in written[1].queries)


# ---- test methods ----------------------------------------------------------------------------------------------------


PLAIN = Preprocessing()
CROPS = ("nearest_crop", "maj_voting")


@pytest.fixture(scope="module")
def model():
    torch.set_num_threads(1)
    filled = filled_model("cricavpr-t")
    filled.allow_untrained = True
    return filled


@pytest.fixture(scope="module")
def dataset(tiny_city):
    whole = read_dataset(tiny_city)
    return replace(whole, queries=whole.queries[:3])


@pytest.fixture(scope="module")
def database(model, dataset):
    return describe(model, [place.path for place in dataset.database])


def _photo(width: int, height: int) -> Image.Image:
    pixels = np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def _scaled(photo: Image.Image, rows: int, columns: int) -> torch.Tensor:
    """Normalise, then resize, by hand."""
    values = torch.from_numpy(np.array(photo)).permute(2, 0, 1).float() / 255
    values = (values - torch.tensor(PLAIN.mean)[:, None, None]) / torch.tensor(PLAIN.std)[:, None, None]
    return F.interpolate(values[None], size=(rows, columns), mode="bilinear", align_corners=False)[0]


@pytest.mark.parametrize(("width", "height", "columns", "rows"), [(400, 300, 298, 224), (90, 260, 224, 647)])
def test_five_crops_are_the_corners_and_the_middle(width, height, columns, rows):
    photo = _photo(width, height)
    scaled, views = _scaled(photo, rows, columns), to_views(photo, PLAIN, "five_crops")
    assert views.shape == (5, 3, 224, 224)
    top, left = round((rows - 224) / 2), round((columns - 224) / 2)
    places = [(0, 0), (0, columns - 224), (rows - 224, 0), (rows - 224, columns - 224), (top, left)]
    for view, (row, column) in zip(views, places, strict=True):
        torch.testing.assert_close(view, scaled[:, row : row + 224, column : column + 224], atol=1e-5, rtol=0)


@pytest.mark.parametrize(("width", "height"), [(400, 300), (90, 260), (224, 224), (640, 480), (1024, 768)])
def test_the_central_crop_is_the_published_one(width, height):
    """One factor for both sides, the nearest pixel (the one that holds its upper left corner), the middle."""
    scale = 224 / min(width, height)
    rows, columns = int(height * scale), int(width * scale)
    top, left = round((rows - 224) / 2), round((columns - 224) / 2)
    step = np.float32(1 / scale)
    at_rows, at_columns = ((np.arange(count, dtype=np.float32) * step).astype(int) for count in (rows, columns))
    photo = np.array(_photo(width, height))[at_rows][:, at_columns][top : top + 224, left : left + 224]
    expected = (photo / 255 - np.array(PLAIN.mean)) / np.array(PLAIN.std)
    for preprocessing in (PLAIN, replace(PLAIN, antialias=True)):
        [view] = to_views(_photo(width, height), preprocessing, "central_crop")
        np.testing.assert_allclose(view.permute(1, 2, 0), expected, atol=1e-5)


def test_a_side_that_rounds_too_short_is_filled_as_published():
    """Factors such as 224 / 253 give 223.99..: one row of zeros, which is the mean colour."""
    sizes = [size for size in range(30, 2000) if int(size * (224 / size)) < 224]
    [view] = to_views(_photo(sizes[0], sizes[0]), PLAIN, "central_crop")
    assert view.shape == (3, 224, 224)
    assert (view[:, -1] == 0).all()
    assert (view[:, :-1, :-1] != 0).any(dim=0).all()


def test_framings_that_cannot_be():
    with pytest.raises(UsageError, match="'tilted' is unknown; choose one of resize"):
        to_views(_photo(30, 30), PLAIN, "tilted")
    with pytest.raises(ImageError, match="so long and narrow"):
        to_views(_photo(3000, 2), PLAIN, "five_crops")
    assert to_views(_photo(3000, 2), PLAIN).shape == (1, 3, 224, 224)


def test_names_and_their_aliases():
    assert list(METHODS) == ["hard_resize", "single_query", "central_crop", "five_crops", "nearest_crop", "maj_voting"]
    assert find_method("five_crops_mean").name == "five_crops"
    assert find_method("majority_voting") is METHODS["maj_voting"]
    with pytest.raises(UsageError, match="no test method 'ten_crops'; choose one of hard_resize"):
        find_method("ten_crops")


def test_a_vote_reduces_distances_where_crops_agree():
    """By hand: row 7 leads two crops (n = 1), rows 7 and 3 are shared among the first five, row 9 comes too late."""
    rows = np.array([[7, 3, 1, 2, 4, 9], [7, 5, 6, 8, 3, 9]])
    far = np.tile(np.float32([0.1, 0.2, 0.3, 0.4, 0.5, 0.6]), (2, 1))
    weight = 0.01
    first, five, ten = weight * 2 / 1, weight * 2 / 5, weight * 2 / 10
    expected = far.copy()
    expected[:, 0] -= first + five + ten
    expected[0, 1] -= five + ten
    expected[1, 4] -= five + ten
    expected[:, 5] -= ten
    np.testing.assert_allclose(vote(rows, far, weight), expected, atol=1e-7)
    assert far[0, 0] == np.float32(0.1)  # the caller's distances stay


def _crop_city(seed: int = 0, photos: int = 150, queries: int = 6) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((photos + 5 * queries, 16)).astype(np.float32)
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    return values[:photos], values[photos:]


def _by_hand(database: np.ndarray, crops: np.ndarray, k: int, weight: float | None) -> list[list[int]]:
    """All distances, reduced by votes if there is a weight, then the best of the crops for every photo."""
    answers = []
    for five in crops.reshape(-1, 5, crops.shape[1]):
        far = ((five[:, None].astype(np.float64) - database[None]) ** 2).sum(axis=2)
        order = np.argsort(far, axis=1)
        reduced = far.copy()
        for n in (1, 5, 10) if weight is not None else ():
            for row in range(len(database)):
                seen = [crop for crop in range(5) if row in order[crop, :n]]
                if len(seen) > 1:
                    reduced[seen, row] -= weight * len(seen) / n
        answers.append(np.argsort(reduced.min(axis=0))[:k].tolist())
    return answers


@pytest.mark.parametrize("method", CROPS)
@pytest.mark.parametrize("k", [1, 3, 20, 100, 150])
def test_crops_are_merged_for_any_number_of_matches(method, k):
    """The published code stops at 20 matches; these do not."""
    database, crops = _crop_city()
    weight = 0.3 if method == "maj_voting" else None
    found = search_queries(ExactIndex(database), crops, k, method, weight or 0.0)
    assert found.indices.shape == (6, k)
    assert found.indices.tolist() == _by_hand(database, crops, k, weight)
    assert (np.diff(found.distances, axis=1) >= 0).all()
    if method == "nearest_crop":
        np.testing.assert_allclose(found.similarities, 1 - found.distances / 2, atol=1e-5)


def test_votes_change_answers():
    database, crops = _crop_city(1)
    index = ExactIndex(database)
    nearest, voted = (search_queries(index, crops, 10, method, 1.0).indices for method in CROPS)
    assert (nearest != voted).any()
    np.testing.assert_array_equal(search_queries(index, crops, 10, "maj_voting", 0.0).indices, nearest)


def test_a_database_smaller_than_the_list_is_padded():
    database, crops = _crop_city(photos=7)
    for method in CROPS:
        found = search_queries(ExactIndex(database), crops, 30, method)
        assert (np.sort(found.indices[:, :7]) == np.arange(7)).all()
        assert (found.indices[:, 7:] == -1).all()
        assert np.isinf(found.distances[:, 7:]).all()


def test_five_crops_search_the_mean_as_it_is():
    database, crops = _crop_city()
    mean = crops.reshape(-1, 5, 16).astype(np.float64).mean(axis=1).astype(np.float32)
    expected = ExactIndex(database).search(mean, 5)
    found = search_queries(ExactIndex(database), crops, 5, "five_crops")
    np.testing.assert_array_equal(found.indices, expected.indices)
    np.testing.assert_array_equal(found.distances, expected.distances)
    with pytest.raises(UsageError, match="needs 5 descriptors of each query; 29"):
        search_queries(ExactIndex(database), crops[:29], 5, "five_crops")


def test_all_crops_of_a_batch_are_described_together(model, dataset):
    paths = [place.path for place in dataset.queries]
    views = torch.stack([to_views(path, model.variant.preprocessing, "five_crops") for path in paths])
    found = describe(model, paths, framing="five_crops", grouping=Grouping.sequential(2))
    with torch.inference_mode():
        expected = torch.cat([model(views[:2].flatten(0, 1)), model(views[2])])
    np.testing.assert_allclose(found.values, expected.numpy(), atol=1e-6)
    assert found.grouping == "sequential 2, 5 crops of each photo (10 images a batch)"


@pytest.mark.parametrize("method", list(METHODS))
def test_every_method_is_evaluated_and_named(model, dataset, database, method):
    result = evaluate(model, dataset, ns=[1, 5], test_method=method, database=database)
    assert result.protocol["test method"].startswith(method)
    assert result.protocol["database grouping"] == "sequential 16"
    grouping = result.protocol["query grouping"]
    assert grouping.startswith("alone" if method == "single_query" else "sequential 16")
    assert ("80 images a batch" in grouping) == (METHODS[method].views == 5)
    assert result.overall.queries == 3
    assert len(result.queries.values) == 3 * METHODS[method].views
    assert result.overall.recalls[5] > 60


def test_single_query_contradicts_a_shared_batch(model, dataset):
    with pytest.raises(UsageError, match="single_query puts every query in a batch of its own"):
        evaluate(model, dataset, test_method="single_query", query_grouping=Grouping.sequential(4))
