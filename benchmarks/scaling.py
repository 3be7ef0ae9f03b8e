"""Tables of docs/scaling.md (what a million photos cost, and what more would), docs/speed.md and docs/milvus.md.

    python benchmarks/scaling.py              print them
    python benchmarks/scaling.py --write      write them into the pages; after any other benchmark was run again

It reads bulk.json, packs.json, latency.json and, where they are there, describing.json, search.json and milvus.json
beside it.
Assumed, not measured: MACHINE, and that twice the processors describe twice the photos.
"""

from __future__ import annotations

import argparse
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from targets import targets

from scicevpr.config import get_variant

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "scaling.md"
SPEED = HERE.parent / "docs" / "speed.md"
BATCHES = (1, 16)
SIZES = {"1 M": 10**6, "100 M": 10**8, "10 G": 10**10}
MODELS = ("scicevpr-t", "scicevpr-s", "scicevpr-b", "scicevpr-l")
LATENCY_TITLES = {"SciceVPR-T": "scicevpr-t", "SciceVPR-S (random weights)": "scicevpr-s"}
CORES, MEMORY, DISK = 64, 256 * 10**9, 15 * 10**12  # of the machine that is counted in; an assumption
USED = 0.7  # of its memory and disk
SCANNED_BYTES = 128 + 20  # of a photo in the ivf-pq tier, in memory: 4 bits for each two of 512 values, and its row
ORDERED_BYTES = 512  # of a photo in the ivf-pq tier, read where it lies: a byte for each value
SEARCHED = (10**6, 10**7, 10**8)
PACK_PHOTOS = 1_000_000
"""Photos in a pack: the names in a descriptor file must fit its header of 100 MB."""


@dataclass(frozen=True)
class Describing:
    """Describing with one model: milliseconds a photo on `cores` processors, and where that was measured."""

    model: str
    mode: str
    milliseconds: float
    cores: int
    source: str

    @property
    def core_hours(self) -> float:
        """Processor hours a million photos."""
        return self.milliseconds * self.cores * 1e6 / 3.6e6

    @property
    def bytes(self) -> int:
        """Of a photo's float16 descriptor."""
        return 2 * get_variant(self.model).descriptor_dim


def describing(folder: Path = HERE) -> list[Describing]:
    """Measured times, the plain float32 and the fastest mode of every model; describing.json where it has the model."""
    found: dict[str, list[Describing]] = {}
    latency = _read(folder / "latency.json")
    for title, milliseconds in latency["milliseconds a photo (median)"].items():
        if title in LATENCY_TITLES:
            model = LATENCY_TITLES[title]
            found[model] = [Describing(model, "float32", milliseconds, latency["threads"], "latency.json")]
    modes = _read(folder / "describing.json")
    for model, measured in modes.get("models", {}).items():
        times = {
            mode: row[key] for mode, row in measured["modes"].items() for key in row if key == "ms a photo, batch 16"
        }
        cores = modes["machine"]["threads"]
        if model in MODELS and "plain" in times:
            best = min(times, key=lambda mode: times[mode])
            names = dict.fromkeys(("plain", best))
            found[model] = [Describing(model, mode, times[mode], cores, "describing.json") for mode in names]
    return [row for model in MODELS for row in found.get(model, [])]


def costs(folder: Path = HERE) -> str:
    """Costs a million photos: measured rates times a million."""
    bulk, packs = _read(folder / "bulk.json"), _read(folder / "packs.json")
    rows = [
        (
            f"describing, {one.model}, {one.mode}",
            f"{one.milliseconds:g} ms a photo on {one.cores} cores",
            one.source,
            f"{_hours(one.core_hours / one.cores)} on {one.cores} cores, {one.core_hours:,.0f} core hours",
        )
        for one in describing(folder)
    ]
    ways = bulk["describing"]["ways"]
    busy = bulk["load when it began"] > bulk["machine"]["cores"]
    source = "bulk.json, on a busy machine: provisional" if busy else "bulk.json"
    plain = ways["plain describe"]["photos a second after it"]
    for title, way in ways.items():
        if title != "plain describe":
            share = way["photos a second after it"] / plain
            words = f"{share:.2f} × the rate of plain `describe`, once started"
            rows.append((f"engine: {title}", words, source, f"{1 / share:.2f} × its time"))
    storage = bulk["storage"]
    for word, rate in storage["photos a second"].items():
        size = f"{storage['MB a second'][word]:,} MB/s, {storage['values a descriptor']:,} values"
        rows.append((f"shards {word}", size, source, _hours(1e6 / rate / 3600)))
    wide = packs["packs"]["without thumbnails"]
    values = 2 * packs["values a descriptor"]
    record = wide["MiB on disk"] * 2**20 / packs["photos"] - values
    rows.append(("a pack's records", f"{record:.0f} bytes a photo", "packs.json", _bytes(record * 1e6)))
    seconds = wide["seconds to open (median)"] / packs["photos"]
    rows.append(("opening a pack", f"{1e6 * seconds:.0f} µs a photo", "packs.json", _hours(1e6 * seconds / 3600)))
    for model in dict.fromkeys(one.model for one in describing(folder)):
        width = get_variant(model).descriptor_dim
        rows.append((f"descriptors, {model}", f"2 × {width:,} bytes", "counted", _bytes(2e6 * width)))
    rows += _search_rows(folder)
    return _table(("what", "measured", "from", "a million photos (computed)"), rows)


