"""Figures of scores: results of an evaluation, also as read from the file that it wrote."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from scicevpr.errors import DatasetError, UsageError
from scicevpr.evaluation.report import shared_protocol
from scicevpr.evaluation.results import Scores
from scicevpr.evaluation.uncertainty import Intervals
from scicevpr.figures.paper.data import ResultData

LONGEST_NAME, LONGEST_WORDS, MOST_ENTRIES = 200, 1_000, 128


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
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DatasetError(f"The results {path} cannot be read ({error.strerror}).") from error
    except (ValueError, RecursionError) as error:
        raise DatasetError(
            f"{path.name} is not JSON. Give a file that “scicevpr evaluate --json FILE” wrote."
        ) from error
    try:
        entries = [entry for entry in content["results"] if entry.get("overall")]
        _check_lengths(path.name, entries)
        several = len({entry.get("database") for entry in entries}) > 1  # the Benchmarks tab may measure many
        found = [_stored(entry, several) for entry in entries]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
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


def _check_lengths(name: str, entries: Sequence[Mapping[str, Any]]) -> None:
    """Refuse names and lists far longer than an evaluation writes: they would be drawn letter by letter."""
    parts = [("result", entries)]
    for entry in entries:
        names = [entry["title"], entry.get("database"), *entry["conditions"], *entry["protocol"]]
        parts += [("condition", entry["conditions"]), ("line of the protocol", entry["protocol"])]
        parts += [("Recall@N", entry["overall"]["recall_percent"])]
        texts = [(text, LONGEST_NAME) for text in names]
        texts += [(text, LONGEST_WORDS) for text in entry["protocol"].values()]
        for text, longest in texts:
            if len(str(text)) > longest:
                raise DatasetError(
                    f"{name} holds the text {str(text)[:40]!r}… of {len(str(text)):,} characters; at most {longest} "
                    "are drawn. Shorten it in the file."
                )
    for what, listed in parts:
        if len(listed) > MOST_ENTRIES:
            raise DatasetError(f"{name} holds {len(listed):,} times a {what}; at most {MOST_ENTRIES} are drawn.")


def _stored(entry: Mapping[str, Any], several: bool) -> StoredResult:
    title = f"{entry['title']}, {entry['database']}" if several else str(entry["title"])
    overall = _scores(entry["overall"])
    conditions = {str(name): _scores(scores) for name, scores in entry["conditions"].items()}
    protocol = {str(key): str(value) for key, value in entry["protocol"].items()}
    return StoredResult(title, tuple(overall.recalls), overall, conditions, protocol)


def _scores(entry: Mapping[str, Any]) -> Scores:
    intervals = entry.get("intervals")
    return Scores(
        queries=int(entry["queries"]),
        without_positives=int(entry["queries_without_positives"]),
        recalls={int(n): float(value) for n, value in entry["recall_percent"].items()},
        mrr=float(entry["mrr"]),
        f1={int(n): float(value) for n, value in entry["f1"].items()},
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


def _sentence(words: Mapping[str, str]) -> str:
    return "; ".join(f"{key} {value}" for key, value in words.items())
