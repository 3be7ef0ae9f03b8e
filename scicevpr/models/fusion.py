"""Multi-layer feature fusion (SciceVPR paper, Figure 5): 1x1 convolution over channels, token mixers over positions."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from scicevpr.errors import UsageError


class TokenMixer(nn.Module):
    """``x + W2 ReLU(W1 LN(x))``: LN over channels, W1 and W2 over the token positions. [B, C, h, w] -> the same."""

    def __init__(self, channels: int, tokens: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.mix = nn.Sequential(nn.Linear(tokens, tokens), nn.ReLU(), nn.Linear(tokens, tokens))
        for layer in (self.mix[0], self.mix[2]):
            nn.init.trunc_normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        normed = self.norm(x.flatten(2).transpose(1, 2)).transpose(1, 2)  # (B, C, h*w)
        return x + self.mix(normed).reshape(x.shape)


def check_grid(found: tuple[int, int], built_for: tuple[int, int]) -> None:
    """UsageError for a token grid that the token mixers are not built for."""
    if found != built_for:
        raise UsageError(
            f"This model's token mixers are built for a {built_for[0]}x{built_for[1]} token grid; the input gives "
            f"{found[0]}x{found[1]} tokens. Resize photos to the model's own input size, or use CricaVPR, which has no "
            "token mixers."
        )


class LayerFusion(nn.Module):
    """Fuse the maps of M tapped layers: [B, M*C, h, w] -> [B, C, h, w].

    The token mixers hold matrices over the token positions, so they fix the grid they were built for."""

    def __init__(self, channels: int, layers: int, mixers: int, grid: tuple[int, int]) -> None:
        super().__init__()
        self.grid = grid
        self.conv = nn.Conv2d(layers * channels, channels, 1)
        self.mixers = nn.ModuleList(TokenMixer(channels, grid[0] * grid[1]) for _ in range(mixers))

    def fuse_channels(self, maps: Tensor) -> Tensor:
        """The 1x1 convolution and ReLU: [B, M*C, h, w] -> [B, C, h, w]."""
        check_grid(tuple(maps.shape[-2:]), self.grid)
        return F.relu(self.conv(maps))  # (B, C, h, w)

    def forward(self, maps: Tensor) -> Tensor:
        """Fuse channels, then mix positions."""
        x = self.fuse_channels(maps)  # (B, C, h, w)
        for mixer in self.mixers:
            x = mixer(x)  # (B, C, h, w)
        return x
