"""One query, or a pair, and the other photos in the batch: chosen ones, random ones, the worst ones, Figure 1."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from scicevpr.datasets.zones import metres_apart
from scicevpr.descriptors.batches import Grouping
from scicevpr.descriptors.describe import encode_groups
from scicevpr.errors import UsageError
from scicevpr.evaluation.batch_effects import TOP, StabilitySetup, compare
from scicevpr.retrieval.pca import PCA

FIRST_DRAWS = 96
CANDIDATES = 48
ROUNDS = 8
GOALS = ("any", "fail", "right")
FITTED = 4096
"""Database photos on which the plane is fitted at most, evenly spread over the list."""

PAIR_DATABASE = Grouping.sequential(2)
"""Figure 1 describes the database in sequential batches of two."""


def chosen_batch_mates(setup: StabilitySetup, row: int, batch_mates: Sequence[int], top: int = TOP) -> pd.DataFrame:
    """What these other photos do to query ``row``: its row of `compare`, in a batch of exactly these. UsageError for a
    row that is no query, the query itself, or one that is named twice."""
    count, members = len(setup.queries), [row, *batch_mates]
    if not all(0 <= member < count for member in members) or len(set(members)) < len(members):
        raise UsageError(f"The query and the other photos must be different rows 0..{count - 1}, not {members}.")
    others = [other for other in range(count) if other not in set(members)]
    grouping = Grouping.explicit([members, *([other] for other in others)])
    return compare(setup, grouping, top=top).iloc[[row]].reset_index(drop=True)


@dataclass(frozen=True)
class BatchDraws:
    """One query in many random batches. table: one row per draw; descriptors [draws, D]; alone [D]."""

    table: pd.DataFrame
    descriptors: np.ndarray
    alone: np.ndarray


def random_batches(setup: StabilitySetup, row: int, size: int = 16, draws: int = 100, seed: int = 0) -> BatchDraws:
    """Describe query ``row`` in ``draws`` random batches of ``size`` (itself and size - 1 other queries).

    The table's columns: draw, batch_mates (query rows), cosine (to alone), first (database row), flip, right.
    """
    count = len(setup.queries)
    if not 0 <= row < count:
        raise UsageError(f"There is no query {row}; the data set has queries 0..{count - 1}.")
    if not 2 <= size <= count:
        raise UsageError(f"A batch must have 2 to {count} photos (the whole query list), not {size}.")
    random, others = np.random.default_rng(seed), np.delete(np.arange(count), row)
    groups = np.array([[row, *random.choice(others, size - 1, replace=False)] for _ in range(draws)])
    values = encode_groups(setup.model, setup.queries, groups, first_only=True)
    alone = encode_groups(setup.model, setup.queries, np.array([[row]]), first_only=True)[0]
    first = int(setup.index.search(alone[None], 1).indices[0, 0])
    answers = setup.index.search(values, 1).indices[:, 0]
    verdicts = setup.is_right(row, answers)
    table = pd.DataFrame(
        {
            "model": setup.title,
            "draw": np.arange(draws),
            "batch_mates": [tuple(int(i) for i in group[1:]) for group in groups],
            "cosine": values.astype(np.float64) @ alone,
            "first": answers,
            "flip": answers != first,
            "right": None if verdicts is None else verdicts,
        }
    )
    return BatchDraws(table, values, alone)


def database_plane(setup: StabilitySetup) -> PCA:
    """PCA of the database to two values; ``transform`` puts descriptors [N, D] on the plane [N, 2]."""
    step = -(-len(setup.database) // FITTED)
    weights = setup.model.weights.sha256 if setup.model.weights else ""
    fitted = np.ascontiguousarray(setup.database[::step])
    return PCA.fit(fitted, 2, solver="randomized", fingerprint=setup.model.variant.fingerprint, weights=weights)


# ---- the worst batch -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class WorstBatch:
    """The worst batch found so far.

    batch_mates: query rows beside the query. margin: similarity of the best photo of another place minus that of the
    best photo of the place answered alone; above 0 the answer has changed place. margin_alone: the same of the query
    alone. first_alone, first: database rows at rank 1. tried: batches described; done: the search is over. goal: of
    GOALS; with "fail" and "right" the margin is that of wrong over right photos, and of right over wrong ones.
    """

    batch_mates: tuple[int, ...]
    margin: float
    margin_alone: float
    first_alone: int
    first: int
    tried: int
    done: bool
    goal: str = "any"

    @property
    def flipped(self) -> bool:
        """True when this batch changes the place that is answered, in the way that was looked for."""
        return self.margin > 0

    @property
    def sentence(self) -> str:
        """What the search has found, in words."""
        if self.flipped:
            return {
                "any": "In this batch another place wins.",
                "fail": "Right alone, wrong in this batch.",
                "right": "Wrong alone, right in this batch.",
            }[self.goal]
        none = {"any": "changes the answer", "fail": "makes it wrong", "right": "makes it right"}[self.goal]
        return f"None of the {self.tried} batches tried {none}."


def search_worst_batch(
    setup: StabilitySetup,
    row: int,
    size: int = 8,
    seed: int = 0,
    rounds: int = ROUNDS,
    pool: np.ndarray | None = None,
    *,
    goal: str = "any",
) -> Iterator[WorstBatch]:
    """Search for the ``size - 1`` other queries that move the answer to query ``row`` most.

    Random batches first, then one photo at a time is exchanged for the best of some random others. Yields the worst
    batch so far after each round; the last has ``done`` set. The same seed gives the same result. pool: query rows to
    choose from; default all but the query. goal: "any" changes the place that is answered; "fail" makes a right answer
    wrong; "right" makes a wrong one right. Raises UsageError for no such query, too few photos to choose from, or a
    goal that this query cannot have.
    """
    count = len(setup.queries)
    if not 0 <= row < count:
        raise UsageError(f"There is no query {row}; the data set has queries 0..{count - 1}.")
    others = np.delete(np.arange(count), row) if pool is None else np.setdiff1d(pool, [row])
    if not 2 <= size <= len(others) + 1:
        raise UsageError(f"A batch of {size} cannot be filled: besides the query there are {len(others)} photos.")
    random = np.random.default_rng(seed)
    alone = encode_groups(setup.model, setup.queries, np.array([[row]]), first_only=True)
    first_alone = int(setup.index.search(alone, 1).indices[0, 0])
    same = same_answer(setup, row, first_alone) if goal == "any" else _kept_by(setup, row, first_alone, goal)
    if same.all():
        raise UsageError("Every database photo shows this place, so no batch can change the answer.")

    def margins(mates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        groups = np.concatenate([np.full((len(mates), 1), row), mates], axis=1)
        similarities = encode_groups(setup.model, setup.queries, groups, first_only=True) @ setup.database.T
        return similarities[:, ~same].max(axis=1) - similarities[:, same].max(axis=1), similarities.argmax(axis=1)

    similarities = alone[0] @ setup.database.T
    margin_alone = float(similarities[~same].max() - similarities[same].max())
    drawn = np.array([random.choice(others, size - 1, replace=False) for _ in range(FIRST_DRAWS)])
    values, firsts = margins(drawn)
    best = int(values.argmax())
    batch_mates, margin, first, tried = drawn[best], float(values[best]), int(firsts[best]), len(drawn)
    for number in range(rounds):
        yield WorstBatch(tuple(map(int, batch_mates)), margin, margin_alone, first_alone, first, tried, False, goal)
        free = np.setdiff1d(others, batch_mates)
        if len(free) == 0:
            break
        chosen = random.choice(free, min(CANDIDATES, len(free)), replace=False)
        swapped = np.repeat(batch_mates[None], len(chosen), axis=0)
        swapped[:, number % (size - 1)] = chosen
        values, firsts = margins(swapped)
        tried += len(chosen)
        best = int(values.argmax())
        if values[best] > margin:
            batch_mates, margin, first = swapped[best], float(values[best]), int(firsts[best])
    yield WorstBatch(tuple(map(int, batch_mates)), margin, margin_alone, first_alone, first, tried, True, goal)


def worst_batch(
    setup: StabilitySetup, row: int, size: int = 8, seed: int = 0, rounds: int = ROUNDS, *, goal: str = "any"
) -> WorstBatch:
    """The result of `search_worst_batch`."""
    return list(search_worst_batch(setup, row, size, seed, rounds, goal=goal))[-1]


def _kept_by(setup: StabilitySetup, row: int, first: int, goal: str) -> np.ndarray:
    """The photos that a batch must push down, [D] bool: the right ones to make the query fail, the wrong ones to make
    it right. UsageError where the answer alone is not what the goal starts from."""
    if goal not in GOALS:
        raise UsageError(f"A batch can be looked for that makes the answer {', '.join(GOALS)}, not {goal!r}.")
    if setup.positives is None or not len(setup.positives[row]):
        raise UsageError(f"Nobody knows a right answer to query {row}, so none can be made right or wrong.")
    right = np.zeros(len(setup.database), bool)
    right[setup.positives[row]] = True
    if right[first] != (goal == "fail"):
        state, other = ("right", "fail") if right[first] else ("wrong", "right")
        raise UsageError(f"Query {row} is answered {state} alone already. Look for a batch that makes it {other}.")
    return right if goal == "fail" else ~right


def same_answer(setup: StabilitySetup, row: int, first: int) -> np.ndarray:
    """Which database photos count as the same answer as database row ``first``, [D] bool: the query's positives, when
    ``first`` is one of them; else the photos within the radius of ``first``; without positions ``first`` alone."""
    same = np.zeros(len(setup.database), dtype=bool)
    same[first] = True
    if setup.positives is None:
        return same
    if first in setup.positives[row]:
        same[setup.positives[row]] = True
        return same
    if not setup.dataset.positioned:
        return same
    positions = np.array([photo.utm for photo in setup.dataset.database])
    return same | (np.hypot(*(positions - positions[first]).T) <= setup.radius)


# ---- pairs: Figure 1 of the paper ------------------------------------------------------------------------------------


def paired_queries(setup: StabilitySetup, queries: Sequence[int]) -> pd.DataFrame:
    """The same queries alone and in a batch of two with the next one of ``queries``: what stands at rank 1?

    The database is described in sequential batches of two, as in the paper; the setup needs its region vectors.
    Columns: model, query (row), batch ("alone" or "pair"), partner (row or None), first (database row), similarity,
    metres, right. Queries are paired two by two; an odd last one has no pair.
    """
    other = _in_pairs(setup)
    pairs = [tuple(queries[i : i + 2]) for i in range(0, len(queries) - 1, 2)]
    batches = [(row,) for row in queries] + pairs
    rows = []
    for batch in batches:
        values = encode_groups(setup.model, setup.queries, np.array([batch]))[0]
        found = other.index.search(values, 1)
        for position, row in enumerate(batch):
            first = int(found.indices[position, 0])
            metres = metres_apart(setup.dataset.queries[row].utm, setup.dataset.database[first].utm)
            verdict = setup.is_right(row, np.array([first]))
            rows.append(
                {
                    "model": setup.title,
                    "query": int(row),
                    "batch": "alone" if len(batch) == 1 else "pair",
                    "partner": None if len(batch) == 1 else int(batch[1 - position]),
                    "first": first,
                    "similarity": float(found.similarities[position, 0]),
                    "metres": metres,
                    "right": None if verdict is None else bool(verdict[0]),
                }
            )
    return pd.DataFrame(rows)


def _in_pairs(setup: StabilitySetup) -> StabilitySetup:
    return setup.with_database(PAIR_DATABASE) if setup.model.variant.cross_image else setup


def telling_pairs(setup: StabilitySetup, count: int = 2, seed: int = 0, tries: int = 4000) -> list[int]:
    """Pairs of queries, at most ``count``, of which a batch of two changes an answer of this model: [2 * count] rows.

    Random pairs are tried; those that turn a right answer wrong come first. For an honest Figure 1 say that the pairs
    were searched for, and how many of the tried ones change (`pair_statistics`).
    """
    pairs, lost, changed = _tried_pairs(setup, seed, tries)
    order = np.argsort(-(2 * lost + changed), kind="stable")
    chosen: list[int] = []
    for index in order:
        if not changed[index] or len(chosen) == 2 * count:
            break
        if not set(pairs[index].tolist()) & set(chosen):
            chosen += pairs[index].tolist()
    return chosen


def pair_statistics(setup: StabilitySetup, seed: int = 0, tries: int = 4000) -> dict[str, float]:
    """Percentage of random pairs in which a partner changes an answer, and in which a right answer is lost."""
    _, lost, changed = _tried_pairs(setup, seed, tries)
    return {"pairs": len(changed), "changed": 100 * float(changed.mean()), "lost": 100 * float(lost.mean())}


def _tried_pairs(setup: StabilitySetup, seed: int, tries: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Random pairs [N, 2]; in which the pair loses a right answer [N]; in which it changes one [N]."""
    other = _in_pairs(setup)
    count, random = len(setup.queries), np.random.default_rng(seed)
    first = random.integers(0, count, tries)
    pairs = np.stack([first, (first + random.integers(1, count, tries)) % count], axis=1)
    pairs = np.unique(np.sort(pairs, axis=1), axis=0)
    alone = other.index.search(encode_groups(setup.model, setup.queries, np.arange(count)[:, None], first_only=True), 1)
    together = encode_groups(setup.model, setup.queries, pairs)
    answers = other.index.search(together.reshape(-1, together.shape[-1]), 1).indices.reshape(-1, 2)
    before = alone.indices[:, 0][pairs]
    changed = before != answers
    lost = np.zeros_like(changed)
    if setup.positives is not None:
        for index, pair in enumerate(pairs):
            for side, row in enumerate(pair):
                was, now = np.isin([before[index, side], answers[index, side]], setup.positives[row])
                lost[index, side] = was and not now
    return pairs, lost.any(axis=1), changed.any(axis=1)
