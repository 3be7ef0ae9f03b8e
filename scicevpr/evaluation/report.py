"""What results are written as: tables in CSV, Markdown and LaTeX, predictions, and descriptors to be scored again.

Every table carries the protocol that its numbers depend on. Descriptors have the layout of VPR-methods-evaluation,
`queries_descriptors.npy` and `database_descriptors.npy`; `descriptors.json` is ours: names, protocol and model (read by
`scicevpr.evaluation.stored`).
"""

from __future__ import annotations

import contextlib
import csv
import itertools
import json
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import fields
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from scicevpr.datasets import Photo, parse_name
from scicevpr.datasets.tables import cell_text
from scicevpr.errors import DatasetError, UsageError
from scicevpr.evaluation.results import Evaluation, Scores, file_title, mrr_name, relative_name
from scicevpr.files.descriptor_files import Descriptors
from scicevpr.files.reading import sha256_of

COLUMNS = ("model", "condition", "metric", "n", "value", "low", "high", "queries", "protocol")
ALL = "all"
LATEX_SIGNS = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "[": "{[}",
    "]": "{]}",
    "*": "{*}",
    "±": r"$\pm$",
    "≤": r"$\leq$",
    "°": r"$^\circ$",
    "×": r"$\times$",
    "·": r"$\cdot$",
    "–": "--",
    "…": r"\dots{}",
    "\n": " ",
}


def tidy_rows(results: Sequence[Evaluation]) -> list[dict[str, Any]]:
    """One record per model, condition, metric and N, with the keys of COLUMNS.

    recall is in percent, mrr and f1 in 0..1; n of mrr is how far it looks; low and high are None without intervals.
    Raises UsageError when no result has scores.
    """
    rows = []
    for result in _scored(results):
        for condition, scores in _parts(result):
            own = scores.intervals
            values = [("recall", n, value, own and own.recalls[n]) for n, value in scores.recalls.items()]
            values.append(("mrr", max(result.ns), scores.mrr, own and own.mrr))
            values += [("f1", n, value, None) for n, value in scores.f1.items()]
            for metric, n, value, limits in values:
                low, high = limits or (None, None)
                row = (result.title, condition, metric, n, value, low, high, scores.queries, result.protocol_line())
                rows.append(dict(zip(COLUMNS, row, strict=True)))
    return rows


def write_csv(results: Sequence[Evaluation], path: Path | str) -> Path:
    """Write `tidy_rows` as CSV."""
    path = Path(path)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows({key: cell_text(value) for key, value in row.items()} for row in tidy_rows(results))
    return path


def markdown_table(results: Sequence[Evaluation], *, per_condition: bool = False) -> str:
    """A Markdown table of Recall@N and MRR with intervals, and the protocols as a list below it.

    per_condition: one row per model and condition instead of one per model. Raises UsageError when no result has
    scores, or their N differ.
    """
    results, headings, blocks = _table(results, per_condition)
    first = ["Model", *(["Condition"] if per_condition else []), "Queries"]
    rows = [[*first, *headings], ["---"] * (len(first) + len(headings))]
    for condition, block in blocks:
        for model, queries, cells in block:
            name = [condition] if per_condition else []
            rows.append([model, *name, queries, *(_cell(*cell, "**{}**", "{}") for cell in cells)])
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    shared, own = shared_protocol(results)
    lines += ["", f"Protocol: {_sentence(shared)}." if shared else "Protocol, by model:", ""]
    lines += [f"- {title}: {_sentence(protocol)}." for title, protocol in own if protocol]
    return "\n".join(lines).rstrip() + "\n"


