"""Mapillary Street-Level Sequences as published: train_val/<city>/{query,database}/images/<key>.jpg and CSV tables.

raw.csv gives the compass angle and whether a photo is a panorama (those are dropped), postprocessed.csv the position,
subtask_index.csv the official selections, row by row like raw.csv. Right is within 25 m and 40 degrees. Validation is
the cities cph and sf; the test cities have no public positions, so for them only predictions (for the challenge) can
be made. Source of the layout: github.com/mapillary/mapillary_sls.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from scicevpr.datasets.dataset import BY_PATH, Dataset, Reader, Request
from scicevpr.datasets.ground_truth import GroundTruth
from scicevpr.datasets.photos import TIMESTAMP, Photo, list_photos
from scicevpr.datasets.tables import read_table
from scicevpr.errors import DatasetError

VALIDATION = ("cph", "sf")
FOLDERS = ("train_val", "test")
SUBTASKS = ("s2w", "w2s", "d2n", "n2d", "o2n", "n2o")
OFFICIAL, FULL = ("queries", "all"), "full"
MAX_HEADING_DIFFERENCE = 40.0  # degrees
TABLES = ("postprocessed.csv", "raw.csv")


def _recognises(root: Path, split: str) -> bool:
    """True for the folder of all, for train_val or test, and for one city."""
    return _is_city(root) or any(_cities_in(folder) for folder in (*(root / name for name in FOLDERS), root))


def _read(request: Request) -> Dataset:
    """Read the cities of a split: val, train, test, or one city by name.

    queries: "queries" (or "all") for the official single-frame selection: the queries of the subtask "all" that have
    positives, 740 in the published validation set; "full" for every query; or a subtask (s2w, w2s, d2n, n2d, o2n, n2o),
    which also restricts the database. Raises DatasetError for missing cities, tables, columns or photos.
    """
    wanted = request.queries or OFFICIAL[0]
    if wanted not in (*OFFICIAL, FULL, *SUBTASKS):
        raise DatasetError(
            f"MSLS has no queries {wanted!r}; choose queries (the official selection), {FULL}, or a subtask: "
            f"{', '.join(SUBTASKS)}."
        )
    cities, split = _cities(request.root, request.split)
    notes = []
    if split == "val":
        notes += [
            f"The city {city} is missing: this is not the whole of MSLS validation."
            for city in VALIDATION
            if city not in {folder.name for folder in cities}
        ]
    column = wanted if wanted in SUBTASKS else None
    database = _photos(cities, "database", column)
    selection = column or ("all" if wanted in OFFICIAL and split == "val" and not request.every_query else None)
    queries = [] if request.queries is None else _photos(cities, "query", selection)
    dataset = Dataset(
        name=_name(request.root) + (f" {column}" if column else ""),
        split=split,
        root=request.root,
        database=tuple(database),
        queries=tuple(queries),
        notes=tuple(notes),
        use_labels=request.labels,
        truth=GroundTruth(max_heading_difference=MAX_HEADING_DIFFERENCE),
        layout="msls",
    )
    if split == "test":
        dataset = replace(dataset, benchmark="msls-challenge")
    if request.labels and split != "test":
        _require_tables(cities)
    if request.labels and not any(photo.utm for photo in database):
        note = (
            f"The cities of {split!r} have no public positions, so these are predictions only, as the challenge wants "
            "them. To score, use the validation cities: --split val."
        )
        return replace(dataset, use_labels=False, notes=(*notes, note))
    return _validation(dataset, wanted, request.every_query) if split == "val" and not column else dataset


def _require_tables(cities: list[Path]) -> None:
    """DatasetError for cities with positions whose tables were not unpacked."""
    for folder in (city / side for city in cities for side in ("database", "query")):
        missing = [name for name in TABLES if not (folder / name).is_file()]
        if missing:
            raise DatasetError(
                f"{' and '.join(missing)} are missing in {folder}. MSLS keeps positions and panoramas in tables that "
                "come in an archive of their own, msls_metadata.zip (metadata.zip): unpack it into the folder that "
                "holds train_val, or use --no-labels (labels=False) for predictions only."
            )


def _validation(dataset: Dataset, wanted: str, every_query: bool) -> Dataset:
    """Name the protocol; under the official one keep the queries that have positives."""
    if wanted == FULL:
        return replace(dataset, benchmark="msls-val-full")
    dataset = replace(dataset, benchmark="msls-val")
    if every_query or not dataset.positioned:
        return dataset
    rows = [row for row, right in enumerate(dataset.positives()) if len(right)]
    if dataset.queries and not rows:
        raise DatasetError(
            f"No query of {dataset.root} has a database photo within 25 m and 40 degrees. Check that postprocessed.csv "
            f"belongs to these photos, or use --query-folder {FULL}."
        )
    note = (
        "The queries were selected by subtask_index.csv and by having positives; --query-list msls_val_qIdx.npy takes "
        "exactly the published list."
    )
    chosen = dataset.select_queries(rows, f"{BY_PATH}, the official selection (subtask all, with positives)")
    return chosen if len(rows) == 740 else replace(chosen, notes=(*chosen.notes, note))


def _photos(cities: list[Path], side: str, subtask: str | None) -> list[Photo]:
    photos = [photo for city in cities for photo in _side(city / side, subtask)]
    if not photos:
        raise DatasetError(f"No {side} photos are left in {', '.join(city.name for city in cities)} for {subtask!r}.")
    return sorted(photos, key=lambda photo: str(photo.path))


@dataclass(frozen=True)
class _Position:
    utm: tuple[float, float]
    night: bool


def _side(folder: Path, subtask: str | None) -> list[Photo]:
    """The photos of one side of a city that are no panoramas, in a subtask or in all."""
    images = {path.stem: path for path in list_photos(folder / "images")}
    if not (folder / "raw.csv").is_file() and not (folder / "postprocessed.csv").is_file():
        return [Photo(path, path.name) for path in images.values()]  # some releases of the test cities
    raw = read_table(folder / "raw.csv", ("key", "pano"))
    positions = _positions(folder / "postprocessed.csv")
    inside = _inside(folder / "subtask_index.csv", subtask, len(raw))
    photos, missing = [], []
    for line, kept in zip(raw, inside, strict=True):
        key = line["key"]
        if not kept or _true(line["pano"]):
            continue
        if key not in images:
            missing.append(key)
            continue
        if positions and key not in positions:
            raise DatasetError(f"{folder / 'postprocessed.csv'} has no row of the key {key}, which raw.csv has.")
        photos.append(_photo(folder, images[key], line, positions.get(key)))
    if missing:
        raise DatasetError(
            f"{len(missing)} photos that {folder / 'raw.csv'} names are not in {folder / 'images'}, the first is "
            f"{missing[0]}.jpg. Unpack the rest of the photo archives."
        )
    return photos


def _photo(folder: Path, path: Path, line: dict[str, str], position: _Position | None) -> Photo:
    stamp = "".join(char for char in line.get("captured_at", "")[:10] if char.isdigit())
    return Photo(
        path=path,
        name=path.name,
        utm=position.utm if position else None,
        heading=_number(folder / "raw.csv", line["key"], line["ca"]) if line.get("ca") else None,
        timestamp=stamp if TIMESTAMP.fullmatch(stamp) else None,
        condition=("night" if position.night else "day") if position else None,
    )


def _positions(path: Path) -> dict[str, _Position]:
    """Positions by key; empty where the table has none, as that of the test cities."""
    if not path.is_file():
        return {}
    header = ("key", "easting", "northing", "night")
    table = read_table(path, ("key",))
    if table and "easting" not in table[0] and "northing" not in table[0]:
        return {}
    return {
        line["key"]: _Position(
            (_number(path, line["key"], line["easting"]), _number(path, line["key"], line["northing"])),
            _true(line["night"]),
        )
        for line in read_table(path, header)
    }


def _inside(path: Path, subtask: str | None, count: int) -> list[bool]:
    if subtask is None:
        return [True] * count
    if not path.is_file():
        raise DatasetError(
            f"There is no {path}, which names the photos of the selection {subtask!r}. Unpack the metadata archive, or "
            f"use --query-folder {FULL}, which is another protocol."
        )
    table = read_table(path, (subtask,))
    if len(table) != count:
        raise DatasetError(f"{path} has {len(table)} rows, raw.csv beside it {count}; they must belong together.")
    return [_true(line[subtask]) for line in table]


def _cities(root: Path, split: str) -> tuple[list[Path], str]:
    """The city folders of a split, and what the split is called."""
    if _is_city(root):
        return [root], root.resolve().name
    base = root / ("test" if split == "test" else "train_val")
    base = base if base.is_dir() else root
    found = _cities_in(base)
    chosen = {
        "val": [city for city in found if city.name in VALIDATION],
        "train": [city for city in found if city.name not in VALIDATION],
        "test": found if base.name == "test" else [],
    }.get(split, [city for city in found if city.name == split])
    if not chosen:
        raise DatasetError(
            f"{base} has no cities of the split {split!r}; cities found: "
            f"{', '.join(city.name for city in found) or 'none'}. Validation (cph and sf) is --split val."
        )
    return chosen, split


def _cities_in(folder: Path) -> list[Path]:
    return sorted(city for city in folder.iterdir() if _is_city(city)) if folder.is_dir() else []


def _is_city(folder: Path) -> bool:
    return (folder / "query" / "images").is_dir() and (folder / "database").is_dir()


def _name(root: Path) -> str:
    folder = root.resolve()
    return folder.parent.name if folder.name in FOLDERS else folder.name


def _true(text: str) -> bool:
    return text.lower() in ("true", "1", "1.0")


def _number(path: Path, key: str, text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise DatasetError(f"{path} has {text!r} where a number is needed, in the row of {key}.") from error


MSLS = Reader("train_val/CITY/query, train_val/CITY/database and their CSV tables (official MSLS)", _recognises, _read)
