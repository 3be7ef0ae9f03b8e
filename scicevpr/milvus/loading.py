"""Descriptors into a collection: in batches below Milvus' message limit, resumable, the same when done twice."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scicevpr.datasets import Photo
from scicevpr.errors import IndexMismatchError, UsageError
from scicevpr.milvus.connection import WRITE_SECONDS, Connection, Progress
from scicevpr.milvus.schema import FORMAT, TEXTS, entities, write_fact
from scicevpr.retrieval.blocks import row_blocks, value_problem

if TYPE_CHECKING:
    from scicevpr.describe.describing import Descriptors

MESSAGE_BYTES = 32 * 2**20
"""Of a batch; servers take messages of up to 64 MiB."""

SCALAR_BYTES = 64 + sum(TEXTS.values())  # the most that one photo takes beside its descriptor
UNIT = 2e-4
"""How far squared lengths of unit vectors may be from 1: rounding to float16 moves them by about 1e-5."""

SAMPLED = 64  # rows that tell whether a loaded database has the same descriptors
MUST_AGREE = {
    "dimension": "values a descriptor",
    "fingerprint": "architecture",
    "weights": "weights",
    "preprocessing": "preprocessing",
    "grouping": "grouping",
    "pca": "PCA",
    "metric": "lengths (IP: unit vectors)",
}


def batch_rows(dimension: int) -> int:
    """Photos that travel in one message."""
    return max(1, MESSAGE_BYTES // (4 * dimension + SCALAR_BYTES))


def metric_of(values: Any) -> str:
    """Milvus' metric for descriptors [N, D]: "IP" when all are unit vectors, which it orders as L2 does; else "L2".

    Raises UsageError when a value is not finite.
    """
    farthest = 0.0
    for start, block in row_blocks(values):
        problem = value_problem(block, start)
        if problem:
            raise UsageError(f"The database descriptors {problem}")
        squares = np.einsum("rd,rd->r", block, block)
        farthest = max(farthest, float(np.abs(squares - 1).max()))
    return "IP" if farthest <= UNIT else "L2"


def protocol_of(descriptors: Descriptors, index: str, pca: str = "") -> dict[str, Any]:
    """What a collection keeps about how its descriptors were made. pca: checksum of the reduction, "" for none."""
    fields = ("variant", "fingerprint", "weights", "trained", "grouping", "dtype", "facts")
    return {
        "format": FORMAT,
        "dimension": int(descriptors.values.shape[1]),
        **{name: getattr(descriptors, name) for name in fields},
        "preprocessing": {
            key: list(value) if isinstance(value, tuple) else value for key, value in descriptors.preprocessing.items()
        },
        "pca": pca,
        "index": index,
        "metric": metric_of(descriptors.values),
    }


def check_protocol(held: dict[str, Any], new: dict[str, Any], what: str) -> None:
    """Refuse descriptors that were made otherwise than those in a collection. IndexMismatchError."""
    for key, words in MUST_AGREE.items():
        if held[key] != new[key]:
            raise IndexMismatchError(
                f"{what} holds descriptors of other {words} ({held['variant']}, {held[key] or 'none'}) than these "
                f"({new['variant']}, {new[key] or 'none'}). Load them into a collection of their own, or describe the "
                "photos as those were."
            )


def load_rows(
    connection: Connection,
    collection: str,
    facts: dict[str, Any],
    values: Any,
    places: Sequence[Photo],
    database: str,
    root: Path | None,
    progress: Progress | None = None,
    restart: bool = False,
) -> None:
    """Upsert descriptors [N, D] with their places, on from where an earlier call stopped.

    facts: of the collection. restart: upsert all of them, even those that are there. How far it has come is noted
    after each batch, so an interruption costs one batch. Raises UsageError when the database of that name has other
    photos, MilvusError when the server gives up.
    """
    if not database:
        raise UsageError("The database needs a name: it tells its photos from those of other databases.")
    key, names = f"database/{database}", _digest(place.name for place in places)
    sample = _digest(row.tobytes() for row in _sample(values))
    state = facts.get(key)
    if state is not None and (state["names"], state["count"]) != (names, len(places)):
        raise UsageError(
            f"{collection} has a database {database!r} already, of {state['count']:,} other photos. Remove it with "
            f"`scicevpr milvus drop`, or load these under another name."
        )
    if state is None:
        others = [fact for name, fact in facts.items() if name.startswith("database/")]
        first = max((other["first"] + other["count"] for other in others), default=0)
        state = {"first": first, "count": len(places), "names": names, "done": 0}
    if restart or state.get("sample") != sample:
        state = {**state, "sample": sample, "done": 0}
    write_fact(connection, collection, key, state)
    rows = batch_rows(values.shape[1])
    if progress is not None:
        progress("rows", state["done"], len(places))
    batches = entities(places, database, root, state["first"])
    for start in range(state["done"], len(places), rows):
        batch = batches[start : start + rows]
        block = np.ascontiguousarray(values[start : start + rows], np.float32)
        sent = [{**entity, "descriptor": row} for entity, row in zip(batch, block, strict=True)]
        connection.ask("upsert", collection, sent, timeout=WRITE_SECONDS)
        state["done"] = start + len(batch)
        write_fact(connection, collection, key, state)
        if progress is not None:
            progress("rows", state["done"], len(places))
    connection.ask("flush", collection, timeout=WRITE_SECONDS)


def _sample(values: Any) -> list[np.ndarray]:
    rows = np.unique(np.linspace(0, len(values) - 1, SAMPLED).astype(int))
    return [np.asarray(values[row], np.float32) for row in rows]


def _digest(parts: Any) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part if isinstance(part, bytes) else part.encode() + b"\0")
    return digest.hexdigest()[:32]