def plan(folder: Path = HERE) -> str:
    """Storage, processors and machines for more photos: formulas of the page on the measured numbers."""
    known = {one.model: one for one in describing(folder)}  # the last of a model is its fastest mode
    chosen = list(dict.fromkeys((MODELS[0], max(known, key=MODELS.index))))
    rows = []
    for words, photos in SIZES.items():
        for model in chosen:
            one = known[model]
            stored, codes = photos * one.bytes, photos * SCANNED_BYTES
            hours = one.core_hours * photos / 1e6
            disk = stored + photos * ORDERED_BYTES
            search = max(math.ceil(codes / (USED * MEMORY)), math.ceil(disk / (USED * DISK)))
            rows.append(
                (
                    words,
                    f"{model}, {one.mode}",
                    f"{hours:,.0f}",
                    _hours(hours / CORES),
                    f"{math.ceil(hours / (CORES * 24)):,}",
                    _bytes(stored),
                    _bytes(codes),
                    f"{search:,}",
                    f"{math.ceil(photos / PACK_PHOTOS):,}",
                )
            )
    heads = (
        "photos", "model", "core hours", f"on one machine of {CORES} cores", "such machines for one day", "descriptors",
        "codes in memory", "machines that hold the index", "packs",
    )  # fmt: skip
    return _table(heads, rows)


def searching(folder: Path = HERE) -> str:
    """The ivf-pq tier for more photos: the line through its two largest measurements, and the bytes of its codes."""
    content = _read(folder / "search.json")
    rows = []
    line = _line(content)
    if line:
        fixed, each = line
        large = content["large measure"]["measured"]["rows"]
        build = content["large build"]["measured"]["seconds of this call"] / large
        width = content["large measure"]["values a descriptor"]
        rows = [
            (
                f"{photos:,}",
                f"{fixed + each * photos:,.0f} ms",
                _bytes(SCANNED_BYTES * photos),
                _bytes(ORDERED_BYTES * photos),
                _bytes(2 * width * photos),
                _hours(build * photos / 3600),
            )
            for photos in SEARCHED
        ]
    return _table(("photos", "a query", "in memory", "bytes read", "descriptors on the disk", "to build"), rows)


def _line(content: Mapping[str, Any]) -> tuple[float, float] | None:
    """Milliseconds a query in the ivf-pq tier: those that do not grow, and those a photo. None: not measured."""
    large = content.get("large measure", {}).get("measured")
    small = [row for row in content.get("tiers", {}).get("measured", []) if "ivf-pq" in row]
    if not large or not small:
        return None
    less, more = small[-1]["rows"], large["rows"]
    first = small[-1]["ivf-pq"]["milliseconds a query (median)"]
    last = large["milliseconds a query, descriptors in the file cache (median)"]
    each = max(0.0, (last - first) / (more - less))
    return last - each * more, each


def modes(folder: Path = HERE) -> str:
    """Describing by every mode beside the plain model."""
    content = _read(folder / "describing.json")
    rows = []
    for model, measured in content.get("models", {}).items():
        for mode, row in measured["modes"].items():
            ways = [*(f"batch {size}" for size in BATCHES), "many"]
            cells = [f"{row[f'ms a photo, {way}']:g} ms ({row[f'times plain, {way}']:.2f}×)" for way in ways]
            share = row.get("share of the matrix rate, batch 16")
            rows.append((get_variant(model).title, mode, *cells, "" if share is None else f"{100 * share:.0f} %"))
    heads = ("model", "mode", *(f"batch {size} (× plain)" for size in BATCHES), "many photos", "of the matrix rate")
    return _table(heads, rows)


