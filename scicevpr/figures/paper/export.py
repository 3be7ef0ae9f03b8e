"""Figures 1 and 2 of the SciceVPR paper as experiments on any data set with labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from scicevpr.descriptors.batches import Grouping
from scicevpr.descriptors.describe import encode_groups
from scicevpr.evaluation.batch_effects import SIZES, Lab, query_batches

PAIR_DATABASE = Grouping.sequential(2)
"""Figure 1 describes the database in sequential batches of two."""


def figure_1(lab: Lab, queries: Sequence[int]) -> pd.DataFrame:
    """The same queries alone and in a batch of two with the next one of ``queries``: what stands at rank 1?

    The database is described in sequential batches of two, as in the paper; the lab needs its region vectors. Columns:
    model, query (row), batch ("alone" or "pair"), partner (row or None), first (database row), similarity, metres,
    right. Queries are paired two by two; an odd last one has no pair.
    """
    other = lab.with_database(PAIR_DATABASE) if lab.model.variant.cross_image else lab
    pairs = [tuple(queries[i : i + 2]) for i in range(0, len(queries) - 1, 2)]
    batches = [(row,) for row in queries] + pairs
    rows = []
    for batch in batches:
        values = encode_groups(lab.model, lab.queries, np.array([batch]))[0]
        found = other.index.search(values, 1)
        for position, row in enumerate(batch):
            first = int(found.indices[position, 0])
            verdict = lab.is_right(row, np.array([first]))
            rows.append(
                {
                    "model": lab.title,
                    "query": int(row),
                    "batch": "alone" if len(batch) == 1 else "pair",
                    "partner": None if len(batch) == 1 else int(batch[1 - position]),
                    "first": first,
                    "similarity": float(found.similarities[position, 0]),
                    "metres": _metres(lab, row, first),
                    "right": None if verdict is None else bool(verdict[0]),
                }
            )
    return pd.DataFrame(rows)


def telling_pairs(lab: Lab, count: int = 2, seed: int = 0, tries: int = 4000) -> list[int]:
    """Pairs of queries, at most ``count``, of which a batch of two changes an answer of this model: [2 * count] rows.

    Random pairs are tried; those that turn a right answer wrong come first, then those that change any answer. For an
    honest Figure 1 say that the pairs were searched for; how many of the tried ones change is in
    :func:`pair_statistics`.
    """
    pairs, lost, changed = _tried_pairs(lab, seed, tries)
    order = np.argsort(-(2 * lost + changed), kind="stable")
    chosen: list[int] = []
    for index in order:
        if not changed[index] or len(chosen) == 2 * count:
            break
        if not set(pairs[index].tolist()) & set(chosen):
            chosen += pairs[index].tolist()
    return chosen


def pair_statistics(lab: Lab, seed: int = 0, tries: int = 4000) -> dict[str, float]:
    """Percentage of random pairs in which a partner changes an answer, and in which a right answer is lost."""
    _, lost, changed = _tried_pairs(lab, seed, tries)
    return {"pairs": len(changed), "changed": 100 * float(changed.mean()), "lost": 100 * float(lost.mean())}


def figure_2(
    lab: Lab, sizes: Sequence[int] = SIZES, orders: Sequence[str] = ("file", "shuffled", "place"),
    seeds: Sequence[int] = range(10),
) -> pd.DataFrame:  # fmt: skip
    """Recall@1 over query batch sizes and orders, the database described in sequential batches of 16."""
    return query_batches(lab, sizes, orders, seeds)


def _tried_pairs(lab: Lab, seed: int, tries: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Random pairs [N, 2]; in which the pair loses a right answer [N]; in which it changes one [N]."""
    other = lab.with_database(PAIR_DATABASE) if lab.model.variant.cross_image else lab
    count, random = len(lab.queries), np.random.default_rng(seed)
    first = random.integers(0, count, tries)
    pairs = np.stack([first, (first + random.integers(1, count, tries)) % count], axis=1)
    pairs = np.unique(np.sort(pairs, axis=1), axis=0)
    alone = other.index.search(encode_groups(lab.model, lab.queries, np.arange(count)[:, None], first_only=True), 1)
    together = encode_groups(lab.model, lab.queries, pairs)
    answers = other.index.search(together.reshape(-1, together.shape[-1]), 1).indices.reshape(-1, 2)
    before = alone.indices[:, 0][pairs]
    changed = before != answers
    lost = np.zeros_like(changed)
    if lab.right is not None:
        for index, pair in enumerate(pairs):
            for side, row in enumerate(pair):
                was, now = np.isin([before[index, side], answers[index, side]], lab.right[row])
                lost[index, side] = was and not now
    return pairs, lost.any(axis=1), changed.any(axis=1)


def _metres(lab: Lab, row: int, first: int) -> float | None:
    query, answer = lab.dataset.queries[row].utm, lab.dataset.database[first].utm
    return None if query is None or answer is None else float(np.hypot(query[0] - answer[0], query[1] - answer[1]))
