"""Which photos make up which batch: of the drawn cities (size T), and of GSV-Cities (full size).

At full size a batch and all its random numbers are a function of seed, epoch and step: nothing is drawn from a running
generator. So a run goes on at any step after an interruption, and neither the number of processes nor that of loader
workers moves a batch, an augmentation or a dropout mask. At size T batches come from one running generator.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cached_property
from pathlib import Path

import numpy as np

from scicevpr.datasets import parse_name
from scicevpr.errors import DatasetError, UsageError
from training.gsv_cities import GsvCities

PUBLISHED, RESHUFFLED = ORDERS = ("published", "reshuffled")
"""Which places share a batch at full size; see :class:`BatchPlan`."""


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
    """P places x K photos, place by place, each [P*K]: photo numbers, place labels and, at full size, the seeds of the
    augmentations (int64)."""

    rows: np.ndarray
    labels: np.ndarray
    seeds: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))


def cut_batch(photos: int, chunks: int) -> list[slice]:
    """The cross-image chunks of a batch: as the published runs' DataParallel deals it to so many devices, in parts of
    one size (rounded up) but for the last, so a short batch may have fewer."""
    size = -(-photos // chunks)
    return [slice(start, min(start + size, photos)) for start in range(0, photos, size)]


@dataclass(frozen=True)
class TrainingPhotos:
    """Which photos show which place: ``places`` [N] place numbers, ``cities`` [N] city numbers, ``paths`` if known."""

    places: np.ndarray
    cities: np.ndarray
    paths: tuple[Path, ...] = ()

    def __len__(self) -> int:
        return len(self.places)


def list_training_photos(folder: str | Path, limit_cities: int | None = None) -> TrainingPhotos:
    """The photos of ``<folder>/images/train/database``, sorted by path; of the first ``limit_cities`` cities only.

    A photo's place is its pano id (``c<city>p<place>``, as the procedural city writes it).

    Raises DatasetError: there are none; a file name carries no such id.
    """
    root = Path(folder) / "images" / "train" / "database"
    paths = sorted(root.rglob("*.jpg"))
    if not paths:
        raise DatasetError(
            f"No training photos under {root}. Render them: python -m training.procity --out {folder} --preset train"
        )
    ids = []
    for path in paths:
        parse_name(path)
        city, _, place = path.name.split("@")[7].lstrip("c").partition("p")
        if not (city.isdigit() and place.isdigit()):
            raise DatasetError(f"{path.name}: the pano field should read c<city>p<place>, e.g. c3p0017.")
        ids.append((int(city), int(place)))
    table = np.array(ids)
    if limit_cities is not None:
        kept = np.isin(table[:, 0], np.unique(table[:, 0])[:limit_cities])
        table, paths = table[kept], [path for path, keep in zip(paths, kept, strict=True) if keep]
    _, places = np.unique(table, axis=0, return_inverse=True)
    return TrainingPhotos(places.reshape(-1), table[:, 0], tuple(paths))


def place_batches(
    photos: TrainingPhotos, places: int, each: int, *, cities: int | None, generator: np.random.Generator
) -> Iterator[Batch]:
    """Yield one epoch of batches of ``places`` x ``each``; every place with enough photos appears at most once.

    ``cities`` bounds how many cities a batch draws from (None: any), so that a model cannot tell places apart by the
    look of their city alone. How many batches there are may depend on which cities come together.
    """
    by_place: dict[int, np.ndarray] = {p: np.flatnonzero(photos.places == p) for p in np.unique(photos.places)}
    city_of = {p: int(photos.cities[rows[0]]) for p, rows in by_place.items()}
    usable = [p for p, rows in by_place.items() if len(rows) >= each]
    groups: list[list[int]] = []
    if cities is None:
        groups = [list(generator.permutation(usable))]
    else:
        order = generator.permutation(sorted(set(city_of.values())))
        for start in range(0, len(order), cities):
            chosen = set(order[start : start + cities].tolist())
            groups.append(list(generator.permutation([p for p in usable if city_of[p] in chosen])))
    batches = [g[i : i + places] for g in groups for i in range(0, len(g) - places + 1, places)]
    for index in generator.permutation(len(batches)):
        chosen_places = batches[index]
        rows = np.concatenate([generator.choice(by_place[p], each, replace=False) for p in chosen_places])
        yield Batch(rows, np.repeat(np.array(chosen_places), each))


@dataclass(frozen=True)
class BatchPlan:
    """All batches of a run, ``places`` x ``photos`` each. ``order`` says which places share a batch:

    "published": cities in list order, the places of a city in an order drawn once; all in a row cut into batches. So a
    batch may span two cities, the short last one is kept, and every epoch has the same batches. For the same seed the
    order is that of the published loader (pandas' shuffle of a city's table by NumPy's legacy generator).
    "reshuffled": every batch from one city. An epoch shuffles the places of every city, cuts them into batches and
    shuffles the batches; what is left of a city after its last whole batch waits for another epoch.

    The photos of a place are drawn anew every epoch in both.

    Raises UsageError: fewer than 2 places or photos a batch. DatasetError: no city has enough places for one batch.
    """

    data: GsvCities
    places: int
    photos: int
    seed: int
    order: str = PUBLISHED

    def __post_init__(self) -> None:
        if self.order not in ORDERS:
            raise UsageError(f"There is no order of batches {self.order!r}. Choose one of: {', '.join(ORDERS)}.")
        if self.places < 2 or self.photos < 2:
            raise UsageError(
                f"A batch needs at least 2 places with 2 photos each, not {self.places} x {self.photos}: the loss "
                "compares photos of a place with those of others."
            )
        fewest, most = np.diff(self.data.first).min(), np.diff(self.data.first).max()
        if fewest < self.photos:
            wrong = f"{self.photos} photos a place were asked for, but "
            if most < self.photos:
                raise UsageError(f"{wrong}no place has more than {most}. Lower --photos.")
            raise UsageError(f"{wrong}some places have {fewest} only. Set --min_photos {self.photos}.")
        if self.steps == 0:
            largest = int(np.bincount(self.data.place_cities).max())
            raise DatasetError(
                f"Batches come from one city each, and no city in {self.data.root} has {self.places} places (the "
                f"largest has {largest}). Lower --train_batch_size to {largest} or less, or add cities."
            )

    @property
    def size(self) -> int:
        """Photos in a whole batch."""
        return self.places * self.photos

    @property
    def steps(self) -> int:
        """Batches in an epoch."""
        if self.order == PUBLISHED:
            return -(-self.data.places // self.places)
        return int((np.bincount(self.data.place_cities) // self.places).sum())

    def compositions(self, epoch: int) -> list[np.ndarray]:
        """The places of every batch of an epoch, [places] each; the last one of the published order may be shorter."""
        if self.order == PUBLISHED:
            return np.split(self._published, range(self.places, len(self._published), self.places))
        batches = []
        for city in range(len(self.data.cities)):
            of_city = np.flatnonzero(self.data.place_cities == city)
            order = _generator(self.seed, Draw.ORDER, epoch, 1 + city).permutation(of_city)
            batches.append(order[: len(order) // self.places * self.places].reshape(-1, self.places))
        return list(_generator(self.seed, Draw.ORDER, epoch, 0).permutation(np.concatenate(batches)))

    @cached_property
    def _published(self) -> np.ndarray:
        """All places, [P], in the published order."""
        random = np.random.RandomState(self.seed % 2**32)  # the one that pandas' sample() draws from
        order = []
        for city in self.data.listed:
            shown = self.data.table_places[self.data.cities.index(city)]
            shown = shown[random.permutation(len(shown))]
            shown = shown[shown >= 0]
            order.append(shown[np.sort(np.unique(shown, return_index=True)[1])])
        return np.concatenate(order)

    def batches(self, epoch: int, first_step: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from ``first_step`` on."""
        first = self.data.first
        for step, chosen in enumerate(self.compositions(epoch)[first_step:], start=first_step):
            generator = _generator(self.seed, Draw.PHOTOS, epoch, step)
            rows = [generator.choice(np.arange(first[p], first[p + 1]), self.photos, replace=False) for p in chosen]
            positions = range(step * self.size, step * self.size + len(chosen) * self.photos)
            seeds = [keyed_seed(self.seed, Draw.AUGMENTATION, epoch, position) for position in positions]
            yield Batch(np.concatenate(rows), np.repeat(chosen, self.photos), np.array(seeds, dtype=np.int64))
