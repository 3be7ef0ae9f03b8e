"""What commands print and write: tables, lines, progress bars, and every file of results."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scicevpr import __version__
from scicevpr.cli.options import intervals_option, positive
from scicevpr.errors import DatasetError, UsageError
from scicevpr.progress import StageProgress

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress
    from rich.table import Table
    from rich.text import Text

    from scicevpr.evaluation.results import Evaluation
    from scicevpr.milvus.index import MilvusIndex
    from scicevpr.retrieval.matches import Match
    from scicevpr.retrieval.stored_index import StoredIndex

PIPE_WIDTH = 140  # columns when the output is not a terminal
_quiet = False  # as -q says


def quiet(value: bool) -> None:
    """Whether notes and progress bars are left out, until it is said anew."""
    global _quiet
    _quiet = value


def show_evaluation(console: Console, result: Evaluation) -> None:
    """A table of one model's scores, and the protocol below it.

    "74.0 ±2.6": the interval reaches 2.6 away at most; "100.0 [96.3, 100.0]": it ends at the value itself.
    """
    if result.overall is None:
        print_line(console, f"{result.title}: predictions only (no labels).")
    else:
        from scicevpr.evaluation.results import mrr_name

        ns = result.ns
        numbers = ("queries", *(f"R@{n}" for n in ns), mrr_name(ns), *(f"F1@{n}" for n in ns))
        table = make_table("condition", title=result.title, numbers=numbers)
        for name, scores in (*result.conditions.items(), ("all", result.overall)):
            own = scores.intervals
            recalls = [_with_reach(value, own and own.recalls[n], 1) for n, value in scores.recalls.items()]
            mean_rank = _with_reach(scores.mrr, own and own.mrr, 3)
            f1 = [f"{value:.3f}" for value in scores.f1.values()]
            style = "bold" if name == "all" else None
            table.add_row(plain_cell(name), str(scores.queries), *recalls, mean_rank, *f1, style=style)
        console.print(table)
        if result.overall.intervals:
            print_line(console, f"Intervals: {result.overall.intervals.label}.")
    print_line(console, "Protocol: " + result.protocol_line())
    for note in result.notes:
        if note not in result.dataset.notes:
            print_line(console, f"Note: {note}")
    console.print()


def _with_reach(value: float, limits: tuple[float, float] | None, digits: int) -> str:
    if limits is None:
        return f"{value:.{digits}f}"
    down, up = value - limits[0], limits[1] - value
    if min(down, up) <= 0:
        return f"{value:.{digits}f} [{limits[0]:.{digits}f}, {limits[1]:.{digits}f}]"
    return f"{value:.{digits}f} ±{max(down, up):.{digits}f}"


def show_matches(console: Console, title: str, matches: list[Match]) -> None:
    """The matches of one query, a line each."""
    rows = []
    for match in matches:
        photo, metres = match.photo, "" if match.metres is None else f"{match.metres:.1f}"
        verdict = {None: "", True: "right", False: "wrong"}[match.correct]
        where = photo.path if photo.path.is_file() else photo.name
        rows.append((str(match.rank), f"{match.similarity:.4f}", metres, verdict, str(where)))
    show_rows(console, title, ("rank", "similarity", "metres", "", "database photo"), rows)


def show_rows(console: Console, title: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Rows under headings, a line each however narrow the console is: the last cell, a path or a name, stays whole."""
    from rich.text import Text

    lines = [tuple(headings), *map(tuple, rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headings) - 1)]
    print_line(console, f"\n{title}")
    for number, line in enumerate(lines):
        cells = [*(cell.ljust(width) for cell, width in zip(line, widths, strict=False)), line[-1]]
        text = Text("  ".join(cells).rstrip(), style="" if number else "bold")
        text.highlight_words(("right",), "green")
        text.highlight_words(("wrong",), "red")
        console.print(text, soft_wrap=True)


def check_photos(*photos: Path) -> None:
    """Refuse photos that are not there, before anything heavy is imported. UsageError names the first."""
    missing = next((photo for photo in photos if not photo.exists()), None)
    if missing is not None:
        raise UsageError(f"There is no photo at {missing}. Check its name and folder.")


def make_table(*headings: str, title: str = "", numbers: Sequence[str] = ()) -> Table:
    """An empty table. numbers: headings of further columns, set flush right."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(*headings, title=Text(title) if title else None, box=box.SIMPLE, padding=(0, 1))
    for heading in numbers:
        table.add_column(heading, justify="right")
    return table


def plain_cell(value: Any) -> Text:
    """Text for a cell as it is, without markup; broken over lines instead of cut."""
    from rich.text import Text

    return Text(str(value), overflow="fold")


@contextmanager
def show_progress(title: str) -> Iterator[StageProgress]:
    """Progress bars on standard error, one per stage; nothing is drawn where there is no terminal."""
    with _bars("MofNCompleteColumn") as bars:
        tasks: dict[str, Any] = {}

        def step(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(f"{title}: {stage}", total=total)
            bars.update(tasks[stage], completed=done)

        yield step


@contextmanager
def show_download(title: str) -> Iterator[Callable[[int, int | None], None]]:
    """A progress bar in bytes, likewise; takes (bytes done, bytes in all)."""
    with _bars("DownloadColumn", "TransferSpeedColumn") as bars:
        task = bars.add_task(title, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)


def _bars(*counters: str) -> Progress:
    from rich import progress

    columns = [getattr(progress, name)() for name in ("BarColumn", *counters, "TimeRemainingColumn")]
    columns.insert(0, progress.TextColumn("{task.description}", markup=False))
    disable = _quiet or not sys.stderr.isatty()
    return progress.Progress(*columns, console=open_console(stderr=True), transient=True, disable=disable)


def open_console(stderr: bool = False) -> Console:
    """A console on standard output (or error); wide enough for the tables when it is not a terminal."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, width=None if stream.isatty() else PIPE_WIDTH)


