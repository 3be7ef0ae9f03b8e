"""Kept maps of the T size's frozen stem: every augmented view of every training photo passes through it once.

What is kept lies on disk as float16, 167 kB a photo and view, and whatever trains afterwards reads it: the blocks, the
heads, CricaVPR's adapters. Photos are worked on in blocks by one-threaded processes, so that the bytes do not depend
on how many there are; an interrupted run goes on where it was.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from scicevpr.config import EFFICIENTNET_LITE0, Variant, get_variant
from scicevpr.datasets import Dataset
from scicevpr.descriptors.describe import evaluating
from scicevpr.descriptors.preprocessing import prepare
from scicevpr.files.photos import open_photo
from scicevpr.models.backbone import HYBRID_CHANNELS, HybridEmbed
from scicevpr.models.efficientnet_lite import imagenet_weights
from scicevpr.models.model import VPRModel
from training.augment import CameraAugmentation, RandAugment
from training.batches import Draw, keyed_seed
from training.data import list_training_photos
from training.kept_maps import BLOCK, KeptMaps
from training.recipes import ViewsRecipe

log = logging.getLogger("training.stem_maps")

AUGMENTATIONS = {"camera": CameraAugmentation(), "published": RandAugment()}
"""By name: ours of light, camera and viewpoint, and the published RandAugment."""


@torch.inference_mode()
def stem_maps(embed: HybridEmbed, photos: Sequence[Image.Image | Path], variant: Variant) -> Tensor:
    """Photos -> [N, 427, rows, columns] float16."""
    return embed.maps(prepare(photos, variant.preprocessing)).to(torch.float16)


def keep_views(photos: Sequence[Path], folder: Path, recipe: ViewsRecipe, variant: Variant, workers: int) -> np.memmap:
    """The maps of every view of every photo, [views, N, 427, rows, columns] float16, made where they are missing.

    Raises UsageError: the folder holds maps of something else. DatasetError: too little disk.
    """
    shape = (recipe.views, len(photos), HYBRID_CHANNELS, *variant.grid)
    stamp = {**asdict(recipe), "stem": EFFICIENTNET_LITE0.sha256, "names": [path.name for path in photos]}
    kept = KeptMaps(folder, stamp, shape)
    left = kept.left()
    log.info("%d of %d blocks of stem maps to make", len(left), np.prod(kept.blocks))
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_start, initargs=(variant,)) as pool:
        work = [pool.submit(_keep_block, kept, photos, recipe, view, block) for view, block in left]
        for number, done in enumerate(as_completed(work), start=1):
            done.result()
            if number % 32 == 0:
                log.info("%d of %d blocks", number, len(left))
    return kept.read()


_embed: HybridEmbed
_variant: Variant


def _start(variant: Variant) -> None:
    global _embed, _variant
    torch.set_num_threads(1)
    _embed, _variant = HybridEmbed(variant.backbone).eval(), variant
    _embed.features.load_state_dict(imagenet_weights())


def _keep_block(kept: KeptMaps, photos: Sequence[Path], recipe: ViewsRecipe, view: int, block: int) -> None:
    rows = range(block * BLOCK, min((block + 1) * BLOCK, len(photos)))
    views = [_view(photos[row], recipe, view, row) for row in rows]
    for start in range(0, len(rows), 8):
        part = slice(rows[start], rows[start] + len(views[start : start + 8]))
        kept.write(view, part, stem_maps(_embed, views[start : start + 8], _variant))
    kept.mark(view, block)


def _view(path: Path, recipe: ViewsRecipe, view: int, row: int) -> Image.Image:
    image = open_photo(path)
    if view == 0:
        return image
    if recipe.augmentation == "published":  # which resizes first
        rows, columns = _variant.preprocessing.size
        image = image.resize((columns, rows), Image.Resampling.BILINEAR)
    generator = torch.Generator().manual_seed(keyed_seed(recipe.seed, Draw.KEPT_VIEW, view, row))
    return AUGMENTATIONS[recipe.augmentation](image, generator)


@dataclass(frozen=True)
class KeptSet:
    """A labelled data set with its stem maps, database and queries [N, 427, rows, columns] float16."""

    dataset: Dataset
    database: Tensor
    queries: Tensor


def keep_set(model: VPRModel, dataset: Dataset) -> KeptSet:
    """Pass a data set's photos through a model's stem once."""
    parts = []
    for places in (dataset.database, dataset.queries):
        paths = [place.path for place in places]
        with evaluating(model):
            maps = [
                stem_maps(model.backbone.patch_embed, paths[start : start + 8], model.variant)
                for start in range(0, len(paths), 8)
            ]
        parts.append(torch.cat(maps))
    return KeptSet(dataset, *parts)


def draw_maps(maps: np.ndarray, rows: np.ndarray, generator: np.random.Generator | None = None) -> Tensor:
    """Maps of some photos, [len(rows), 427, rows, columns] float16: of a view drawn for each, or of view 0."""
    views = np.zeros(len(rows), int) if generator is None else generator.integers(len(maps), size=len(rows))
    kept = np.stack([maps[view, row] for view, row in zip(views, rows, strict=True)])
    return torch.from_numpy(kept).view(torch.float16)


def add_view_options(parser: argparse.ArgumentParser) -> None:
    """--maps, --views and --augmentation."""
    default = ViewsRecipe()
    parser.add_argument("--maps", type=Path, required=True, help="folder of the kept stem maps, made where missing")
    parser.add_argument("--views", type=int, default=default.views, help="kept views a photo")
    parser.add_argument("--augmentation", choices=tuple(AUGMENTATIONS), default=default.augmentation)


def views_recipe(options: argparse.Namespace) -> ViewsRecipe:
    """What those options say."""
    return ViewsRecipe(options.views, options.augmentation)


def main() -> None:
    """Command line: make the maps; the stages also do, where they are missing."""
    parser = argparse.ArgumentParser(prog="python -m training.stem_maps", description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with images/train")
    parser.add_argument("--workers", type=int, default=2, help="processes")
    add_view_options(parser)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    photos = list_training_photos(options.data)
    keep_views(photos.paths, options.maps, views_recipe(options), get_variant("super-cricavpr-t"), options.workers)


if __name__ == "__main__":
    main()
