"""Does a model's answer depend on the other photos in the batch? Experiments as functions that return tidy tables.

What enters the encoder depends on each photo alone, so it is computed once; only the encoder is run again for every
composition of batches (exact, see tests/unit/test_describe.py). Every experiment with chance in it takes a seed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor

from scicevpr.datasets import Dataset
from scicevpr.descriptors.batches import Grouping
from scicevpr.descriptors.describe import encode, region_vectors
from scicevpr.errors import UsageError
from scicevpr.evaluation.metrics import recall_at_n
from scicevpr.evaluation.protocols import ORDERS, ordered_groups, published_grouping, shuffled_groups
from scicevpr.files.descriptor_files import Descriptors
from scicevpr.models.model import VPRModel
from scicevpr.progress import StageProgress, of_stage
from scicevpr.retrieval.exact import ExactIndex

SIZES = (1, 2, 4, 8, 16, 32, 64)
ORDER_LABELS = {"any": "any batch", "file": "file order", "shuffled": "shuffled", "place": "grouped by place"}
TOP = 10


@dataclass(frozen=True)
class StabilitySetup:
    """A model and a data set with everything that does not depend on batches computed once.

    queries [Q, 14, C] and database_regions [D, 14, C] (None until a database grouping is tried) are what enters the
    encoder; database [D, dim] the descriptors under ``database_grouping``; positives: database rows within
    ``radius`` metres of each query, None without labels.
    """

    model: VPRModel
    dataset: Dataset
    queries: Tensor
    database: np.ndarray
    database_grouping: str
    index: ExactIndex
    positives: tuple[np.ndarray, ...] | None
    radius: float
    database_regions: Tensor | None = None

    @property
    def title(self) -> str:
        """The model's title, for tables."""
        return self.model.variant.title

    def describe(self, grouping: Grouping) -> np.ndarray:
        """Descriptors of all queries under a grouping, [Q, D] float32."""
        return encode(self.model, self.queries, grouping)

    def is_right(self, row: int, answers: np.ndarray) -> np.ndarray | None:
        """Whether database rows show the place of query ``row``; None without labels."""
        return None if self.positives is None else np.isin(answers, self.positives[row])

    def with_database(self, grouping: Grouping) -> StabilitySetup:
        """The same with the database described under another grouping (see `prepare_stability`)."""
        if self.database_regions is None:
            raise UsageError("The database's region vectors were not kept: prepare with database_regions=True.")
        values = encode(self.model, self.database_regions, grouping)
        return replace(self, database=values, database_grouping=grouping.label, index=ExactIndex(values))


def prepare_stability(
    model: VPRModel,
    dataset: Dataset,
    *,
    radius: float | None = None,
    database: Descriptors | None = None,
    database_regions: bool = False,
    query_regions: Tensor | None = None,
    progress: StageProgress | None = None,
) -> StabilitySetup:
    """Describe a data set for experiments.

    radius: metres; default: the data set's own rule. database: descriptors made before with this model under its
    default grouping; else they are computed. database_regions: keep the database's region vectors too, so that its
    grouping can be varied. query_regions: region vectors made before, [Q, 14, C]. Raises the errors of `describe`.
    """
    if query_regions is None:
        query_regions = region_vectors(model, [p.path for p in dataset.queries], progress=of_stage(progress, "queries"))
    regions = None
    grouping = published_grouping(model.variant, dataset) or Grouping.alone()
    if database_regions or database is None:
        regions = region_vectors(model, [p.path for p in dataset.database], progress=of_stage(progress, "database"))
    values = encode(model, regions, grouping) if database is None else database.values
    label = grouping.label if database is None else database.grouping
    positives = tuple(dataset.positives(radius)) if dataset.labelled else None
    reach = dataset.truth.radius if radius is None else radius
    return StabilitySetup(model, dataset, query_regions, values, label, ExactIndex(values), positives, reach, regions)


def rank_correlations(reference: np.ndarray, answers: np.ndarray) -> np.ndarray:
    """Spearman correlation of two rankings of the same top K, per query: [Q, K] twice -> [Q].

    ``reference`` holds the first K database rows; ``answers`` the ranks (from 0) that these rows have now. 1: the same
    order; they may have sunk together without changing it. (Not scipy's, which differs in the last bit.)
    """
    count = reference.shape[1]
    if count < 2:
        return np.ones(len(reference))
    ranks = np.argsort(np.argsort(answers, axis=1), axis=1)
    differences = ranks - np.arange(count)
    return 1 - 6 * (differences**2).sum(axis=1) / (count * (count**2 - 1))


