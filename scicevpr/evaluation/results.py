"""What an evaluation gives: scores, predictions and protocol, as records, as JSON and as CSV."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from scicevpr.describe import Descriptors
from scicevpr.places import Dataset
from scicevpr.retrieval import Match, Matches, list_matches


@dataclass(frozen=True)
class Scores:
    """Results over some queries. recalls: N to percent. f1: N to 0..1. A query without positives counts as a miss."""

    queries: int
    without_positives: int
    recalls: dict[int, float]
    mrr: float
    f1: dict[int, float]

    def to_json(self) -> dict[str, Any]:
        """Plain numbers; the values of N become text keys."""
        return {
            "queries": self.queries,
            "queries_without_positives": self.without_positives,
            "recall_percent": {str(n): value for n, value in self.recalls.items()},
            "mrr": self.mrr,
            "f1": {str(n): value for n, value in self.f1.items()},
        }


@dataclass(frozen=True)
class Evaluation:
    """Result of one model (or baseline) on one data set.

    overall is None and conditions empty for an unlabelled set. matches holds the predictions [Q, K], K = max(ns).
    positives: database rows per query, or None. database: the database descriptors, to be used again (None for a
    baseline). protocol: what the numbers depend on, in printing order.
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
        judged = []
        for answer, right in zip(answers, self.positives, strict=True):  # the verdict follows the rounding used
            rows = set(right.tolist())
            judged.append([replace(match, correct=match.row in rows) for match in answer])
        return judged

    def to_json(self, predictions: bool = True) -> dict[str, Any]:
        """Everything as plain dicts, lists, numbers and text, ready for json.dump."""
        content: dict[str, Any] = {
            "title": self.title,
            "protocol": dict(self.protocol),
            "overall": self.overall.to_json() if self.overall else None,
            "conditions": {name: scores.to_json() for name, scores in self.conditions.items()},
            "notes": list(self.notes),
            "seconds": self.seconds,
        }
        if predictions:
            content["predictions"] = [
                {"query": query, "matches": [_match_json(match, name) for match, name in answer]}
                for query, answer in self._named_matches()
            ]
        return content

    def _named_matches(self) -> list[tuple[str, list[tuple[Match, str]]]]:
        root = self.dataset.root
        return [
            (_relative(query.path, root), [(match, _relative(match.place.path, root)) for match in answer])
            for query, answer in zip(self.dataset.queries, self.list_matches(), strict=True)
        ]


def write_predictions(evaluation: Evaluation, folder: Path | str) -> Path:
    """Write predictions as CSV: query, rank, database, similarity, metres, correct (paths relative to the data set).

    metres and correct stay empty where positions are unknown. Returns the file's path.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    words = re.findall(r"[a-z0-9.]+", evaluation.title.lower())
    path = folder / f"{'-'.join(words)}.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["query", "rank", "database", "similarity", "metres", "correct"])
        for query, answer in evaluation._named_matches():
            for match, name in answer:
                metres = "" if match.metres is None else f"{match.metres:.2f}"
                correct = "" if match.correct is None else int(match.correct)
                writer.writerow([query, match.rank, name, f"{match.similarity:.6f}", metres, correct])
    return path


def _match_json(match: Match, name: str) -> dict[str, Any]:
    return {
        "rank": match.rank,
        "database": name,
        "similarity": round(match.similarity, 6),
        "metres": None if match.metres is None else round(match.metres, 2),
        "correct": match.correct,
    }


def _relative(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()
