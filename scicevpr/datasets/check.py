"""Look at a data set folder and say what it is: counts, positions, ground truth, unreadable photos, published table."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from scicevpr.datasets import catalogue
from scicevpr.datasets.dataset import Dataset
from scicevpr.datasets.photos import EXTENSIONS, Photo
from scicevpr.datasets.readers import is_gsv_cities, read_dataset, read_folders, utm_tree
from scicevpr.errors import DatasetError, ImageError
from scicevpr.files.photos import open_photo

SAMPLE = 64
GSV_COLUMNS = ("place_id", "year", "month", "northdeg", "city_id", "lat", "lon", "panoid")


@dataclass(frozen=True)
class Report:
    """What was found. findings: (heading, sentence) in reading order. problems: what keeps the set from being scored.
    command: what to run next, or None. numbers: counts for a program to read."""

    path: Path
    findings: tuple[tuple[str, str], ...]
    problems: tuple[str, ...]
    command: str | None
    numbers: dict[str, Any]

    @property
    def usable(self) -> bool:
        """True when nothing keeps the data set from being used as it was asked for."""
        return not self.problems

    def to_json(self) -> dict[str, Any]:
        """Plain values for a JSON file."""
        return {**asdict(self), "path": str(self.path), "findings": [list(finding) for finding in self.findings]}


def check_folders(database: Path | str, queries: Path | str, *, sample: int = SAMPLE, **options: Any) -> Report:
    """Look at any two folders as `read_folders` reads them (options are its own); see `check_dataset`."""
    shared = {key: value for key, value in options.items() if key == "benchmark"}
    dataset, problems = _read(partial(read_folders, database, queries), options, shared)
    command = ["scicevpr", "evaluate", "--database", str(database), "--queries", str(queries)]
    return _report(Path(database), dataset, problems, command, options, sample)


def check_dataset(
    path: Path | str, split: str = "test", *, queries: str = "queries", sample: int = SAMPLE, **options: Any
) -> Report:
    """Read a folder as `read_dataset` does (options are its own) and open ``sample`` of its photos, evenly spread.
    Where the ground truth cannot be read, the problem is reported. DatasetError when there is no data set at all."""
    path = Path(path)
    if path.is_dir() and is_gsv_cities(path):
        return _check_training(path)
    shared = {key: value for key, value in options.items() if key in ("layout", "benchmark", "images")}
    dataset, problems = _read(partial(read_dataset, path, split, queries=queries), options, shared)
    command = ["scicevpr", "evaluate", "--dataset", str(path)]
    command += ["--split", split] if split != "test" else []
    command += ["--query-folder", queries] if queries != "queries" else []
    more = []
    if dataset.layout == "utm-tree":
        more.append(("other splits", ", ".join(n for n in utm_tree.splits(path) if n != dataset.split) or "none here"))
        folders = [name for name in utm_tree.query_folders(dataset.root) if name != queries]
        more += [("other query folders", ", ".join(folders))] if folders else []
    return _report(path, dataset, problems, command, options, sample, more)


def _read(read: Callable[..., Dataset], options: dict[str, Any], shared: dict[str, Any]) -> tuple[Dataset, list[str]]:
    """The data set, and why its ground truth could not be read, if so (it is read without, then)."""
    try:
        return read(**options), []
    except DatasetError as error:
        try:
            return read(labels=False, **shared), [str(error)]
        except DatasetError:
            raise error from None


def _report(
    path: Path,
    dataset: Dataset,
    problems: list[str],
    command: list[str],
    options: dict[str, Any],
    sample: int,
    more: Sequence[tuple[str, str]] = (),
) -> Report:
    """Everything about a data set that was read; ``command`` is the beginning of the one that evaluates it."""
    findings, numbers = _findings(dataset)
    paths = [photo.path for photo in (*dataset.database, *dataset.queries)]
    opened, unreadable = _open_some(paths, sample)
    numbers["photos opened"], numbers["photos unreadable"] = opened, len(unreadable)
    findings.append(("photos", f"{opened} of {len(paths):,} opened, {len(unreadable)} unreadable"))
    problems += unreadable[:3]
    findings += [*_published(dataset), *more]
    findings += [("note", note) for note in dataset.notes]
    for name, value in options.items():
        if name != "labels" and value is not None and value is not False:  # 0 frames are a choice
            option = "--image-root" if name == "images" else f"--{name.replace('_', '-')}"
            command += [option] if value is True else [option, str(value)]
    command += [] if dataset.labelled else ["--no-labels"]
    return Report(path, tuple(findings), tuple(problems), None if problems else shlex.join(command), numbers)


def _findings(dataset: Dataset) -> tuple[list[tuple[str, str]], dict[str, Any]]:
    conditions = Counter(photo.condition or "unnamed" for photo in dataset.queries)
    numbers: dict[str, Any] = {
        "layout": dataset.layout,
        "name": dataset.name,
        "split": dataset.split,
        "database": len(dataset.database),
        "queries": len(dataset.queries),
        "conditions": dict(conditions) if set(conditions) != {"unnamed"} else {},
        "benchmark": dataset.benchmark,
        "labelled": dataset.labelled,
    }
    findings = [
        ("layout", dataset.layout),
        ("data set", f"{dataset.name} / {dataset.split} ({dataset.root})"),
        ("database", f"{len(dataset.database):,} photos, the first is {dataset.database[0].name}"),
        ("queries", f"{len(dataset.queries):,} photos, {dataset.query_order}"),
    ]
    if numbers["conditions"]:
        findings.append(("conditions", ", ".join(f"{name} {count:,}" for name, count in conditions.items())))
    findings.append(("positions", _positions((*dataset.database, *dataset.queries))))
    if not dataset.labelled:
        findings.append(("right answers", "none are used: predictions only"))
        return findings, numbers
    counts = [len(rows) for rows in dataset.positives()]
    alone = [photo.name for photo, count in zip(dataset.queries, counts, strict=True) if not count]
    numbers["truth"] = dataset.truth.label()
    numbers["queries without positives"] = len(alone)
    findings.append(("right answers", f"{dataset.truth.label()}; median {np.median(counts):g} per query"))
    example = f", the first is {alone[0]}" if alone else ""
    findings.append(("queries without positives", f"{len(alone):,}{example}"))
    return findings, numbers


def _positions(photos: Sequence[Photo]) -> str:
    known = np.array([photo.utm for photo in photos if photo.utm is not None]).reshape(-1, 2)
    if not len(known):
        return "none"
    which = "all photos" if len(known) == len(photos) else f"{len(known):,} of {len(photos):,} photos"
    if any(photo.mock_position for photo in photos):
        return f"{which}, stand-in coordinates (scored, not drawn on a map)"
    zones = sorted({photo.zone for photo in photos if photo.zone})
    east, north = np.ptp(known, axis=0) / 1000
    return f"{which}, UTM zone {', '.join(zones) or 'not stated'}, {east:.2f} km east-west, {north:.2f} km north-south"


def _published(dataset: Dataset) -> list[tuple[str, str]]:
    if dataset.benchmark is None:
        none = "none: no published data set has this folder's name and this split (--benchmark KEY names one)"
        return [("published table", none)]
    benchmark = catalogue.get(dataset.benchmark)
    differing = catalogue.differences(benchmark, dataset)
    if differing:
        return [("published table", f"none: named like {benchmark.title}, but {'; '.join(differing)}")]
    unknown = " (its counts are not known to us)" if benchmark.database is None and benchmark.queries is None else ""
    findings = [("published table", f"{benchmark.title}{unknown}: scicevpr datasets info {benchmark.key}")]
    return [*findings, ("published batch", f"{benchmark.cross_image_batch} photos (cross-image models)")]


def _open_some(photos: Sequence[Path], sample: int) -> tuple[int, list[str]]:
    rows = np.unique(np.linspace(0, len(photos) - 1, min(sample, len(photos))).astype(int))
    unreadable = []
    for row in rows:
        try:
            open_photo(photos[row])
        except ImageError as error:
            unreadable.append(str(error))
    return len(rows), unreadable


# ---- GSV-Cities: training data, counted here and read by training/ ---------------------------------------------------


@dataclass(frozen=True)
class _City:
    """rows: photos that the table lists. photos: files in the folder. usable: places of at least four photos."""

    name: str
    rows: int
    photos: int
    places: int
    usable: int


def _count_cities(root: Path) -> list[_City]:
    """Count the cities. DatasetError when there is no table, or one lacks a column."""
    import pandas as pd

    tables = sorted((root / "Dataframes").glob("*.csv"))
    if not tables:
        raise DatasetError(f"{root / 'Dataframes'} holds no CSV tables; unpack Dataframes of the release there.")
    cities = []
    for path in tables:
        try:
            table = pd.read_csv(path, dtype=str)
        except (ValueError, OSError) as error:
            raise DatasetError(f"{path} cannot be read as a CSV table ({error}). Download it again.") from error
        missing = [column for column in GSV_COLUMNS if column not in table.columns]
        if missing:
            raise DatasetError(f"{path} has no column {missing[0]!r}; needed are {', '.join(GSV_COLUMNS)}.")
        sizes = table.groupby("place_id").size()
        photos = _city_photos(root, path, table)
        cities.append(_City(path.stem, len(table), photos, len(sizes), int((sizes >= 4).sum())))
    return cities


def _city_photos(root: Path, path: Path, table: Any) -> int:
    folders = {path.stem, *table["city_id"].dropna().unique()}
    return sum(
        file.suffix.lower() in EXTENSIONS
        for name in folders
        if (root / "Images" / name).is_dir()
        for file in (root / "Images" / name).iterdir()
    )


def _check_training(path: Path) -> Report:
    cities = _count_cities(path)
    rows, photos = sum(city.rows for city in cities), sum(city.photos for city in cities)
    places, usable = sum(city.places for city in cities), sum(city.usable for city in cities)
    findings = [
        ("layout", "gsv-cities (training data, no database and queries)"),
        ("cities", f"{len(cities)}: {', '.join(city.name for city in cities)}"),
        ("photos", f"{rows:,} in the tables, {photos:,} files"),
        ("places", f"{places:,}, of which {usable:,} have at least 4 photos"),
    ]
    problems = [
        f"{city.name}: the table lists {city.rows:,} photos, Images holds {city.photos:,}. Unpack the rest."
        for city in cities
        if city.photos < city.rows
    ]
    numbers = {"layout": "gsv-cities", "cities": len(cities), "rows": rows, "photos": photos, "places": places}
    return Report(path, tuple(findings), tuple(problems), None, numbers)
