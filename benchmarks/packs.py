"""Time and memory to open a database pack of 20,000 photos with descriptors of 10,752 values, in fresh processes.

    python benchmarks/packs.py [--rounds 5] [--photos 20000] [--width 10752] > benchmarks/packs.json

The packs are synthetic (random unit descriptors, float16; one with a thumbnail for every photo), lie in a temporary
folder on a real disk (--folder) and are deleted afterwards. Before every round their files are dropped from the
system's file cache. Timed: `open_pack` and `Pack.descriptors`; the imports, most of them torch's, are timed apart.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

STARTED = time.perf_counter()

import numpy as np  # noqa: E402
from PIL import Image  # noqa: E402

from scicevpr.config import get_variant  # noqa: E402
from scicevpr.datasets import Dataset, format_name, parse_name  # noqa: E402
from scicevpr.files.descriptor_files import Descriptors  # noqa: E402
from scicevpr.packs import open_pack  # noqa: E402
from scicevpr.packs.build import Content, build_pack  # noqa: E402

MIB = 2**20
VARIANT, WEIGHTS = "scicevpr-b", "0" * 12
ROWS_AT_ONCE = 1000


def synthetic(folder: Path, photos: int, width: int) -> tuple[Dataset, Content]:
    """Records whose photos are all one small file, and random unit descriptors, memory-mapped."""
    rng = np.random.default_rng(0)
    values = np.lib.format.open_memmap(folder / "values.npy", "w+", np.float16, (photos, width))
    for start in range(0, photos, ROWS_AT_ONCE):
        block = rng.standard_normal((min(ROWS_AT_ONCE, photos - start), width), dtype=np.float32)
        values[start : start + ROWS_AT_ONCE] = block / np.linalg.norm(block, axis=1, keepdims=True)
    photo = folder / "photo.jpg"
    Image.fromarray(rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)).save(photo)
    places = []
    for row in range(photos):
        name = format_name(east=5e5 + row, north=4e6, zone_number=32, zone_letter="U", pano_id=row, heading=row % 360)
        places.append(replace(parse_name(name), path=photo))
    variant = get_variant(VARIANT)
    described = Descriptors(
        values=values,
        variant=variant.name,
        fingerprint=variant.fingerprint,
        weights=WEIGHTS,
        trained=False,
        grouping="synthetic",
        preprocessing=asdict(variant.preprocessing),
        device="none",
        dtype="float16",
        seconds=0.0,
    )
    return Dataset("synthetic", "test", folder, tuple(places), ()), Content(described)


def open_once(folder: Path) -> None:
    """What one fresh process does; prints what it measured."""
    imported, before = time.perf_counter(), _memory()
    model = SimpleNamespace(variant=get_variant(VARIANT), weights=SimpleNamespace(sha256=WEIGHTS))
    pack = open_pack(folder)
    opened = time.perf_counter()
    values = pack.descriptors(model).values
    mapped, after = time.perf_counter(), _memory()
    first = float(values[len(values) // 2, 0])
    json.dump(
        {
            "imports": imported - STARTED,
            "open_pack": opened - imported,
            "descriptors": mapped - opened,
            "memory": after - before,
            "shape": list(values.shape),
            "photos": len(pack.dataset.database),
            "read": first,
        },
        sys.stdout,
    )


def measure(folder: Path, rounds: int) -> dict[str, object]:
    """Medians and maxima over fresh processes."""
    found = []
    for _ in range(rounds):
        _forget(folder)
        command = [sys.executable, __file__, "--open", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found.append(json.loads(done.stdout))
    total = [one["open_pack"] + one["descriptors"] for one in found]
    files = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    return {
        "files": len(files),
        "MiB on disk": round(sum(files) / MIB, 1),
        "seconds to open (median)": round(statistics.median(total), 3),
        "seconds to open (slowest)": round(max(total), 3),
        "of it records and manifest (median)": round(statistics.median(one["open_pack"] for one in found), 3),
        "of it descriptors (median)": round(statistics.median(one["descriptors"] for one in found), 3),
        "MiB of memory taken by opening (largest)": round(max(one["memory"] for one in found) / 1024, 1),
        "seconds of imports before (median)": round(statistics.median(one["imports"] for one in found), 2),
    }


def _memory() -> int:
    """KiB of memory that this process has now (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmRSS")))


def _forget(folder: Path) -> None:
    """Ask the system to drop a folder's files from its cache."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as stream:
                os.fsync(stream.fileno())
                os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--photos", type=int, default=20_000)
    parser.add_argument("--width", type=int, default=10_752)
    parser.add_argument("--folder", type=Path, help="where the packs lie for a while (default: the temporary folder)")
    parser.add_argument("--open", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.open:
        open_once(options.open)
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as temporary:
        dataset, content = synthetic(Path(temporary), options.photos, options.width)
        results = {}
        for title, thumbnails in (("without thumbnails", None), ("with thumbnails", 64)):
            pack = build_pack(Path(temporary, title), dataset, [content], thumbnails=thumbnails)
            results[title] = measure(pack.folder, options.rounds)
    result = {
        "photos": options.photos,
        "values a descriptor": options.width,
        "packs": results,
        "rounds": options.rounds,
        "file cache": "dropped before every round (posix_fadvise)",
        "versions": {"python": platform.python_version()}
        | {name: version(name) for name in ("torch", "numpy", "safetensors")},
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
    }
    json.dump(result, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
