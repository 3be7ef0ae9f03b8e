"""Searching in 1,000 to 1,000,000 descriptors of 10,752 values: time, memory, agreement with exact search.

    python benchmarks/search.py tiers   [--sizes 1000 10000 100000]  single queries, the tiers side by side
    python benchmarks/search.py generate | build | measure           the large run (--rows 1000000), stage by stage
    python benchmarks/search.py draw                                 benchmarks/search.svg from what was measured
    python benchmarks/search.py all                                  all of these

The descriptors come from benchmarks/synthetic_city.py and lie in --folder (by default vpr-bench in the temporary
folder: a real disk with room for 24 GB; --clean deletes it). Every stage writes what it measured into
benchmarks/search.json beside what the others wrote, so each can be run alone; generate and build go on where they were
stopped. Single queries are timed one after the other, each with another query, the tiers in turn; every stage is a
process of its own, on --threads cores.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any

RESULT = Path(__file__).with_suffix(".json")
WIDTH = 10_752
SIZES = (1_000, 3_000, 10_000, 30_000, 100_000)
TIERS = ("exact", "float16", "int8", "ivf-pq")
LISTS_FROM = 10_000  # rows; fewer are searched exactly in no time
K = 10
AGREEMENT_QUERIES = 500
GIB = 2**30


def generate(path: Path, rows: int, width: int, threads: int) -> dict[str, Any]:
    """Write a .npy file of float16 descriptors chunk by chunk; goes on where it was stopped."""
    import numpy as np
    from synthetic_city import CHUNK, City

    city, mark = City(rows, width), path.with_suffix(".chunks")
    chunks = math.ceil(rows / CHUNK)
    done = int(mark.read_text()) if path.exists() and mark.exists() else 0
    if done >= chunks:
        return {"data": city.label, "rows made in this call": 0, "seconds": 0.0}
    values = np.lib.format.open_memmap(path, "r+" if done else "w+", np.float16, (rows, width))
    started, made = time.perf_counter(), 0
    with ThreadPoolExecutor(threads) as pool:
        for first in range(done, chunks, threads):
            numbers = range(first, min(first + threads, chunks))
            for number, block in zip(
                numbers, pool.map(lambda n: city.chunk(n).astype(np.float16), numbers), strict=True
            ):
                values[number * CHUNK : number * CHUNK + len(block)] = block
                made += len(block)
            values.flush()
            mark.write_text(str(numbers.stop))
            _say(f"generate: {min(numbers.stop * CHUNK, rows):,} of {rows:,}")
    seconds = time.perf_counter() - started
    return {"data": city.label, "rows made in this call": made, "seconds": round(seconds, 1)}


def build(folder: Path, path: Path, tier: str) -> dict[str, Any]:
    """Build (or go on building) an index on disk, and say what came out."""
    from scicevpr.retrieval.factory import build_index
    from scicevpr.retrieval.stored_index import open_index

    out, started, last = folder / f"{path.stem}-{tier}", time.perf_counter(), [""]

    def tell(stage: str, done: int, total: int) -> None:
        if done == total or stage != last[0] or done % 20_000 < 2_048:
            _say(f"build: {stage} {done:,} of {total:,} ({time.perf_counter() - started:.0f} s)")
        last[0] = stage

    index = open_index(out) if out.exists() else build_index(out, path, tier, progress=tell)
    return {
        "seconds of this call": round(time.perf_counter() - started, 1),
        "peak memory, GiB": round(_memory("VmHWM") / GIB, 2),
        "label": index.label,
        "settings": dict(index.manifest.settings),
        "agreement at the build": dict(index.manifest.agreement),
        "facts": _facts(index),
    }


def tiers(folder: Path, sizes: list[int], width: int, rounds: int, threads: int) -> list[dict[str, Any]]:
    """Single queries by every tier that fits, in turn, at each size; the answers compared with the exact ones."""
    import numpy as np
    from synthetic_city import City

    from scicevpr.retrieval.factory import make_index

    results = []
    for size in sizes:
        path = folder / f"{size}.npy"
        if _unfinished(path, size):
            generate(path, size, width, threads)
        queries = City(size, width).queries(max(rounds, 20) + 2)[0]
        mapped = np.load(path, mmap_mode="r")
        indexes = {}
        for tier in TIERS:
            if tier == "ivf-pq" and size < LISTS_FROM:
                continue
            started = time.perf_counter()
            where = {"folder": folder / f"{size}-ivf-pq"} if tier == "ivf-pq" else {}
            indexes[tier] = make_index(mapped, tier, **where), time.perf_counter() - started
            _say(f"tiers: {size:,} {tier} ready")
        seconds, answers = _in_turn({tier: index for tier, (index, _) in indexes.items()}, queries, rounds)
        row: dict[str, Any] = {"rows": size}
        for tier, (index, ready) in indexes.items():
            row[tier] = {
                "label": index.label,
                "milliseconds a query (median)": _ms(statistics.median(seconds[tier])),
                "milliseconds a query (slowest)": _ms(max(seconds[tier])),
                "seconds to make": round(ready, 1),
                "in memory": index.metadata()["in memory"],
                "same first answer as exact": _share(
                    [a[0] == b[0] for a, b in zip(answers[tier], answers["exact"], strict=True)]
                ),
                "ten best as exact": _overlap(answers[tier], answers["exact"]),
            }
        results.append(row)
        _say(json.dumps(row, indent=1))
    return results


def measure(folder: Path, path: Path, width: int, queries: int, rounds: int) -> dict[str, Any]:
    """The large index in this process: memory, single queries warm and cold, agreement with streamed exact search."""
    import numpy as np
    from synthetic_city import City

    from scicevpr.retrieval.exact import ExactIndex
    from scicevpr.retrieval.stored_index import open_index

    rows = len(np.load(path, mmap_mode="r"))
    before = _memory("VmRSS")
    started = time.perf_counter()
    index = open_index(folder / f"{path.stem}-ivf-pq")
    opened = time.perf_counter() - started
    asked = City(rows, width).queries(queries)[0]
    index.search(asked[:2], K)
    _forget(path)
    cold, warm, found = [], [], []
    for query in asked:
        started = time.perf_counter()
        index.search(query[None], K)
        cold.append(time.perf_counter() - started)
        if len(cold) >= rounds:
            break
    for query in asked[:rounds]:
        started = time.perf_counter()
        index.search(query[None], K)
        warm.append(time.perf_counter() - started)
    resident, peak = _memory("VmRSS"), _memory("VmHWM")
    result = {
        "rows": rows,
        "label": index.label,
        "seconds to open and verify": round(opened, 2),
        "resident memory, GiB (whole process)": round(resident / GIB, 2),
        "of it before opening, GiB": round(before / GIB, 2),
        "peak memory, GiB": round(peak / GIB, 2),
        "milliseconds a query, descriptors in the file cache (median)": _ms(statistics.median(warm)),
        "milliseconds a query, descriptors in the file cache (95 of 100)": _ms(_quantile(warm, 0.95)),
        "milliseconds a query, descriptors on the disk (median)": _ms(statistics.median(cold)),
        "milliseconds a query, descriptors on the disk (95 of 100)": _ms(_quantile(cold, 0.95)),
    }
    _say(json.dumps(result, indent=1))
    found = index.search(asked, K).indices
    known = folder / f"{path.stem}-exact-{queries}.npy"
    started = time.perf_counter()
    if not known.exists():
        _say("measure: streamed exact search as the reference")
        exact = ExactIndex(index.rows(), checked=True).search(asked, K).indices
        np.save(known, exact)
        result["seconds of streamed exact search (all queries)"] = round(time.perf_counter() - started, 1)
    exact = np.load(known)
    return result | {
        "queries for the agreement": queries,
        "first answer as exact": _share((exact[:, 0] == found[:, 0]).tolist()),
        "ten best as exact": _overlap(found.tolist(), exact.tolist()),
        "facts": _facts(index),
    }


def _in_turn(
    indexes: dict[str, Any], queries: Any, rounds: int
) -> tuple[dict[str, list[float]], dict[str, list[list[int]]]]:
    seconds: dict[str, list[float]] = {tier: [] for tier in indexes}
    answers: dict[str, list[list[int]]] = {tier: [] for tier in indexes}
    for number in range(rounds + 2):  # the first two warm up
        for tier, index in indexes.items():
            started = time.perf_counter()
            found = index.search(queries[number : number + 1], K)
            seconds[tier].append(time.perf_counter() - started)
            answers[tier].append(found.indices[0].tolist())
    return {tier: values[2:] for tier, values in seconds.items()}, answers


def _facts(index: Any) -> dict[str, str]:
    return {name: words.split(" in ")[0] for name, words in index.metadata().items()}  # without the folder


def _ms(seconds: float) -> float:
    return round(1000 * seconds, 2)


def _share(same: list[bool]) -> float:
    return round(sum(map(bool, same)) / len(same), 4)


def _overlap(found: list[list[int]], exact: list[list[int]]) -> float:
    """Mean share of the exact answers that were found."""
    return round(statistics.mean(len(set(a) & set(b)) / K for a, b in zip(found, exact, strict=True)), 4)


def _quantile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def _memory(what: str) -> int:
    """VmRSS (in use now) or VmHWM (at most so far) of this process, bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(what))


