"""What was aimed at in speed and memory, and what was measured: the table of targets in docs/speed.md.

Printed and written by benchmarks/scaling.py; every number is read from describing.json and search.json beside it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
LOSSLESS = ("float32", "bfloat16", "int8")  # as `scicevpr precision` found them on the bundled city
FLAT = 16  # MiB; the prepared photos would be 150


def targets(folder: Path = HERE) -> list[tuple[str, str, str]]:
    """(aim, measured, "yes" or "no") of each target whose measurement is there."""
    rows: list[tuple[str, str, str]] = []
    for file, read in (("describing.json", _describing), ("search.json", _searching)):
        path = folder / file
        if path.is_file():
            rows += [(aim, words, "yes" if met else "no") for aim, words, met in read(json.loads(path.read_text()))]
    return rows


def _describing(content: dict[str, Any]) -> Iterator[tuple[str, str, bool]]:
    models = content["models"]
    if "scicevpr-b" in models:
        large = models["scicevpr-b"]["modes"]
        ways = ("batch 1", "batch 16", "many")
        times = {mode: [row[f"times plain, {way}"] for way in ways] for mode, row in large.items()}
        words = "float32 {:.2f}× alone, {:.2f}× in batches of 16, {:.2f}× with many photos".format(*times["float32"])
        yield "SciceVPR-B in float32 not slower than plain (3 % is noise)", words, min(times["float32"]) >= 0.97
        best = max((mode for mode in LOSSLESS if mode in times), key=lambda mode: times[mode][0])
        words = "{} {:.2f}× alone, {:.2f}× in batches of 16, {:.2f}× with many photos".format(best, *times[best])
        yield "SciceVPR-B at least 3× plain, Recall kept (judged at T)", words, min(times[best]) >= 2.995
        ratio = large[best]["batch 1 / batch 16"]
        words = f"{best} {ratio:.2f}×" + ("" if ratio <= 1.1 else ": in a batch weights are read once for four")
        yield "SciceVPR-B alone within 10 % of a photo in a batch", words, ratio <= 1.1
        share = max(large["bfloat16"][f"share of the matrix rate, batch {size}"] for size in (1, 16))
        words = f"{100 * share:.0f} %" + ("" if share >= 0.75 else ": softmax, GELU and norms are no products")
        yield "SciceVPR-B in bfloat16 at 75 % of the matrix rate", words, share >= 0.75
    if "scicevpr-t" in models:
        small = models["scicevpr-t"]["modes"]["bfloat16"]
        alone, many = (small[f"ms a photo, batch {size}"] for size in (1, 16))
        words = f"bfloat16 {alone:g} ms alone, {many:g} ms in batches"
        yield "SciceVPR-T in at most 30 ms a photo", words, max(alone, many) <= 30
    if "bulk" in content:
        bulk = content["bulk"]
        words = f"{100 * bulk['cores busy']:.0f} %, {bulk['MiB more from a third on']:g} MiB more (SciceVPR-T, int8)"
        met = bulk["cores busy"] >= 0.9 and bulk["MiB more from a third on"] <= FLAT
        yield "describing many photos: cores 90 % busy, memory flat", words, met


def _searching(content: dict[str, Any]) -> Iterator[tuple[str, str, bool]]:
    for row in content.get("tiers", {}).get("measured", []):
        if row["rows"] == 100_000:
            times = {tier: row[tier]["milliseconds a query (median)"] for tier in ("int8", "exact")}
            words = f"{times['int8']:g} ms by 8-bit codes, {times['exact']:g} ms in float32"
            yield "100,000 descriptors, exact, in at most 350 ms", words, min(times.values()) <= 350
    large = content.get("large measure", {}).get("measured")
    if large:
        places = ("in the file cache", "on the disk")
        time, disk = (large[f"milliseconds a query, descriptors {place} (median)"] for place in places)
        memory, first = large["resident memory, GiB (whole process)"], large["first answer as exact"]
        words = f"{time:g} ms ({disk:g} from the disk), {memory:g} GiB, first answer as exact {100 * first:.1f} %"
        aim = f"{large['rows']:,} descriptors in at most 30 ms and 3 GB, 99 % of the first answers"
        yield aim, words, max(time, disk) <= 30 and memory <= 3 and first >= 0.99
