"""A model rewritten for inference: the same descriptors with less work; the model and its checkpoint stay as they are.

What is constant is computed once: the position grid for the input's size, batch normalisation inside convolutions,
LayerScale inside the linear layer before it, the three 1x1 branches of an adapter as one layer, and the self-enhanced
encoder's attention, whose weights are 1, as one matrix with its skip. What nobody reads is not computed: blocks after
the last tap, and in the last block the class token's output where only patches are read. The normalisation of photos
is not folded into the first layer: it is done on the resized photo, where it costs next to nothing, and at the borders
of a padded convolution it could not be folded exactly.

In lower precision the residual stream, the norms, the token mixers and all that follows the fusion stay in float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scicevpr.config import STEM_TAP
from scicevpr.errors import UsageError
from scicevpr.models.adapters import MultiScaleAdapter
from scicevpr.models.backbone import ADAPTER_SCALE, HYBRID_CHANNELS, Block, DinoBackbone, attend, resize_position_grid
from scicevpr.models.fused_parts import FoldedStem, Norm, folded_embedding, folded_encoder, with_batchnorm
from scicevpr.models.model import VPRModel
from scicevpr.models.quantised_linear import Dense, FloatDense, Int8Dense
from scicevpr.models.regions import GEM_EPS, region_boxes

PHOTOS_AT_ONCE = 4
"""Photos that go through the blocks together on a processor: weights are read for all of them, and what lies between
the layers stays in its caches (1, 2, 4 and 8 measured for T, S and B in every precision)."""


@dataclass(frozen=True)
class Kind:
    """How linear layers compute: in `dtype`, or in 8 bits; attention and adapters' convolutions compute in `dtype`."""

    dtype: torch.dtype = torch.float32
    int8: bool = False

    def dense(self, weight: Tensor, bias: Tensor, tokens: int) -> Dense:
        """A linear layer for inputs of about so many tokens."""
        weight, bias = weight.detach(), bias.detach()
        return Int8Dense(weight, bias, tokens) if self.int8 else FloatDense(weight, bias, self.dtype)


def folded(model: VPRModel, kind: Kind | None = None) -> FoldedModel:
    """The folded form of a model, on the model's device. UsageError unless the model is in float32.

    The result keeps no reference to the model; tensors that need no folding are shared with it.
    """
    weight = next(model.parameters())
    if weight.dtype != torch.float32:
        words = str(weight.dtype).removeprefix("torch.")
        raise UsageError(f"A folded model is made of float32 weights, not of {words}. Leave --dtype out.")
    with torch.no_grad():
        return FoldedModel(model, kind or Kind())


class FoldedModel(nn.Module):
    """[B, 3, H, W] normalised photos -> [B, 14*C] unit descriptors, like the VPRModel it was made of."""

    def __init__(self, model: VPRModel, kind: Kind) -> None:
        super().__init__()
        self.variant, self.weights, self.allow_untrained = model.variant, model.weights, model.allow_untrained
        self.trunk = FusedTrunk(model.backbone, model.variant.taps, kind, PHOTOS_AT_ONCE)
        self.head = Head(model, kind)

    def regions(self, x: Tensor) -> Tensor:
        """Region vectors [B, 14, C] of photos [B, 3, H, W]."""
        maps = self.trunk(x)
        return self.head.regions(maps, self.trunk.grid_of(x))

    def forward(self, x: Tensor) -> Tensor:
        """Describe a batch; for cross-image families the rows depend on which photos share it.

        Few photos at a time go all the way to their regions, so that what lies between stays in the caches.
        """
        parts = x.split(self.trunk.at_once(x)) if x.ndim == 4 else [x]
        return self.head.descriptors(torch.cat([self.regions(part) for part in parts]))