def _forget(path: Path) -> None:
    """Ask the system to drop a file from its cache."""
    with path.open("rb") as stream:
        os.fsync(stream.fileno())
        os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _unfinished(path: Path, rows: int) -> bool:
    from synthetic_city import CHUNK

    mark = path.with_suffix(".chunks")
    return not mark.exists() or int(mark.read_text()) * CHUNK < rows


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _keep(name: str, found: Any, options: argparse.Namespace) -> None:
    """Write what a stage measured into the result, with the machine it was measured on."""
    from scicevpr.descriptors.precision import hardware

    content = json.loads(options.result.read_text()) if options.result.exists() else {}
    content[name] = {
        "measured": found,
        "values a descriptor": options.width,
        "threads": options.threads,
        "machine": {
            **hardware(),
            "load when it began": options.load,
            **{package: version(package) for package in ("numpy", "faiss-cpu")},
        },
    }
    options.result.write_text(json.dumps(content, indent=1) + "\n")
    _say(f"{name}: written to {options.result}")


def _stages(options: argparse.Namespace) -> dict[str, Callable[[], Any]]:
    large = options.folder / f"{options.rows}.npy"
    return {
        "tiers": lambda: tiers(options.folder, options.sizes, options.width, options.rounds, options.threads),
        "generate": lambda: generate(large, options.rows, options.width, options.threads),
        "build": lambda: build(options.folder, large, "ivf-pq"),
        "measure": lambda: measure(options.folder, large, options.width, options.queries, options.rounds),
    }


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("stage", choices=("tiers", "generate", "build", "measure", "draw", "all"))
    parser.add_argument("--rows", type=int, default=1_000_000, help="of the large run")
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--width", type=int, default=WIDTH)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--queries", type=int, default=AGREEMENT_QUERIES, help="for the agreement of the large run")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "vpr-bench")
    parser.add_argument("--result", type=Path, default=RESULT)
    parser.add_argument("--clean", action="store_true", help="delete the folder at the end")
    parser.add_argument("--here", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    if options.here:  # a stage in a process of its own
        import faiss
        import torch

        torch.set_num_threads(options.threads)
        faiss.omp_set_num_threads(options.threads)
        options.load = round(os.getloadavg()[0], 1)
        name = options.here if options.here == "tiers" else f"large {options.here}"
        _keep(name, _stages(options)[options.here](), options)
        return
    parts = ("tiers", "generate", "build", "measure")
    environment = {**os.environ, "OMP_NUM_THREADS": str(options.threads), "OPENBLAS_NUM_THREADS": str(options.threads)}
    for part in parts if options.stage == "all" else {options.stage} - {"draw"}:
        subprocess.run([sys.executable, __file__, *sys.argv[1:], "--here", part], check=True, env=environment)
    if options.stage in ("draw", "all"):
        from search_curve import draw

        draw(options.result, TIERS)
    if options.clean:
        shutil.rmtree(options.folder)


if __name__ == "__main__":
    main()
