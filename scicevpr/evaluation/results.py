"""What an evaluation gives: scores, predictions and protocol, as records and as JSON (also read again)."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from scicevpr.datasets import Dataset
from scicevpr.datasets.ground_truth import separate_positions
from scicevpr.datasets.photos import path_below
from scicevpr.errors import DatasetError, UsageError
from scicevpr.evaluation.metrics import hit_matrix
from scicevpr.evaluation.uncertainty import (
    DRAWS,
    LEVEL,
    UNITS,
    Intervals,
    places_by_position,
    places_by_positives,
    score_intervals,
)
from scicevpr.files.descriptor_files import Descriptors
from scicevpr.files.reading import read_json
from scicevpr.retrieval.matches import Match, Matches, list_matches

UNNAMED = "unnamed"
"""What queries without a condition are called where others have one."""

MOST_RESULTS, LONGEST_TITLE, LONGEST_LINE = 200, 200, 4000
"""What is read from a file at most: results, conditions or lines; characters of a title or a line of a protocol."""


@dataclass(frozen=True)
class Scores:
    """Results over some queries. recalls: N to percent. f1: N to 0..1. A query without positives counts as a miss.
    intervals: of recalls and mrr, or None when they were not asked for."""

    queries: int
    without_positives: int
    recalls: dict[int, float]
    mrr: float
    f1: dict[int, float]
    intervals: Intervals | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain numbers; the values of N become text keys. "intervals" is there only when they were asked for."""
        content = {
            "queries": self.queries,
            "queries_without_positives": self.without_positives,
            "recall_percent": {str(n): value for n, value in self.recalls.items()},
            "mrr": self.mrr,
            "f1": {str(n): value for n, value in self.f1.items()},
        }
        return content | ({"intervals": self.intervals.to_json()} if self.intervals else {})

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Scores:
        """The opposite of `to_json`. ValueError (or KeyError, TypeError ...) for anything else."""
        intervals = content.get("intervals")
        if not 0 < len(content["recall_percent"]) <= MOST_RESULTS:
            raise ValueError(f"it has {len(content['recall_percent'])} recalls")
        return cls(
            queries=int(content["queries"]),
            without_positives=int(content["queries_without_positives"]),
            recalls={int(n): _share(value, 100) for n, value in content["recall_percent"].items()},
            mrr=_share(content["mrr"], 1),
            f1={int(n): _share(value, 1) for n, value in content["f1"].items()},
            intervals=None if intervals is None else Intervals.from_json(intervals),
        )


def _share(value: Any, whole: float) -> float:
    """A score from 0 to ``whole``. ValueError for anything else: a figure would show it as if it were one."""
    number = float(value)
    if not -1e-6 <= number <= whole + 1e-6:
        raise ValueError(f"{number} is no score between 0 and {whole}")
    return number


def mrr_name(ns: Iterable[int]) -> str:
    """How tables call the mean reciprocal rank: it looks no further than the largest N, which the name says."""
    return f"MRR@{max(ns)}"


