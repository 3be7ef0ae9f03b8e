"""Re-ranking: the first N answers ordered anew by how many points of the query lie where an answer says they should."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from scicevpr.datasets import Photo
from scicevpr.errors import UsageError
from scicevpr.local_features.pairs import GeometryOptions, PairCheck, check_pair, poselib_module
from scicevpr.local_features.points import LocalFeatures, PointOptions
from scicevpr.local_features.store import PointStore
from scicevpr.local_features.tokens import TOKEN_GEOMETRY, token_features
from scicevpr.local_features.xfeat import load_xfeat
from scicevpr.models.model import VPRModel
from scicevpr.progress import Progress
from scicevpr.retrieval.matches import Matches

RERANKERS = {
    "xfeat": "similarity and inliers of XFeat points",
    "tokens": "similarity and inliers of the model's own patch tokens",
    "inliers": "inliers of XFeat points alone",
}
CANDIDATES = 20
WEIGHT = 0.1
"""Of ln(1 + inliers), where nothing was fitted for a model."""


class PairChecker(Protocol):
    """Compares two photos by their local features."""

    @property
    def label(self) -> str:
        """How protocols call it."""
        ...

    def features(self, photo: Any) -> LocalFeatures:
        """Points and descriptors of a photo."""
        ...

    def check(self, a: LocalFeatures, b: LocalFeatures) -> PairCheck:
        """The pairs of two photos, and which of them are inliers."""
        ...


class XFeatChecker:
    """XFeat points of a store. WeightsError at once when a package is missing."""

    def __init__(self, store: PointStore | None = None, geometry: GeometryOptions | None = None) -> None:
        load_xfeat()
        poselib_module()
        self.store = store or PointStore(options=PointOptions())
        self.geometry = geometry or GeometryOptions(longer_side=self.store.options.longer_side)
        self.label = f"{self.store.options.label}; {self.geometry.label}"

    def features(self, photo: Any) -> LocalFeatures:
        """As `PairChecker.features`."""
        return self.store.points(photo)

    def check(self, a: LocalFeatures, b: LocalFeatures) -> PairCheck:
        """As `PairChecker.check`."""
        return check_pair(a, b, self.geometry)


class TokenChecker:
    """The patch tokens of a model of this project. Errors as in `token_features`."""

    def __init__(self, model: VPRModel, geometry: GeometryOptions = TOKEN_GEOMETRY) -> None:
        poselib_module()
        self.model, self.geometry = model, geometry
        self.label = f"patch tokens of {model.variant.title}; {geometry.label} (in tokens)"
        self._memory: dict[str, LocalFeatures] = {}

    def features(self, photo: Any) -> LocalFeatures:
        """As `PairChecker.features`; those of files stay in memory."""
        if not isinstance(photo, Path | str):
            return token_features(self.model, [photo])[0]
        if str(photo) not in self._memory:
            self._memory[str(photo)] = token_features(self.model, [photo])[0]
        return self._memory[str(photo)]

    def check(self, a: LocalFeatures, b: LocalFeatures) -> PairCheck:
        """As `PairChecker.check`."""
        return check_pair(a, b, self.geometry)


def make_checker(by: str, model: VPRModel | None = None, store: PointStore | None = None) -> PairChecker:
    """The checker that a re-ranker (a key of RERANKERS) uses. UsageError for another name."""
    if by not in RERANKERS:
        raise UsageError(f"There is no re-ranking by {by!r}; choose one of {', '.join(RERANKERS)}.")
    if by != "tokens":
        return XFeatChecker(store)
    if model is None:
        raise UsageError("Re-ranking by tokens needs the model whose tokens they are.")
    return TokenChecker(model)


@dataclass(frozen=True)
class CandidateChecks:
    """counts: [Q, N] int32 inliers of each candidate (rank order of the search), -1 where there is none or where it was
    not checked. find_ms, check_ms: milliseconds a photo to find points, and a pair to match them. bytes_a_photo: of
    points and descriptors, the mean."""

    counts: np.ndarray
    find_ms: float
    check_ms: float
    bytes_a_photo: float

    @property
    def query_ms(self) -> float:
        """Milliseconds a query where the database's points are kept: its own points, and its candidates."""
        checked = (self.counts >= 0).sum(axis=1)
        return float(self.find_ms * (checked > 0).mean() + self.check_ms * checked.mean())


