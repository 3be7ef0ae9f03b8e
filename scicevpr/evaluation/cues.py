"""Signs of a wrong answer, by their formulas: one number a query from its ranked answers, larger = more to be trusted.

Published cues beside those of this project. Where a paper's uncertainty grows with doubt, its sign is turned.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from scicevpr.errors import UsageError
from scicevpr.evaluation.answers import AnswerLists

SUE_ANSWERS = 10  # best answers whose spread on the map is taken
SUE_SLOPE = 30.0  # how fast an answer's share falls with its similarity
NEAR_DUPLICATE = 0.02  # of similarity: answers this close to the first are as good as it
RATIO_FLOOR = 1e-6


def best_similarity(answers: AnswerLists) -> np.ndarray:
    """s1."""
    return answers.similarities[:, 0].astype(np.float64)


def margin(answers: AnswerLists) -> np.ndarray:
    """s1 minus the best similarity of another place; s1 itself where every candidate shows the first one's place."""
    others = np.where(answers.other_place(), answers.similarities, -np.inf).max(axis=1)
    return best_similarity(answers) - np.where(np.isfinite(others), others, 0.0)


def ratio(answers: AnswerLists) -> np.ndarray:
    """Perceptual aliasing: minus d1 / d2, the distances |q - r| of the first and the second answer (Lowe's ratio, as
    Zaffar et al., CVPR 2024, take it for retrieval); 0 for a single answer."""
    distances = np.sqrt(np.maximum(2 - 2 * answers.similarities[:, :2].astype(np.float64), 0))
    if distances.shape[1] < 2:
        return np.zeros(len(answers))
    return -np.nan_to_num(distances[:, 0] / np.maximum(distances[:, 1], RATIO_FLOOR), nan=0.0)


def spread_on_the_map(answers: AnswerLists) -> np.ndarray:
    """SUE, spatial uncertainty (Zaffar et al., CVPR 2024): minus the variance of the positions of the 10 best answers,
    weighted by exp(30 s). Weights, number and slope as in the trial behind this module, not fitted. 0 where positions
    are unknown."""
    values = answers.similarities[:, :SUE_ANSWERS].astype(np.float64)
    where = answers.positions[:, :SUE_ANSWERS]
    known = np.isfinite(values) & np.isfinite(where).all(axis=2)
    best = np.where(known, values, -np.inf).max(axis=1, keepdims=True)
    exponent = np.where(known, SUE_SLOPE * (values - np.where(np.isfinite(best), best, 0)), -np.inf)
    weights = np.exp(exponent)
    total = weights.sum(axis=1, keepdims=True)
    weights = np.divide(weights, total, out=np.zeros_like(weights), where=total > 0)
    where = np.where(known[..., None], where, 0.0)
    mean = (weights[..., None] * where).sum(axis=1, keepdims=True)
    return -(weights * ((where - mean) ** 2).sum(axis=2)).sum(axis=1)


def similarity_distribution(answers: AnswerLists) -> np.ndarray:
    """SD (Miller et al., 2025, arXiv 2510.13464): minus the median of the K similarities over the best."""
    values = answers.similarities.astype(np.float64)
    return -np.nanmedian(values, axis=1) / _positive(np.nanmax(values, axis=1))


def ratio_spread(answers: AnswerLists) -> np.ndarray:
    """RS (Miller et al., 2025): minus the mean of s_i / s_1 over the answers behind the best."""
    values = -np.sort(-answers.similarities.astype(np.float64), axis=1)  # NaN goes last
    if values.shape[1] < 2:
        return np.zeros(len(answers))
    shares = values[:, 1:] / _positive(values[:, :1])
    count = np.isfinite(shares).sum(axis=1)
    return -np.divide(np.nansum(shares, axis=1), count, out=np.zeros(len(shares)), where=count > 0)


def statistical_uncertainty(answers: AnswerLists) -> np.ndarray:
    """SU (Miller et al., 2025): the mean of SD and RS."""
    return (similarity_distribution(answers) + ratio_spread(answers)) / 2


def inliers(answers: AnswerLists) -> np.ndarray:
    """Inliers of the first answer (Sferrazza et al., 2025, arXiv 2504.06116). UsageError where none were counted."""
    return np.maximum(_counts(answers)[:, 0], 0).astype(np.float64)


def inlier_margin(answers: AnswerLists) -> np.ndarray:
    """ln(1 + inliers) of the first answer minus the largest of another place."""
    logs = np.log1p(np.maximum(_counts(answers), 0))
    others = np.where(answers.other_place(), logs, 0.0).max(axis=1)
    return logs[:, 0] - others


def list_spread(answers: AnswerLists) -> np.ndarray:
    """How much more similar the first answer is than the mean of the list, in standard deviations of the list."""
    values = answers.similarities.astype(np.float64)
    spread = np.nanstd(values, axis=1)
    above = values[:, 0] - np.nanmean(values, axis=1)
    return np.divide(above, spread, out=np.zeros(len(values)), where=spread > 1e-9)


def near_duplicates(answers: AnswerLists) -> np.ndarray:
    """Minus how many answers of another place are within 0.02 of the first one's similarity."""
    close = answers.similarities >= answers.similarities[:, :1] - NEAR_DUPLICATE
    return -(close & answers.other_place()).sum(axis=1).astype(np.float64)


PUBLISHED: dict[str, Callable[[AnswerLists], np.ndarray]] = {
    "similarity": best_similarity,
    "ratio": ratio,
    "SUE": spread_on_the_map,
    "SD": similarity_distribution,
    "RS": ratio_spread,
    "SU": statistical_uncertainty,
    "inliers": inliers,
}
"""What others found, in the order of the tables."""

CUES: dict[str, Callable[[AnswerLists], np.ndarray]] = {
    **PUBLISHED,
    "margin": margin,
    "list spread": list_spread,
    "near duplicates": near_duplicates,
    "inlier margin": inlier_margin,
}
FROM_INLIERS = ("inliers", "inlier margin")


def cue_names(with_inliers: bool) -> list[str]:
    """The cues that can be had."""
    return [name for name in CUES if with_inliers or name not in FROM_INLIERS]


def _counts(answers: AnswerLists) -> np.ndarray:
    if answers.counts is None:
        raise UsageError(f"The answers of {answers.name} have no inliers; check the candidates first.")
    return answers.counts


def _positive(values: np.ndarray) -> np.ndarray:
    return np.maximum(values, RATIO_FLOOR)
