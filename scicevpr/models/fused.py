"""A model rewritten for inference: the same descriptors with less work; the model and its checkpoint stay as they are.

What is constant is computed once: the position grid for the input's size, batch normalisation inside convolutions,
LayerScale inside the linear layer before it, the three 1x1 branches of an adapter as one layer, and the self-enhanced
encoder's attention, whose weights are 1, as one matrix with its skip. What nobody reads is not computed: blocks after
the last tap, and in the last block the class token's output where only patches are read. The normalisation of photos
is not fused into the first layer: it is done on the resized photo, where it costs next to nothing, and at the borders
of a padded convolution it could not be done exactly.

In lower precision the residual stream, the norms, the token mixers and all that follows the fusion stay in float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scicevpr.config import REGION_COUNT, STEM_TAP, Variant
from scicevpr.errors import UsageError
from scicevpr.models.backbone import (
    ADAPTER_SCALE,
    HYBRID_CHANNELS,
    Block,
    DinoBackbone,
    MultiScaleAdapter,
    attend,
    resize_position_grid,
    wrong_input,
)
from scicevpr.models.fused_layers import (
    FloatLinear,
    FusedStem,
    Layer,
    Norm,
    QuantisedLinear,
    fuse_batchnorm,
    fused_embedding,
    fused_encoder,
)
from scicevpr.models.fusion import TokenMixer, check_grid
from scicevpr.models.model import VPRModel
from scicevpr.models.regions import GEM_EPS, region_boxes

PHOTOS_AT_ONCE = 4
"""Photos that go through the blocks together on a processor: weights are read for all of them, and what lies between
the layers stays in its caches (1, 2, 4 and 8 measured for T, S and B in every precision)."""


@dataclass(frozen=True)
class ComputeMode:
    """How linear layers compute: in `dtype`, or in 8 bits; attention and adapters' convolutions compute in `dtype`."""

    dtype: torch.dtype = torch.float32
    int8: bool = False

    def linear(self, weight: Tensor, bias: Tensor, tokens: int) -> Layer:
        """A linear layer for inputs of about so many tokens."""
        weight, bias = weight.detach(), bias.detach()
        return QuantisedLinear(weight, bias, tokens) if self.int8 else FloatLinear(weight, bias, self.dtype)


def fuse(model: VPRModel, mode: ComputeMode | None = None) -> FusedModel:
    """The fused form of a model, on the model's device. UsageError unless the model is in float32. The result keeps no
    reference to the model; tensors that stay as they are are shared with it."""
    weight = next(model.parameters())
    if weight.dtype != torch.float32:
        kind = str(weight.dtype).removeprefix("torch.")
        raise UsageError(f"A fused model is made of float32 weights, not of {kind}. Leave --dtype out.")
    with torch.no_grad():
        return FusedModel(model, mode or ComputeMode())


class FusedModel(nn.Module):
    """[B, 3, H, W] normalised photos -> [B, R*C] unit descriptors, like the VPRModel it was made of."""

    def __init__(self, model: VPRModel, mode: ComputeMode) -> None:
        super().__init__()
        self.variant, self.weights, self.allow_untrained = model.variant, model.weights, model.allow_untrained
        self.backbone = FusedBackbone(model.backbone, model.variant, mode)
        self.head = FusedHead(model, mode)

    def regions(self, x: Tensor) -> Tensor:
        """Region vectors [B, R, C] of photos [B, 3, H, W]."""
        maps = self.backbone(x)
        return self.head.regions(maps, self.backbone.grid_of(x))

    def forward(self, x: Tensor) -> Tensor:
        """Describe a batch; for cross-image families the rows depend on which photos share it. Few photos at a time go
        all the way to their regions, so that what lies between stays in the caches."""
        parts = x.split(self.backbone.at_once(x)) if x.ndim == 4 else [x]
        return self.head.descriptors(torch.cat([self.regions(part) for part in parts]))


