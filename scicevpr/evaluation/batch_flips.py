"""How often a batch flips an answer: random batches, batches of one street, and the worst that a search finds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from scicevpr.datasets.ground_truth import separate_positions
from scicevpr.descriptors.describe import encode_groups
from scicevpr.errors import UsageError
from scicevpr.evaluation.batch_effects import StabilitySetup
from scicevpr.evaluation.batch_mates import worst_batch
from scicevpr.evaluation.uncertainty import bootstrap_limits, places_by_position, places_by_positives

KINDS = ("random", "same street", "worst")
SEARCHED = 24  # queries for which the worst batch is searched, evenly spread: a search describes hundreds of batches
INDEPENDENT = 1e-5  # a descriptor that moves less does not depend on its batch


def flip_rates(
    setup: StabilitySetup,
    sizes: Sequence[int] = (2, 4, 8, 16),
    draws: int = 20,
    seed: int = 0,
    kinds: Sequence[str] = KINDS,
    searched: int = SEARCHED,
) -> pd.DataFrame:
    """Share of queries, right alone, that a batch makes wrong: one row per kind and batch size.

    random: the mean over `draws` batches of other queries. same street: the query with its nearest ones. worst: is
    there a batch, as far as a search finds one (over `searched` queries)? Columns: model, batch, size, queries, flips
    (percent), low, high (95 % bootstrap over places), change (largest cosine distance seen to the descriptor alone),
    note. A model that does not feel its batch is not searched. UsageError without labels or where nothing is right.
    """
    positives = setup.positives
    if positives is None:
        raise UsageError("Without labels nobody knows which answers flip from right to wrong.")
    count = len(setup.queries)
    alone = encode_groups(setup.model, setup.queries, np.arange(count)[:, None], first_only=True)
    firsts = setup.index.search(alone, 1).indices[:, 0]
    right = np.array([first in rows for first, rows in zip(firsts, positives, strict=True)])
    if not right.any():
        raise UsageError("No query is answered rightly alone, so no batch can make one wrong.")
    asked, random = np.flatnonzero(right), np.random.default_rng(seed)
    positioned = setup.dataset.truth.listed is None
    where = separate_positions(setup.dataset.queries) if positioned else None
    labels = places_by_positives(positives) if where is None else places_by_position(where, setup.radius)

    def wrong(groups: np.ndarray) -> tuple[np.ndarray, float]:
        values = encode_groups(setup.model, setup.queries, groups, first_only=True)
        answers = setup.index.search(values, 1).indices[:, 0]
        moved = 1 - (values.astype(np.float64) * alone[groups[:, 0]]).sum(axis=1)
        flipped = [a not in positives[row] for a, row in zip(answers, groups[:, 0], strict=True)]
        return np.array(flipped, float), float(np.abs(moved).max())

    found: list[dict[str, Any]] = []
    for size in sizes:
        if not 2 <= size <= count:
            raise UsageError(f"A batch must have 2 to {count} photos (the whole query list), not {size}.")
        for kind in kinds:
            if kind == "random":
                groups = np.array(
                    [
                        [row, *random.choice(np.delete(np.arange(count), row), size - 1, replace=False)]
                        for row in asked
                        for _ in range(draws)
                    ]
                )
                flips, change = wrong(groups)
                flips, rows, note = flips.reshape(len(asked), draws).mean(axis=1), asked, f"{draws} batches a query"
            elif kind == "same street":
                if where is None:
                    continue
                near = [np.argsort(((where - where[row]) ** 2).sum(axis=1), kind="stable") for row in asked]
                groups = np.array(
                    [[row, *[o for o in order if o != row][: size - 1]] for row, order in zip(asked, near, strict=True)]
                )
                (flips, change), rows, note = wrong(groups), asked, "its nearest queries"
            elif kind == "worst":
                change = found[-1]["change"] if found else 0.0
                note = "does not feel its batch: nothing to search"
                rows = asked[np.unique(np.linspace(0, len(asked) - 1, min(searched, len(asked))).astype(int))]
                flips = np.zeros(len(rows))
                if setup.model.variant.cross_image or change > INDEPENDENT:
                    cases = [worst_batch(setup, int(row), size, seed, goal="fail") for row in rows]
                    flips = np.array([case.flipped for case in cases], float)
                    note = f"{cases[0].tried} batches tried a query"
            else:
                raise UsageError(f"There is no kind of batch {kind!r}; choose from {', '.join(KINDS)}.")
            low, high = 100 * bootstrap_limits(flips[:, None], labels[rows])[:, 0]
            found.append(
                {
                    "model": setup.title,
                    "batch": kind,
                    "size": size,
                    "queries": len(rows),
                    "flips": 100 * float(flips.mean()),
                    "low": float(low),
                    "high": float(high),
                    "change": change,
                    "note": note,
                }
            )
    return pd.DataFrame(found)
