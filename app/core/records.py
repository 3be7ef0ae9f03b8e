"""What a search gives back: frozen records that the page, the API and the tests all read."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from PIL import Image

from scicevpr.datasets import Photo


@dataclass(frozen=True)
class Position:
    """Where a query was taken: east and north in metres (UTM), and how we know ("file name", "GPS" or "entered")."""

    east: float
    north: float
    known_from: str


@dataclass(frozen=True)
class Hit:
    """One database photo in an answer. rank from 1; similarity is the cosine; metres and right: None when unknown."""

    rank: int
    row: int
    photo: Photo
    similarity: float
    metres: float | None = None
    right: bool | None = None

    def to_json(self) -> dict[str, Any]:
        """The record as plain JSON values (the photo by its file name)."""
        utm = self.photo.utm
        return {
            "rank": self.rank,
            "photo": self.photo.name,
            "similarity": round(self.similarity, 6),
            "metres": None if self.metres is None else round(self.metres, 2),
            "right": self.right,
            "east": utm[0] if utm else None,
            "north": utm[1] if utm else None,
            "condition": self.photo.condition,
        }


@dataclass(frozen=True)
class Answer:
    """What one model said.

    hits: the top K. positives: how many database photos are right (None when unknown). first_positive: rank of the
    first of them in the whole ranking, first_positive_metres its distance (both None when there is none among those
    that were ranked). Times in milliseconds; encoded: images that were encoded in describe_ms (the query and the
    others of its batch). problem: why there is no answer (hits are empty then). outside: metres from the query to the
    database's area, where it lies outside. lead: cosine by which rank 1 lies before the best photo of another place,
    None where positions are unknown or all looked-at photos show one place. weights: their hash.
    """

    role: str
    title: str
    hits: tuple[Hit, ...]
    first_positive: int | None
    first_positive_metres: float | None
    positives: int | None
    describe_ms: float
    search_ms: float
    trained: bool
    encoded: int = 1
    protocol: dict[str, str] = field(default_factory=dict)
    problem: str = ""
    outside: float | None = None
    lead: float | None = None
    weights: str = ""

    def verdict(self) -> tuple[str, str]:
        """Its mood, "right", "late", "wrong" or "unknown", and one sentence."""
        if self.problem:
            return "unknown", self.problem
        if self.outside is not None:
            far = f"{self.outside:,.0f} m" if self.outside < 1000 else f"{self.outside / 1000:,.1f} km"
            return "unknown", f"Your photo was taken {far} outside this database's area, so no answer can be right"
        if self.positives is None:
            return "unknown", "Position unknown, so nothing can be called right or wrong"
        if self.positives == 0:
            return "unknown", "The database has no photo of this place, so no answer can be right"
        where = "" if self.first_positive_metres is None else f", {self.first_positive_metres:.0f} m away"
        if self.first_positive == 1:
            return "right", f"Right at rank 1{where}"
        none = f"No right answer in the top {len(self.hits)}"
        if self.first_positive is None:  # only the best of a very large database are ranked
            return "wrong", f"{none}, nor among the best that were ranked"
        if self.first_positive <= len(self.hits):
            return "late", f"The best right answer stands at rank {self.first_positive}{where}"
        return "wrong", f"{none}; the best right photo stands at rank {self.first_positive}"

    def to_json(self) -> dict[str, Any]:
        """The record as plain JSON values."""
        return {
            "model": self.title,
            "verdict": self.verdict()[1],
            "problem": self.problem or None,
            "first_positive_rank": self.first_positive,
            "positives_in_database": self.positives,
            "lead_over_the_best_other_place": None if self.lead is None else round(self.lead, 6),
            "metres_outside_the_database": None if self.outside is None else round(self.outside, 1),
            "matches": [hit.to_json() for hit in self.hits],
            "describe_ms": round(self.describe_ms, 1),
            "search_ms": round(self.search_ms, 2),
            "protocol": self.protocol,
        }


@dataclass(frozen=True)
class Found:
    """A whole search: the query, the answers, the baseline's batch and what is needed to draw the map.

    batch_mates: the other photos of the batch in which the baseline described the query; cosine_to_alone: between the
    query's descriptor in it and alone (None when it was alone). positions [D, 2]: of the database, None when they
    cannot be drawn. radius: metres within which a photo is right, None where the data set has another rule. third: the
    answer of the model in the third column, if one is loaded. drawn: the database shows a place that does not exist.
    position_problem: why the camera's GPS could not be used.
    """

    query: Image.Image
    query_photo: Photo
    position: Position | None
    database: str
    positions: np.ndarray | None
    radius: float | None
    stable: Answer
    baseline: Answer
    batch_mates: tuple[Photo, ...]
    cosine_to_alone: float | None = None
    notes: tuple[str, ...] = ()
    third: Answer | None = None
    drawn: bool = False
    position_problem: str = ""

    @property
    def answers(self) -> tuple[Answer, ...]:
        """SciceVPR first, then the baseline, then the third model if there is one."""
        return (self.stable, self.baseline) if self.third is None else (self.stable, self.baseline, self.third)

    def to_json(self) -> dict[str, Any]:
        """The record as plain JSON values, for the API."""
        return {
            "query": {
                "photo": self.query_photo.name,
                "position": None if self.position is None else asdict(self.position),
                "condition": self.query_photo.condition,
            },
            "database": self.database,
            "radius_m": self.radius,
            "batch_of_the_baseline": [self.query_photo.name, *(photo.name for photo in self.batch_mates)],
            "baseline_cosine_to_alone": self.cosine_to_alone,
            "answers": [answer.to_json() for answer in self.answers],
            "notes": list(self.notes),
        }
