"""pack.json: what a pack holds, and the checks that make a stranger's pack safe to open.

    pack.json                      this manifest
    README.md                      the protocol card, which is also the data set card of a Hub repository
    records.csv, queries.csv       one row a photo, in the order of the descriptors
    positives.safetensors          listed database rows of every query, where the data set lists them
    descriptors/MODEL.safetensors  of the database photos, one file a model; MODEL is VARIANT.WEIGHTS or
    queries/MODEL.safetensors      VARIANT.WEIGHTS.pcaK for reduced ones
    pca/MODEL.safetensors          the reduction that gave them
    thumbnails/PART/…/ROW.jpg      small copies of the photos

A pack comes from somebody else: every name in it must stay inside its folder, and nothing in it is executed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scicevpr.errors import DatasetError
from scicevpr.files.reading import read_json, safe_name

MANIFEST = "pack.json"
CARD = "README.md"
RECORDS, QUERIES, POSITIVES = "records.csv", "queries.csv", "positives.safetensors"
FOLDERS = {"descriptors": ".safetensors", "queries": ".safetensors", "pca": ".safetensors", "thumbnails": ".jpg"}
"""Folders of a pack, and what the files in them end in."""

FORMAT = "scicevpr-pack"
FORMAT_VERSION = 1
PARTS = ("database", "queries")
MAX_MANIFEST = 512 * 2**20  # bytes; a checksum line takes about 120, so this is four million files
SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class PackFile:
    """Size in bytes and SHA-256 of one file of a pack."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class Entry:
    """One file of descriptors [rows, dimension] in a pack: which model, under which protocol.

    part: "database" or "queries". pca: the file of the reduction that gave them, or None for full descriptors.
    protocol: resize, grouping, precision and device in words.
    """

    file: str
    part: str
    dimension: int
    pca: str | None
    variant: str
    fingerprint: str
    weights: str
    trained: bool
    protocol: Mapping[str, str]

    @property
    def label(self) -> str:
        """Such as ``"scicevpr-t (weights 0123abcd), 2688 dimensions"``."""
        reduced = " after PCA" if self.pca else ""
        return f"{self.variant} (weights {self.weights}), {self.dimension} dimensions{reduced}"


@dataclass(frozen=True)
class Manifest:
    """pack.json, checked. dataset: name, split, benchmark, notes, query order and truth rule, as read."""

    title: str
    licence: str
    created: str
    versions: Mapping[str, str]
    dataset: Mapping[str, Any]
    counts: Mapping[str, int]
    thumbnails: int | None
    entries: tuple[Entry, ...]
    files: Mapping[str, PackFile]


def read_manifest(folder: Path) -> Manifest:
    """Read and check a pack's manifest. DatasetError when it is missing, damaged, of a newer format or unsafe."""
    path = folder / MANIFEST
    if not path.is_file():
        raise DatasetError(
            f"{folder} is not a database pack: it has no {MANIFEST}. Make one with `scicevpr pack build`, or get one "
            "with `scicevpr pack pull`."
        )
    content = read_json(path, DatasetError, "Get the pack again.", MAX_MANIFEST)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise DatasetError(f"{path} is not the manifest of a database pack (its format is not {FORMAT!r}).")
    version = content.get("format_version")
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise DatasetError(
            f"{folder} is a pack of format {version}; this version of the program reads up to {FORMAT_VERSION}. "
            "Update the program."
        )
    try:
        return _parse(content)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise DatasetError(f"{path} does not hold what a manifest holds: {reason}. Get the pack again.") from error


def check_links(folder: Path) -> None:
    """Refuse symbolic links that leave a pack. DatasetError.

    In the Hub's cache every file is a link into the repository's own `blobs` folder; nothing else may be a link.
    """
    blobs = os.path.join(os.path.abspath(folder.parent.parent), "blobs") if folder.parent.name == "snapshots" else None
    waiting = [os.path.abspath(folder)]
    while waiting:
        place = waiting.pop()
        for item in os.scandir(place):
            if item.is_symlink():
                target = os.path.normpath(os.path.join(place, os.readlink(item.path)))
                if blobs is None or os.path.dirname(target) != blobs or os.path.islink(target):
                    raise DatasetError(
                        f"{item.path} is a symbolic link to {target}. Links could lead out of a pack and are refused; "
                        "put the file itself there."
                    )
            elif item.is_dir():
                waiting.append(item.path)


def _parse(content: Mapping[str, Any]) -> Manifest:
    if content["format_version"] != FORMAT_VERSION:
        raise ValueError(f"format_version is {content['format_version']!r}, not {FORMAT_VERSION}")
    files = {safe_name(name): _pack_file(name, stated) for name, stated in content["files"].items()}
    counts = {part: _whole(content["counts"][part], f"counts.{part}") for part in PARTS}
    if counts["database"] < 1:
        raise ValueError("counts.database is 0")
    thumbnails = content["thumbnails"]
    entries = tuple(_entry(entry, files) for entry in content["descriptors"])
    needed = (RECORDS, *((QUERIES,) if counts["queries"] else ()))
    missing = next((name for name in needed if name not in files), None)
    if missing is not None:
        raise ValueError(f"{missing} is not among its files")
    if not isinstance(content["dataset"], dict):
        raise TypeError("dataset is not an object")
    return Manifest(
        title=str(content["title"]),
        licence=str(content["licence"]),
        created=str(content["created"]),
        versions={str(key): str(value) for key, value in content["versions"].items()},
        dataset=content["dataset"],
        counts=counts,
        thumbnails=None if thumbnails is None else _whole(thumbnails, "thumbnails"),
        entries=entries,
        files=files,
    )


def _pack_file(name: str, stated: Mapping[str, Any]) -> PackFile:
    if not SHA256.fullmatch(str(stated["sha256"])):
        raise ValueError(f"the checksum of {name} is not a SHA-256")
    return PackFile(_whole(stated["bytes"], f"the size of {name}"), stated["sha256"])


def _entry(stated: Mapping[str, Any], files: Mapping[str, PackFile]) -> Entry:
    entry = Entry(
        file=safe_name(stated["file"]),
        part=stated["part"],
        dimension=_whole(stated["dimension"], "a dimension"),
        pca=None if stated["pca"] is None else safe_name(stated["pca"]),
        trained=bool(stated["trained"]),
        protocol={str(key): str(value) for key, value in stated["protocol"].items()},
        **{name: str(stated[name]) for name in ("variant", "fingerprint", "weights")},
    )
    if entry.part not in PARTS:
        raise ValueError(f"{entry.file} belongs to {entry.part!r}, which is neither of {', '.join(PARTS)}")
    for name in (entry.file, entry.pca):
        if name is not None and name not in files:
            raise ValueError(f"{name} is not among its files")
    return entry


def _whole(value: object, what: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{what} is {value!r}, not a whole number")
    return value
