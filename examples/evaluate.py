"""From a folder of photos to a table of Recall@N, step by step: the published protocol in one file.

    python examples/evaluate.py --dataset assets/procity --model scicevpr-t

The folder is a data set of any layout that `scicevpr datasets` knows. `scicevpr evaluate` does the same with every
option; this file is for reading and for changing.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

import scicevpr
from scicevpr.evaluation.protocols import published_grouping


def recall_at(found: np.ndarray, positives: list[np.ndarray], n: int) -> float:
    """Percent of queries with a positive among their first n answers. found: database rows [Q, K], nearest first."""
    hits = [np.isin(rows[:n], right).any() for rows, right in zip(found, positives, strict=True)]
    return 100 * float(np.mean(hits))


def evaluate(model_name: str, folder: Path, ns: tuple[int, ...], radius: float) -> dict[int, float]:
    """Recall@N in percent for every n of ``ns``. radius: metres within which an answer is right."""
    model = scicevpr.load_model(model_name)
    data = scicevpr.Dataset.open(folder)
    print(f"{data.name}: {len(data.database)} database photos, {len(data.queries)} queries")

    # photos -> descriptors; cross-image models look at the other photos in the batch, so the grouping is part of the
    # protocol
    grouping = published_grouping(model.variant, data)
    database = scicevpr.describe(model, [photo.path for photo in data.database], grouping=grouping)  # (N, D)
    queries = scicevpr.describe(model, [photo.path for photo in data.queries], grouping=grouping)  # (Q, D)
    print(database.protocol_line())

    # descriptors -> ranked database rows
    index = scicevpr.make_index(database.values)
    matches = index.search(queries.values, max(ns))  # indices (Q, K)

    # ranked rows -> Recall@N: positives are the database rows that show the place of a query
    positives = data.positives(radius)
    return {n: recall_at(matches.indices, positives, n) for n in ns}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", type=Path, required=True, help="folder of the data set")
    parser.add_argument("--model", default="scicevpr-t", help="variant, weights file or Hub repository")
    parser.add_argument("--ns", type=int, nargs="+", default=[1, 5, 10, 20], metavar="N")
    parser.add_argument("--radius", type=float, default=25.0, help="metres (default: 25)")
    options = parser.parse_args()
    recalls = evaluate(options.model, options.dataset, tuple(options.ns), options.radius)
    print("".join(f"{f'R@{n}':>8}" for n in recalls))
    print("".join(f"{recall:8.1f}" for recall in recalls.values()))


if __name__ == "__main__":
    main()
