"""CricaVPR's multi-scale convolution adapter (Lu et al., CVPR 2024). Parameter names are those of its checkpoints."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BATCHNORM_EPS = 1e-3
CONV_INIT_STD = 1e-5


class _ConvBnRelu(nn.Module):
    def __init__(self, channels_in: int, channels_out: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels_out, kernel, padding=kernel // 2)
        self.bn = nn.BatchNorm2d(channels_out, eps=BATCHNORM_EPS)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)))


class MultiScaleAdapter(nn.Module):
    """Bottleneck (C -> C/2 -> C) with 1x1, 3x3 and 5x5 branches over the patch map.

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
        """Start as published: ``D_fc2`` at zero (the adapted backbone begins as the frozen one), small convolutions."""
        nn.init.zeros_(self.D_fc2.weight)
        nn.init.zeros_(self.D_fc2.bias)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=CONV_INIT_STD)
                nn.init.zeros_(module.bias)

    def forward(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        """[B, 1 + rows*columns, C] -> the same shape."""
        hidden = F.relu(self.D_fc1(tokens))
        batch, _, channels = hidden.shape
        patch_map = hidden[:, 1:].transpose(1, 2).reshape(batch, channels, *grid)
        branches = torch.cat((self.branch1(patch_map), self.branch2(patch_map), self.branch3(patch_map)), dim=1)
        mixed = torch.cat((hidden[:, :1], branches.flatten(2).transpose(1, 2)), dim=1)
        return self.D_fc2(mixed + hidden)
