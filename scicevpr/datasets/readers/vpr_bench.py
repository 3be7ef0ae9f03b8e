"""VPR-Bench folders: query/NNNNNNN.jpg, ref/NNNNNNN.jpg and ground_truth_new.npy, which lists the right answers.

The file is a pickled array [Q, 2] of [query row, list of ref rows]; rows count the photos in the order of the numbers
in their names. It is read without running anything (see `scicevpr.files.reading`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from scicevpr.datasets.dataset import Dataset, Request
from scicevpr.datasets.ground_truth import GroundTruth
from scicevpr.datasets.ground_truth_files import listed_truth, pair_lists, row_lists
from scicevpr.datasets.photos import Photo, list_photos, parse_name
from scicevpr.errors import DatasetError
from scicevpr.files.reading import read_npy

TRUTH_FILE = "ground_truth_new.npy"
LOOKS_LIKE = f"query/, ref/ and {TRUTH_FILE} (VPR-Bench)"


def recognises(root: Path, split: str) -> bool:
    """True for a folder with query/ and ref/."""
    return (root / "query").is_dir() and (root / "ref").is_dir()


def read(request: Request) -> Dataset:
    """Read a VPR-Bench folder. DatasetError when a folder or the ground truth is missing or does not fit."""
    root = request.root
    database, queries = (tuple(parse_name(path) for path in list_photos(root / side)) for side in ("ref", "query"))
    truth = _truth(root / TRUTH_FILE, database, queries) if request.labels else GroundTruth()
    return Dataset(
        name=root.resolve().name, split="test", root=root, database=database, queries=queries, truth=truth,
        use_labels=request.labels, layout="vpr-bench",
    )


def _truth(path: Path, database: Sequence[Photo], queries: Sequence[Photo]) -> GroundTruth:
    if not path.is_file():
        raise DatasetError(
            f"There is no {path}, the list of right answers of VPR-Bench. Download it, name another with "
            "--ground-truth, or use --no-labels (labels=False) for predictions only."
        )
    values = read_npy(path)
    if len(values) != len(queries):
        raise DatasetError(
            f"{path} holds {len(values)} queries, but query/ has {len(queries)} photos. Download the photos again, or "
            "the file that belongs to them."
        )
    if values.ndim == 2 and values.shape[1] == 2:
        rows = pair_lists(path, values, len(queries))
    elif values.ndim == 1:
        rows = row_lists(path, values)
    else:
        raise DatasetError(f"{path} has the shape {list(values.shape)}; VPR-Bench writes [queries, 2].")
    listed_truth(path, rows, len(database), len(queries), "")  # the rows must exist before they can be translated
    database_rows, query_rows = _by_number(database), _by_number(queries)
    by_path: list[np.ndarray] = [database_rows[:0]] * len(queries)
    for number, found in enumerate(rows):
        by_path[query_rows[number]] = database_rows[found]
    return GroundTruth.lists(by_path, f"the list in {path.name}")


def _by_number(photos: Sequence[Photo]) -> np.ndarray:
    """Rows of photos in the order of the numbers in their names ("2.jpg" before "10.jpg")."""
    keys = [[int(part) if part.isdigit() else part for part in re.split(r"(\d+)", photo.name)] for photo in photos]
    return np.array(sorted(range(len(photos)), key=keys.__getitem__), dtype=np.int64)
