"""Where the backbone's class token looks."""

from __future__ import annotations

import torch
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
    entering = (trace.tokens_in if block == 0 else trace.blocks[block - 1])[photo]
    layer = model.backbone.blocks[block]
    heads, tokens = layer.attn.heads, len(entering)
    query, key, _ = layer.attn.qkv(layer.norm1(entering)).reshape(tokens, 3, heads, -1).unbind(1)
    scores = torch.einsum("hd,thd->ht", query[0], key) / query.shape[-1] ** 0.5
    return scores.softmax(dim=-1)


def attention_maps(model: VPRModel, trace: Trace, block: int, photo: int = 0) -> Tensor:
    """The part of :func:`class_attention` that goes to the patches, as maps: [heads, rows, columns]."""
    return class_attention(model, trace, block, photo)[:, 1:].reshape(-1, *trace.grid)
