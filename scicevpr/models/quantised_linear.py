"""Linear layers for inference: in floating point, or with 8-bit weights and activations.

The 8-bit layer quantises every token by its own largest value, and every output channel of the weights by its own. So
it needs no calibration photos, a token's result depends on that token alone (whole numbers are summed exactly), and the
few tokens with very large values that vision transformers are known for do not coarsen the others.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

Dense = Callable[[Tensor], Tensor]
"""[..., K] -> [..., N]."""

ZERO = 128  # what stands for 0 among the unsigned 8-bit activations
LARGEST = 127.0
TINY = 1e-30  # a token of zeros must not divide by zero


class FloatDense:
    """``x W^T + b`` in the precision of the weight; the input is converted to it."""

    def __init__(self, weight: Tensor, bias: Tensor, dtype: torch.dtype) -> None:
        self.weight, self.bias = weight.to(dtype), bias.to(dtype)

    def __call__(self, x: Tensor) -> Tensor:
        return F.linear(x.to(self.weight.dtype), self.weight, self.bias)


class Int8Dense:
    """``x W^T + b`` by 8-bit products summed in 32 bits (oneDNN); float32 or bfloat16 in, float32 out.

    The instructions for it are AVX-512 VNNI or AVX VNNI; :func:`scicevpr.describe.precision.obstacle` asks for them.
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
        tokens = x.reshape(-1, x.shape[-1]).float()
        step = tokens.abs().amax(1, keepdim=True).clamp_(min=TINY).div_(LARGEST)
        signed = tokens.mul(step.reciprocal()).round_().to(torch.int8)  # vectorised, as the way to uint8 is not
        levels = signed.view(torch.uint8).bitwise_xor_(ZERO)  # plus 128
        sums = torch.ops.onednn.qlinear_pointwise(
            levels, 1.0, ZERO, self.packed, self.scale, self.zeros, None, 1.0, 0, torch.float32, "none", [], ""
        )
        return torch.addcmul(self.bias, sums, step, out=sums).reshape(*x.shape[:-1], -1)
