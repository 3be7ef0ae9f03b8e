"""Does a model's answer depend on the company a photo keeps? Experiments as functions that return tidy tables.

What enters the encoder depends on each photo alone, so it is computed once; only the encoder is run again for every
composition of batches (exact, see tests/unit/test_describe.py). Every experiment with chance in it takes a seed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor

from scicevpr.datasets import Dataset
from scicevpr.descriptors.batches import Grouping
from scicevpr.descriptors.describe import encode, region_vectors
from scicevpr.errors import UsageError
from scicevpr.evaluation.groupings import ORDERS, ordered_groups, published_grouping
from scicevpr.evaluation.metrics import recall_at_n
from scicevpr.files.descriptor_files import Descriptors
from scicevpr.models.model import VPRModel
from scicevpr.retrieval import ExactIndex

SIZES = (1, 2, 4, 8, 16, 32, 64)
TOP = 10
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Lab:
    """A model and a data set with everything that does not depend on batches computed once.

    queries [Q, 14, C] and database_regions [D, 14, C] (None until a database grouping is tried) are what enters the
    encoder; database [D, dim] the descriptors under ``database_grouping``; right: database rows within ``radius``
    metres of each query, None without labels.
    """

    model: VPRModel
    dataset: Dataset
    queries: Tensor
    database: np.ndarray
    database_grouping: str
    index: ExactIndex
    right: tuple[np.ndarray, ...] | None
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
        return None if self.right is None else np.isin(answers, self.right[row])

    def with_database(self, grouping: Grouping) -> Lab:
        """The same lab with the database described under another grouping (see :func:`prepare_lab`)."""
        if self.database_regions is None:
            raise UsageError("This lab holds no region vectors of the database: prepare it with database_regions=True.")
        values = encode(self.model, self.database_regions, grouping)
        return replace(self, database=values, database_grouping=grouping.label, index=ExactIndex(values))


def prepare_lab(
    model: VPRModel,
    dataset: Dataset,
    *,
    radius: float | None = None,
    database: Descriptors | None = None,
    database_regions: bool = False,
    query_regions: Tensor | None = None,
    progress: Progress | None = None,
) -> Lab:
    """Describe a data set for experiments.

    Args:
        radius: metres within which a database photo shows the query's place; default: the data set's own rule.
        database: descriptors made before with this model under its default grouping; else they are computed.
        database_regions: keep the database's region vectors too, so that its grouping can be varied.
        query_regions: region vectors made before, [Q, 14, C]. progress: called with (stage, done, in all).

    Raises:
        WeightsError, ImageError: as :func:`scicevpr.descriptors.describe.describe`.
    """

    def step(stage: str) -> Callable[[int, int], None] | None:
        return None if progress is None else lambda done, total: progress(stage, done, total)

    if query_regions is None:
        query_regions = region_vectors(model, [p.path for p in dataset.queries], progress=step("queries"))
    regions = None
    grouping = published_grouping(model.variant, dataset) or Grouping.alone()
    if database_regions or database is None:
        regions = region_vectors(model, [p.path for p in dataset.database], progress=step("database"))
    values = encode(model, regions, grouping) if database is None else database.values
    label = grouping.label if database is None else database.grouping
    right = None
    reach = dataset.truth.radius if radius is None else radius
    if dataset.labelled:
        right = tuple(dataset.positives(radius))
    return Lab(model, dataset, query_regions, values, label, ExactIndex(values), right, reach, regions)


def rank_correlations(reference: np.ndarray, answers: np.ndarray) -> np.ndarray:
    """Spearman correlation of two rankings of the same top K, per query: [Q, K] twice -> [Q].

    ``reference`` holds the first K database rows; ``answers`` the ranks (from 0) that these rows have now. 1: the same
    order; they may have sunk together without changing it.
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


def compare(lab: Lab, grouping: Grouping, reference: Grouping | None = None, top: int = TOP) -> pd.DataFrame:
    """One row per query: how its description and its answer change from one grouping to another.

    Columns: model, query, condition, batch (photos in its batch), cosine (to the reference descriptor),
    rank_correlation (of the reference's top K), first_reference and first (database rows at rank 1), flip (they
    differ), right_reference and right (None without labels).

    Args:
        reference: default: every photo alone. top: K of the rank correlation.
    """
    before, after = lab.describe(reference or Grouping.alone()), lab.describe(grouping)
    k = min(top, len(lab.index))
    old, new = lab.index.search(before, k).indices, lab.index.search(after, 1).indices[:, 0]
    cosines = (before.astype(np.float64) * after).sum(axis=1)
    correlations = np.concatenate(
        [
            rank_correlations(old[i : i + 64], ranks_of(lab.database, after[i : i + 64], old[i : i + 64]))
            for i in range(0, len(old), 64)
        ]
    )
    sizes = np.empty(len(after), dtype=int)
    for group in grouping.split(len(after)):
        sizes[list(group)] = len(group)
    rows = []
    for row, place in enumerate(lab.dataset.queries):
        verdicts = lab.is_right(row, np.array([old[row, 0], new[row]]))
        rows.append(
            {
                "model": lab.title,
                "query": place.name,
                "condition": place.condition,
                "batch": int(sizes[row]),
                "cosine": float(cosines[row]),
                "rank_correlation": float(correlations[row]),
                "first_reference": int(old[row, 0]),
                "first": int(new[row]),
                "flip": bool(old[row, 0] != new[row]),
                "right_reference": None if verdicts is None else bool(verdicts[0]),
                "right": None if verdicts is None else bool(verdicts[1]),
            }
        )
    return pd.DataFrame(rows)


