"""Which photos make up which batch at full size: a pure function of (seed, epoch, step), and so are all random numbers.

Nothing here is drawn from a running generator. So a run goes on at any step after an interruption, and neither the
number of processes nor that of loader workers moves a batch, an augmentation or a dropout mask.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from scicevpr.errors import DatasetError, UsageError
from training.gsv_cities import GsvCities


class Draw(IntEnum):
    """What a random number is for: draws of different kinds never share a stream."""

    ORDER = 0
    PHOTOS = 1
    AUGMENTATION = 2
    DROPOUT = 3
    KEPT_VIEW = 4
    FIRST_WEIGHTS = 5


def keyed_seed(seed: int, draw: Draw, *keys: int) -> int:
    """A seed of 63 bits that depends on all the numbers given (none negative) and on nothing else."""
    return int(_sequence(seed, draw, keys).generate_state(1, np.uint64)[0] >> np.uint64(1))


def _generator(seed: int, draw: Draw, *keys: int) -> np.random.Generator:
    return np.random.default_rng(_sequence(seed, draw, keys))


def _sequence(seed: int, draw: Draw, keys: tuple[int, ...]) -> np.random.SeedSequence:
    return np.random.SeedSequence((seed, int(draw), len(keys), *keys))  # short sequences are padded: hence the length


@dataclass(frozen=True)
class Batch:
    """P places x K photos, place by place: photo numbers, place labels and augmentation seeds, each [P*K] int64."""

    rows: np.ndarray
    labels: np.ndarray
    seeds: np.ndarray


@dataclass(frozen=True)
class BatchPlan:
    """All batches of a run, ``places`` x ``photos`` each, every batch from one city as published.

    An epoch shuffles the places of every city, cuts them into batches and shuffles the batches; what is left of a city
    after its last whole batch waits for another epoch. With ``repeat`` every epoch has the batches of the first one, in
    the same order, as the published loader had them (it shuffles once); their photos are still drawn anew.

    Raises:
        UsageError: fewer than 2 places or photos a batch. DatasetError: no city has enough places for one batch.
    """

    data: GsvCities
    places: int
    photos: int
    seed: int
    repeat: bool = False

    def __post_init__(self) -> None:
        if self.places < 2 or self.photos < 2:
            raise UsageError(
                f"A batch needs at least 2 places with 2 photos each, not {self.places} x {self.photos}: the loss "
                "compares photos of a place with those of others."
            )
        counts = np.diff(self.data.first)
        smallest = int(counts.min())
        if int(counts.max()) < self.photos:
            raise UsageError(
                f"{self.photos} photos a place were asked for, but no place has more than {counts.max()}. "
                "Lower --photos."
            )
        if smallest < self.photos:
            raise UsageError(
                f"{self.photos} photos a place were asked for, but some places have {smallest} only. "
                f"Set --min_photos {self.photos}."
            )
        if self.steps == 0:
            largest = int(np.bincount(self.data.place_cities).max())
            raise DatasetError(
                f"Batches come from one city each, and no city in {self.data.root} has {self.places} places (the "
                f"largest has {largest}). Lower --train_batch_size to {largest} or less, or add cities."
            )

    @property
    def size(self) -> int:
        """Photos in a batch."""
        return self.places * self.photos

    @property
    def steps(self) -> int:
        """Batches in an epoch."""
        return int((np.bincount(self.data.place_cities) // self.places).sum())

    def compositions(self, epoch: int) -> np.ndarray:
        """The places of every batch of an epoch: [steps, places]."""
        epoch = 0 if self.repeat else epoch
        batches = []
        for city in range(len(self.data.cities)):
            of_city = np.flatnonzero(self.data.place_cities == city)
            order = _generator(self.seed, Draw.ORDER, epoch, 1 + city).permutation(of_city)
            batches.append(order[: len(order) // self.places * self.places].reshape(-1, self.places))
        return _generator(self.seed, Draw.ORDER, epoch, 0).permutation(np.concatenate(batches))

    def batches(self, epoch: int, first_step: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from ``first_step`` on."""
        first = self.data.first
        for step, chosen in enumerate(self.compositions(epoch)[first_step:], start=first_step):
            generator = _generator(self.seed, Draw.PHOTOS, epoch, step)
            rows = [generator.choice(np.arange(first[p], first[p + 1]), self.photos, replace=False) for p in chosen]
            positions = range(step * self.size, (step + 1) * self.size)
            seeds = [keyed_seed(self.seed, Draw.AUGMENTATION, epoch, position) for position in positions]
            yield Batch(np.concatenate(rows), np.repeat(chosen, self.photos), np.array(seeds, dtype=np.int64))
