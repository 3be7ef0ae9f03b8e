"""What a benchmark run gives: one result a model and database, what it costs, and where searches are kept between runs.

Of a search only what the models answered is kept, with its protocol. What is right is judged anew each time.
"""

from __future__ import annotations

import json
import logging
import os
import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from scicevpr.datasets import Dataset
from scicevpr.errors import UsageError
from scicevpr.evaluation.comparison import Comparison, StoredRelevance, compare
from scicevpr.evaluation.metrics import hit_matrix
from scicevpr.evaluation.results import Evaluation, Scores, relative_name
from scicevpr.evaluation.uncertainty import score_intervals
from scicevpr.figures.scores import RecallCurve
from scicevpr.retrieval.matches import Matches

logger = logging.getLogger(__name__)

FORMAT = "scicevpr-benchmark 2"
CURVE_LENGTH = 100
FLOAT_BYTES = 4


@dataclass(frozen=True)
class Cost:
    """What a model costs on a database. dimensions: of a descriptor. ms_a_photo: measured while the queries were
    described, reading and resizing them included; None when nothing was described. photos: of the database."""

    dimensions: int
    photos: int
    ms_a_photo: float | None

    @property
    def kilobytes_a_photo(self) -> float:
        """A descriptor in float32, as it is searched."""
        return self.dimensions * FLOAT_BYTES / 1e3

    @property
    def database_megabytes(self) -> float:
        """All descriptors of the database in float32, as they are searched."""
        return self.photos * self.dimensions * FLOAT_BYTES / 1e6

    def to_json(self) -> dict[str, Any]:
        """The record as plain JSON values."""
        return {
            "descriptor_dimensions": self.dimensions,
            "kilobytes_a_photo": self.kilobytes_a_photo,
            "ms_a_photo": self.ms_a_photo,
            "database_megabytes": self.database_megabytes,
        }


@dataclass(frozen=True)
class Result:
    """One model on one database under one grouping.

    key: the fingerprint and the role under which it is remembered. database: the name that asks for it. database_title:
    what to call it. source: "measured now", or "remembered". evaluation: with intervals, without descriptors.
    """

    key: str
    database: str
    database_title: str
    role: str
    evaluation: Evaluation
    cost: Cost
    source: str

    @property
    def title(self) -> str:
        """The model's name, unique among the roles."""
        return self.evaluation.title

    @property
    def dataset(self) -> Dataset:
        """The photos that were searched."""
        return self.evaluation.dataset

    @property
    def scores(self) -> Scores:
        """Over all queries. UsageError where there is no ground truth."""
        if self.evaluation.overall is None:
            raise UsageError(f"{self.title} on {self.database_title} has no scores: there is no ground truth.")
        return self.evaluation.overall

    @property
    def findable(self) -> np.ndarray:
        """For which queries the database has a right photo at all, [Q] bool."""
        return np.array([len(rows) > 0 for rows in self.evaluation.positives or ()])

    @cached_property
    def hits(self) -> np.ndarray:
        """Which predictions are right, [Q, K] bool."""
        length = self.evaluation.predictions.shape[1]
        return hit_matrix(self.evaluation.predictions, self.evaluation.positives, (length,))

    @cached_property
    def curve(self) -> RecallCurve:
        """Recall@N for N = 1 ... 100 (or the size of the database) with 95 % intervals over places."""
        ns = range(1, min(CURVE_LENGTH, self.hits.shape[1], len(self.dataset.database)) + 1)
        found = np.logical_or.accumulate(self.hits[:, : len(ns)], axis=1).mean(axis=0)
        intervals = score_intervals(self.hits, ns, self.evaluation.places())
        limits = (None, None) if intervals is None else np.array([intervals.recalls[n] for n in ns]).T
        return RecallCurve(self.title, np.array(ns), 100 * found, *limits)

    @property
    def answers(self) -> StoredRelevance:
        """What a comparison needs."""
        evaluation, queries = self.evaluation, self.dataset.queries
        return StoredRelevance(
            title=self.title,
            protocol=evaluation.protocol,
            ns=evaluation.ns,
            queries=tuple(relative_name(query.path, self.dataset.root) for query in queries),
            conditions=tuple(query.condition for query in queries),
            hits=self.hits,
            places=evaluation.places(),
            ground_truth=evaluation.ground_truth() or "",
        )

    def to_json(self) -> dict[str, Any]:
        """The result as plain JSON values, without predictions."""
        content = self.evaluation.to_json(predictions=False)
        return {"database": self.database_title, "role": self.role, **content, "cost": self.cost.to_json()}


