"""Kept maps of the T size's frozen stem: every augmented view of every training photo passes through it once.

What is kept lies on disk as float16, 167 kB a photo and view, and whatever trains afterwards reads it: the blocks, the
heads, CricaVPR's adapters. Photos are worked on in blocks by one-threaded processes, so that the bytes do not depend
on how many there are; an interrupted run goes on where it was.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from scicevpr.config import EFFICIENTNET_LITE0, Variant, get_variant
from scicevpr.descriptors.preprocessing import prepare
from scicevpr.errors import UsageError
from scicevpr.files.photos import open_photo
from scicevpr.models.backbone import HYBRID_CHANNELS, HybridEmbed
from scicevpr.models.efficientnet_lite import imagenet_weights
from scicevpr.models.model import VPRModel
from training.augment import Augmentation, CameraAugmentation, RandAugment
from training.batches import Draw, TrainingPhotos, keyed_seed, list_training_photos, place_batches
from training.kept_maps import KeptMaps
from training.recipes import CrossImageRecipe, DistillRecipe, ViewsRecipe

log = logging.getLogger("training.stem_maps")

AT_ONCE = 8  # photos that pass through the stem together

AUGMENTATIONS: dict[str, Augmentation] = {"camera": CameraAugmentation(), "published": RandAugment()}
"""By name: ours of light, camera and viewpoint, and the published RandAugment."""


def stem_of(model: VPRModel) -> HybridEmbed:
    """The frozen stem and the projection of its maps. UsageError for a model of another size."""
    embed = model.backbone.patch_embed
    if not isinstance(embed, HybridEmbed):
        raise UsageError(f"{model.variant.title} has no frozen stem; only models of size T are trained on its maps.")
    return embed


@torch.inference_mode()
def stem_maps(embed: HybridEmbed, photos: Sequence[Image.Image | Path], variant: Variant) -> Tensor:
    """Photos -> [N, 427, rows, columns] float16; they pass through the stem a few at a time."""
    parts = (photos[i : i + AT_ONCE] for i in range(0, len(photos), AT_ONCE))
    device = embed.mean.device
    return torch.cat([embed.maps(prepare(part, variant.preprocessing).to(device)).to(torch.float16) for part in parts])


_embed: HybridEmbed
_variant: Variant


def _start(variant: Variant) -> None:
    global _embed, _variant
    torch.set_num_threads(1)
    _embed, _variant = HybridEmbed(variant.backbone).eval(), variant
    _embed.features.load_state_dict(imagenet_weights())


def _keep_block(kept: KeptMaps, photos: Sequence[Path], recipe: ViewsRecipe, view: int, block: int) -> None:
    rows = kept.rows(block)
    views = [_view(photos[row], recipe, view, row) for row in rows]
    kept.write(view, slice(rows.start, rows.stop), stem_maps(_embed, views, _variant))
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
class StemMaps:
    """The training photos of a data set folder and their kept maps [views, N, 427, rows, columns], as int16."""

    data: Path
    photos: TrainingPhotos
    maps: np.memmap

    def draw(self, rows: np.ndarray, views: np.ndarray | None = None) -> Tensor:
        """Maps of some photos, [len(rows), 427, rows, columns] float16: of the views given, or of view 0."""
        views = np.zeros(len(rows), int) if views is None else views
        kept = np.stack([self.maps[view, row] for view, row in zip(views, rows, strict=True)])
        return torch.from_numpy(kept).view(torch.float16)

    def batches(
        self, recipe: CrossImageRecipe | DistillRecipe, generator: np.random.Generator, first: int = 0
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Maps [P*K, ...] of a view drawn for each photo, and place labels [P*K], of an epoch's batches from the
        ``first`` on. Those before it are drawn too, so that the generator ends up where it would have."""
        size = {"places": recipe.places, "each": recipe.photos, "cities": recipe.cities}
        for number, batch in enumerate(place_batches(self.photos, **size, generator=generator)):
            views = generator.integers(len(self.maps), size=len(batch.rows))
            if number >= first:
                yield self.draw(batch.rows, views), torch.from_numpy(batch.labels)


def open_maps(
    data: Path, folder: Path, recipe: ViewsRecipe, variant: Variant, workers: int, limit_cities: int | None = None
) -> StemMaps:
    """The training photos of ``data`` and the maps of every view of them in ``folder``, made where they are missing.

    Raises UsageError: the folder holds maps of something else. DatasetError: no photos; too little disk.
    """
    photos = list_training_photos(data, limit_cities)
    shape = (recipe.views, len(photos), HYBRID_CHANNELS, *variant.grid)
    stamp = {**asdict(recipe), "stem": EFFICIENTNET_LITE0.sha256, "names": [path.name for path in photos.paths]}
    kept = KeptMaps(folder, stamp, shape)
    left = kept.left()
    log.info("%d of %d blocks of stem maps to make", len(left), np.prod(kept.blocks))
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_start, initargs=(variant,)) as pool:
        work = [pool.submit(_keep_block, kept, photos.paths, recipe, view, block) for view, block in left]
        for number, done in enumerate(as_completed(work), start=1):
            done.result()
            if number % 32 == 0:
                log.info("%d of %d blocks", number, len(left))
    return StemMaps(data, photos, kept.read())


def stage_parser(module: str, description: str) -> argparse.ArgumentParser:
    """The options that every stage of size T has."""
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=description.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with images/train and images/val")
    parser.add_argument("--limit-cities", type=int, help="use the first N cities only")
    default = ViewsRecipe()
    parser.add_argument("--maps", type=Path, required=True, help="folder of the kept stem maps, made where missing")
    parser.add_argument("--views", type=int, default=default.views, help="kept views a photo")
    parser.add_argument("--augmentation", choices=tuple(AUGMENTATIONS), default=default.augmentation)
    return parser


def maps_of(options: argparse.Namespace, variant: str, workers: int) -> StemMaps:
    """The maps that those options ask for."""
    recipe = ViewsRecipe(options.views, options.augmentation)
    return open_maps(options.data, options.maps, recipe, get_variant(variant), workers, options.limit_cities)


def main() -> None:
    """Command line: make the maps; the stages also do, where they are missing."""
    parser = stage_parser("training.stem_maps", __doc__)
    parser.add_argument("--workers", type=int, default=2, help="processes")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    maps_of(options, "super-cricavpr-t", options.workers)


if __name__ == "__main__":
    main()
