"""What the Stability tab works with: a query and its company, and what company did to a model's answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from app.records import Hit, Position
from app.services import MAX_COMPANY
from scicevpr.datasets import Dataset, Photo
from scicevpr.errors import UsageError


@dataclass(frozen=True)
class Projection:
    """Descriptors on the plane of the database's two main directions, each [n, 2].

    database; cloud: the query in random companies; alone, now: the query; explained: share of the database's variance.
    """

    database: np.ndarray
    cloud: np.ndarray
    alone: np.ndarray
    now: np.ndarray
    explained: float


@dataclass(frozen=True)
class Reaction:
    """What company did to one model's answer.

    alone, now: top answers without and with company. cosine: between both descriptions. correlation: of the top ten's
    order. flip: another photo at rank 1. draws: the table of the random companies. rewriting
    [1 + companions, 14]: how far the whole company (first row) and each companion moves each region part of the
    descriptor; None without company.
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
            "in_company": [hit.to_json() for hit in self.now],
            "cosine_to_alone": round(self.cosine, 7),
            "rank_correlation_of_the_top_10": round(self.correlation, 4),
            "first_answer_changed": self.flip,
            "moved_by_companion_and_region": None if self.rewriting is None else self.rewriting.round(5).tolist(),
            "random_companies": len(self.draws),
            "random_companies_that_change_the_first_answer": int(self.draws["flip"].sum()) if len(self.draws) else 0,
        }


@dataclass(frozen=True)
class Session:
    """A query and the photos that may keep it company: rows of the data set's query list."""

    image: Image.Image
    place: Photo
    position: Position | None
    row: int | None
    key: str
    dataset: Dataset

    @property
    def others(self) -> np.ndarray:
        """All rows of the query list but the query's own."""
        rows = np.arange(len(self.dataset.queries))
        return rows if self.row is None else np.delete(rows, self.row)


@dataclass(frozen=True)
class PairFigure:
    """Figure 1 as data: the chosen queries, the table of answers, and how rare such pairs are."""

    key: str
    dataset: Dataset
    chosen: list[int]
    table: pd.DataFrame
    statistics: dict[str, float]


def checked_batch_mates(session: Session, batch_mates: Sequence[int]) -> list[int]:
    """Companions as rows of the query list. UsageError names the first that cannot be."""
    rows = [int(row) for row in batch_mates]
    count = len(session.dataset.queries)
    for row in rows:
        if not 0 <= row < count:
            raise UsageError(f"There is no photo {row} in the query list; it has photos 0..{count - 1}.")
        if row == session.row:
            raise UsageError("The query cannot keep itself company.")
    if len(set(rows)) < len(rows):
        raise UsageError("A photo can be in the batch only once.")
    if len(rows) > MAX_COMPANY:
        raise UsageError(f"At most {MAX_COMPANY} photos can share the query's batch, not {len(rows)}.")
    return rows
