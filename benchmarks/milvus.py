"""Milvus Lite beside exact FAISS search on the bundled city: rows loaded a second, milliseconds a query.

    python benchmarks/milvus.py [--rounds 30] [--loads 3] [--queries 270] [--threads 2] > benchmarks/milvus.json

Needs the extra `milvus`. The file lies in a temporary folder (--folder) and is deleted afterwards. Queries are the
city's own, described here; each round asks the same single query of each way of searching in turn, and the answers
of Milvus are compared with the exact ones. No network lies between this process and Milvus Lite: a server is another
matter.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from scicevpr.config import assets_folder
from scicevpr.datasets import Dataset, bundled_city
from scicevpr.descriptors.describe import describe
from scicevpr.files.descriptor_files import load_descriptors
from scicevpr.hub.load import load_model
from scicevpr.milvus.index import MilvusIndex
from scicevpr.retrieval.exact import ExactIndex

MODELS = ("scicevpr-t", "cricavpr-t")
TOP = 10
METRES = 100.0


def measure(name: str, city: Dataset, folder: Path, rounds: int, loads: int) -> dict[str, object]:
    """One model's database: loading, then searching by turns."""
    path = assets_folder() / "descriptors" / f"procity-test.{name}.safetensors"
    stored, _ = load_descriptors(path, names=[place.name for place in city.database])
    queries = describe(load_model(name), [place.path for place in city.queries]).values
    seconds = []
    for number in range(loads):
        with MilvusIndex.open(str(folder / f"{name}-{number}.db")) as index:
            started = time.perf_counter()
            index.load(stored, city)
            seconds.append(time.perf_counter() - started)
    exact = ExactIndex(stored.values)
    with MilvusIndex.open(str(folder / f"{name}-0.db")) as index:
        ways = {
            "exact FAISS": lambda query, place: exact.search(query, TOP),
            "Milvus Lite, FLAT, re-ranked": lambda query, place: index.search(query, TOP),
            f"the same, within {METRES:g} m": lambda query, place: index.search(query, TOP, near=(*place.utm, METRES)),
        }
        times: dict[str, list[float]] = {title: [] for title in ways}
        for number in range(rounds + 2):  # the first two warm up
            row = number % len(queries)
            for title, search in ways.items():
                started = time.perf_counter()
                search(queries[row : row + 1], city.queries[row])
                times[title].append(1000 * (time.perf_counter() - started))
        same = index.search(queries, TOP).indices == exact.search(queries, TOP).indices
        label = index.label
    medians = {title: statistics.median(found[2:]) for title, found in times.items()}
    return {
        "rows": len(stored.values),
        "values a descriptor": stored.values.shape[1],
        "index": label,
        "rows loaded a second (median)": round(len(stored.values) / statistics.median(seconds)),
        "milliseconds a query (median)": {title: round(value, 2) for title, value in medians.items()},
        "queries": len(queries),
        "queries with the same ten rows as exact search": int(same.all(axis=1).sum()),
    }


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--loads", type=int, default=3)
    parser.add_argument("--queries", type=int, default=270, help="of the city's, evenly chosen")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--note", default="", help="kept with the result, such as that the machine was busy")
    parser.add_argument("--folder", type=Path, help="where the file lies for a while (default: the temporary folder)")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    city = bundled_city()
    chosen = np.linspace(0, len(city.queries) - 1, min(options.queries, len(city.queries))).astype(int)
    city = city.select_queries(chosen, f"{len(chosen)} of {len(city.queries)}")
    with tempfile.TemporaryDirectory(dir=options.folder) as temporary:
        found = {name: measure(name, city, Path(temporary), options.rounds, options.loads) for name in MODELS}
    result = {
        "bundled city": found,
        **({"note": options.note} if options.note else {}),
        "matches a query": TOP,
        "rounds": options.rounds,
        "loads": options.loads,
        "threads": options.threads,
        "versions": {"python": platform.python_version()}
        | {name: version(name) for name in ("pymilvus", "milvus-lite", "faiss-cpu", "numpy")},
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
    }
    json.dump(result, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
