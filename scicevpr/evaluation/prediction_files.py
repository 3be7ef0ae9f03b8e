"""Predictions and descriptors as files that other people's tools read.

The layout is that of VPR-methods-evaluation: a folder named after the time, in it `preds/NNN.jpg` (query and best
answers side by side), `preds/NNN.txt` (their paths and those of the positives), `queries_descriptors.npy` and
`database_descriptors.npy`. `descriptors.json` beside them is ours: names, protocol and model, so that the descriptors
can be scored again later (`scicevpr.evaluation.stored`).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import fields, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from scicevpr.datasets import Photo, parse_name
from scicevpr.errors import DatasetError, ImageError, UsageError
from scicevpr.evaluation.results import Evaluation, relative_name
from scicevpr.figures.strips import Tile, draw_strip
from scicevpr.files.descriptor_files import Descriptors
from scicevpr.files.photos import open_photo
from scicevpr.files.reading import sha256_of
from scicevpr.retrieval import Match, Matches

DESCRIPTORS_FORMAT = "scicevpr-exported-descriptors-1"
DESCRIPTORS_FILE = "descriptors.json"
DATABASE_FILE = "database_descriptors.npy"
QUERIES_FILE = "queries_descriptors.npy"
BYTES_AT_ONCE = 64 << 20
MARGIN_BYTES = 16 << 20
SCORING_WORDS = (
    "dataset", "database", "queries", "query order", "test method", "queries without positives", "right within",
    "UTM rounding", "search", "torch", "intervals",
)  # fmt: skip
"""Parts of a protocol that belong to the scoring, not to the descriptors."""

Progress = Callable[[int, int], None]


def new_run_folder(base: Path | str, now: datetime | None = None) -> Path:
    """Make and return a new folder `base`/YYYY-MM-DD_hh-mm-ss; a taken name gets a number. Nothing is overwritten."""
    base, stamp = Path(base), (now or datetime.now()).strftime("%Y-%m-%d_%H-%M-%S")
    base.mkdir(parents=True, exist_ok=True)
    number = 1
    while True:
        folder = base / (stamp if number == 1 else f"{stamp}-{number}")
        try:
            folder.mkdir()
        except FileExistsError:
            number += 1
        else:
            return folder


def write_prediction_files(
    evaluation: Evaluation,
    folder: Path | str,
    count: int,
    *,
    only_wrong: bool = False,
    progress: Progress | None = None,
) -> int:
    """Write `folder`/preds/NNN.jpg and NNN.txt for every query (NNN: its row) with its `count` best answers.

    only_wrong: only queries whose first answer is wrong. A photo that cannot be read becomes a grey tile. Returns how
    many queries were written. Raises UsageError when fewer answers were searched, or nobody knows what is wrong.
    """
    if not 1 <= count <= max(evaluation.ns):
        raise UsageError(
            f"{count} predictions a query cannot be saved: {max(evaluation.ns)} were searched. Choose fewer, or search "
            "further with a larger recall value."
        )
    if only_wrong and evaluation.positives is None:
        raise UsageError("Without labels nobody knows which predictions are wrong; save all of them instead.")
    target = Path(folder) / "preds"
    target.mkdir(parents=True, exist_ok=True)
    found, written, queries = evaluation.matches, 0, evaluation.dataset.queries
    first = Matches(found.indices[:, :count], found.distances[:, :count], found.similarities[:, :count])
    for row, (query, best) in enumerate(zip(queries, replace(evaluation, matches=first).list_matches(), strict=True)):
        if not (only_wrong and best and best[0].correct):
            _write_paths(target / f"{row:03d}.txt", evaluation, row, best)
            _strip(query, best).save(target / f"{row:03d}.jpg", quality=88)
            written += 1
        if progress is not None:
            progress(row + 1, len(queries))
    return written


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


def descriptor_words(evaluation: Evaluation) -> dict[str, str]:
    """The part of a protocol that says how the descriptors were made (before any PCA)."""
    words = {key: value for key, value in evaluation.protocol.items() if key not in SCORING_WORDS}
    if "torch" in evaluation.protocol:
        words["described with"] = f"torch {evaluation.protocol['torch']}"
    if words.get("PCA", "none") != "none":
        words["PCA"] = "none"
    return words


def _descriptor_record(evaluation: Evaluation) -> dict[str, Any]:
    dataset, own = evaluation.dataset, evaluation.database
    truth = dataset.truth
    return {
        "format": DESCRIPTORS_FORMAT,
        "title": evaluation.title,
        "model": {
            "variant": own.variant,
            "fingerprint": own.fingerprint,
            "weights": own.weights,
            "trained": own.trained,
        },
        "protocol": descriptor_words(evaluation),
        "dataset": {
            "name": dataset.name,
            "split": dataset.split,
            "query_order": dataset.query_order,
            "benchmark": dataset.benchmark,
            "layout": dataset.layout,
            "labelled": dataset.labelled,
            "notes": list(dataset.notes),
            "truth": {
                "radius": truth.radius,
                "turn": truth.turn,
                "words": truth.words,
                "listed": None if truth.listed is None else [rows.tolist() for rows in truth.listed],
            },
        },
        "database": _part_record(DATABASE_FILE, own, dataset.database, dataset.root),
        "queries": _part_record(QUERIES_FILE, evaluation.queries, dataset.queries, dataset.root),
        "test_method": evaluation.protocol.get("test method", "hard_resize").split()[0],
    }


def _part_record(file: str, part: Descriptors, places: tuple[Photo, ...], root: Path) -> dict[str, Any]:
    """Names, and for photos whose name does not say all that is known about them, the rest by row."""
    names = [relative_name(place.path, root) for place in places]
    more = {}
    for row, (place, name) in enumerate(zip(places, names, strict=True)):
        said = parse_name(name)
        facts = {
            field.name: getattr(place, field.name) for field in fields(place) if field.name not in ("path", "name")
        }
        differing = {key: value for key, value in facts.items() if getattr(said, key) != value}
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


def _write_paths(path: Path, evaluation: Evaluation, row: int, best: list[Match]) -> None:
    sections = [
        ("Query path:", [evaluation.dataset.queries[row].path]),
        ("Predictions paths:", [match.place.path for match in best]),
    ]
    if evaluation.positives is not None:
        database = evaluation.dataset.database
        sections.append(("Positives paths:", [database[right].path for right in evaluation.positives[row]]))
    text = "\n".join("\n".join([heading, *map(str, paths)]) + "\n" for heading, paths in sections)
    path.write_text(text, encoding="utf-8")


def _strip(query: Photo, best: list[Match]) -> Image.Image:
    tiles = [Tile(_photo(query), query.name, "Query", query.condition or "")]
    for match in best:
        facts = [] if match.metres is None or match.place.mock_position else [f"{match.metres:.1f} m"]
        caption = ", ".join([*facts, f"cosine {match.similarity:.3f}"])
        tiles.append(Tile(_photo(match.place), match.place.name, f"Pred{match.rank}", caption, match.correct))
    return draw_strip(tiles)


def _photo(place: Photo) -> Image.Image | None:
    try:
        return open_photo(place.path)
    except ImageError:
        return None
