"""What the published evaluations decide: which photos share a batch, how queries are viewed and their answers merged.

Database photos are always resized whole. What each test method does is what CricaVPR's published code does:
`single_query` resizes a query as `hard_resize` does and gives it a batch of its own, which is what cross-image models
feel; `central_crop` scales by nearest neighbour.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from scicevpr.config import Variant
from scicevpr.datasets import Dataset
from scicevpr.datasets.catalogue import BENCHMARKS
from scicevpr.datasets.ground_truth import separate_positions
from scicevpr.descriptors.batches import DEFAULT_SEQUENTIAL, Grouping, default_grouping
from scicevpr.descriptors.preprocessing import VIEWS
from scicevpr.errors import UsageError
from scicevpr.retrieval.exact import ExactIndex
from scicevpr.retrieval.matches import Matches
from scicevpr.retrieval.rows import row_blocks, shape_of

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
    if getattr(variant, "family", "") != "cricavpr" or benchmark is None:
        return size
    return max(1, size // 2) if benchmark.cross_image_batch < DEFAULT_SEQUENTIAL else size


def published_rounding(variant: Variant) -> str:
    """How positions are rounded in the published evaluation of a model: "float32" in SciceVPR's code, which also
    evaluates its teacher; "float64" in CricaVPR's and everybody else's."""
    return "float32" if getattr(variant, "family", "") in ("scicevpr", "super-cricavpr") else "float64"


def shuffled_groups(count: int, size: int, seed: int) -> Grouping:
    """Batches of ``size`` photos in a random order."""
    order = np.random.default_rng(seed).permutation(count).tolist()
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
    """Batches of ``size`` queries in one of ORDERS (UsageError: another). DatasetError: "place" without positions."""
    if order == "file":
        return Grouping.sequential(size)
    if order == "shuffled":
        return shuffled_groups(len(dataset.queries), size, seed)
    if order == "place":
        return place_groups(dataset, size)
    raise UsageError(f"The order {order!r} is unknown; choose one of {', '.join(ORDERS)}.")


# ---- test methods of queries -----------------------------------------------------------------------------------------


MAJORITY_WEIGHT = 0.01
VOTE_COLUMNS = (1, 5, 10)
QUERIES_AT_ONCE = 64
VOTE_CANDIDATES = 20
"""Candidates of each crop in a majority vote; more where more matches are asked for."""


@dataclass(frozen=True)
class QueryMethod:
    """A test method. framing: see `preprocessing.to_views`; sentence: what it does; alone: each query in a batch of its
    own."""

    name: str
    framing: str
    sentence: str
    alone: bool = False

    @property
    def views(self) -> int:
        """Descriptors per query (V)."""
        return VIEWS[self.framing]


METHODS: dict[str, QueryMethod] = {
    method.name: method
    for method in (
        QueryMethod("hard_resize", "resize", "whole photo, aspect ratio not kept"),
        QueryMethod("single_query", "resize", "resized as hard_resize does, each query alone in its batch", alone=True),
        QueryMethod("central_crop", "central_crop", "scaled by nearest neighbour until it covers the input, middle"),
        QueryMethod("five_crops", "five_crops", "mean of the descriptors of four corners and middle, not renormalised"),
        QueryMethod("nearest_crop", "five_crops", "best distance of four corners and middle"),
        QueryMethod("maj_voting", "five_crops", "four corners and middle vote"),
    )
}
ALIASES = {"five_crops_mean": "five_crops", "majority_voting": "maj_voting"}
"""Names that the documentation of the published code uses."""


def find_method(name: str | QueryMethod) -> QueryMethod:
    """The test method of this name. UsageError, with the names, when there is none."""
    if isinstance(name, QueryMethod):
        return name
    try:
        return METHODS[ALIASES.get(name, name)]
    except KeyError:
        raise UsageError(f"There is no test method {name!r}; choose one of {', '.join(METHODS)}.") from None


def search_queries(
    index: ExactIndex,
    descriptors: Any,
    k: int,
    method: str | QueryMethod = "hard_resize",
    majority_weight: float = MAJORITY_WEIGHT,
) -> Matches:
    """The k best database rows of Q queries.

    descriptors: [Q * V, D], the V views of the first query, then those of the second, ... `nearest_crop` and
    `maj_voting` put every database photo where its best crop has it; in a vote its distances are first reduced (see
    `vote`), so they are no longer squared lengths.

    Raises UsageError when the rows are no multiple of V, and the errors of `ExactIndex.search`.
    """
    method = find_method(method)
    rows, _ = shape_of(descriptors, "query descriptors")
    if rows % method.views:
        raise UsageError(f"{method.name} needs {method.views} descriptors of each query; {rows} is no multiple of it.")
    if method.views == 1:
        return index.search(descriptors, k)
    if method.name == "five_crops":
        return index.search(mean_of_views(descriptors, method.views), k)
    voting = method.name == "maj_voting"
    found = index.search(descriptors, max(k, VOTE_CANDIDATES) if voting else k)
    parts = (found.indices, found.distances, found.similarities)
    indices, distances, similarities = (part.reshape(-1, method.views, part.shape[1]) for part in parts)
    if voting:
        distances = np.stack([vote(*query, majority_weight) for query in zip(indices, distances, strict=True)])
    return _best_of_views(indices, distances, similarities, k)


def mean_of_views(descriptors: Any, views: int) -> np.ndarray:
    """Mean [Q, D] float32 of each query's descriptors [Q * V, D]; not normalised again, as published."""
    rows, width = shape_of(descriptors, "query descriptors")
    means = np.empty((rows // views, width), np.float32)
    for start, block in row_blocks(descriptors, QUERIES_AT_ONCE * views):
        queries = block.reshape(-1, views, width)
        means[start // views : start // views + len(queries)] = queries.mean(axis=1, dtype=np.float64)
    return means


def vote(indices: np.ndarray, distances: np.ndarray, weight: float) -> np.ndarray:
    """Reduce the distances of what several crops agree on.

    indices, distances: [V, K] of one query, nearest first. Among the first n columns, n = 1, 5 and 10, a database row
    that appears c > 1 times has its distances there reduced by weight * c / n. Returns the new distances.
    """
    reduced = distances.copy()
    for n in VOTE_COLUMNS:
        rows, counts = np.unique(indices[:, :n], return_counts=True)
        for row, count in zip(rows, counts, strict=True):
            if count > 1 and row >= 0:
                reduced[:, :n][indices[:, :n] == row] -= weight * count / n
    return reduced


def _best_of_views(indices: np.ndarray, distances: np.ndarray, similarities: np.ndarray, k: int) -> Matches:
    """Merge [Q, V, K'] to [Q, k]: every database row once, at its smallest distance; equal distances by row."""
    shape = (len(indices), k)
    merged = Matches(
        indices=np.full(shape, -1, np.int64),
        distances=np.full(shape, np.inf, np.float32),
        similarities=np.full(shape, np.nan, np.float32),
    )
    for query, (rows, far, near) in enumerate(zip(indices, distances, similarities, strict=True)):
        rows, far, near = rows.ravel(), far.ravel(), near.ravel()
        order = np.lexsort((rows, far))
        order = order[rows[order] >= 0]
        _, first = np.unique(rows[order], return_index=True)
        best = order[np.sort(first)[:k]]
        merged.indices[query, : len(best)] = rows[best]
        merged.distances[query, : len(best)] = far[best]
        merged.similarities[query, : len(best)] = near[best]
    return merged
