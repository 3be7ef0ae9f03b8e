"""Data set folders on disk, read into Place records.

Understood: <root>/images/<split>/{database,queries} (the standard tree), SVOX's "gallery" and "queries_night" folders,
trees without the "images" level, and any two folders of photos.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from scicevpr.errors import DatasetError
from scicevpr.places.names import Place, parse_name
from scicevpr.places.truth import Truth

EXTENSIONS = (".jpg", ".jpeg", ".png")
SPLITS = ("train", "val", "test")
DATABASE_FOLDERS = ("database", "gallery")


@dataclass(frozen=True)
class Dataset:
    """Database and query photos, each sorted by path (the order decides which photos share a batch).

    notes: sentences a reader of the results should see (several zones, missing positions, stand-in coordinates).
    use_labels: False when ground truth is to be ignored. query_order: words for the protocol. truth: which answers are
    right. benchmark: key of the published benchmark that this is (see `scicevpr.places.catalogue`), or None.
    """

    name: str
    split: str
    root: Path
    database: tuple[Place, ...]
    queries: tuple[Place, ...]
    notes: tuple[str, ...] = ()
    use_labels: bool = True
    query_order: str = "by path"
    truth: Truth = field(default_factory=Truth)
    benchmark: str | None = None

    @property
    def labelled(self) -> bool:
        """True when answers can be called right or wrong: positives are listed, or every photo has a position."""
        return self.use_labels and (self.truth.listed is not None or self.positioned)

    @property
    def positioned(self) -> bool:
        """True when every photo has a position (perhaps a stand-in one)."""
        return all(place.utm is not None for place in (*self.database, *self.queries))

    @property
    def has_map(self) -> bool:
        """True when the positions are real ones that may be drawn (stand-in coordinates may not)."""
        places = (*self.database, *self.queries)
        return self.use_labels and self.positioned and not any(place.mock_position for place in places)

    def positives(self, radius: float | None = None, rounding: str = "float64") -> list[np.ndarray]:
        """Database rows that show the place of each query; ``radius`` (metres) replaces the data set's own.

        Raises UsageError and DatasetError as `Truth.positives` does.
        """
        return self.truth.positives(self.database, self.queries, radius, rounding)

    @property
    def conditions(self) -> list[str]:
        """Conditions of the queries, in order of first appearance; queries without one are left out."""
        return list(dict.fromkeys(place.condition for place in self.queries if place.condition))

    def shuffle_queries(self, seed: int) -> Dataset:
        """The same data set with its queries in a random order: others share a batch, which cross-image models feel."""
        order = np.random.default_rng(seed).permutation(len(self.queries))
        queries = tuple(self.queries[row] for row in order)
        truth = self.truth
        if truth.listed is not None:
            truth = replace(truth, listed=tuple(truth.listed[row] for row in order))
        return replace(self, queries=queries, truth=truth, query_order=f"shuffled with seed {seed}")


def list_photos(folder: Path | str) -> list[Path]:
    """All .jpg, .jpeg and .png files (any case) below a folder, sorted by path. DatasetError when there are none."""
    folder = Path(folder)
    if not folder.exists():
        raise DatasetError(f"The folder {folder} does not exist.")
    if not folder.is_dir():
        raise DatasetError(f"{folder} is a file; a folder with photos was expected.")
    photos = sorted(
        (path for path in folder.rglob("*") if path.suffix.lower() in EXTENSIONS and not path.name.startswith(".")),
        key=str,
    )
    if not photos:
        raise DatasetError(
            f"{folder} holds no photos: looked for {', '.join(EXTENSIONS)} there and in its subfolders, "
            f"found {_listing(folder)}."
        )
    return photos


def read_dataset(folder: Path | str, split: str = "test", *, queries: str = "queries", labels: bool = True) -> Dataset:
    """Read a data set folder: <root>, <root>/images or <root>/images/<split>.

    queries: name of the query folder (SVOX has queries_night, queries_rain, ... beside queries). Queries whose name
    has no note take their condition from such a folder name. labels=False ignores positions (predictions only).

    Raises DatasetError when folders or photos are missing, or when labels are wanted and a name has no position.
    """
    root = Path(folder)
    if not root.is_dir():
        raise DatasetError(f"The data set folder {root} {'is a file' if root.exists() else 'does not exist'}.")
    notes = []
    base = next(
        (place for place in (root / "images" / split, root / split, root) if _database_folder(place) is not None), None
    )
    if base is None:
        raise DatasetError(
            f"{root} does not look like a data set: looked for images/{split}/database (or gallery), {split}/database "
            f"and database in it, found {_listing(root)}. Other splits of the tree: {_splits(root)}. "
            "Any two folders can be evaluated with --database and --queries."
        )
    if base == root and root.name in SPLITS and root.name != split:
        notes.append(f"The folder given is the split '{root.name}', so that is what was read, not '{split}'.")
        split = root.name
    database_folder, query_folder = _database_folder(base), base / queries
    if not query_folder.is_dir():
        others = sorted(path.name for path in base.iterdir() if path.is_dir() and path.name.startswith("quer"))
        raise DatasetError(
            f"{base} has no folder '{queries}'; query folders found: {', '.join(others) or 'none'}. "
            "Name one of them, or give two folders with --database and --queries."
        )
    name_from = base.parent if base.name in SPLITS else base
    name_from = name_from.parent if name_from.name == "images" else name_from
    return _dataset(name_from.resolve().name, split, base, database_folder, query_folder, labels, notes)


def read_folders(database: Path | str, queries: Path | str, labels: bool = True) -> Dataset:
    """Read any two folders of photos as database and queries. labels=False: positions in the names are ignored.

    Raises DatasetError when a folder is missing or empty, or when labels are wanted and a name has no position.
    """
    database, queries = Path(database), Path(queries)
    shared = database.resolve().parent
    name = shared.name if shared == queries.resolve().parent else f"{database.name} + {queries.name}"
    return _dataset(name, "folders", shared, database, queries, labels, [])


def bundled_city() -> Dataset:
    """The small procedural city that comes with the project (test split, with ground truth)."""
    from scicevpr.config import assets_folder

    root = assets_folder() / "procity"
    if not root.is_dir():
        raise DatasetError(f"There is no bundled city at {root}. Set SCICEVPR_ASSETS to the project's assets folder.")
    return read_dataset(root)


def _dataset(
    name: str, split: str, root: Path, database: Path, queries: Path, labels: bool, notes: Iterable[str]
) -> Dataset:
    database_places = tuple(parse_name(path) for path in list_photos(database))
    query_places = tuple(_with_condition(parse_name(path), queries.name) for path in list_photos(queries))
    places = (*database_places, *query_places)
    if labels:
        missing = [place for place in places if place.utm is None]
        if missing:
            raise DatasetError(
                f"{len(missing)} of {len(places)} photos carry no position in their name, the first is "
                f"{missing[0].path} (expected @utm_east@utm_north@...@.jpg). Without positions nothing can be scored: "
                "use --no-labels (labels=False) for predictions only."
            )
    return Dataset(
        name, split, root, database_places, query_places, (*notes, *(_notes(places) if labels else ())), labels
    )


def _with_condition(place: Place, folder: str) -> Place:
    """Give a query without a note the condition of its folder: queries_night -> night."""
    prefix, _, condition = folder.partition("_")
    if place.condition or prefix not in ("queries", "query") or not condition:
        return place
    return Place(place.path, place.name, place.utm, place.zone, place.heading, place.timestamp, condition)


def _notes(places: Sequence[Place]) -> list[str]:
    notes = []
    zones = sorted({place.zone for place in places if place.zone})
    if len(zones) > 1:
        notes.append(
            f"The photos lie in several UTM zones ({', '.join(zones)}): distances between zones mean nothing, "
            "so a positive across a zone border may be missed or wrong."
        )
    if any(place.mock_position for place in places):
        notes.append("The names carry stand-in coordinates (east 0, no zone): good for scoring, not for a map.")
    return notes


def _database_folder(base: Path) -> Path | None:
    return next((base / name for name in DATABASE_FOLDERS if (base / name).is_dir()), None)


def _splits(root: Path) -> str:
    found = [name for name in SPLITS for base in (root / "images", root) if _database_folder(base / name) is not None]
    return ", ".join(dict.fromkeys(found)) or "none"


def _listing(folder: Path) -> str:
    names = sorted(path.name + ("/" if path.is_dir() else "") for path in folder.iterdir())
    if not names:
        return "an empty folder"
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