class FusedBackbone:
    """Patch embedding and blocks: photos [B, 3, H, W] -> normed tokens of the taps, a list of [B, tokens, C].

    Patches only where there are taps; without taps (CricaVPR) the last block's class token and patches."""

    def __init__(self, backbone: DinoBackbone, variant: Variant, mode: ComputeMode) -> None:
        taps, grid = variant.taps, variant.grid
        self.patch, self.taps = backbone.config.patch, tuple(sorted(taps)) or (backbone.config.depth - 1,)
        self.class_token = not taps
        self.embed = fused_embedding(backbone)
        self.token = backbone.cls_token.detach()
        self.stored = backbone.pos_embed.detach()
        self.positions: dict[tuple[int, int], Tensor] = {}
        tokens = 1 + grid[0] * grid[1]
        blocks = backbone.blocks[: self.taps[-1] + 1]
        self.blocks = [_FusedBlock(block, mode, tokens * PHOTOS_AT_ONCE) for block in blocks]
        self.norm = Norm(backbone.norm)

    def at_once(self, x: Tensor) -> int:
        """How many photos of a batch go through the blocks together."""
        return PHOTOS_AT_ONCE if x.device.type == "cpu" else max(1, len(x))

    def grid_of(self, x: Tensor) -> tuple[int, int]:
        """The grid (rows, columns) of the tokens of photos [B, 3, H, W], or of maps that a stem made of them before;
        equally many tokens may form another one."""
        if self._is_maps(x):
            return x.shape[-2], x.shape[-1]
        return x.shape[-2] // self.patch, x.shape[-1] // self.patch

    def _is_maps(self, x: Tensor) -> bool:
        return x.ndim == 4 and x.shape[1] == HYBRID_CHANNELS and isinstance(self.embed, FusedStem)

    def __call__(self, x: Tensor) -> list[Tensor]:
        photos = x.ndim == 4 and x.shape[1] == 3 and not (x.shape[-2] % self.patch or x.shape[-1] % self.patch)
        if not photos and not self._is_maps(x):
            raise wrong_input(x, self.patch)
        grid = self.grid_of(x)
        parts = [self._run(part, grid) for part in x.split(self.at_once(x))]
        return parts[0] if len(parts) == 1 else [torch.cat(tensors) for tensors in zip(*parts, strict=True)]

    def _run(self, x: Tensor, grid: tuple[int, int]) -> list[Tensor]:
        if grid not in self.positions:
            position = resize_position_grid(self.stored, grid).float()
            self.positions[grid] = torch.cat((self.token + position[:, :1], position[:, 1:]), dim=1)
        position = self.positions[grid]
        first = position[:, :1].expand(len(x), -1, -1)
        patches = self.embed(x.float())  # (B, T, C)
        taps = [self.norm(patches)] if STEM_TAP in self.taps else []
        tokens = torch.cat((first, patches + position[:, 1:]), dim=1)  # (B, 1 + T, C)
        for number, block in enumerate(self.blocks):
            unread = 0 if self.class_token or number < self.taps[-1] else 1
            tokens = block(tokens, grid, unread)
            if number in self.taps:
                # the last tap has lost its class token already
                taps.append(self.norm(tokens if self.class_token or unread else tokens[:, 1:]))
        return taps


