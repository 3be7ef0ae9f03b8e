"""Who rewrote whose descriptor: attention between the photos of a batch, and what it changed.

CricaVPR and Super-CricaVPR only; in SciceVPR every region vector attends to itself with weight 1.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from scicevpr.errors import UsageError
from scicevpr.models.model import Trace, VPRModel


def cross_image_attention(
    trace: Trace, layer: int | None = None, head: int | None = None, region: int | None = None
) -> Tensor:
    """The weights with which photo i (rows) reads photo j (columns) of its batch: [B, B], rows sum to 1.

    layer, head, region: which ones; None takes the mean over all. Raises UsageError for a model without such
    attention, or a number that does not exist.
    """
    if not trace.attention:
        raise UsageError("This model's encoder looks at one photo at a time: there is no attention between photos.")
    weights = torch.stack(trace.attention)  # layers, regions, heads, photos, photos
    for axis, (name, chosen) in enumerate((("layer", layer), ("region", region), ("head", head))):
        if chosen is not None and not 0 <= chosen < weights.shape[axis]:
            raise UsageError(f"There is no {name} {chosen}: the encoder has {name}s 0..{weights.shape[axis] - 1}.")
    layers = weights if layer is None else weights[layer : layer + 1]
    regions = layers if region is None else layers[:, region : region + 1]
    return (regions if head is None else regions[:, :, head : head + 1]).mean(dim=(0, 1, 2))


@torch.no_grad()
def rewriting(model: VPRModel, regions: Tensor, photo: int = 0) -> Tensor:
    """How far each companion moves each region part of one photo's descriptor: [B, 14].

    |d_r(whole batch) - d_r(batch without companion j)| over the 14 parts of the unit descriptor: a measurement, not a
    weight. The photo's own row says how far the whole company moves it: |d_r(whole batch) - d_r(alone)|.

    Args:
        regions: what enters the encoder, [B, 14, C]. photo: whose descriptor is watched.
    """
    count = len(regions)

    def described(rows: list[int]) -> Tensor:
        encoded = model.encoder(regions[rows])[rows.index(photo)]
        return F.normalize(encoded.flatten(), dim=0).reshape(encoded.shape)

    everyone = list(range(count))
    whole = described(everyone)
    moved = [
        (whole - described([photo] if j == photo else [i for i in everyone if i != j])).norm(dim=-1) for j in everyone
    ]
    return torch.stack(moved)