def photo_stability(lab: Lab, size: int = 16, seeds: Sequence[int] = range(10)) -> pd.DataFrame:
    """One row per query over several shuffled orders with batches of ``size``; the reference is the query alone.

    Columns: model, query, condition, compositions, min_cosine, mean_cosine, rank_correlation (mean), flips (orders in
    which another photo stands at rank 1), right (percent of the orders; None without labels).
    """
    tables = [compare(lab, ordered_groups(lab.dataset, "shuffled", size, seed)) for seed in seeds]
    groups = pd.concat(tables).groupby(level=0, sort=False)  # by query: photos in several folders may share a name
    return pd.DataFrame(
        {
            "query": groups["query"].first(),
            "model": lab.title,
            "condition": groups["condition"].first(),
            "compositions": len(tables),
            "min_cosine": groups["cosine"].min(),
            "mean_cosine": groups["cosine"].mean(),
            "rank_correlation": groups["rank_correlation"].mean(),
            "flips": groups["flip"].sum(),
            "right": None if lab.right is None else 100.0 * groups["right"].mean(),
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
    lab: Lab, sizes: Sequence[int] = SIZES, orders: Sequence[str] = ORDERS, seeds: Sequence[int] = range(5)
) -> Iterator[dict[str, Any]]:
    """Rows of :func:`query_batches`, one at a time, so that long runs can be watched and stopped."""
    for size in sizes:
        for order in orders:
            if order == "place" and not (lab.dataset.use_labels and lab.dataset.positioned):
                continue
            for seed in seeds if order == "shuffled" else (None,):
                grouping = ordered_groups(lab.dataset, order, size, seed or 0)
                yield {
                    "model": lab.title,
                    "order": order,
                    "size": size,
                    "seed": seed,
                    "last_batch": len(lab.queries) % size or size,
                    **summarise(compare(lab, grouping)),
                }
            if size == 1:
                break  # alone is alone in every order


def query_batches(
    lab: Lab, sizes: Sequence[int] = SIZES, orders: Sequence[str] = ORDERS, seeds: Sequence[int] = range(5)
) -> pd.DataFrame:
    """Recall@1 and stability over query batch sizes and orders; one row per setting and seed.

    The reference is every query alone. last_batch: photos in the last, perhaps incomplete batch.
    """
    return pd.DataFrame(iterate_batches(lab, sizes, orders, seeds))


def database_batches(lab: Lab, sizes: Sequence[int] = SIZES, seeds: Sequence[int] = range(3)) -> pd.DataFrame:
    """Recall@1 with every query alone while the *database* is described in other batches: in file order, shuffled."""
    values, rows = lab.describe(Grouping.alone()), []
    count = len(lab.database)
    for size in sizes:
        for seed in (None, *seeds) if size > 1 else (None,):
            if seed is None:
                grouping = Grouping.sequential(size)
            else:
                order = np.random.default_rng(seed).permutation(count)
                grouping = Grouping.explicit([order[i : i + size] for i in range(0, count, size)])
            other = lab.with_database(grouping)
            answers = other.index.search(values, 1).indices
            cosines = (other.database.astype(np.float64) * lab.database).sum(axis=1)
            rows.append(
                {
                    "model": lab.title,
                    "order": "file" if seed is None else "shuffled",
                    "size": size,
                    "seed": seed,
                    "min_cosine": float(cosines.min()),
                    "mean_cosine": float(cosines.mean()),
                    "recall_1": None if lab.right is None else recall_at_n(answers, lab.right, (1,))[1],
                }
            )
    return pd.DataFrame(rows)


def last_batch(lab: Lab, size: int = 16) -> pd.DataFrame:
    """What an incomplete last batch does to the photos in it: the table of :func:`compare`, for these photos only.

    Reference: the same batch filled up with photos from the top of the list. Empty when the batches come out even.
    """
    count = len(lab.queries)
    short = count % size
    if not short or count <= size:
        return compare(lab, Grouping.sequential(size)).iloc[:0]
    tail = list(range(count - short, count))
    full = Grouping.explicit([[*tail, *range(size - short)], list(range(size - short, count - short))])
    return compare(lab, Grouping.sequential(size), full).iloc[tail].reset_index(drop=True)