@dataclass(frozen=True)
class Evaluation:
    """Result of one model (or baseline) on one data set.

    overall is None and conditions empty for an unlabelled set. matches holds the predictions [Q, K], K = max(ns).
    positives: database rows per query, or None. database, queries: the descriptors, to be used again or written (None
    for a baseline). protocol: what the numbers depend on, in printing order.
    """

    title: str
    dataset: Dataset
    ns: tuple[int, ...]
    radius: float
    overall: Scores | None
    conditions: dict[str, Scores]
    matches: Matches
    positives: tuple[np.ndarray, ...] | None
    protocol: dict[str, str]
    notes: tuple[str, ...] = ()
    database: Descriptors | None = None
    queries: Descriptors | None = None
    seconds: float = 0.0

    @property
    def predictions(self) -> np.ndarray:
        """Database rows [Q, K], nearest first, -1 where the database is smaller than K."""
        return self.matches.indices

    def protocol_line(self) -> str:
        """The protocol as one printable line."""
        return " · ".join(f"{key} {value}" for key, value in self.protocol.items())

    def list_matches(self) -> list[list[Match]]:
        """One list of Match records per query. An unlabelled set gives no metres and no verdict."""
        answers = list_matches(self.matches, self.dataset.database, self.dataset.queries, self.radius)
        if self.positives is None:
            return [[replace(match, metres=None, correct=None) for match in answer] for answer in answers]
        sets = (set(rows.tolist()) for rows in self.positives)  # the verdict follows the rounding used
        return [
            [replace(match, correct=match.row in rows) for match in answer]
            for answer, rows in zip(answers, sets, strict=True)
        ]

    def places(self) -> np.ndarray:
        """Which queries show the same place: labels [Q], the same whatever the order of the queries.

        By position within the radius, or by shared positives where the data set lists them. Raises UsageError for an
        unlabelled set.
        """
        if self.positives is None:
            raise UsageError("Without labels nobody knows which queries show the same place.")
        order = np.argsort([query.path.as_posix() for query in self.dataset.queries], kind="stable")
        if self.dataset.truth.listed is None:
            found = places_by_position(separate_positions(self.dataset.queries)[order], self.radius)
        else:
            found = places_by_positives([self.positives[row] for row in order])
        labels = np.empty_like(found)
        labels[order] = found
        return labels

    def with_intervals(
        self, by: str = "place", *, level: float = LEVEL, draws: int = DRAWS, seed: int = 0
    ) -> Evaluation:
        """The same result with bootstrap intervals for all queries and for every condition, and so in its protocol.

        by: what is drawn, "place" (queries of one place together) or "query". An unlabelled result stays as it is.
        """
        if by not in UNITS:
            raise UsageError(f"Intervals can be drawn by {' or by '.join(UNITS)}, not by {by!r}.")
        if self.overall is None:
            return self
        hits = hit_matrix(self.predictions, self.positives, self.ns)
        places = self.places() if by == "place" else None
        options = {"level": level, "draws": draws, "seed": seed}

        def with_its_own(scores: Scores, rows: np.ndarray) -> Scores:
            labels = None if places is None else places[rows]
            return replace(scores, intervals=score_intervals(hits[rows], self.ns, labels, **options))

        named = np.array([query.condition or UNNAMED for query in self.dataset.queries])
        overall = with_its_own(self.overall, np.arange(len(hits)))
        label = overall.intervals.label if overall.intervals else f"none, there is only one {by}"
        return replace(
            self,
            overall=overall,
            conditions={
                name: with_its_own(scores, np.flatnonzero(named == name)) for name, scores in self.conditions.items()
            },
            protocol={**self.protocol, "intervals": label},
        )

    def ground_truth(self) -> str | None:
        """12 hex digits over the names of queries, database photos and positives, in any order; None without labels.

        Two results can be compared query by query when this is the same.
        """
        if self.positives is None:
            return None
        root = self.dataset.root
        database = [relative_name(photo.path, root) for photo in self.dataset.database]
        lines = [
            "\t".join([relative_name(query.path, root), *sorted(database[row] for row in rows)])
            for query, rows in zip(self.dataset.queries, self.positives, strict=True)
        ]
        text = "\n".join([*sorted(lines), "", *sorted(database)])
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def to_json(self, predictions: bool = True) -> dict[str, Any]:
        """Everything as plain dicts, lists, numbers and text, ready for json.dump.

        With predictions also what a comparison needs: `ground_truth`, and the condition and place of every query.
        """
        content: dict[str, Any] = {
            "title": self.title,
            "protocol": dict(self.protocol),
            "overall": self.overall.to_json() if self.overall else None,
            "conditions": {name: scores.to_json() for name, scores in self.conditions.items()},
            "notes": list(self.notes),
            "seconds": self.seconds,
        }
        if predictions:
            places = [None] * len(self.dataset.queries) if self.positives is None else self.places().tolist()
            content["ground_truth"] = self.ground_truth()
            content["predictions"] = [
                {
                    "query": name,
                    "condition": query.condition,
                    "place": place,
                    "matches": [
                        {
                            "rank": match.rank,
                            "database": photo,
                            "similarity": round(match.similarity, 6),
                            "metres": None if match.metres is None else round(match.metres, 2),
                            "correct": match.correct,
                        }
                        for match, photo in answer
                    ],
                }
                for query, place, (name, answer) in zip(self.dataset.queries, places, self.named_matches(), strict=True)
            ]
        return content

    def named_matches(self) -> list[tuple[str, list[tuple[Match, str]]]]:
        """For every query its name, and its matches with the names of their photos."""
        root = self.dataset.root
        return [
            (relative_name(query.path, root), [(match, relative_name(match.photo.path, root)) for match in answer])
            for query, answer in zip(self.dataset.queries, self.list_matches(), strict=True)
        ]


