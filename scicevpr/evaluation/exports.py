"""Results in the forms that other tools score: similarity matrices (VPR_Tutorial, VPR-Bench), the MSLS challenge.

VPR_Tutorial reads S [database, queries] with GThard and GTsoft, bool of the same shape. Entries right in GTsoft only
are left out of its curves; where a data set says nothing of such pairs, GTsoft is GThard.
"""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from scicevpr.datasets.dataset import Dataset
from scicevpr.datasets.ground_truth_files import read_gt_npz
from scicevpr.datasets.photos import Photo
from scicevpr.datasets.readers.gt_npz import TRUTH_FILE
from scicevpr.errors import DatasetError, UsageError
from scicevpr.evaluation.results import Evaluation
from scicevpr.files.writing import bytes_label, written_whole

ENDINGS = (".npz", ".csv", ".zip")
LARGEST = 4 * 2**30  # bytes of a similarity matrix
ROWS_AT_ONCE = 4096


def export(result: Evaluation, path: Path) -> Path:
    """Write a result as its name asks: .npz a similarity matrix with ground truth, .csv or .zip predictions as the MSLS
    challenge takes them. UsageError for another name, or a result that cannot be written so."""
    if path.suffix == ".npz":
        return save_similarities(result, path)
    if path.suffix in (".csv", ".zip"):
        return save_challenge(result, path)
    raise UsageError(f"{path} says no form: .npz for a similarity matrix, .csv or .zip for the MSLS challenge.")


def save_similarities(result: Evaluation, path: Path) -> Path:
    """Write S, float32 [database, queries], with GThard and GTsoft of a labelled set, and the photos' names."""
    dataset = result.dataset
    shape = (len(dataset.database), len(dataset.queries))
    if result.database is None or result.queries is None or len(result.queries.values) != shape[1]:
        raise UsageError(
            f"{result.title} has no one descriptor a photo, so there is no similarity matrix. Evaluate a model with "
            "--test-method hard_resize."
        )
    size = 4 * shape[0] * shape[1]
    if size > LARGEST:
        raise UsageError(
            f"A matrix of {shape[0]} x {shape[1]} similarities has {bytes_label(size)}; at most 4 GiB are written."
        )
    similarities, queries = np.empty(shape, np.float32), np.asarray(result.queries.values, np.float32)
    for start in range(0, shape[0], ROWS_AT_ONCE):
        rows = np.asarray(result.database.values[start : start + ROWS_AT_ONCE], np.float32)
        similarities[start : start + len(rows)] = rows @ queries.T
    truth = (
        {}
        if result.positives is None
        else dict(zip(("GThard", "GTsoft"), truth_matrices(dataset, result.positives), strict=True))
    )
    names = {"database": _names(dataset.database), "queries": _names(dataset.queries)}
    _save(path, S=similarities, **truth, **names)
    return path


def truth_matrices(dataset: Dataset, positives: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """GThard and GTsoft, bool [database, queries], of positives (database rows of each query)."""
    hard = np.zeros((len(dataset.database), len(dataset.queries)), bool)
    for query, rows in enumerate(positives):
        hard[rows, query] = True
    for folder in (dataset.root, *list(dataset.root.parents)[:2]):
        if dataset.layout == "gt-npz" and (folder / TRUTH_FILE).is_file():
            try:
                stored, soft = read_gt_npz(folder / TRUTH_FILE, *hard.shape)
            except DatasetError:  # of all queries, where some were chosen
                break
            return hard, hard if soft is None or not np.array_equal(stored, hard) else soft
    return hard, hard


def save_truth(dataset: Dataset, path: Path) -> Path:
    """Write what is right in a labelled data set: .npz as GT.npz (GThard, GTsoft), .npy as VPR-Bench's array [Q, 2] of
    query row and list of database rows. Rows count the photos by path. UsageError for another name or no labels."""
    if not dataset.labelled:
        raise UsageError(
            f"{dataset.name} has no labels, so there is nothing to write. Give --positions or --ground-truth."
        )
    positives = dataset.positives()
    if path.suffix == ".npz":
        hard, soft = truth_matrices(dataset, positives)
        _save(path, GThard=hard, GTsoft=soft)
    elif path.suffix == ".npy":
        values = np.empty((len(positives), 2), dtype=object)
        for query, rows in enumerate(positives):
            values[query] = [query, rows.tolist()]
        with written_whole(path) as part, part.open("wb") as stream:
            np.save(stream, values, allow_pickle=True)  # rows of different lengths: the form that VPR-Bench reads
    else:
        raise UsageError(f"{path} says no form: .npz for GT.npz, .npy for ground_truth_new.npy of VPR-Bench.")
    return path


def save_challenge(result: Evaluation, path: Path) -> Path:
    """Write one row a query, its key and those of its predictions, parted by spaces, as the MSLS challenge takes them:
    a .csv, or a .zip that holds it. A key is a photo's name without its ending."""
    text = io.StringIO()
    rows = csv.writer(text, delimiter=" ", lineterminator="\n")
    database = [photo.path.stem for photo in result.dataset.database]
    for photo, predicted in zip(result.dataset.queries, result.predictions, strict=True):
        rows.writerow([photo.path.stem, *(database[row] for row in predicted if row >= 0)])
    with written_whole(path) as part:
        if path.suffix == ".csv":
            part.write_text(text.getvalue(), encoding="utf-8")
        else:
            with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive:
                archive.writestr(f"{path.stem}.csv", text.getvalue())
    return path


def _names(photos: Sequence[Photo]) -> np.ndarray:
    return np.array([photo.name for photo in photos])


def _save(path: Path, **arrays: np.ndarray) -> None:
    with written_whole(path) as part, part.open("wb") as stream:
        np.savez_compressed(stream, **arrays)
