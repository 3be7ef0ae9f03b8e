"""DINOv2 ViT/14 backbone: every block's output can be tapped; CricaVPR's adapters are optional.

Source: DINOv2 (Oquab et al., 2023), the facts of its released checkpoints. Parameter names are those of the original
checkpoints, so they load without renaming.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scicevpr.config import BackboneConfig
from scicevpr.errors import UsageError
from scicevpr.models.adapters import MultiScaleAdapter

POSITION_OFFSET = 0.1
ADAPTER_SCALE = 0.2


def resize_position_grid(position: Tensor, grid: tuple[int, int]) -> Tensor:
    """Resize a stored position embedding to another token grid, the DINOv2 way.

    The patch positions are resampled bicubically, without antialiasing, by the *scale factors* ``(n + 0.1) / N``:
    the offset changes the sampling points, so resizing to an output size would give another tensor.

    Args:
        position: [1, 1 + N*N, C], class position first.
        grid: wanted (rows, columns).

    Returns:
        [1, 1 + rows*columns, C], float32; the input itself if it already has that grid.
    """
    stored = round((position.shape[1] - 1) ** 0.5)
    if (stored, stored) == tuple(grid):
        return position
    channels = position.shape[2]
    patches = position[:, 1:].float().reshape(1, stored, stored, channels).permute(0, 3, 1, 2)
    factors = [(n + POSITION_OFFSET) / stored for n in grid]
    patches = F.interpolate(patches, scale_factor=factors, mode="bicubic", antialias=False)
    if tuple(patches.shape[-2:]) != tuple(grid):
        raise UsageError(f"The position embedding came out as {tuple(patches.shape[-2:])} instead of {tuple(grid)}.")
    patches = patches.permute(0, 2, 3, 1).reshape(1, grid[0] * grid[1], channels)
    return torch.cat((position[:, :1].float(), patches), dim=1)


class PatchEmbed(nn.Module):
    """DINOv2's linear patch embedding: [B, 3, H, W] -> [B, C, H/14, W/14]."""

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, config.dim, config.patch, stride=config.patch)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x)


class ConvStem(nn.Module):
    """Small convolutional stem of the T size, same stride 14: [B, 3, H, W] -> [B, C, H/14, W/14].

    Two 3x3 convolutions (the first with stride 2) and a 7x7 convolution with stride 7. From-scratch training on few
    photos climbs steadily with it.
    """

    def __init__(self, config: BackboneConfig, width: int = 32) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, width, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
        )
        self.proj = nn.Conv2d(width, config.dim, config.patch // 2, stride=config.patch // 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(self.stem(x))


class Attention(nn.Module):
    """Multi-head self-attention over the tokens: [B, N, C] -> [B, N, C]."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, dim = x.shape
        qkv = self.qkv(x).reshape(batch, tokens, 3, self.heads, dim // self.heads).permute(2, 0, 3, 1, 4)
        out = F.scaled_dot_product_attention(*qkv.unbind(0))
        return self.proj(out.transpose(1, 2).reshape(batch, tokens, dim))


class Mlp(nn.Module):
    """Two linear layers with exact (erf) GELU between them."""

    def __init__(self, dim: int, ratio: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, ratio * dim)
        self.fc2 = nn.Linear(ratio * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class LayerScale(nn.Module):
    """Learnable gain per channel."""

    def __init__(self, dim: int, init: float = 1.0) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((dim,), init))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma


class Block(nn.Module):
    """Pre-norm transformer block with LayerScale and, for CricaVPR, an adapter parallel to the MLP."""

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.dim, eps=config.norm_eps)
        self.attn = Attention(config.dim, config.heads)
        self.ls1 = LayerScale(config.dim)
        self.norm2 = nn.LayerNorm(config.dim, eps=config.norm_eps)
        self.mlp = Mlp(config.dim, config.mlp_ratio)
        self.ls2 = LayerScale(config.dim)
        self.adapter = MultiScaleAdapter(config.dim) if config.adapters else None

    def forward(self, x: Tensor, grid: tuple[int, int]) -> Tensor:
        x = x + self.ls1(self.attn(self.norm1(x)))
        n = self.norm2(x)
        y = self.mlp(n)
        if self.adapter is not None:
            y = y + ADAPTER_SCALE * self.adapter(n, grid)
        return x + self.ls2(y)


@dataclass(frozen=True)
class BackboneOutput:
    """Tokens of the tapped blocks, before the final norm.

    ``tokens_in`` [B, 1 + rows*columns, C] enter block 0; ``blocks`` maps block number -> [B, 1 + rows*columns, C];
    the last block is always there. ``position`` is the resized position embedding, ``grid`` the (rows, columns).
    """

    tokens_in: Tensor
    blocks: dict[int, Tensor]
    last: Tensor
    position: Tensor
    grid: tuple[int, int]


class DinoBackbone(nn.Module):
    """DINOv2 ViT/14; :meth:`forward` returns the outputs of the wanted blocks.

    The final norm is *not* applied by :meth:`forward`: CricaVPR and the fused families apply it to different maps,
    through :meth:`normed_map` and :meth:`normed_class_token`.
    """

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        self.config = config
        self.patch_embed = ConvStem(config) if config.stem == "conv" else PatchEmbed(config)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, config.dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + config.position_grid**2, config.dim))
        self.register_buffer("mask_token", torch.zeros(1, config.dim))  # carried by checkpoints, never used here
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.dim, eps=config.norm_eps)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        nn.init.normal_(self.cls_token, std=0.02)

    def forward(self, x: Tensor, taps: tuple[int, ...] = ()) -> BackboneOutput:
        """Run the backbone.

        Args:
            x: [B, 3, H, W], normalised; H and W are multiples of 14.
            taps: block numbers whose output is kept.

        Raises:
            UsageError: H or W is no multiple of the patch size.
        """
        patch = self.config.patch
        if x.ndim != 4 or x.shape[1] != 3 or x.shape[-2] % patch or x.shape[-1] % patch:
            raise UsageError(
                f"The backbone takes [B, 3, H, W] with H and W multiples of {patch}; it got {tuple(x.shape)}. "
                "Choose another input size."
            )
        grid = (x.shape[-2] // patch, x.shape[-1] // patch)
        patches = self.patch_embed(x).flatten(2).transpose(1, 2)
        position = resize_position_grid(self.pos_embed, grid)
        tokens = torch.cat((self.cls_token.expand(len(x), -1, -1).to(patches.dtype), patches), dim=1)
        tokens_in = tokens = tokens + position.to(tokens.dtype)
        kept: dict[int, Tensor] = {}
        for number, block in enumerate(self.blocks):
            tokens = block(tokens, grid)
            if number in taps:
                kept[number] = tokens
        return BackboneOutput(tokens_in, kept, tokens, position, grid)

    def normed_map(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        """Final norm, class token dropped: [B, 1 + rows*columns, C] -> [B, C, rows, columns]."""
        patches = self.norm(tokens)[:, 1:]
        return patches.transpose(1, 2).reshape(len(tokens), -1, *grid)

    def normed_class_token(self, tokens: Tensor) -> Tensor:
        """Final norm of the class token: [B, 1 + rows*columns, C] -> [B, C]."""
        return self.norm(tokens[:, 0])
