"""Maps of a frozen backbone on disk: a fixed number of augmented views of every photo, passed through it once.

For the families whose backbone is frozen (Super-CricaVPR, SciceVPR). The maps are large, 1.6 MB a photo and view at
size B, so a folder that would not fit is refused before anything is written. Teacher and student may share a folder:
they have the same backbone and photos.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from scicevpr.config import get_variant
from scicevpr.errors import DatasetError, UsageError
from training.batches import Draw, keyed_seed
from training.chunked_step import Networks
from training.distributed import Processes
from training.gsv_cities import GsvCities
from training.photo_loader import PhotoKey, PhotoReader, load_in_order
from training.recipes import FullSizeRecipe

BLOCK = 64  # photos that pass through the backbone together, and of which it is noted that they are done
VALUE_BYTES = 2  # bfloat16


class MapReader(Dataset):
    """Photo number and seed -> kept maps of one of its views, chosen by the seed: [M*C, rows, columns] bfloat16."""

    def __init__(self, file: Path, shape: tuple[int, ...]) -> None:
        self._maps = np.memmap(file, dtype=np.int16, mode="r", shape=shape)

    def __getitem__(self, key: PhotoKey) -> Tensor:
        row, seed = key
        return torch.from_numpy(np.array(self._maps[seed % len(self._maps), row])).view(torch.bfloat16)


def map_shape(recipe: FullSizeRecipe, photos: int) -> tuple[int, ...]:
    """Shape of the kept maps: [views, N, M*C, rows, columns]."""
    variant = get_variant(recipe.variant)
    return (recipe.views, photos, len(variant.taps) * variant.channels, *variant.grid)


def cache_bytes(recipe: FullSizeRecipe, photos: int) -> int:
    """Size of the kept maps of so many photos."""
    return int(np.prod(map_shape(recipe, photos), dtype=np.int64)) * VALUE_BYTES


def check_space(folder: Path, needed: int) -> None:
    """DatasetError unless ``folder`` (which need not exist) has room for the maps, what is there already included."""
    existing = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    free = shutil.disk_usage(existing).free
    file = folder / "maps.bf16"
    there = file.stat().st_blocks * 512 if file.exists() else 0
    if needed - there > free:
        raise DatasetError(
            f"The feature cache in {folder} would take {needed / 1e9:.1f} GB and {free / 1e9:.1f} GB are free. Use "
            "fewer cities (--cities), fewer --views or another disk, or leave --feature_cache out."
        )


def fill_cache(
    folder: Path, networks: Networks, data: GsvCities, recipe: FullSizeRecipe, processes: Processes, workers: int
) -> MapReader:
    """Pass every view of every photo through the backbone, unless ``folder`` holds them, and return their reader.

    Every process takes its part. An interrupted filling goes on where it was.

    Raises:
        UsageError: the folder holds maps of something else. DatasetError: too little disk; a photo cannot be read.
    """
    shape = map_shape(recipe, len(data))
    with processes.together():
        if processes.first:
            _open_folder(folder, _stamp(recipe, shape), cache_bytes(recipe, len(data)), _blocks(shape))
    with processes.together():
        done = np.memmap(folder / "done.bool", dtype=np.bool_, mode="r+", shape=_blocks(shape))
        left = [block for block in np.argwhere(~done).tolist() if block[1] % processes.count == processes.number]
        maps = np.memmap(folder / "maps.bf16", dtype=np.int16, mode="r+", shape=shape)
        keys = [key for view, block in left for key in _keys(recipe, view, block, len(data))]
        photos = PhotoReader(data, recipe.pixels, recipe.operations)
        loaded = load_in_order(photos, keys, BLOCK, workers)
        for view, block in left:
            rows = slice(block * BLOCK, min((block + 1) * BLOCK, len(data)))
            x = next(loaded)[: rows.stop - rows.start]
            kept = networks.begin(x).to(torch.bfloat16).cpu()
            maps[view, rows] = kept.view(torch.int16).numpy()
            done[view, block] = True
        maps.flush()
        done.flush()
    return MapReader(folder / "maps.bf16", shape)


def _blocks(shape: tuple[int, ...]) -> tuple[int, int]:
    return shape[0], -(-shape[1] // BLOCK)


def _keys(recipe: FullSizeRecipe, view: int, block: int, photos: int) -> list[PhotoKey]:
    """Photo numbers and seeds of a block; the last one is filled up, so that all are loaded in equal parts."""
    rows = [min(row, photos - 1) for row in range(block * BLOCK, (block + 1) * BLOCK)]
    return [(row, keyed_seed(recipe.seed, Draw.KEPT_VIEW, view, row)) for row in rows]


def _stamp(recipe: FullSizeRecipe, shape: tuple[int, ...]) -> dict[str, object]:
    names = ("backbone", "data", "seed", "operations", "precision")
    return {**{name: getattr(recipe, name) for name in names}, "pixels": list(recipe.pixels), "shape": list(shape)}


def _open_folder(folder: Path, stamp: dict[str, object], needed: int, blocks: tuple[int, int]) -> None:
    """Check or begin a cache folder: its stamp, its file of maps (sparse at first) and the note of what is done."""
    check_space(folder, needed)
    file = folder / "made_from.json"
    if file.exists():
        there = json.loads(file.read_text())
        differs = [
            f"{name} {there.get(name)} there, {value} here" for name, value in stamp.items() if there.get(name) != value
        ]
        if differs:
            raise UsageError(
                f"{folder} holds features of something else ({'; '.join(differs)}). Give another --feature_cache, or "
                "delete the folder."
            )
        return
    folder.mkdir(parents=True, exist_ok=True)
    for name, size in (("maps.bf16", needed), ("done.bool", blocks[0] * blocks[1])):
        with (folder / name).open("wb") as made:
            made.truncate(size)
    part = file.with_suffix(".part")
    part.write_text(json.dumps(stamp, indent=1) + "\n")
    part.replace(file)
