"""The parts of scripts/gpu-check: what is tried on a GPU, and measured.

    python benchmarks/gpu_parts.py PART RESULT.json DEVICE SECONDS [--rehearse]

A part writes what it has found after every step, so that one that is stopped leaves something. In a rehearsal the sizes
S, B and L are tiny networks under their names, and counts are small: the same keys, numbers that mean nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from scicevpr.config import VARIANTS, Preprocessing
from scicevpr.datasets import bundled_city
from scicevpr.evaluation.verify import verify_folder
from scicevpr.explanations import Explanation
from scicevpr.hub.load import load_model
from scicevpr.models.devices import choose_device
from scicevpr.models.model import build_model
from scicevpr.retrieval.exact import ExactIndex

ROOT = Path(__file__).resolve().parents[1]
SIZES = ("t", "s", "b", "l")
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
ROUNDS = 5


@dataclass
class Check:
    """Where a part runs, how long it may take, and where it writes what it finds."""

    device: torch.device
    seconds: float
    rehearse: bool
    file: Path

    def tell(self, found: dict[str, Any]) -> None:
        """Write what is known so far, whole."""
        part = self.file.with_suffix(".part")
        part.write_text(json.dumps(found))
        part.replace(self.file)

    def wait(self) -> None:
        """Until the device has done what it was given."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def median(self, work: Callable[[], Any], rounds: int = ROUNDS) -> float:
        """Seconds of one call, the median of a few after one that is not counted."""
        work()
        times = []
        for _ in range(1 if self.rehearse else rounds):
            self.wait()
            started = time.perf_counter()
            work()
            self.wait()
            times.append(time.perf_counter() - started)
        return float(np.median(times))


def machine(check: Check) -> dict[str, Any]:
    """What this is, and how fast it multiplies in each precision: the limit that other numbers are compared with."""
    gpu = torch.cuda.get_device_properties(check.device) if check.device.type == "cuda" else None
    found: dict[str, Any] = {
        "device": str(check.device), "name": gpu.name if gpu else platform.processor(), "torch": torch.__version__,
        "memory_gb": round(gpu.total_memory / 1e9, 1) if gpu else None, "cores": os.cpu_count(),
        "cuda": torch.version.cuda, "matmul_tflops": {},
    }  # fmt: skip
    side = 256 if check.rehearse else 8192
    for name, dtype in PRECISIONS.items():
        one = torch.randn(side, side, device=check.device, dtype=dtype)
        found["matmul_tflops"][name] = 2e-12 * side**3 / check.median(lambda one=one: one @ one)
        check.tell(found)
    return found


def verify(check: Check) -> dict[str, Any]:
    """The golden files in every precision: checks, and those that missed."""
    found: dict[str, Any] = {}
    for name in PRECISIONS:
        only = ["losses", "pca"] if check.rehearse else None
        checks = verify_folder(ROOT / "tests" / "golden", device=check.device, dtype=name, only=only)
        missed = [f"{c.file} {c.array}: {c.error:.1e} of {c.tolerance:.1e}" for c in checks if not c.passed]
        found[name] = {"checks": len(checks), "missed": missed}
        check.tell(found)
    return found


def describe(check: Check) -> dict[str, Any]:
    """SciceVPR at all sizes in every precision: photos/s, and the share of what the device multiplies at most."""
    found: dict[str, Any] = {}
    limits = machine(replace(check, file=check.file.with_suffix(".machine")))["matmul_tflops"]
    photos = 2 if check.rehearse else 64
    for size in SIZES:
        found[size] = {}
        model = build_model(f"scicevpr-{size}")
        for name, dtype in PRECISIONS.items():
            model = model.to(check.device, dtype)
            x = torch.randn(photos, 3, *model.variant.preprocessing.size, device=check.device, dtype=dtype)
            with torch.inference_mode(), FlopCounterMode(display=False) as counter:
                model(x)
            with torch.inference_mode():
                seconds = check.median(lambda model=model, x=x: model(x))
            tflops = counter.get_total_flops() / seconds / 1e12
            found[size][name] = {"photos_a_second": photos / seconds, "share_of_matmul": tflops / limits[name]}
            check.tell(found)
    return found


def search(check: Check) -> dict[str, Any]:
    """Exact search (on the processor, as the product does it) among random descriptors of size B."""
    count, width = (200, 64) if check.rehearse else (20_000, 14 * 768)
    rows = np.random.default_rng(0).standard_normal((count, width), dtype=np.float32)
    index = ExactIndex(rows)
    seconds = check.median(lambda: index.search(rows[:16], 5))
    return {"photos": count, "dimensions": width, "milliseconds_a_query": 1000 * seconds / 16}


def explain(check: Check) -> dict[str, Any]:
    """Every picture of a photo's way through the three T models."""
    photos = [photo.path for photo in bundled_city().queries[:2]]
    found = {}
    for family in ("scicevpr", "super-cricavpr", "cricavpr"):
        model, started = load_model(f"{family}-t", device=check.device), time.perf_counter()
        explanation = Explanation(model, photos)
        keys = [view.key for step in explanation.views.values() for view in step if view.is_map]
        for key in keys[:: 8 if check.rehearse else 1]:
            explanation.heat_map(key, cell=(1, 1))
        found[family] = {"maps": len(keys), "seconds": time.perf_counter() - started}
        check.tell(found)
    return found