class FusedHead:
    """What follows the blocks: fusion, regions, encoder."""

    def __init__(self, model: VPRModel, mode: ComputeMode) -> None:
        variant = model.variant
        self.fused, self.grid = bool(variant.taps), variant.grid
        self.p = model.gem.p.detach().float()
        self.pools: dict[tuple[int, int], Tensor] = {}
        if self.fused:
            fusion, tokens = model.fusion, self.grid[0] * self.grid[1]
            conv = fusion.conv
            self.conv = mode.linear(conv.weight.flatten(1), conv.bias, tokens)
            self.mixers = [_FusedMixer(mixer) for mixer in fusion.mixers]
        self.encoder = fused_encoder(model.encoder)

    def regions(self, maps: Sequence[Tensor], grid: tuple[int, int]) -> Tensor:
        """Region vectors [B, R, C] that enter the encoder, float32."""
        if not self.fused:
            [tokens] = maps
            cells = self._pool(F.normalize(tokens[:, 1:], dim=-1), grid)[:, 1:]
            return torch.cat((tokens[:, :1], cells), dim=1)
        check_grid(grid, self.grid)
        tokens = F.relu(self.conv(torch.cat(list(maps), dim=-1)).float())  # (B, h*w, C)
        for mixer in self.mixers:
            tokens = mixer(tokens)
        return F.normalize(self._pool(tokens, grid), dim=-1)

    def descriptors(self, regions: Tensor) -> Tensor:
        """[B, R, C] -> unit descriptors [B, R*C], float32."""
        return F.normalize(self.encoder(regions).flatten(1), dim=-1)

    def _pool(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        """GeM of the R regions as one product with a matrix of means: [B, rows*columns, C] -> [B, R, C]."""
        if grid not in self.pools:
            pool = torch.zeros(REGION_COUNT, *grid)
            for row, box in zip(pool, region_boxes(grid), strict=True):
                row[box.top : box.bottom, box.left : box.right] = 1
            self.pools[grid] = (pool / pool.sum((1, 2), keepdim=True)).flatten(1).to(tokens.device)
        return torch.matmul(self.pools[grid], tokens.clamp(min=GEM_EPS).pow(self.p)).pow(1 / self.p)


class _FusedBlock:
    def __init__(self, block: Block, mode: ComputeMode, tokens: int) -> None:
        self.heads, self.dtype = block.attn.heads, mode.dtype
        self.norm1, self.norm2 = Norm(block.norm1), Norm(block.norm2)
        gain1, gain2 = block.ls1.gamma, block.ls2.gamma
        attention, mlp = block.attn, block.mlp
        dim = attention.proj.in_features
        scale = gain1.new_ones(3 * dim)
        scale[:dim] = (dim // self.heads) ** -0.5  # of the queries; 1/8 in every variant, so exact
        self.qkv = mode.linear(scale[:, None] * attention.qkv.weight, scale * attention.qkv.bias, tokens)
        self.proj = mode.linear(gain1[:, None] * attention.proj.weight, gain1 * attention.proj.bias, tokens)
        self.fc1 = mode.linear(mlp.fc1.weight, mlp.fc1.bias, tokens)
        self.fc2 = mode.linear(gain2[:, None] * mlp.fc2.weight, gain2 * mlp.fc2.bias, tokens)
        self.adapter = None if block.adapter is None else _FusedAdapter(block.adapter, gain2, mode, tokens)

    def __call__(self, x: Tensor, grid: tuple[int, int], unread: int) -> Tensor:
        """[B, N, C] -> [B, N - unread, C]: the first `unread` tokens are attended to, but get no output."""
        batch, count, dim = x.shape
        qkv = self.qkv(self.norm1(x)).to(self.dtype)  # (B, N, 3*C)
        qkv = qkv.view(batch, count, 3, self.heads, dim // self.heads).permute(2, 0, 3, 1, 4)
        query, key, value = qkv.unbind(0)  # (B, heads, N, C/heads) each
        mixed = attend(query[:, :, unread:], key, value, scale=1.0)  # the queries are scaled already
        x = x[:, unread:] + self.proj(mixed.transpose(1, 2).reshape(batch, count - unread, dim))
        n = self.norm2(x)
        y = x + self.fc2(F.gelu(self.fc1(n)))
        return y if self.adapter is None else y + self.adapter(n, grid)


class _FusedAdapter:
    """CricaVPR's adapter with its gain and LayerScale inside the last layer: [B, N, C] -> [B, N, C]."""

    def __init__(self, adapter: MultiScaleAdapter, gain: Tensor, mode: ComputeMode, tokens: int) -> None:
        gain = ADAPTER_SCALE * gain
        self.fc1 = mode.linear(adapter.D_fc1.weight, adapter.D_fc1.bias, tokens)
        self.fc2 = mode.linear(gain[:, None] * adapter.D_fc2.weight, gain * adapter.D_fc2.bias, tokens)
        firsts = (adapter.branch1, adapter.branch2[0], adapter.branch3[0])
        pairs = [fuse_batchnorm(part.conv, part.bn) for part in firsts]
        self.widths = [len(weight) for weight, _ in pairs]
        weight, bias = (torch.cat(tensors) for tensors in zip(*pairs, strict=True))
        self.ones = mode.linear(weight.flatten(1), bias, tokens)
        self.convs = [fuse_batchnorm(branch[1].conv, branch[1].bn) for branch in (adapter.branch2, adapter.branch3)]
        self.convs = [(weight.to(mode.dtype), bias.to(mode.dtype)) for weight, bias in self.convs]

    def __call__(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        hidden = F.relu(self.fc1(tokens))  # (B, N, C/2)
        parts = F.relu(self.ones(hidden[:, 1:])).split(self.widths, dim=-1)
        branches = [parts[0]]
        for (weight, bias), part in zip(self.convs, parts[1:], strict=True):
            patch_map = part.reshape(len(tokens), *grid, -1).permute(0, 3, 1, 2)
            wide = F.relu(F.conv2d(patch_map.to(weight.dtype), weight, bias, padding=weight.shape[-1] // 2))
            branches.append(wide.flatten(2).transpose(1, 2).to(parts[0].dtype))
        mixed = torch.cat((hidden[:, :1], torch.cat(branches, dim=-1)), dim=1)
        return self.fc2(mixed + hidden)


class _FusedMixer:
    """A token mixer on tokens [B, N, C], float32."""

    def __init__(self, mixer: TokenMixer) -> None:
        self.norm = Norm(mixer.norm)
        linear = (layer for layer in mixer.mix if isinstance(layer, nn.Linear))
        self.layers = [(layer.weight.detach(), layer.bias.detach()[:, None]) for layer in linear]

    def __call__(self, x: Tensor) -> Tensor:
        (weight1, bias1), (weight2, bias2) = self.layers
        inner = F.relu(torch.matmul(weight1, self.norm(x)) + bias1)
        return x + (torch.matmul(weight2, inner) + bias2)
