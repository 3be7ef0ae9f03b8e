"""Two models on the same queries: read from what `evaluate --json` wrote, checked to be comparable, compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from scicevpr.errors import DatasetError, UsageError
from scicevpr.evaluation.report import ALL
from scicevpr.evaluation.results import UNNAMED
from scicevpr.evaluation.uncertainty import DRAWS, LEVEL, UNITS, PairedRecall, compare_recalls
from scicevpr.files.reading import read_json

MUST_AGREE = ("dataset", "database", "right within", "UTM rounding")
MOST_RANKS = 100_000  # of a list of predictions


@dataclass(frozen=True)
class StoredRelevance:
    """Which matches of a stored result are relevant. queries: names. hits: [Q, K] bool, K = max(ns). places: labels [Q]
    or None.

    ground_truth: hash over queries, database and positives (`Evaluation.ground_truth`); "" in files of older versions.
    """

    title: str
    protocol: dict[str, str]
    ns: tuple[int, ...]
    queries: tuple[str, ...]
    conditions: tuple[str | None, ...]
    hits: np.ndarray
    places: np.ndarray | None
    ground_truth: str

    @classmethod
    def from_json(cls, content: Mapping[str, Any], source: str = "The result") -> StoredRelevance:
        """Read one entry of "results" (what `Evaluation.to_json` gives). DatasetError, naming `source`, otherwise."""
        try:
            title, predictions, overall = content["title"], content.get("predictions"), content["overall"]
            if not predictions or overall is None:
                raise UsageError(
                    f"{source} holds no judged predictions of {title}: a comparison needs a data set with labels and a "
                    "file written by: scicevpr evaluate --json FILE"
                )
            ns = tuple(int(n) for n in overall["recall_percent"])
            if not 1 <= min(ns) <= max(ns) <= MOST_RANKS:
                raise ValueError(f"recalls at {ns}")
            hits = np.zeros((len(predictions), max(ns)), dtype=bool)
            for row, entry in enumerate(predictions):
                for match in entry["matches"]:
                    if not 1 <= match["rank"] <= max(ns):
                        raise ValueError(f"a match of rank {match['rank']}")
                    hits[row, match["rank"] - 1] = bool(match["correct"])
            places = [entry.get("place") for entry in predictions]
            return cls(
                title=str(title),
                protocol={str(key): str(value) for key, value in content["protocol"].items()},
                ns=ns,
                queries=tuple(_name(entry["query"]) for entry in predictions),
                conditions=tuple(
                    None if (name := entry.get("condition")) is None else str(name) for entry in predictions
                ),
                hits=hits,
                places=None if None in places else np.array([int(place) for place in places]),
                ground_truth=str(content.get("ground_truth") or ""),
            )
        except (KeyError, TypeError, IndexError, ValueError, AttributeError, OverflowError) as error:
            raise DatasetError(f"{source} is not a result of `scicevpr evaluate --json` ({error!r}).") from error


def _name(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"the query name {value!r}")
    return value


@dataclass(frozen=True)
class Comparison:
    """Model A against model B. rows: condition ("all" last) to one PairedRecall per N. protocol: what they share.

    differing: what they do not share, (A's text, B's text) by protocol key; a difference may come from any of these.
    """

    a: str
    b: str
    rows: dict[str, tuple[PairedRecall, ...]]
    protocol: dict[str, str]
    differing: dict[str, tuple[str, str]]

    def to_json(self) -> dict[str, Any]:
        """Everything as plain dicts, lists, numbers and text."""
        rows = [{"condition": name, **asdict(row)} for name, paired in self.rows.items() for row in paired]
        differing = {key: list(pair) for key, pair in self.differing.items()}
        return {"a": self.a, "b": self.b, "protocol": dict(self.protocol), "differing": differing, "rows": rows}


def read_relevance(path: Path | str) -> list[StoredRelevance]:
    """All results of a file of `scicevpr evaluate --json`. DatasetError when it is not one."""
    path = Path(path)
    content = read_json(path, DatasetError, "Give a file that `scicevpr evaluate --json FILE` wrote.")
    results = content.get("results") if isinstance(content, dict) else None
    if not isinstance(results, list):
        raise DatasetError(f'{path} is not a file of `scicevpr evaluate --json`: it holds no "results".')
    return [StoredRelevance.from_json(result, str(path)) for result in results]


def compare(
    a: StoredRelevance,
    b: StoredRelevance,
    ns: Sequence[int] | None = None,
    *,
    by: str = "place",
    level: float = LEVEL,
    draws: int = DRAWS,
    seed: int = 0,
) -> Comparison:
    """Compare Recall@N of two results query by query, for each condition and for all queries.

    ns: default: those that both results have. by: what the bootstrap draws, "place" or "query". The order of the
    queries may differ. Raises UsageError when the results are over other queries, another database or another ground
    truth, or when places are not recorded.
    """
    if by not in UNITS:
        raise UsageError(f"Intervals can be drawn by {' or by '.join(UNITS)}, not by {by!r}.")
    _check_same_task(a, b)
    ns = tuple(ns or (n for n in a.ns if n in b.ns))
    if not ns:
        raise UsageError(f"The results share no N ({a.ns} and {b.ns}); name some that both searched.")
    labels = a.places if by == "place" else None
    if by == "place" and labels is None:
        raise UsageError(f"The result of {a.title} does not record places; draw single queries instead (by query).")
    at = {name: row for row, name in enumerate(b.queries)}
    order = np.array([at[name] for name in a.queries])
    names = [name or UNNAMED for name in a.conditions]
    groups = {name: [row for row, own in enumerate(names) if own == name] for name in dict.fromkeys(names)}
    groups = groups if any(a.conditions) else {}
    rows = {}
    for name, chosen in (*groups.items(), (ALL, list(range(len(names))))):
        places = None if labels is None else labels[chosen]
        options = {"level": level, "draws": draws, "seed": seed}
        rows[name] = compare_recalls(a.hits[chosen], b.hits[order[chosen]], ns, places, **options)
    shared = {key: value for key, value in a.protocol.items() if b.protocol.get(key) == value and key != "intervals"}
    protocol = {
        **shared,
        "intervals": f"{level:.0%} paired bootstrap by {by}, {draws} draws, seed {seed}",
        "p": "exact McNemar test, two-sided",
    }
    keys = dict.fromkeys((*a.protocol, *b.protocol))
    pairs = {key: (a.protocol.get(key, "not stated"), b.protocol.get(key, "not stated")) for key in keys}
    differing = {key: pair for key, pair in pairs.items() if pair[0] != pair[1] and key != "intervals"}
    return Comparison(a.title, b.title, rows, protocol, differing)


def _check_same_task(a: StoredRelevance, b: StoredRelevance) -> None:
    remedy = "Evaluate both models on the same data set with the same rule of what is right."
    for result in (a, b):
        if len(set(result.queries)) < len(result.queries):
            raise UsageError(f"The result of {result.title} names a query twice, so its answers cannot be paired.")
    missing = sorted(set(a.queries) ^ set(b.queries))
    if missing:
        raise UsageError(
            f"{a.title} and {b.title} answer different queries ({len(a.queries)} and {len(b.queries)}; {missing[0]} is "
            f"in one only). {remedy}"
        )
    if a.ground_truth and b.ground_truth:
        if a.ground_truth == b.ground_truth:
            return
        differing = [key for key in MUST_AGREE if a.protocol.get(key) != b.protocol.get(key)]
        pairs = "; ".join(f"{key}: {a.protocol.get(key)} and {b.protocol.get(key)}" for key in differing)
        raise UsageError(
            f"{a.title} and {b.title} were judged by different ground truth or databases "
            f"({pairs or 'the lists of photos or positives differ'}). {remedy}"
        )
    for key in MUST_AGREE:
        if a.protocol.get(key) != b.protocol.get(key):
            raise UsageError(
                f"{a.title} and {b.title} differ in {key!r}: {a.protocol.get(key)} and {b.protocol.get(key)}. {remedy}"
            )
