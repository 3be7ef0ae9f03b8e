"""The tree of the field's UTM data sets: <root>/images/<split>/{database,queries}, positions in the file names.

Pitts30k, Pitts250k, Tokyo 24/7, Nordland, AmsterTime, SPED, St Lucia, Eynsham and MSLS come so from the
VPR-datasets-downloader; SVOX calls its database "gallery" and has queries_night, queries_rain, ... beside queries;
SF-XL has no "images" level, or "processed" and "raw" instead.
"""

from __future__ import annotations

from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path

from scicevpr.datasets.dataset import SPLITS, Dataset, Reader, Request
from scicevpr.datasets.photos import Photo, left_out_note, list_photos, parse_name
from scicevpr.errors import DatasetError

DATABASE_FOLDERS = ("database", "gallery")
LEVELS = ("images", "", "processed", "raw")


def _recognises(root: Path, split: str) -> bool:
    """True when there is a database folder of this split."""
    return _base(root, split) is not None


def _read(request: Request) -> Dataset:
    """Read <root>, <root>/images or <root>/images/<split>. DatasetError when the query folder or photos are missing.

    The query folder may be a pattern such as "queries_*": then all that match are read, each as a condition.
    """
    root, split, notes = request.root, request.split, []
    base = _base(root, split)
    if base is None:
        raise DatasetError(f"{root} has no folder {' or '.join(DATABASE_FOLDERS)} of the split {split!r}.")
    if base == root and root.name in SPLITS and root.name != split:
        notes.append(f"The folder given is the split '{root.name}', so that is what was read, not '{split}'.")
        split = root.name
    folders = [] if request.queries is None else _query_folders(base, request.queries)
    database = tuple(parse_name(path) for path in list_photos(_database_folder(base)))
    queries = [with_condition(parse_name(path), folder.name) for folder in folders for path in list_photos(folder)]
    queries.sort(key=lambda photo: str(photo.path))
    left_out = left_out_note(_database_folder(base), *folders)
    notes += [left_out] if left_out else []
    return Dataset(
        name=_name(base),
        split=split,
        root=base,
        database=database,
        queries=tuple(queries),
        notes=tuple(notes),
        use_labels=request.labels,
        layout="utm-tree",
    )


def splits(root: Path) -> list[str]:
    """The splits of a tree that have a database folder."""
    return [name for name in SPLITS if any(_database_folder(root / level / name) is not None for level in LEVELS)]


def query_folders(base: Path) -> list[str]:
    """Names of the folders of queries beside a database folder."""
    return sorted(path.name for path in base.iterdir() if path.is_dir() and path.name.startswith("quer"))


def _base(root: Path, split: str) -> Path | None:
    bases = [*(root / level / split for level in LEVELS), root]
    return next((base for base in bases if _database_folder(base) is not None), None)


def _database_folder(base: Path) -> Path | None:
    return next((base / name for name in DATABASE_FOLDERS if (base / name).is_dir()), None)


def _query_folders(base: Path, wanted: str) -> list[Path]:
    others = query_folders(base)
    found = [base / name for name in others if fnmatchcase(name, wanted)]
    if not found and (base / wanted).is_dir():
        found = [base / wanted]
    if found:
        return found
    several = ', or all of them with a pattern ("queries_*")' if len(others) > 1 else ""
    remedy = f"Name one of them (--query-folder){several}" if others else "Training photos have none"
    raise DatasetError(
        f"{base} has no folder '{wanted}'; query folders found: {', '.join(others) or 'none'}. {remedy}, "
        "or give two folders with --database and --queries."
    )


def _name(base: Path) -> str:
    folder = base.resolve()
    folder = folder.parent if folder.name in SPLITS else folder
    return (folder.parent if folder.name in LEVELS else folder).name


def with_condition(photo: Photo, folder: str) -> Photo:
    """Give a query without a note the condition of its folder: queries_night -> night."""
    prefix, _, condition = folder.partition("_")
    if photo.condition or prefix not in ("queries", "query") or not condition:
        return photo
    return replace(photo, condition=condition)


UTM_TREE = Reader(
    "images/SPLIT/database (or gallery) and images/SPLIT/queries, with or without the level images", _recognises, _read
)
