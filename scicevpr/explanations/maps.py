"""The formulas behind the pictures: who looks where, what the fusion made of the layers, and region by region.

Attention between photos is CricaVPR's and Super-CricaVPR's; in SciceVPR every region vector attends to itself only.
Fusion: section III-B of the paper; the energies follow its heat maps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from scicevpr.config import REGION_COUNT, STEM_TAP
from scicevpr.errors import UsageError
from scicevpr.models.backbone import Block
from scicevpr.models.fusion import LayerFusion
from scicevpr.models.model import Trace, VPRModel
from scicevpr.models.regions import GEM_EPS, Region

SHOWN_LAYERS = 4
"""Last blocks shown where a model taps none (CricaVPR)."""


def shown_blocks(model: VPRModel) -> tuple[int, ...]:
    """The blocks whose attention is worth a look: the tapped ones, for CricaVPR the last four."""
    depth = model.variant.backbone.depth
    tapped = tuple(tap for tap in sorted(model.variant.taps) if tap != STEM_TAP)
    return tapped or tuple(range(depth - SHOWN_LAYERS, depth))


@torch.no_grad()
def class_attention(model: VPRModel, trace: Trace, block: int, photo: int = 0) -> Tensor:
    """The class token's attention in one block, head by head: [heads, 1 + rows*columns], each row sums to 1.

    softmax(q_class . k_j / sqrt(d)) over the class token (first) and the patches. Raises UsageError: no such block.
    """
    if not 0 <= block < len(model.backbone.blocks):
        raise UsageError(f"There is no block {block}; the backbone has blocks 0..{len(model.backbone.blocks) - 1}.")
    entering = (trace.tokens_in if block == 0 else trace.blocks[block - 1])[photo]  # (1 + rows·columns, C)
    layer = cast(Block, model.backbone.blocks[block])
    heads, tokens = layer.attn.heads, len(entering)
    query, key, _ = layer.attn.qkv(layer.norm1(entering)).reshape(tokens, 3, heads, -1).unbind(1)  # (tokens, heads, d)
    scores = torch.einsum("hd,thd->ht", query[0], key) / query.shape[-1] ** 0.5  # (heads, tokens)
    return scores.softmax(dim=-1)


def attention_maps(model: VPRModel, trace: Trace, block: int, photo: int = 0) -> Tensor:
    """The part of `class_attention` that goes to the patches, as maps: [heads, rows, columns]."""
    return class_attention(model, trace, block, photo)[:, 1:].reshape(-1, *trace.grid)


def cross_image_attention(
    trace: Trace, layer: int | None = None, head: int | None = None, region: int | None = None
) -> Tensor:
    """The weights with which photo i (rows) reads photo j (columns) of its batch: [B, B], rows sum to 1.

    layer, head, region: which ones; None takes the mean over all. Raises UsageError for a model without such
    attention, or a number that does not exist.
    """
    if not trace.attention:
        raise UsageError("This model's encoder looks at one photo at a time: there is no attention between photos.")
    weights = torch.stack(trace.attention)  # (layers, regions, heads, B, B)
    for axis, (name, chosen) in enumerate((("layer", layer), ("region", region), ("head", head))):
        if chosen is not None and not 0 <= chosen < weights.shape[axis]:
            raise UsageError(f"There is no {name} {chosen}: the encoder has {name}s 0..{weights.shape[axis] - 1}.")
    layers = weights if layer is None else weights[layer : layer + 1]
    regions = layers if region is None else layers[:, region : region + 1]
    return (regions if head is None else regions[:, :, head : head + 1]).mean(dim=(0, 1, 2))


@torch.no_grad()
def rewriting(model: VPRModel, regions: Tensor, photo: int = 0) -> Tensor:
    """How far each other photo in the batch moves each region part of one photo's descriptor: [B, 14].

    |d_r(whole batch) - d_r(batch without photo j)| over the 14 parts of the unit descriptor: a measurement, not a
    weight. The photo's own row says how far all others move it: |d_r(whole batch) - d_r(alone)|. regions: what enters
    the encoder, [B, 14, C]. photo: whose descriptor is watched.
    """
    count = len(regions)

    def described(rows: list[int]) -> Tensor:
        encoded = model.encoder(regions[rows])[rows.index(photo)]  # (14, C)
        return F.normalize(encoded.flatten(), dim=0).reshape(encoded.shape)

    everyone = list(range(count))
    whole = described(everyone)
    moved = [
        (whole - described([photo] if j == photo else [i for i in everyone if i != j])).norm(dim=-1) for j in everyone
    ]
    return torch.stack(moved)


# ---- fusion ----------------------------------------------------------------------------------------------------------


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


# ---- regions ---------------------------------------------------------------------------------------------------------


# ---- pooling ---------------------------------------------------------------------------------------------------------


@torch.no_grad()
def pooling_attention(pooled_map: Tensor, p: Tensor | float, regions: tuple[Region, ...]) -> Tensor:
    """How much each token contributes to each region's GeM vector g: [R, rows, columns], each region sums to 1.

    a_j = sum over channels c of w_c * x_cj^p / sum_k x_ck^p, with w_c = g_c^2 / |g|^2: the share of token j in each
    channel's mean, channels weighted by their part of the region vector. Because GeM is homogeneous this equals
    sum_c g_c x_cj dg_c/dx_cj / |g|^2. Cells outside the region are 0. pooled_map: the map that GeM reads,
    [C, rows, columns]. p: GeM's exponent. regions: boxes on the grid.
    """
    exponent = float(p)
    powers = pooled_map.detach().cpu().double().clamp(min=GEM_EPS).pow(exponent)
    shares = torch.zeros(len(regions), *pooled_map.shape[-2:], dtype=torch.float64)
    for number, r in enumerate(regions):
        box = powers[:, r.top : r.bottom, r.left : r.right]  # (C, rows, columns) of the region
        energy = box.mean(dim=(1, 2)).pow(2 / exponent)  # (C,)
        weights = energy / energy.sum()
        share = box / box.sum(dim=(1, 2), keepdim=True)
        shares[number, r.top : r.bottom, r.left : r.right] = torch.einsum("c,chw->hw", weights, share)
    return shares.float()


def present(tensor: Tensor | None) -> Tensor:
    """A tensor that the traces of this model hold. UsageError where they do not."""
    if tensor is None:
        raise UsageError("The model has no such map on its way from photo to descriptor.")
    return tensor


def pooled_map(model: VPRModel, trace: Trace, photo: int = 0) -> Tensor:
    """The map that the model's GeM reads for one photo of the batch: [C, rows, columns].

    CricaVPR: the last block's tokens, each brought to length 1; the others: the map after the last token mixer.
    """
    if model.variant.class_token:
        return F.normalize(present(trace.patch_map)[photo], dim=0)
    return (trace.mixed[-1] if trace.mixed else present(trace.fused))[photo]


def region_pooling(model: VPRModel, trace: Trace, photo: int = 0) -> dict[int, Tensor]:
    """Pooling attention [rows, columns] by region number; CricaVPR's region 0 is its class token and has none."""
    first = 1 if model.variant.class_token else 0
    numbers = range(first, len(trace.boxes))
    shares = pooling_attention(pooled_map(model, trace, photo), model.gem.p, trace.boxes[first:])
    return dict(zip(numbers, shares, strict=True))


