"""The benchmark: describe database and queries, search exactly, score, and say under which protocol.

Every result carries its protocol, because resize, grouping, radius and rounding all move the numbers.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from scicevpr.config import Preprocessing
from scicevpr.datasets import Dataset
from scicevpr.descriptors.batches import DEFAULT_WORKERS, Grouping
from scicevpr.descriptors.describe import describe
from scicevpr.errors import IndexMismatchError, UsageError
from scicevpr.evaluation.baselines import BASELINES
from scicevpr.evaluation.metrics import (
    f1_at_n,
    mean_reciprocal_rank,
    own_rows,
    recall_at_n,
    truth_notes,
    without_rows,
    zero_notes,
)
from scicevpr.evaluation.protocols import MAJORITY_WEIGHT, QueryMethod, find_method, published_grouping, search_queries
from scicevpr.evaluation.results import UNNAMED, Evaluation, Scores
from scicevpr.files.descriptor_files import Descriptors
from scicevpr.files.photos import require_sound
from scicevpr.files.writing import MEMORY_LIMIT, scratch_folder
from scicevpr.models.model import VPRModel
from scicevpr.progress import StageProgress, of_stage
from scicevpr.retrieval.exact import ExactIndex
from scicevpr.retrieval.matches import Matches
from scicevpr.retrieval.pca import PCA
from scicevpr.retrieval.rows import shape_of

DEFAULT_NS = (1, 5, 10, 100)


def evaluate(
    model: VPRModel,
    dataset: Dataset,
    *,
    ns: Sequence[int] = DEFAULT_NS,
    radius: float | None = None,
    rounding: str = "float64",
    test_method: str = "hard_resize",
    majority_weight: float = MAJORITY_WEIGHT,
    without_itself: bool = False,
    database_grouping: Grouping | None = None,
    query_grouping: Grouping | None = None,
    batch_size: int = 16,
    preprocessing: Preprocessing | None = None,
    antialias: bool | None = None,
    pca: PCA | None = None,
    database: Descriptors | None = None,
    device: str | torch.device | None = None,
    dtype: torch.dtype | None = None,
    precision: str | None = None,
    num_workers: int = DEFAULT_WORKERS,
    storage: Path | str | None = None,
    memory_limit: int = MEMORY_LIMIT,
    progress: StageProgress | None = None,
) -> Evaluation:
    """Evaluate a model on a data set.

    ns: the values of N; the largest is the length of each prediction list, and MRR looks no further. radius: metres
    (default: the data set's own rule). rounding: "float64", or "float32" as published.
    test_method, majority_weight: how queries are viewed and their answers merged (see `protocols`).
    without_itself: leave a query that is itself in the database out of its own answers and positives.
    database_grouping, query_grouping: which photos share a batch (queries follow the database unless given; None is
    how the model was published on this benchmark, see `published_grouping`). preprocessing replaces the variant's;
    antialias overrides that one option. database: database descriptors made before, with the same model, or reduced by
    `pca` already.
    precision: a mode of `describe`, such as "int8" or "auto".
    num_workers: threads that decode photos. memory_limit: bytes of descriptors kept in memory; more go to a nameless
    temporary file in the folder `storage` (default: the system's temporary folder), which disappears with the last
    use of the result. progress is called with ("database" or "queries", photos done, photos in all).

    Without labels only predictions are made. Raises the errors of `describe`, and IndexMismatchError when `database`
    or `pca` belong to another model.
    """
    started = time.perf_counter()
    ns, method = _checked(ns), find_method(test_method)
    preprocessing = preprocessing or model.variant.preprocessing
    if antialias is not None:
        preprocessing = replace(preprocessing, antialias=antialias)
    weights = model.weights.sha256 if model.weights is not None else "random"
    if pca is not None:
        pca.check_model(model.variant.fingerprint, weights)
    if database is not None and (database.fingerprint, database.weights) != (model.variant.fingerprint, weights):
        raise IndexMismatchError(
            f"The database descriptors come from {database.variant} (weights {database.weights}), not from "
            f"{model.variant.name} (weights {weights}). Describe the database with the model in use."
        )
    database_grouping = database_grouping or published_grouping(model.variant, dataset)
    described = dataset.queries if database is not None else (*dataset.database, *dataset.queries)
    require_sound((photo.path for photo in described), preprocessing.max_pixels)
    rows = len(dataset.queries) * method.views + (len(dataset.database) if database is None else 0)
    options = {
        "batch_size": batch_size,
        "preprocessing": preprocessing,
        "device": device,
        "dtype": dtype,
        "precision": precision,
        "num_workers": num_workers,
        "scratch": scratch_folder(4 * rows * model.variant.descriptor_dim, memory_limit, storage),
    }
    if database is None:
        paths, step = [photo.path for photo in dataset.database], of_stage(progress, "database")
        database = describe(model, paths, grouping=database_grouping, progress=step, **options)
    queries = describe(
        model,
        [photo.path for photo in dataset.queries],
        grouping=_query_grouping(method, query_grouping, database_grouping),
        framing=method.framing,
        progress=of_stage(progress, "queries"),
        **options,
    )
    protocol = _protocol(database, queries)
    protocol["PCA"] = pca.label if pca else "none"
    if pca is not None and pca.dtype not in ("", queries.dtype):
        protocol["PCA"] += f", fitted on descriptors in {pca.dtype}"
    if pca is not None and model.variant.cross_image:
        protocol["PCA"] += f", batches of the fit {pca.grouping or 'unknown'} (the published code shuffles them)"
    values = [database.values, queries.values]
    if pca is not None:
        size = 4 * pca.dimension * sum(map(len, values))
        width = model.variant.descriptor_dim  # a pack may hold the database reduced already
        values = [
            part if part.shape[1] != width else pca.transform(part, scratch_folder(size, memory_limit, storage))
            for part in values
        ]
    result = score(
        model.variant.title,
        dataset,
        *values,
        ns=ns,
        radius=radius,
        rounding=rounding,
        test_method=method,
        majority_weight=majority_weight,
        without_itself=without_itself,
        protocol=protocol,
    )
    notes = result.notes if database.trained and queries.trained else (*result.notes, "The weights are not trained.")
    return replace(result, notes=notes, database=database, queries=queries, seconds=time.perf_counter() - started)


def evaluate_baseline(
    name: str,
    dataset: Dataset,
    *,
    ns: Sequence[int] = DEFAULT_NS,
    radius: float | None = None,
    rounding: str = "float64",
    progress: StageProgress | None = None,
) -> Evaluation:
    """Evaluate a baseline that nobody trained for places (a name in BASELINES) by the same code. UsageError for another
    name."""
    if name not in BASELINES:
        raise UsageError(f"There is no baseline {name!r}; choose one of {', '.join(BASELINES)}.")
    started = time.perf_counter()
    baseline = BASELINES[name]
    values = [
        baseline.describe([photo.path for photo in photos], progress=of_stage(progress, stage))
        for stage, photos in (("database", dataset.database), ("queries", dataset.queries))
    ]
    protocol = {
        "variant": f"{baseline.title} (baseline)",
        "weights": baseline.weights,
        "resize": baseline.resize,
        "database grouping": "independent of the batch",
        "query grouping": "independent of the batch",
    }
    result = score(baseline.title, dataset, *values, ns=ns, radius=radius, rounding=rounding, protocol=protocol)
    return replace(result, seconds=time.perf_counter() - started)


def score(
    title: str,
    dataset: Dataset,
    database_values: Any,
    query_values: Any,
    *,
    ns: Sequence[int] = DEFAULT_NS,
    radius: float | None = None,
    rounding: str = "float64",
    test_method: str | QueryMethod = "hard_resize",
    majority_weight: float = MAJORITY_WEIGHT,
    without_itself: bool = False,
    protocol: dict[str, str] | None = None,
) -> Evaluation:
    """Search and score descriptors [D, C] and [Q * V, C] that were made elsewhere; V is the test method's views.

    Anything that gives rows when sliced will do (see `ExactIndex`). Raises UsageError when the rows do not belong to
    the data set's photos.
    """
    ns, method = _checked(ns), find_method(test_method)
    wanted = (len(dataset.database), len(dataset.queries))
    counts = (shape_of(database_values, "database descriptors")[0], shape_of(query_values, "query descriptors")[0])
    if counts != (wanted[0], wanted[1] * method.views):
        views = f" ({method.views} for each query by {method.name})" if method.views > 1 else ""
        raise UsageError(
            f"Descriptors of {counts[0]} database photos and {counts[1]} queries do not fit a data set of {wanted[0]} "
            f"and {wanted[1]}{views}."
        )
    empty = zero_notes(database_values, query_values)
    index, k = ExactIndex(database_values), max(ns)
    matches = search_queries(index, query_values, k, method, majority_weight)
    own = own_rows(dataset, matches)
    if own and without_itself:
        more = max(map(len, own.values()))
        matches = without_rows(search_queries(index, query_values, k + more, method, majority_weight), own, k)
    left_out = own if without_itself else None
    result = score_matches(title, dataset, matches, ns=ns, radius=radius, rounding=rounding, left_out=left_out)
    if own and not without_itself:
        empty.append(
            f"{len(own)} of {wanted[1]} queries are themselves in the database, so they are found for certain. Leave "
            "the photo itself out with --without-itself (without_itself=True)."
        )
    voting = f", weight {majority_weight:g}" if method.name == "maj_voting" else ""
    full = dict(protocol or {}) | {
        "dataset": f"{dataset.name} / {dataset.split}",
        "database": f"{wanted[0]} photos",
        "queries": f"{wanted[1]} photos",
        "query order": dataset.query_order,
        "test method": f"{method.name} ({method.sentence}{voting})",
    }
    if result.positives is not None:
        full["queries without positives"] = str(sum(len(rows) == 0 for rows in result.positives))
        full["right within"] = dataset.truth.label(radius)
        if dataset.truth.listed is None:
            full["UTM rounding"] = "float32 (as published)" if rounding == "float32" else rounding
    if without_itself:
        full["left out"] = f"the photo itself, of {len(own)} queries"
    full |= {"search": f"exact L2, best {max(ns)}", "torch": torch.__version__}
    return replace(result, protocol=full, notes=(*result.notes, *empty))


def score_matches(
    title: str,
    dataset: Dataset,
    matches: Matches,
    *,
    ns: Sequence[int] = DEFAULT_NS,
    radius: float | None = None,
    rounding: str = "float64",
    left_out: dict[int, np.ndarray] | None = None,
    protocol: dict[str, str] | None = None,
) -> Evaluation:
    """Score a search [Q, K] that was made before, K >= max(ns). protocol: taken as it is. left_out: database rows by
    query that are not to count as right."""
    ns = _checked(ns)
    positives = dataset.positives(radius, rounding) if dataset.labelled else None
    if positives is not None and left_out:
        none = np.empty(0, np.int64)
        positives = [np.setdiff1d(rows, left_out.get(query, none)) for query, rows in enumerate(positives)]
    return Evaluation(
        title=title,
        dataset=dataset,
        ns=ns,
        radius=dataset.truth.radius if radius is None else radius,
        overall=_scores(matches.indices, positives, ns) if positives is not None else None,
        conditions=_by_condition(dataset, matches.indices, positives, ns) if positives is not None else {},
        matches=matches,
        positives=tuple(positives) if positives is not None else None,
        protocol=dict(protocol or {}),
        notes=(*dataset.notes, *truth_notes(dataset, positives)),
    )


def _checked(ns: Sequence[int]) -> tuple[int, ...]:
    values = tuple(sorted({int(n) for n in ns}))
    if not values or values[0] < 1:
        raise UsageError(f"The values of N must be at least 1, not {', '.join(map(str, ns)) or 'an empty list'}.")
    return values


def _query_grouping(method: QueryMethod, own: Grouping | None, database: Grouping | None) -> Grouping | None:
    if not method.alone:
        return own or database
    if own not in (None, Grouping.alone()):
        raise UsageError(
            f"{method.name} puts every query in a batch of its own, so the query grouping {own.label!r} contradicts "
            "it. Leave one of the two out."
        )
    return Grouping.alone()


def _protocol(database: Descriptors, queries: Descriptors) -> dict[str, str]:
    """How the descriptors were made; the groupings of both stand behind the resize."""
    groupings = {"database grouping": database.grouping, "query grouping": queries.grouping}
    protocol: dict[str, str] = {}
    for key, value in queries.protocol().items():
        if key != "grouping":
            protocol[key] = value
        if key == "resize":
            protocol |= groupings
    if database.dtype != queries.dtype:
        protocol["dtype"] = f"queries {queries.dtype}, database {database.dtype}"
    return protocol | groupings


def _scores(predictions: np.ndarray, positives: Sequence[np.ndarray], ns: tuple[int, ...]) -> Scores:
    return Scores(
        queries=len(predictions),
        without_positives=sum(len(rows) == 0 for rows in positives),
        recalls=recall_at_n(predictions, positives, ns),
        mrr=mean_reciprocal_rank(predictions, positives, ns),
        f1=f1_at_n(predictions, positives, ns),
    )


def _by_condition(
    dataset: Dataset, predictions: np.ndarray, positives: Sequence[np.ndarray], ns: tuple[int, ...]
) -> dict[str, Scores]:
    """Scores per condition of the queries, in order of first appearance; those without one come last as "unnamed"."""
    if not dataset.conditions:
        return {}
    result = {}
    for condition in (*dataset.conditions, None):
        rows = [row for row, photo in enumerate(dataset.queries) if photo.condition == condition]
        if rows:
            result[condition or UNNAMED] = _scores(predictions[rows], [positives[row] for row in rows], ns)
    return result
