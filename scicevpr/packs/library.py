"""Which packs are on this computer: the user's own, and those in the Hub's cache. Nothing here uses the network."""

from __future__ import annotations

import logging
import os
import re
from dataclasses import dataclass
from pathlib import Path

from scicevpr.errors import DatasetError
from scicevpr.packs.manifest import CARD, FOLDERS, MANIFEST, POSITIVES, QUERIES, RECORDS, Manifest, read_manifest

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
        """Size of its files."""
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
    """The Hub's cache: the folder given, or $HF_HUB_CACHE, or where huggingface_hub has it."""
    from huggingface_hub.constants import HF_HUB_CACHE

    return Path(cache or os.environ.get("HF_HUB_CACHE") or HF_HUB_CACHE).expanduser()


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
