"""The R = 14 regions as data, and generalised-mean pooling over them.

One list of boxes serves pooling, the explanations and the overlay drawn on screen (SciceVPR paper, Figure 4).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scicevpr.config import REGION_LEVELS

GEM_EPS = 1e-6


@dataclass(frozen=True)
class Region:
    """A box on the token grid: rows ``top:bottom``, columns ``left:right``; ``level`` 1, 2 or 3 (1x1, 2x2, 3x3)."""

    name: str
    level: int
    top: int
    bottom: int
    left: int
    right: int


def _bounds(tokens: int, parts: int) -> list[int]:
    return [int(i * tokens / parts + 0.5) for i in range(parts + 1)]


def region_boxes(grid: tuple[int, int] = (16, 16)) -> tuple[Region, ...]:
    """The R regions of a token grid: the whole, the 2x2 cells row by row, the 3x3 cells row by row. On 16 tokens the
    bounds are 0-8-16 and 0-5-11-16. Region 0 is the whole map; CricaVPR puts its class token there."""
    regions = []
    for level in REGION_LEVELS:
        rows, columns = _bounds(grid[0], level), _bounds(grid[1], level)
        for i in range(level):
            for j in range(level):
                name = "whole" if level == 1 else f"{level}x{level} row {i + 1} column {j + 1}"
                regions.append(Region(name, level, rows[i], rows[i + 1], columns[j], columns[j + 1]))
    return tuple(regions)


class GeM(nn.Module):
    """Generalised mean over regions with one learnable exponent ``p`` (initially 3).

    Computed in float32 at least: in float16 the powers would overflow and the floor would vanish."""

    def __init__(self, p: float = 3.0) -> None:
        super().__init__()
        self.p = nn.Parameter(torch.full((1,), p))

    def forward(self, x: Tensor, regions: Sequence[Region]) -> Tensor:
        """[B, C, h, w] -> [B, len(regions), C]. Regions overlap, so the powers are taken once for all."""
        p = self.p if self.p.dtype == torch.float64 else self.p.float()
        powers = x.to(p.dtype).clamp(min=GEM_EPS).pow(p)  # (B, C, h, w)
        means = [powers[..., r.top : r.bottom, r.left : r.right].mean(dim=(-2, -1)) for r in regions]  # (B, C) each
        return torch.stack(means, dim=1).pow(1 / p).to(x.dtype)


def pool_fused_map(fused: Tensor, gem: GeM) -> Tensor:
    """Super-CricaVPR and SciceVPR: GeM per region, then L2 per region. [B, C, h, w] -> [B, R, C]."""
    return F.normalize(gem(fused, region_boxes(tuple(fused.shape[-2:]))), dim=-1)


def pool_class_token_and_map(class_token: Tensor, patch_map: Tensor, gem: GeM) -> Tensor:
    """CricaVPR: the class token, then GeM of the 13 cells over L2-normalised tokens; no L2 afterwards. [B, C] and [B,
    C, h, w] -> [B, R, C]."""
    cells = region_boxes(tuple(patch_map.shape[-2:]))[1:]
    return torch.cat([class_token[:, None], gem(F.normalize(patch_map, dim=1), cells)], dim=1)
