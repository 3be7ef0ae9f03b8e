"""index: what can be asked for."""

from __future__ import annotations

import argparse
from pathlib import Path

from scicevpr.parsers import options

TIERS = ("auto", "ivf-pq", "int8", "streamed")


def add(commands: argparse._SubParsersAction) -> None:
    """Add the subcommand and its own subcommands."""
    parser = commands.add_parser(
        "index",
        help="indexes on disk: search in up to millions of descriptors",
        description="An index refers to files of descriptors (`scicevpr describe`, packs) and makes them quick to "
        "search. Small databases need none.",
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    _build(actions)
    for name, words in (
        ("info", "how an index searches, its size, its agreement with exact search"),
        ("check", "compare every byte of an index and its descriptors with their checksums (exit code 1 on damage)"),
        ("compact", "take removed rows out for good; the others are numbered anew"),
    ):
        action = actions.add_parser(name, help=words, description=words[0].upper() + words[1:] + ".")
        action.add_argument("index", type=Path, metavar="DIR", help="folder of the index")
        action.set_defaults(handler=f"index.{name}")
    _search(actions)
    adding = actions.add_parser("add", help="add the rows of another descriptor file")
    adding.add_argument("index", type=Path, metavar="DIR", help="folder of the index")
    adding.add_argument("descriptors", type=Path, metavar="FILE", help=".npy or .safetensors; it must stay where it is")
    adding.set_defaults(handler="index.add")
    removing = actions.add_parser("remove", help="let rows be found no more; the others keep their numbers")
    removing.add_argument("index", type=Path, metavar="DIR", help="folder of the index")
    removing.add_argument("rows", type=int, nargs="+", metavar="ROW", help="row numbers, from 0")
    removing.set_defaults(handler="index.remove")


def _build(actions: argparse._SubParsersAction) -> None:
    parser = actions.add_parser(
        "build",
        help="build an index of descriptors on disk",
        description="Build an index. What was stopped or killed goes on where it was when it is called again.",
    )
    parser.add_argument("output", type=Path, metavar="OUT", help="folder to make")
    parser.add_argument(
        "--descriptors", type=Path, nargs="+", metavar="FILE",
        help=".npy or .safetensors, rows one file after the other; they must stay where they are",
    )  # fmt: skip
    parser.add_argument("--pack", metavar="PATH_OR_REPO", help="instead: the database descriptors of a pack")
    parser.add_argument(
        "--model", metavar="VARIANT", help="which of the pack's descriptors (default: the only ones it has)"
    )
    parser.add_argument(
        "--tier", choices=TIERS, default="auto",
        help="lists: a shortlist, re-ranked exactly; 8-bit: exact, a quarter of the memory; streamed: exact, from the "
        "disk (default: auto, by size and memory)",
    )  # fmt: skip
    parser.add_argument(
        "--memory", type=options.positive, metavar="MIB", help="what it may take (default: half of what is free)"
    )
    lists = parser.add_argument_group("lists")
    lists.add_argument(
        "--pca", type=options.positive, default=512, metavar="K", help="values of the short descriptors (default: 512)"
    )
    lists.add_argument(
        "--lists", type=options.positive, metavar="N", help="default: about a quarter of the square root of the rows"
    )
    lists.add_argument(
        "--probes", type=options.positive, metavar="N",
        help="lists that a query looks into (default: the fewest that agree with exact search)",
    )  # fmt: skip
    lists.add_argument(
        "--shortlist", type=options.positive, metavar="N", help="rows compared in full (default: likewise)"
    )
    lists.add_argument("--seed", type=int, default=0, help="of the samples (default: 0)")
    parser.add_argument("--restart", action="store_true", help="throw away what an earlier call has done of it")
    parser.set_defaults(handler="index.build")


def _search(actions: argparse._SubParsersAction) -> None:
    parser = actions.add_parser("search", help="the rows most similar to query descriptors")
    parser.add_argument("index", type=Path, metavar="DIR", help="folder of the index")
    parser.add_argument("queries", type=Path, metavar="FILE", help="descriptors of the queries: .npy or .safetensors")
    parser.add_argument(
        "-k", "--top", type=options.positive, default=5, metavar="K", help="matches per query (default: 5)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the matches as JSON")
    parser.set_defaults(handler="index.search")
