"""datasets list, info, get, prepare, check: the published benchmarks, their photos, and what a folder of photos is."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from scicevpr.cli import options
from scicevpr.cli.outputs import (
    check_outputs,
    make_table,
    open_console,
    plain_cell,
    print_line,
    print_note,
    show_progress,
    write_json,
)
from scicevpr.errors import UsageError

if TYPE_CHECKING:
    from scicevpr.datasets.catalogue import Benchmark
    from scicevpr.datasets.sources import DataSource

UNUSABLE = 2  # exit code


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Add the command."""
    actions = options.add_actions(commands, "datasets", help="the published benchmarks, and what a folder of photos is")
    listing = actions.add_parser("list", help="the published benchmarks: sizes, rules, where to obtain them")
    listing.set_defaults(run=list_benchmarks)
    parser = actions.add_parser("info", help="one benchmark with its published recalls and their sources")
    parser.add_argument("key", metavar="KEY", help="such as pitts30k (see `scicevpr datasets list`)")
    parser.set_defaults(run=info)
    _getting(actions)
    parser = actions.add_parser(
        "check",
        help="what a data set folder holds, what is missing, and which published table it belongs to",
        description="Read a data set folder without a model, open a sample of its photos, and say how to evaluate it. "
        "Exit code 2 where something keeps it from being scored.",
    )
    add = parser.add_argument
    add("path", type=Path, nargs="?", metavar="PATH", help="the data set folder")
    add("--database", type=Path, metavar="DIR", help="instead of PATH: any folder of photos ...")
    add("--queries", type=Path, metavar="DIR", help="... and any folder of query photos")
    options.layout_options(parser)
    options.ground_truth_options(parser)
    add("--sample", type=int, default=64, metavar="N", help="photos to open (default: 64)")
    add("--json", type=Path, metavar="FILE", help="write what was found as JSON")
    parser.set_defaults(run=check)


def _getting(actions: argparse._SubParsersAction) -> None:
    """Add get and prepare."""
    to = {"type": Path, "metavar": "DIR", "help": "the folder that gets it (default: $DATASETS_FOLDER, else datasets/)"}
    parser = actions.add_parser(
        "get",
        help="download a data set that needs no login, into a folder that `evaluate` reads",
        description="Download a data set, check it, and give it the field's layout. Run the same again after an "
        "interruption: it goes on. Without NAME: what can be had.",
    )
    add = parser.add_argument
    add("name", metavar="NAME", nargs="?", help="such as gardens-point")
    add("--to", **to)
    add("--accept-licence", "--accept-license", action="store_true", help="you have read its licence and accept it")
    add("--keep-archives", action="store_true", help="keep what was downloaded beside the new folder")
    parser.set_defaults(run=get)
    parser = actions.add_parser(
        "prepare",
        help="the same from archives or folders that you got by hand (Pitts250k, Tokyo 24/7, MSLS, SF-XL, ...)",
    )
    add = parser.add_argument
    add("name", metavar="NAME", help="such as pitts250k")
    add(
        "--from",
        dest="given",
        type=Path,
        required=True,
        metavar="PATH",
        help="a folder or an archive; it stays as it is",
    )
    add("--to", **to)
    parser.set_defaults(run=prepare)
    parser = actions.add_parser(
        "truth", help="write which photos are right as GT.npz or ground_truth_new.npy, for other tools"
    )
    add = parser.add_argument
    add("folder", type=Path, nargs="?", metavar="FOLDER", help="the data set")
    add("--output", type=Path, required=True, metavar="FILE", help=".npz: GThard, GTsoft; .npy: as VPR-Bench")
    options.data_options(parser)
    options.query_options(parser)
    parser.set_defaults(run=truth)


def get(arguments: argparse.Namespace) -> int:
    """Download a data set."""
    from scicevpr.datasets.sources import SOURCES, find_source
    from scicevpr.hub.datasets import get_dataset

    console = open_console()
    if arguments.name is None:
        table = make_table("name", "title", "disk space", "page")
        for source in SOURCES.values():
            needs = source.needs if source.files else "by hand, then `prepare`"
            table.add_row(source.key, source.title, needs, plain_cell(source.page))
        console.print(table)
        return 0
    source = find_source(arguments.name)
    if source.files:
        print_line(
            console, f"{source.title}: disk space needed: {source.needs}. Licence: {source.licence}. {source.page}"
        )
    accepted = arguments.accept_licence or (bool(source.files) and _accepts())
    with show_progress(source.key) as step:
        folder = get_dataset(
            source, arguments.to, licence_accepted=accepted, keep_archives=arguments.keep_archives, progress=step
        )
    return _say_next(folder, source)


