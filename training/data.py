"""Training photos of the procedural city, grouped by place, and batches of P places x K photos."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scicevpr.datasets import parse_name
from scicevpr.errors import DatasetError


@dataclass(frozen=True)
class TrainingPhotos:
    """Which photos show which place: ``places`` [N] place numbers, ``cities`` [N] city numbers, ``paths`` if known."""

    places: np.ndarray
    cities: np.ndarray
    paths: tuple[Path, ...] = ()

    def __len__(self) -> int:
        return len(self.places)


def _pano_id(path: Path) -> str:
    return path.name.split("@")[7]


def list_training_photos(folder: str | Path, limit_cities: int | None = None) -> TrainingPhotos:
    """The photos of ``<folder>/images/train/database``, sorted by path.

    A photo's place is its pano id (``c<city>p<place>``, as the procedural city writes it). ``limit_cities``: the first
    so many cities only.

    Raises DatasetError: there are none; a file name carries no such id.
    """
    root = Path(folder) / "images" / "train" / "database"
    paths = sorted(root.rglob("*.jpg")) if root.is_dir() else []
    if not paths:
        raise DatasetError(
            f"No training photos under {root}. Render them: python -m training.procity --out {folder} --preset train"
        )
    ids = []
    for path in paths:
        parse_name(path)
        city, _, place = _pano_id(path).lstrip("c").partition("p")
        if not (city.isdigit() and place.isdigit()):
            raise DatasetError(f"{path.name}: the pano field should read c<city>p<place>, e.g. c3p0017.")
        ids.append((int(city), int(place)))
    table = np.array(ids)
    if limit_cities is not None:
        kept = np.isin(table[:, 0], np.unique(table[:, 0])[:limit_cities])
        table, paths = table[kept], [path for path, keep in zip(paths, kept, strict=True) if keep]
    _, places = np.unique(table, axis=0, return_inverse=True)
    return TrainingPhotos(places.reshape(-1), table[:, 0], tuple(paths))


@dataclass(frozen=True)
class PlaceBatch:
    """Rows of the training photos and their place labels, both [P*K]."""

    rows: np.ndarray
    labels: np.ndarray


def place_batches(
    photos: TrainingPhotos, places: int, each: int, *, cities: int | None, generator: np.random.Generator
) -> Iterator[PlaceBatch]:
    """Yield one epoch of batches of ``places`` x ``each``; every place with enough photos appears at most once.

    ``cities`` bounds how many cities a batch draws from (None: any), so that a model cannot tell places apart by the
    look of their city alone.
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
        yield PlaceBatch(rows, np.repeat(np.array(chosen_places), each))
