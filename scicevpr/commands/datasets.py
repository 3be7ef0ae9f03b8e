"""What `scicevpr datasets` does: show the catalogue, and look at a folder."""

from __future__ import annotations

import argparse

from rich import box
from rich.table import Table

from scicevpr.cli.terminal import check_outputs, open_console, print_line, write_json
from scicevpr.commands.data import answers_asked, layout_asked
from scicevpr.datasets.catalogue import BENCHMARKS, Benchmark, get
from scicevpr.datasets.check import check_dataset, check_folders
from scicevpr.errors import UsageError

EXIT_ERROR = 2


def list_benchmarks(arguments: argparse.Namespace) -> int:
    """A table of the published benchmarks."""
    table = Table("key", "title", box=box.SIMPLE)
    for heading in ("database", "queries"):
        table.add_column(heading, justify="right")
    for heading in ("right within", "batch", "access"):
        table.add_column(heading)
    for benchmark in BENCHMARKS.values():
        table.add_row(
            benchmark.key, benchmark.title, _count(benchmark.database), _count(benchmark.queries), benchmark.truth,
            str(benchmark.cross_image_batch), benchmark.access,
        )  # fmt: skip
    console = open_console()
    console.print(table)
    print_line(console, "batch: photos that shared one when CricaVPR was published. More: scicevpr datasets info KEY")
    return 0


def info(arguments: argparse.Namespace) -> int:
    """One benchmark with its published recalls."""
    benchmark, console = get(arguments.key), open_console()
    for heading, words in _facts(benchmark):
        print_line(console, f"{heading}: {words}")
    if benchmark.published:
        table = Table("model", "R@1", "R@5", "R@10", "source", box=box.SIMPLE)
        for row in benchmark.published:
            source = row.source + (" (quoted)" if row.quoted else "")
            table.add_row(row.method, *("" if value is None else f"{value:.1f}" for value in row.recalls), source)
        console.print(table)
        print_line(console, "quoted: stated there by others than the model's authors.")
    else:
        print_line(console, "published recalls: none recorded here.")
    for note in filter(None, (benchmark.twin, *benchmark.notes)):
        print_line(console, f"Note: {note}")
    return 0


def check(arguments: argparse.Namespace) -> int:
    """What a folder holds; 2 when something keeps it from being used as asked."""
    if arguments.sample < 0:
        raise UsageError(f"The number of photos to open must be 0 or more, not {arguments.sample}.")
    check_outputs(arguments.json)
    answers = answers_asked(arguments)
    if (arguments.path is None) == (arguments.database is None and arguments.queries is None):
        raise UsageError("Give either a data set folder, or both --database and --queries.")
    if arguments.path is not None:
        report = check_dataset(arguments.path, sample=arguments.sample, **layout_asked(arguments), **answers)
    elif arguments.database is None or arguments.queries is None:
        raise UsageError("Two folders are needed: both --database and --queries.")
    else:
        folders = (arguments.database, arguments.queries)
        report = check_folders(*folders, sample=arguments.sample, benchmark=arguments.benchmark, **answers)
    console = open_console()
    width = max(len(heading) for heading, _ in report.facts) + 2
    for heading, words in report.facts:
        print_line(console, f"{heading + ':':{width}}{words}")
    for problem in report.problems:
        print_line(console, f"{'PROBLEM:':{width}}{problem}")
    if report.command:
        print_line(console, f"{'run next:':{width}}{report.command}")
    if arguments.json:
        write_json(arguments.json, report.to_json())
    return 0 if report.usable else EXIT_ERROR


def _facts(benchmark: Benchmark) -> list[tuple[str, str]]:
    gated = "yes" if benchmark.gated else "no"
    shared = {True: "yes, under its licence", False: "no", None: "not known"}[benchmark.redistributable]
    query_folder = "" if benchmark.query_folder == "queries" else f" --query-folder {benchmark.query_folder}"
    return [
        (benchmark.key, benchmark.title),
        ("database / queries", f"{_count(benchmark.database)} / {_count(benchmark.queries)} photos"),
        ("right within", benchmark.truth),
        ("batch of CricaVPR", f"{benchmark.cross_image_batch} photos"),
        ("layouts", ", ".join(benchmark.layouts)),
        ("options", f"--split {benchmark.split}{query_folder}"),
        ("where", f"{benchmark.url} ({benchmark.access})"),
        ("gated", f"{gated}; photos may be passed on: {shared}; licence: {benchmark.licence}"),
    ]


def _count(count: int | None) -> str:
    return "?" if count is None else f"{count:,}"
