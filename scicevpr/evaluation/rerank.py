"""One stage or two? An evaluation re-ranked by local features, beside the one without, with what it costs.

The weight of the inliers is fitted per model on validation data (`scicevpr rerank fit`) and lies beside its weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from scicevpr.errors import UsageError, WeightsError
from scicevpr.evaluation.answers import AnswerLists, answer_lists
from scicevpr.evaluation.benchmark import score_matches
from scicevpr.evaluation.fits import find_fit
from scicevpr.evaluation.metrics import hit_matrix
from scicevpr.evaluation.results import Evaluation
from scicevpr.evaluation.uncertainty import PairedRecall, compare_recalls
from scicevpr.local_features.rerank import (
    CANDIDATES,
    RERANKERS,
    WEIGHT,
    CandidateChecks,
    PairChecker,
    check_candidates,
    reorder,
    rerank_order,
)
from scicevpr.models.model import VPRModel
from scicevpr.progress import Progress

WEIGHTS_TRIED = (0.0, 0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.5)
SHARES = (0.25, 0.5, 0.75, 1.0)
PLATEAU = 0.25  # points of mean Recall@1 within which weights are equally good


@dataclass(frozen=True)
class RerankWeight:
    """value: of ln(1 + inliers). source: where it comes from, for the protocol."""

    value: float
    source: str


def rerank_weight(model: VPRModel, by: str, path: Path | None = None) -> RerankWeight:
    """The weight fitted for a model, else a plain 0.1. path: another file of fits. UsageError for an unknown
    re-ranker, WeightsError for a file without this model."""
    if by not in RERANKERS:
        raise UsageError(f"There is no re-ranking by {by!r}; choose one of {', '.join(RERANKERS)}.")
    if by == "inliers":
        return RerankWeight(1.0, "inliers alone")
    fit = (find_fit("rerank", model, path) or {}).get("rerankers", {}).get(by)
    if fit is None:
        return RerankWeight(WEIGHT, "not fitted for this model")
    try:
        value, sets = float(fit["weight"]), ", ".join(str(name) for name in fit["sets"])
        if not 0 <= value < np.inf:
            raise ValueError(f"a weight of {value}")
    except (KeyError, TypeError, ValueError) as error:
        name = model.variant.name
        raise WeightsError(f"The re-ranking fit of {name} is damaged ({error!r}). Fit it again.") from error
    return RerankWeight(value, f"fitted on {sets}")


def fit_weight(sets: Sequence[AnswerLists], by: str = "xfeat") -> dict[str, Any]:
    """The weight with the best mean Recall@1 over several sets of answers, each counting the same, among those that
    make none of them worse than one stage; of equally good ones (within PLATEAU points of the best) the middle one.
    Recall counts queries whose place is in the database."""
    table = {}
    for weight in WEIGHTS_TRIED:
        found = [answers.reranked(by, weight) for answers in sets]
        table[weight] = [100 * float(part.first_right[part.known].mean()) for part in found]
    harmless = {w: values for w, values in table.items() if all(map(float.__ge__, values, table[0.0]))}
    means = {weight: float(np.mean(values)) for weight, values in harmless.items()}
    best = max(means.values())
    good = [weight for weight, mean in means.items() if mean >= best - PLATEAU]
    weight = good[(len(good) - 1) // 2]
    return {
        "weight": weight,
        "sets": [answers.name for answers in sets],
        "candidates": int(sets[0].indices.shape[1]),
        "queries": [int(answers.known.sum()) for answers in sets],
        "recall@1": {str(value): [round(part, 2) for part in parts] for value, parts in table.items()},
    }


@dataclass(frozen=True)
class Reranked:
    """result: the evaluation in its new order. paired: Recall@N of it against the one without, row by row. checks: the
    inliers, times and bytes. share: of queries that were checked. pays: rows of `where_it_pays`."""

    before: Evaluation
    result: Evaluation
    paired: tuple[PairedRecall, ...]
    checks: CandidateChecks
    share: float
    pays: list[dict[str, float]]
    by: str

    def to_json(self) -> dict[str, Any]:
        """Plain numbers."""
        names = ("n", "queries", "recall_a", "recall_b", "difference", "low", "high", "only_a", "only_b", "p_value")
        return {
            "title": self.before.title,
            "by": self.by,
            "share of queries checked": self.share,
            "recall": [{name: getattr(row, name) for name in names} for row in self.paired],
            "ms a photo": self.checks.find_ms,
            "ms a pair": self.checks.check_ms,
            "ms a query": self.checks.query_ms,
            "bytes a photo": self.checks.bytes_a_photo,
            "only where it pays": self.pays,
            "protocol": self.result.protocol,
        }


def margins(answers: AnswerLists) -> np.ndarray:
    """[Q] similarity of the first answer minus that of the best answer of another place; infinite where all candidates
    show one place."""
    others = np.where(answers.other_place(), answers.similarities, -np.inf)
    return answers.similarities[:, 0] - others.max(axis=1)


def rerank_evaluation(
    before: Evaluation,
    checker: PairChecker,
    *,
    by: str = "xfeat",
    weight: RerankWeight | None = None,
    top: int = CANDIDATES,
    below: float | None = None,
    progress: Progress | None = None,
) -> Reranked:
    """Re-rank the first `top` answers of an evaluation, which must hold as many.

    below: check only queries whose margin to the best other place is smaller. Raises UsageError for an evaluation
    without labels, or with shorter lists of answers than `top`.
    """
    if before.overall is None or before.positives is None:
        raise UsageError("Without labels nobody can say whether re-ranking helps.")
    if before.matches.indices.shape[1] < min(top, len(before.dataset.database)):
        raise UsageError(
            f"{top} candidates cannot be re-ranked from lists of {before.matches.indices.shape[1]} answers; search "
            f"further (--recall-values {top})."
        )
    weight, dataset = weight or RerankWeight(WEIGHT, "not fitted"), before.dataset
    plain = answer_lists(before.title, dataset, before.matches, before.positives, before.places(), top=top)
    rows = None if below is None else margins(plain) < below
    checks = check_candidates(checker, before.matches, dataset.database, dataset.queries, top, rows, progress)
    order = rerank_order(before.matches.similarities, checks.counts, by, weight.value)
    scored = score_matches(
        before.title,
        dataset,
        reorder(before.matches, order),
        ns=before.ns,
        radius=before.radius,
        positives=before.positives,
    )
    checked = (checks.counts >= 0).any(axis=1)
    amount = "" if by == "inliers" else f", weight {weight.value:g} ({weight.source})"
    limit = "" if below is None else f"; only where the margin is below {below:g} ({checked.mean():.0%} of the queries)"
    protocol = {
        **before.protocol,
        "re-ranking": f"best {top} by {RERANKERS[by]}{amount}{limit}",
        "local features": checker.label,
    }
    result = replace(
        scored,
        title=f"{before.title}, re-ranked by {by}",
        protocol=protocol,
        database=before.database,
        queries=before.queries,
    )
    two, one = (hit_matrix(part.predictions, before.positives, before.ns) for part in (result, before))
    paired = compare_recalls(two, one, before.ns, before.places())
    pays = where_it_pays(replace(plain, counts=checks.counts), by, weight.value) if below is None else []
    return Reranked(before, result, paired, checks, float(checked.mean()), pays, by)


def where_it_pays(answers: AnswerLists, by: str, weight: float) -> list[dict[str, float]]:
    """Recall@1 when only the queries with the smallest margins are re-ranked: for each of SHARES the share, the margin
    below which a query belongs to it, and the percentage right."""
    margin = margins(answers)
    one, two = answers.first_right, answers.reranked(by, weight).first_right
    order, found = np.argsort(margin, kind="stable"), []
    for share in (0.0, *SHARES):
        count = round(share * len(margin))
        chosen = np.zeros(len(margin), bool)
        chosen[order[:count]] = True
        limit = float(margin[order[count - 1]]) if count else 0.0
        found.append(
            {
                "share": share,
                "margin": limit if np.isfinite(limit) else 1.0,
                "recall@1": 100 * float(np.where(chosen, two, one).mean()),
            }
        )
    return found


def unrelated_pairs(positions: np.ndarray, count: int, metres: float, seed: int) -> np.ndarray:
    """[count, 2] rows of photos that are farther apart than `metres`, drawn at random. UsageError where too few are."""
    where, random, found = np.asarray(positions, np.float64), np.random.default_rng(seed), []
    for _ in range(200 * count):
        one, other = random.integers(0, len(where), 2)
        if np.linalg.norm(where[one] - where[other]) > metres:
            found.append((int(one), int(other)))
            if len(found) == count:
                return np.array(found)
    raise UsageError(f"Hardly any photos are more than {metres:g} m apart, so there are no {count} unrelated pairs.")