# ---- similarity ------------------------------------------------------------------------------------------------------


def region_terms(query: np.ndarray, match: np.ndarray) -> np.ndarray:
    """The 14 terms whose sum is the similarity (cosine) of two descriptors [D]: [14] float64.

    A descriptor is 14 region parts in a row, so q . m is the sum of 14 scalar products. Both are brought to length 1
    first: stored descriptors are rounded. Raises UsageError when they differ in length, or are no 14 equal parts
    (reduced by PCA, for instance).
    """
    query, match = (np.asarray(values, dtype=np.float64).reshape(-1) for values in (query, match))
    if query.shape != match.shape or query.size % REGION_COUNT:
        raise UsageError(
            f"Region terms need two descriptors of one model, 14 parts each; these have {query.size} and {match.size} "
            "dimensions. Descriptors reduced by PCA have no regions any more."
        )
    lengths = max(np.linalg.norm(query) * np.linalg.norm(match), np.finfo(np.float64).tiny)
    return (query * match).reshape(REGION_COUNT, -1).sum(axis=1) / lengths  # (14,)


@dataclass(frozen=True)
class Decision:
    """Why the first candidate beat the second: terms of both [14], their differences, and the region with the largest.

    ``gap`` is the difference of the similarities and the sum of ``differences``.
    """

    first: np.ndarray
    second: np.ndarray
    differences: np.ndarray
    region: int
    gap: float


def deciding_region(query: np.ndarray, first: np.ndarray, second: np.ndarray) -> Decision:
    """The region that spoke most for the first of two candidates (all descriptors [D])."""
    one, two = region_terms(query, first), region_terms(query, second)
    differences = one - two
    return Decision(one, two, differences, int(differences.argmax()), float(differences.sum()))


@dataclass(frozen=True)
class Correspondence:
    """Patches of a match that look like patches of a query, by cosine of the tokens that are pooled.

    similarity [Tq, Tm]: cosine of every pair. nearest [Tq]: most similar patch of the match for each patch of the
    query; back [Tm]: the other way. mutual [Tq]: whether the nearest patch names this one in return.
    """

    grid: tuple[int, int]
    similarity: np.ndarray
    nearest: np.ndarray
    back: np.ndarray
    mutual: np.ndarray

    def best_of(self, row: int, column: int, count: int = 3) -> list[tuple[int, int, float]]:
        """The patches of the match nearest to one patch of the query: (row, column, cosine), best first."""
        similarities = self.similarity[cell_number(self.grid, row, column)]
        order = np.argsort(-similarities, kind="stable")[:count]
        return [(int(cell // self.grid[1]), int(cell % self.grid[1]), float(similarities[cell])) for cell in order]


@torch.no_grad()
def patch_correspondence(query_map: Tensor, match_map: Tensor) -> Correspondence:
    """Compare all patches of two maps [C, rows, columns] (see `pooled_map`)."""
    query, match = (F.normalize(m.cpu().double().flatten(1), dim=0) for m in (query_map, match_map))  # (C, T)
    similarity = (query.T @ match).numpy()  # (Tq, Tm)
    nearest, back = similarity.argmax(axis=1), similarity.argmax(axis=0)
    mutual = back[nearest] == np.arange(len(nearest))
    return Correspondence(tuple(query_map.shape[-2:]), similarity.astype(np.float32), nearest, back, mutual)
