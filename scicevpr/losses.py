"""Training losses on unit descriptors, as pure functions: multi-similarity with its miner, and distillation.

Multi-similarity: Wang et al., CVPR 2019, with the constants of the GSV-Cities recipe (alpha 1, beta 50, base 0,
miner epsilon 0.1). Distillation: SciceVPR paper, L_D. ``D`` descriptors of length ``F``, one place label each.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def _pair_masks(labels: Tensor) -> tuple[Tensor, Tensor]:
    same = labels[:, None] == labels[None, :]
    itself = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    return same & ~itself, ~same


def mine_pairs(descriptors: Tensor, labels: Tensor, epsilon: float = 0.1) -> tuple[Tensor, Tensor]:
    """Keep the informative pairs of each anchor (row) of descriptors [D, F] with labels [D]: two boolean masks [D, D],
    of positives and negatives.

    A negative is kept if it is at most ``epsilon`` less similar than the anchor's least similar positive; a positive if
    it is at most ``epsilon`` more similar than the most similar negative. Cosine similarity, no gradient.
    """
    with torch.no_grad():
        unit = F.normalize(descriptors, dim=-1)
        similarity = unit @ unit.T
        positive, negative = _pair_masks(labels)
        hardest_positive = similarity.masked_fill(~positive, torch.inf).amin(dim=1, keepdim=True)
        hardest_negative = similarity.masked_fill(~negative, -torch.inf).amax(dim=1, keepdim=True)
        return positive & (similarity - epsilon < hardest_negative), negative & (
            similarity + epsilon > hardest_positive
        )


def _log_one_plus_sum_exp(exponents: Tensor, keep: Tensor) -> Tensor:
    """log(1 + sum of exp over the kept entries) per row; 0 where nothing is kept."""
    masked = exponents.masked_fill(~keep, -torch.inf)
    return torch.logsumexp(F.pad(masked, (1, 0), value=0.0), dim=1)


def multi_similarity_loss(
    descriptors: Tensor,
    labels: Tensor,
    pairs: tuple[Tensor, Tensor] | None = None,
    *,
    alpha: float = 1.0,
    beta: float = 50.0,
    base: float = 0.0,
) -> Tensor:
    """Multi-similarity loss of descriptors [D, F], the mean over all anchors (also those without a kept pair). Rows are
    normalised first, as in the published recipe: for unit rows that changes the gradient, not the value. pairs: masks
    of :func:`mine_pairs`, or None for all pairs."""
    positive, negative = _pair_masks(labels) if pairs is None else pairs
    unit = F.normalize(descriptors, dim=-1)
    similarity = unit @ unit.T
    pull = _log_one_plus_sum_exp(-alpha * (similarity - base), positive) / alpha
    push = _log_one_plus_sum_exp(beta * (similarity - base), negative) / beta
    return (pull + push).mean()


def distillation_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """L_D: squared differences summed over dimensions, averaged over the batch. [D, F] twice -> scalar."""
    return (student - teacher).square().sum(dim=1).mean()
