"""Parts of a folded model that are the same in every precision: norms, the patch embedding, the encoder; float32."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scicevpr.models.backbone import HYBRID_CHANNELS, DinoBackbone, HybridEmbed
from scicevpr.models.encoders import RegionEncoder
from scicevpr.models.native_checkpoints import hash_tensors
from scicevpr.models.quantised_linear import Dense


class Norm:
    """A layer norm: [..., C] -> [..., C]."""

    def __init__(self, norm: nn.LayerNorm) -> None:
        self.shape, self.eps = norm.normalized_shape, norm.eps
        self.weight, self.bias = norm.weight.detach(), norm.bias.detach()

    def __call__(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, self.shape, self.weight, self.bias, self.eps)


class _SelfEnhancedLayer:
    """An encoder layer whose every sequence has length 1: attention is one matrix, and so is attention plus skip."""

    def __init__(self, layer: nn.Module) -> None:
        attention = layer.self_attn
        channels = attention.embed_dim
        out, value = attention.out_proj.weight.double(), attention.in_proj_weight[2 * channels :].double()
        skip = torch.eye(channels, dtype=torch.float64, device=out.device)
        self.mix = (skip + out @ value).float()
        bias = out @ attention.in_proj_bias[2 * channels :].double() + attention.out_proj.bias.double()
        self.mix_bias = bias.float()
        self.norm1, self.norm2 = Norm(layer.norm1), Norm(layer.norm2)
        self.layers = [(linear.weight.detach(), linear.bias.detach()) for linear in (layer.linear1, layer.linear2)]

    def __call__(self, x: Tensor) -> Tensor:
        x = self.norm1(F.linear(x, self.mix, self.mix_bias))
        return self.norm2(x + F.linear(F.gelu(F.linear(x, *self.layers[0])), *self.layers[1]))


def folded_encoder(encoder: RegionEncoder) -> Dense:
    """An encoder [B, 14, C] -> [B, 14, C]; a copy of it where photos see each other."""
    if encoder.cross_image:
        return copy.deepcopy(encoder).requires_grad_(False).eval()
    layers = [_SelfEnhancedLayer(layer) for layer in encoder.layers]

    def run(x: Tensor) -> Tensor:
        for layer in layers:
            x = layer(x)
        return x

    return run


def folded_embedding(backbone: DinoBackbone) -> Dense:
    """Photos [B, 3, H, W] -> patches [B, rows*columns, C]: in float32, as the pixels deserve."""
    embed, patch = backbone.patch_embed, backbone.config.patch
    if isinstance(embed, HybridEmbed):
        return FoldedStem(embed)
    weight, bias = embed.proj.weight.detach().flatten(1), embed.proj.bias.detach()

    def by_product(x: Tensor) -> Tensor:
        rows, columns = x.shape[-2] // patch, x.shape[-1] // patch
        patches = x.view(len(x), 3, rows, patch, columns, patch).permute(0, 2, 4, 1, 3, 5)
        return F.linear(patches.reshape(len(x), rows * columns, -1), weight, bias)

    return by_product


class FoldedStem:
    """A hybrid's tokens, with the standardising inside the projection.

    It takes photos [B, 3, H, W], or what :meth:`maps` gave for them: models with the same stem share its work so.
    """

    def __init__(self, embed: HybridEmbed) -> None:
        self.patch = embed.patch
        self.features = copy.deepcopy(embed.features).to(memory_format=torch.channels_last).eval()
        weight = embed.proj.weight.flatten(1).double() / embed.deviation.double()
        self.bias = (embed.proj.bias.double() - weight @ embed.mean.double()).float()
        self.weight = weight.float()
        self.key = hash_tensors(embed.features.state_dict())  # equal for stems that give the same maps

    def maps(self, x: Tensor) -> Tensor:
        """The stem's maps of photos: [B, 3, H, W] -> [B, 427, rows, columns]."""
        return torch.cat((self.features(x), F.avg_pool2d(x, self.patch)), dim=1)

    def __call__(self, x: Tensor) -> Tensor:
        maps = x if x.shape[1] == HYBRID_CHANNELS else self.maps(x)
        return F.linear(maps.flatten(2).transpose(1, 2), self.weight, self.bias)


def with_batchnorm(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Weight and bias of a convolution followed by batch normalisation in evaluation mode."""
    gain = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    bias = norm.bias.double() - norm.running_mean.double() * gain
    if conv.bias is not None:
        bias = bias + conv.bias.double() * gain
    weight = conv.weight.double() * gain[:, None, None, None]
    return weight.float().detach(), bias.float().detach()
