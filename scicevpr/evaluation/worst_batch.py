"""Which company changes a model's answer most? A search over the photos that could share the query's batch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from scicevpr.descriptors.describe import encode_groups
from scicevpr.errors import UsageError
from scicevpr.evaluation.batch_effects import Lab

FIRST_DRAWS = 96
CANDIDATES = 48
ROUNDS = 8


@dataclass(frozen=True)
class WorstCase:
    """The best company found so far.

    company: query rows beside the query. margin: similarity of the best photo of another place minus that of the best
    photo of the place answered alone; above 0 the answer has changed place. margin_alone: the same without company.
    first_alone, first: database rows at rank 1. tried: companies described; done: the search is over.
    """

    batch_mates: tuple[int, ...]
    margin: float
    margin_alone: float
    first_alone: int
    first: int
    tried: int
    done: bool

    @property
    def flipped(self) -> bool:
        """True when this company changes the place that is answered."""
        return self.margin > 0


def same_answer(lab: Lab, row: int, first: int) -> np.ndarray:
    """Which database photos count as the same answer as database row ``first``: [D] bool.

    The positives of the query, when ``first`` is one of them; else the photos within the radius of ``first``; without
    positions ``first`` alone.
    """
    same = np.zeros(len(lab.database), dtype=bool)
    same[first] = True
    if lab.right is None:
        return same
    if first in lab.right[row]:
        same[lab.right[row]] = True
        return same
    if not lab.dataset.positioned:
        return same
    positions = np.array([place.utm for place in lab.dataset.database])
    return same | (np.hypot(*(positions - positions[first]).T) <= lab.radius)


def search_worst_batch(
    lab: Lab, row: int, size: int = 8, seed: int = 0, rounds: int = ROUNDS, pool: np.ndarray | None = None
) -> Iterator[WorstCase]:
    """Search for the company of ``size - 1`` queries that moves the answer to query ``row`` most.

    Random companies first, then one companion at a time is exchanged for the best of some random others. Yields the
    best so far after each round; the last has ``done`` set. The same seed gives the same result.

    Args:
        pool: query rows to choose from; default all but the query.

    Raises:
        UsageError: no such query, or too few photos to choose from.
    """
    count = len(lab.queries)
    if not 0 <= row < count:
        raise UsageError(f"There is no query {row}; the data set has queries 0..{count - 1}.")
    others = np.delete(np.arange(count), row) if pool is None else np.setdiff1d(pool, [row])
    if not 2 <= size <= len(others) + 1:
        raise UsageError(f"A batch of {size} cannot be filled: besides the query there are {len(others)} photos.")
    random = np.random.default_rng(seed)
    alone = encode_groups(lab.model, lab.queries, np.array([[row]]), first_only=True)
    first_alone = int(lab.index.search(alone, 1).indices[0, 0])
    same = same_answer(lab, row, first_alone)
    if same.all():
        raise UsageError("Every database photo shows this place, so no company can change the answer.")

    def margins(companies: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        groups = np.concatenate([np.full((len(companies), 1), row), companies], axis=1)
        similarities = encode_groups(lab.model, lab.queries, groups, first_only=True) @ lab.database.T
        return similarities[:, ~same].max(axis=1) - similarities[:, same].max(axis=1), similarities.argmax(axis=1)

    similarities = alone[0] @ lab.database.T
    margin_alone = float(similarities[~same].max() - similarities[same].max())
    drawn = np.array([random.choice(others, size - 1, replace=False) for _ in range(FIRST_DRAWS)])
    values, firsts = margins(drawn)
    best = int(values.argmax())
    batch_mates, margin, first, tried = drawn[best], float(values[best]), int(firsts[best]), len(drawn)
    for number in range(rounds):
        yield WorstCase(tuple(map(int, batch_mates)), margin, margin_alone, first_alone, first, tried, False)
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
    yield WorstCase(tuple(map(int, batch_mates)), margin, margin_alone, first_alone, first, tried, True)


def worst_batch(lab: Lab, row: int, size: int = 8, seed: int = 0, rounds: int = ROUNDS) -> WorstCase:
    """The result of :func:`search_worst_company`."""
    return list(search_worst_batch(lab, row, size, seed, rounds))[-1]
