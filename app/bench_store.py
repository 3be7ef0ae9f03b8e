"""Searches of earlier benchmark runs, as JSON in this user's cache folder.

Only what the models answered is kept, with its protocol. What is right is judged anew each time.
"""

from __future__ import annotations

import json
import logging
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from scicevpr.retrieval.matches import Matches

logger = logging.getLogger(__name__)

FORMAT = "scicevpr-benchmark 1"


@dataclass(frozen=True)
class Search:
    """The answers of a model to all queries of a data set. values: numbers in a descriptor; ms_a_photo: measured, or
    None; seconds: of the whole evaluation."""

    matches: Matches
    protocol: dict[str, str]
    notes: tuple[str, ...]
    values: int
    ms_a_photo: float | None
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """The record as plain JSON values."""
        found = self.matches
        return {
            "format": FORMAT,
            "protocol": self.protocol,
            "notes": list(self.notes),
            "descriptor_values": self.values,
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
            values=int(content["descriptor_values"]),
            ms_a_photo=None if speed is None else float(speed),
            seconds=float(content["seconds"]),
        )


class SearchStore:
    """Searches by fingerprint in a folder; without a folder nothing is kept."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder

    def get(self, key: str, queries: int, database: int) -> Search | None:
        """The search of a fingerprint over so many queries and database photos; None when there is none to be used."""
        if self.folder is None or not self._file(key).is_file():
            return None
        try:
            return Search.from_json(json.loads(self._file(key).read_text(encoding="utf-8")), queries, database)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            logger.warning("%s cannot be used (%s); measuring again", self._file(key), error)
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
            os.replace(part.name, self._file(key))
        except OSError as error:  # a full or read-only disk must not spoil the answer
            logger.warning("a benchmark result could not be cached: %s", error)

    def _file(self, key: str) -> Path:
        return self.folder / f"{key}.json"
