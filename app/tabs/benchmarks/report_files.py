"""What the Benchmarks tab shows, as files: CSV, LaTeX and JSON of the same numbers."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from app.tabs.benchmarks.results import Result
from scicevpr.datasets.tables import cell_text
from scicevpr.evaluation.comparison import Comparison
from scicevpr.evaluation.report import ALL, COLUMNS, latex_table, tidy_rows


def write_files(folder: Path, results: Sequence[Result], comparisons: Sequence[tuple[str, Comparison]]) -> list[Path]:
    """Write benchmark.csv (table and bars), curves.csv, benchmark.tex and benchmark.json into a folder.

    comparisons: (database, comparison) of what is compared on the page.
    """
    files = [folder / name for name in ("benchmark.csv", "curves.csv", "benchmark.tex", "benchmark.json")]
    _write_csv(files[0], ("database", *COLUMNS), table_rows(results))
    _write_csv(files[1], ("database", "model", "n", "recall", "low", "high"), curve_rows(results))
    files[2].write_text(latex(results), encoding="utf-8")
    content = {
        "results": [result.to_json() for result in results],
        "curves": [*curve_rows(results)],
        "comparisons": [{"database": name, **comparison.to_json()} for name, comparison in comparisons],
    }
    files[3].write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return files


def table_rows(results: Sequence[Result]) -> list[dict[str, Any]]:
    """One record per number: those of `scicevpr.evaluation.report.tidy_rows`, and what a model costs."""
    rows = []
    for result in results:
        found = tidy_rows([result.evaluation])
        rows += [{"database": result.database_title, **row} for row in found]
        same = {
            "database": result.database_title,
            "model": result.title,
            "condition": ALL,
            "protocol": found[0]["protocol"],
        }
        for metric, value in result.cost.to_json().items():
            if value is not None:
                rows.append({**same, "metric": metric, "n": None, "value": value, "low": None, "high": None})
    return rows


def curve_rows(results: Sequence[Result]) -> list[dict[str, Any]]:
    """Recall@N of every result for every N of its curve."""
    rows = []
    for result in results:
        curve = result.curve
        for at, n in enumerate(curve.ns):
            low, high = (None if limit is None else float(limit[at]) for limit in (curve.low, curve.high))
            record = {"database": result.database_title, "model": result.title, "n": int(n)}
            rows.append({**record, "recall": float(curve.recall[at]), "low": low, "high": high})
    return rows


def latex(results: Sequence[Result]) -> str:
    """One LaTeX table a database: all queries, then every condition."""
    tables = []
    for number, name in enumerate(dict.fromkeys(result.database_title for result in results), 1):
        own = [result.evaluation for result in results if result.database_title == name]
        tables.append(
            f"% {name}\n" + latex_table(own, per_condition=bool(own[0].conditions), label=f"tab:recall-{number}")
        )
    return "\n".join(tables)


def _write_csv(path: Path, columns: Sequence[str], rows: Sequence[dict[str, Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows({key: cell_text(value) for key, value in row.items()} for row in rows)
