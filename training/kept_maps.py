"""Maps that a frozen network gave, kept in a folder: 16-bit values, and which blocks of photos are done.

At size T these are the stem's (:mod:`training.stem_maps`). At full size they are the frozen backbone's, for
Super-CricaVPR and SciceVPR: 1.6 MB a photo and view at size B, so a folder that would not fit is refused before
anything is written. Teacher and student may share a folder: they have the same backbone and photos.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from scicevpr.config import get_variant
from scicevpr.errors import DatasetError, UsageError
from scicevpr.files.writing import written_whole
from training.batches import Draw, keyed_seed
from training.distributed import Processes
from training.gsv_cities import GsvCities
from training.photo_loader import PhotoKey, PhotoReader, load_groups
from training.recipes import FullSizeRecipe, differences
from training.steps import Networks

BLOCK = 64  # photos of which it is noted together that they are done
VALUE_BYTES = 2  # bfloat16 or float16
Mode = Literal["r", "r+"]


def free_bytes(folder: Path) -> int:
    """What is free on the disk where a folder is, or would be."""
    return shutil.disk_usage(next(place for place in (folder, *folder.absolute().parents) if place.exists())).free


def check_space(folder: Path, needed: int) -> None:
    """DatasetError unless ``folder`` (which need not exist) has room for the maps, what is there already included."""
    free, file = free_bytes(folder), folder / "maps.f16"
    there = file.stat().st_blocks * 512 if file.exists() else 0
    if needed - there > free:
        raise DatasetError(
            f"The feature cache in {folder} would take {needed / 1e9:.1f} GB and {free / 1e9:.1f} GB are free. Use "
            "fewer cities (--cities), fewer --views or another disk, or leave --feature_cache out."
        )


class KeptMaps:
    """A folder of maps [views, N, ...] with the note of which blocks of photos are done, and what it was made from.

    Raises UsageError: the folder holds maps of something else. DatasetError: too little disk.
    """

    def __init__(self, folder: Path, stamp: dict[str, object], shape: tuple[int, ...]) -> None:
        self.folder, self.shape = folder, shape
        self.blocks = (shape[0], -(-shape[1] // BLOCK))
        self._open(json.loads(json.dumps({**stamp, "shape": list(shape)})))

    def rows(self, block: int) -> range:
        """The photos of a block."""
        return range(block * BLOCK, min((block + 1) * BLOCK, self.shape[1]))

    def left(self) -> list[tuple[int, int]]:
        """(view, block) of what is not done."""
        return [(view, block) for view, block in np.argwhere(~self._done("r")).tolist()]

    def write(self, view: int, rows: slice, maps: Tensor) -> None:
        """Keep 16-bit maps of some photos."""
        self._maps("r+")[view, rows] = maps.view(torch.int16).numpy()

    def mark(self, view: int, block: int) -> None:
        """Note that a block is done."""
        self._done("r+")[view, block] = True

    def read(self) -> np.memmap:
        """The maps as int16, to be viewed as what was written."""
        return self._maps("r")

    def _maps(self, mode: Mode) -> np.memmap:
        return np.memmap(self.folder / "maps.f16", dtype=np.int16, mode=mode, shape=self.shape)

    def _done(self, mode: Mode) -> np.memmap:
        return np.memmap(self.folder / "done.bool", dtype=np.bool_, mode=mode, shape=self.blocks)

    def _open(self, stamp: dict[str, object]) -> None:
        needed = int(np.prod(self.shape, dtype=np.int64)) * VALUE_BYTES
        check_space(self.folder, needed)
        file = self.folder / "made_from.json"
        if file.exists():
            differing = differences(json.loads(file.read_text()), stamp)
            if differing:
                raise UsageError(
                    f"{self.folder} holds features of something else ({differing}). Give another folder, or delete it."
                )
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        for name, size in (("maps.f16", needed), ("done.bool", self.blocks[0] * self.blocks[1])):
            with (self.folder / name).open("wb") as made:
                made.truncate(size)
        with written_whole(file) as part:
            part.write_text(json.dumps(stamp, indent=1) + "\n")


class MapReader(Dataset):
    """Photo number and seed -> kept maps of one of its views, chosen by the seed: [M*C, rows, columns] bfloat16."""

    def __init__(self, maps: np.memmap) -> None:
        self._maps = maps

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


def fill_cache(
    folder: Path, networks: Networks, data: GsvCities, recipe: FullSizeRecipe, processes: Processes, workers: int
) -> MapReader:
    """Pass every view of every photo through the backbone, unless ``folder`` holds them, and return their reader.

    Every process takes its part. An interrupted filling goes on where it was.

    Raises UsageError: the folder holds maps of something else. DatasetError: too little disk; a photo cannot be read.
    """
    shape = map_shape(recipe, len(data))
    names = ("backbone", "data", "seed", "operations", "precision", "pixels")
    stamp = {name: getattr(recipe, name) for name in names}
    with processes.together():
        if processes.first:
            KeptMaps(folder, stamp, shape)
    with processes.together():
        kept = KeptMaps(folder, stamp, shape)
        left = [pair for pair in kept.left() if pair[1] % processes.count == processes.number]
        keys = (
            [(row, keyed_seed(recipe.seed, Draw.KEPT_VIEW, view, row)) for row in kept.rows(block)]
            for view, block in left
        )
        loaded = load_groups(PhotoReader(data, recipe.pixels, recipe.operations), keys, workers)
        for (view, block), x in zip(left, loaded, strict=True):
            rows = kept.rows(block)
            kept.write(view, slice(rows.start, rows.stop), networks.begin(x).to(torch.bfloat16).cpu())
            kept.mark(view, block)
    return MapReader(kept.read())
