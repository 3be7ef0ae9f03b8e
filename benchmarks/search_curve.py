"""The curve of benchmarks/search.py: the cost of a query against the number of descriptors."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path


def draw(result: Path, tiers: Sequence[str]) -> None:
    """Milliseconds of a single query against the number of rows, by tier, as an SVG beside the numbers."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "search"  # the same file from the same numbers
    from matplotlib import pyplot

    content = json.loads(result.read_text())
    curves: dict[str, list[tuple[int, float]]] = {}
    for row in content.get("tiers", {}).get("measured", []):
        for tier in tiers:
            if tier in row:
                curves.setdefault(tier, []).append((row["rows"], row[tier]["milliseconds a query (median)"]))
    if "large measure" in content:
        found = content["large measure"]["measured"]
        milliseconds = found["milliseconds a query, descriptors in the file cache (median)"]
        curves.setdefault("ivf-pq", []).append((found["rows"], milliseconds))
    figure, axes = pyplot.subplots(figsize=(6, 3.6), layout="constrained")
    for tier, points in curves.items():
        axes.loglog(*zip(*sorted(points), strict=True), marker="o", label=tier)
    axes.set(xlabel="database descriptors", ylabel="milliseconds a query")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.savefig(result.with_suffix(".svg"), metadata={"Date": None})
