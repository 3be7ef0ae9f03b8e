"""DINOv2 ViT/14 backbone, and the T size's hybrid of it: every block's output can be tapped; adapters are optional.

Source: DINOv2 (Oquab et al., 2023), facts about its released checkpoints. Parameter names are those of the original
checkpoints, so they load without renaming.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scicevpr.config import STEM_TAP, BackboneConfig
from scicevpr.errors import UsageError
from scicevpr.models import efficientnet_lite
from scicevpr.models.efficientnet_lite import EfficientNetLite0

POSITION_OFFSET = 0.1
ADAPTER_SCALE = 0.2
ADAPTER_BATCHNORM_EPS = 1e-3
ADAPTER_INIT = 1e-5
ADAPTER_LINEAR_STD = 0.02
HYBRID_LAYER_SCALE = 0.05  # where the T size's blocks start
HYBRID_CHANNELS = efficientnet_lite.CHANNELS + 3  # maps of the stem, and red, green, blue


def resize_position_grid(position: Tensor, grid: tuple[int, int]) -> Tensor:
    """Resize a stored position embedding [1, 1 + N*N, C], class position first, to another grid (rows, columns), the
    DINOv2 way: [1, 1 + rows*columns, C] float32; the input itself if it already has that grid.

    The patch positions are resampled bicubically, without antialiasing, by the *scale factors* ``(n + 0.1) / N``: the
    offset changes the sampling points, so resizing to an output size would give another tensor.
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
    """DINOv2's linear patch embedding: [B, 3, H, W] -> [B, C, H/patch, W/patch]."""

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, config.dim, config.patch, stride=config.patch)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x)


