"""How results look in a terminal: tables, lines, progress bars, and JSON files."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from scicevpr import __version__
from scicevpr.errors import DatasetError, UsageError
from scicevpr.evaluation.results import Evaluation
from scicevpr.retrieval import Match

PIPE_WIDTH = 140  # columns when the output is not a terminal
Step = Callable[[str, int, int], None]  # (stage, photos done, photos in all)


def show_evaluation(console: Console, result: Evaluation) -> None:
    """A table of one model's scores, and the protocol below it.

    "74.0 ±2.6": the interval reaches 2.6 away at most; "100.0 [96.3, 100.0]": it ends at the value itself.
    """
    if result.overall is None:
        print_line(console, f"{result.title}: predictions only (no labels).")
    else:
        table = Table(title=Text(result.title), box=box.SIMPLE, padding=(0, 1))
        table.add_column("condition")
        for heading in ("queries", *(f"R@{n}" for n in result.ns), "MRR", *(f"F1@{n}" for n in result.ns)):
            table.add_column(heading, justify="right")
        for name, scores in (*result.conditions.items(), ("all", result.overall)):
            own = scores.intervals
            recalls = [_with_reach(value, own and own.recalls[n], 1) for n, value in scores.recalls.items()]
            harmonic = [f"{value:.3f}" for value in scores.f1.values()]
            mean_rank = _with_reach(scores.mrr, own and own.mrr, 3)
            style = "bold" if name == "all" else None
            table.add_row(Text(name), str(scores.queries), *recalls, mean_rank, *harmonic, style=style)
        console.print(table)
        if result.overall.intervals:
            print_line(console, f"Intervals: {result.overall.intervals.label}.")
    print_line(console, "Protocol: " + result.protocol_line())
    for note in result.notes:
        if note not in result.dataset.notes:
            print_line(console, f"Note: {note}")
    console.print()


def show_matches(console: Console, title: str, answer: list[Match]) -> None:
    """A table of the matches of one query."""
    table = Table("rank", "similarity", "metres", "", "database photo", title=Text(title), box=box.SIMPLE)
    for match in answer:
        metres = "" if match.metres is None else f"{match.metres:.1f}"
        row = (str(match.rank), f"{match.similarity:.4f}", metres, verdict(match.correct))
        place = match.place
        table.add_row(*row, Text(str(place.path if place.path.is_file() else place.name), overflow="fold"))
    console.print(table)


@contextmanager
def show_progress(title: str) -> Iterator[Step]:
    """Progress bars on standard error, one per stage; nothing is drawn where there is no terminal."""
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bars:
        tasks: dict[str, Any] = {}

        def step(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(f"{title}: {stage}", total=total)
            bars.update(tasks[stage], completed=done)

        yield step


def open_console(stderr: bool = False) -> Console:
    """A console on standard output (or error); wide enough for the tables when it is not a terminal."""
    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, width=None if stream.isatty() else PIPE_WIDTH)


def print_line(console: Console, text: str) -> None:
    """Print text as it is: long lines are not broken, brackets are not markup."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def verdict(correct: bool | None) -> str:
    """Coloured words for a table: right, wrong, or nothing when it is unknown."""
    return "" if correct is None else ("[green]right[/]" if correct else "[red]wrong[/]")


def short(value: float | None) -> str:
    """A small number with two digits, or nothing."""
    return "" if value is None else f"{value:.1e}"


def _with_reach(value: float, limits: tuple[float, float] | None, digits: int) -> str:
    if limits is None:
        return f"{value:.{digits}f}"
    down, up = value - limits[0], limits[1] - value
    if min(down, up) <= 0:
        return f"{value:.{digits}f} [{limits[0]:.{digits}f}, {limits[1]:.{digits}f}]"
    return f"{value:.{digits}f} ±{max(down, up):.{digits}f}"


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
    environment = {"scicevpr": __version__, "torch": torch.__version__, "threads": torch.get_num_threads()}
    text = json.dumps({"environment": environment, **content}, indent=1, allow_nan=False, default=str)
    path.write_text(text + "\n", encoding="utf-8")
