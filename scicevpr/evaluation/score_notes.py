"""What has to be said beside a score, because the number does not show it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from scicevpr.datasets import Dataset
from scicevpr.errors import UsageError
from scicevpr.retrieval.rows import shape_of, zero_rows


def truth_notes(dataset: Dataset, right: Sequence[np.ndarray] | None) -> list[str]:
    """What a score does not show: queries that nothing can answer, and a truth that everything answers."""
    if not right:
        return []
    notes, without = [], sum(len(rows) == 0 for rows in right)
    if without:
        notes.append(
            f"{without} of {len(right)} queries have no right answer in the database; they count as wrong, so Recall "
            f"cannot exceed {100 * (1 - without / len(right)):.1f}."
        )
    if len(dataset.database) > 1 and all(len(rows) == len(dataset.database) for rows in right):
        notes.append("Every database photo is right for every query, so Recall is 100 whatever the model answers.")
    return notes


def zero_notes(database: Any, queries: Any) -> list[str]:
    """What is said of descriptors that are zero throughout. UsageError where all of the database or of the queries
    are: such an export is broken, and its order of answers is that of the rows."""
    notes = []
    for what, values in (("database descriptors", database), ("query descriptors", queries)):
        zero, count = zero_rows(values), shape_of(values, what)[0]
        if zero and zero == count:
            raise UsageError(
                f"All {count} {what} are zero throughout, so every answer would be as good as any other. Describe the "
                "photos again."
            )
        if zero:
            notes.append(f"{zero} of {count} {what} are zero throughout: they are equally far from everything.")
    return notes
