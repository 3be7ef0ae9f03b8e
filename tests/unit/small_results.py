"""Results without models or photos: a street of places, and descriptors that are right as often as a test wants."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from scicevpr.datasets import Dataset, Photo, format_name, parse_name
from scicevpr.evaluation.benchmark import score
from scicevpr.evaluation.results import Evaluation
from scicevpr.files.descriptor_files import Descriptors

PLACES, VISITS = 12, 3


def street(root: Path = Path("street")) -> Dataset:
    """Twelve places 100 m apart, each with one database photo and three queries: two by day, one by night."""

    def place(folder: str, number: int, visit: int, note: str | None) -> Photo:
        name = {"north": 4e6, "zone_number": 32, "zone_letter": "U", "pano_id": f"{number:02d}{visit}", "note": note}
        return parse_name(root / folder / format_name(east=500_000 + 100 * number + 5 * visit, **name))

    database = [place("database", number, 0, None) for number in range(PLACES)]
    queries = [
        place("queries", number, visit, "night" if visit == 3 else "day")
        for number in range(PLACES)
        for visit in range(1, VISITS + 1)
    ]
    return Dataset("street", "test", root, tuple(database), tuple(queries))


def result(wrong: set[int], title: str = "Model", dataset: Dataset | None = None, ns=(1, 5)) -> Evaluation:
    """A result in which exactly the queries of these rows have a wrong first answer (and no right one among five)."""
    dataset = dataset or street()
    database = np.eye(PLACES, dtype=np.float32)
    queries = np.repeat(database, VISITS, axis=0) * 0.9
    for row in wrong:
        queries[row] = np.roll(np.linspace(1, 0.1, PLACES, dtype=np.float32), row // VISITS + 1)
    evaluation = score(title, dataset, database, queries, ns=ns, protocol={"variant": title.lower(), "PCA": "none"})
    parts = (_descriptors(database), _descriptors(queries))
    return replace(evaluation, database=parts[0], queries=parts[1])


def _descriptors(values: np.ndarray) -> Descriptors:
    words = {"variant": "toy", "fingerprint": "f" * 12, "weights": "w" * 12, "grouping": "alone"}
    return Descriptors(values, **words, trained=True, preprocessing={}, device="cpu", dtype="float32", seconds=0.0)
