"""Describing many photos in shards: this process and a Ray cluster of this machine beside plain `describe`, in turn.

    python benchmarks/bulk.py [--photos 384] [--rounds 3] [--model scicevpr-t] [--write benchmarks/bulk.json]

Every round describes the same photos once each way, into an empty folder. The whole time is given, and the rate once
the first batch is there (what comes before it, starting workers and loading the model into them, is paid once). Memory
is what all processes together occupy (pages they share are counted once), processor time that of all of them.
Storage: descriptors of --width values as float16, written as shards with their checksums in pieces of 16 photos,
checked as after an interruption, and put together, --rows of them, on the disk of --folder.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from scicevpr.cluster.describing import LocalEngine, ShardedDescribing
from scicevpr.cluster.ray_cluster import RayEngine
from scicevpr.cluster.shards import SHARD_PHOTOS, ShardFolder, cut
from scicevpr.datasets import bundled_city
from scicevpr.descriptors.batches import Grouping
from scicevpr.descriptors.describe import describe
from scicevpr.descriptors.precision import hardware
from scicevpr.files.descriptor_files import Descriptors, save_descriptors
from scicevpr.hub.load import load_model

TICKS = os.sysconf("SC_CLK_TCK")
MIB = 2**20
BATCH = 16


class Watch:
    """Memory and processor time of this process and all it started, looked at four times a second (Linux)."""

    def __init__(self) -> None:
        self.seconds: dict[int, tuple[float, float]] = {}  # process -> (first, last) processor seconds
        self.memory: list[float] = []
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Watch:
        self._look()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()
        self._look()

    @property
    def used(self) -> float:
        """Processor seconds between the first and the last look."""
        return sum(last - first for first, last in self.seconds.values())

    def _run(self) -> None:
        while not self._end.wait(0.25):
            self._look()

    def _look(self) -> None:
        known, total = set(self.seconds), 0.0
        for process in _family(os.getpid()):
            with contextlib.suppress(OSError, ValueError, IndexError):
                fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
                used = (int(fields[11]) + int(fields[12])) / TICKS
                first = self.seconds[process][0] if process in known else (0.0 if known else used)
                self.seconds[process] = (first, used)
                rollup = Path(f"/proc/{process}/smaps_rollup").read_text()
                total += next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:")) / 1024
        self.memory.append(total)


def _family(parent: int) -> list[int]:
    """A process and all its descendants."""
    children: dict[int, list[int]] = {}
    for place in Path("/proc").iterdir():
        if place.name.isdigit():
            with contextlib.suppress(OSError, IndexError):
                above = int((place / "stat").read_text().rpartition(")")[2].split()[1])
                children.setdefault(above, []).append(int(place.name))
    found, waiting = [], [parent]
    while waiting:
        found.append(waiting.pop())
        waiting += children.get(found[-1], [])
    return found


def once(run: Callable[[Callable[[int, int], None]], Descriptors], photos: int, cores: int) -> dict[str, float]:
    """Run one way of describing and watch it."""
    marks: list[tuple[float, int]] = []
    with Watch() as watch:
        started = time.perf_counter()
        run(lambda done, _: marks.append((time.perf_counter() - started, done)))
        seconds = time.perf_counter() - started
    first = next(mark for mark in marks if mark[1])
    steady = (marks[-1][1] - first[1]) / (marks[-1][0] - first[0]) if marks[-1][1] > first[1] else photos / seconds
    quarter = watch.memory[len(watch.memory) // 4]
    return {
        "seconds": seconds,
        "seconds until the first batch": first[0],
        "photos a second after it": steady,
        "share of the cores busy": watch.used / seconds / cores,
        "MiB of memory (largest)": max(watch.memory),
        "MiB more than after a quarter of the time": max(watch.memory) - quarter,
    }


def describing(name: str, photos: int, rounds: int, cores: int, folder: Path) -> dict[str, Any]:
    """Medians over the rounds, for every way."""
    model, paths = load_model(name), [place.path for place in bundled_city().database]
    paths = [paths[i % len(paths)] for i in range(photos)]
    engines: dict[str, Any] = {
        "plain describe": None,
        "shards, this process": LocalEngine(),
        "Ray, 1 worker": RayEngine(workers=1),
        f"Ray, {cores} workers": RayEngine(workers=cores),
    }
    found: dict[str, list[dict[str, float]]] = {title: [] for title in engines}
    values: dict[str, np.ndarray] = {}
    started = time.perf_counter()
    with RayEngine(workers=cores).connected():
        start = time.perf_counter() - started
        describe(model, paths[:BATCH])
        for number in range(rounds):
            for title, engine in engines.items():
                place = folder / f"{number}-{title}"

                def run(step: Callable[[int, int], None], engine: Any = engine, place: Path = place) -> Descriptors:
                    if engine is None:
                        return describe(model, paths, progress=step)
                    return ShardedDescribing(place, engine, 64, "float32")(model, paths, progress=step)

                def kept(step: Any, run: Any = run, title: str = title) -> Descriptors:
                    described = run(step)
                    values[title] = described.values
                    return described

                found[title].append(once(kept, photos, cores))
                _say(f"{number} {title}: {found[title][-1]}")
    plain = values["plain describe"]
    rows = {
        title: {word: round(statistics.median(one[word] for one in each), 2) for word in each[0]}
        | {"largest difference from plain": float(np.abs(values[title] - plain).max())}
        for title, each in found.items()
    }
    return {
        "model": name,
        "photos": photos,
        "photos in a shard": 64,
        "rounds": rounds,
        "threads of this process": torch.get_num_threads(),
        "threads of a worker": 1,
        "seconds to start the cluster": round(start, 1),
        "ways": rows,
    }


def storage(rows: int, width: int, folder: Path) -> dict[str, Any]:
    """What the shards cost besides describing."""
    block = np.random.default_rng(0).standard_normal((BATCH, width), dtype=np.float32)
    block = (block / np.linalg.norm(block, axis=1, keepdims=True)).astype(np.float16)
    shards, paths = cut(Grouping.sequential(BATCH).split(rows), SHARD_PHOTOS), [__file__] * rows
    seconds: dict[str, float] = {}
    with ShardFolder(folder / "storage", shards, paths, width, "float16") as kept:
        started = time.perf_counter()
        for shard in shards:
            with kept.store(shard) as store:
                for start in range(0, len(shard.rows), BATCH):
                    size = min(BATCH, len(shard.rows) - start)
                    store.write(range(start, start + size), block[:size])
                store.finish()
            kept.finish(shard, {})
        seconds["written with checksums"] = time.perf_counter() - started
    started = time.perf_counter()
    with ShardFolder(folder / "storage", shards, paths, width, "float16") as kept:
        seconds["checked on a restart"] = time.perf_counter() - started
        started = time.perf_counter()
        values = kept.collect(folder)
        seconds["put together"] = time.perf_counter() - started
    described = Descriptors(values, "x", "x", "x", False, "x", {}, "cpu", "float32", 0.0)
    started = time.perf_counter()
    save_descriptors(folder / "pack.safetensors", described, ["photo"] * rows)
    seconds["saved as a pack's file"] = time.perf_counter() - started
    return {
        "rows": rows,
        "values a descriptor": width,
        "bytes a photo": 2 * width,
        "photos a second": {word: round(rows / value) for word, value in seconds.items()},
        "MB a second": {word: round(2 * width * rows / value / 1e6) for word, value in seconds.items()},
    }


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--photos", type=int, default=384)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", default="scicevpr-t")
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--width", type=int, default=10_752)
    parser.add_argument("--folder", type=Path, help="where shards lie for a while (default: the temporary folder)")
    parser.add_argument("--write", type=Path, metavar="FILE", help="also write the JSON here")
    options = parser.parse_args()
    cores, load = len(os.sched_getaffinity(0)), os.getloadavg()[0]
    torch.set_num_threads(cores)
    with tempfile.TemporaryDirectory(dir=options.folder) as temporary:
        result = {
            "machine": hardware(),
            "versions": {name: version(name) for name in ("ray", "numpy")},
            "load when it began": round(load, 1),
            "describing": describing(options.model, options.photos, options.rounds, cores, Path(temporary)),
            "storage": storage(options.rows, options.width, Path(temporary)),
        }
    text = json.dumps(result, indent=1)
    print(text)
    if options.write:
        options.write.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
