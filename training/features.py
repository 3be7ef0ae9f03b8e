"""Frozen-backbone features of augmented photos, computed once and kept in memory.

Stages whose backbone is frozen see the same backbone output for the same augmented photo, so a fixed number of
augmented views passes through it once; batches are then drawn from the kept maps.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from scicevpr.errors import WeightsError
from scicevpr.models.checkpoint_io import read_metadata
from scicevpr.models.model import VPRModel
from scicevpr.models.weights import hash_tensors
from training.augment import PublishedAugmentation
from training.data import PhotoBank


@torch.no_grad()
def frozen_maps(model: VPRModel, x: Tensor) -> Tensor:
    """Tapped maps as they enter the 1x1 convolution, final norm applied: [B, 3, H, W] -> [B, M*C, rows, columns]."""
    return torch.cat(model.layer_maps(model.backbone(x, model.variant.taps)), dim=1)


@torch.no_grad()
def layer_map_views(
    model: VPRModel,
    bank: PhotoBank,
    augmentation: PublishedAugmentation,
    views: int,
    batch: int = 64,
    progress: Callable[[int, int], None] | None = None,
) -> Tensor:
    """Tapped maps of ``views`` augmented versions of every photo.

    Returns:
        [views, N, M*C, rows, columns] bfloat16, final norm applied, as they enter the 1x1 convolution.
    """
    model.eval()
    rows, columns = model.variant.grid
    width = len(model.variant.taps) * model.variant.channels
    kept = torch.empty((views, len(bank), width, rows, columns), dtype=torch.bfloat16)
    for view in range(views):
        for start in range(0, len(bank), batch):
            x = augmentation(bank.photos[start : start + batch])
            with torch.autocast("cpu", dtype=torch.bfloat16):
                maps = frozen_maps(model, x)
            kept[view, start : start + batch] = maps.to(torch.bfloat16)
            if progress is not None:
                progress(view * len(bank) + min(start + batch, len(bank)), views * len(bank))
    return kept


def kept_views(
    model: VPRModel, bank: PhotoBank, augmentation: PublishedAugmentation, views: int, file: Path | None
) -> Tensor:
    """:func:`layer_map_views`, read from ``file`` if it is there and written to it if not (None: computed anew).

    Teacher and student share backbone and photos, so both stages may name the same file; it must not outlive them.

    Raises:
        WeightsError: the file was made from another backbone or other photos.
    """
    stamp = f"{hash_tensors(model.backbone.state_dict())} {len(bank)} {views}"
    if file is not None and file.exists():
        if read_metadata(file).get("made_from") != stamp:
            raise WeightsError(f"{file} holds features of another backbone or other photos. Delete it and run again.")
        return load_file(file)["maps"].clone()  # into memory: batches read it all over the place
    maps = layer_map_views(model, bank, augmentation, views)
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        save_file({"maps": maps}, file, {"made_from": stamp})
    return maps
