"""The two encoders over region vectors: cross-image (CricaVPR, Super-CricaVPR) and self-enhanced (SciceVPR).

Both are the same post-norm transformer layers. They differ only in what is a sequence: the cross-image encoder lets the
images of a batch attend to each other, separately for each region; the self-enhanced one feeds every region vector as a
sequence of length 1, so nothing attends to anything else and a descriptor depends on its own image alone.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from scicevpr.config import ENCODER_DROPOUT, ENCODER_FEEDFORWARD, ENCODER_HEADS


class EncoderLayer(nn.Module):
    """Post-norm transformer encoder layer with exact GELU. [S, N, C] (sequence first) -> [S, N, C]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.self_attn = nn.MultiheadAttention(channels, ENCODER_HEADS, dropout=ENCODER_DROPOUT)
        self.linear1 = nn.Linear(channels, ENCODER_FEEDFORWARD)
        self.linear2 = nn.Linear(ENCODER_FEEDFORWARD, channels)
        self.norm1 = nn.LayerNorm(channels)
        self.norm2 = nn.LayerNorm(channels)
        self.dropout = nn.Dropout(ENCODER_DROPOUT)

    def forward(self, x: Tensor, attention: list[Tensor] | None = None, wanted: int | None = None) -> Tensor:
        """Run the layer; if ``attention`` is a list, append the weights [N, heads, S, S] to it. ``wanted``: compute the
        first so many members of the sequence only, from all of them."""
        asked = x[:wanted]  # (S or wanted, N, C)
        mixed, weights = self.self_attn(asked, x, x, need_weights=attention is not None, average_attn_weights=False)
        if attention is not None:
            attention.append(weights)
        x = self.norm1(asked + self.dropout(mixed))
        return self.norm2(x + self.dropout(self.linear2(self.dropout(F.gelu(self.linear1(x))))))


class RegionEncoder(nn.Module):
    """A stack of :class:`EncoderLayer` over [B, R, C] region vectors.

    ``cross_image=True``: sequences run over the images of the batch, one per region. ``False`` (self-enhanced): every
    region vector is a sequence of its own.
    """

    def __init__(self, channels: int, layers: int, cross_image: bool) -> None:
        super().__init__()
        self.cross_image = cross_image
        self.layers = nn.ModuleList(EncoderLayer(channels) for _ in range(layers))

    def forward(
        self, regions: Tensor, outputs: list[Tensor] | None = None, attention: list[Tensor] | None = None
    ) -> Tensor:
        """[B, R, C] -> [B, R, C]. ``outputs`` collects every layer's result [B, R, C]; ``attention`` the cross-image
        weights [R, heads, B, B] (query image, key image) of every layer. The self-enhanced encoder has no attention
        worth keeping: each weight is 1."""
        x = regions if self.cross_image else regions.reshape(1, -1, regions.shape[-1])  # (B, R, C) or (1, B*R, C)
        for layer in self.layers:
            x = layer(x, attention if self.cross_image else None)
            if outputs is not None:
                outputs.append(x.reshape(regions.shape))
        return x.reshape(regions.shape)

    def encode_groups(self, groups: Tensor, first_only: bool = False) -> Tensor:
        """Many batches of the same size at once: [G, S, R, C] -> [G, S, R, C], or [G, 1, R, C] of the first members.
        The batches do not see each other: those of a region stand side by side as separate sequences."""
        count, size, regions, channels = groups.shape
        if not self.cross_image:
            kept = groups[:, :1] if first_only else groups
            return self(kept.reshape(-1, regions, channels)).reshape(kept.shape)
        x = groups.transpose(0, 1).reshape(size, count * regions, channels)  # (S, G*R, C)
        for number, layer in enumerate(self.layers, start=1):
            x = layer(x, wanted=1 if first_only and number == len(self.layers) else None)
        return x.reshape(-1, count, regions, channels).transpose(0, 1)  # (G, S or 1, R, C)
