"""How far an answer can be trusted: the probability that rank 1 is right, and that the place is in the database at all.

Two logistic regressions over cues of the ranked answers, fitted per model on validation cities: one says whether the
first answer is right where the place is in the database, the other whether it is (the same queries asked with and
without their place, in equal numbers). Both lie beside the weights as plain numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from scicevpr.errors import UsageError, WeightsError
from scicevpr.evaluation import cues
from scicevpr.evaluation.answers import AnswerLists
from scicevpr.evaluation.fits import find_fit
from scicevpr.local_features.rerank import WEIGHT
from scicevpr.models.model import VPRModel

FROM_SIMILARITIES = ("similarity", "margin", "list spread", "near duplicates")
FROM_BOTH = (*FROM_SIMILARITIES, "inliers", "inlier margin")
TARGETS = ("right", "known")
BINS = 10
FOLDS = 5
FEWEST = 10  # of each outcome, else nothing can be fitted
REGULARISATION = 1.0


def features(answers: AnswerLists, names: Sequence[str]) -> np.ndarray:
    """[Q, F] float64; counts (inliers, near duplicates) as their logarithm."""
    columns = []
    for name in names:
        values = cues.CUES[name](answers)
        columns.append(np.sign(values) * np.log1p(np.abs(values)) if name in ("inliers", "near duplicates") else values)
    return np.column_stack(columns)


@dataclass(frozen=True)
class Logistic:
    """p = 1 / (1 + exp(-(intercept + sum of coefficient * (feature - mean) / scale)))."""

    names: tuple[str, ...]
    mean: tuple[float, ...]
    scale: tuple[float, ...]
    coefficients: tuple[float, ...]
    intercept: float

    def probability(self, answers: AnswerLists) -> np.ndarray:
        """[Q] float64, 0..1. UsageError where the answers lack inliers that are among the features."""
        values = (features(answers, self.names) - self.mean) / self.scale
        score = np.clip(self.intercept + values @ np.array(self.coefficients), -50, 50)
        return 1 / (1 + np.exp(-score))

    @classmethod
    def fit(cls, lists: Sequence[AnswerLists], outcome: Sequence[np.ndarray], names: Sequence[str]) -> Logistic:
        """Fit to several lists of answers and whether each is so [Q] bool. UsageError for too few of one outcome."""
        from sklearn.linear_model import LogisticRegression

        values = np.concatenate([features(part, names) for part in lists])
        so = np.concatenate(outcome).astype(bool)
        if min(so.sum(), (~so).sum()) < FEWEST:
            raise UsageError(
                f"Trust needs at least {FEWEST} answers of each kind to be fitted, not {int(so.sum())} and "
                f"{int((~so).sum())}. Give more queries, or harder ones."
            )
        centre, spread = values.mean(axis=0), np.maximum(values.std(axis=0), 1e-9)
        model = LogisticRegression(C=REGULARISATION, max_iter=1000).fit((values - centre) / spread, so)
        mean, scale, coefficients = (tuple(map(float, part)) for part in (centre, spread, model.coef_[0]))
        return cls(tuple(names), mean, scale, coefficients, float(model.intercept_[0]))

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Logistic:
        """The opposite of `asdict`. ValueError (KeyError, TypeError) for anything else."""
        names = tuple(str(name) for name in content["names"])
        mean, scale, own = (tuple(float(value) for value in content[p]) for p in ("mean", "scale", "coefficients"))
        found = cls(names, mean, scale, own, float(content["intercept"]))
        sizes = {len(names), len(mean), len(scale), len(own)}
        finite = np.isfinite([*mean, *scale, *own, found.intercept]).all()
        if len(sizes) > 1 or not finite or min(scale, default=0) <= 0:
            raise ValueError("numbers that are no regression")
        if not set(names) <= set(cues.CUES):
            raise ValueError(f"cues that are unknown: {sorted(set(names) - set(cues.CUES))}")
        return found


@dataclass(frozen=True)
class Trust:
    """What an answer is worth, from similarities alone or with inliers. models: "right" and "known" (see TARGETS).
    fitted_on: names of the data sets. queries: how many. with_inliers: does it need them?"""

    models: dict[str, Logistic]
    fitted_on: tuple[str, ...]
    queries: int
    with_inliers: bool

    def right(self, answers: AnswerLists) -> np.ndarray:
        """[Q] probability that the first answer is right, if its place is in the database."""
        return self.models["right"].probability(answers)

    def known(self, answers: AnswerLists) -> np.ndarray:
        """[Q] probability that the place is in the database, if as many are as are not. Below one half the answer is
        called "probably not in this database"."""
        return self.models["known"].probability(answers)

    def to_json(self) -> dict[str, Any]:
        """Plain numbers."""
        return {
            "fitted on": list(self.fitted_on),
            "queries": self.queries,
            "models": {target: asdict(model) for target, model in self.models.items()},
        }


def fit_trust(
    known: Sequence[AnswerLists], unknown: Sequence[AnswerLists], with_inliers: bool, weight: float = WEIGHT
) -> Trust:
    """Fit to the answers of queries whose place is in the database, and of the same queries without it. With inliers
    the answers count twice, as found and re-ranked with this weight, so that one fit serves both orders. UsageError for
    too few."""
    names = FROM_BOTH if with_inliers else FROM_SIMILARITIES
    inside = [_where(part, part.known) for part in known]
    outside = list(unknown)
    if with_inliers:
        inside += [part.reranked(weight=weight) for part in inside]
        outside += [part.reranked(weight=weight) for part in unknown]
    right = Logistic.fit(inside, [part.first_right for part in inside], names)
    both = [*inside, *outside]
    outcome = [np.full(len(part), number < len(inside)) for number, part in enumerate(both)]
    fitted_on = tuple(dict.fromkeys(part.name for part in known))
    queries = sum(int(part.known.sum()) for part in known)
    return Trust({"right": right, "known": Logistic.fit(both, outcome, names)}, fitted_on, queries, with_inliers)


def find_trust(model: VPRModel, with_inliers: bool, path: Path | None = None) -> Trust | None:
    """What was fitted for a model; None where nothing was, and then nothing is claimed. Errors as in `find_fit`."""
    entry = find_fit("trust", model, path)
    if entry is None:
        return None
    try:
        part = entry["trust"]["inliers" if with_inliers else "similarities"]
        models = {target: Logistic.from_json(part["models"][target]) for target in TARGETS}
        return Trust(models, tuple(map(str, part["fitted on"])), int(part["queries"]), with_inliers)
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(
            f"The trust fit of {model.variant.name} is damaged ({error!r}). Fit it again: scicevpr trust fit"
        ) from error


def _where(answers: AnswerLists, rows: np.ndarray) -> AnswerLists:
    """The answers to some queries."""
    parts = {
        name: getattr(answers, name)[rows]
        for name in ("indices", "similarities", "positions", "right", "known", "places")
    }
    return replace(answers, counts=None if answers.counts is None else answers.counts[rows], **parts)


# ---- how honest it is ------------------------------------------------------------------------------------------------


def auroc(scores: np.ndarray, positive: np.ndarray) -> float | None:
    """Area under the ROC curve: how often a positive has the higher score, ties half. None for one outcome only."""
    from sklearn.metrics import roc_auc_score

    positive = np.asarray(positive, bool)
    return None if positive.all() or not positive.any() else float(roc_auc_score(positive, scores))


def reliability(probability: np.ndarray, right: np.ndarray, bins: int = BINS) -> list[dict[str, float]]:
    """For each of `bins` equally wide bins of the probability: answers in it, their mean probability, the share that is
    right."""
    probability, right = np.asarray(probability, float), np.asarray(right, float)
    number = np.minimum((probability * bins).astype(int), bins - 1)
    found = []
    for at in range(bins):
        own = number == at
        count = int(own.sum())
        found.append(
            {
                "from": at / bins,
                "to": (at + 1) / bins,
                "answers": count,
                "probability": float(probability[own].mean()) if count else 0.0,
                "right": float(right[own].mean()) if count else 0.0,
            }
        )
    return found


def calibration_error(probability: np.ndarray, right: np.ndarray, bins: int = BINS) -> float:
    """Expected calibration error, 0..1: |share right - mean probability| of each bin, weighted by its answers."""
    rows = reliability(probability, right, bins)
    return sum(row["answers"] * abs(row["right"] - row["probability"]) for row in rows) / len(probability)


def risk_coverage(scores: np.ndarray, right: np.ndarray) -> dict[str, Any]:
    """The share of wrong answers among the most trusted ones, for every share that is accepted; equal scores are
    accepted together. area: mean risk over all coverages."""
    order = np.argsort(-np.asarray(scores, float), kind="stable")
    ordered, wrong = np.asarray(scores, float)[order], ~np.asarray(right, bool)[order]
    last = np.flatnonzero(np.append(np.diff(ordered) != 0, True))
    counts = last + 1
    risk = np.cumsum(wrong)[last] / counts
    return {
        "coverage": (counts / len(ordered)).tolist(),
        "risk": risk.tolist(),
        "area": float((risk * np.diff(counts, prepend=0)).sum() / len(ordered)),
    }


def crossed(answers: AnswerLists, outcome: np.ndarray, names: Sequence[str]) -> np.ndarray | None:
    """[Q] probabilities "fitted on this database": each place's by a fit to the other places (5 folds). None where a
    fold has too few of one outcome."""
    from sklearn.model_selection import GroupKFold

    if len(np.unique(answers.places)) < FOLDS:
        return None
    found = np.empty(len(answers))
    for train, test in GroupKFold(FOLDS).split(found, groups=answers.places):
        try:
            model = Logistic.fit([_where(answers, train)], [outcome[train]], names)
        except UsageError:
            return None
        found[test] = model.probability(_where(answers, test))
    return found


def joined(a: AnswerLists, b: AnswerLists) -> AnswerLists:
    """Two lists of answers one after the other."""
    width = min(a.indices.shape[1], b.indices.shape[1])
    parts = {
        name: np.concatenate([getattr(part, name)[:, :width] for part in (a, b)])
        for name in ("indices", "similarities", "positions", "right")
    }
    counts = None
    if a.counts is not None and b.counts is not None:
        counts = np.concatenate([part.counts[:, :width] for part in (a, b) if part.counts is not None])
    flat = {name: np.concatenate([getattr(part, name) for part in (a, b)]) for name in ("known", "places")}
    return replace(a, counts=counts, **parts, **flat)


def cue_table(
    answers: AnswerLists, outcome: np.ndarray, target: str, elsewhere: Mapping[str, Trust | None]
) -> list[dict[str, Any]]:
    """One row a cue: AUROC and average precision for an outcome [Q]; published cues first, then the combinations fitted
    elsewhere ("similarities", "inliers": a Trust or None) and on this database."""
    from sklearn.metrics import average_precision_score

    rows: list[dict[str, Any]] = []

    def add(name: str, kind: str, scores: np.ndarray | None, probability: bool = False) -> None:
        area = None if scores is None else auroc(scores, outcome)
        if scores is None or area is None:
            return
        row = {
            "cue": name,
            "fitted": kind,
            "auroc": area,
            "average precision": float(average_precision_score(outcome, scores)),
            "calibration error": None,
        }
        rows.append({**row, "calibration error": calibration_error(scores, outcome)} if probability else row)

    for name in cues.cue_names(answers.counts is not None):
        add(name, "published" if name in cues.PUBLISHED else "not fitted", cues.CUES[name](answers))
    for kind, names in (("similarities", FROM_SIMILARITIES), ("inliers", FROM_BOTH)):
        if kind == "inliers" and answers.counts is None:
            continue
        trust = elsewhere.get(kind)
        title = "ours, from similarities" if kind == "similarities" else "ours, with inliers"
        if trust is not None:
            add(title, "elsewhere", trust.models[target].probability(answers), probability=True)
        add(title, "on this database", crossed(answers, outcome, names), probability=True)
    return rows


def trust_report(
    title: str,
    known: AnswerLists,
    unknown: AnswerLists,
    elsewhere: Mapping[str, Trust | None],
    unrelated: AnswerLists | None = None,
    weight: float | None = None,
) -> dict[str, Any]:
    """How honest trust is on a data set, as plain numbers.

    known, unknown: answers to the same queries with and without their place in the database. elsewhere: fits by
    "similarities" and "inliers". unrelated: answers to pictures of no place. weight: judge the answers
    re-ranked with it.
    Right against wrong is judged over queries whose place is in the database."""
    kind = "inliers" if known.counts is not None and elsewhere.get("inliers") is not None else "similarities"
    trust = elsewhere.get(kind)
    if trust is None:
        raise UsageError(f"No trust was fitted for {title}, so there is nothing to judge. Fit it: scicevpr trust fit")
    if weight is not None:
        known, unknown = known.reranked(weight=weight), unknown.reranked(weight=weight)
        unrelated = None if unrelated is None else unrelated.reranked(weight=weight)
    inside = _where(known, known.known)
    probability, both = trust.right(inside), joined(inside, unknown)
    is_known = np.arange(len(both)) < len(inside)
    content: dict[str, Any] = {
        "title": title,
        "data": known.name,
        "queries": len(inside),
        "from": kind,
        "fitted on": list(trust.fitted_on),
        "recall@1": 100 * float(inside.first_right.mean()),
        "expected calibration error": calibration_error(probability, inside.first_right),
        "reliability": reliability(probability, inside.first_right),
        "risk coverage": risk_coverage(probability, inside.first_right),
        "right against wrong": cue_table(inside, inside.first_right, "right", elsewhere),
        "known against unknown": cue_table(both, is_known, "known", elsewhere),
        "called unknown": {
            "place in the database": float((trust.known(inside) < 0.5).mean()),
            "place taken out": float((trust.known(unknown) < 0.5).mean()),
        },
    }
    if unrelated is not None:
        content["called unknown"]["unrelated pictures"] = float((trust.known(unrelated) < 0.5).mean())
        content["unrelated pictures"] = len(unrelated)
    return content
