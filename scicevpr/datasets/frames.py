"""Two drives of the same route, frame by frame: which number a frame has, and which frames show the same place."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

from scicevpr.datasets.ground_truth_files import GroundTruth
from scicevpr.datasets.names import Photo
from scicevpr.errors import DatasetError

DIGITS = re.compile(r"\d+")


def frames_truth(database: Sequence[Photo], queries: Sequence[Photo], tolerance: int) -> GroundTruth:
    """A query shows what the database frames show whose number is its own, ``tolerance`` more or less.

    Numbers come from the names ("img_007.png" is frame 7, whatever the zeros). Where names carry none, frames are
    counted by row, which needs as many photos on both sides. Raises DatasetError when the sides cannot be matched.
    """
    numbers = {"database": frame_numbers(database), "query": frame_numbers(queries)}
    own = {side: "numbers" if found is not None else "no numbers" for side, found in numbers.items()}
    if len(set(own.values())) == 2:
        raise DatasetError(
            f"Frames cannot be matched: the names of the database photos carry {own['database']} that tell them apart "
            f"(such as {database[0].name}), those of the queries {own['query']} (such as {queries[0].name}). Name the "
            "right answers in a list (--ground-truth), or rename the photos."
        )
    counted = numbers["database"] is None
    if counted and len(database) != len(queries):
        raise DatasetError(
            f"Frames cannot be matched: the names carry no frame numbers ({database[0].name}, {queries[0].name}), and "
            "by "
            f"row {len(queries)} queries do not go with {len(database)} database photos. Name the right answers in a "
            "list "
            "(--ground-truth), or number the photos."
        )
    frames, asked = (
        (np.arange(len(database)), np.arange(len(queries))) if counted else (numbers["database"], numbers["query"])
    )
    order = np.argsort(frames, kind="stable")
    first, last = (np.searchsorted(frames[order], asked + reach, side) for reach, side in
                   ((-tolerance, "left"), (tolerance, "right")))  # fmt: skip
    rows = [np.sort(order[start:stop]) for start, stop in zip(first, last, strict=True)]
    if rows and not any(len(found) for found in rows):
        raise DatasetError(
            f"Frames cannot be matched: the database's numbers go from {frames.min()} to {frames.max()}, the queries' "
            f"from {asked.min()} to {asked.max()}, and none are within {tolerance} of each other. Are they two drives "
            "of "
            "one route, counted alike?"
        )
    words = f"±{tolerance} frames" if tolerance else "same frame number"
    return GroundTruth.lists(rows, f"{words} ({'counted by row' if counted else 'numbers from the names'})")


def frame_numbers(places: Sequence[Photo]) -> np.ndarray | None:
    """The number [N] of every frame: the only number in the names that differs between photos, or in names with
    coordinates the panorama's. None where there is no such number. Raises DatasetError where two photos have the same.
    """
    names = [_numbered_part(place) for place in places]
    found = [[int(text) for text in DIGITS.findall(name)] for name in names]
    forms = {DIGITS.sub("#", name) for name in names}
    if len(forms) != 1 or not found[0]:
        return None
    table = np.array(found, dtype=object)
    varying = [column for column in range(table.shape[1]) if len(set(table[:, column])) > 1]
    if len(places) == 1:
        varying = [table.shape[1] - 1]
    if len(varying) != 1:
        return None
    numbers = table[:, varying[0]]
    if max(numbers) >= 2**62:
        return None
    repeated = [number for number, count in Counter(numbers).items() if count > 1]
    if repeated:
        names = [str(place.path) for place, number in zip(places, numbers, strict=True) if number == repeated[0]]
        raise DatasetError(
            f"Frames cannot be matched: {len(repeated)} numbers occur twice, such as {repeated[0]} in {names[0]} and "
            f"{names[1]}. Give one drive at a time, or name the right answers in a list (--ground-truth)."
        )
    return numbers.astype(np.int64)


def _numbered_part(place: Photo) -> str:
    """Where a name may carry a frame number: @east@north@zone@letter@latitude@longitude@PANO@..., else all of it."""
    pieces = place.path.stem.split("@")
    if len(pieces) < 4:
        return place.path.stem
    return pieces[7] if len(pieces) > 8 else ""