def print_line(console: Console, text: str) -> None:
    """Print text as it is: long lines are not broken, brackets are not markup."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def print_note(text: str) -> None:
    """A line on standard error; none with -q."""
    if _quiet:
        return
    print_line(open_console(stderr=True), text)


def show_index(name: object, index: StoredIndex | MilvusIndex) -> None:
    """What an index is, a line each."""
    console = open_console()
    print_line(console, f"{name}: {index.label}")
    for title, text in index.metadata().items():
        print_line(console, f"  {title}: {text}")


def tell_problems(checked: object, problems: Sequence[str], sound: str) -> int:
    """What a check has found, a line each; the exit code."""
    console = open_console()
    for problem in problems:
        print_line(console, problem)
    print_line(console, f"{checked}: {f'{len(problems)} problems' if problems else sound}.")
    return 1 if problems else 0


def check_outputs(path: Path | None, folder: bool = False) -> None:
    """Say before the work, not after it, that a result cannot be written.

    Raises UsageError for a folder where a file is needed (or the other way round), DatasetError when the folder
    cannot be made.
    """
    if path is None:
        return
    if not folder and path.is_dir():
        raise UsageError(f"{path} is a folder; a file name is needed.")
    if folder and path.exists() and not path.is_dir():
        raise UsageError(f"{path} is a file; the name of a folder is needed.")
    try:
        (path if folder else path.parent).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DatasetError(
            f"The folder {path if folder else path.parent} cannot be made ({error.strerror})."
        ) from error


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a result with the environment it was made in. OSError when the file cannot be written."""
    import torch

    environment = {"scicevpr": __version__, "torch": torch.__version__, "threads": torch.get_num_threads()}
    text = json.dumps({"environment": environment, **content}, indent=1, allow_nan=False, default=str)
    path.write_text(text + "\n", encoding="utf-8")


# ---- files of results ------------------------------------------------------------------------------------------------


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
    if descriptors:
        add(
            "--export",
            type=Path,
            metavar="FILE",
            help="for other tools: .npz similarity matrix S with GThard and GTsoft (VPR_Tutorial), .csv or .zip "
            "predictions for the MSLS challenge; with several models one file each",
        )
    else:
        parser.set_defaults(export=None)
    add(
        "--num_preds_to_save",
        "--num-preds-to-save",
        type=positive,
        metavar="N",
        help="write a picture of every query with its N best answers, and their paths as text",
    )
    add(
        "--save_only_wrong_preds",
        "--save-only-wrong-preds",
        action="store_true",
        help="of those, only queries whose first answer is wrong",
    )
    if descriptors:
        add(
            "--save_descriptors",
            "--save-descriptors",
            action="store_true",
            help="write descriptors as .npy, to be scored again by `scicevpr score`",
        )
    else:
        parser.set_defaults(save_descriptors=False)
    add(
        "--save_dir",
        "--save-dir",
        type=Path,
        metavar="DIR",
        help="where scores, pictures and descriptors go, into a new folder named after the time (default: logs)",
    )
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
    if arguments.export and arguments.export.suffix not in (".npz", ".csv", ".zip"):
        raise UsageError(f"--export {arguments.export} must end in .npz, .csv or .zip.")
    for path in (arguments.json, arguments.csv, arguments.latex, arguments.markdown, arguments.export):
        check_outputs(path)
    check_outputs(arguments.save_predictions, folder=True)
    if _has_run_folder(arguments):
        check_outputs(_base(arguments), folder=True)


def add_intervals(arguments: argparse.Namespace, result: Evaluation) -> Evaluation:
    """The result with confidence intervals as the options ask for them. Call it before the result is shown."""
    return result if arguments.no_intervals else result.with_intervals(arguments.intervals_by)


def write_outputs(arguments: argparse.Namespace, results: Sequence[Evaluation], console: Console) -> None:
    """Write every file that the options ask for; one line each. A result gets its intervals if it has none yet."""
    from scicevpr.evaluation.report import latex_table, markdown_table, write_csv, write_predictions
    from scicevpr.evaluation.results import file_title

    results = [
        result if result.overall is None or result.overall.intervals else add_intervals(arguments, result)
        for result in results
    ]
    if arguments.save_predictions:
        for result in results:
            path = write_predictions(result, arguments.save_predictions)
            print_line(console, f"Predictions of {result.title}: {path}")
    if arguments.export:
        from scicevpr.evaluation.exports import export

        for result in results:
            ending = (
                f"-{file_title(result.title)}{arguments.export.suffix}" if len(results) > 1 else arguments.export.suffix
            )
            path = export(result, arguments.export.with_suffix("").with_name(arguments.export.stem + ending))
            print_line(console, f"{result.title} for other tools: {path}")
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
    from scicevpr.evaluation.report import new_run_folder, write_descriptor_files
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
                    progress=partial(step, "pictures"),
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
