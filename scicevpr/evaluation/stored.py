"""Descriptors exported earlier, scored again without a model.

Understood: our exports (`evaluate --save_descriptors`, with descriptors.json beside them), what `scicevpr describe`
writes (.npy with FILE.json, .safetensors), and bare .npy files of other methods, such as VPR-methods-evaluation saves.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from scicevpr.config import VARIANTS
from scicevpr.datasets import Dataset, GroundTruth, Photo, parse_name
from scicevpr.errors import DatasetError, IndexMismatchError, UsageError
from scicevpr.evaluation.benchmark import DEFAULT_NS, score
from scicevpr.evaluation.protocols import MAJORITY_WEIGHT, find_method
from scicevpr.evaluation.report import DESCRIPTORS_FILE, DESCRIPTORS_FORMAT
from scicevpr.evaluation.results import Evaluation
from scicevpr.files.descriptor_files import load_descriptors
from scicevpr.files.reading import known_sha256, map_npy, parse_json

MADE_ELSEWHERE = "unknown (descriptors made elsewhere)"
PARTS = ("database", "queries")


@dataclass(frozen=True)
class StoredDescriptors:
    """Descriptors [N, D] of a file (a read-only memory map where the file allows it) and what is known about them.

    names: of the photos, in row order; None when not recorded. protocol: None when not recorded. title: for tables.
    record: the descriptors.json that they belong to, or None.
    """

    path: Path
    values: np.ndarray
    names: tuple[str, ...] | None = None
    protocol: Mapping[str, str] | None = None
    title: str | None = None
    record: Mapping[str, Any] | None = None


def open_descriptors(path: Path | str) -> StoredDescriptors:
    """Open a .npy file or a .safetensors pack of descriptors. IndexMismatchError when it is missing, holds something
    else, or has another number of rows than the record beside it says."""
    path = Path(path)
    if not path.is_file():
        raise IndexMismatchError(
            f"There are no descriptors at {path}. Export them with: scicevpr evaluate --save_descriptors"
        )
    if path.suffix == ".safetensors":
        descriptors, names = load_descriptors(path)
        protocol = dict(descriptors.protocol())
        return StoredDescriptors(path, descriptors.values, tuple(names), protocol, _title(protocol))
    values = map_npy(path, IndexMismatchError, "Export it again.")
    if values.ndim != 2 or not np.issubdtype(values.dtype, np.floating):
        shape = f"{list(values.shape)} {values.dtype}"
        raise IndexMismatchError(f"{path} holds {shape}; descriptors are one array [photos, values] of floats.")
    stored = _with_record(StoredDescriptors(path, values))
    if stored.names is not None and (len(values) == 0 or len(values) % len(stored.names)):
        raise IndexMismatchError(
            f"{path} has {len(values)} rows, but the record beside it names {len(stored.names)} photos: the files do "
            "not belong together. Export them again."
        )
    return stored


def recorded_dataset(database: StoredDescriptors, queries: StoredDescriptors, labels: bool = True) -> Dataset:
    """The data set that descriptors.json records: names, positions and rule, without the photos; labels=False ignores
    positions (predictions only). UsageError when the descriptors have no such record or two different ones."""
    record = database.record
    if record is None or record != queries.record:
        raise UsageError(
            f"{database.path.name} and {queries.path.name} have no common {DESCRIPTORS_FILE} beside them that names "
            "their photos. Name the data set with --dataset, or its folders with --database and --queries."
        )
    try:
        known = record["dataset"]
        truth = dict(known["truth"])
        if truth["listed"] is not None:
            truth["listed"] = tuple(np.asarray(rows, dtype=np.int64) for rows in truth["listed"])
        return Dataset(
            **{name: known[name] for name in ("name", "split", "query_order", "benchmark", "layout")},
            root=Path(),
            database=_photos(record["database"]),
            queries=_photos(record["queries"]),
            notes=tuple(known["notes"]),
            use_labels=labels and bool(known["labelled"]),
            truth=GroundTruth(**truth),
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, UsageError) as error:
        raise _broken(database.path.with_name(DESCRIPTORS_FILE)) from error


def score_stored(
    database: StoredDescriptors,
    queries: StoredDescriptors,
    dataset: Dataset | None = None,
    *,
    ns: Sequence[int] = DEFAULT_NS,
    radius: float | None = None,
    rounding: str = "float64",
    test_method: str | None = None,
    majority_weight: float = MAJORITY_WEIGHT,
    title: str | None = None,
) -> Evaluation:
    """Search and score stored descriptors. dataset, test_method: default: those recorded beside them.

    Descriptors of five crops (five rows a query) can be scored by every test method that looks at five crops.
    Raises IndexMismatchError when the two files come from different models, or do not belong to the data set's photos
    in its order.
    """
    dataset = dataset or recorded_dataset(database, queries)
    recorded = queries.record["test_method"] if queries.record else "hard_resize"
    method = find_method(test_method or recorded)
    _check_photos(database, dataset.database, "database photos")
    _check_photos(queries, dataset.queries, "queries", method.views)
    if database.values.shape[1] != queries.values.shape[1]:
        raise IndexMismatchError(
            f"{database.path} holds {database.values.shape[1]} values a photo, {queries.path} holds "
            f"{queries.values.shape[1]}: they were made by different models."
        )
    return score(
        title or database.title or queries.title or database.path.stem,
        dataset,
        database.values,
        queries.values,
        ns=ns,
        radius=radius,
        rounding=rounding,
        test_method=method,
        majority_weight=majority_weight,
        protocol=_protocol(database, queries),
    )


def _with_record(stored: StoredDescriptors) -> StoredDescriptors:
    """Add what the JSON beside a .npy file says about it."""
    path = stored.path
    export, described = path.with_name(DESCRIPTORS_FILE), path.with_name(path.name + ".json")
    try:
        if export.is_file():
            record = parse_json(export.read_bytes())
            part = next((record[name] for name in PARTS if record[name]["file"] == path.name), None)
            if part is not None:
                if record["format"] != DESCRIPTORS_FORMAT:
                    raise IndexMismatchError(
                        f"{export} has the format {record['format']!r}, this version reads {DESCRIPTORS_FORMAT}."
                    )
                find_method(record["test_method"])
                _check_sum(path, part.get("sha256"))
                known = {"names": tuple(part["names"]), "protocol": dict(record["protocol"])}
                return replace(stored, title=record["title"], record=record, **known)
        if described.is_file():
            record = parse_json(described.read_bytes())
            protocol = dict(record["protocol"])
            _check_sum(path, record.get("sha256"))
            return replace(stored, names=tuple(record["names"]), protocol=protocol, title=_title(protocol))
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise _broken(export if export.is_file() else described) from error
    return stored


def _check_sum(path: Path, noted: str | None) -> None:
    """Refuse descriptors that are not those that were written (earlier versions noted no checksum)."""
    if noted is not None and known_sha256(path) != noted:
        raise IndexMismatchError(f"{path} was changed: its SHA-256 is not the one in its record. Export it again.")


def _protocol(database: StoredDescriptors, queries: StoredDescriptors) -> dict[str, str]:
    """The recorded protocols as one; what differs between the files is told for both."""
    parts = dict(zip(PARTS, (database, queries), strict=True))
    merged: dict[str, str] = {}
    if database.record is not None and database.record == queries.record:
        merged = dict(database.protocol)
    else:
        own = {name: _renamed(name, stored.protocol or {"variant": MADE_ELSEWHERE}) for name, stored in parts.items()}
        for key in dict.fromkeys(key for protocol in own.values() for key in protocol):
            found = {name: protocol[key] for name, protocol in own.items() if key in protocol}
            if key in ("variant", "weights") and len(set(found.values())) > 1 and MADE_ELSEWHERE not in found.values():
                raise IndexMismatchError(
                    f"{database.path} and {queries.path} come from different models ({key}: "
                    f"{found['database']} and {found['queries']}). Describe both with the same one."
                )
            same = len(set(found.values())) == 1 and (len(found) == 2 or "grouping" in key)
            told = ", ".join(f"{value} ({name})" for name, value in found.items())
            merged[key] = found.popitem()[1] if same else told
    for name, stored in parts.items():
        rows = f"{stored.values.shape[1]} values, {stored.values.dtype}"
        merged[f"{name} file"] = f"{stored.path.name} ({rows})"
    return merged


def _renamed(part: str, protocol: Mapping[str, str]) -> dict[str, str]:
    """`describe` records one grouping per file; a protocol tells those of database and queries apart."""
    own = {"database": "database grouping", "queries": "query grouping"}[part]
    other = {"database": "query grouping", "queries": "database grouping"}[part]
    return {own if key == "grouping" else key: value for key, value in protocol.items() if key != other}


def _check_photos(stored: StoredDescriptors, photos: Sequence[Photo], what: str, views: int = 1) -> None:
    if len(stored.values) != len(photos) * views:
        each = f", {views} descriptors for each" if views > 1 else ""
        raise IndexMismatchError(
            f"{stored.path} holds {len(stored.values)} descriptors, but the data set has {len(photos)} {what}{each}: "
            "it belongs to other photos. Name the data set that was described, and the test method."
        )
    for row, (name, photo) in enumerate(zip(stored.names or (), photos, strict=False)):
        if not _same_photo(name, photo.path):
            raise IndexMismatchError(
                f"{stored.path} belongs to other photos or another order: row {row} of its {what} is {name!r}, the "
                f"data set's is {photo.path.name!r}. Name the data set that was described, or none where "
                f"{DESCRIPTORS_FILE} names the photos."
            )


def _same_photo(name: str, path: Path) -> bool:
    """The shorter of both paths must be the end of the longer one: files are named from different folders."""
    stored, own = (PurePosixPath(unicodedata.normalize("NFC", str(text))).parts for text in (name, path.as_posix()))
    count = min(len(stored), len(own))
    return count > 0 and stored[-count:] == own[-count:]


def _title(protocol: Mapping[str, str]) -> str | None:
    name = protocol.get("variant", "")
    return VARIANTS[name].title if name in VARIANTS else name or None


def _photos(part: Mapping[str, Any]) -> tuple[Photo, ...]:
    photos = []
    for row, name in enumerate(part["names"]):
        more = dict(part["more"].get(str(row), {}))
        if more.get("utm") is not None:
            more["utm"] = tuple(more["utm"])
        photos.append(replace(parse_name(name), **more))
    return tuple(photos)


def _broken(path: Path) -> DatasetError:
    return DatasetError(f"{path} is not the record of an export of descriptors, or it is damaged. Export them again.")
