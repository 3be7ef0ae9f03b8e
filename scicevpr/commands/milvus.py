"""What `scicevpr milvus` does."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from rich import box
from rich.table import Table
from rich.text import Text

from scicevpr.cli.terminal import check_outputs, open_console, print_line, show_progress, write_json
from scicevpr.commands.data import read_database
from scicevpr.datasets import Dataset, bundled_city
from scicevpr.errors import UsageError
from scicevpr.files.descriptor_files import load_descriptors
from scicevpr.milvus import MilvusIndex
from scicevpr.packs import open_pack


def load(arguments: argparse.Namespace) -> int:
    """Load a database, or go on with it."""
    if (arguments.pack is None) == (arguments.descriptors is None):
        raise UsageError("Give either --pack, or --descriptors with --dataset.")
    if arguments.pack is not None:
        source, dataset = open_pack(arguments.pack), None
    else:
        dataset = _dataset(arguments)
        names = [place.name for place in dataset.database]
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
        _show(index)
    return 0


def info(arguments: argparse.Namespace) -> int:
    """Show what a collection holds."""
    with _open(arguments) as index:
        _show(index)
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


def search(arguments: argparse.Namespace) -> int:
    """Show the most similar photos of each query."""
    check_outputs(arguments.json)
    if arguments.zone and arguments.near is None:
        raise UsageError("--zone belongs to --near.")
    near = None if arguments.near is None else (*arguments.near, arguments.zone)
    queries, titles = load_descriptors(arguments.queries)
    console, found = open_console(), []
    with _open(arguments) as index:
        matches = index.search(queries, arguments.top, near, arguments.condition, arguments.database)
        places = index.photos(matches.indices.ravel().tolist())
        label, metadata = index.label, index.metadata()
    for row, title in enumerate(titles):
        table = Table("rank", "similarity", "row", "condition", "photo", title=Text(title), box=box.SIMPLE)
        answers = []
        for rank, (match, similarity) in enumerate(
            zip(matches.indices[row].tolist(), matches.similarities[row].tolist(), strict=True), 1
        ):
            if match not in places:
                continue
            place = places[match]
            table.add_row(
                str(rank),
                f"{similarity:.4f}",
                str(match),
                place.condition or "",
                Text(str(place.path), overflow="fold"),
            )
            answers.append(
                {"rank": rank, "row": match, "similarity": similarity, "name": place.name, "path": str(place.path)}
                | {"utm": place.utm, "zone": place.zone, "condition": place.condition}
            )
        console.print(table)
        found.append({"query": title, "matches": answers})
    print_line(console, f"Search: {label}")
    if arguments.json:
        write_json(arguments.json, {"index": {"label": label, **metadata}, "queries": found})
    return 0


def _dataset(arguments: argparse.Namespace) -> Dataset:
    """The database photos that the options name, as a data set without queries."""
    places = read_database(arguments)
    root = Path(os.path.commonpath([place.path.parent for place in places]))
    if arguments.database:
        return Dataset(arguments.database.resolve().name, "", root, places, ())
    named = arguments.dataset.resolve().name if arguments.dataset else arguments.eval_dataset_name
    return Dataset(named or bundled_city().name, arguments.split, root, places, ())


def _open(arguments: argparse.Namespace, create: bool = False) -> MilvusIndex:
    return MilvusIndex.open(arguments.uri, arguments.collection, arguments.token, create=create)


def _show(index: MilvusIndex) -> None:
    console = open_console()
    print_line(console, f"{index.collection}: {index.label}")
    for title, words in index.metadata().items():
        print_line(console, f"  {title}: {words}")
