"""Measure the family on a test city: every model under every grouping, and two baselines without learning.

python -m training.results --data data/procity --out assets/weights/results-full.json     (the whole test city)
python -m training.results --out assets/weights/results.json                              (its bundled part)
python -m training.results --real corridor=FOLDER tower=FOLDER --out assets/weights/results-real.json   (other folders)
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from scicevpr.datasets import Dataset, bundled_city, read_dataset
from scicevpr.descriptors.batches import Grouping
from scicevpr.descriptors.describe import describe, encode, region_vectors
from scicevpr.evaluation.baselines import BASELINES
from scicevpr.evaluation.benchmark import evaluate, evaluate_baseline, score
from scicevpr.evaluation.protocols import place_groups, shuffled_groups
from scicevpr.evaluation.results import Evaluation
from scicevpr.hub.load import load_model
from scicevpr.models.model import VPRModel
from training.procity.conditions import QUERY_CONDITIONS

NS = (1, 5, 10)
MODELS = ("scicevpr-t", "super-cricavpr-t", "cricavpr-t")
SIZES = (2, 4, 8, 16, 32)
ORDER_SEEDS = tuple(range(1, 11))
DATABASE_GROUPING = Grouping.sequential(16)
SHORT_ROWS = (
    "single image",
    "every photo alone",
    "order, 16 a batch",
    "mean of 10",
    "by place, 16 a batch",
    *(baseline.title for baseline in BASELINES.values()),
)
MOVED_PHOTOS = 96  # queries whose descriptors are compared between batch compositions


def measure_model(model: VPRModel, dataset: Dataset) -> Iterator[tuple[str, Evaluation]]:
    """Title and score of a model under every grouping. Region vectors are computed once; the groupings differ in what
    the encoder sees together."""
    title = model.variant.title
    database, queries = (
        region_vectors(model, [photo.path for photo in photos]) for photos in (dataset.database, dataset.queries)
    )
    stored = encode(model, database, DATABASE_GROUPING)

    def row(label: str, grouping: Grouping, values: np.ndarray = stored) -> tuple[str, Evaluation]:
        database_label = "alone" if values is not stored else DATABASE_GROUPING.label
        protocol = {
            "variant": model.variant.name,
            "weights": model.weights.sha256 if model.weights else "random",
            "resize": model.variant.preprocessing.label(),
            "database grouping": database_label if model.variant.cross_image else "independent of the batch",
            "query grouping": label if model.variant.cross_image else "independent of the batch",
        }
        described = encode(model, queries, grouping)
        return f"{title}, {label}", score(title, dataset, values, described, ns=NS, protocol=protocol)

    if not model.variant.cross_image:
        yield row("single image", Grouping.alone())
        return
    yield row("every photo alone", Grouping.alone(), encode(model, database, Grouping.alone()))
    yield row("queries alone", Grouping.alone())
    for size in SIZES:
        yield row(f"queries in file order, {size} a batch", Grouping.sequential(size))
    for seed in ORDER_SEEDS:
        yield row(f"queries shuffled, 16 a batch, seed {seed}", shuffled_groups(len(queries), 16, seed))
    yield row("queries grouped by place, 16 a batch", place_groups(dataset))


def descriptor_change(model: VPRModel, dataset: Dataset) -> float:
    """Largest change of any element of a descriptor between batch compositions, through the whole model."""
    paths = [photo.path for photo in dataset.queries[:: max(1, len(dataset.queries) // MOVED_PHOTOS)]]
    alone = describe(model, paths, grouping=Grouping.alone()).values
    others = (Grouping.sequential(16), Grouping.sequential(5), shuffled_groups(len(paths), 32, 3))
    return float(max(np.abs(describe(model, paths, grouping=g).values - alone).max() for g in others))


def measure(dataset: Dataset) -> dict[str, Any]:
    """Everything that the cards print: {"rows": {title: score and protocol}, "movement": {model: largest change}}."""
    rows: dict[str, Evaluation] = {}
    moved: dict[str, float] = {}
    for name in MODELS:
        model = load_model(name)
        rows |= measure_model(model, dataset)
        moved[model.variant.title] = descriptor_change(model, dataset)
    return {"rows": _as_json(rows | _baselines(dataset)), "movement": moved}


def _baselines(dataset: Dataset) -> dict[str, Evaluation]:
    results = (evaluate_baseline(name, dataset, ns=NS) for name in BASELINES)
    return {result.title: result for result in results}


def _as_json(results: dict[str, Evaluation]) -> dict[str, Any]:
    """Scores and protocols without single predictions, nor seconds: timings belong into benchmarks/."""
    contents = {title: result.to_json(predictions=False) for title, result in results.items()}
    return {title: {k: v for k, v in content.items() if k != "seconds"} for title, content in contents.items()}


def measure_real(folders: dict[str, Path]) -> dict[str, Any]:
    """Recall on labelled folders of real photos: {"sets": {name: {title: score and protocol}}}.

    Cross-image models in file order, 16 a batch; CricaVPR's queries also alone.
    """
    sets: dict[str, Any] = {}
    for name, folder in folders.items():
        dataset = replace(read_dataset(folder, "test"), name=name)
        found: dict[str, Evaluation] = {}
        for model in map(load_model, MODELS):
            found[model.variant.title] = evaluate(model, dataset, ns=NS)
            if model.variant.class_token:
                title = f"{model.variant.title}, queries alone"
                found[title] = evaluate(model, dataset, ns=NS, query_grouping=Grouping.alone())
        sets[name] = _as_json(found | _baselines(dataset))
    return {"sets": sets}


def real_table(sets: dict[str, Any]) -> str:
    """Recall@1 / 5 / 10 in percent of every model on every set, as a Markdown table."""
    lines = [f"| Recall@1 / 5 / 10, % | {' | '.join(sets)} |", "| --- " * (len(sets) + 1) + "|"]
    for title in next(iter(sets.values())):
        scores = [rows[title]["overall"]["recall_percent"] for rows in sets.values()]
        lines.append(f"| {title} | " + " | ".join(" / ".join(f"{s[str(n)]:.1f}" for n in NS) for s in scores) + " |")
    return "\n".join(lines)


def summary_rows(rows: dict[str, Any]) -> dict[str, list[float]]:
    """All queries @1 @5 @10, mean over the eight weathers, hours and seasons @1, each query set by name @1; shuffled
    seeds as mean, lowest and highest."""

    def line(content: dict[str, Any]) -> list[float]:
        sets = {name: scores["recall_percent"]["1"] for name, scores in sorted(content["conditions"].items())}
        mean = float(np.mean([sets[name] for name in QUERY_CONDITIONS]))
        return [*(content["overall"]["recall_percent"][str(n)] for n in NS), mean, *sets.values()]

    table: dict[str, list[float]] = {}
    shuffled: dict[str, list[list[float]]] = {}
    for title, content in rows.items():
        if "shuffled" in title:
            shuffled.setdefault(title.split(", seed")[0], []).append(line(content))
            continue
        table[title] = line(content)
    for title, lines in shuffled.items():
        for word, function in (("mean of 10", np.mean), ("lowest", np.min), ("highest", np.max)):
            table[f"{title}, {word}"] = [float(v) for v in function(np.array(lines), axis=0)]
    return table


def markdown_table(rows: dict[str, Any], short: bool = False) -> str:
    """Recall in percent as a Markdown table; see :func:`summary_rows`.

    ``short`` keeps the rows of SHORT_ROWS and the columns of the eight weathers, hours and seasons.
    """
    every = sorted(next(iter(rows.values()))["conditions"])
    sets = sorted(QUERY_CONDITIONS) if short else every
    columns = list(range(4)) + [4 + every.index(name) for name in sets]
    head = ["Recall, %", "@1", "@5", "@10", "mean of 8 @1", *(f"{name} @1" for name in sets)]
    lines = ["| " + " | ".join(head) + " |", "| --- " * len(head) + "|"]
    for title, values in summary_rows(rows).items():
        if not short or title.endswith(SHORT_ROWS):
            lines.append(f"| {title} | " + " | ".join(f"{values[c]:.1f}" for c in columns) + " |")
    return "\n".join(lines)


def fill_tables(page: Path, folder: Path) -> None:
    """Rewrite a page's tables: what stands between ``<!-- table NAME.json [short] -->`` and ``<!-- end -->``."""

    def table(found: re.Match[str]) -> str:
        if not (folder / found["file"]).is_file():
            return found.group()
        content = json.loads((folder / found["file"]).read_text())
        if "sets" in content:
            text = real_table(content["sets"])
        else:
            text = markdown_table(content["rows"], short=bool(found["short"]))
        return f"{found['start']}\n{text}\n<!-- end -->"

    pattern = r"(?P<start><!-- table (?P<file>[\w-]+\.json)(?P<short> short)? -->).*?<!-- end -->"
    page.write_text(re.sub(pattern, table, page.read_text(), flags=re.DOTALL))


def write_results(path: Path, data: Path | None = None) -> Path:
    """Measure on the bundled part of the test city, or on ``data``/images/test, and write the numbers."""
    dataset = bundled_city() if data is None else read_dataset(data, "test")
    path.write_text(json.dumps(measure(dataset), indent=1) + "\n")
    return path


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m training.results", description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, help="dataset folder with images/test; default: the bundled part")
    parser.add_argument("--real", nargs="+", metavar="NAME=FOLDER", help="labelled folders of real photos instead")
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.real:
        folders = {name: Path(folder) for name, _, folder in (text.partition("=") for text in options.real)}
        options.out.write_text(json.dumps(measure_real(folders), indent=1) + "\n")
        return
    write_results(options.out, options.data)


if __name__ == "__main__":
    main()
