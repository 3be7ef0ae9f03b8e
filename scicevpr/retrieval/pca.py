"""Shorter descriptors by principal component analysis, as the published evaluation does it.

Centred, projected on the leading components, not whitened and not normalised afterwards. Solver and seed are recorded,
because a randomised solver gives other components with every seed. It is our own and not scikit-learn's because
descriptors are read a block at a time and may lie in a memory-mapped file, and because the same seed goes on giving the
same index; only the exact solver needs all descriptors in double precision.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from scicevpr.errors import IndexMismatchError, UsageError
from scicevpr.files.reading import parse_json
from scicevpr.files.writing import DescriptorWriter, written_whole
from scicevpr.retrieval.rows import check_finite, row_blocks, shape_of

SOLVERS = ("auto", "exact", "randomized")
EXACT_WORK = 5e10  # N * D * min(N, D) up to which "auto" is exact: 2,000 x 10,752 took 10 s on two cores (NumPy 2.4)
OVERSAMPLING = 10
MAX_PHOTOS = 2**14  # the published number of training photos for the fit
FORMAT = "scicevpr-pca-1"


@dataclass(frozen=True)
class PCA:
    """A fitted reduction from D to K dimensions.

    mean [D], components [K, D] (rows of unit length), explained_variance [K] (divided by n - 1),
    explained_variance_ratio [K], singular_values [K]: float64. samples: rows of the fit. solver, seed: how it was
    fitted. fingerprint, weights: of the model whose descriptors it belongs to, dtype, grouping: how they were made
    ("" when unknown).
    """

    mean: np.ndarray
    components: np.ndarray
    explained_variance: np.ndarray
    explained_variance_ratio: np.ndarray
    singular_values: np.ndarray
    samples: int
    solver: str = "exact"
    seed: int = 0
    fingerprint: str = ""
    weights: str = ""
    dtype: str = ""
    grouping: str = ""

    @classmethod
    def fit(cls, descriptors: Any, dimension: int, *, solver: str = "exact", seed: int = 0, **origin: str) -> PCA:
        """Fit on descriptors [N, D]: an array, a memory map, anything that gives rows when sliced.

        solver: "exact" (singular value decomposition), "randomized" (depends on the seed; as many power iterations as
        scikit-learn makes), or "auto": exact where that is cheap. origin: fingerprint, weights, dtype and grouping of
        the descriptors, as far as known. Raises UsageError for another solver, or when `dimension` exceeds what N rows
        of D values can give.
        """
        if solver not in SOLVERS:
            raise UsageError(f"PCA solver {solver!r} is unknown; choose one of {', '.join(SOLVERS)}.")
        samples, width = shape_of(descriptors, "descriptors for a PCA")
        if not 1 <= dimension <= min(samples, width) or samples < 2:
            raise UsageError(
                f"A PCA to {dimension} dimensions needs at least {max(dimension, 2)} photos and descriptors of that "
                f"length; there are {samples} photos with {width} dimensions. Choose fewer dimensions or more photos."
            )
        check_finite(descriptors, "descriptors for a PCA")
        if solver == "auto":
            solver = "exact" if samples * width * min(samples, width) <= EXACT_WORK else "randomized"
        mean = sum(block.sum(axis=0) for _, block in _blocks(descriptors)) / samples
        squares = sum(((block - mean) ** 2).sum() for _, block in _blocks(descriptors))
        if solver == "exact":
            centred = np.concatenate([block - mean for _, block in _blocks(descriptors)])
            _, singular, directions = np.linalg.svd(centred, full_matrices=False)
        else:
            singular, directions = _randomised(descriptors, mean, dimension, seed)
        components = directions[:dimension]
        largest = np.abs(components).argmax(axis=1)  # a component's sign is free: make its largest entry positive
        components = components * np.sign(components[np.arange(dimension), largest])[:, None]
        variance = singular[:dimension] ** 2 / (samples - 1)
        return cls(
            mean=mean,
            components=components,
            explained_variance=variance,
            explained_variance_ratio=variance / (squares / (samples - 1)),
            singular_values=singular[:dimension],
            samples=samples,
            solver=solver,
            seed=seed,
            **origin,
        )

    @property
    def dimension(self) -> int:
        """K."""
        return len(self.components)

    @property
    def label(self) -> str:
        """One phrase for the protocol line."""
        seed = "" if self.solver == "exact" else f", seed {self.seed}"
        return f"{len(self.mean)} to {self.dimension} ({self.solver} solver{seed}, fitted on {self.samples} photos)"

    def transform(self, descriptors: Any, scratch: Path | str | None = None) -> np.ndarray:
        """Reduce descriptors [N, D] to [N, K], computed in double; float64 stays float64, all else becomes float32.

        scratch: a folder for a nameless temporary file that takes the result, as in `describe`. Raises
        IndexMismatchError when D differs from that of the fit.
        """
        count, width = shape_of(descriptors, "descriptors for a PCA")
        if width != len(self.mean):
            raise IndexMismatchError(
                f"This PCA was fitted on descriptors of {len(self.mean)} dimensions; those given have {width}. Fit it "
                "again with the model in use."
            )
        dtype = "float64" if getattr(descriptors, "dtype", None) == np.float64 else "float32"
        with DescriptorWriter((count, self.dimension), dtype, scratch=scratch) as store:
            for start, block in _blocks(descriptors):
                store.write(range(start, start + len(block)), (block - self.mean) @ self.components.T)
            return store.finish()

    def check_model(self, fingerprint: str, weights: str) -> None:
        """Raise IndexMismatchError when the PCA was fitted with another architecture or other weights."""
        for what, own, other in (("architecture", self.fingerprint, fingerprint), ("weights", self.weights, weights)):
            if own and own != other:
                raise IndexMismatchError(
                    f"This PCA belongs to another {what} ({own}) than the model in use ({other}). Fit it again."
                )

    def save(self, path: Path | str) -> Path:
        """Write the reduction as safetensors; the file appears under its name when it is complete."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        arrays = {name: np.ascontiguousarray(getattr(self, name)) for name in _ARRAYS}
        record = {name: getattr(self, name) for name in _RECORD}
        metadata = {"format": FORMAT, "record": json.dumps(record), "sha256": _sha256(arrays)}
        with written_whole(path) as part:
            save_file(arrays, part, metadata=metadata)
        return path

    @classmethod
    def load(cls, path: Path | str) -> PCA:
        """Read what save wrote. Raises IndexMismatchError for a missing or damaged file or another kind of file."""
        path = Path(path)
        if not path.is_file():
            raise IndexMismatchError(f"There is no PCA file at {path}.")
        try:
            with safe_open(path, framework="numpy") as file:
                metadata = file.metadata() or {}
                if metadata.get("format") != FORMAT:
                    raise KeyError("format")
                arrays = {name: file.get_tensor(name) for name in _ARRAYS}
            _check_arrays(arrays)
            if metadata.get("sha256", "") not in ("", _sha256(arrays)):  # not kept by earlier versions
                raise IndexMismatchError(f"The PCA in {path} is damaged: its SHA-256 is another one. Fit it again.")
            record = {"dtype": "", "grouping": "", **parse_json(metadata["record"])}
            kinds = {name: int if name in ("samples", "seed") else str for name in _RECORD}
            if set(record) != set(_RECORD) or any(type(record[name]) is not kind for name, kind in kinds.items()):
                raise ValueError("its record is of another kind")
            return cls(**arrays, **record)
        except (SafetensorError, KeyError, ValueError, TypeError, AttributeError, OSError) as error:
            raise IndexMismatchError(f"{path} is not a PCA file of this project. Fit the PCA again.") from error