def latex_table(
    results: Sequence[Evaluation], *, per_condition: bool = False, intervals: bool = True, label: str = "tab:recall"
) -> str:
    r"""A compact LaTeX table (package booktabs) of Recall@N and MRR, the best of each column bold: a short caption,
    and the protocol as a note below the rows.

    per_condition: a block of rows for every condition. intervals: in brackets behind the numbers. Raises UsageError
    when no result has scores, or their N differ. (Not pandas' Styler: a block's heading over all
    columns and two texts in a cell are more work there.)
    """
    results, headings, blocks = _table(results, per_condition)
    note = protocol_sentences(results)
    intervals = intervals and any(result.overall and result.overall.intervals for result in results)
    if intervals:
        note.insert(0, "In brackets: confidence intervals.")
    caption = f"Recall@N (R@N) in percent and mean reciprocal rank ({mrr_name(results[0].ns)})."
    width = 2 + len(headings)
    lines = [
        r"% needs \usepackage{booktabs}",
        r"\begin{table}[t]",
        r"\centering",
        rf"\caption{{{latex_text(caption)}}}",
        rf"\label{{{label}}}",
        rf"\begin{{tabular}}{{l{'r' * (width - 1)}}}",
        r"\toprule",
        " & ".join(["Model", "Queries", *headings]) + r" \\",
    ]
    for condition, block in blocks:
        lines.append(r"\midrule")
        if per_condition:
            lines.append(rf"\multicolumn{{{width}}}{{l}}{{\textit{{{latex_text(condition)}}}}} \\")
        for model, queries, cells in block:
            shown = [(text, limits if intervals else "", best) for text, limits, best in cells]
            texts = [_cell(*cell, r"\textbf{{{}}}", r"{{\scriptsize {}}}") for cell in shown]
            lines.append(" & ".join([latex_text(model), queries, *texts]) + r" \\")
    words = latex_text(" ".join(note))
    lines += [r"\bottomrule", r"\end{tabular}", rf"\par\smallskip\parbox{{\linewidth}}{{\footnotesize {words}}}"]
    lines.append(r"\end{table}")
    return "\n".join(lines) + "\n"


def latex_text(text: str) -> str:
    """Text with every sign that LaTeX would take for a command written as a letter."""
    return "".join(LATEX_SIGNS.get(sign, sign) for sign in text)


def shared_protocol(results: Sequence[Evaluation]) -> tuple[dict[str, str], list[tuple[str, dict[str, str]]]]:
    """What all protocols agree on, and (title, what is left) per result, so that a caption says nothing twice."""
    first = results[0].protocol
    shared = {
        key: value for key, value in first.items() if all(result.protocol.get(key) == value for result in results)
    }
    own = [
        (result.title, {key: value for key, value in result.protocol.items() if key not in shared})
        for result in results
    ]
    return shared, own


def protocol_sentences(results: Sequence[Evaluation]) -> list[str]:
    """The protocols of all results as sentences for a caption: first what they share."""
    shared, own = shared_protocol(results)
    sentences = [f"Protocol: {_sentence(shared)}."] if shared else []
    return sentences + [f"{title}: {_sentence(protocol)}." for title, protocol in own if protocol]


def _sentence(protocol: dict[str, str]) -> str:
    return "; ".join(f"{key} {value}" for key, value in protocol.items())


def interval_texts(scores: Scores, ns: Iterable[int]) -> list[str]:
    """The intervals of each Recall@N and of MRR as they stand in a table; empty where there are none."""
    if scores.intervals is None:
        return [""] * (len(list(ns)) + 1)
    low, high = scores.intervals.mrr
    recalls = (scores.intervals.recalls[n] for n in ns)
    return [*(f"[{low:.1f}, {high:.1f}]" for low, high in recalls), f"[{low:.3f}, {high:.3f}]"]


Row = tuple[str, str, list[tuple[str, str, bool]]]
"""A model's row of a table: its title, the number of queries, and cells of (value, interval, is it the best?)."""


