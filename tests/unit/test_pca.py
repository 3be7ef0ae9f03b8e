from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest
from filled_models import filled_model

from scicevpr.descriptors.batches import Grouping
from scicevpr.errors import IndexMismatchError, UsageError
from scicevpr.evaluation import pca_fit
from scicevpr.models.model import WeightsInfo
from scicevpr.retrieval import pca as pca_module
from scicevpr.retrieval import rows as blocks_module
from scicevpr.retrieval.pca import PCA


def _distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.linalg.norm(a[:, None].astype(np.float64) - b[None].astype(np.float64), axis=2)


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-6), (np.float32, 1e-4)])
def test_the_reduction_equals_the_reference(golden, dtype, tolerance):
    data = golden("pca")
    fit, new = data["fit"].astype(dtype), data["new"].astype(dtype)
    pca = PCA.fit(fit, 16)
    reduced, reduced_fit = pca.transform(new), pca.transform(fit)
    assert reduced.dtype == dtype
    for found, name in (
        (pca.mean, "mean"),
        (pca.explained_variance, "explained_variance"),
        (pca.explained_variance_ratio, "explained_variance_ratio"),
        (pca.singular_values, "singular_values"),
        (np.linalg.norm(reduced, axis=1), "norm_new"),
        (_distances(reduced, reduced_fit), "dist_new_fit"),
    ):
        np.testing.assert_allclose(found, data[name], rtol=tolerance, err_msg=name)
    np.testing.assert_allclose(_distances(reduced, reduced), data["dist_new_new"], rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(np.abs(reduced), data["abs_coords_new"], rtol=tolerance, atol=tolerance * 0.01)
    np.testing.assert_allclose(pca.components.T @ pca.components, data["projector"], rtol=0, atol=tolerance)


def test_the_randomised_solver_is_close_and_repeatable(golden):
    data = golden("pca")
    pca = PCA.fit(data["fit"], 16, solver="randomized", seed=5)
    np.testing.assert_allclose(pca.singular_values, data["singular_values"], rtol=1e-2)
    np.testing.assert_array_equal(pca.components, PCA.fit(data["fit"], 16, solver="randomized", seed=5).components)
    assert "seed 5" in pca.label


def test_auto_is_exact_where_that_is_cheap(golden, monkeypatch):
    data = golden("pca")
    np.testing.assert_array_equal(PCA.fit(data["fit"], 4, solver="auto").components, PCA.fit(data["fit"], 4).components)
    monkeypatch.setattr(pca_module, "EXACT_WORK", 0)
    assert PCA.fit(data["fit"], 4, solver="auto").solver == "randomized"


@pytest.mark.parametrize("solver", ["exact", "randomized"])
def test_a_file_is_fitted_and_reduced_in_blocks(golden, tmp_path, monkeypatch, solver):
    data = golden("pca")
    fit = data["fit"].astype(np.float32)
    expected = PCA.fit(fit, 8, solver=solver)
    np.save(tmp_path / "fit.npy", fit)
    monkeypatch.setattr(blocks_module, "BLOCK_BYTES", 7 * 4 * fit.shape[1])
    mapped = np.load(tmp_path / "fit.npy", mmap_mode="r")
    found = PCA.fit(mapped, 8, solver=solver)
    np.testing.assert_allclose(found.components, expected.components, atol=1e-8)
    np.testing.assert_allclose(found.explained_variance_ratio, expected.explained_variance_ratio, rtol=1e-9)
    reduced = found.transform(mapped, scratch=tmp_path)
    assert isinstance(reduced, np.memmap)
    np.testing.assert_allclose(reduced, expected.transform(fit), atol=1e-6)
    assert [path.name for path in tmp_path.iterdir()] == ["fit.npy"]


@pytest.fixture
def counted(monkeypatch):
    """Counts the photos that are really described."""
    described = []
    real = pca_fit.describe
    monkeypatch.setattr(
        pca_fit, "describe", lambda model, paths, **o: described.append(len(paths)) or real(model, paths, **o)
    )
    return described


def test_a_fit_is_kept_and_used_only_for_the_same(tiny_city, tmp_path, counted):
    model = filled_model("scicevpr-t")
    model.weights = WeightsInfo(source="test", sha256="0123456789ab", trained_on="nothing", trained=False)
    photos = tmp_path / "photos"
    photos.mkdir()
    for photo in sorted((tiny_city / "images/test/queries").iterdir())[:4]:
        shutil.copy(photo, photos)
    cache = tmp_path / "cache"
    first = pca_fit.fit_pca(model, photos, 3, cache=cache)
    again = pca_fit.fit_pca(model, photos, 3, cache=cache)
    np.testing.assert_array_equal(first.components, again.components)
    assert counted == [4]
    [kept] = cache.iterdir()
    assert kept.name.startswith("scicevpr-t-3-")
    others = (
        {"dimension": 2}, {"seed": 1}, {"solver": "randomized"}, {"grouping": Grouping.sequential(4)},
        {"preprocessing": replace(model.variant.preprocessing, antialias=False)},
    )  # fmt: skip
    for other in others:
        pca_fit.fit_pca(model, photos, **{"dimension": 3, "cache": cache, **other})
    next(photos.iterdir()).unlink()
    pca_fit.fit_pca(model, photos, 3, cache=cache)
    model.weights = replace(model.weights, sha256="ba9876543210")
    pca_fit.fit_pca(model, photos, 3, cache=cache)
    assert counted == [4] * 6 + [3] * 2
    assert len(list(cache.iterdir())) == 8


def test_a_named_file_is_written_once_and_checked(tiny_city, tmp_path, counted):
    model = filled_model("scicevpr-t")
    model.weights = WeightsInfo(source="test", sha256="0123456789ab", trained_on="nothing", trained=False)
    path, photos = tmp_path / "own.safetensors", tiny_city / "images/test/queries"
    with pytest.raises(UsageError, match=r"no PCA file at .*own\.safetensors"):
        pca_fit.named_pca(path, model, photos, None)
    fitted = pca_fit.named_pca(path, model, photos, 3)
    np.testing.assert_array_equal(pca_fit.named_pca(path, model, None, None).components, fitted.components)
    assert counted == [8]
    with pytest.raises(IndexMismatchError, match="to 3 values, not to 4"):
        pca_fit.named_pca(path, model, photos, 4)
    model.weights = replace(model.weights, sha256="ba9876543210")
    with pytest.raises(IndexMismatchError, match="another weights"):
        pca_fit.named_pca(path, model, photos, 3)


def test_random_weights_are_not_cached(tiny_city, tmp_path):
    model = filled_model("scicevpr-t")
    model.allow_untrained = True
    pca_fit.fit_pca(model, tiny_city / "images/test/queries", 3, cache=tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_save_and_load(golden, tmp_path):
    data = golden("pca")
    pca = PCA.fit(data["fit"], 4, fingerprint="abc", weights="def")
    loaded = PCA.load(pca.save(tmp_path / "deep" / "pca.safetensors"))
    np.testing.assert_array_equal(loaded.transform(data["new"]), pca.transform(data["new"]))
    assert (loaded.fingerprint, loaded.weights, loaded.samples, loaded.solver) == ("abc", "def", 200, "exact")
    loaded.check_model("abc", "def")
    for other in (("xyz", "def"), ("abc", "xyz")):
        with pytest.raises(IndexMismatchError, match="xyz"):
            loaded.check_model(*other)
    replace(loaded, fingerprint="", weights="").check_model("any", "any")


def test_what_cannot_be_done_is_refused(golden, tmp_path):
    data = golden("pca")
    with pytest.raises(UsageError, match="solver 'magic'"):
        PCA.fit(data["fit"], 4, solver="magic")
    for dimension in (0, 65):
        with pytest.raises(UsageError, match="200 photos with 64 dimensions"):
            PCA.fit(data["fit"], dimension)
    with pytest.raises(UsageError, match="there are 10 photos"):
        PCA.fit(data["fit"][:10], 16)
    with pytest.raises(IndexMismatchError, match="64 dimensions"):
        PCA.fit(data["fit"], 4).transform(data["new"][:, :32])
    (tmp_path / "other.safetensors").write_bytes(b"no")
    for name in ("none.safetensors", "other.safetensors"):
        with pytest.raises(IndexMismatchError, match=name):
            PCA.load(tmp_path / name)