def check_candidates(
    checker: PairChecker,
    matches: Matches,
    database: Sequence[Photo | Path],
    queries: Sequence[Any],
    top: int = CANDIDATES,
    rows: np.ndarray | None = None,
    progress: Progress | None = None,
    stop: Callable[[], bool] | None = None,
    memo: dict[tuple[int, int], int] | None = None,
) -> CandidateChecks:
    """Inliers of the first `top` answers to each query.

    database, queries: photos or their paths. rows: [Q] bool, the queries to check (default: all). progress: called with
    (queries done, queries in all). stop: asked before every query; the rest stays unchecked when it says so. memo:
    inliers by (query, database row) that are known, to which new ones are added.
    """
    if top < 1:
        raise UsageError(f"At least 1 candidate must be re-ranked, not {top}.")
    counts = np.full((len(matches.indices), min(top, matches.indices.shape[1])), -1, np.int32)
    wanted = np.ones(len(counts), bool) if rows is None else np.asarray(rows, bool)
    found: dict[Any, int] = {}
    known = {} if memo is None else memo
    find_seconds, check_seconds, pairs = 0.0, 0.0, 0
    for query in np.flatnonzero(wanted).tolist():
        if stop is not None and stop():
            break
        columns = np.flatnonzero(matches.indices[query, : counts.shape[1]] >= 0)
        for column, row in zip(columns, matches.indices[query, columns].tolist(), strict=True):
            counts[query, column] = known.get((query, row), -1)
        columns = columns[counts[query, columns] < 0]
        rows_left = matches.indices[query, columns].tolist()
        if not rows_left:
            continue
        sources = [_source(queries[query]), *(_source(database[row]) for row in rows_left)]
        started = time.perf_counter()
        own, *others = (checker.features(source) for source in sources)
        find_seconds += time.perf_counter() - started
        for source, features in zip(sources, (own, *others), strict=True):
            found[source if isinstance(source, Path | str) else id(source)] = features.nbytes
        started = time.perf_counter()
        for column, row, features in zip(columns, rows_left, others, strict=True):
            counts[query, column] = known[query, row] = checker.check(own, features).inliers
            pairs += 1
        check_seconds += time.perf_counter() - started
        if progress is not None:
            progress(query + 1, len(counts))
    mean_bytes = float(np.mean(list(found.values()))) if found else 0.0
    find_ms, check_ms = 1000 * find_seconds / max(1, len(found)), 1000 * check_seconds / max(1, pairs)
    return CandidateChecks(counts, find_ms, check_ms, mean_bytes)


def _source(photo: Any) -> Any:
    return photo.path if isinstance(photo, Photo) else photo


def rerank_scores(similarities: np.ndarray, counts: np.ndarray, by: str, weight: float) -> np.ndarray:
    """[Q, N] float64, what candidates are ordered by: similarity + weight * ln(1 + inliers), or the inliers alone.
    similarities, counts: [Q, N]. UsageError for a weight below 0."""
    if not (np.isfinite(weight) and weight >= 0):
        raise UsageError(f"The weight of the inliers must be 0 or more, not {weight}.")
    inliers = np.maximum(counts, 0)
    if by == "inliers":
        return inliers.astype(np.float64)
    return similarities[:, : counts.shape[1]].astype(np.float64) + weight * np.log1p(inliers)


def rerank_order(similarities: np.ndarray, counts: np.ndarray, by: str = "xfeat", weight: float = WEIGHT) -> np.ndarray:
    """[Q, N] int64: which candidate comes first, second ...; equal ones keep their order, and a query of which nothing
    was checked stays as it is."""
    scores = rerank_scores(similarities, counts, by, weight)
    scores[np.isnan(scores)] = -np.inf  # no such candidate
    order = np.argsort(-scores, axis=1, kind="stable")
    unchecked = (counts < 0).all(axis=1)
    order[unchecked] = np.arange(counts.shape[1])
    return order


def reorder(matches: Matches, order: np.ndarray) -> Matches:
    """The matches with their first N columns in the order [Q, N] given; what lies behind them stays."""
    count = order.shape[1]
    parts = []
    for whole in (matches.indices, matches.distances, matches.similarities):
        part = np.array(whole)
        part[:, :count] = np.take_along_axis(whole[:, :count], order, axis=1)
        parts.append(part)
    return replace(matches, indices=parts[0], distances=parts[1], similarities=parts[2])
