"""Layers of a fused model: linear ones in floating point or 8 bits, norms, the patch embedding, the encoder.

The 8-bit layer quantises every token by its own largest value, and every output channel of the weights by its own. So
it needs no calibration photos, a token's result depends on that token alone (whole numbers are summed exactly), and the
few tokens with very large values that vision transformers are known for do not coarsen the others.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scicevpr.errors import UsageError
from scicevpr.models.backbone import HYBRID_CHANNELS, DinoBackbone, HybridEmbed
from scicevpr.models.efficientnet_lite import EfficientNetLite0, SameConv, on_one_grid
from scicevpr.models.encoders import EncoderLayer, RegionEncoder
from scicevpr.models.native_checkpoints import hash_tensors

Layer = Callable[[Tensor], Tensor]  # [..., K] -> [..., N]
ZERO = 128  # what stands for 0 among the unsigned 8-bit activations
LARGEST = 127.0
TINY = 1e-30  # a token of zeros must not divide by zero


class FloatLinear:
    """``x W^T + b`` in the precision of the weight; the input is converted to it."""

    def __init__(self, weight: Tensor, bias: Tensor, dtype: torch.dtype) -> None:
        self.weight, self.bias = weight.to(dtype), bias.to(dtype)

    def __call__(self, x: Tensor) -> Tensor:
        return F.linear(x.to(self.weight.dtype), self.weight, self.bias)


class QuantisedLinear:
    """``x W^T + b`` by 8-bit products summed in 32 bits (oneDNN); float32 or bfloat16 in, float32 out.

    The instructions for it are AVX-512 VNNI or AVX VNNI; :func:`scicevpr.descriptors.precision.obstacle` asks for them.
    """

    def __init__(self, weight: Tensor, bias: Tensor, tokens: int) -> None:
        weight = weight.float()
        scale = weight.abs().amax(1).clamp(min=TINY) / LARGEST
        levels = (weight / scale[:, None]).round().clamp(-LARGEST, LARGEST).to(torch.int8)
        self.packed = torch.ops.onednn.qlinear_prepack(levels.contiguous(), [tokens, weight.shape[1]])
        self.scale = scale
        self.zeros = torch.zeros(len(weight), dtype=torch.int64)
        self.bias = bias.float()

    def __call__(self, x: Tensor) -> Tensor:
        tokens = x.reshape(-1, x.shape[-1]).float()  # (T, K)
        step = tokens.abs().amax(1, keepdim=True).clamp_(min=TINY).div_(LARGEST)
        signed = tokens.mul(step.reciprocal()).round_().to(torch.int8)  # vectorised, as the way to uint8 is not
        levels = signed.view(torch.uint8).bitwise_xor_(ZERO)  # plus 128
        sums = torch.ops.onednn.qlinear_pointwise(
            levels, 1.0, ZERO, self.packed, self.scale, self.zeros, None, 1.0, 0, torch.float32, "none", [], ""
        )
        return torch.addcmul(self.bias, sums, step, out=sums).reshape(*x.shape[:-1], -1)


class Norm:
    """A layer norm: [..., C] -> [..., C]."""

    def __init__(self, norm: nn.LayerNorm) -> None:
        self.shape, self.eps = norm.normalized_shape, norm.eps
        self.weight, self.bias = norm.weight.detach(), norm.bias.detach()

    def __call__(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, self.shape, self.weight, self.bias, self.eps)


class _SelfEnhancedLayer:
    """An encoder layer whose every sequence has length 1: attention is one matrix, and so is attention plus skip."""

    def __init__(self, layer: EncoderLayer) -> None:
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
        x = self.norm1(F.linear(x, self.mix, self.mix_bias))  # (B, R, C)
        return self.norm2(x + F.linear(F.gelu(F.linear(x, *self.layers[0])), *self.layers[1]))


def fused_encoder(encoder: RegionEncoder) -> Layer:
    """An encoder [B, R, C] -> [B, R, C]; a copy of it where photos see each other."""
    if encoder.cross_image:
        return copy.deepcopy(encoder).requires_grad_(False).eval()
    layers = [_SelfEnhancedLayer(layer) for layer in encoder.layers]

    def run(x: Tensor) -> Tensor:
        for layer in layers:
            x = layer(x)
        return x

    return run


def fused_embedding(backbone: DinoBackbone) -> Layer:
    """Photos [B, 3, H, W] -> patches [B, rows*columns, C]: in float32, as the pixels deserve."""
    embed, patch = backbone.patch_embed, backbone.config.patch
    if isinstance(embed, HybridEmbed):
        return FusedStem(embed)
    weight, bias = embed.proj.weight.detach().flatten(1), _bias_of(embed.proj).detach()

    def by_product(x: Tensor) -> Tensor:
        rows, columns = x.shape[-2] // patch, x.shape[-1] // patch
        patches = x.view(len(x), 3, rows, patch, columns, patch).permute(0, 2, 4, 1, 3, 5)  # (B, h, w, 3, p, p)
        return F.linear(patches.reshape(len(x), rows * columns, -1), weight, bias)

    return by_product


class FusedStem:
    """A hybrid's tokens, with the standardising inside the projection.

    It takes photos [B, 3, H, W], or what :meth:`maps` gave for them: models with the same stem share its work so."""

    def __init__(self, embed: HybridEmbed) -> None:
        self.patch = embed.patch
        self.features = FusedEfficientNet(embed.features) if _fused_convolutions(embed.proj) else _plain(embed.features)
        weight = embed.proj.weight.flatten(1).double() / embed.deviation.double()
        self.bias = (_bias_of(embed.proj).double() - weight @ embed.mean.double()).float()
        self.weight = weight.float()
        self.key = hash_tensors(embed.features.state_dict())  # equal for stems that give the same maps

    def maps(self, x: Tensor) -> Tensor:
        """The stem's maps of photos: [B, 3, H, W] -> [B, 427, rows, columns]."""
        return torch.cat((self.features(x), F.avg_pool2d(x, self.patch)), dim=1)

    def __call__(self, x: Tensor) -> Tensor:
        maps = x if x.shape[1] == HYBRID_CHANNELS else self.maps(x)  # (B, 427, rows, columns)
        return F.linear(maps.flatten(2).transpose(1, 2), self.weight, self.bias)


