"""Why these two photos: the similarity region by region, and which patch looks like which."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from scicevpr.config import REGION_COUNT
from scicevpr.errors import UsageError
from scicevpr.explanations.fusion import cell_number


def region_terms(query: np.ndarray, match: np.ndarray) -> np.ndarray:
    """The 14 terms whose sum is the similarity (cosine) of two descriptors [D]: [14] float64.

    A descriptor is 14 region parts in a row, so q . m is the sum of 14 scalar products. Both are brought to length 1
    first: stored descriptors are rounded.

    Raises:
        UsageError: the descriptors differ in length, or are no 14 equal parts (reduced by PCA, for instance).
    """
    query, match = (np.asarray(values, dtype=np.float64).reshape(-1) for values in (query, match))
    if query.shape != match.shape or query.size % REGION_COUNT:
        raise UsageError(
            f"Region terms need two descriptors of one model, 14 parts each; these have {query.size} and {match.size} "
            "values. Descriptors reduced by PCA have no regions any more."
        )
    lengths = max(np.linalg.norm(query) * np.linalg.norm(match), np.finfo(np.float64).tiny)
    return (query * match).reshape(REGION_COUNT, -1).sum(axis=1) / lengths


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
    """Compare all patches of two maps [C, rows, columns] (see :func:`scicevpr.explanations.pooling.pooled_map`)."""
    query, match = (F.normalize(m.cpu().double().flatten(1), dim=0) for m in (query_map, match_map))
    similarity = (query.T @ match).numpy()
    nearest, back = similarity.argmax(axis=1), similarity.argmax(axis=0)
    mutual = back[nearest] == np.arange(len(nearest))
    return Correspondence(tuple(query_map.shape[-2:]), similarity.astype(np.float32), nearest, back, mutual)
