"""A collection of Milvus as an `Index`: candidates from Milvus, the last word in double precision here.

Milvus gives k candidates and some more, in single precision; their descriptors are then fetched and compared as every
other index of this project does it. So with a flat index the answer is that of exact search.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from scicevpr.datasets import Dataset, Photo
from scicevpr.errors import IndexMismatchError, UsageError
from scicevpr.files.descriptor_files import Descriptors
from scicevpr.milvus.collection import (
    FORMAT,
    INDEXES,
    MAX_TOP,
    SCALARS,
    IndexKind,
    check_protocol,
    create,
    load_rows,
    make_searchable,
    metadata_name,
    protocol_of,
    read_metadata,
    to_photo,
    write_metadata,
)
from scicevpr.milvus.connection import Connection, check_name, quoted
from scicevpr.milvus.search import IDS_AT_ONCE, Finder, Near, check_near, expression, measure, ranked
from scicevpr.progress import StageProgress
from scicevpr.retrieval.matches import Matches, check_search, empty_matches, fill
from scicevpr.retrieval.rows import row_blocks

if TYPE_CHECKING:
    from scicevpr.packs.pack import Pack


class MilvusIndex:
    """Database descriptors in a collection of Milvus. Use `open`, `load` and `search`; `with` closes it.

    A collection may hold several databases (cities) described by one model under one protocol; rows are numbered
    through all of them in the order in which they were first loaded.
    """

    def __init__(self, connection: Connection, collection: str) -> None:
        self._connection, self.collection = connection, check_name(collection)
        self._metadata: dict[str, Any] = {}
        self._count = 0
        self._read()

    @classmethod
    def open(
        cls, uri: str, collection: str = "places", token: str | None = None, *, create: bool = True
    ) -> MilvusIndex:
        """Connect to a file of Milvus Lite (FILE.db) or a server (http://HOST:19530).

        token: "USER:PASSWORD" or an API key (default: the environment variable MILVUS_TOKEN). create: make the file if
        it does not exist. The collection need not exist yet: `load` makes it. Raises UsageError for a uri or a name
        that cannot be, MilvusError when nothing answers (within seconds), IndexMismatchError when the collection is not
        one of this program.
        """
        check_name(collection)
        connection = Connection(uri, token, create=create)
        try:
            return cls(connection, collection)
        except BaseException:
            connection.close()
            raise

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> MilvusIndex:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        return self._count

    @property
    def dimension(self) -> int:
        """D. UsageError while there is no collection."""
        return self.protocol["dimension"]

    @property
    def label(self) -> str:
        """Such as ``"Milvus FLAT, exact, re-ranked in double precision"``."""
        kind = self._kind
        return f"Milvus {kind.type}, {'exact' if kind.exact else 'approximate'}, re-ranked in double precision"

    @property
    def protocol(self) -> dict[str, Any]:
        """Which model described the photos, and how. UsageError while there is no collection."""
        if "protocol" not in self._metadata:
            raise UsageError(
                f"There is no collection {self.collection!r} at {self._connection.uri}. Load descriptors into it with "
                "`scicevpr milvus load`."
            )
        return self._metadata["protocol"]

    @property
    def databases(self) -> dict[str, tuple[int, int]]:
        """Databases in the collection: name → (rows loaded, rows in all)."""
        found = {key: entry for key, entry in self._metadata.items() if key.startswith("database/")}
        return {key.partition("/")[2]: (entry["done"], entry["count"]) for key, entry in found.items()}

    def metadata(self) -> dict[str, str]:
        """Rows, where they are, by which model, and the measured agreement with exact search."""
        held = self.protocol
        if self._kind.exact:
            agreement = "it is exact"
        elif "agreement" in self._metadata:
            measured = self._metadata["agreement"]
            agreement = (
                f"first answer {measured['first']:.1%}, ten best {measured['best']:.1%} "
                f"({measured['questions']} questions of {measured['database']})"
            )
        else:
            agreement = "not measured"
        loaded = [
            f"{name} ({done:,} rows)" if done == count else f"{name} ({done:,} of {count:,} rows: load it again)"
            for name, (done, count) in sorted(self.databases.items())
        ]
        return {
            "rows": f"{self._count:,}",
            "databases": ", ".join(loaded) or "none",
            "where": f"{self._connection.uri}, collection {self.collection}",
            "in memory": "as Milvus decides; here nothing",
            "model": f"{held['variant']} (weights {held['weights']}), {held['dimension']:,} dimensions",
            "grouping": held["grouping"],
            "agreement with exact search": agreement,
        }

    def check_model(self, fingerprint: str, weights: str) -> None:
        """Raise IndexMismatchError when the descriptors in it are by another model than this."""
        held = self.protocol
        if (held["fingerprint"], held["weights"]) != (fingerprint, weights):
            raise IndexMismatchError(
                f"The collection {self.collection} holds descriptors by another model ({held['variant']}, "
                f"{held['fingerprint']} {held['weights']}) than the one in use ({fingerprint} {weights}). Describe the "
                "queries with that model, or load a collection of this one's descriptors."
            )

    def load(
        self,
        source: Pack | Descriptors,
        dataset: Dataset | None = None,
        *,
        variant: str | None = None,
        database: str | None = None,
        index: str = "flat",
        restart: bool = False,
        progress: StageProgress | None = None,
    ) -> None:
        """Load a database into the collection, which is made if it does not exist.

        source: a pack, or database descriptors of `dataset` in its order. variant: which of the pack's descriptors.
        database: what to call it (default: name and split of the data set). index: one of INDEXES, for a new
        collection. restart: send everything again. progress: called with (stage, done, in all).

        Loading the same again changes nothing; what was interrupted goes on where it was. One program at a time may
        load into a collection. Raises IndexMismatchError when the collection holds descriptors of another model or
        protocol, UsageError for counts that do not fit or a database of that name with other photos, MilvusError when
        Milvus gives up.
        """
        if index not in INDEXES:
            raise UsageError(f"There is no index {index!r}; choose one of {', '.join(INDEXES)}.")
        descriptors, dataset, pca = _content(source, dataset, variant)
        if len(descriptors.values) != len(dataset.database):
            raise UsageError(
                f"{len(descriptors.values)} descriptors came with {len(dataset.database)} database photos; each needs "
                "one."
            )
        protocol = protocol_of(descriptors, index, pca)
        if self._metadata:
            check_protocol(self.protocol, protocol, f"The collection {self.collection}")
        else:
            create(self._connection, self.collection, protocol)
            self._read()
        name = f"{dataset.name} {dataset.split}".strip() if database is None else database
        load_rows(
            self._connection, self.collection, self._metadata, descriptors.values, dataset.database, name, dataset.root,
            progress, restart,
        )  # fmt: skip
        self._read()
        if not self._kind.exact:
            self._measure(descriptors.values, name)

    def remove(self, database: str) -> None:
        """Take a database out. UsageError when there is none of that name."""
        if database not in self.databases:
            raise UsageError(f"{self.collection} has no database {database!r}; it has {', '.join(self.databases)}.")
        key = f"database/{database}"
        none_done = {**self._metadata[key], "done": 0}  # should this be stopped half-way
        write_metadata(self._connection, self.collection, key, none_done)
        self._connection.ask("delete", self.collection, filter=f"database == {quoted(database)}")
        self._connection.ask("delete", metadata_name(self.collection), filter=f"key == {quoted(key)}")
        self._read()

    def drop(self) -> None:
        """Take the whole collection out of Milvus."""
        for name in (self.collection, metadata_name(self.collection)):
            self._connection.ask("drop_collection", name)
        self._read()

    def search(
        self,
        queries: Any,
        k: int,
        near: Near | Sequence[Any] | None = None,
        conditions: Sequence[str] | None = None,
        database: str | None = None,
    ) -> Matches:
        """The k nearest database rows of queries [Q, D], nearest first, as `Index.search` says. Of more than 32 photos
        that are equally far up to rounding, any may be found.

        queries: an array, or Descriptors, which are refused when another model made them. near: only photos within
        (east, north, metres) or (east, north, metres, zone). conditions: only photos under one of these. database: only
        photos of this one. Raises IndexMismatchError for queries of another model or size, UsageError for k below 1 or
        above 16,384 and for filters that cannot be, MilvusError when Milvus does not answer.
        """
        if hasattr(queries, "fingerprint"):
            self.check_model(queries.fingerprint, queries.weights)
            queries = queries.values
        count = check_search(queries, self.dimension, k)
        if k > MAX_TOP:
            raise UsageError(f"Milvus gives at most {MAX_TOP:,} matches a query, not {k:,}.")
        near = check_near(near)
        chosen = expression(near, conditions, database)
        find = Finder(self._connection, self.collection, self.protocol)
        matches = empty_matches(count, k)
        for start, block in row_blocks(queries, find.queries_at_once):
            hits = find.candidates(block, k, chosen, near)
            fetched = find.descriptors({key: row for hit in hits for key, row in hit.items()})
            for offset, hit in enumerate(hits):
                fill(matches, start + offset, ranked(block[offset], sorted(hit.values()), fetched, k))
        return matches

    def photos(self, rows: Sequence[int]) -> dict[int, Photo]:
        """Records of photos by row; paths are relative to the root of their data set."""
        wanted, result = sorted({int(row) for row in rows if row >= 0}), {}
        for start in range(0, len(wanted), IDS_AT_ONCE):
            found = self._query(f"row in {wanted[start : start + IDS_AT_ONCE]}", list(SCALARS))
            result.update({entity["row"]: to_photo(entity) for entity in found})
        return result

    @property
    def _kind(self) -> IndexKind:
        return INDEXES[self.protocol["index"]]

    def _read(self) -> None:
        """What the collection says about itself."""
        ask, self._metadata, self._count = self._connection.ask, {}, 0
        if not ask("has_collection", self.collection):
            return
        metadata = {}
        if ask("has_collection", metadata_name(self.collection)):
            for name in (self.collection, metadata_name(self.collection)):
                make_searchable(self._connection, name)
            metadata = read_metadata(self._connection, self.collection)
        if metadata.get("protocol", {}).get("format") != FORMAT:
            raise IndexMismatchError(
                f"The collection {self.collection} at {self._connection.uri} was not loaded by this program. Name "
                "another one."
            )
        self._metadata = metadata
        self._count = int(self._query("", ["count(*)"])[0]["count(*)"])

    def _measure(self, values: Any, database: str) -> None:
        first = self._metadata[f"database/{database}"]["first"]
        found = measure(lambda asked, k: self.search(asked, k, database=database).indices - first, values)
        self._metadata["agreement"] = {**found, "database": database}
        write_metadata(self._connection, self.collection, "agreement", self._metadata["agreement"])

    def _query(self, chosen: str, fields: list[str]) -> list[dict[str, Any]]:
        return self._connection.ask(
            "query", self.collection, filter=chosen, output_fields=fields, consistency_level="Strong"
        )


def _content(
    source: Pack | Descriptors, dataset: Dataset | None, variant: str | None
) -> tuple[Descriptors, Dataset, str]:
    """Descriptors, their data set and the checksum of their PCA ("" for none)."""
    if isinstance(source, Descriptors):
        if dataset is None:
            raise UsageError("Descriptors need the data set whose database photos they describe.")
        return source, dataset, ""
    entries = [entry for entry in source.models if variant in (None, entry.variant)]
    if len(entries) != 1:
        has = "; ".join(entry.label for entry in source.models)
        raise UsageError(f"Name one of the pack's descriptors by its variant: it has {has}.")
    pca = entries[0].pca
    return source.read(entries[0]), source.dataset, source.manifest.files[pca].sha256[:12] if pca else ""
