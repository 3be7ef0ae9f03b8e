"""Photograph cities into a dataset folder: photos named by their place, and one CSV a split.

    <out>/images/<split>/{database,queries}/@east@north@...@.jpg
    <out>/images/<split>/procity.csv

Photos of training places all lie in `database`; their place id is the pano id of the name and a column of the CSV.
"""

from __future__ import annotations

import csv
import itertools
import logging
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scicevpr.datasets import format_name
from scicevpr.datasets.zones import latitude_letter, to_latitude_longitude
from scicevpr.errors import DatasetError
from training.procity.atlas import build_atlas
from training.procity.conditions import get_condition
from training.procity.plan import City, build_city
from training.procity.presets import UTM_ZONE, Preset, city_origin
from training.procity.sampler import Sampler, Shot

LOG = logging.getLogger(__name__)
WIDTH, HEIGHT = 320, 240
# fmt: off
COLUMNS = (
    "file", "split", "role", "query_set", "city", "place_id", "east", "north", "heading", "pitch", "fov", "condition",
    "season", "viewpoint", "traffic", "camera", "era", "covered", "timestamp", "visit", "width", "height",
)
# fmt: on
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Task:
    """A share of one city for one worker."""

    preset: Preset
    city: int
    seed: int
    part: int
    parts: int
    out: Path


def preset_shots(preset: Preset, city: City, number: int, seed: int) -> list[Shot]:
    """All shots of one city of a preset: training places, then database, then queries."""
    sampler = Sampler(city, f"c{number}", seed * 1000 + number)
    shots = sampler.training(preset.places, preset.visits) if preset.places else []
    if preset.database:
        database = sampler.database(preset.database, preset.database_step)
        shots += database + sampler.queries(database, preset.queries)
    return shots


def photo_folder(shot: Shot, split: str) -> tuple[str, str]:
    """The split and the folder of a photo: photos of training places go to train/database, whatever the preset."""
    return ("train", "database") if shot.role == "train" else (split, shot.role)


def photo_path(shot: Shot, split: str, city: int) -> Path:
    """Where a photo goes, relative to the dataset folder; the name holds UTM metres, place, moment and condition."""
    east, north = photo_position(shot, city)
    latitude, longitude = to_latitude_longitude(east, north, UTM_ZONE)
    name = format_name(
        east=east,
        north=north,
        zone_number=UTM_ZONE,
        zone_letter=latitude_letter(latitude),
        latitude=latitude,
        longitude=longitude,
        pano_id=shot.place_id,
        tile=shot.number,
        heading=shot.yaw,
        pitch=shot.pitch,
        timestamp=shot.timestamp,
        note=shot.label,
    )
    return Path("images", *photo_folder(shot, split), name)


def photo_position(shot: Shot, city: int) -> tuple[float, float]:
    """UTM metres (east, north) of a shot, to the centimetre like the file name."""
    east, north = city_origin(city)
    return round(east + shot.x, 2), round(north + shot.y, 2)


def csv_row(shot: Shot, split: str, city: int) -> dict[str, Any]:
    """One row of procity.csv."""
    east, north = photo_position(shot, city)
    split_of_photo, folder = photo_folder(shot, split)
    return {
        "file": photo_path(shot, split, city).as_posix(),
        "split": split_of_photo,
        "role": folder,
        "query_set": shot.query_set,
        "city": f"c{city}",
        "place_id": shot.place_id,
        "east": f"{east:.2f}",
        "north": f"{north:.2f}",
        "heading": f"{shot.yaw:.1f}",
        "pitch": f"{shot.pitch:.1f}",
        "fov": f"{shot.fov:.1f}",
        "condition": shot.condition,
        "season": get_condition(shot.condition).season_name,
        "viewpoint": shot.tier,
        "traffic": shot.traffic,
        "camera": shot.camera,
        "era": shot.era,
        "covered": int(shot.covered),
        "timestamp": shot.timestamp,
        "visit": shot.visit,
        "width": WIDTH,
        "height": HEIGHT,
    }