def tiers(folder: Path = HERE) -> str:
    """Single queries by every tier at every size, and by the large index."""
    content = _read(folder / "search.json")
    rows = []
    for row in content.get("tiers", {}).get("measured", []):
        for tier, one in row.items():
            if isinstance(one, dict):
                cells = (f"{one['milliseconds a query (median)']:g} ms", one["in memory"])
                same = (one["same first answer as exact"], one["ten best as exact"])
                rows.append((f"{row['rows']:,}", tier, *cells, *(f"{100 * share:.1f} %" for share in same)))
    large = content.get("large measure", {}).get("measured")
    if large:
        time = large["milliseconds a query, descriptors in the file cache (median)"]
        disk = large["milliseconds a query, descriptors on the disk (median)"]
        memory = f"{large['resident memory, GiB (whole process)']:g} GiB, the whole process"
        same = (large["first answer as exact"], large["ten best as exact"])
        rows.append(
            (f"{large['rows']:,}", "ivf-pq", f"{time:g} ms ({disk:g} from the disk)", memory,
             *(f"{100 * share:.1f} %" for share in same))
        )  # fmt: skip
    return _table(("descriptors", "tier", "a query", "in memory", "first answer as exact", "ten best as exact"), rows)


def milvus(folder: Path = HERE) -> str:
    """Milvus Lite beside exact FAISS search."""
    rows = []
    for model, found in _read(folder / "milvus.json").get("bundled city", {}).items():
        same = f"{found['queries with the same ten rows as exact search']} of {found['queries']}"
        for way, milliseconds in found["milliseconds a query (median)"].items():
            loaded = "" if "FAISS" in way else f"{found['rows loaded a second (median)']:,}"
            there = {"Milvus Lite, FLAT, re-ranked": same}.get(way, "")
            rows.append((get_variant(model).title, way, f"{milliseconds:g} ms", there, loaded))
    return _table(("descriptors", "search", "a query", "same ten rows", "rows loaded a second"), rows)


TABLES = {"costs": costs, "plan": plan, "searching": searching}
SPEED_TABLES = {"targets": lambda folder=HERE: _table(("aim", "measured", "met"), targets(folder)),
                 "modes": modes, "tiers": tiers}  # fmt: skip
MILVUS_TABLES = {"milvus": milvus}
PAGES = {PAGE: TABLES, SPEED: SPEED_TABLES, HERE.parent / "docs" / "milvus.md": MILVUS_TABLES}


def written(page: str, folder: Path = HERE, tables: Mapping[str, Callable[[Path], str]] = TABLES) -> str:
    """The page with its tables: what stands between ``<!-- scaling NAME -->`` and ``<!-- end -->`` is replaced."""
    for name, table in tables.items():
        pattern = rf"(<!-- scaling {name} -->\n).*?(<!-- end -->)"
        text = table(folder)
        page, count = re.subn(pattern, lambda found, text=text: f"{found[1]}{text}\n{found[2]}", page, flags=re.DOTALL)
        if count != 1:
            raise SystemExit(f"The page has {count} places for the table {name}, not one.")
    return page


def _search_rows(folder: Path) -> Iterator[tuple[str, ...]]:
    found = _read(folder / "search.json")
    for row in found.get("tiers", {}).get("measured", [])[-1:]:
        for tier, one in row.items():
            if isinstance(one, dict):
                milliseconds = one["milliseconds a query (median)"]
                title = f"one query, {tier}, {row['rows']:,} photos"
                grown = f"{milliseconds * 1e6 / row['rows']:,.0f} ms, if linear" if tier != "ivf-pq" else ""
                yield title, f"{milliseconds:g} ms, {one['in memory']} in memory", "search.json", grown
    large = found.get("large measure", {}).get("measured")
    if large:
        cached = large["milliseconds a query, descriptors in the file cache (median)"]
        memory = large["resident memory, GiB (whole process)"]
        agreement = 100 * large["first answer as exact"]
        words = f"{cached:g} ms, {memory:g} GiB resident, {agreement:.1f} % first answers as exact"
        yield f"one query, ivf-pq, {large['rows']:,} photos", words, "search.json", ""


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(cells)} |" for cells in (heads, ["---"] * len(heads), *rows)]
    return "\n".join(lines)


def _hours(hours: float) -> str:
    if hours < 1 / 30:
        return f"{3600 * hours:.0f} s"
    if hours < 1:
        return f"{60 * hours:.0f} minutes"
    if hours < 48:
        return f"{hours:.1f} hours"
    return f"{hours / 24:,.1f} days" if hours < 24 * 730 else f"{hours / 8766:,.0f} years"


def _bytes(size: float) -> str:
    units = ("bytes", "kB", "MB", "GB", "TB")
    step = min(len(units) - 1, int(math.log(max(size, 1), 1000)))
    value = size / 1000**step
    return f"{value:.3g} {units[step]}" if value < 1000 else f"{value:,.0f} {units[step]}"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--write", action="store_true", help="write the tables into the pages")
    options = parser.parse_args()
    if options.write:
        for page, tables in PAGES.items():
            page.write_text(written(page.read_text(encoding="utf-8"), tables=tables), encoding="utf-8")
        return
    for name, table in (TABLES | SPEED_TABLES | MILVUS_TABLES).items():
        print(f"{name}\n\n{table()}\n")


if __name__ == "__main__":
    main()
