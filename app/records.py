"""What a search gives back: frozen records that the page, the API and the tests all read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

from scicevpr.datasets import Photo


@dataclass(frozen=True)
class ModelState:
    """A model as the page sees it. role: "stable", "baseline", "teacher" or "third"; state: "waiting", "ready" or
    "missing".

    message: what went wrong and what to do, for a missing model.
    """

    role: str
    name: str
    title: str
    state: str
    trained: bool = False
    weights: str = ""
    trained_on: str = ""
    message: str = ""

    def to_json(self) -> dict[str, Any]:
        """The record as plain JSON values."""
        return {
            "role": self.role,
            "name": self.name,
            "title": self.title,
            "state": self.state,
            "trained": self.trained,
            "weights": self.weights,
            "trained_on": self.trained_on,
            "message": self.message,
        }


@dataclass(frozen=True)
class Position:
    """Where a query was taken: east and north in metres (UTM), and how we know ("file name" or "entered")."""

    east: float
    north: float
    source: str


@dataclass(frozen=True)
class Hit:
    """One database photo in an answer. rank from 1; similarity is the cosine; metres and right: None when unknown."""

    rank: int
    row: int
    place: Photo
    similarity: float
    metres: float | None = None
    right: bool | None = None

    def to_json(self) -> dict[str, Any]:
        """The record as plain JSON values (the photo by its file name)."""
        utm = self.place.utm
        return {
            "rank": self.rank,
            "photo": self.place.name,
            "similarity": round(self.similarity, 6),
            "metres": None if self.metres is None else round(self.metres, 2),
            "right": self.right,
            "east": utm[0] if utm else None,
            "north": utm[1] if utm else None,
            "condition": self.place.condition,
        }


@dataclass(frozen=True)
class Answer:
    """What one model said.

    hits: the top K. first_right: rank of the first right photo in the whole ranking, first_right_metres its distance
    (both None when the position is unknown, no photo is right, or none of those that were ranked). right_photos: how
    many database photos are right (None when unknown). Times in milliseconds; described: photos described in
    describe_ms (the query and its company).
    problem: why there is no answer (hits are empty then).
    """

    role: str
    title: str
    hits: tuple[Hit, ...]
    first_right: int | None
    first_right_metres: float | None
    right_photos: int | None
    describe_ms: float
    search_ms: float
    trained: bool
    described: int = 1
    protocol: dict[str, str] = field(default_factory=dict)
    problem: str = ""

    def verdict(self) -> tuple[str, str]:
        """One sentence, and its mood: "right", "late", "wrong" or "unknown"."""
        if self.problem:
            return "unknown", self.problem
        if self.right_photos is None:
            return "unknown", "Position unknown, so nothing can be called right or wrong"
        if self.right_photos == 0:
            return "unknown", "The database has no photo of this place, so no answer can be right"
        where = "" if self.first_right_metres is None else f", {self.first_right_metres:.0f} m away"
        if self.first_right == 1:
            return "right", f"Right at rank 1{where}"
        if self.first_right is None:  # only the best of a very large database are ranked
            return "wrong", f"No right answer in the top {len(self.hits)}, nor among the best that were ranked"
        if self.first_right <= len(self.hits):
            return "late", f"First right answer at rank {self.first_right}{where}"
        return (
            "wrong",
            f"No right answer in the top {len(self.hits)}; the first right photo is at rank {self.first_right}",
        )

    def to_json(self) -> dict[str, Any]:
        """The record as plain JSON values."""
        return {
            "model": self.title,
            "verdict": self.verdict()[1],
            "problem": self.problem or None,
            "first_right_rank": self.first_right,
            "right_photos_in_database": self.right_photos,
            "matches": [hit.to_json() for hit in self.hits],
            "describe_ms": round(self.describe_ms, 1),
            "search_ms": round(self.search_ms, 2),
            "protocol": self.protocol,
        }


@dataclass(frozen=True)
class BatchView:
    """The batch in which the baseline described the query: the query first, then its company.

    drift: cosine between the query's descriptor in this company and alone (None when it was alone).
    """

    batch_mates: tuple[Photo, ...]
    drift: float | None = None


@dataclass(frozen=True)
class Found:
    """A whole search: the query, the answers, the baseline's batch and what is needed to draw the map.

    radius: metres within which a photo is right, None where the data set has another rule. third: the answer of the
    model in the third column, if one is loaded.
    """

    query: Image.Image
    query_place: Photo
    position: Position | None
    database: str
    database_utm: np.ndarray | None
    drawable: bool
    radius: float | None
    stable: Answer
    baseline: Answer
    batch: BatchView
    notes: tuple[str, ...] = ()
    third: Answer | None = None

    @property
    def answers(self) -> tuple[Answer, ...]:
        """SciceVPR first, then the baseline, then the third model if there is one."""
        return (self.stable, self.baseline) if self.third is None else (self.stable, self.baseline, self.third)

    def to_json(self) -> dict[str, Any]:
        """The record as plain JSON values, for the API."""
        position = self.position
        return {
            "query": {
                "photo": self.query_place.name,
                "position": None
                if position is None
                else {"east": position.east, "north": position.north, "known_from": position.source},
                "condition": self.query_place.condition,
            },
            "database": self.database,
            "radius_m": self.radius,
            "batch_of_the_baseline": [self.query_place.name, *(place.name for place in self.batch.batch_mates)],
            "baseline_cosine_to_alone": self.batch.drift,
            "answers": [answer.to_json() for answer in self.answers],
            "notes": list(self.notes),
        }
