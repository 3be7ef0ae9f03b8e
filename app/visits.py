"""A visit: what one visitor of My places has brought and made, and the pack of it as one file."""

from __future__ import annotations

import re
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

from scicevpr.datasets import Dataset
from scicevpr.packs import Pack


@dataclass(frozen=True)
class MyDatabase:
    """A finished database. key: what its owner's page asks for it with; archive: the pack as a zip; groupings: per
    model which photos shared a batch."""

    key: str
    title: str
    dataset: Dataset
    archive: Path
    groupings: tuple[tuple[str, str], ...]
    seconds: float


@dataclass
class Visit:
    """A visit as it stands. begun, used: by the clock of all visits; uploads: files that came for it; work: folder of
    a database in the making; busy: somebody reads or describes right now; stopped: that shall end; gone: it is over."""

    folder: Path
    session: str
    begun: float
    used: float
    uploads: set[Path] = field(default_factory=set)
    database: MyDatabase | None = None
    work: Path | None = None
    busy: bool = False
    stopped: bool = False
    gone: bool = False

    @property
    def holds(self) -> bool:
        """Whether it takes a place: it has a database, or makes one."""
        return self.database is not None or self.work is not None or self.busy


def zip_pack(pack: Pack, path: Path) -> Path:
    """The pack's folder as one file; its parts are packed well already."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for file in sorted(file for file in pack.folder.rglob("*") if file.is_file()):
            archive.write(file, Path(path.stem) / file.relative_to(pack.folder))
    return path


def file_name(title: str) -> str:
    """A title as a plain file name."""
    return re.sub(r"[^A-Za-z0-9]+", "-", title).strip("-").lower() or "my-places"
