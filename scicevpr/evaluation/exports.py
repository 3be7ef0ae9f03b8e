"""An evaluation's descriptors as files that other people's tools read, in a folder named after the time.

The layout is that of VPR-methods-evaluation: `queries_descriptors.npy` and `database_descriptors.npy`, beside the
pictures of `scicevpr.figures.strips`. `descriptors.json` is ours: names, protocol and model, so that the descriptors
can be scored again later (`scicevpr.evaluation.stored`).
"""

from __future__ import annotations

import contextlib
import itertools
import json
import shutil
from dataclasses import fields
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from scicevpr.datasets import Photo, parse_name
from scicevpr.errors import DatasetError, UsageError
from scicevpr.evaluation.results import Evaluation, relative_name
from scicevpr.files.descriptor_files import Descriptors
from scicevpr.files.reading import sha256_of

DESCRIPTORS_FORMAT = "scicevpr-exported-descriptors-2"
DESCRIPTORS_FILE = "descriptors.json"
DATABASE_FILE = "database_descriptors.npy"
QUERIES_FILE = "queries_descriptors.npy"
BYTES_AT_ONCE = 64 << 20
MARGIN_BYTES = 16 << 20
SCORING_KEYS = (
    "dataset", "database", "queries", "query order", "test method", "queries without positives", "right within",
    "UTM rounding", "search", "torch", "intervals",
)
"""Parts of a protocol that belong to the scoring, not to the descriptors."""



def new_run_folder(base: Path | str, now: datetime | None = None) -> Path:
    """Make and return a new folder `base`/YYYY-MM-DD_hh-mm-ss; a taken name gets a number. Nothing is overwritten."""
    base, stamp = Path(base), (now or datetime.now()).strftime("%Y-%m-%d_%H-%M-%S")
    base.mkdir(parents=True, exist_ok=True)
    names = itertools.chain([stamp], (f"{stamp}-{number}" for number in itertools.count(2)))
    while True:
        folder = base / next(names)
        with contextlib.suppress(FileExistsError):
            folder.mkdir()
            return folder


def write_descriptor_files(evaluation: Evaluation, folder: Path | str) -> list[Path]:
    """Write the descriptors that an evaluation kept: two .npy files (float32) and descriptors.json. Returns the paths.

    They are what the model gave, before any PCA; a test method with five crops gives five rows a query. Rows are
    written in blocks, so that descriptors on disk are never all in memory. Raises UsageError when they were not kept,
    DatasetError when the disk is too small.
    """
    parts = {"database": evaluation.database, "queries": evaluation.queries}
    for name, part in parts.items():
        if part is None:
            raise UsageError(
                f"The {name} descriptors of {evaluation.title} cannot be saved, because they are not kept."
            )
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    _check_disk(folder, sum(4 * part.values.size for part in parts.values()))
    paths = [
        _write_rows(folder / file, parts[name].values)
        for name, file in (("database", DATABASE_FILE), ("queries", QUERIES_FILE))
    ]
    content = _descriptor_record(evaluation)
    for name, path in zip(("database", "queries"), paths, strict=True):
        content[name]["sha256"] = sha256_of(path)
    record = folder / DESCRIPTORS_FILE  # written last: its presence says that the others are complete
    record.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return [*paths, record]


def descriptor_protocol(evaluation: Evaluation) -> dict[str, str]:
    """The part of a protocol that says how the descriptors were made (before any PCA)."""
    protocol = {key: value for key, value in evaluation.protocol.items() if key not in SCORING_KEYS}
    if "torch" in evaluation.protocol:
        protocol["described with"] = f"torch {evaluation.protocol['torch']}"
    if protocol.get("PCA", "none") != "none":
        protocol["PCA"] = "none"
    return protocol


def _descriptor_record(evaluation: Evaluation) -> dict[str, Any]:
    dataset, own = evaluation.dataset, evaluation.database
    truth = dataset.truth
    return {
        "format": DESCRIPTORS_FORMAT,
        "title": evaluation.title,
        "model": {name: getattr(own, name) for name in ("variant", "fingerprint", "weights", "trained")},
        "protocol": descriptor_protocol(evaluation),
        "dataset": {
            **{name: getattr(dataset, name) for name in ("name", "split", "query_order", "benchmark", "layout")},
            "labelled": dataset.labelled,
            "notes": list(dataset.notes),
            "truth": {
                **{name: getattr(truth, name) for name in ("radius", "max_heading_difference", "name")},
                "listed": None if truth.listed is None else [rows.tolist() for rows in truth.listed],
            },
        },
        "database": _part_record(DATABASE_FILE, own, dataset.database, dataset.root),
        "queries": _part_record(QUERIES_FILE, evaluation.queries, dataset.queries, dataset.root),
        "test_method": evaluation.protocol.get("test method", "hard_resize").split()[0],
    }


def _part_record(file: str, part: Descriptors, photos: tuple[Photo, ...], root: Path) -> dict[str, Any]:
    """Names, and for photos whose name does not say all that is known about them, the rest by row."""
    names, more = [relative_name(photo.path, root) for photo in photos], {}
    known = [field.name for field in fields(Photo) if field.name not in ("path", "name")]
    for row, (photo, name) in enumerate(zip(photos, names, strict=True)):
        said = parse_name(name)
        differing = {key: getattr(photo, key) for key in known if getattr(said, key) != getattr(photo, key)}
        if differing:
            more[str(row)] = differing
    rows, values = part.values.shape
    return {"file": file, "rows": rows, "values": values, "grouping": part.grouping, "names": names, "more": more}


def _write_rows(path: Path, values: np.ndarray) -> Path:
    rows = max(1, BYTES_AT_ONCE // (4 * values.shape[1]))
    with path.open("wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": values.shape}
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, len(values), rows):
            file.write(np.ascontiguousarray(values[start : start + rows], dtype="<f4").data)
    return path


def _check_disk(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed + MARGIN_BYTES:
        raise DatasetError(
            f"The descriptors need {needed / 2**20:.0f} MiB, but the disk of {folder} has {free / 2**20:.0f} MiB left. "
            "Name a folder on another disk with --save_dir."
        )
