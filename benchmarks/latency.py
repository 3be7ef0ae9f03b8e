"""Time to describe one photo on the CPU: SciceVPR-T beside CricaVPR-T, SciceVPR-S and HOG, measured in turn in one run.

    python benchmarks/latency.py [--rounds 15] [--threads 2] > benchmarks/latency.json

Every round describes the same photo once with each; the medians and their ratios to SciceVPR-T are printed as JSON.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from scicevpr.datasets import bundled_city
from scicevpr.descriptors.batches import Grouping
from scicevpr.descriptors.describe import describe
from scicevpr.evaluation.baselines import BASELINES
from scicevpr.hub.load import load_model
from scicevpr.models.model import build_model


def describers(photo: Path) -> dict[str, Callable[[], object]]:
    """What is timed, by title: open, prepare and describe one photo."""
    small = build_model("scicevpr-s")
    small.allow_untrained = True
    models = {"SciceVPR-T": load_model("scicevpr-t"), "CricaVPR-T, alone": load_model("cricavpr-t")}
    models["SciceVPR-S (random weights)"] = small
    timed: dict[str, Callable[[], object]] = {
        title: lambda model=model: describe(model, [photo], grouping=Grouping.alone())
        for title, model in models.items()
    }
    timed["HOG"] = lambda: BASELINES["hog"].describe([photo])
    return timed


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    timed = describers(bundled_city().queries[0].path)
    seconds: dict[str, list[float]] = {title: [] for title in timed}
    for _ in range(options.rounds + 2):  # the first two warm up
        for title, run in timed.items():
            started = time.perf_counter()
            run()
            seconds[title].append(time.perf_counter() - started)
    medians = {title: 1000 * statistics.median(values[2:]) for title, values in seconds.items()}
    result = {
        "milliseconds a photo (median)": {title: round(value, 1) for title, value in medians.items()},
        "times SciceVPR-T": {title: round(value / medians["SciceVPR-T"], 2) for title, value in medians.items()},
        "rounds": options.rounds,
        "threads": options.threads,
        "torch": torch.__version__,
        "processor": platform.processor() or platform.machine(),
    }
    json.dump(result, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
