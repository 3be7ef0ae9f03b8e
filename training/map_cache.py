"""Maps of a frozen backbone on disk: a fixed number of augmented views of every photo, passed through it once.

For the families whose backbone is frozen (Super-CricaVPR, SciceVPR). The maps are large, 1.6 MB a photo and view at
size B, so a folder that would not fit is refused before anything is written. Teacher and student may share a folder:
they have the same backbone and photos.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from scicevpr.config import get_variant
from training.batches import Draw, keyed_seed
from training.chunked_step import Networks
from training.distributed import Processes
from training.gsv_cities import GsvCities
from training.kept_maps import BLOCK, VALUE_BYTES, KeptMaps
from training.photo_loader import PhotoKey, PhotoReader, load_in_order
from training.recipes import FullSizeRecipe


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

    Raises:
        UsageError: the folder holds maps of something else. DatasetError: too little disk; a photo cannot be read.
    """
    shape = map_shape(recipe, len(data))
    names = ("backbone", "data", "seed", "operations", "precision")
    stamp = {**{name: getattr(recipe, name) for name in names}, "pixels": list(recipe.pixels)}
    with processes.together():
        if processes.first:
            KeptMaps(folder, stamp, shape)
    with processes.together():
        kept = KeptMaps(folder, stamp, shape)
        left = [pair for pair in kept.left() if pair[1] % processes.count == processes.number]
        keys = [key for view, block in left for key in _keys(recipe, view, block, len(data))]
        photos = PhotoReader(data, recipe.pixels, recipe.operations)
        loaded = load_in_order(photos, keys, BLOCK, workers)
        for view, block in left:
            rows = slice(block * BLOCK, min((block + 1) * BLOCK, len(data)))
            x = next(loaded)[: rows.stop - rows.start]
            kept.write(view, rows, networks.begin(x).to(torch.bfloat16).cpu())
            kept.mark(view, block)
    return MapReader(kept.read())


def _keys(recipe: FullSizeRecipe, view: int, block: int, photos: int) -> list[PhotoKey]:
    """Photo numbers and seeds of a block; the last one is filled up, so that all are loaded in equal parts."""
    rows = [min(row, photos - 1) for row in range(block * BLOCK, (block + 1) * BLOCK)]
    return [(row, keyed_seed(recipe.seed, Draw.KEPT_VIEW, view, row)) for row in rows]
