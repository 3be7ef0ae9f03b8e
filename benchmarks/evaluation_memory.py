"""Memory of `evaluate` on a large database: 20,000 descriptors of 10,752 values, in memory and on disk.

    python benchmarks/evaluation_memory.py [--database 20000] [--queries 500] > benchmarks/evaluation_memory.json

The whole path runs (photos decoded, descriptors stored, exact search, scores), but for the network: a stand-in with the
descriptor length of SciceVPR-B gives random unit vectors, because 20,000 photos through the real one take hours on a
CPU and its weights and activations are not what is measured. Every way runs in a process of its own; its peak is the
kernel's VmHWM, set back when model and libraries are loaded, less the memory in use at that moment.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

WAYS = {"in memory": 2**40, "on disk": 0, "default (512 MiB in memory, else on disk)": 512 * 2**20}
VARIANT = "scicevpr-b"
PHOTO_FILES = 50  # the same small photos again and again: reading them is not what is measured


def measure(way: str, database: int, queries: int, folder: Path) -> dict[str, float]:
    """Run one evaluation in this process. Peaks in MB."""
    import faiss  # noqa: F401 - loaded before the measurement starts, as the model is
    import numpy as np
    import torch
    from PIL import Image

    from scicevpr.config import get_variant
    from scicevpr.datasets import Dataset, Photo
    from scicevpr.evaluation.benchmark import evaluate

    class StandIn(torch.nn.Module):
        """Random unit descriptors of the variant's length, whatever the photos."""

        def __init__(self) -> None:
            super().__init__()
            self.variant, self.weights, self.allow_untrained = get_variant(VARIANT), None, True
            self.placement = torch.nn.Parameter(torch.zeros(1))
            self.generator = torch.Generator().manual_seed(0)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            values = torch.randn(len(x), self.variant.descriptor_dim, generator=self.generator)
            return torch.nn.functional.normalize(values, dim=-1)

    rng = np.random.default_rng(0)
    photos = [folder / f"{number}.jpg" for number in range(PHOTO_FILES)]
    for photo in photos:
        Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(photo)

    def places(count: int) -> tuple[Photo, ...]:
        return tuple(Photo(photos[row % PHOTO_FILES], f"{row}.jpg", utm=(100.0 * row, 0.0)) for row in range(count))

    def run(database: int, queries: int) -> None:
        data = Dataset("synthetic", "test", folder, places(database), places(queries))
        evaluate(model, data, ns=(1, 5, 10), storage=folder, memory_limit=WAYS[way])

    model = StandIn().eval()
    run(64, 16)  # warm up: libraries that are loaded at first use
    Path("/proc/self/clear_refs").write_text("5")  # VmHWM starts again
    loaded, started = memory("VmRSS"), time.perf_counter()
    run(database, queries)
    return {
        "peak above the loaded model, MB": round(memory("VmHWM") - loaded, 1),
        "loaded before, MB": round(loaded, 1),
        "seconds": round(time.perf_counter() - started, 1),
    }


def memory(what: str) -> float:
    """VmRSS (in use now) or VmHWM (at most so far) of this process, MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(what)) * 1024 / 1e6


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--database", type=int, default=20_000)
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument("--way", choices=WAYS, help="measure this one here (what the benchmark runs)")
    options = parser.parse_args()
    if options.way:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(measure(options.way, options.database, options.queries, Path(folder))))
        return
    import faiss
    import numpy
    import torch

    sizes = ["--database", str(options.database), "--queries", str(options.queries)]
    results = {}
    for way in WAYS:
        command = [sys.executable, __file__, "--way", way, *sizes]
        results[way] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    result = {
        "protocol": "evaluate, Recall@1/5/10, stand-in model with the descriptor length of " + VARIANT,
        "database": options.database,
        "queries": options.queries,
        "values": 10_752,
        "descriptors, MB": round((options.database + options.queries) * 10_752 * 4 / 1e6, 1),
        "ways": results,
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "faiss": faiss.__version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}",
        "processor": f"{os.cpu_count()} cores, {platform.processor() or platform.machine()}",
    }
    json.dump(result, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
