"""Time to describe a photo: precision modes beside the plain model, with one photo and with batches, in one run.

    python benchmarks/describing.py [--models scicevpr-b ...] [--modes int8 ...] [--batches 1 16] [--rounds 5]
        [--threads 2] [--output benchmarks/describing.json]

"plain" is this project's float32 model as a straightforward torch module, which stands in for the published
implementation. What is compared runs in turn: each round times every mode once. T has its bundled weights; S and B have
random ones, which take the same time. Timed: the model alone on prepared photos; for T also `describe` on files, with
decoding and resizing. "Many": 16 photos in 4 batches as `describe` takes many photos, a thread a batch, beside the
plain model with all threads on one batch after the other. Beside it the rate at which this machine multiplies matrices
in float32 and bfloat16 (the best of several, taken after each batch size), and which share of it the model reaches with
all its operations.
Bulk: `describe` on the bundled database, with the share of time that the cores were busy and the growth of memory.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from scicevpr.datasets import bundled_city
from scicevpr.descriptors.batches import in_parallel_batches, parallel_batches_for
from scicevpr.descriptors.describe import describe
from scicevpr.descriptors.precision import hardware, runner
from scicevpr.descriptors.preprocessing import prepare
from scicevpr.evaluation.precision_cost import available_modes
from scicevpr.hub.load import load_model
from scicevpr.models.model import VPRModel, build_model
from scicevpr.models.weights import bundled_weights

RATES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def open_model(name: str) -> VPRModel:
    """A model with its bundled weights, or with random ones."""
    if name in bundled_weights():
        return load_model(name)
    model = build_model(name)
    model.allow_untrained = True
    return model


def best_rate(dtype: torch.dtype, rounds: int = 5, rows: int = 2056, width: int = 1536) -> float:
    """Billions of operations a second of a large matrix product: the best of some rounds."""
    a, b = torch.randn(rows, width).to(dtype), torch.randn(width, width).to(dtype)
    work, best = 2e-9 * rows * width * width, 0.0  # a multiplication and an addition count as two
    with torch.inference_mode():
        torch.nn.functional.linear(a, b)
        for _ in range(rounds):
            started = time.perf_counter()
            torch.nn.functional.linear(a, b)
            best = max(best, work / (time.perf_counter() - started))
    return best


def count_operations(model: nn.Module, photo: torch.Tensor) -> float:
    """Billions of operations for one photo: products in linear layers, convolutions and attention."""
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        model(photo)
    return counter.get_total_flops() / 1e9


def in_turn(timed: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median seconds of each; the first round warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in timed}
    for turn in range(rounds + 1):
        for name, run in timed.items():
            started = time.perf_counter()
            run()
            if turn:
                seconds[name].append(time.perf_counter() - started)
    return {name: statistics.median(values) for name, values in seconds.items()}


def measure_model(name: str, modes: list[str], batches: list[int], rounds: int, photos: list[Path]) -> dict[str, Any]:
    """One model in all modes."""
    model = open_model(name)
    work = count_operations(model, prepare(photos[:1], model.variant.preprocessing))
    runners = {"plain": model} | {mode: runner(model, mode) for mode in modes}
    rates = dict.fromkeys(RATES, 0.0)
    rows: dict[str, dict[str, float]] = {mode: {} for mode in runners}
    with torch.inference_mode():
        for size in batches:
            batch = prepare([photos[i % len(photos)] for i in range(size)], model.variant.preprocessing)
            turns = rounds if size > 1 else 3 * rounds
            found = in_turn({mode: lambda run=run, x=batch: run(x) for mode, run in runners.items()}, turns)
            for kind, dtype in RATES.items():
                rates[kind] = max(rates[kind], best_rate(dtype))
            for mode, seconds in found.items():
                rows[mode][f"ms a photo, batch {size}"] = round(1000 * seconds / size, 1)
                rows[mode][f"times plain, batch {size}"] = round(found["plain"] / seconds, 2)
        pieces = prepare([photos[i % len(photos)] for i in range(16)], model.variant.preprocessing).split(4)
        lanes = parallel_batches_for(len(pieces), torch.device("cpu"))
        ways = {
            mode: lambda run=run, lanes=1 if mode == "plain" else lanes: list(in_parallel_batches(run, pieces, lanes))
            for mode, run in runners.items()
        }
        found = in_turn(ways, rounds)
        for mode, seconds in found.items():
            rows[mode]["ms a photo, many"] = round(1000 * seconds / 16, 1)
            rows[mode]["times plain, many"] = round(found["plain"] / seconds, 2)
    for mode, row in rows.items():
        rate = rates["bfloat16" if mode == "bfloat16" else "float32"]
        for size in batches:
            share = 1000 * work / row[f"ms a photo, batch {size}"] / rate
            if mode != "int8":
                row[f"share of the matrix rate, batch {size}"] = round(share, 2)
        if {1, 16} <= set(batches):
            row["batch 1 / batch 16"] = round(row["ms a photo, batch 1"] / row["ms a photo, batch 16"], 2)
    result: dict[str, Any] = {
        "weights": model.weights.sha256 if model.weights is not None else "random",
        "billion operations a photo": round(work, 1),
        "matrix rate, billion operations a second": {kind: round(rate) for kind, rate in rates.items()},
        "modes": rows,
    }
    if name in bundled_weights():
        files = {"plain": None} | {mode: mode for mode in modes}
        timed = {
            word: lambda mode=mode: describe(model, photos[:1], precision=mode, batch_size=1)
            for word, mode in files.items()
        }
        found = in_turn(timed, 3 * rounds)
        result["ms a photo from its file"] = {mode: round(1000 * value, 1) for mode, value in found.items()}
    return result


def measure_bulk(name: str, mode: str, photos: list[Path], threads: int) -> dict[str, Any]:
    """Describe many files: photos a second, how busy the cores were, how memory grew from the first third on."""
    model = open_model(name)
    describe(model, photos[:32], precision=mode)
    memory: list[int] = []
    gc.collect()

    def note(done: int, total: int) -> None:
        memory.append(_resident())

    started, used = time.perf_counter(), _processor_seconds()
    described = describe(model, photos, precision=mode, progress=note)
    seconds, busy = time.perf_counter() - started, _processor_seconds() - used
    values = described.values.nbytes / 2**20
    third = memory[len(memory) // 3]
    return {
        "model": name,
        "precision": mode,
        "photos": len(photos),
        "photos a second": round(len(photos) / seconds, 1),
        "cores busy": round(busy / seconds / threads, 2),
        "MiB more from a third on": round((max(memory) - third) / 2**20, 1),
        "of which descriptors, MiB": round(values * 2 / 3, 1),
    }


def _processor_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _resident() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--models", nargs="+", default=["scicevpr-t", "scicevpr-s", "scicevpr-b"], metavar="NAME")
    parser.add_argument("--modes", nargs="+", metavar="MODE", help="default: all that this machine has")
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 16], metavar="N")
    parser.add_argument("--rounds", type=int, default=5, help="of batches; single photos have three times as many")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--bulk", type=int, default=400, metavar="N", help="photos of the bulk run; 0 leaves it out")
    parser.add_argument("--output", type=Path, metavar="FILE", help="also write the JSON here")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    city = bundled_city()
    photos = [place.path for place in city.queries[:16]]
    modes = options.modes or list(available_modes())
    result: dict[str, Any] = {
        "machine": hardware(),
        "rounds": options.rounds,
        "protocol": "median of interleaved rounds; plain: the float32 torch module; 224x224 photos of the bundled city",
        "models": {},
    }
    for name in options.models:
        print(name, file=sys.stderr, flush=True)
        result["models"][name] = measure_model(name, modes, options.batches, options.rounds, photos)
        gc.collect()
    if options.bulk:
        mode = "int8" if "int8" in modes else modes[0]
        paths = [place.path for place in city.database[: options.bulk]]
        result["bulk"] = measure_bulk(options.models[0], mode, paths, options.threads)
    text = json.dumps(result, indent=1)
    print(text)
    if options.output:
        options.output.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
