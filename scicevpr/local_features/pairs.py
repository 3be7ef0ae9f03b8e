"""Pairs of points of two photos: mutual nearest neighbours, and which of them one view geometry explains.

The geometry is estimated by PoseLib (BSD-3-Clause) with a fixed seed, so the same points give the same answer.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

import numpy as np
import torch

from scicevpr.errors import UsageError, WeightsError
from scicevpr.local_features.points import LocalFeatures, PointOptions, find_points
from scicevpr.local_features.xfeat import REMEDY

FEWEST = {"fundamental": 8, "homography": 5}  # pairs: one more than a geometry can always explain


@dataclass(frozen=True)
class GeometryOptions:
    """What a pair of points must meet to be an inlier.

    model: "fundamental" (two views of a solid scene) or "homography" (a plane). min_similarity: least cosine of two
    descriptors. max_error: pixels, measured in photos whose longer side has longer_side pixels. iterations: least and
    most rounds of RANSAC. seed: of its draws.
    """

    model: str = "fundamental"
    min_similarity: float = 0.82
    max_error: float = 2.0
    longer_side: int = PointOptions.longer_side
    iterations: tuple[int, int] = (100, 1000)
    seed: int = 0

    @property
    def label(self) -> str:
        """How protocols call them."""
        return (
            f"mutual nearest neighbours with cosine {self.min_similarity:g} or more, {self.model} within "
            f"{self.max_error:g} px by PoseLib, {self.iterations[0]} to {self.iterations[1]} iterations, "
            f"seed {self.seed}"
        )


@dataclass(frozen=True)
class PairCheck:
    """Point pairs of photos A and B. points_a, points_b: [M, 2] float64, pixels of the upright photos; rows belong
    together. inlier: [M] bool. matrix: [3, 3] of the geometry (in photos of the options' size), or None. seconds."""

    points_a: np.ndarray
    points_b: np.ndarray
    inlier: np.ndarray
    matrix: np.ndarray | None
    seconds: float

    @property
    def inliers(self) -> int:
        """How many pairs agree on one geometry."""
        return int(self.inlier.sum())

    def to_json(self) -> dict[str, Any]:
        """Plain lists and numbers."""
        return {
            "pairs": len(self.inlier),
            "inliers": self.inliers,
            "seconds": self.seconds,
            "points_a": self.points_a.round(2).tolist(),
            "points_b": self.points_b.round(2).tolist(),
            "inlier": self.inlier.tolist(),
        }


def poselib_module() -> ModuleType:
    """PoseLib. WeightsError, naming the remedy, when it is not installed."""
    try:
        import poselib
    except ImportError as error:
        raise WeightsError(f"The geometric check needs the package poselib, which is missing. {REMEDY}") from error
    return poselib


def mutual_pairs(a: LocalFeatures, b: LocalFeatures, min_similarity: float = -1.0) -> np.ndarray:
    """[M, 2] rows of A and B whose descriptors are each other's nearest, by row of A. UsageError: other descriptors."""
    if a.descriptors.shape[1:] != b.descriptors.shape[1:]:
        raise UsageError(
            f"Descriptors of {a.descriptors.shape[1]} and {b.descriptors.shape[1]} dimensions cannot be compared. Find "
            "the points of both photos with the same network."
        )
    if not len(a) or not len(b):
        return np.empty((0, 2), np.int64)
    one, other = (torch.from_numpy(part.descriptors.astype(np.float32)) for part in (a, b))
    similarity = one @ other.T  # (N, M)
    best, to_b = similarity.max(dim=1)
    to_a = similarity.argmax(dim=0)
    rows = torch.arange(len(one))
    kept = (to_a[to_b] == rows) & (best >= min_similarity)
    return torch.stack((rows[kept], to_b[kept]), dim=1).numpy()


def check_pair(a: LocalFeatures, b: LocalFeatures, options: GeometryOptions | None = None) -> PairCheck:
    """Match the points of two photos and find the geometry that most pairs agree on.

    With fewer pairs than a geometry could always explain nothing is an inlier. UsageError for another model.
    """
    options = options or GeometryOptions()
    if options.model not in FEWEST:
        raise UsageError(f"The geometry {options.model!r} is unknown; choose one of {', '.join(FEWEST)}.")
    poselib, started = poselib_module(), time.perf_counter()
    pairs = mutual_pairs(a, b, options.min_similarity)
    inlier, matrix = np.zeros(len(pairs), bool), None
    if len(pairs) >= FEWEST[options.model]:
        one, other = (part.positions(options.longer_side)[rows] for part, rows in zip((a, b), pairs.T, strict=True))
        ransac = {
            "max_epipolar_error": options.max_error,
            "max_reproj_error": options.max_error,
            "min_iterations": options.iterations[0],
            "max_iterations": options.iterations[1],
            "seed": options.seed,
        }
        estimate = getattr(poselib, f"estimate_{options.model}")
        matrix, found = estimate(one, other, ransac, {})
        inlier = np.array(found["inliers"], bool)
        if inlier.sum() < FEWEST[options.model] or not np.isfinite(matrix).all():
            inlier, matrix = np.zeros(len(pairs), bool), None
    return PairCheck(
        a.positions()[pairs[:, 0]], b.positions()[pairs[:, 1]], inlier, matrix, time.perf_counter() - started
    )


def match_photos(a: Any, b: Any, points: PointOptions | None = None) -> PairCheck:
    """The point pairs of two photos (files, images, arrays); errors as in `find_points`. seconds: of everything."""
    started = time.perf_counter()
    points = points or PointOptions()
    check = check_pair(find_points(a, points), find_points(b, points), GeometryOptions(longer_side=points.longer_side))
    return replace(check, seconds=time.perf_counter() - started)
