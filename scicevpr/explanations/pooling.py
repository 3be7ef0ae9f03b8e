"""Which tokens a region vector is made of: the shares of generalised-mean pooling."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from scicevpr.models.model import Trace, VPRModel
from scicevpr.models.regions import GEM_EPS, Region


@torch.no_grad()
def pooling_attention(pooled_map: Tensor, p: Tensor | float, regions: tuple[Region, ...]) -> Tensor:
    """How much each token contributes to each region's GeM vector g: [R, rows, columns], each region sums to 1.

    a_j = sum over channels c of w_c * x_cj^p / sum_k x_ck^p, with w_c = g_c^2 / |g|^2: the share of token j in each
    channel's mean, channels weighted by their part of the region vector. Because GeM is homogeneous this equals
    sum_c g_c x_cj dg_c/dx_cj / |g|^2. Cells outside the region are 0.

    Args:
        pooled_map: the map that GeM reads, [C, rows, columns].
        p: GeM's exponent. regions: boxes on the grid.
    """
    exponent = float(p)
    powers = pooled_map.detach().cpu().double().clamp(min=GEM_EPS).pow(exponent)
    shares = torch.zeros(len(regions), *pooled_map.shape[-2:], dtype=torch.float64)
    for number, r in enumerate(regions):
        box = powers[:, r.top : r.bottom, r.left : r.right]
        energy = box.mean(dim=(1, 2)).pow(2 / exponent)
        weights = energy / energy.sum()
        share = box / box.sum(dim=(1, 2), keepdim=True)
        shares[number, r.top : r.bottom, r.left : r.right] = torch.einsum("c,chw->hw", weights, share)
    return shares.float()


def pooled_map(model: VPRModel, trace: Trace, photo: int = 0) -> Tensor:
    """The map that the model's GeM reads for one photo of the batch: [C, rows, columns].

    CricaVPR: the last block's tokens, each brought to length 1; the others: the map after the last token mixer.
    """
    if model.variant.class_token:
        return F.normalize(trace.patch_map[photo], dim=0)
    return (trace.mixed[-1] if trace.mixed else trace.fused)[photo]


def region_pooling(model: VPRModel, trace: Trace, photo: int = 0) -> dict[int, Tensor]:
    """Pooling attention [rows, columns] by region number; CricaVPR's region 0 is its class token and has none."""
    first = 1 if model.variant.class_token else 0
    numbers = range(first, len(trace.boxes))
    shares = pooling_attention(pooled_map(model, trace, photo), model.gem.p, trace.boxes[first:])
    return dict(zip(numbers, shares, strict=True))
