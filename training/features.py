"""Frozen-backbone features of augmented photos, computed once and kept in memory.

Stages whose backbone is frozen see the same backbone output for the same augmented photo, so a fixed number of
augmented views passes through it once; batches are then drawn from the kept maps.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from scicevpr.models.model import VPRModel
from training.augment import PublishedAugmentation
from training.data import PhotoBank


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
                features = model.backbone(x, model.variant.taps)
                maps = torch.cat(model.layer_maps(features), dim=1)
            kept[view, start : start + batch] = maps.to(torch.bfloat16)
            if progress is not None:
                progress(view * len(bank) + min(start + batch, len(bank)), views * len(bank))
    return kept
