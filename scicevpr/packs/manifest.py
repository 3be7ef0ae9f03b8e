"""pack.json: what a pack holds, and the checks that make a stranger's pack safe to open; and where packs are found.

    pack.json                      this manifest
    README.md                      the protocol card, which is also the data set card of a Hub repository
    records.csv, queries.csv       one row a photo, in the order of the descriptors
    positives.safetensors          listed database rows of every query, where the data set lists them
    descriptors/MODEL.safetensors  of the database photos, one file a model; MODEL is VARIANT.WEIGHTS or
    queries/MODEL.safetensors      VARIANT.WEIGHTS.pcaK for reduced ones
    pca/MODEL.safetensors          the reduction that gave them
    thumbnails/PART/…/ROW.jpg      small copies of the photos

A pack comes from somebody else: every name in it must stay inside its folder, and nothing in it is executed. Packs are
in the user's folder and in the Hub's cache; nothing here uses the network.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scicevpr.config import user_cache_folder
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
    """Refuse symbolic links that leave a pack. DatasetError. In the Hub's cache every file is a link into the
    repository's own `blobs` folder; nothing else may be a link."""
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


logger = logging.getLogger(__name__)

REPOSITORY = re.compile(r"([A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(?:@([\w./-]+))?")
PATTERNS = (MANIFEST, CARD, RECORDS, QUERIES, POSITIVES, *(f"{name}/*{suffix}" for name, suffix in FOLDERS.items()))
"""What is fetched from a repository: the files of a pack and nothing else."""


@dataclass(frozen=True)
class FoundPack:
    """A pack that can be opened. reference: what `open_pack` takes; source: "folder" or "Hub"."""

    reference: str
    source: str
    folder: Path
    manifest: Manifest

    @property
    def bytes(self) -> int:
        return sum(file.bytes for file in self.manifest.files.values())


def packs_folder() -> Path:
    """The user's folder of packs: ``$SCICEVPR_PACKS``, or `scicevpr/packs` among the user's data."""
    override = os.environ.get("SCICEVPR_PACKS")
    if override:
        return Path(override).expanduser()
    base = os.environ.get("XDG_DATA_HOME")
    return (Path(base) if base else Path.home() / ".local" / "share") / "scicevpr" / "packs"


def list_packs(folder: Path | None = None, cache: Path | None = None) -> list[FoundPack]:
    """Packs in the user's folder, then those pulled from the Hub; only manifests are read.

    folder, cache: other places than `packs_folder` and the Hub's cache. Unreadable packs are left out, with a line in
    the log.
    """
    own = sorted(path.parent for path in (folder or packs_folder()).glob(f"*/{MANIFEST}"))
    candidates = [(str(path), "folder", path) for path in own if not path.name.startswith(".")]
    candidates += [(name, "Hub", path) for name, path in pulled_packs(cache)]
    found = []
    for reference, source, path in candidates:
        try:
            found.append(FoundPack(reference, source, path, read_manifest(path)))
        except DatasetError as error:
            logger.warning("pack left out: %s", error)
    return found


def parse_repository(text: str, revision: str | None = None) -> tuple[str, str | None]:
    """Read "org/name" or "org/name@revision" as (repository, revision or None). DatasetError for anything else."""
    match = REPOSITORY.fullmatch(text)
    if match is None:
        raise DatasetError(f"{text!r} does not name a Hub repository. Write it as org/name or org/name@revision.")
    return match[1], revision or match[2]


def cache_folder(cache: Path | None = None) -> Path:
    """The Hub's cache: the folder given, or $HF_HUB_CACHE, hub in $SCICEVPR_CACHE, or where huggingface_hub has it."""
    from huggingface_hub.constants import HF_HUB_CACHE

    own = user_cache_folder() / "hub" if os.environ.get("SCICEVPR_CACHE") else HF_HUB_CACHE
    return Path(cache or os.environ.get("HF_HUB_CACHE") or own).expanduser()


def pack_folder(path: Path | str) -> Path:
    """The folder of a pack that is given as a folder or as a pulled repository; an existing folder wins."""
    return Path(path) if Path(path).is_dir() else cached_pack(str(path))


def cached_pack(text: str, cache: Path | None = None) -> Path:
    """The folder of a pulled pack. DatasetError when the text is neither a folder nor a repository that is here."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, IncompleteSnapshotError, LocalEntryNotFoundError

    match = REPOSITORY.fullmatch(text)
    if match is None:
        what = "is a file" if Path(text).is_file() else "does not exist"
        raise DatasetError(f"{text} {what}; a database pack is a folder with a {MANIFEST}, or a Hub repository.")
    try:
        found = snapshot_download(
            match[1], repo_type="dataset", revision=match[2], cache_dir=cache_folder(cache), local_files_only=True,
            allow_patterns=list(PATTERNS),
        )  # fmt: skip
    except IncompleteSnapshotError as error:
        raise DatasetError(
            f"The pack {text} was only partly downloaded. Go on with: scicevpr pack pull {text}"
        ) from error
    except (LocalEntryNotFoundError, HFValidationError) as error:
        raise DatasetError(
            f"There is no folder {text}, and no pack of that name was pulled from the Hub to this computer. Where "
            f"there is a connection: scicevpr pack pull {text}"
        ) from error
    return Path(found)


def pulled_packs(cache: Path | None = None) -> list[tuple[str, Path]]:
    """(repository, folder) of every pack in the Hub's cache, at its main revision or else the one pulled last."""
    found = []
    for repository in sorted(cache_folder(cache).glob("datasets--*--*")):
        main = repository / "refs" / "main"
        snapshots = [path.parent for path in repository.glob(f"snapshots/*/{MANIFEST}")]
        commit = main.read_text().strip() if main.is_file() else ""
        chosen = next((path for path in snapshots if path.name == commit), None)
        if chosen is None and snapshots:
            chosen = max(snapshots, key=lambda path: path.stat().st_mtime)
        if chosen is not None:
            name = repository.name.removeprefix("datasets--").replace("--", "/", 1)
            found.append((name if chosen.name == commit else f"{name}@{chosen.name}", chosen))
    return found
