"""How results look in a terminal: tables, lines, progress bars, and JSON files."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scicevpr import __version__
from scicevpr.errors import DatasetError, UsageError

if TYPE_CHECKING:  # rich takes a while: each function brings what it draws with
    from rich.console import Console
    from rich.progress import Progress
    from rich.table import Table
    from rich.text import Text

    from scicevpr.evaluation.results import Evaluation
    from scicevpr.retrieval.matches import Match

PIPE_WIDTH = 140  # columns when the output is not a terminal
Step = Callable[[str, int, int], None]  # (stage, photos done, photos in all)


def show_evaluation(console: Console, result: Evaluation) -> None:
    """A table of one model's scores, and the protocol below it.

    "74.0 ±2.6": the interval reaches 2.6 away at most; "100.0 [96.3, 100.0]": it ends at the value itself.
    """
    if result.overall is None:
        print_line(console, f"{result.title}: predictions only (no labels).")
    else:
        ns = result.ns
        numbers = ("queries", *(f"R@{n}" for n in ns), "MRR", *(f"F1@{n}" for n in ns))
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
    """A table of the matches of one query."""
    table = make_table("rank", "similarity", "metres", "", "database photo", title=title)
    for match in matches:
        photo, metres = match.place, "" if match.metres is None else f"{match.metres:.1f}"
        verdict = {None: "", True: "[green]right[/]", False: "[red]wrong[/]"}[match.correct]
        where = plain_cell(photo.path if photo.path.is_file() else photo.name)
        table.add_row(str(match.rank), f"{match.similarity:.4f}", metres, verdict, where)
    console.print(table)


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
def show_progress(title: str) -> Iterator[Step]:
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
    return progress.Progress(
        *columns, console=open_console(stderr=True), transient=True, disable=not sys.stderr.isatty()
    )


def open_console(stderr: bool = False) -> Console:
    """A console on standard output (or error); wide enough for the tables when it is not a terminal."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, width=None if stream.isatty() else PIPE_WIDTH)


def print_line(console: Console, text: str) -> None:
    """Print text as it is: long lines are not broken, brackets are not markup."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def print_note(text: str) -> None:
    """A line on standard error."""
    print_line(open_console(stderr=True), text)


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