def compared(a: Result, b: Result) -> Comparison:
    """Recall@1 of two models query by query. UsageError when they were measured on different databases."""
    return compare(a.answers, b.answers, (1,))


@dataclass(frozen=True)
class Progress:
    """Where a run stands. label: what is going on; new: the result that has just come, if any; problem: why one did
    not."""

    label: str
    new: Result | None = None
    problem: str = ""


# ---- searches between runs ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Search:
    """The answers of a model to all queries of a data set. dimensions: of a descriptor; ms_a_photo: measured, or
    None; seconds: of the whole evaluation."""

    matches: Matches
    protocol: dict[str, str]
    notes: tuple[str, ...]
    dimensions: int
    ms_a_photo: float | None
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """The record as plain JSON values."""
        found = self.matches
        return {
            "format": FORMAT,
            "protocol": self.protocol,
            "notes": list(self.notes),
            "descriptor_dimensions": self.dimensions,
            "ms_a_photo": self.ms_a_photo,
            "seconds": self.seconds,
            "predictions": found.indices.tolist(),
            "similarities": [[float(f"{v:.7g}") if v == v else None for v in row] for row in found.similarities],
        }

    @classmethod
    def from_json(cls, content: Any, queries: int, database: int) -> Search:
        """The opposite of to_json. ValueError, KeyError or TypeError when it is something else, or of other photos."""
        if content["format"] != FORMAT:
            raise ValueError(f"format {content['format']!r}")
        indices = np.array(content["predictions"], dtype=np.int64)
        similarities = np.array(content["similarities"], dtype=np.float32)  # None becomes NaN
        if indices.ndim != 2 or similarities.shape != indices.shape or len(indices) != queries:
            raise ValueError(f"predictions of shape {list(indices.shape)} for {queries} queries")
        if indices.min() < -1 or indices.max() >= database:
            raise ValueError(f"rows {indices.min()}..{indices.max()} of a database of {database}")
        distances = np.where(indices < 0, np.inf, 2 - 2 * similarities).astype(np.float32)
        speed = content["ms_a_photo"]
        return cls(
            matches=Matches(indices, distances, similarities),
            protocol={str(name): str(value) for name, value in content["protocol"].items()},
            notes=tuple(map(str, content["notes"])),
            dimensions=int(content["descriptor_dimensions"]),
            ms_a_photo=None if speed is None else float(speed),
            seconds=float(content["seconds"]),
        )


class SearchStore:
    """Searches by fingerprint in a folder; without a folder nothing is kept."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder

    def get(self, key: str, queries: int, database: int) -> Search | None:
        """The search of a fingerprint over so many queries and database photos; None when there is none to be used."""
        file = None if self.folder is None else self._file(self.folder, key)
        if file is None or not file.is_file():
            return None
        try:
            return Search.from_json(json.loads(file.read_text(encoding="utf-8")), queries, database)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            logger.warning("%s cannot be used (%s); measuring again", file, error)
            return None

    def put(self, key: str, search: Search) -> None:
        """Keep a search."""
        if self.folder is None:
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(
                "w", dir=self.folder, suffix=".part", delete=False, encoding="utf-8"
            ) as part:
                json.dump(search.to_json(), part)
            os.replace(part.name, self._file(self.folder, key))
        except OSError as error:  # a full or read-only disk must not spoil the answer
            logger.warning("a benchmark result could not be cached: %s", error)

    @staticmethod
    def _file(folder: Path, key: str) -> Path:
        return folder / f"{key}.json"
