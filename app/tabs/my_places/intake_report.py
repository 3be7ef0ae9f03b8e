"""What a visitor of My places has brought and made: the visit, which photos can be used, the data set they make."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from scicevpr.datasets import Dataset
from scicevpr.datasets.intake import CLEAN, Gathered, Limits, check_table_size, in_query_folder
from scicevpr.datasets.positions import NOWHERE, PlacedPhoto
from scicevpr.errors import DatasetError, UsageError

HELD_BACK = (0, 10, 5, 3)


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


@dataclass(frozen=True)
class IntakeReport:
    """What was brought. gathered: the files; photos: those that can be used, with their positions; left_out: (name,
    why) of the others; notes: on the positions."""

    gathered: Gathered
    photos: tuple[PlacedPhoto, ...]
    left_out: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]

    @property
    def positioned(self) -> int:
        """How many photos have a position."""
        return sum(photo.source != NOWHERE for photo in self.photos)

    def name(self, photo: PlacedPhoto) -> str:
        """A photo's path below the folder it came from."""
        return photo.photo.path.relative_to(self.gathered.folder).as_posix()


def as_dataset(report: IntakeReport, title: str, hold_back: int = 0) -> Dataset:
    """The photos that were brought as a data set. UsageError when none is left to be searched."""
    if hold_back not in HELD_BACK:
        raise UsageError(f"Photos are held back every {' or '.join(map(str, HELD_BACK[1:]))}, not every {hold_back!r}.")
    photos, root = [placed.photo for placed in report.photos], report.gathered.folder
    queries = [row for row, photo in enumerate(photos) if in_query_folder(photo.path, root)]
    if not queries and hold_back:
        queries = list(range(hold_back - 1, len(photos), hold_back))
    chosen = set(queries)
    if len(chosen) == len(photos):
        raise UsageError(
            "All photos lie in a folder called queries, so there is nothing to search. Put the photos to be searched "
            "elsewhere, for instance into a folder called database."
        )
    return Dataset(
        name=title,
        split="uploaded",
        root=root,
        database=tuple(photo for row, photo in enumerate(photos) if row not in chosen),
        queries=tuple(photos[row] for row in queries),
        notes=report.notes,
        use_labels=report.positioned == len(photos),
    )


def chosen_table(gathered: Gathered, table: tuple[Path, str] | None, work: Path, limits: Limits) -> Path | None:
    """The table with the positions: the given one (file, its name), else the one among the photos, else None."""
    if table is not None:
        with contextlib.suppress(OSError):
            check_table_size(table[0].stat().st_size, table[1], limits)
        named = work / "tables" / "given" / (CLEAN.sub("_", Path(table[1]).name) or "positions.csv")
        named.parent.mkdir(parents=True)
        try:
            shutil.copyfile(table[0], named)  # under its own name, which messages and notes repeat
        except OSError as error:
            raise UsageError("The table is not on the server any more. Choose it again.") from error
        return named
    if len(gathered.tables) > 1:
        names = ", ".join(path.name for path in gathered.tables[:4])
        raise DatasetError(
            f"There are {len(gathered.tables)} tables among the photos ({names}). Keep one, or give one."
        )
    return gathered.tables[0] if gathered.tables else None


def no_photo_words(gathered: Gathered, unreadable: Sequence[tuple[str, str]]) -> str:
    """What is said when no photo can be used."""
    lost = [f"{name}: {why}" for name, why in (*gathered.left_out, *unreadable)] or list(gathered.ignored)
    words = f" The first of {len(lost)} files: {lost[0]}." if lost else ""
    return f"There is no photo to use.{words} JPEG, PNG, WebP, TIFF and BMP photos are read, and zips of them."
