"""Figures of scores: results of an evaluation, also as read from the file that it wrote."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from scicevpr.errors import DatasetError, UsageError
from scicevpr.evaluation.report import shared_protocol
from scicevpr.evaluation.results import Scores
from scicevpr.evaluation.uncertainty import Intervals
from scicevpr.figures.paper.data import ResultData
from scicevpr.files.reading import read_json

MOST_RESULTS, LONGEST_TITLE, LONGEST_LINE = 200, 200, 4000
"""Results, conditions or lines that are drawn; characters of a title or a line of a protocol."""


@dataclass(frozen=True)
class StoredResult:
    """One model's scores as `scicevpr evaluate --json` has written them; fields as in `Evaluation`."""

    title: str
    ns: tuple[int, ...]
    overall: Scores
    conditions: dict[str, Scores]
    protocol: dict[str, str]


def read_results(path: Path | str) -> list[StoredResult]:
    """The results in a file of `scicevpr evaluate --json`; those without labels are left out.

    Raises:
        DatasetError: no such file, or none of this kind.
    """
    path = Path(path)
    content = read_json(path, DatasetError, "Give a file that “scicevpr evaluate --json FILE” wrote.", name=path.name)
    try:
        entries = [entry for entry in content["results"] if entry.get("overall")]
        if len(entries) > MOST_RESULTS:
            raise DatasetError(f"{path.name} holds {len(entries)} results; at most {MOST_RESULTS} are drawn. Split it.")
        several = len({entry.get("database") for entry in entries}) > 1  # the Benchmarks tab may measure many
        found = [_stored(entry, several) for entry in entries]
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
        raise DatasetError(
            f"{path.name} holds no results of an evaluation. Give a file that “scicevpr evaluate --json FILE” wrote."
        ) from error
    if not found:
        raise DatasetError(f"{path.name} holds predictions only: without labels there are no scores to draw.")
    return found


def result_data(results: Sequence[Any], n: int | None = None) -> ResultData:
    """Results (stored ones, or of `evaluate_model`) for recall, conditions and table; n: of the bars (default: the
    smallest). Raises UsageError for an n that was not evaluated, or two results of one title."""
    results = [result for result in results if result.overall is not None]
    if not results:
        raise UsageError("There is nothing to draw: without labels there are predictions only, no scores.")
    titles = [result.title for result in results]
    counted = [f"{t} ({titles[: i + 1].count(t)})" if titles.count(t) > 1 else t for i, t in enumerate(titles)]
    results = [r if r.title == t else replace(r, title=t) for r, t in zip(results, counted, strict=True)]
    common = [value for value in results[0].ns if all(value in result.ns for result in results)]
    n = n or (common or [0])[0]
    if n not in common:
        raise UsageError(f"Recall@{n} was not evaluated for all models; there is {', '.join(map(str, common))}.")
    shared, own = shared_protocol(results)
    parts = [f"Protocol: {_sentence(shared)}."] if shared else []
    parts += [f"{title}: {_sentence(words)}." for title, words in own if words]
    return ResultData(tuple(results), " ".join(parts), n)


def _stored(entry: Mapping[str, Any], several: bool) -> StoredResult:
    title = f"{entry['title']}, {entry['database']}" if several else str(entry["title"])
    overall = _scores(entry["overall"])
    conditions = {str(name): _scores(scores) for name, scores in entry["conditions"].items()}
    protocol = {str(key): str(value) for key, value in entry["protocol"].items()}
    for what, texts, limit in (
        ("title", [title], LONGEST_TITLE),
        ("name of a condition", conditions, LONGEST_TITLE),
        ("line of a protocol", [*protocol, *protocol.values()], LONGEST_LINE),
        ("list of conditions", ["x" * len(conditions)], MOST_RESULTS),
        ("protocol", ["x" * len(protocol)], MOST_RESULTS),
    ):
        longest = max(map(len, texts), default=0)
        if longest > limit:
            raise DatasetError(
                f"A result has a {what} of the length {longest}; at most {limit} can be drawn. Shorten it."
            )
    return StoredResult(title, tuple(overall.recalls), overall, conditions, protocol)


def _scores(entry: Mapping[str, Any]) -> Scores:
    intervals = entry.get("intervals")
    if len(entry["recall_percent"]) > MOST_RESULTS or not entry["recall_percent"]:
        raise ValueError(f"it has {len(entry['recall_percent'])} recalls")
    return Scores(
        queries=int(entry["queries"]),
        without_positives=int(entry["queries_without_positives"]),
        recalls={int(n): _share(value, 100) for n, value in entry["recall_percent"].items()},
        mrr=_share(entry["mrr"], 1),
        f1={int(n): _share(value, 1) for n, value in entry["f1"].items()},
        intervals=None
        if intervals is None
        else Intervals(
            recalls={int(n): (float(low), float(high)) for n, (low, high) in intervals["recall_percent"].items()},
            mrr=(float(intervals["mrr"][0]), float(intervals["mrr"][1])),
            level=float(intervals["level"]),
            by=str(intervals["by"]),
            units=int(intervals["units"]),
            draws=int(intervals["draws"]),
            seed=int(intervals["seed"]),
        ),
    )


def _share(value: Any, whole: float) -> float:
    """A score from 0 to ``whole``. ValueError for anything else: a figure would show it as if it were one."""
    number = float(value)
    if not -1e-6 <= number <= whole + 1e-6:
        raise ValueError(f"{number} is no score between 0 and {whole}")
    return number


def _sentence(words: Mapping[str, str]) -> str:
    return "; ".join(f"{key} {value}" for key, value in words.items())