def _table(
    results: Sequence[Evaluation], per_condition: bool
) -> tuple[list[Evaluation], list[str], list[tuple[str, list[Row]]]]:
    """Results with scores, headings of the numbers, and blocks of rows: (condition, rows)."""
    results = _scored(results)
    ns = results[0].ns
    if any(result.ns != ns for result in results):
        raise UsageError("One table needs the same values of N everywhere; evaluate all models with the same ones.")
    conditions = list(dict.fromkeys(name for result in results for name in result.conditions)) if per_condition else []
    blocks = []
    for condition in (*conditions, ALL):
        known = [(result.title, dict(_parts(result))) for result in results]
        found = [(title, parts[condition]) for title, parts in known if condition in parts]
        texts = [[*(f"{value:.1f}" for value in scores.recalls.values()), f"{scores.mrr:.3f}"] for _, scores in found]
        best = [max(column, key=float) if len(found) > 1 else None for column in zip(*texts, strict=True)]
        rows = []
        for (title, scores), own in zip(found, texts, strict=True):
            cells = zip(own, interval_texts(scores, scores.recalls), best, strict=True)
            rows.append((title, str(scores.queries), [(text, limits, text == top) for text, limits, top in cells]))
        blocks.append((condition, rows))
    return results, [*(f"R@{n}" for n in ns), mrr_name(ns)], blocks


def _cell(text: str, interval: str, best: bool, bold: str, small: str) -> str:
    text = bold.format(text) if best else text
    return f"{text} {small.format(interval)}" if interval else text


def _scored(results: Sequence[Evaluation]) -> list[Evaluation]:
    scored = [result for result in results if result.overall is not None]
    if not scored:
        raise UsageError("There is nothing to tabulate: without labels there are predictions only, no scores.")
    return scored


def _parts(result: Evaluation) -> list[tuple[str, Scores]]:
    return [*result.conditions.items(), *([(ALL, result.overall)] if result.overall else [])]


# ---- predictions -----------------------------------------------------------------------------------------------------


