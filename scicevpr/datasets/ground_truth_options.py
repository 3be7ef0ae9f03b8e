"""What a reader found, made ready for scoring: the rule that was asked for, checks, and notes for the results."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from scicevpr.datasets.dataset import BY_PATH, Dataset
from scicevpr.datasets.frames import frames_truth
from scicevpr.datasets.ground_truth import read_truth
from scicevpr.datasets.ground_truth_files import GroundTruth
from scicevpr.datasets.name_index import NameIndex
from scicevpr.datasets.names import Photo
from scicevpr.datasets.positions import (
    check_positions,
    missing_positions,
    position_notes,
    stand_in_words,
    with_positions,
)
from scicevpr.datasets.zones import in_one_zone
from scicevpr.errors import DatasetError, UsageError
from scicevpr.files.safe_npy import read_npy


@dataclass(frozen=True)
class GroundTruthOptions:
    """Where right answers come from when not from the data set itself; at most one of the first three.

    ground_truth: a file as for `ground_truth.read_truth`. frames: a query is right with the database frames of its own
    number, so many more or less (see `frames.frames_truth`). same_name: photos of the same base name (without
    extension) show the same place. positions: a CSV as for `positions.with_positions`, instead of the names.
    query_list: a file that names the queries to use.
    """

    ground_truth: Path | str | None = None
    frames: int | None = None
    same_name: bool = False
    positions: Path | str | None = None
    query_list: Path | str | None = None

    @property
    def elsewhere(self) -> bool:
        """True when the data set's own ground truth is not needed."""
        return bool(self._positives or self.positions)

    @property
    def _positives(self) -> list[str]:
        chosen = {
            "--ground-truth": self.ground_truth is not None,
            "--frames": self.frames is not None,
            "--same-name": self.same_name,
        }
        return [option for option, given in chosen.items() if given]

    def check(self, labels: bool) -> None:
        """Raise UsageError for choices that contradict each other."""
        named = self._positives
        if len(named) > 1:
            raise UsageError(f"{' and '.join(named)} both say what is right; give one of them.")
        if not labels and (named or self.positions):
            raise UsageError(f"--no-labels ignores what is right, so leave out {named[0] if named else '--positions'}.")
        if self.frames is not None and self.frames < 0:
            raise UsageError(f"The number of frames must be 0 or more, not {self.frames}.")


def label(dataset: Dataset, answers: GroundTruthOptions) -> Dataset:
    """A data set with its rule of right and wrong, checked, and with the notes that its positions call for.

    Raises DatasetError when labels are wanted and there are none, or when a file does not fit the photos.
    """
    notes = list(dataset.notes)
    if answers.positions is not None:
        placed, note = with_positions(answers.positions, dataset.database, dataset.queries)
        count = len(dataset.database)
        dataset = replace(dataset, database=tuple(placed[:count]), queries=tuple(placed[count:]))
        notes.append(note)
    truth = _chosen_truth(dataset, answers) or dataset.truth
    places = (*dataset.database, *dataset.queries)
    if dataset.use_labels:
        problem = missing_positions(places)
        if problem and truth.listed is None:
            raise DatasetError(
                f"{problem} Without positions nothing can be scored: name a table of positions (--positions), a list "
                "of right answers (--ground-truth, --frames, --same-name), or use --no-labels (labels=False) for "
                "predictions only."
            )
        check_positions(places)
        places, moved = in_one_zone(places)
        notes += [*moved, *position_notes(places)]
        count = len(dataset.database)
        dataset = replace(dataset, database=tuple(places[:count]), queries=tuple(places[count:]))
        if truth.listed is None and not truth.words:
            truth = replace(truth, words=stand_in_words(places, truth.radius))
    dataset = replace(dataset, truth=truth, notes=tuple(notes))
    return dataset if answers.query_list is None else _select(dataset, Path(answers.query_list))


def _chosen_truth(dataset: Dataset, answers: GroundTruthOptions) -> GroundTruth | None:
    if answers.ground_truth is not None:
        return read_truth(answers.ground_truth, dataset.database, dataset.queries)
    if answers.frames is not None:
        return frames_truth(dataset.database, dataset.queries, answers.frames)
    if answers.same_name:
        return _same_names(dataset.database, dataset.queries)
    return None


def _same_names(database: Sequence[Photo], queries: Sequence[Photo]) -> GroundTruth:
    rows: dict[str, list[int]] = {}
    for row, place in enumerate(database):
        rows.setdefault(_stem(place), []).append(row)
    found = [rows.get(_stem(place), []) for place in queries]
    if not any(found):
        raise DatasetError(
            f"No query has the name of a database photo (queries are called like {queries[0].name}, database photos "
            f"like {database[0].name}). If both are sorted alike, --frames 0 pairs them by row."
        )
    return GroundTruth.lists(found, "photos of the same name")


def _stem(place: Photo) -> str:
    return unicodedata.normalize("NFC", place.path.stem)


def _select(dataset: Dataset, path: Path) -> Dataset:
    """The queries that a file names: a text file with one name a line, or .npy of names or rows.

    Row numbers of `<set>_qIdx.npy` count in `<set>_qImages.npy` beside it where there is one, else in the queries
    sorted by path.
    """
    names: Sequence[str] | None = None
    rows: list[int] = []
    if path.suffix == ".npy":
        values = read_npy(path).reshape(-1)
        images = path.with_name(path.name.replace("_qIdx", "_qImages"))
        if values.dtype.kind in "iu" and images != path and images.is_file():
            listed = read_npy(images)
            if len(values) and not 0 <= values.min() <= values.max() < len(listed):
                raise DatasetError(f"{path} names row {values.max()}, but {images.name} has {len(listed)} entries.")
            names = [str(name) for name in listed[values]]
        elif values.dtype.kind in "iu":
            rows = [int(value) for value in values]
        else:
            names = [str(value) for value in values]
    else:
        try:
            names = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        except (OSError, UnicodeDecodeError) as error:
            raise DatasetError(f"The query list {path} cannot be read ({error}).") from error
    if names is not None:
        index = NameIndex(dataset.queries, "query photos")
        rows = [index.row(name, path) for name in names]
    if not rows or not 0 <= min(rows) <= max(rows) < len(dataset.queries):
        raise DatasetError(
            f"The query list {path} names {len(rows)} queries"
            + (f" and row {max(rows)}" if rows else "")
            + f"; there are {len(dataset.queries)} queries (rows count from 0)."
        )
    kept = np.unique(rows)  # in the order of the data set, whatever the order of the list
    words = f"{BY_PATH}, {len(kept)} of {len(dataset.queries)} as listed in {path.name}"
    return dataset.select_queries(kept, words)
