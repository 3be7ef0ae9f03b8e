"""Figures 1 and 2 of the SciceVPR paper: experiments on a whole data set."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from scicevpr.errors import UsageError
from scicevpr.evaluation.batch_effects import Lab
from scicevpr.figures.paper.data import CurveData, PairData
from scicevpr.figures.paper.export import PAIR_DATABASE, figure_1, pair_statistics, telling_pairs
from scicevpr.figures.paper.from_parts import data_words, grouped, models_words, photo_of

PAIR_TRIES = 4000


def curve_data(labs: Sequence[tuple[str, Lab]], table: pd.DataFrame) -> CurveData:
    """Figure 2 from labs (title, lab) and the rows of `query_batches` measured with them, under these titles."""
    dataset = labs[0][1].dataset
    words = [
        (title, lab.model, f"database described {grouped(lab.model, lab.database_grouping)}") for title, lab in labs
    ]
    return CurveData(table, len(dataset.queries), f"{data_words(dataset)} {models_words(words)}")


def pair_data(labs: Sequence[tuple[str, Lab]], pairs: int = 2, seed: int = 0) -> PairData:
    """Figure 1 for labs (title, lab); the pairs are searched for with the first cross-image model.

    Raises:
        UsageError: no cross-image model, no labels, or no pair that changes an answer.
    """
    baseline = next(((title, lab) for title, lab in labs if lab.model.variant.cross_image), None)
    if baseline is None:
        raise UsageError("Figure 1 needs a model whose answers depend on the batch, such as cricavpr-t.")
    dataset = labs[0][1].dataset
    if not dataset.labelled:
        raise UsageError("Right and wrong need positions: this data set has photos without one in their names.")
    chosen = telling_pairs(baseline[1], pairs, seed, PAIR_TRIES)
    if not chosen:
        raise UsageError(f"No pair of queries was found that changes an answer of {baseline[0]}.")
    table = pd.concat([figure_1(lab, chosen).assign(model=title) for title, lab in labs], ignore_index=True)
    firsts = sorted({int(row) for row in table["first"]})
    words = [
        (
            title,
            lab.model,
            f"database described {grouped(lab.model, f'sequential {PAIR_DATABASE.size}')}",
        )
        for title, lab in labs
    ]
    return PairData(
        table=table,
        chosen=tuple(chosen),
        queries={row: photo_of(dataset.queries[row]) for row in chosen},
        answers={row: photo_of(dataset.database[row]) for row in firsts},
        query_names={row: dataset.queries[row].name for row in chosen},
        answer_names={row: dataset.database[row].name for row in firsts},
        statistics=pair_statistics(baseline[1], seed, PAIR_TRIES),
        searched_for=baseline[0],
        protocol=f"{data_words(dataset)} {models_words(words)}",
    )