def ranks_of(database: np.ndarray, values: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Ranks (from 0) of database rows [Q, K] in the answers to descriptors [Q, D]."""
    similarities = values @ database.T
    chosen = np.take_along_axis(similarities, rows, axis=1)
    return (similarities[:, None, :] > chosen[:, :, None]).sum(axis=2)


def compare(
    setup: StabilitySetup, grouping: Grouping, reference: Grouping | None = None, top: int = TOP
) -> pd.DataFrame:
    """One row per query: how its descriptor and its answer change from one grouping to another.

    Columns: model, query, condition, batch (photos in its batch), cosine (to the reference descriptor),
    rank_correlation (of the reference's top K), first_reference and first (database rows at rank 1), flip (they
    differ), right_reference and right (None without labels). reference: default: every photo alone. top: K.
    """
    before, after = setup.describe(reference or Grouping.alone()), setup.describe(grouping)  # (Q, D)
    old = setup.index.search(before, min(top, len(setup.index))).indices  # (Q, K)
    first = setup.index.search(after, 1).indices[:, 0]
    correlations = [
        rank_correlations(old[i : i + 64], ranks_of(setup.database, after[i : i + 64], old[i : i + 64]))
        for i in range(0, len(old), 64)
    ]
    sizes = np.empty(len(after), dtype=int)
    for group in grouping.split(len(after)):
        sizes[list(group)] = len(group)
    table = pd.DataFrame(
        {
            "model": setup.title,
            "query": [photo.name for photo in setup.dataset.queries],
            "condition": [photo.condition for photo in setup.dataset.queries],
            "batch": sizes,
            "cosine": (before.astype(np.float64) * after).sum(axis=1),
            "rank_correlation": np.concatenate(correlations),
            "first_reference": old[:, 0],
            "first": first,
            "flip": old[:, 0] != first,
        }
    )
    for column, answers in (("right_reference", old[:, 0]), ("right", first)):
        known = [setup.is_right(row, answers[row : row + 1]) for row in range(len(answers))]
        table[column] = [None if verdict is None else bool(verdict[0]) for verdict in known]
    return table


def photo_stability(setup: StabilitySetup, size: int = 16, seeds: Sequence[int] = range(10)) -> pd.DataFrame:
    """One row per query over several shuffled orders with batches of ``size``; the reference is the query alone.

    Columns: model, query, condition, compositions, min_cosine, mean_cosine, rank_correlation (mean), flips (orders in
    which another photo stands at rank 1), right (percent of the orders; None without labels).
    """
    tables = [compare(setup, ordered_groups(setup.dataset, "shuffled", size, seed)) for seed in seeds]
    groups = pd.concat(tables).groupby(level=0, sort=False)  # by query: photos in several folders may share a name
    return pd.DataFrame(
        {
            "query": groups["query"].first(),
            "model": setup.title,
            "condition": groups["condition"].first(),
            "compositions": len(tables),
            "min_cosine": groups["cosine"].min(),
            "mean_cosine": groups["cosine"].mean(),
            "rank_correlation": groups["rank_correlation"].mean(),
            "flips": groups["flip"].sum(),
            "right": None if setup.positives is None else 100.0 * groups["right"].mean(),
        }
    )


def summarise(table: pd.DataFrame) -> dict[str, Any]:
    """The numbers of one comparison: min and mean cosine, mean rank correlation, flips, Recall@1 in percent."""
    known = table["right"].notna().all()
    return {
        "min_cosine": float(table["cosine"].min()),
        "mean_cosine": float(table["cosine"].mean()),
        "rank_correlation": float(table["rank_correlation"].mean()),
        "flips": int(table["flip"].sum()),
        "queries": len(table),
        "recall_1": 100.0 * float(table["right"].astype(bool).mean()) if known else None,
    }


def iterate_batches(
    setup: StabilitySetup, sizes: Sequence[int] = SIZES, orders: Sequence[str] = ORDERS, seeds: Sequence[int] = range(5)
) -> Iterator[dict[str, Any]]:
    """Rows of `query_batches`, one at a time, so that long runs can be watched and stopped."""
    for size in sizes:
        for order in orders:
            if order == "place" and not (setup.dataset.use_labels and setup.dataset.positioned):
                continue
            for seed in seeds if order == "shuffled" else (None,):
                grouping = ordered_groups(setup.dataset, order, size, seed or 0)
                yield {
                    "model": setup.title,
                    "order": order,
                    "size": size,
                    "seed": seed,
                    "last_batch": len(setup.queries) % size or size,
                    **summarise(compare(setup, grouping)),
                }
            if size == 1:
                break  # alone is alone in every order


def query_batches(
    setup: StabilitySetup, sizes: Sequence[int] = SIZES, orders: Sequence[str] = ORDERS, seeds: Sequence[int] = range(5)
) -> pd.DataFrame:
    """Recall@1 and stability over query batch sizes and orders against every query alone; one row per setting and seed.
    last_batch: photos in the last, perhaps incomplete batch."""
    return pd.DataFrame(iterate_batches(setup, sizes, orders, seeds))


@dataclass(frozen=True)
class BatchLine:
    """A line of Figure 2 of the paper: a model's values over batch sizes, in one order of the queries ("any" where
    every batch gives the same). means, low, high: over the seeds, [len(sizes)]."""

    model: str
    order: str
    sizes: list[int]
    means: list[float]
    low: list[float]
    high: list[float]

    @property
    def label(self) -> str:
        """The order as it is called in a legend."""
        return ORDER_LABELS[self.order]


def batch_lines(table: pd.DataFrame, column: str = "recall_1") -> list[BatchLine]:
    """The lines of Figure 2 from the rows of `query_batches` of one or several models."""
    lines = []
    for model in table["model"].unique():
        rows = table[table["model"] == model]
        if len(rows) > 1 and rows["recall_1"].nunique() == 1 and rows["flips"].sum() == 0:
            sizes = sorted(map(int, rows["size"].unique()))
            same = [float(rows[column].iloc[0])] * len(sizes)
            lines.append(BatchLine(model, "any", sizes, same, same, same))
            continue
        alone = rows[rows["size"] == 1]
        for order in ORDERS:
            own = rows[(rows["order"] == order) & (rows["size"] > 1)]
            if not own.empty:
                groups = pd.concat([alone, own]).groupby("size")[column]
                values = (found.tolist() for found in (groups.mean(), groups.min(), groups.max()))
                lines.append(BatchLine(model, order, list(map(int, groups.groups)), *values))
    return lines


def database_batches(
    setup: StabilitySetup, sizes: Sequence[int] = SIZES, seeds: Sequence[int] = range(3)
) -> pd.DataFrame:
    """Recall@1 with every query alone while the *database* is described in other batches: in file order, shuffled."""
    values, count, rows = setup.describe(Grouping.alone()), len(setup.database), []
    for size in sizes:
        for seed in (None, *seeds) if size > 1 else (None,):
            file_order = Grouping.sequential(size)
            other = setup.with_database(file_order if seed is None else shuffled_groups(count, size, seed))
            answers = other.index.search(values, 1).indices
            cosines = (other.database.astype(np.float64) * setup.database).sum(axis=1)
            rows.append(
                {
                    "model": setup.title,
                    "order": "file" if seed is None else "shuffled",
                    "size": size,
                    "seed": seed,
                    "min_cosine": float(cosines.min()),
                    "mean_cosine": float(cosines.mean()),
                    "recall_1": None if setup.positives is None else recall_at_n(answers, setup.positives, (1,))[1],
                }
            )
    return pd.DataFrame(rows)


def last_batch(setup: StabilitySetup, size: int = 16) -> pd.DataFrame:
    """What an incomplete last batch does to the photos in it: their rows of `compare`; reference: the same batch filled
    up with photos from the top of the list. Empty when the batches come out even."""
    count = len(setup.queries)
    short = count % size
    if not short or count <= size:
        return compare(setup, Grouping.sequential(size)).iloc[:0]
    tail = list(range(count - short, count))
    full = Grouping.explicit([[*tail, *range(size - short)], list(range(size - short, count - short))])
    return compare(setup, Grouping.sequential(size), full).iloc[tail].reset_index(drop=True)
