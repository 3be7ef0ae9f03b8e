"""Training photos in memory, grouped by place, and batches of P places x K photos."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from scicevpr.errors import DatasetError
from scicevpr.places import parse_name


@dataclass(frozen=True)
class PhotoBank:
    """Training photos and what they show.

    ``photos`` [N, 3, h, w] uint8; ``places`` [N] place number; ``cities`` [N] city number; ``names`` file names.
    """

    photos: Tensor
    places: np.ndarray
    cities: np.ndarray
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.places)


def _pano_id(path: Path) -> str:
    return path.name.split("@")[7]


def list_training_photos(folder: str | Path, limit_cities: int | None = None) -> list[Path]:
    """Return the sorted photos of ``<folder>/images/train/database``.

    Raises:
        DatasetError: there are none.
    """
    root = Path(folder) / "images" / "train" / "database"
    paths = sorted(root.rglob("*.jpg")) if root.is_dir() else []
    if not paths:
        raise DatasetError(
            f"No training photos under {root}. Render them: python -m training.procity --out {folder} --preset train"
        )
    if limit_cities is not None:
        cities = sorted({_pano_id(p).split("p")[0] for p in paths})[:limit_cities]
        paths = [p for p in paths if _pano_id(p).split("p")[0] in cities]
    return paths


def load_bank(paths: list[Path], height: int, width: int, workers: int = 2) -> PhotoBank:
    """Decode photos once, resized with antialiasing to ``height`` x ``width`` pixels.

    A photo's place is its pano id (``c<city>p<place>``, as the procedural city writes it).

    Raises:
        DatasetError: a file name carries no such id.
    """
    ids = []
    for path in paths:
        parse_name(path)
        city, _, place = _pano_id(path).lstrip("c").partition("p")
        if not (city.isdigit() and place.isdigit()):
            raise DatasetError(f"{path.name}: the pano field should read c<city>p<place>, e.g. c3p0017.")
        ids.append((int(city), int(place)))
    photos = torch.empty((len(paths), 3, height, width), dtype=torch.uint8)

    def read(row: int) -> None:
        with Image.open(paths[row]) as image:
            image.draft("RGB", (width, height))
            small = image.convert("RGB").resize((width, height), Image.Resampling.BILINEAR)
        photos[row] = torch.from_numpy(np.array(small)).permute(2, 0, 1)

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(read, range(len(paths))))
    _, places = np.unique(np.array(ids), axis=0, return_inverse=True)
    cities = np.array([city for city, _ in ids])
    return PhotoBank(photos, places.reshape(-1), cities, tuple(p.name for p in paths))


@dataclass(frozen=True)
class PlaceBatch:
    """Rows of a bank and their place labels, both [P*K]."""

    rows: np.ndarray
    labels: np.ndarray


HARD_WEATHER = ("snow", "fog", "night")


def weather_weights(bank: PhotoBank, factor: float) -> np.ndarray:
    """[N] how often to show each photo: ``factor`` where the name's condition has snow, fog or night, else 1."""
    hard = [any(word in name.split("@")[14] for word in HARD_WEATHER) for name in bank.names]
    return np.where(hard, factor, 1.0)


def _draw(rows: np.ndarray, photos: int, weights: np.ndarray | None, generator: np.random.Generator) -> np.ndarray:
    share = None if weights is None else weights[rows] / weights[rows].sum()
    return generator.choice(rows, photos, replace=False, p=share)


def place_batches(
    bank: PhotoBank,
    places: int,
    photos: int,
    *,
    cities: int | None,
    generator: np.random.Generator,
    weights: np.ndarray | None = None,
) -> Iterator[PlaceBatch]:
    """Yield one epoch of batches of ``places`` x ``photos``; every place with enough photos appears once.

    ``cities`` bounds how many cities a batch draws from (None: any), so that a model cannot tell places apart by the
    look of their city alone. ``weights`` [N]: how often to show each photo of a place; None: all alike.
    """
    by_place: dict[int, np.ndarray] = {p: np.flatnonzero(bank.places == p) for p in np.unique(bank.places)}
    city_of = {p: int(bank.cities[rows[0]]) for p, rows in by_place.items()}
    usable = [p for p, rows in by_place.items() if len(rows) >= photos]
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
        rows = np.concatenate([_draw(by_place[p], photos, weights, generator) for p in chosen_places])
        yield PlaceBatch(rows, np.repeat(np.array(chosen_places), photos))
