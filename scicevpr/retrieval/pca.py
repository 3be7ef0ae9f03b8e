"""Shorter descriptors by principal component analysis, as the published evaluation does it.

Centred, projected on the leading components, not whitened and not normalised afterwards. The exact solver is the
default; solver and seed are recorded, because a randomised solver gives other components every time.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scicevpr.errors import IndexMismatchError, UsageError

SOLVERS = ("exact", "randomized")
MAX_PHOTOS = 2**14  # the published number of training photos for the fit
FORMAT = "scicevpr-pca-1"


@dataclass(frozen=True)
class PCA:
    """A fitted reduction from D to K values.

    mean [D], components [K, D] (rows of unit length), explained_variance [K] (divided by n - 1),
    explained_variance_ratio [K], singular_values [K]: float64. samples: rows of the fit. solver, seed: how it was
    fitted. fingerprint, weights: of the model whose descriptors it belongs to ("" when unknown).
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

    @classmethod
    def fit(
        cls,
        descriptors: np.ndarray,
        dimension: int,
        *,
        solver: str = "exact",
        seed: int = 0,
        fingerprint: str = "",
        weights: str = "",
    ) -> PCA:
        """Fit on descriptors [N, D]. The seed only matters for the randomised solver.

        Raises UsageError for another solver, or when `dimension` exceeds what N rows of D values can give.
        """
        values = np.asarray(descriptors, dtype=np.float64)
        if solver not in SOLVERS:
            raise UsageError(f"PCA solver {solver!r} is unknown; choose one of {', '.join(SOLVERS)}.")
        if values.ndim != 2:
            raise UsageError(f"The descriptors for a PCA must have the shape [N, D], not {list(values.shape)}.")
        samples, width = values.shape
        if not 1 <= dimension <= min(samples, width) or samples < 2:
            raise UsageError(
                f"A PCA to {dimension} values needs at least {max(dimension, 2)} photos and descriptors of that "
                f"length; there are {samples} photos with {width} values. Choose a smaller dimension or more photos."
            )
        mean = values.mean(axis=0)
        centred = values - mean
        if solver == "exact":
            _, singular, directions = np.linalg.svd(centred, full_matrices=False)
        else:
            singular, directions = _randomised(centred, dimension, seed)
        components = directions[:dimension]
        largest = np.abs(components).argmax(axis=1)  # a component's sign is free: make its largest entry positive
        components = components * np.sign(components[np.arange(dimension), largest])[:, None]
        variance = singular[:dimension] ** 2 / (samples - 1)
        total = (centred**2).sum() / (samples - 1)
        return cls(
            mean=mean,
            components=components,
            explained_variance=variance,
            explained_variance_ratio=variance / total,
            singular_values=singular[:dimension],
            samples=samples,
            solver=solver,
            seed=seed,
            fingerprint=fingerprint,
            weights=weights,
        )

    @property
    def dimension(self) -> int:
        """Values per reduced descriptor (K)."""
        return len(self.components)

    @property
    def label(self) -> str:
        """One phrase for the protocol line."""
        seed = "" if self.solver == "exact" else f", seed {self.seed}"
        return f"{len(self.mean)} to {self.dimension} ({self.solver} solver{seed}, fitted on {self.samples} photos)"

    def transform(self, descriptors: np.ndarray) -> np.ndarray:
        """Reduce descriptors [N, D] to [N, K], computed in double, returned in the precision they came in.

        Raises IndexMismatchError when D differs from that of the fit.
        """
        values = np.asarray(descriptors)
        if values.ndim != 2 or values.shape[1] != len(self.mean):
            raise IndexMismatchError(
                f"This PCA was fitted on descriptors of {len(self.mean)} values; the ones given have the shape "
                f"{list(values.shape)}. Fit it again with the model in use."
            )
        reduced = (values.astype(np.float64) - self.mean) @ self.components.T
        return reduced.astype(values.dtype if np.issubdtype(values.dtype, np.floating) else np.float64)

    def check_model(self, fingerprint: str, weights: str) -> None:
        """Raise IndexMismatchError when the PCA was fitted with another architecture or other weights."""
        for what, own, other in (("architecture", self.fingerprint, fingerprint), ("weights", self.weights, weights)):
            if own and own != other:
                raise IndexMismatchError(
                    f"This PCA belongs to another {what} ({own}) than the model in use ({other}). Fit it again."
                )

    def save(self, path: Path | str) -> Path:
        """Write the reduction as safetensors."""
        from safetensors.numpy import save_file

        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        arrays = {name: np.ascontiguousarray(getattr(self, name)) for name in _ARRAYS}
        record = {name: getattr(self, name) for name in _RECORD}
        save_file(arrays, path, metadata={"format": FORMAT, "record": json.dumps(record)})
        return path

    @classmethod
    def load(cls, path: Path | str) -> PCA:
        """Read what save wrote. Raises IndexMismatchError for a missing file or another kind of file."""
        from safetensors import SafetensorError, safe_open

        path = Path(path)
        if not path.is_file():
            raise IndexMismatchError(f"There is no PCA file at {path}.")
        try:
            with safe_open(path, framework="numpy") as file:
                metadata = file.metadata() or {}
                if metadata.get("format") != FORMAT:
                    raise KeyError("format")
                arrays = {name: file.get_tensor(name) for name in _ARRAYS}
            return cls(**arrays, **json.loads(metadata["record"]))
        except (SafetensorError, KeyError, ValueError, TypeError, OSError) as error:
            raise IndexMismatchError(f"{path} is not a PCA file of this project. Fit the PCA again.") from error


_ARRAYS = ("mean", "components", "explained_variance", "explained_variance_ratio", "singular_values")
_RECORD = ("samples", "solver", "seed", "fingerprint", "weights")


def _randomised(centred: np.ndarray, dimension: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Leading singular values and directions by random projection with power iterations (Halko et al., 2011)."""
    width = min(dimension + 10, *centred.shape)
    sketch = centred @ np.random.default_rng(seed).standard_normal((centred.shape[1], width))
    for _ in range(7):
        sketch, _ = np.linalg.qr(sketch)
        sketch, _ = np.linalg.qr(centred.T @ sketch)
        sketch = centred @ sketch
    basis, _ = np.linalg.qr(sketch)
    _, singular, directions = np.linalg.svd(basis.T @ centred, full_matrices=False)
    return singular, directions
