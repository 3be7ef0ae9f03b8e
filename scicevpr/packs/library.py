"""Which packs are on this computer."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path

from scicevpr.errors import DatasetError
from scicevpr.packs.hub_cache import pulled_packs
from scicevpr.packs.manifest import MANIFEST, Manifest, read_manifest

logger = logging.getLogger(__name__)


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
        return sum(facts.bytes for facts in self.manifest.files.values())


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
