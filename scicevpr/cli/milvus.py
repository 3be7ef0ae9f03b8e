"""milvus: databases in Milvus, loaded, searched and dropped."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from scicevpr.cli import options
from scicevpr.cli.outputs import (
    check_outputs,
    open_console,
    print_line,
    show_index,
    show_progress,
    show_rows,
    write_json,
)
from scicevpr.errors import UsageError

if TYPE_CHECKING:
    from scicevpr.datasets import Dataset
    from scicevpr.files.descriptor_files import Descriptors
    from scicevpr.milvus.index import MilvusIndex
    from scicevpr.packs.pack import Pack

INDEXES = ("flat", "hnsw", "ivf_flat", "auto", "diskann")


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Add the command."""
    actions = options.add_actions(
        commands,
        "milvus",
        help="databases in Milvus: a file on this machine, or a server (docs/milvus.md)",
        description="Keep databases in Milvus and search in them, within a radius or under some conditions. WHERE is a "
        "file of Milvus Lite (FILE.db) or a server (http://HOST:19530). Needs the extra 'milvus'.",
    )
    for name, run, help in (
        ("load", load, "load a database; what was interrupted goes on, the same again changes nothing"),
        ("search", search, "the photos most similar to query descriptors"),
        ("info", info, "what a collection holds"),
        ("drop", drop, "take a collection, or one database of it, out of Milvus"),
    ):
        parser = actions.add_parser(name, help=help, description=help[0].upper() + help[1:] + ".")
        add = parser.add_argument
        add("uri", metavar="WHERE", help="FILE.db, or http://HOST:19530")
        add("--collection", default="places", metavar="NAME", help="which collection there (default: places)")
        add(
            "--token",
            metavar="TOKEN",
            help="USER:PASSWORD or an API key; others on this machine can see it here, so rather set MILVUS_TOKEN",
        )
        if name == "load":
            _load_options(parser)
        elif name == "search":
            _search_options(parser)
        elif name == "drop":
            add("--database", metavar="NAME", help="only this one")
        parser.set_defaults(run=run)


def _load_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--pack", metavar="PATH_OR_REPO", help="the database descriptors of a pack")
    add("--model", metavar="VARIANT", help="which of the pack's (default: the only ones it has)")
    add(
        "--descriptors",
        type=Path,
        metavar="FILE",
        help="instead: a file of `scicevpr describe` of the database photos of --dataset",
    )
    options.data_options(parser)
    add("--name", metavar="NAME", help="of this database in the collection (default: the data set's)")
    add(
        "--index",
        choices=INDEXES,
        default="flat",
        help="of a new collection. flat: exact; the others are approximate, their agreement is measured; Milvus Lite "
        "has no diskann (default: flat)",
    )
    add("--restart", action="store_true", help="send everything again, even what is there")


def _search_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("queries", type=Path, metavar="FILE", help="descriptors by `scicevpr describe`")
    options.matches_options(parser)
    add("--near", type=float, nargs=3, metavar=("EAST", "NORTH", "METRES"), help="only photos within METRES of there")
    add("--zone", metavar="32U", help="with --near: only of this UTM zone")
    add("--condition", action="append", metavar="NAME", help="only photos of it; may be repeated")
    add("--database", metavar="NAME", help="only photos of this database")


def load(arguments: argparse.Namespace) -> int:
    """Load a database, or go on with it."""
    from scicevpr.files.descriptor_files import load_descriptors
    from scicevpr.packs import open_pack

    if (arguments.pack is None) == (arguments.descriptors is None):
        raise UsageError("Give either --pack, or --descriptors with --dataset.")
    if arguments.pack is not None:
        source: Pack | Descriptors = open_pack(arguments.pack)
        dataset = None
    else:
        dataset = _dataset(arguments)
        names = [photo.name for photo in dataset.database]
        source, _ = load_descriptors(arguments.descriptors, names=names, mapped=True)
    with _open(arguments, create=True) as index, show_progress("Milvus") as step:
        index.load(
            source,
            dataset,
            variant=arguments.model,
            database=arguments.name,
            index=arguments.index,
            restart=arguments.restart,
            progress=step,
        )
        show_index(index.collection, index)
    return 0


def _dataset(arguments: argparse.Namespace) -> Dataset:
    """The database photos that the options name, as a data set without queries."""
    from scicevpr.cli.chosen_data import read_database
    from scicevpr.datasets import Dataset, bundled_city

    photos = read_database(arguments)
    root = Path(os.path.commonpath([photo.path.parent for photo in photos]))
    if arguments.database:
        return Dataset(arguments.database.resolve().name, "", root, photos, ())
    named = arguments.dataset.resolve().name if arguments.dataset else arguments.eval_dataset_name
    return Dataset(named or bundled_city().name, arguments.split, root, photos, ())


def search(arguments: argparse.Namespace) -> int:
    """Show the most similar photos of each query."""
    from scicevpr.files.descriptor_files import load_descriptors

    check_outputs(arguments.json)
    if arguments.zone and arguments.near is None:
        raise UsageError("--zone belongs to --near.")
    near = None if arguments.near is None else (*arguments.near, arguments.zone)
    queries, titles = load_descriptors(arguments.queries)
    console, found = open_console(), []
    with _open(arguments) as index:
        matches = index.search(queries, arguments.top, near, arguments.condition, arguments.database)
        photos = index.photos(matches.indices.ravel().tolist())
        label, facts = index.label, index.metadata()
    for title, rows, similarities in zip(titles, matches.indices.tolist(), matches.similarities.tolist(), strict=True):
        lines, answers = [], []
        for rank, (row, similarity) in enumerate(zip(rows, similarities, strict=True), 1):
            if row not in photos:
                continue
            photo = photos[row]
            lines.append((str(rank), f"{similarity:.4f}", str(row), photo.condition or "", str(photo.path)))
            answers.append(
                {"rank": rank, "row": row, "similarity": similarity, "name": photo.name, "path": str(photo.path)}
                | {"utm": photo.utm, "zone": photo.zone, "condition": photo.condition}
            )
        show_rows(console, title, ("rank", "similarity", "row", "condition", "photo"), lines)
        found.append({"query": title, "matches": answers})
    print_line(console, f"Search: {label}")
    if arguments.json:
        write_json(arguments.json, {"index": {"label": label, **facts}, "queries": found})
    return 0


def info(arguments: argparse.Namespace) -> int:
    """Show what a collection holds."""
    with _open(arguments) as index:
        show_index(index.collection, index)
    return 0


def drop(arguments: argparse.Namespace) -> int:
    """Take a collection or a database out."""
    with _open(arguments) as index:
        if arguments.database is None:
            index.drop()
        else:
            index.remove(arguments.database)
    print_line(open_console(), f"Taken out: {arguments.database or arguments.collection}")
    return 0


def _open(arguments: argparse.Namespace, create: bool = False) -> MilvusIndex:
    from scicevpr.milvus.index import MilvusIndex

    return MilvusIndex.open(arguments.uri, arguments.collection, arguments.token, create=create)
