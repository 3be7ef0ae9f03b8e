"""Two drives and GT.npz, as VPR_Tutorial and TU Chemnitz's data sets have them: GThard and GTsoft, [database, queries].

GThard says which pairs show the same place. GTsoft also holds pairs near it, which are neither right nor wrong: the
precision-recall curves of VPR_Tutorial leave them out, its Recall@N counts GThard alone, and so do we. Rows and columns
count the photos in the order of their names. The photos lie in images/SPLIT/database and images/SPLIT/queries, or
in the folders of the drives as they are unpacked.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from scicevpr.datasets.dataset import Dataset, Reader, Request
from scicevpr.datasets.ground_truth import GroundTruth
from scicevpr.datasets.ground_truth_files import read_gt_npz
from scicevpr.datasets.photos import list_photos, parse_name
from scicevpr.datasets.readers.utm_tree import UTM_TREE
from scicevpr.errors import DatasetError

TRUTH_FILE = "GT.npz"
DRIVES = {  # of TU Chemnitz's archives: the database's folder, the queries'
    "gardens-point": ("day_right", "night_right"),
    "st-lucia-small": ("100909_0845", "180809_1545"),
    "sfu": ("dry", "jan"),
}
SOFT_FRAMES = 8  # Gardens Point, whose archive has no GT.npz: GTsoft reaches so many frames to either side of GThard


def drives_of(root: Path) -> tuple[Path, Path] | None:
    """The folders of a data set of DRIVES as it is unpacked: database, queries."""
    pairs = ((root / database, root / queries) for database, queries in DRIVES.values())
    return next((pair for pair in pairs if pair[0].is_dir() and pair[1].is_dir()), None)


def write_frames_truth(path: Path, count: int) -> None:
    """GT.npz of two drives of the same frames: GThard the identity, GTsoft SOFT_FRAMES to either side."""
    frames = np.arange(count)
    apart = np.abs(frames[:, None] - frames)
    np.savez_compressed(path, GThard=apart == 0, GTsoft=apart <= SOFT_FRAMES)


def _recognises(root: Path, split: str) -> bool:
    return drives_of(root) is not None or ((root / TRUTH_FILE).is_file() and UTM_TREE.recognises(root, split))


def _read(request: Request) -> Dataset:
    """DatasetError when GT.npz or photos are missing or do not fit together."""
    root, drives = request.root, drives_of(request.root)
    if drives is None:
        dataset = replace(UTM_TREE.read(request), layout="gt-npz")
    else:
        database, queries = (tuple(parse_name(path) for path in list_photos(folder)) for folder in drives)
        dataset = Dataset(root.resolve().name, "test", root, database, queries, layout="gt-npz")
    dataset = replace(dataset, use_labels=request.labels)
    if not request.labels or not dataset.queries:
        return dataset
    counts, path = (len(dataset.database), len(dataset.queries)), root / TRUTH_FILE
    if path.is_file():
        hard, soft = read_gt_npz(path, *counts)
    elif drives is not None and drives[0].name == DRIVES["gardens-point"][0] and counts[0] == counts[1]:
        hard, soft = np.eye(counts[0], dtype=bool), None
    else:
        raise DatasetError(f"There is no {path}, which says what is right. Get it, or use --no-labels.")
    truth = GroundTruth.lists([np.flatnonzero(column) for column in hard.T], "GThard of GT.npz")
    only_soft = 0 if soft is None else int((soft & ~hard).sum())
    note = f"{only_soft:,} more pairs are right in GTsoft only: they count as wrong in Recall@N, as in VPR_Tutorial."
    return replace(dataset, truth=truth, notes=(*dataset.notes, *([note] if only_soft else [])))


GT_NPZ = Reader(
    f"{TRUTH_FILE} beside images/SPLIT, or beside two drives (TU Chemnitz, VPR_Tutorial)", _recognises, _read
)