def _plain(features: EfficientNetLite0) -> EfficientNetLite0:
    """The stem as it is, its convolutions in channels-last."""
    stem, kind = copy.deepcopy(features).eval(), torch.channels_last
    return stem.to(memory_format=kind)  # type: ignore[call-overload]  # torch's overloads forget this one


def _fused_convolutions(layer: nn.Module) -> bool:
    """Whether oneDNN's convolutions with what follows in them can be used: on a processor, where torch has them."""
    on_processor = all(parameter.device.type == "cpu" for parameter in layer.parameters())
    return on_processor and torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_convolution_pointwise")


class FusedConv:
    """A convolution with "same" padding, and ReLU6 or the addition of another map, as one operation of oneDNN.

    The weights are packed once. Differs from separate operations by rounding alone."""

    def __init__(self, conv: SameConv, relu6: bool = False) -> None:
        self.conv = conv
        padding = conv.kernel_size[0] // 2 if conv.stride[0] == 1 else 0  # with stride 2 the input is padded
        self.sizes = ([padding] * 2, list(conv.stride), [1, 1], conv.groups)
        self.after = ("hardtanh", [0.0, 6.0], "") if relu6 else ("none", [], "")
        weight = conv.weight.detach().clone().to_mkldnn()
        self.weight = torch._C._nn.mkldnn_reorder_conv2d_weight(weight, *self.sizes)
        self.bias = _bias_of(conv).detach().clone()

    def __call__(self, x: Tensor, added: Tensor | None = None) -> Tensor:
        x = self.conv.padded(x)
        if added is None:
            return torch.ops.mkldnn._convolution_pointwise(x, self.weight, self.bias, *self.sizes, *self.after)
        plus: tuple[str, float, None, list[float], None] = ("add", 1.0, None, [], None)
        return torch.ops.mkldnn._convolution_pointwise(x, added, self.weight, self.bias, *self.sizes, *plus)


class FusedEfficientNet:
    """:class:`EfficientNetLite0` of such convolutions: [B, 3, H, W] -> [B, 424, H/16, W/16]."""

    def __init__(self, features: EfficientNetLite0) -> None:
        self.first = FusedConv(features.first, relu6=True)
        self.blocks = [
            (
                None if block.expand is None else FusedConv(block.expand, relu6=True),
                FusedConv(block.depthwise, relu6=True),
                FusedConv(block.project),
                block.skip,
            )
            for block in features.blocks
        ]

    def __call__(self, x: Tensor) -> Tensor:
        x = self.first(x.contiguous(memory_format=torch.channels_last))
        outputs = []
        for expand, depthwise, project, skip in self.blocks:
            wide = depthwise(x if expand is None else expand(x))
            x = project(wide, x if skip else None)
            outputs.append(x)
        return on_one_grid(outputs)


def _bias_of(conv: nn.Conv2d) -> Tensor:
    """Its bias, zeros where it has none."""
    return conv.weight.new_zeros(len(conv.weight)) if conv.bias is None else conv.bias


def fuse_batchnorm(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Weight and bias of a convolution followed by batch normalisation in evaluation mode."""
    mean, variance = norm.running_mean, norm.running_var
    if mean is None or variance is None:
        raise UsageError("A batch normalisation without running statistics cannot be fused into its convolution.")
    gain = norm.weight.double() / (variance.double() + norm.eps).sqrt()
    bias = norm.bias.double() - mean.double() * gain + _bias_of(conv).double() * gain
    weight = conv.weight.double() * gain[:, None, None, None]
    return weight.float().detach(), bias.float().detach()
