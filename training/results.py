"""Measure the shipped models on the bundled city and write ``results.json`` and the table that the README shows.

python -m training.results
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from scicevpr.config import assets_folder
from scicevpr.describe import Grouping
from scicevpr.evaluation.benchmark import evaluate, evaluate_baseline
from scicevpr.evaluation.results import Evaluation
from scicevpr.models.weights import load_model
from scicevpr.places import bundled_city

NS = (1, 5, 10)
MODELS = ("scicevpr-t", "super-cricavpr-t", "cricavpr-t")
ORDER_SEEDS = (1, 2)


def measure() -> Iterable[tuple[str, Evaluation]]:
    """Evaluate models and baselines; models whose descriptors depend on their batch also alone and in other orders."""
    city = bundled_city()
    for name in MODELS:
        model = load_model(name)
        result = evaluate(model, city, ns=NS)
        yield f"{result.title}, queries in file order", result
        if name == "super-cricavpr-t":
            continue  # the teacher is listed for its score only
        again = {"ns": NS, "database": result.database}
        yield f"{result.title}, queries alone", evaluate(model, city, query_grouping=Grouping.alone(), **again)
        for seed in ORDER_SEEDS:
            shuffled = evaluate(model, city.shuffle_queries(seed), query_grouping=Grouping.sequential(16), **again)
            yield f"{result.title}, queries shuffled (seed {seed})", shuffled
    for name in ("hog", "colour"):
        result = evaluate_baseline(name, city, ns=NS)
        yield result.title, result


def write_results(folder: Path) -> Path:
    """Write ``results.json`` (scores and protocols, no predictions) into a folder."""
    content = {row: evaluation.to_json(predictions=False) for row, evaluation in measure()}
    for result in content.values():
        del result["seconds"]  # a timing; those belong into benchmarks/
    path = folder / "results.json"
    path.write_text(json.dumps(content, indent=1) + "\n")
    return path


def markdown_table(content: dict[str, Any]) -> str:
    """Recall in percent, one row a result: @1, @5 and @10 over all queries, then @1 for each condition."""
    conditions = sorted(next(iter(content.values()))["conditions"])
    lines = [
        "| Recall, % | @1 | @5 | @10 | " + " | ".join(f"{c} @1" for c in conditions) + " |",
        "| --- " * (4 + len(conditions)) + "|",
    ]
    for row, result in content.items():
        overall = [result["overall"]["recall_percent"][str(n)] for n in NS]
        each = [result["conditions"][c]["recall_percent"]["1"] for c in conditions]
        lines.append(f"| {row} | " + " | ".join(f"{v:.1f}" for v in overall + each) + " |")
    return "\n".join(lines)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m training.results", description=__doc__.split("\n")[0])
    parser.add_argument("--assets", type=Path, default=assets_folder())
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    write_results(options.assets / "weights")


if __name__ == "__main__":
    main()
