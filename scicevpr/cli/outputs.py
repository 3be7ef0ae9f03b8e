"""What is written when results are there, for every command that makes them: the options, and the writing."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from scicevpr.cli.options import intervals_option, positive
from scicevpr.cli.terminal import check_outputs, print_line, show_progress, write_json
from scicevpr.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from scicevpr.evaluation.results import Evaluation

DEFAULT_FOLDER = Path("logs")


def output_options(parser: argparse.ArgumentParser, *, descriptors: bool = True) -> None:
    """Files of results, and how their intervals are made. descriptors: may descriptors be saved too?"""
    group = parser.add_argument_group("results")
    add = group.add_argument
    add("--json", type=Path, metavar="FILE", help="write scores, protocol and predictions as JSON")
    add("--csv", type=Path, metavar="FILE", help="write the scores as CSV, one line per model, condition, metric and N")
    add("--latex", type=Path, metavar="FILE", help="write a LaTeX table (package booktabs)")
    add("--markdown", type=Path, metavar="FILE", help="write a Markdown table")
    add("--per-condition", action="store_true", help="one row per condition in the LaTeX and Markdown tables")
    add("--save-predictions", type=Path, metavar="DIR", help="write one CSV of predictions per model")
    add("--num_preds_to_save", "--num-preds-to-save", type=positive, metavar="N",
        help="write a picture of every query with its N best answers, and their paths as text")
    add("--save_only_wrong_preds", "--save-only-wrong-preds", action="store_true",
        help="of those, only queries whose first answer is wrong")
    if descriptors:
        add("--save_descriptors", "--save-descriptors", action="store_true",
            help="write descriptors as .npy, to be scored again by `scicevpr score`")
    else:
        parser.set_defaults(save_descriptors=False)
    add("--save_dir", "--save-dir", type=Path, metavar="DIR",
        help="where scores, pictures and descriptors go, into a new folder named after the time (default: logs)")
    add("--log_dir", "--log-dir", metavar="NAME", help="a folder in between: logs/NAME/TIME")
    intervals_option(group)
    add("--no-intervals", action="store_true", help="no confidence intervals")


def check_output_options(arguments: argparse.Namespace) -> None:
    """Say before the work, not after it, that something cannot be written. UsageError, DatasetError."""
    if arguments.save_only_wrong_preds and not arguments.num_preds_to_save:
        raise UsageError("--save_only_wrong_preds says which predictions to save; add --num_preds_to_save N.")
    for option in ("save_only_wrong_preds", "csv", "latex", "markdown"):
        if getattr(arguments, option) and arguments.no_labels:
            raise UsageError(f"--{option} needs labels, but --no-labels ignores them. Leave one of the two out.")
    if arguments.num_preds_to_save and arguments.num_preds_to_save > max(arguments.recall_values):
        raise UsageError(
            f"--num_preds_to_save {arguments.num_preds_to_save} asks for more answers than are searched "
            f"({max(arguments.recall_values)}). Add --recall_values {arguments.num_preds_to_save}, or ask for fewer."
        )
    for path in (arguments.json, arguments.csv, arguments.latex, arguments.markdown):
        check_outputs(path)
    check_outputs(arguments.save_predictions, folder=True)
    if _has_run_folder(arguments):
        check_outputs(_base(arguments), folder=True)


def add_intervals(arguments: argparse.Namespace, result: Evaluation) -> Evaluation:
    """The result with confidence intervals as the options ask for them. Call it before the result is shown."""
    return result if arguments.no_intervals else result.with_intervals(arguments.intervals_by)


def write_outputs(arguments: argparse.Namespace, results: Sequence[Evaluation], console: Console) -> None:
    """Write every file that the options ask for; one line each. A result gets its intervals if it has none yet."""
    from scicevpr.evaluation.report import latex_table, markdown_table, write_csv
    from scicevpr.evaluation.results import write_predictions

    results = [
        result if result.overall is None or result.overall.intervals else add_intervals(arguments, result)
        for result in results
    ]
    if arguments.save_predictions:
        for result in results:
            path = write_predictions(result, arguments.save_predictions)
            print_line(console, f"Predictions of {result.title}: {path}")
    if _has_run_folder(arguments):
        _write_run(arguments, results, console)
    if arguments.csv:
        print_line(console, f"Scores as CSV: {write_csv(results, arguments.csv)}")
    for path, name, table in (
        (arguments.latex, "LaTeX", latex_table),
        (arguments.markdown, "Markdown", markdown_table),
    ):
        if path:
            path.write_text(table(results, per_condition=arguments.per_condition), encoding="utf-8")
            print_line(console, f"Table in {name}: {path}")
    if arguments.json:
        write_json(arguments.json, {"results": [result.to_json() for result in results]})
        print_line(console, f"All results: {arguments.json}")


def _write_run(arguments: argparse.Namespace, results: Sequence[Evaluation], console: Console) -> None:
    """Scores, pictures and descriptors, in a new folder; a folder per model in it where there are several."""
    from scicevpr.evaluation.exports import new_run_folder, write_descriptor_files
    from scicevpr.evaluation.results import file_title
    from scicevpr.figures.strips import write_prediction_files

    run = new_run_folder(_base(arguments))
    write_json(run / "results.json", {"results": [result.to_json() for result in results]})
    print_line(console, f"This run: {run}")
    titles = [file_title(result.title) for result in results]
    for number, (result, title) in enumerate(zip(results, titles, strict=True), 1):
        own = title if titles.count(title) == 1 else f"{title}-{number}"
        folder = run if len(results) == 1 else run / own
        if arguments.num_preds_to_save:
            with show_progress(result.title) as step:
                written = write_prediction_files(
                    result,
                    folder,
                    arguments.num_preds_to_save,
                    only_wrong=arguments.save_only_wrong_preds,
                    progress=lambda done, total, step=step: step("pictures", done, total),
                )
            print_line(console, f"Pictures of {result.title}: {folder / 'preds'} (queries: {written})")
        if arguments.save_descriptors:
            if result.database is None or result.queries is None:
                print_line(console, f"Descriptors of {result.title}: not saved, they are not kept.")
                continue
            for path in write_descriptor_files(result, folder):
                print_line(console, f"Descriptors of {result.title}: {path}")


def _has_run_folder(arguments: argparse.Namespace) -> bool:
    return bool(arguments.num_preds_to_save or arguments.save_descriptors or arguments.save_dir or arguments.log_dir)


def _base(arguments: argparse.Namespace) -> Path:
    base = arguments.save_dir or DEFAULT_FOLDER
    return base / arguments.log_dir if arguments.log_dir else base