def app(check: Check) -> dict[str, Any]:
    """What the page's tabs ask for, over the bundled city: Find, Inside and Stability."""
    from app.core.descriptor_store import DescriptorStore
    from app.core.services import Services
    from app.tabs.inside.service import Inspector
    from app.tabs.stability.service import Stability
    from scicevpr.config import assets_folder

    dataset = bundled_city()
    models = {
        role: (name, partial(load_model, name, device=check.device))
        for role, name in (("stable", "scicevpr-t"), ("baseline", "cricavpr-t"))
    }
    services = Services({"city": dataset}, models, DescriptorStore(assets_folder() / "descriptors", None))
    query, found = dataset.queries[0], {}
    stability = Stability(services)
    session = stability.session(query.path, query.name, None)
    asked: dict[str, Callable[[], Any]] = {
        "find": lambda: services.find(query.path, query.name, batch_mates=3),
        "inside": lambda: Inspector(services).inspect(query.path, query.name, batch_mates=3),
        "stability": lambda: stability.react(session, [1, 2], [3, 4]),
    }
    for name, work in asked.items():
        found[name] = {"milliseconds": 1000 * check.median(work, rounds=3)}
        check.tell(found)
    return found


def train(check: Check) -> dict[str, Any]:
    """Two steps of each full-size stage at B, with the published batch: memory and time. Random weights and photos."""
    from training.distill import inherit
    from training.distributed import Processes
    from training.full_size import CHUNKS
    from training.recipes import FullSizeRecipe
    from training.steps import Networks, accumulate_gradients, freeze_published, set_training

    found: dict[str, Any] = {}
    for family in ("super-cricavpr", "scicevpr", "cricavpr"):
        for precision in ("none", "bf16"):
            model, teacher = build_model(f"{family}-b"), None
            if family == "scicevpr":
                teacher = build_model("super-cricavpr-b").to(check.device)
                inherit(model, teacher)
            else:
                freeze_published(model)
            set_training(model.to(check.device))
            chunk = 4 if check.rehearse else CHUNKS.get(family, 144)
            recipe = FullSizeRecipe(model.variant.name, places=4 if check.rehearse else 72, photos=4, chunk=chunk)
            photos = torch.randn(recipe.places * 4, 3, *model.variant.preprocessing.size)
            labels = torch.arange(recipe.places).repeat_interleave(4)
            chunks = photos.split(chunk)
            optimiser = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=recipe.lr)
            step = partial(
                accumulate_gradients, Networks(model, teacher, precision), chunks, labels,
                list(range(len(chunks))), recipe, Processes(check.device), at_once=1,
            )  # fmt: skip
            row: dict[str, Any] = {"seconds_a_step": None, "peak_gb": None, "loss": None, "error": ""}
            try:
                if check.device.type == "cuda":
                    torch.cuda.reset_peak_memory_stats(check.device)
                for _ in range(2):
                    started = time.perf_counter()
                    row["loss"] = step()["loss"]
                    optimiser.step()
                    optimiser.zero_grad()
                    check.wait()
                    row["seconds_a_step"] = time.perf_counter() - started
                if check.device.type == "cuda":
                    row["peak_gb"] = torch.cuda.max_memory_allocated(check.device) / 1e9
            except Exception as error:  # the other stages are still to be tried
                row["error"] = str(error)[:300]
            found.setdefault(family, {})[precision] = row
            check.tell(found)
            del model, teacher, step, optimiser
            if check.device.type == "cuda":
                torch.cuda.empty_cache()
    return found


def family(check: Check) -> dict[str, Any]:
    """Size T from nothing, rendering included, for as long as is left; how far it came."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        data, runs = Path(folder) / "data", Path(folder) / "runs"
        command = [sys.executable, "-m", "training.family", "--render", "--data", str(data), "--runs", str(runs)]
        command += ["--device", str(check.device), "--threads", str(os.cpu_count() or 1)]
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        limit = min(20.0, check.seconds / 2) if check.rehearse else check.seconds - 8
        found: dict[str, Any] = {}
        while True:
            left = started + limit - time.monotonic()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, min(5.0, left)))
            logs = {log.parent.name: log.read_text().splitlines() for log in runs.glob("*/log.csv")}
            found = {
                "photos": sum(1 for _ in data.rglob("*.jpg")),
                "steps": {name: sum(",loss," in line for line in lines) for name, lines in logs.items()},
                "recall_1": {
                    name: [float(line.rsplit(",", 1)[1]) for line in lines if ",val_recall_1," in line]
                    for name, lines in logs.items()
                },
                "finished": process.poll() == 0,
                "ended": "" if process.poll() in (None, 0) else (process.communicate()[1] or "")[-300:],
            }
            check.tell(found)
            if process.poll() is not None or time.monotonic() - started >= limit:
                break
        process.kill()
    return found


PARTS: dict[str, Callable[[Check], dict[str, Any]]] = {
    part.__name__: part for part in (machine, verify, describe, search, explain, app, train, family)
}


def shrink() -> None:
    """Tiny networks under the names of the sizes S, B and L."""
    for name, variant in list(VARIANTS.items()):
        if variant.size != "T":
            small = replace(variant.backbone, dim=32, depth=4, heads=2, position_grid=4)
            taps = (0, 1, 2, 3) if variant.taps else ()
            preprocessing = Preprocessing(size=(56, 56))
            VARIANTS[name] = replace(variant, backbone=small, taps=taps, preprocessing=preprocessing)


def main() -> None:
    """One part."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("result", type=Path)
    parser.add_argument("device")
    parser.add_argument("seconds", type=float)
    parser.add_argument("--rehearse", action="store_true")
    options = parser.parse_args()
    if options.rehearse and options.part in ("describe", "train"):
        shrink()
    check = Check(choose_device(options.device), options.seconds, options.rehearse, options.result)
    check.tell(PARTS[options.part](check))


if __name__ == "__main__":
    main()
