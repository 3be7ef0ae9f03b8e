"""A search in Milvus: its filter, candidates, their comparison here, and the agreement with exact search."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from scicevpr.errors import UsageError
from scicevpr.milvus.collection import INDEXES, MAX_TOP, MESSAGE_BYTES
from scicevpr.milvus.connection import Connection, quoted
from scicevpr.retrieval.agreement import BEST, choose_questions
from scicevpr.retrieval.exact import SPARE, ExactIndex
from scicevpr.retrieval.matches import cosines, squared_distances

QUERIES_AT_ONCE = 64
IDS_AT_ONCE = 1000
QUESTIONS = 100  # of the database itself, to measure the agreement with exact search


class Near(NamedTuple):
    """Photos within some metres (inclusive) of a UTM position. zone: such as "32U"; None: zones are not compared."""

    east: float
    north: float
    metres: float
    zone: str | None = None

    def holds(self, east: float, north: float) -> bool:
        """Whether a position lies within the radius."""
        return (east - self.east) ** 2 + (north - self.north) ** 2 <= self.metres**2


def check_near(near: Sequence[Any] | None) -> Near | None:
    """(east, north, metres[, zone]) as a Near. UsageError for anything else."""
    if near is None:
        return None
    try:
        near = Near(*near)
        east, north, metres = numbers = [float(value) for value in near[:3]]
    except (TypeError, ValueError):
        raise UsageError(f"near must be (east, north, metres) or (east, north, metres, zone), not {near!r}.") from None
    if not all(map(math.isfinite, numbers)) or metres <= 0:
        raise UsageError(f"near needs a finite position and a positive number of metres, not {near!r}.")
    return Near(east, north, metres, near.zone)


def expression(near: Near | None = None, conditions: Sequence[str] | None = None, database: str | None = None) -> str:
    """The filter for Milvus. A radius is a box here: servers cannot multiply fields, the rest is done after."""
    parts = []
    if near is not None:
        reach = near.metres * (1 + 1e-9) + 1e-6  # rounding at the box's edge must not lose a photo at the radius
        parts += [f"east >= {near.east - reach!r}", f"east <= {near.east + reach!r}"]
        parts += [f"north >= {near.north - reach!r}", f"north <= {near.north + reach!r}"]
        if near.zone is not None:
            parts.append(f"zone == {quoted(near.zone)}")
    if conditions is not None:
        if isinstance(conditions, str) or not conditions:
            raise UsageError(f"conditions must be a list such as ['night', 'rain'], not {conditions!r}.")
        parts.append(f"condition in [{', '.join(map(quoted, conditions))}]")
    if database is not None:
        parts.append(f"database == {quoted(database)}")
    return " and ".join(parts)


class Finder:
    """Searches in one collection. protocol: what the collection says about itself."""

    def __init__(self, connection: Connection, collection: str, protocol: Mapping[str, Any]) -> None:
        self._connection, self._collection = connection, collection
        self._kind, self._metric = INDEXES[protocol["index"]], protocol["metric"]
        self._width = protocol["dimension"]

    @property
    def queries_at_once(self) -> int:
        """Queries in one message."""
        if self._connection.local and self._metric == "L2":
            return 1  # Milvus Lite makes an array [queries, rows, values] of the differences
        return min(QUERIES_AT_ONCE, self._rows_at_once)

    def candidates(self, block: np.ndarray, k: int, chosen: str, near: Near | None) -> list[dict[str, int]]:
        """Of each query [Q, D] the key → row of candidates: k and some more, where there are so many.

        chosen: the filter, in which the radius of `near` is a box. Raises UsageError when more photos than Milvus
        gives lie in the box but outside the circle.
        """
        wanted = min(k + SPARE, MAX_TOP)
        found: list[dict[str, int]] = [{} for _ in block]
        unfinished, limit = list(range(len(block))), wanted
        while unfinished:
            answers = self._connection.ask(
                "search",
                self._collection,
                data=list(block[unfinished]),
                limit=limit,
                filter=chosen,
                output_fields=["row"] if near is None else ["row", "east", "north"],
                search_params=self._kind.search_params(self._metric, limit),
                consistency_level="Strong",
            )
            again = []
            for row, answer in zip(unfinished, answers, strict=True):
                inside = [
                    (hit["id"], hit["entity"]["row"])
                    for hit in answer
                    if near is None or near.holds(hit["entity"]["east"], hit["entity"]["north"])
                ]
                found[row] = dict(inside[:wanted])
                if near is not None and len(inside) < wanted and len(answer) == limit:
                    again.append(row)  # many lie in the box' corners, outside the circle
            if near is not None and again and limit == MAX_TOP:
                if any(len(found[row]) < k for row in again):
                    raise UsageError(
                        f"More than {MAX_TOP:,} photos lie around the radius of {near.metres:g} m. Ask for fewer "
                        "matches or a smaller radius."
                    )
                break
            unfinished, limit = again, min(2 * limit, MAX_TOP)
        return found

    def descriptors(self, wanted: Mapping[str, int]) -> dict[int, np.ndarray]:
        """Descriptors [D] float32 of candidates (key → row), by row."""
        keys, result = list(wanted), {}
        step = min(IDS_AT_ONCE, self._rows_at_once)
        for start in range(0, len(keys), step):
            found = self._connection.ask(
                "query",
                self._collection,
                filter=f"id in [{', '.join(map(quoted, keys[start : start + step]))}]",
                output_fields=["row", "descriptor"],
                consistency_level="Strong",
            )
            for entity in found:
                result[entity["row"]] = np.asarray(entity["descriptor"], np.float32)
        return result

    @property
    def _rows_at_once(self) -> int:
        return max(1, MESSAGE_BYTES // (4 * self._width))


def ranked(
    query: np.ndarray, rows: list[int], descriptors: Mapping[int, np.ndarray], k: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows, squared distances and cosines of the k nearest candidates; equal distances by row number.

    query: [D]. rows: ascending; those without a descriptor (removed in the meantime) are left out."""
    rows = [row for row in rows if row in descriptors]
    if not rows:
        return np.empty(0, np.int64), np.empty(0), np.empty(0)
    values = np.stack([descriptors[row] for row in rows]).astype(np.float64)
    query = query.astype(np.float64)
    distances = squared_distances(values, query)
    order = np.argsort(distances, kind="stable")[:k]
    return np.array(rows, np.int64)[order], distances[order], cosines(values[order], query)


def measure(search: Callable[[np.ndarray, int], np.ndarray], values: Any) -> dict[str, Any]:
    """Share of questions with the right first answer ("first"), share of the ten best that are found ("best"). The
    questions are rows of the database itself, asked for their nearest other rows. search: gives rows [Q, k] of (queries
    [Q, D], k). values: the database [N, D]; it is read once, in blocks."""
    questions = choose_questions(len(values), 0, QUESTIONS)
    asked = np.stack([np.asarray(values[row], np.float32) for row in questions])
    exact = ExactIndex(values, checked=True).search(asked, BEST + 1).indices
    first, best = [], []
    for question, wanted, given in zip(questions, exact, search(asked, BEST + 1), strict=True):
        wanted, given = wanted[(wanted != question) & (wanted >= 0)][:BEST], given[given != question][:BEST]
        if len(wanted):
            first.append(len(given) > 0 and given[0] == wanted[0])
            best.append(np.isin(wanted, given).mean())
    shares = {name: float(np.mean(part)) if part else 1.0 for name, part in (("first", first), ("best", best))}
    return {**shares, "questions": len(questions)}
