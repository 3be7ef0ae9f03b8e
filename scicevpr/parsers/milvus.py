"""milvus: what can be asked for."""

from __future__ import annotations

import argparse
from pathlib import Path

from scicevpr.parsers import options

INDEXES = ("flat", "hnsw", "ivf_flat", "auto", "diskann")


def add(commands: argparse._SubParsersAction) -> None:
    """Add the subcommand and its own subcommands."""
    parser = commands.add_parser(
        "milvus",
        help="databases in Milvus: a file on this machine, or a server (docs/milvus.md)",
        description="Keep databases in Milvus and search in them, within a radius or under some conditions. WHERE is a "
        "file of Milvus Lite (FILE.db) or a server (http://HOST:19530). Needs the extra 'milvus'.",
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    _load(actions)
    _search(actions)
    info = _action(actions, "info", "what a collection holds")
    info.set_defaults(handler="milvus.info")
    drop = _action(actions, "drop", "take a collection, or one database of it, out of Milvus")
    drop.add_argument("--database", metavar="NAME", help="only this one")
    drop.set_defaults(handler="milvus.drop")


def _load(actions: argparse._SubParsersAction) -> None:
    parser = _action(actions, "load", "load a database; what was interrupted goes on, the same again changes nothing")
    parser.add_argument("--pack", metavar="PATH_OR_REPO", help="the database descriptors of a pack")
    parser.add_argument("--model", metavar="VARIANT", help="which of the pack's (default: the only ones it has)")
    parser.add_argument(
        "--descriptors", type=Path, metavar="FILE",
        help="instead: a file of `scicevpr describe` of the database photos of --dataset",
    )  # fmt: skip
    options.data_options(parser)
    parser.add_argument("--name", metavar="NAME", help="of this database in the collection (default: the data set's)")
    parser.add_argument(
        "--index", choices=INDEXES, default="flat",
        help="of a new collection. flat: exact; the others are approximate, their agreement is measured; Milvus Lite "
        "has no diskann (default: flat)",
    )  # fmt: skip
    parser.add_argument("--restart", action="store_true", help="send everything again, even what is there")
    parser.set_defaults(handler="milvus.load")


def _search(actions: argparse._SubParsersAction) -> None:
    parser = _action(actions, "search", "the photos most similar to query descriptors")
    parser.add_argument("queries", type=Path, metavar="FILE", help="descriptors by `scicevpr describe`")
    parser.add_argument(
        "-k", "--top", type=options.positive, default=5, metavar="K", help="matches per query (default: 5)"
    )
    parser.add_argument(
        "--near", type=float, nargs=3, metavar=("EAST", "NORTH", "METRES"), help="only photos within METRES of there"
    )
    parser.add_argument("--zone", metavar="32U", help="with --near: only of this UTM zone")
    parser.add_argument("--condition", action="append", metavar="NAME", help="only photos of it; may be repeated")
    parser.add_argument("--database", metavar="NAME", help="only photos of this database")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the matches as JSON")
    parser.set_defaults(handler="milvus.search")


def _action(actions: argparse._SubParsersAction, name: str, words: str) -> argparse.ArgumentParser:
    parser = actions.add_parser(name, help=words, description=words[0].upper() + words[1:] + ".")
    parser.add_argument("uri", metavar="WHERE", help="FILE.db, or http://HOST:19530")
    parser.add_argument(
        "--collection", default="places", metavar="NAME", help="which collection there (default: places)"
    )
    parser.add_argument(
        "--token", metavar="TOKEN",
        help="USER:PASSWORD or an API key; others on this machine can see it here, so rather set MILVUS_TOKEN",
    )  # fmt: skip
    return parser
