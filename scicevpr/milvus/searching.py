"""Candidates of a search from Milvus, and their comparison in double precision here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from scicevpr.errors import UsageError
from scicevpr.milvus.connection import Connection
from scicevpr.milvus.filters import Near, quoted
from scicevpr.milvus.loading import MESSAGE_BYTES
from scicevpr.milvus.schema import INDEXES, MAX_TOP
from scicevpr.retrieval.index import SPARE
from scicevpr.retrieval.rerank import cosines, squared_distances

QUERIES_AT_ONCE = 64
IDS_AT_ONCE = 1000


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
            if again and limit == MAX_TOP:
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

    query: [D]. rows: ascending; those without a descriptor (removed in the meantime) are left out.
    """
    rows = [row for row in rows if row in descriptors]
    if not rows:
        return np.empty(0, np.int64), np.empty(0), np.empty(0)
    values = np.stack([descriptors[row] for row in rows]).astype(np.float64)
    query = query.astype(np.float64)
    distances = squared_distances(values, query)
    order = np.argsort(distances, kind="stable")[:k]
    return np.array(rows, np.int64)[order], distances[order], cosines(values[order], query)