def prepare(arguments: argparse.Namespace) -> int:
    """Convert what somebody got by hand."""
    from scicevpr.datasets.sources import find_source
    from scicevpr.hub.datasets import prepare_dataset

    source = find_source(arguments.name)
    with show_progress(source.key) as step:
        folder = prepare_dataset(source, arguments.given, arguments.to, progress=step)
    return _say_next(folder, source)


def _accepts() -> bool:
    """Ask at a terminal; without one nobody accepts."""
    if not sys.stdin.isatty():
        print_note("Say --accept-licence where nobody can be asked.")
        return False
    return input("Do you accept it? [y/N] ").strip().lower() in ("y", "yes")


def _say_next(folder: Path, source: DataSource) -> int:
    """Where it is, and what to run next."""
    split = f" --split {source.split}" if source.split != "test" else ""
    console = open_console()
    print_line(console, f"{source.title}: {folder}")
    print_line(console, f"run next: scicevpr datasets check {folder}{split}")
    return 0


def truth(arguments: argparse.Namespace) -> int:
    """Write what is right, from positions or whatever the data set says."""
    from scicevpr.cli.chosen_data import read_data
    from scicevpr.evaluation.exports import save_truth

    check_outputs(arguments.output)
    path = save_truth(read_data(arguments), arguments.output)
    print_line(open_console(), f"What is right: {path}")
    return 0


def list_benchmarks(arguments: argparse.Namespace) -> int:
    """A table of the published benchmarks."""
    from scicevpr.datasets.catalogue import BENCHMARKS

    table = make_table("key", "title", numbers=("database", "queries"))
    for heading in ("right within", "batch", "access"):
        table.add_column(heading)
    for benchmark in BENCHMARKS.values():
        counts = (_count(benchmark.database), _count(benchmark.queries))
        batch = str(benchmark.cross_image_batch)
        table.add_row(benchmark.key, benchmark.title, *counts, benchmark.truth, batch, benchmark.access)
    console = open_console()
    console.print(table)
    print_line(console, "batch: photos that shared one when CricaVPR was published. More: scicevpr datasets info KEY")
    return 0


def info(arguments: argparse.Namespace) -> int:
    """One benchmark with its published recalls."""
    from scicevpr.datasets.catalogue import get

    benchmark, console = get(arguments.key), open_console()
    for heading, text in _description(benchmark):
        print_line(console, f"{heading}: {text}")
    if benchmark.published:
        table = make_table("model", "R@1", "R@5", "R@10", "source")
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
    from scicevpr.cli.chosen_data import chosen_ground_truth, chosen_layout
    from scicevpr.datasets.check import check_dataset, check_folders

    if arguments.sample < 0:
        raise UsageError(f"The number of photos to open must be 0 or more, not {arguments.sample}.")
    check_outputs(arguments.json)
    rules = {"sample": arguments.sample, **chosen_ground_truth(arguments)}
    folders = (arguments.database, arguments.queries)
    if (arguments.path is None) == (folders == (None, None)):
        raise UsageError("Give either a data set folder, or both --database and --queries.")
    if arguments.path is not None:
        report = check_dataset(arguments.path, **chosen_layout(arguments), **rules)
    elif None in folders:
        raise UsageError("Two folders are needed: both --database and --queries.")
    else:
        report = check_folders(*folders, benchmark=arguments.benchmark, **rules)
    console = open_console()
    width = max(len(heading) for heading, _ in report.findings) + 2
    for heading, text in report.findings:
        print_line(console, f"{heading + ':':{width}}{text}")
    for problem in report.problems:
        print_line(console, f"{'PROBLEM:':{width}}{problem}")
    if report.command:
        print_line(console, f"{'run next:':{width}}{report.command}")
    if arguments.json:
        write_json(arguments.json, report.to_json())
    return 0 if report.usable else UNUSABLE


def _description(benchmark: Benchmark) -> list[tuple[str, str]]:
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
