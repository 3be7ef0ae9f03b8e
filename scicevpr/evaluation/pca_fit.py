"""Fit a PCA on a folder of photos once, and take it from the cache afterwards.

As published: at most 2^14 photos of a training folder, drawn with the seed, described by the model in use.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from scicevpr.config import Preprocessing, user_cache_folder
from scicevpr.datasets import list_photos
from scicevpr.descriptors.batches import DEFAULT_WORKERS, Grouping, default_grouping
from scicevpr.descriptors.describe import describe
from scicevpr.descriptors.precision import best_mode
from scicevpr.errors import IndexMismatchError, UsageError
from scicevpr.files.writing import MEMORY_LIMIT, scratch_folder
from scicevpr.models.model import VPRModel
from scicevpr.progress import Progress
from scicevpr.retrieval.pca import MAX_PHOTOS, PCA


def pca_cache_folder() -> Path:
    """Where fitted reductions are kept: `pca` in the user's cache."""
    return user_cache_folder() / "pca"


def fit_pca(
    model: VPRModel,
    folder: Path | str,
    dimension: int,
    *,
    solver: str = "auto",
    seed: int = 0,
    grouping: Grouping | None = None,
    batch_size: int = 16,
    preprocessing: Preprocessing | None = None,
    precision: str | None = None,
    num_workers: int = DEFAULT_WORKERS,
    cache: Path | str | None = None,
    storage: Path | str | None = None,
    memory_limit: int = MEMORY_LIMIT,
    progress: Progress | None = None,
) -> PCA:
    """Fit a PCA to ``dimension`` values on the photos below a folder, or load the same one that was fitted before.

    solver, seed: see `PCA.fit`; the seed also draws the photos where there are more than 2^14. grouping, batch_size,
    preprocessing, precision, num_workers: as in `describe`. cache: folder of fitted reductions (None: keep nothing). A
    file there is used only when architecture, weights, precision, preprocessing, grouping, photos (names, sizes and
    times of change), dimension, solver and seed are all the same. storage, memory_limit: as in `evaluate`.

    Raises the errors of `describe` and `PCA.fit`, and DatasetError for a folder without photos.
    """
    photos = _drawn(list_photos(folder), seed)
    preprocessing = preprocessing or model.variant.preprocessing
    grouping = grouping or default_grouping(model.variant)
    kept = None
    if cache is not None and model.weights is not None:  # random weights have no name to keep a file under
        mode = best_mode(model, next(model.parameters()).device).mode if precision == "auto" else precision
        fit = (dimension, solver, seed, mode or "")
        key = _key(model, model.weights.sha256, Path(folder), photos, grouping, preprocessing, fit)
        kept = Path(cache) / f"{model.variant.name}-{dimension}-{key}.safetensors"
        if kept.is_file():
            return load_pca(kept, model, dimension)
    scratch = scratch_folder(4 * len(photos) * model.variant.descriptor_dim, memory_limit, storage)
    described = describe(
        model,
        photos,
        grouping=grouping,
        batch_size=batch_size,
        preprocessing=preprocessing,
        precision=precision,
        num_workers=num_workers,
        scratch=scratch,
        progress=progress,
    )
    pca = PCA.fit(
        described.values,
        dimension,
        solver=solver,
        seed=seed,
        fingerprint=described.fingerprint,
        weights=described.weights,
        dtype=described.dtype,
        grouping=described.grouping,
    )
    if kept is not None:
        pca.save(kept)
    return pca


def load_pca(path: Path | str, model: VPRModel, dimension: int | None = None) -> PCA:
    """Read a PCA file for a model. IndexMismatchError when it belongs to another one or has another dimension."""
    pca = PCA.load(path)
    pca.check_model(model.variant.fingerprint, model.weights.sha256 if model.weights is not None else "random")
    if dimension not in (None, pca.dimension):
        raise IndexMismatchError(
            f"{path} reduces descriptors to {pca.dimension} values, not to {dimension}. Leave the dimension out, or "
            "name another file to fit a new one."
        )
    return pca


def named_pca(path: Path | str, model: VPRModel, folder: Path | str | None, dimension: int | None, **options) -> PCA:
    """The PCA of this file; where the file is missing, fit one (see `fit_pca`) and write it there."""
    if Path(path).exists():
        return load_pca(path, model, dimension)
    if folder is None or dimension is None:
        raise UsageError(f"There is no PCA file at {path}. To fit one, name a folder of photos and a number of values.")
    pca = fit_pca(model, folder, dimension, **options)
    pca.save(path)
    return pca


def _drawn(photos: Sequence[Path], seed: int) -> list[Path]:
    if len(photos) <= MAX_PHOTOS:
        return list(photos)
    rows = np.random.default_rng(seed).choice(len(photos), MAX_PHOTOS, replace=False)
    return [photos[row] for row in np.sort(rows)]


def _photo_state(photo: Path, folder: Path) -> tuple[str, int, int]:
    state = photo.stat()
    return photo.relative_to(folder).as_posix(), state.st_size, state.st_mtime_ns


def _key(
    model: VPRModel,
    weights: str,
    folder: Path,
    photos: Sequence[Path],
    grouping: Grouping | None,
    preprocessing: Preprocessing,
    fit: tuple[int, str, int, str],
) -> str:
    """12 hex digits over everything that the fitted values depend on."""
    decisive = {
        "fingerprint": model.variant.fingerprint,
        "weights": weights,
        "dtype": str(next(model.parameters()).dtype),
        "preprocessing": asdict(preprocessing),
        "grouping": asdict(grouping) if grouping else None,
        "photos": [_photo_state(photo, folder) for photo in photos],
        "fit": fit,
    }
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:12]
