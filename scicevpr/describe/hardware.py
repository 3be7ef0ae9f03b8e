"""What a measurement ran on, and how fast its processor multiplies matrices."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from scicevpr import __version__
from scicevpr.describe.precision import BFLOAT16_FLAGS, INT8_FLAGS, processor_flags


def machine_facts() -> dict[str, Any]:
    """Processor, threads, instruction sets that matter, versions."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return {
        "processor": name or platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "instructions": sorted(processor_flags() & (BFLOAT16_FLAGS | INT8_FLAGS | {"avx2", "avx512f"})),
        "load before": [round(value, 1) for value in os.getloadavg()] if hasattr(os, "getloadavg") else None,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "scicevpr": __version__,
    }


def product(dtype: torch.dtype, rows: int, inner: int, columns: int) -> tuple[Callable[[], object], float]:
    """A matrix product to be timed and its billions of operations (a multiplication and an addition count as two)."""
    a, b = torch.randn(rows, inner).to(dtype), torch.randn(columns, inner).to(dtype)
    return lambda: torch.nn.functional.linear(a, b), 2e-9 * rows * inner * columns


def best_rate(dtype: torch.dtype, rounds: int = 5, sizes: tuple[int, int, int] = (2056, 1536, 1536)) -> float:
    """Billions of operations a second of a large matrix product: the best of some rounds."""
    run, work = product(dtype, *sizes)
    best = 0.0
    with torch.inference_mode():
        run()
        for _ in range(rounds):
            started = time.perf_counter()
            run()
            best = max(best, work / (time.perf_counter() - started))
    return best
