"""What a collection holds, and the small collection beside it that says what it is.

    NAME         one entity a photo: id (from its database's and its own name), row, database, name, path, descriptor,
                 east, north, zone, condition
    NAME_metadata   key → JSON: "protocol" (the model and how it described), "database/NAME" (how far it is loaded),
                 "agreement" (with exact search, for approximate indexes)

The metadata are entities, not properties of the collection: every kind of Milvus can read and change entities.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from scicevpr.datasets import Photo
from scicevpr.errors import IndexMismatchError, UsageError
from scicevpr.files.descriptor_files import Descriptors
from scicevpr.milvus.connection import WRITE_SECONDS, Connection, MilvusError
from scicevpr.progress import StageProgress
from scicevpr.retrieval.rows import check_block, row_blocks

FORMAT = "scicevpr-milvus-1"
MAX_WIDTH = 32_768  # dimensions of a vector in Milvus
MAX_TOP = 16_384  # answers of a search
NOWHERE = -1e12  # east and north of a photo without a position: no radius reaches it
TEXTS = {"database": 512, "name": 1024, "path": 4096, "zone": 8, "condition": 512}  # bytes
METADATA_BYTES = 60_000
SCALARS = ("row", "database", "name", "path", "east", "north", "zone", "condition")

MESSAGE_BYTES = 32 * 2**20  # of a batch; servers take messages of up to 64 MiB
SCALAR_BYTES = 64 + sum(TEXTS.values())  # the most that one photo takes beside its descriptor
UNIT = 2e-4  # how far squared lengths of unit vectors may be from 1: rounding to float16 moves them by about 1e-5
SAMPLED = 64  # rows that tell whether a loaded database has the same descriptors
MUST_AGREE = {
    "dimension": "dimensions",
    "fingerprint": "architecture",
    "weights": "weights",
    "preprocessing": "preprocessing",
    "grouping": "grouping",
    "pca": "PCA",
    "metric": "lengths (IP: unit vectors)",
}


@dataclass(frozen=True)
class IndexKind:
    """An index of Milvus: its name there, how it is built, and how a search for the best `wanted` is set."""

    type: str
    build: dict[str, Any]
    exact: bool = False

    def search_params(self, metric: str, wanted: int) -> dict[str, Any]:
        """Settings of one search."""
        params = {"HNSW": {"ef": max(128, 2 * wanted)}, "IVF_FLAT": {"nprobe": 64}}.get(self.type, {})
        return {"metric_type": metric, "params": params}


INDEXES = {
    "flat": IndexKind("FLAT", {}, exact=True),
    "hnsw": IndexKind("HNSW", {"M": 32, "efConstruction": 256}),
    "ivf_flat": IndexKind("IVF_FLAT", {"nlist": 1024}),
    "auto": IndexKind("AUTOINDEX", {}),
    "diskann": IndexKind("DISKANN", {}),
}


def create(connection: Connection, collection: str, protocol: dict[str, Any]) -> None:
    """Make both collections, that of the photos last: where it is, everything is.

    protocol: dimension, index and metric ("IP" for unit vectors, "L2" for others), kept in the metadata. UsageError
    for more values than Milvus takes.
    """
    from pymilvus import DataType, MilvusClient

    dimension, kind, beside = protocol["dimension"], INDEXES[protocol["index"]], metadata_name(collection)
    if dimension > MAX_WIDTH:
        raise UsageError(f"Milvus takes vectors of up to {MAX_WIDTH:,} dimensions, not {dimension:,}. Use a PCA.")
    if connection.ask("has_collection", beside):  # left by a load that was stopped as it began
        make_searchable(connection, beside)
        connection.ask("delete", beside, filter='key != ""')
    else:
        schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field("key", DataType.VARCHAR, is_primary=True, max_length=600)
        schema.add_field("value", DataType.VARCHAR, max_length=METADATA_BYTES)
        schema.add_field("unused", DataType.FLOAT_VECTOR, dim=2)  # no collection without a vector
        index = MilvusClient.prepare_index_params()
        index.add_index("unused", index_type="FLAT", metric_type="L2")
        connection.ask("create_collection", beside, schema=schema, index_params=index)
    write_metadata(connection, collection, "protocol", protocol)
    schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
    schema.add_field("id", DataType.VARCHAR, is_primary=True, max_length=32)
    schema.add_field("row", DataType.INT64)
    schema.add_field("descriptor", DataType.FLOAT_VECTOR, dim=dimension)
    for name in ("east", "north"):
        schema.add_field(name, DataType.DOUBLE)
    for name, length in TEXTS.items():
        schema.add_field(name, DataType.VARCHAR, max_length=length)
    index = MilvusClient.prepare_index_params()
    index.add_index("descriptor", index_type=kind.type, metric_type=protocol["metric"], params=kind.build)
    connection.ask("create_collection", collection, schema=schema, index_params=index)


def make_searchable(connection: Connection, collection: str) -> None:
    """Let Milvus load a collection. What a killed program left half written of an index in a file is built again."""
    try:
        connection.ask("load_collection", collection, timeout=WRITE_SECONDS)
        return
    except MilvusError:
        names = connection.ask("list_indexes", collection) if connection.local else []
        if not names:
            raise
    from pymilvus import MilvusClient

    connection.ask("release_collection", collection)
    for name in names:
        held = connection.ask("describe_index", collection, name)
        kind = next(kind for kind in INDEXES.values() if kind.type == held["index_type"])
        index = MilvusClient.prepare_index_params()
        index.add_index(held["field_name"], index_type=kind.type, metric_type=held["metric_type"], params=kind.build)
        connection.ask("drop_index", collection, name)
        connection.ask("create_index", collection, index)
    connection.ask("load_collection", collection, timeout=WRITE_SECONDS)


def metadata_name(collection: str) -> str:
    """The collection that says what another one is."""
    return f"{collection}_metadata"


def read_metadata(connection: Connection, collection: str) -> dict[str, Any]:
    """The metadata of a collection, by key."""
    found = connection.ask(
        "query", metadata_name(collection), filter='key != ""', output_fields=["key", "value"], limit=MAX_TOP,
        consistency_level="Strong",
    )  # fmt: skip
    return {row["key"]: json.loads(row["value"]) for row in found}


def write_metadata(connection: Connection, collection: str, key: str, value: Any) -> None:
    """Keep one entry of the metadata."""
    row = {"key": key, "value": json.dumps(value), "unused": [0.0, 0.0]}
    connection.ask("upsert", metadata_name(collection), [row])


def entities(photos: Sequence[Photo], database: str, root: Path | None, first: int) -> list[dict[str, Any]]:
    """Entities of photos without their descriptors; first: row of the first. The key of a photo is made from its
    database and its name, of equal names also from how often the name came before. Raises UsageError when a name or
    path is longer than what the collection takes."""
    seen: Counter[str] = Counter()
    result = []
    for row, photo in enumerate(photos, first):
        number = seen[photo.name]
        seen[photo.name] += 1
        east, north = photo.utm or (NOWHERE, NOWHERE)
        texts = {
            "database": database,
            "name": photo.name,
            "path": _relative(photo.path, root),
            "zone": photo.zone or "",
            "condition": photo.condition or "",
        }
        for field, text in texts.items():
            if len(text.encode()) > TEXTS[field]:
                raise UsageError(f"The {field} of {photo.name} is longer than {TEXTS[field]} bytes: {text[:60]}...")
        key = hashlib.sha256(f"{database}\0{photo.name}\0{number}".encode()).hexdigest()[:32]
        result.append({"id": key, "row": row, **texts, "east": float(east), "north": float(north)})
    return result


def to_photo(entity: dict[str, Any]) -> Photo:
    """The record of a photo as a collection holds it."""
    known = entity["east"] > NOWHERE
    return Photo(
        path=Path(entity["path"]),
        name=entity["name"],
        utm=(entity["east"], entity["north"]) if known else None,
        zone=entity["zone"] or None,
        condition=entity["condition"] or None,
    )


def _relative(path: Path, root: Path | None) -> str:
    if root is not None and path.is_relative_to(root):
        return path.relative_to(root).as_posix()
    return path.as_posix()


def batch_rows(dimension: int) -> int:
    """Photos that travel in one message."""
    return max(1, MESSAGE_BYTES // (4 * dimension + SCALAR_BYTES))


def metric_of(values: Any) -> str:
    """Milvus' metric for descriptors [N, D]: "IP" when all are unit vectors, which it orders as L2 does; else "L2".
    Raises UsageError when a value is not finite."""
    farthest = 0.0
    for start, block in row_blocks(values):
        check_block(block, "database descriptors", start)
        squares = np.einsum("rd,rd->r", block, block)
        farthest = max(farthest, float(np.abs(squares - 1).max()))
    return "IP" if farthest <= UNIT else "L2"


def protocol_of(descriptors: Descriptors, index: str, pca: str = "") -> dict[str, Any]:
    """What a collection keeps about how its descriptors were made. pca: checksum of the reduction, "" for none."""
    fields = ("variant", "fingerprint", "weights", "trained", "grouping", "dtype", "metadata")
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
    for key, title in MUST_AGREE.items():
        if held[key] != new[key]:
            raise IndexMismatchError(
                f"{what} holds descriptors of other {title} ({held['variant']}, {held[key] or 'none'}) than these "
                f"({new['variant']}, {new[key] or 'none'}). Load them into a collection of their own, or describe the "
                "photos as those were."
            )


def load_rows(
    connection: Connection,
    collection: str,
    metadata: dict[str, Any],
    values: Any,
    photos: Sequence[Photo],
    database: str,
    root: Path | None,
    progress: StageProgress | None = None,
    restart: bool = False,
) -> None:
    """Upsert descriptors [N, D] with their photos, on from where an earlier call stopped.

    metadata: of the collection. restart: upsert all of them, even those that are there. How far it has come is noted
    after each batch, so an interruption costs one batch. Raises UsageError when the database of that name has other
    photos, MilvusError when the server gives up.
    """
    if not database:
        raise UsageError("The database needs a name: it tells its photos from those of other databases.")
    key, names = f"database/{database}", _digest(photo.name for photo in photos)
    sample = _digest(row.tobytes() for row in _sample(values))
    state = metadata.get(key)
    if state is not None and (state["names"], state["count"]) != (names, len(photos)):
        raise UsageError(
            f"{collection} has a database {database!r} already, of {state['count']:,} other photos. Remove it with "
            f"`scicevpr milvus drop`, or load these under another name."
        )
    if state is None:
        others = [entry for name, entry in metadata.items() if name.startswith("database/")]
        first = max((other["first"] + other["count"] for other in others), default=0)
        state = {"first": first, "count": len(photos), "names": names, "done": 0}
    if restart or state.get("sample") != sample:
        state = {**state, "sample": sample, "done": 0}
    write_metadata(connection, collection, key, state)
    rows = batch_rows(values.shape[1])
    if progress is not None:
        progress("rows", state["done"], len(photos))
    batches = entities(photos, database, root, state["first"])
    for start in range(state["done"], len(photos), rows):
        batch = batches[start : start + rows]
        block = np.ascontiguousarray(values[start : start + rows], np.float32)
        sent = [{**entity, "descriptor": row} for entity, row in zip(batch, block, strict=True)]
        connection.ask("upsert", collection, sent, timeout=WRITE_SECONDS)
        state["done"] = start + len(batch)
        write_metadata(connection, collection, key, state)
        if progress is not None:
            progress("rows", state["done"], len(photos))
    connection.ask("flush", collection, timeout=WRITE_SECONDS)


def _sample(values: Any) -> list[np.ndarray]:
    rows = np.unique(np.linspace(0, len(values) - 1, SAMPLED).astype(int))
    return [np.asarray(values[row], np.float32) for row in rows]


def _digest(parts: Any) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part if isinstance(part, bytes) else part.encode() + b"\0")
    return digest.hexdigest()[:32]
