"""Orders in which photos may reach a model, as groupings: as published, in file order, shuffled, by place."""

from __future__ import annotations

import numpy as np

from scicevpr.config import Variant
from scicevpr.datasets import Dataset
from scicevpr.datasets.catalogue import BENCHMARKS
from scicevpr.datasets.ground_truth import separate_positions
from scicevpr.descriptors.batches import DEFAULT_SEQUENTIAL, Grouping, default_grouping
from scicevpr.errors import UsageError

ORDERS = ("file", "shuffled", "place")


def published_grouping(variant: Variant, dataset: Dataset) -> Grouping | None:
    """How a model was published on a benchmark: in file order, 8 photos a batch on the Pittsburgh sets, 16 elsewhere.

    None for a model whose descriptors do not depend on their batch.
    """
    benchmark = BENCHMARKS.get(dataset.benchmark)
    if not variant.cross_image or benchmark is None:
        return default_grouping(variant)
    return Grouping.sequential(benchmark.cross_image_batch)


def published_batch(variant: Variant, dataset: Dataset, size: int) -> int:
    """Photos a batch where the published code is told ``size``: CricaVPR's halves it on the Pittsburgh sets."""
    benchmark = BENCHMARKS.get(dataset.benchmark)
    halved = getattr(variant, "family", "") == "cricavpr" and benchmark is not None
    return max(1, size // 2) if halved and benchmark.cross_image_batch < DEFAULT_SEQUENTIAL else size


def published_rounding(variant: Variant) -> str:
    """How positions are rounded in the published evaluation of a model: "float32" in SciceVPR's code, which also
    evaluates its teacher; "float64" in CricaVPR's and everybody else's."""
    return "float32" if getattr(variant, "family", "") in ("scicevpr", "super-cricavpr") else "float64"


def shuffled_groups(count: int, size: int, seed: int) -> Grouping:
    """Batches of ``size`` photos in a random order."""
    order = np.random.default_rng(seed).permutation(count)
    return Grouping.explicit([order[i : i + size] for i in range(0, count, size)], f"shuffled with seed {seed}, {size}")


def place_groups(dataset: Dataset, size: int = 16) -> Grouping:
    """Batches of queries that stand near each other: repeatedly the first query left and its nearest ones.

    It uses the true positions, which nobody has in practice: the kindest batches a cross-image model can get.
    """
    positions, left, groups = separate_positions(dataset.queries), list(range(len(dataset.queries))), []
    while left:
        distances = np.hypot(*(positions[left] - positions[left[0]]).T)
        chosen = [left[i] for i in np.argsort(distances, kind="stable")[:size]]
        groups.append(chosen)
        left = [row for row in left if row not in set(chosen)]
    return Grouping.explicit(groups, f"by place {size}")


def ordered_groups(dataset: Dataset, order: str, size: int, seed: int = 0) -> Grouping:
    """Batches of ``size`` queries in the order "file", "shuffled" (with ``seed``) or "place".

    Raises:
        UsageError: another order. DatasetError: "place" without positions.
    """
    if order == "file":
        return Grouping.sequential(size)
    if order == "shuffled":
        return shuffled_groups(len(dataset.queries), size, seed)
    if order == "place":
        return place_groups(dataset, size)
    raise UsageError(f"The order {order!r} is unknown; choose one of {', '.join(ORDERS)}.")