def write_predictions(evaluation: Evaluation, folder: Path | str) -> Path:
    """Write predictions as CSV: query, rank, database, similarity, metres, correct (paths relative to the data set).

    metres and correct stay empty where positions are unknown. Returns the file's path.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{file_title(evaluation.title)}.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["query", "rank", "database", "similarity", "metres", "correct"])
        for query, answer in evaluation.named_matches():
            for match, name in answer:
                metres = "" if match.metres is None else f"{match.metres:.2f}"
                correct = "" if match.correct is None else int(match.correct)
                names = [f"'{text}" if text.startswith("=") else text for text in (query, name)]  # "@" begins most
                writer.writerow([names[0], match.rank, names[1], f"{match.similarity:.6f}", metres, correct])
    return path


# ---- descriptors -----------------------------------------------------------------------------------------------------


DESCRIPTORS_FORMAT = "scicevpr-exported-descriptors-2"
DESCRIPTORS_FILE = "descriptors.json"
DATABASE_FILE = "database_descriptors.npy"
QUERIES_FILE = "queries_descriptors.npy"
BYTES_AT_ONCE = 64 << 20
MARGIN_BYTES = 16 << 20
SCORING_KEYS = (
    "dataset",
    "database",
    "queries",
    "query order",
    "test method",
    "queries without positives",
    "right within",
    "UTM rounding",
    "search",
    "torch",
    "intervals",
)
"""Parts of a protocol that belong to the scoring, not to the descriptors."""


def new_run_folder(base: Path | str, now: datetime | None = None) -> Path:
    """Make and return a new folder `base`/YYYY-MM-DD_hh-mm-ss; a taken name gets a number. Nothing is overwritten."""
    base, stamp = Path(base), (now or datetime.now()).strftime("%Y-%m-%d_%H-%M-%S")
    base.mkdir(parents=True, exist_ok=True)
    names = itertools.chain([stamp], (f"{stamp}-{number}" for number in itertools.count(2)))
    while True:
        folder = base / next(names)
        with contextlib.suppress(FileExistsError):
            folder.mkdir()
            return folder


def write_descriptor_files(evaluation: Evaluation, folder: Path | str) -> list[Path]:
    """Write the descriptors that an evaluation kept: two .npy files (float32) and descriptors.json. Returns the paths.

    They are what the model gave, before any PCA; a test method with five crops gives five rows a query. Rows are
    written in blocks, so that descriptors on disk are never all in memory. Raises UsageError when they were not kept,
    DatasetError when the disk is too small.
    """
    database, queries = evaluation.database, evaluation.queries
    if database is None or queries is None:
        name = "database" if database is None else "queries"
        raise UsageError(f"The {name} descriptors of {evaluation.title} cannot be saved, because they are not kept.")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    _check_disk(folder, 4 * (database.values.size + queries.values.size))
    paths = [_write_rows(folder / DATABASE_FILE, database.values), _write_rows(folder / QUERIES_FILE, queries.values)]
    content = _descriptor_record(evaluation, database, queries)
    for name, path in zip(("database", "queries"), paths, strict=True):
        content[name]["sha256"] = sha256_of(path)
    record = folder / DESCRIPTORS_FILE  # written last: its presence says that the others are complete
    record.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return [*paths, record]


def descriptor_protocol(evaluation: Evaluation) -> dict[str, str]:
    """The part of a protocol that says how the descriptors were made (before any PCA)."""
    protocol = {key: value for key, value in evaluation.protocol.items() if key not in SCORING_KEYS}
    if "torch" in evaluation.protocol:
        protocol["described with"] = f"torch {evaluation.protocol['torch']}"
    if protocol.get("PCA", "none") != "none":
        protocol["PCA"] = "none"
    return protocol


def _descriptor_record(evaluation: Evaluation, own: Descriptors, queries: Descriptors) -> dict[str, Any]:
    dataset, truth = evaluation.dataset, evaluation.dataset.truth
    return {
        "format": DESCRIPTORS_FORMAT,
        "title": evaluation.title,
        "model": {name: getattr(own, name) for name in ("variant", "fingerprint", "weights", "trained")},
        "protocol": descriptor_protocol(evaluation),
        "dataset": {
            **{name: getattr(dataset, name) for name in ("name", "split", "query_order", "benchmark", "layout")},
            "labelled": dataset.labelled,
            "notes": list(dataset.notes),
            "truth": {
                **{name: getattr(truth, name) for name in ("radius", "max_heading_difference", "name")},
                "listed": None if truth.listed is None else [rows.tolist() for rows in truth.listed],
            },
        },
        "database": _part_record(DATABASE_FILE, own, dataset.database, dataset.root),
        "queries": _part_record(QUERIES_FILE, queries, dataset.queries, dataset.root),
        "test_method": evaluation.protocol.get("test method", "hard_resize").split()[0],
    }


def _part_record(file: str, part: Descriptors, photos: tuple[Photo, ...], root: Path) -> dict[str, Any]:
    """Names, and for photos whose name does not say all that is known about them, the rest by row."""
    names, more = [relative_name(photo.path, root) for photo in photos], {}
    known = [field.name for field in fields(Photo) if field.name not in ("path", "name")]
    for row, (photo, name) in enumerate(zip(photos, names, strict=True)):
        said = parse_name(name)
        differing = {key: getattr(photo, key) for key in known if getattr(said, key) != getattr(photo, key)}
        if differing:
            more[str(row)] = differing
    rows, values = part.values.shape
    return {"file": file, "rows": rows, "values": values, "grouping": part.grouping, "names": names, "more": more}


def _write_rows(path: Path, values: np.ndarray) -> Path:
    rows = max(1, BYTES_AT_ONCE // (4 * values.shape[1]))
    with path.open("wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": values.shape}
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, len(values), rows):
            file.write(np.ascontiguousarray(values[start : start + rows], dtype="<f4").data)
    return path


def _check_disk(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed + MARGIN_BYTES:
        raise DatasetError(
            f"The descriptors need {needed / 2**20:.0f} MiB, but the disk of {folder} has {free / 2**20:.0f} MiB left. "
            "Name a folder on another disk with --save_dir."
        )
