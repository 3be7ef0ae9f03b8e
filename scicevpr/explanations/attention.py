"""Who looks where: the class token at the patches of a photo, and the photos of a batch at each other.

Attention between photos is CricaVPR's and Super-CricaVPR's; in SciceVPR every region vector attends to itself only.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from scicevpr.config import STEM_TAP
from scicevpr.errors import UsageError
from scicevpr.models.model import Trace, VPRModel

SHOWN_LAYERS = 4
"""Last blocks shown where a model taps none (CricaVPR)."""



def shown_blocks(model: VPRModel) -> tuple[int, ...]:
    """The blocks whose attention is worth a look: the tapped ones, for CricaVPR the last four."""
    depth = model.variant.backbone.depth
    tapped = tuple(tap for tap in sorted(model.variant.taps) if tap != STEM_TAP)
    return tapped or tuple(range(depth - SHOWN_LAYERS, depth))


@torch.no_grad()
def class_attention(model: VPRModel, trace: Trace, block: int, photo: int = 0) -> Tensor:
    """The class token's attention in one block, head by head: [heads, 1 + rows*columns], each row sums to 1.

    softmax(q_class . k_j / sqrt(d)) over the class token (first) and the patches. Raises UsageError: no such block.
    """
    if not 0 <= block < len(model.backbone.blocks):
        raise UsageError(f"There is no block {block}; the backbone has blocks 0..{len(model.backbone.blocks) - 1}.")
    entering = (trace.tokens_in if block == 0 else trace.blocks[block - 1])[photo]  # (1 + rows·columns, C)
    layer = model.backbone.blocks[block]
    heads, tokens = layer.attn.heads, len(entering)
    query, key, _ = layer.attn.qkv(layer.norm1(entering)).reshape(tokens, 3, heads, -1).unbind(1)  # (tokens, heads, d)
    scores = torch.einsum("hd,thd->ht", query[0], key) / query.shape[-1] ** 0.5  # (heads, tokens)
    return scores.softmax(dim=-1)


def attention_maps(model: VPRModel, trace: Trace, block: int, photo: int = 0) -> Tensor:
    """The part of `class_attention` that goes to the patches, as maps: [heads, rows, columns]."""
    return class_attention(model, trace, block, photo)[:, 1:].reshape(-1, *trace.grid)


def cross_image_attention(
    trace: Trace, layer: int | None = None, head: int | None = None, region: int | None = None
) -> Tensor:
    """The weights with which photo i (rows) reads photo j (columns) of its batch: [B, B], rows sum to 1.

    layer, head, region: which ones; None takes the mean over all. Raises UsageError for a model without such
    attention, or a number that does not exist.
    """
    if not trace.attention:
        raise UsageError("This model's encoder looks at one photo at a time: there is no attention between photos.")
    weights = torch.stack(trace.attention)  # (layers, regions, heads, B, B)
    for axis, (name, chosen) in enumerate((("layer", layer), ("region", region), ("head", head))):
        if chosen is not None and not 0 <= chosen < weights.shape[axis]:
            raise UsageError(f"There is no {name} {chosen}: the encoder has {name}s 0..{weights.shape[axis] - 1}.")
    layers = weights if layer is None else weights[layer : layer + 1]
    regions = layers if region is None else layers[:, region : region + 1]
    return (regions if head is None else regions[:, :, head : head + 1]).mean(dim=(0, 1, 2))


@torch.no_grad()
def rewriting(model: VPRModel, regions: Tensor, photo: int = 0) -> Tensor:
    """How far each other photo in the batch moves each region part of one photo's descriptor: [B, 14].

    |d_r(whole batch) - d_r(batch without photo j)| over the 14 parts of the unit descriptor: a measurement, not a
    weight. The photo's own row says how far all others move it: |d_r(whole batch) - d_r(alone)|. regions: what enters
    the encoder, [B, 14, C]. photo: whose descriptor is watched.
    """
    count = len(regions)

    def described(rows: list[int]) -> Tensor:
        encoded = model.encoder(regions[rows])[rows.index(photo)]  # (14, C)
        return F.normalize(encoded.flatten(), dim=0).reshape(encoded.shape)

    everyone = list(range(count))
    whole = described(everyone)
    moved = [
        (whole - described([photo] if j == photo else [i for i in everyone if i != j])).norm(dim=-1) for j in everyone
    ]
    return torch.stack(moved)
