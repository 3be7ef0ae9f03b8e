"""Region by region: which tokens a region vector is made of, how much it adds to a similarity, which patches match."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from scicevpr.config import REGION_COUNT
from scicevpr.errors import UsageError
from scicevpr.explanations.fusion import cell_number
from scicevpr.models.model import Trace, VPRModel
from scicevpr.models.regions import GEM_EPS, Region

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


def pooled_map(model: VPRModel, trace: Trace, photo: int = 0) -> Tensor:
    """The map that the model's GeM reads for one photo of the batch: [C, rows, columns].

    CricaVPR: the last block's tokens, each brought to length 1; the others: the map after the last token mixer.
    """
    if model.variant.class_token:
        return F.normalize(trace.patch_map[photo], dim=0)
    return (trace.mixed[-1] if trace.mixed else trace.fused)[photo]


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