def file_title(title: str) -> str:
    """A result's title as a file name: "SciceVPR-T (a/b.pth)" becomes "scicevpr-t-a-b.pth"."""
    return "-".join(word.strip(".-") for word in re.findall(r"[a-z0-9.-]+", title.lower())) or "model"


def relative_name(path: Path, root: Path) -> str:
    """A photo's path within its data set, with forward slashes; the whole path where it lies elsewhere."""
    return path_below(path, root) or Path(os.path.abspath(path)).as_posix()


# ---- results read again ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class StoredResult:
    """One model's scores as `scicevpr evaluate --json` has written them; fields as in `Evaluation`."""

    title: str
    ns: tuple[int, ...]
    overall: Scores
    conditions: dict[str, Scores]
    protocol: dict[str, str]


def read_results(path: Path | str) -> list[StoredResult]:
    """The results in a file of `scicevpr evaluate --json`, but for those without labels. DatasetError: no such file."""
    path = Path(path)
    content = read_json(path, DatasetError, "Give a file that “scicevpr evaluate --json FILE” wrote.", name=path.name)
    try:
        entries = [entry for entry in content["results"] if entry.get("overall")]
        if len(entries) > MOST_RESULTS:
            raise DatasetError(f"{path.name} holds {len(entries)} results; at most {MOST_RESULTS} are drawn. Split it.")
        several = len({entry.get("database") for entry in entries}) > 1  # the Benchmarks tab may measure many
        found = [_stored(entry, several) for entry in entries]
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
        raise DatasetError(
            f"{path.name} holds no results of an evaluation. Give a file that “scicevpr evaluate --json FILE” wrote."
        ) from error
    if not found:
        raise DatasetError(f"{path.name} holds predictions only: without labels there are no scores to draw.")
    return found


def _stored(entry: Mapping[str, Any], several: bool) -> StoredResult:
    title = f"{entry['title']}, {entry['database']}" if several else str(entry["title"])
    overall = Scores.from_json(entry["overall"])
    conditions = {str(name): Scores.from_json(scores) for name, scores in entry["conditions"].items()}
    protocol = {str(key): str(value) for key, value in entry["protocol"].items()}
    for what, texts, limit in (
        ("title", [title], LONGEST_TITLE),
        ("name of a condition", conditions, LONGEST_TITLE),
        ("line of a protocol", [*protocol, *protocol.values()], LONGEST_LINE),
        ("list of conditions", ["x" * len(conditions)], MOST_RESULTS),
        ("protocol", ["x" * len(protocol)], MOST_RESULTS),
    ):
        longest = max(map(len, texts), default=0)
        if longest > limit:
            raise DatasetError(
                f"A result has a {what} of the length {longest}; at most {limit} can be drawn. Shorten it."
            )
    return StoredResult(title, tuple(overall.recalls), overall, conditions, protocol)
