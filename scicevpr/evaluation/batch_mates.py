"""One query and the company it keeps: a chosen one, or many drawn at random."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from scicevpr.descriptors.batches import Grouping
from scicevpr.descriptors.describe import encode_groups
from scicevpr.errors import UsageError
from scicevpr.evaluation.batch_effects import TOP, Lab, compare


def chosen_batch_mates(lab: Lab, row: int, batch_mates: Sequence[int], top: int = TOP) -> pd.DataFrame:
    """What this company does to query ``row``: the one row of :func:`compare` for it, with exactly these companions.

    Raises:
        UsageError: a row that is no query, the query itself, or a companion named twice.
    """
    count, members = len(lab.queries), [row, *batch_mates]
    if not all(0 <= member < count for member in members) or len(set(members)) < len(members):
        raise UsageError(f"Query and company must be different rows 0..{count - 1}, not {members}.")
    others = [other for other in range(count) if other not in set(members)]
    grouping = Grouping.explicit([members, *([other] for other in others)])
    return compare(lab, grouping, top=top).iloc[[row]].reset_index(drop=True)


@dataclass(frozen=True)
class BatchDraws:
    """One query in many random companies. table: one row per draw; descriptors [draws, D]; alone [D]."""

    table: pd.DataFrame
    descriptors: np.ndarray
    alone: np.ndarray


def random_batches(lab: Lab, row: int, size: int = 16, draws: int = 100, seed: int = 0) -> BatchDraws:
    """Describe query ``row`` in ``draws`` random batches of ``size`` (itself and size - 1 other queries).

    The table's columns: draw, company (query rows), cosine (to alone), first (database row), flip, right.
    """
    count = len(lab.queries)
    if not 0 <= row < count:
        raise UsageError(f"There is no query {row}; the data set has queries 0..{count - 1}.")
    if not 2 <= size <= count:
        raise UsageError(f"A company needs batches of 2 to {count} photos (the whole query list), not {size}.")
    random, others = np.random.default_rng(seed), np.delete(np.arange(count), row)
    groups = np.array([[row, *random.choice(others, size - 1, replace=False)] for _ in range(draws)])
    values = encode_groups(lab.model, lab.queries, groups, first_only=True)
    alone = encode_groups(lab.model, lab.queries, np.array([[row]]), first_only=True)[0]
    first = int(lab.index.search(alone[None], 1).indices[0, 0])
    answers = lab.index.search(values, 1).indices[:, 0]
    verdicts = lab.is_right(row, answers)
    table = pd.DataFrame(
        {
            "model": lab.title,
            "draw": np.arange(draws),
            "company": [tuple(int(i) for i in group[1:]) for group in groups],
            "cosine": values.astype(np.float64) @ alone,
            "first": answers,
            "flip": answers != first,
            "right": None if verdicts is None else verdicts,
        }
    )
    return BatchDraws(table, values, alone)
