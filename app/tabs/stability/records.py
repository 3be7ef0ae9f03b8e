"""What the Stability tab works with: a query, the other photos of its batch, and what they did to a model's answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from app.core.query_resolution import MOST_BATCH_MATES
from app.core.records import Hit, Position
from scicevpr.datasets import Dataset, Photo
from scicevpr.errors import UsageError


@dataclass(frozen=True)
class Projection:
    """Descriptors on the plane of the database's two main directions, each [n, 2].

    database; cloud: the query in random batches; alone, now: the query; explained: share of the database's variance.
    """

    database: np.ndarray
    cloud: np.ndarray
    alone: np.ndarray
    now: np.ndarray
    explained: float


@dataclass(frozen=True)
class Reaction:
    """What the other photos of its batch did to one model's answer.

    alone, now: top answers alone and in this batch. cosine: between both descriptions. correlation: of the top ten's
    order. flip: another photo at rank 1. draws: the table of the random batches. rewriting [1 + batch mates, 14]: how
    far all of them together (first row) and each of them moves each region part of the descriptor; None when alone.
    """

    role: str
    title: str
    alone: tuple[Hit, ...]
    now: tuple[Hit, ...]
    cosine: float
    correlation: float
    flip: bool
    draws: pd.DataFrame
    projection: Projection
    rewriting: np.ndarray | None = None

    def to_json(self) -> dict[str, Any]:
        """The record as plain JSON values."""
        return {
            "model": self.title,
            "alone": [hit.to_json() for hit in self.alone],
            "in_batch": [hit.to_json() for hit in self.now],
            "cosine_to_alone": round(self.cosine, 7),
            "rank_correlation_of_the_top_10": round(self.correlation, 4),
            "first_answer_changed": self.flip,
            "change_by_batch_mate_and_region": None if self.rewriting is None else self.rewriting.round(5).tolist(),
            "random_batches": len(self.draws),
            "random_batches_that_change_the_first_answer": int(self.draws["flip"].sum()) if len(self.draws) else 0,
        }


@dataclass(frozen=True)
class Session:
    """A query to experiment with. row: in the query list of the data set, whose other photos may share its batch."""

    image: Image.Image
    photo: Photo
    position: Position | None
    row: int | None
    key: str
    dataset: Dataset

    @property
    def others(self) -> np.ndarray:
        """All rows of the query list but the query's own."""
        rows = np.arange(len(self.dataset.queries))
        return rows if self.row is None else np.delete(rows, self.row)


def checked_batch_mates(session: Session, batch_mates: Sequence[int]) -> list[int]:
    """The other photos of a batch as rows of the query list. UsageError names the first that cannot be."""
    rows = [int(row) for row in batch_mates]
    count = len(session.dataset.queries)
    for row in rows:
        if not 0 <= row < count:
            raise UsageError(f"There is no photo {row} in the query list; it has photos 0..{count - 1}.")
        if row == session.row:
            raise UsageError("The query is in its batch already; it cannot share it with itself.")
    if len(set(rows)) < len(rows):
        raise UsageError("A photo can be in the batch only once.")
    if len(rows) > MOST_BATCH_MATES:
        raise UsageError(f"At most {MOST_BATCH_MATES} photos can share the query's batch, not {len(rows)}.")
    return rows