def write_photo(path: Path, jpeg: bytes) -> None:
    """Write a whole file or none: an interrupted run leaves no half photos."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    part.write_bytes(jpeg)
    part.replace(path)


_counter: Any = None  # photos done by all workers, shared with the parent


def _start_worker(counter: Any) -> None:
    global _counter
    _counter = counter


def _count_photo() -> None:
    with _counter.get_lock():
        _counter.value += 1


def _work(task: Task, on_photo: Callable[[], None] = _count_photo) -> list[dict[str, Any]]:
    """Render the task's share of its city; returns the CSV rows. Calls `on_photo` after each photo."""
    from training.procity.renderer import Renderer

    preset = task.preset
    atlas = build_atlas(task.city)
    city = build_city(atlas, task.city, *preset.blocks)
    shots = preset_shots(preset, city, task.city, task.seed)
    paths = [photo_path(shot, preset.split, task.city) for shot in shots]
    if len(set(paths)) != len(paths):
        raise DatasetError(f"two photos of city {task.city} have the same name; choose another --seed")
    renderer: Renderer | None = None
    rows = []
    for shot, path in list(zip(shots, paths, strict=True))[task.part :: task.parts]:
        if not (task.out / path).exists():
            renderer = renderer or Renderer(atlas, city, WIDTH, HEIGHT, preset.supersampling)
            write_photo(task.out / path, renderer.jpeg(shot))
        rows.append(csv_row(shot, preset.split, task.city))
        on_photo()
    return rows


def photos_of(preset: Preset) -> int:
    """How many photos a preset gives."""
    queries = sum(query_set.count for query_set in preset.queries) if preset.database else 0
    return len(preset.cities) * (preset.places * preset.visits + preset.database + queries)


def render_dataset(
    out: Path,
    preset: Preset,
    *,
    seed: int = 0,
    workers: int = 2,
    progress: Progress | None = None,
    log_seconds: float = 60.0,
) -> list[Path]:
    """Render a preset into a folder and return its tables. Photos that exist are kept: a cut run can be taken up again.

    Args:
        out: the dataset folder.
        preset: which cities, how many photos.
        seed: of the places and visits; the cities' own seeds are part of the preset.
        workers: processes; several get one software-rendering thread each, which is faster than sharing threads.
        progress: called with (photos done, photos in all) about once a second.
        log_seconds: time between two log lines with the rate.
    """
    total = photos_of(preset)
    parts = 1 if len(preset.cities) >= workers else workers
    tasks = [Task(preset, city, seed, part, parts, out) for city in preset.cities for part in range(parts)]
    rows: dict[tuple[int, int], list[dict[str, Any]]] = {}
    started = logged = time.monotonic()

    def report(done: int, last: bool = False) -> None:
        nonlocal logged
        now = time.monotonic()
        if progress:
            progress(done, total)
        if last or now - logged >= log_seconds:
            logged = now
            LOG.info("%s: %d of %d photos, %.2f photos/s", preset.name, done, total, done / max(now - started, 1e-3))

    if workers <= 1:
        done = itertools.count(1)
        for task in tasks:
            rows[task.city, task.part] = _work(task, lambda: report(next(done)))
    else:
        spawn = multiprocessing.get_context("spawn")
        counter = spawn.Value("q", 0)
        pool_of_workers = ProcessPoolExecutor(workers, mp_context=spawn, initializer=_start_worker, initargs=(counter,))
        with _environment(LP_NUM_THREADS="1", OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1"), pool_of_workers as pool:
            waiting = {pool.submit(_work, task): task for task in tasks}
            try:
                while waiting:
                    finished, _ = wait(waiting, timeout=1.0, return_when=FIRST_COMPLETED)
                    for future in finished:
                        task = waiting.pop(future)
                        rows[task.city, task.part] = future.result()
                    report(counter.value)
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
    every = [row for key in sorted(rows) for row in rows[key]]
    report(len(every), last=True)
    splits = sorted({row["split"] for row in every})
    return [
        write_csv(out / "images" / split / "procity.csv", [row for row in every if row["split"] == split])
        for split in splits
    ]


def write_csv(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    """Write the table of a split, sorted by file; rows of other cities that it holds already are kept."""
    path.parent.mkdir(parents=True, exist_ok=True)
    every = {row["file"]: row for row in read_csv(path)} if path.exists() else {}
    every.update({row["file"]: row for row in rows})
    part = path.with_suffix(".csv.part")
    with part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(every[name] for name in sorted(every))
    part.replace(path)
    return path


def read_csv(path: Path) -> list[dict[str, str]]:
    """The rows of a procity.csv."""
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if tuple(reader.fieldnames or ()) != COLUMNS:
            raise DatasetError(
                f"{path} has the columns {reader.fieldnames}, not {list(COLUMNS)}; delete it and render again"
            )
        return list(reader)


@contextmanager
def _environment(**values: str) -> Iterator[None]:
    """Environment variables for the processes started inside a `with`."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