def _check_arrays(arrays: dict[str, np.ndarray]) -> None:
    """ValueError for arrays that are no PCA together."""
    dimension, width = np.shape(arrays["components"])
    shapes = dict.fromkeys(_ARRAYS, (dimension,)) | {"mean": (width,), "components": (dimension, width)}
    for name, array in arrays.items():
        if array.shape != shapes[name] or array.dtype != np.float64 or not np.isfinite(array).all() or not array.size:
            raise ValueError(f"{name} is {array.dtype} {list(array.shape)}, or not finite")


def _sha256(arrays: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name in _ARRAYS:
        digest.update(np.ascontiguousarray(arrays[name]))
    return digest.hexdigest()


_ARRAYS = ("mean", "components", "explained_variance", "explained_variance_ratio", "singular_values")
_RECORD = ("samples", "solver", "seed", "fingerprint", "weights", "dtype", "grouping")


def _blocks(descriptors: Any) -> Iterator[tuple[int, np.ndarray]]:
    return row_blocks(descriptors, dtype=np.float64)


def _randomised(descriptors: Any, mean: np.ndarray, dimension: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Leading singular values and directions by random projection with power iterations (Halko et al., 2011)."""
    from scipy.linalg import lu, qr  # only where it is needed: it takes long to import

    samples, size = shape_of(descriptors, "descriptors for a PCA")
    width = min(dimension + OVERSAMPLING, samples, size)

    def project(directions: np.ndarray) -> np.ndarray:
        return np.concatenate([(block - mean) @ directions for _, block in _blocks(descriptors)])

    def project_back(sketch: np.ndarray) -> np.ndarray:
        parts = ((block - mean).T @ sketch[start : start + len(block)] for start, block in _blocks(descriptors))
        return sum(parts, np.zeros((size, sketch.shape[1])))

    directions = np.random.default_rng(seed).standard_normal((size, width))
    for _ in range(7 if dimension < 0.1 * min(samples, size) else 4):
        sketch = lu(project(directions), permute_l=True)[0]
        directions = lu(project_back(sketch), permute_l=True)[0]
    basis, _ = qr(project(directions), mode="economic")
    _, singular, directions = np.linalg.svd(project_back(basis).T, full_matrices=False)
    return singular, directions