class HybridEmbed(nn.Module):
    """The T size's tokens: maps of the frozen stem, standardised, then linear. [B, 3, H, W] -> [B, C, H/16, W/16].

    ``mean`` and ``deviation`` [427] are those of the maps of the training photos."""

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        self.mean: Tensor
        self.deviation: Tensor
        self.features = EfficientNetLite0()
        self.register_buffer("mean", torch.zeros(HYBRID_CHANNELS))
        self.register_buffer("deviation", torch.ones(HYBRID_CHANNELS))
        self.proj = nn.Conv2d(HYBRID_CHANNELS, config.dim, 1)
        self.patch = config.patch

    def maps(self, x: Tensor) -> Tensor:
        """What is frozen: the stem's 424 channels and the photo's mean colour in each cell, [B, 427, H/16, W/16]."""
        return torch.cat((self.features(x), F.avg_pool2d(x, self.patch)), dim=1)

    def project(self, maps: Tensor) -> Tensor:
        """Those maps -> [B, C, H/16, W/16]."""
        return self.proj((maps - self.mean[:, None, None]) / self.deviation[:, None, None])

    def forward(self, x: Tensor) -> Tensor:
        return self.project(self.maps(x))


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
        query, key, value = qkv.unbind(0)  # (B, heads, N, C/heads) each
        out = attend(query, key, value, scale=(dim // self.heads) ** -0.5)
        return self.proj(out.transpose(1, 2).reshape(batch, tokens, dim))


def attend(query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
    """Attention [B, heads, N, D]; in bfloat16 on a processor by plain products, which were measured to be faster than
    the fused operation (4 times, gradients included)."""
    if query.dtype == torch.bfloat16 and query.device.type == "cpu":
        return torch.matmul(torch.softmax(torch.matmul(query * scale, key.transpose(-1, -2)), dim=-1), value)
    return F.scaled_dot_product_attention(query, key, value, scale=scale)


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


class _ConvBnRelu(nn.Module):
    def __init__(self, channels_in: int, channels_out: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels_out, kernel, padding=kernel // 2)
        self.bn = nn.BatchNorm2d(channels_out, eps=ADAPTER_BATCHNORM_EPS)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)))


class MultiScaleAdapter(nn.Module):
    """CricaVPR's adapter (Lu et al., CVPR 2024): a bottleneck (C -> C/2 -> C) with 1x1, 3x3 and 5x5 branches over the
    patch map. Parameter names are those of its checkpoints.

    The class token passes the branches untouched; the skip adds the *rectified* output of the first linear layer.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        hidden = dim // 2
        reduced, wide = hidden // 16, hidden // 4
        self.D_fc1 = nn.Linear(dim, hidden)
        self.branch1 = _ConvBnRelu(hidden, hidden // 2, 1)
        self.branch2 = nn.Sequential(_ConvBnRelu(hidden, reduced, 1), _ConvBnRelu(reduced, wide, 3))
        self.branch3 = nn.Sequential(_ConvBnRelu(hidden, reduced, 1), _ConvBnRelu(reduced, wide, 5))
        self.D_fc2 = nn.Linear(hidden, dim)

    def reset_for_training(self) -> None:
        """Start without effect: ``D_fc2`` at zero (the adapted backbone begins as the frozen one), and convolutions
        near zero, every weight another one."""
        nn.init.zeros_(self.D_fc2.weight)
        nn.init.zeros_(self.D_fc2.bias)
        for convolution in self._convolutions():
            nn.init.normal_(convolution.weight, std=ADAPTER_INIT)
            nn.init.zeros_(convolution.bias)

    def reset_as_published(self) -> None:
        """Start as in CricaVPR's training: ``D_fc2`` at zero, ``D_fc1`` truncated normal with bias 0, and all weights
        and biases of the convolutions at one constant."""
        nn.init.zeros_(self.D_fc2.weight)
        nn.init.zeros_(self.D_fc2.bias)
        nn.init.trunc_normal_(self.D_fc1.weight, std=ADAPTER_LINEAR_STD)
        nn.init.zeros_(self.D_fc1.bias)
        for convolution in self._convolutions():
            nn.init.constant_(convolution.weight, ADAPTER_INIT)
            nn.init.constant_(convolution.bias, ADAPTER_INIT)

    def _convolutions(self) -> list[nn.Conv2d]:
        return [module for module in self.modules() if isinstance(module, nn.Conv2d)]

    def forward(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        """[B, 1 + rows*columns, C] -> the same shape."""
        hidden = F.relu(self.D_fc1(tokens))  # (B, 1 + T, C/2)
        batch, _, channels = hidden.shape
        patch_map = hidden[:, 1:].transpose(1, 2).reshape(batch, channels, *grid)  # (B, C/2, rows, columns)
        branches = torch.cat((self.branch1(patch_map), self.branch2(patch_map), self.branch3(patch_map)), dim=1)
        mixed = torch.cat((hidden[:, :1], branches.flatten(2).transpose(1, 2)), dim=1)
        return self.D_fc2(mixed + hidden)  # (B, 1 + T, C)


class Block(nn.Module):
    """Pre-norm transformer block with LayerScale and, for CricaVPR, an adapter parallel to the MLP."""

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.dim, eps=config.norm_eps)
        self.attn = Attention(config.dim, config.heads)
        gain = HYBRID_LAYER_SCALE if config.hybrid else 1.0
        self.ls1 = LayerScale(config.dim, gain)
        self.norm2 = nn.LayerNorm(config.dim, eps=config.norm_eps)
        self.mlp = Mlp(config.dim, config.mlp_ratio)
        self.ls2 = LayerScale(config.dim, gain)
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

    ``tokens_in`` [B, 1 + rows*columns, C] enter block 0; ``blocks`` maps block number -> [B, 1 + rows*columns, C],
    STEM_TAP to the tokens before their positions; ``last`` is the last block's. ``position`` is the resized position
    embedding, ``grid`` the (rows, columns).
    """

    tokens_in: Tensor
    blocks: dict[int, Tensor]
    last: Tensor
    position: Tensor
    grid: tuple[int, int]


def wrong_input(x: Tensor, patch: int) -> UsageError:
    """The error for photos that do not divide into patches."""
    return UsageError(
        f"The backbone takes [B, 3, H, W] with H and W multiples of {patch}; it got {tuple(x.shape)}. Choose another "
        "input size."
    )


class DinoBackbone(nn.Module):
    """DINOv2 ViT/14; :meth:`forward` returns the outputs of the wanted blocks.

    The final norm is *not* applied by :meth:`forward`: CricaVPR and the fused families apply it to different maps,
    through :meth:`normed_map` and :meth:`normed_class_token`.
    """

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        self.config = config
        self.patch_embed: HybridEmbed | PatchEmbed = HybridEmbed(config) if config.hybrid else PatchEmbed(config)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, config.dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + config.position_grid**2, config.dim))
        self.register_buffer("mask_token", torch.zeros(1, config.dim))  # carried by checkpoints, never used here
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.dim, eps=config.norm_eps)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        nn.init.normal_(self.cls_token, std=0.02)

    def forward(self, x: Tensor, taps: tuple[int, ...] = ()) -> BackboneOutput:
        """Run the backbone on normalised photos [B, 3, H, W]; H and W are multiples of the patch size, else UsageError.

        taps: numbers of the blocks whose output is kept; STEM_TAP for what the stem gives."""
        patch = self.config.patch
        if x.ndim != 4 or x.shape[1] != 3 or x.shape[-2] % patch or x.shape[-1] % patch:
            raise wrong_input(x, patch)
        return self.run_blocks(self.patch_embed(x), taps)

    def run_blocks(self, patch_map: Tensor, taps: tuple[int, ...] = ()) -> BackboneOutput:
        """What follows the patch embedding: its map [B, C, rows, columns] -> outputs of the blocks."""
        grid = (patch_map.shape[-2], patch_map.shape[-1])
        patches = patch_map.flatten(2).transpose(1, 2)  # (B, rows*columns, C)
        position = resize_position_grid(self.pos_embed, grid)
        tokens = torch.cat((self.cls_token.expand(len(patches), -1, -1).to(patches.dtype), patches), dim=1)
        kept: dict[int, Tensor] = {STEM_TAP: tokens} if STEM_TAP in taps else {}
        tokens_in = tokens = tokens + position.to(tokens.dtype)
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
