"""What the fusion made of the backbone's layers: the 1x1 convolution layer by layer, energies, influence of cells.

Paper: section III-B (multi-layer feature fusion); the energies follow its heat maps.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from scicevpr.errors import UsageError
from scicevpr.models.fusion import LayerFusion
from scicevpr.models.model import Trace


@dataclass(frozen=True)
class LayerContribution:
    """The 1x1 convolution split into its M tapped layers, for one photo.

    energy [M, rows, columns]: squared length of the response of each layer alone. share [M]: its part of the whole
    energy, sums to 1. aligned [M]: its part of the sum of all responses (their scalar product over the squared length
    of the sum), sums to 1 and may be negative where a layer works against the others.
    """

    energy: Tensor
    share: Tensor
    aligned: Tensor


@torch.no_grad()
def layer_responses(fusion: LayerFusion, trace: Trace, photo: int = 0) -> Tensor:
    """What each tapped layer adds to the convolution's output (without the bias): [M, C, rows, columns]."""
    channels = fusion.conv.out_channels
    weights = fusion.conv.weight[:, :, 0, 0].split(channels, dim=1)  # M of (C, C)
    maps = [layer[photo] for layer in trace.layer_maps]
    return torch.stack([torch.einsum("oc,chw->ohw", w, x) for w, x in zip(weights, maps, strict=True)])


def layer_contribution(fusion: LayerFusion, trace: Trace, photo: int = 0) -> LayerContribution:
    """Split the response of the 1x1 convolution into the tapped layers of one photo of the batch."""
    responses = layer_responses(fusion, trace, photo)
    energy = responses.square().sum(dim=1)
    total = responses.sum(dim=0)
    aligned = (responses * total).flatten(1).sum(dim=1) / total.square().sum()
    return LayerContribution(energy, energy.flatten(1).sum(dim=1) / energy.sum(), aligned)


def map_energy(channels: Tensor, measure: str = "norm") -> Tensor:
    """One number per position of a map [C, rows, columns]: its length over the channels ("norm") or their "sum"."""
    if measure not in ("norm", "sum"):
        raise UsageError(f"The energy of a map is its 'norm' or its 'sum', not {measure!r}.")
    return channels.norm(dim=0) if measure == "norm" else channels.sum(dim=0)


def cell_number(grid: tuple[int, int], row: int, column: int) -> int:
    """Number of a cell, row by row. UsageError outside the grid."""
    if not (0 <= row < grid[0] and 0 <= column < grid[1]):
        raise UsageError(f"There is no cell in row {row}, column {column}: the grid has {grid[0]}x{grid[1]} cells.")
    return row * grid[1] + column


def _mixed(fusion: LayerFusion, x: Tensor) -> Tensor:
    for mixer in fusion.mixers:
        x = mixer(x)
    return x  # (B, C, rows, columns)


@torch.enable_grad()
def influence_on(fusion: LayerFusion, fused: Tensor, row: int, column: int) -> Tensor:
    """How strongly each cell j moves the cell i = (row, column) through the token mixers: [rows, columns].

    The Frobenius norm of the block of the Jacobian d out[:, i] / d in[:, j], [C, C], exact for this photo: with the
    ReLU gates and the layer norms as they stand. The value of i itself includes the mixers' skip connections. fused:
    the map after the 1x1 convolution and ReLU, [C, rows, columns]. Raises UsageError for no such cell.
    """
    grid = tuple(fused.shape[-2:])
    cell = cell_number(grid, row, column)
    x = fused.detach().clone()[None].requires_grad_()
    out = _mixed(fusion, x).flatten(2)[0, :, cell]  # (C,)
    one = torch.eye(len(out), dtype=out.dtype, device=out.device)
    (jacobian,) = torch.autograd.grad(out, x, one, is_grads_batched=True)  # (C, 1, C, rows, columns)
    return jacobian.flatten(-2).square().sum(dim=(0, 1, 2)).sqrt().reshape(grid)


@torch.enable_grad()
def average_influence(fusion: LayerFusion, fused: Tensor, draws: int = 128, seed: int = 0) -> Tensor:
    """How strongly each cell j moves the cells of the map through the mixers, on average: [rows, columns].

    sqrt(mean over i of |d (out - in)_i / d in_j|^2), the skip connections left out. The sum of squares is estimated
    without bias from random signs (Hutchinson, 1989).
    """
    channels, grid = len(fused), tuple(fused.shape[-2:])
    tokens = grid[0] * grid[1]
    x = fused.detach().clone()[None].requires_grad_()  # (1, C, rows, columns)
    out = (_mixed(fusion, x) - x).flatten(2)[0]  # (C, tokens)
    total = torch.zeros(tokens, dtype=out.dtype, device=out.device)
    generator = torch.Generator().manual_seed(seed)
    signs = torch.randint(0, 2, (draws, channels, tokens), generator=generator).to(out) * 2 - 1
    for part in signs.split(32):
        (product,) = torch.autograd.grad(out, x, part, is_grads_batched=True, retain_graph=True)
        total += product.flatten(-2).square().sum(dim=(0, 1, 2))
    return (total / draws / tokens).sqrt().reshape(grid)
