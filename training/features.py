"""A fused model in two parts: the frozen backbone's tapped maps, and the head that describes photos by them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from scicevpr.models.model import VPRModel
from scicevpr.models.regions import pool_fused_map


@torch.no_grad()
def frozen_maps(model: VPRModel, x: Tensor) -> Tensor:
    """Tapped maps as they enter the 1x1 convolution, final norm applied: [B, 3, H, W] -> [B, M*C, rows, columns]."""
    return torch.cat(model.layer_maps(model.backbone(x, model.variant.taps)), dim=1)


def head_descriptors(model: VPRModel, maps: Tensor, chunk: int | None = None) -> Tensor:
    """Fusion, pooling and encoder on tapped maps: [B, M*C, rows, columns] -> [B, 14*C] unit rows.

    ``chunk``: how many photos attend to each other in a cross-image encoder (None: all).
    """
    return encode_regions(model, pool_fused_map(model.fusion(maps).float(), model.gem), chunk)


def encode_regions(model: VPRModel, regions: Tensor, chunk: int | None = None) -> Tensor:
    """Region vectors [B, 14, C] -> unit descriptors [B, 14*C] float32; ``chunk`` as in :func:`head_descriptors`."""
    if chunk is None or len(regions) % chunk:
        encoded = model.encoder(regions)
    else:
        encoded = model.encoder.encode_groups(regions.unflatten(0, (-1, chunk))).flatten(0, 1)
    return F.normalize(encoded.flatten(1).float(), dim=-1)
