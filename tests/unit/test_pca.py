from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from scicevpr.errors import IndexMismatchError, UsageError
from scicevpr.retrieval import PCA


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
        with pytest.raises(UsageError, match="200 photos with 64 values"):
            PCA.fit(data["fit"], dimension)
    with pytest.raises(UsageError, match="there are 10 photos"):
        PCA.fit(data["fit"][:10], 16)
    with pytest.raises(IndexMismatchError, match="64 values"):
        PCA.fit(data["fit"], 4).transform(data["new"][:, :32])
    (tmp_path / "other.safetensors").write_bytes(b"no")
    for name in ("none.safetensors", "other.safetensors"):
        with pytest.raises(IndexMismatchError, match=name):
            PCA.load(tmp_path / name)