class FusedTrunk:
    """Patch embedding and blocks: photos [B, 3, H, W] -> normed tokens of the taps, a list of [B, tokens, C].

    Patches only where there are taps; without taps (CricaVPR) the last block's class token and patches.
    """

    def __init__(self, backbone: DinoBackbone, taps: Sequence[int], kind: Kind, photos_at_once: int) -> None:
        self.patch, self.taps = backbone.config.patch, tuple(sorted(taps)) or (backbone.config.depth - 1,)
        self.class_token = not taps
        self.embed = folded_embedding(backbone)
        self.token = backbone.cls_token.detach()
        self.stored = backbone.pos_embed.detach()
        self.positions: dict[tuple[int, int], Tensor] = {}
        tokens = 1 + (224 // self.patch) ** 2
        blocks = backbone.blocks[: self.taps[-1] + 1]
        self.blocks = [_FoldedBlock(block, kind, tokens * photos_at_once) for block in blocks]
        self.norm = Norm(backbone.norm)
        self.photos_at_once = photos_at_once

    def at_once(self, x: Tensor) -> int:
        """How many photos of a batch go through the blocks together."""
        return self.photos_at_once if x.device.type == "cpu" else max(1, len(x))

    def grid_of(self, x: Tensor) -> tuple[int, int]:
        """The grid (rows, columns) of the tokens of photos [B, 3, H, W], or of maps that a stem made of them before;
        equally many tokens may form another one."""
        if self._is_maps(x):
            return x.shape[-2], x.shape[-1]
        return x.shape[-2] // self.patch, x.shape[-1] // self.patch

    def _is_maps(self, x: Tensor) -> bool:
        return x.ndim == 4 and x.shape[1] == HYBRID_CHANNELS and isinstance(self.embed, FoldedStem)

    def __call__(self, x: Tensor) -> list[Tensor]:
        photos = x.ndim == 4 and x.shape[1] == 3 and not (x.shape[-2] % self.patch or x.shape[-1] % self.patch)
        if not photos and not self._is_maps(x):
            raise UsageError(
                f"The backbone takes [B, 3, H, W] with H and W multiples of {self.patch}; it got {tuple(x.shape)}. "
                "Choose another input size."
            )
        grid = self.grid_of(x)
        parts = [self._run(part, grid) for part in x.split(self.at_once(x))]
        return parts[0] if len(parts) == 1 else [torch.cat(tensors) for tensors in zip(*parts, strict=True)]

    def _run(self, x: Tensor, grid: tuple[int, int]) -> list[Tensor]:
        if grid not in self.positions:
            position = resize_position_grid(self.stored, grid).float()
            self.positions[grid] = torch.cat((self.token + position[:, :1], position[:, 1:]), dim=1)
        position = self.positions[grid]
        first = position[:, :1].expand(len(x), -1, -1)
        patches = self.embed(x.float())
        taps = [self.norm(patches)] if STEM_TAP in self.taps else []
        tokens = torch.cat((first, patches + position[:, 1:]), dim=1)
        for number, block in enumerate(self.blocks):
            unread = 0 if self.class_token or number < self.taps[-1] else 1
            tokens = block(tokens, grid, unread)
            if number in self.taps:
                # the last tap has lost its class token already
                taps.append(self.norm(tokens if self.class_token or unread else tokens[:, 1:]))
        return taps


class Head:
    """What follows the blocks: fusion, regions, encoder."""

    def __init__(self, model: VPRModel, kind: Kind) -> None:
        variant = model.variant
        self.fused, self.grid, self.size = bool(variant.taps), variant.grid, variant.preprocessing.size
        self.p = model.gem.p.detach().float()
        self.pools: dict[tuple[int, int], Tensor] = {}
        if self.fused:
            fusion, tokens = model.fusion, self.grid[0] * self.grid[1]
            conv = fusion.conv
            self.conv = kind.dense(conv.weight.flatten(1), conv.bias, tokens)
            self.mixers = [_FoldedMixer(mixer) for mixer in fusion.mixers]
        self.encoder = folded_encoder(model.encoder)

    def regions(self, maps: Sequence[Tensor], grid: tuple[int, int]) -> Tensor:
        """Region vectors [B, 14, C] that enter the encoder, float32."""
        if not self.fused:
            [tokens] = maps
            cells = self._pool(F.normalize(tokens[:, 1:], dim=-1), grid)[:, 1:]
            return torch.cat((tokens[:, :1], cells), dim=1)
        if grid != self.grid:
            (rows, columns), size = self.grid, self.size
            raise UsageError(
                f"This model's token mixers are built for a {rows}x{columns} token grid ({size[0]}x{size[1]} pixels); "
                f"the input gives {grid[0]}x{grid[1]} tokens. Resize photos to {size[0]}x{size[1]}, or use CricaVPR, "
                "which has no token mixers."
            )
        tokens = F.relu(self.conv(torch.cat(list(maps), dim=-1)).float())
        for mixer in self.mixers:
            tokens = mixer(tokens)
        return F.normalize(self._pool(tokens, grid), dim=-1)

    def descriptors(self, regions: Tensor) -> Tensor:
        """[B, 14, C] -> unit descriptors [B, 14*C], float32."""
        return F.normalize(self.encoder(regions).flatten(1), dim=-1)

    def _pool(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        """GeM of the 14 regions as one product with a matrix of means: [B, rows*columns, C] -> [B, 14, C]."""
        if grid not in self.pools:
            pool = torch.zeros(14, *grid)
            for row, box in zip(pool, region_boxes(grid), strict=True):
                row[box.top : box.bottom, box.left : box.right] = 1
            self.pools[grid] = (pool / pool.sum((1, 2), keepdim=True)).flatten(1).to(tokens.device)
        return torch.matmul(self.pools[grid], tokens.clamp(min=GEM_EPS).pow(self.p)).pow(1 / self.p)


class _FoldedBlock:
    def __init__(self, block: Block, kind: Kind, tokens: int) -> None:
        self.heads, self.dtype = block.attn.heads, kind.dtype
        self.norm1, self.norm2 = Norm(block.norm1), Norm(block.norm2)
        gain1, gain2 = block.ls1.gamma, block.ls2.gamma
        attention, mlp = block.attn, block.mlp
        dim = attention.proj.in_features
        scale = gain1.new_ones(3 * dim)
        scale[:dim] = (dim // self.heads) ** -0.5  # of the queries; 1/8 in every variant, so exact
        self.qkv = kind.dense(scale[:, None] * attention.qkv.weight, scale * attention.qkv.bias, tokens)
        self.proj = kind.dense(gain1[:, None] * attention.proj.weight, gain1 * attention.proj.bias, tokens)
        self.fc1 = kind.dense(mlp.fc1.weight, mlp.fc1.bias, tokens)
        self.fc2 = kind.dense(gain2[:, None] * mlp.fc2.weight, gain2 * mlp.fc2.bias, tokens)
        self.adapter = None if block.adapter is None else _FoldedAdapter(block.adapter, gain2, kind, tokens)

    def __call__(self, x: Tensor, grid: tuple[int, int], unread: int) -> Tensor:
        """[B, N, C] -> [B, N - unread, C]: the first `unread` tokens are attended to, but get no output."""
        batch, count, dim = x.shape
        qkv = self.qkv(self.norm1(x)).to(self.dtype)
        qkv = qkv.view(batch, count, 3, self.heads, dim // self.heads).permute(2, 0, 3, 1, 4)
        query, key, value = qkv.unbind(0)
        mixed = attend(query[:, :, unread:], key, value, scale=1.0)  # the queries are scaled already
        x = x[:, unread:] + self.proj(mixed.transpose(1, 2).reshape(batch, count - unread, dim))
        n = self.norm2(x)
        y = x + self.fc2(F.gelu(self.fc1(n)))
        return y if self.adapter is None else y + self.adapter(n, grid)


class _FoldedAdapter:
    """CricaVPR's adapter with its gain and LayerScale inside the last layer: [B, N, C] -> [B, N, C]."""

    def __init__(self, adapter: MultiScaleAdapter, gain: Tensor, kind: Kind, tokens: int) -> None:
        gain = ADAPTER_SCALE * gain
        self.fc1 = kind.dense(adapter.D_fc1.weight, adapter.D_fc1.bias, tokens)
        self.fc2 = kind.dense(gain[:, None] * adapter.D_fc2.weight, gain * adapter.D_fc2.bias, tokens)
        firsts = (adapter.branch1, adapter.branch2[0], adapter.branch3[0])
        pairs = [with_batchnorm(part.conv, part.bn) for part in firsts]
        self.widths = [len(weight) for weight, _ in pairs]
        weight, bias = (torch.cat(tensors) for tensors in zip(*pairs, strict=True))
        self.ones = kind.dense(weight.flatten(1), bias, tokens)
        self.convs = [with_batchnorm(branch[1].conv, branch[1].bn) for branch in (adapter.branch2, adapter.branch3)]
        self.convs = [(weight.to(kind.dtype), bias.to(kind.dtype)) for weight, bias in self.convs]

    def __call__(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        hidden = F.relu(self.fc1(tokens))
        parts = F.relu(self.ones(hidden[:, 1:])).split(self.widths, dim=-1)
        branches = [parts[0]]
        for (weight, bias), part in zip(self.convs, parts[1:], strict=True):
            patch_map = part.reshape(len(tokens), *grid, -1).permute(0, 3, 1, 2)
            wide = F.relu(F.conv2d(patch_map.to(weight.dtype), weight, bias, padding=weight.shape[-1] // 2))
            branches.append(wide.flatten(2).transpose(1, 2).to(parts[0].dtype))
        mixed = torch.cat((hidden[:, :1], torch.cat(branches, dim=-1)), dim=1)
        return self.fc2(mixed + hidden)


class _FoldedMixer:
    """A token mixer on tokens [B, N, C], float32."""

    def __init__(self, mixer: nn.Module) -> None:
        self.norm = Norm(mixer.norm)
        self.layers = [(layer.weight.detach(), layer.bias.detach()[:, None]) for layer in (mixer.mix[0], mixer.mix[2])]

    def __call__(self, x: Tensor) -> Tensor:
        (weight1, bias1), (weight2, bias2) = self.layers
        inner = F.relu(torch.matmul(weight1, self.norm(x)) + bias1)
        return x + (torch.matmul(weight2, inner) + bias2)
