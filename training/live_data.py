"""What a live distillation learns from: one half of a labelled data set, with the other half kept for measuring.

The photos pass through the frozen part of the teacher (backbone, final norm, 1x1 convolution, ReLU) once; what comes
out is kept, so that training and measuring need the small rest alone.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from scicevpr.datasets import Dataset, Photo, utm_array
from scicevpr.descriptors.batches import Grouping, photo_batches
from scicevpr.descriptors.describe import evaluating
from scicevpr.errors import DatasetError, UsageError
from scicevpr.models.model import VPRModel
from training.batches import TrainingPhotos
from training.steps import frozen_maps, head_descriptors

REACH_M, TURN_DEG, APART_M = 15.0, 40.0, 25.0
PHOTOS = 3
AT_ONCE = 8
BATCHES_OF_16 = Grouping.sequential(16)


@dataclass(frozen=True)
class Halves:
    """A data set cut in two by position.

    learn: photos to learn from, database and queries alike; places: [len(learn)] their place numbers. held_out: the
    database and queries of the other half, nothing of which is learnt from. name: of the whole data set. gap_m: metres
    between the nearest photos of the two halves; sides: where each half lies.
    """

    learn: tuple[Photo, ...]
    places: np.ndarray
    held_out: Dataset
    name: str
    gap_m: float
    sides: tuple[str, str]


@dataclass(frozen=True)
class LiveMaps:
    """Kept maps after the frozen part of a teacher, [N, C, rows, columns] each.

    photos, maps: the half to learn from, its maps bfloat16. database, queries: the held-out half, float32.
    teacher: the trained rest of the teacher (:func:`head_of`), which takes these maps; whole: the teacher itself.
    target: its descriptors of the held-out queries in file order, [Q, D].
    """

    halves: Halves
    photos: TrainingPhotos
    maps: Tensor
    database: Tensor
    queries: Tensor
    teacher: VPRModel
    whole: VPRModel
    target: np.ndarray


def split_in_halves(dataset: Dataset) -> Halves:
    """Cut a data set at the widest gap between positions, east to west or north to south.

    Photos to learn from that lie within the data set's radius of a held-out photo are left out, so no positive of a
    held-out query is ever learnt from. The western (southern) half is learnt from.

    Raises DatasetError: no real positions, or a half without queries, database photos or places seen several times.
    """
    if not dataset.has_map:
        raise DatasetError(f"{dataset.name} has photos without a position, so it cannot be cut in two. Choose another.")
    everything = (*dataset.database, *dataset.queries)
    positions = utm_array(everything)
    axis, border = _widest_gap(positions)
    held = positions[:, axis] > border
    first = len(dataset.database)
    sides = [
        tuple(p for p, beyond in zip(part, own, strict=True) if beyond)
        for part, own in ((dataset.database, held[:first]), (dataset.queries, held[first:]))
    ]
    rest = [photo for photo, beyond in zip(everything, held, strict=True) if not beyond]
    if not all(sides) or not rest:
        raise DatasetError(f"{dataset.name} is too small to be cut into a half to learn from and one to measure on.")
    nearest = _distances(utm_array(rest), utm_array([*sides[0], *sides[1]])).min(axis=1)
    learn = [photo for photo, metres in zip(rest, nearest, strict=True) if metres > dataset.truth.radius]
    numbers = number_places(learn)
    kept = numbers >= 0
    if len(np.unique(numbers[kept])) < 2:
        raise DatasetError(
            f"{dataset.name} shows fewer than two places of its {('west', 'south')[axis]} in {PHOTOS} photos each."
        )
    held_out = replace(dataset, database=sides[0], queries=sides[1], name=f"{dataset.name}, held-out half")
    return Halves(
        learn=tuple(photo for photo, keep in zip(learn, kept, strict=True) if keep),
        places=numbers[kept],
        held_out=held_out,
        name=dataset.name,
        gap_m=float(nearest[nearest > dataset.truth.radius].min()),
        sides=(("west", "east"), ("south", "north"))[axis],
    )


def number_places(photos: Sequence[Photo], count: int = PHOTOS) -> np.ndarray:
    """Which place each photo shows, [N] numbers from 0; -1 where no place of ``count`` photos has it.

    A place is a spot and a direction: photos within 15 m of a photo that look the same way (40 degrees). Two places
    lie 25 m apart or look different ways (90 degrees), so that what is pushed apart does show different things. The
    photos with most others around them come first. Without headings photos count as looking the same way.
    """
    numbers = np.full(len(photos), -1)
    if not photos:
        return numbers
    positions = utm_array(photos)
    metres = _distances(positions, positions)
    headings = np.array([np.nan if photo.heading is None else photo.heading for photo in photos])
    turned = np.nan_to_num(np.abs((headings[:, None] - headings[None] + 180) % 360 - 180))
    near = (metres <= REACH_M) & (turned <= TURN_DEG)
    centres: list[int] = []
    for row in np.argsort(-near.sum(axis=1), kind="stable"):
        beside = (metres[row, centres] < APART_M) & (turned[row, centres] < 90)
        members = np.flatnonzero(near[row] & (numbers < 0))
        if numbers[row] < 0 and not beside.any() and len(members) >= count:
            numbers[members] = len(centres)
            centres.append(int(row))
    return numbers


class MapKeeper:
    """Passes all photos of both halves through the teacher's frozen part, a few at a time.

    Raises UsageError for a model that is no Super-CricaVPR.
    """

    def __init__(self, teacher: VPRModel, halves: Halves) -> None:
        if teacher.variant.family != "super-cricavpr":
            raise UsageError(
                f"SciceVPR learns from a Super-CricaVPR, and {teacher.variant.title} is none. Load one as the teacher."
            )
        self.teacher, self.halves = teacher, halves
        held_out = halves.held_out
        self._paths = [photo.path for photo in (*halves.learn, *held_out.database, *held_out.queries)]
        self._learn: list[Tensor] = []
        self._measured: list[Tensor] = []

    def steps(self) -> Iterator[tuple[int, int]]:
        """Yield (photos done, photos in all). What is done stays done: called again, it goes on from there.

        Raises ImageError for an unreadable photo.
        """
        done, total = sum(map(len, (*self._learn, *self._measured))), len(self._paths)
        groups = [range(i, min(i + AT_ONCE, total)) for i in range(done, total, AT_ONCE)]
        with closing(photo_batches(self._paths, groups, self.teacher.variant.preprocessing)) as batches:
            for group, x in zip(groups, batches, strict=True):
                with torch.no_grad():
                    x = x.to(device_of(self.teacher))
                    maps = self.teacher.fusion.fuse_channels(frozen_maps(self.teacher, x)).float().cpu()
                inside = max(0, min(len(group), len(self.halves.learn) - group.start))
                self._learn.append(maps[:inside].to(torch.bfloat16))
                self._measured.append(maps[inside:])
                yield group.stop, total

    @property
    def maps(self) -> LiveMaps:
        """The result, once all steps are done."""
        learn, measured = torch.cat(self._learn), torch.cat(self._measured)
        first = len(self.halves.held_out.database)
        teacher = head_of(self.teacher)
        return LiveMaps(
            halves=self.halves,
            photos=TrainingPhotos(self.halves.places, np.zeros(len(learn), dtype=int)),
            maps=learn,
            database=measured[:first],
            queries=measured[first:],
            teacher=teacher,
            whole=self.teacher,
            target=descriptors_of(teacher, measured[first:], BATCHES_OF_16),
        )


def keep_maps(teacher: VPRModel, halves: Halves) -> LiveMaps:
    """All of :class:`MapKeeper` in one call."""
    keeper = MapKeeper(teacher, halves)
    for _ in keeper.steps():
        pass
    return keeper.maps


def head_of(model: VPRModel) -> VPRModel:
    """A copy without the frozen part: no backbone, and a fusion that takes maps after convolution and ReLU."""
    # the ReLU after the convolution leaves such maps as they are
    return copy.deepcopy(model, {id(model.backbone): nn.Identity(), id(model.fusion.conv): nn.Identity()})


def with_frozen_part(head: VPRModel, teacher: VPRModel) -> VPRModel:
    """The opposite: a copy of a head as a whole model, on the backbone and the convolution of a teacher."""
    whole = copy.deepcopy(head)
    whole.backbone, whole.fusion.conv = teacher.backbone, teacher.fusion.conv
    return whole.eval()


def device_of(model: VPRModel) -> torch.device:
    """Where a model or a head is; kept maps lie on the processor and go there when they are used."""
    return model.gem.p.device


@torch.no_grad()
def descriptors_of(model: VPRModel, maps: Tensor, grouping: Grouping) -> np.ndarray:
    """Descriptors [N, D] float32 of kept maps [N, C, rows, columns], by a head (:func:`head_of`)."""
    values = np.empty((len(maps), model.variant.descriptor_dim), np.float32)
    with evaluating(model):
        for group in grouping.split(len(maps)):
            rows = list(group)
            values[rows] = head_descriptors(model, maps[rows].float().to(device_of(model))).cpu().numpy()
    return values


def _widest_gap(positions: np.ndarray) -> tuple[int, float]:
    """Axis (0 east, 1 north) and border of the widest gap that leaves a quarter of the photos on either side."""
    best = (-1.0, 0, 0.0)
    for axis in (0, 1):
        values = np.sort(positions[:, axis])
        quarter = len(values) // 4
        gaps = np.diff(values)[quarter : len(values) - quarter - 1]
        if len(gaps):
            at = int(gaps.argmax())
            border = float(values[quarter + at] + values[quarter + at + 1]) / 2
            best = max(best, (float(gaps[at]), axis, border), key=lambda found: found[0])
    return best[1], best[2]


def _distances(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Metres between positions [N, 2] and [M, 2] -> [N, M]."""
    return np.hypot(*(one[:, None] - other[None]).transpose(2, 0, 1))
