"""datasets list, info, check: what can be asked for."""

from __future__ import annotations

import argparse
from pathlib import Path

from scicevpr.parsers import options


def add(commands: argparse._SubParsersAction) -> None:
    """Add the subcommand and its own subcommands."""
    parser = commands.add_parser("datasets", help="the published benchmarks, and what a folder of photos is")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")

    listing = actions.add_parser("list", help="the published benchmarks: sizes, rules, where to obtain them")
    listing.set_defaults(handler="datasets.list_benchmarks")

    info = actions.add_parser("info", help="one benchmark with its published recalls and their sources")
    info.add_argument("key", metavar="KEY", help="such as pitts30k (see `scicevpr datasets list`)")
    info.set_defaults(handler="datasets.info")

    check = actions.add_parser(
        "check",
        help="what a data set folder holds, what is missing, and which published table it belongs to",
        description="Read a data set folder without a model, open a sample of its photos, and say how to evaluate it. "
        "Exit code 2 where something keeps it from being scored.",
    )
    check.add_argument("path", type=Path, nargs="?", metavar="PATH", help="the data set folder")
    check.add_argument("--database", type=Path, metavar="DIR", help="instead of PATH: any folder of photos ...")
    check.add_argument("--queries", type=Path, metavar="DIR", help="... and any folder of query photos")
    options.layout_options(check)
    options.answer_options(check)
    check.add_argument("--sample", type=int, default=64, metavar="N", help="photos to open (default: 64)")
    check.add_argument("--json", type=Path, metavar="FILE", help="write what was found as JSON")
    check.set_defaults(handler="datasets.check")
