"""search: the database photos most similar to a photo."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scicevpr.cli import options
from scicevpr.cli.terminal import check_outputs, open_console, print_line, show_matches, show_progress, write_json

if TYPE_CHECKING:
    from scicevpr.retrieval.matches import Match


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Add the command."""
    parser = commands.add_parser("search", help="the database photos most similar to a photo")
    parser.add_argument("photos", nargs="+", type=Path, metavar="QUERY", help="query photos")
    options.data_options(parser)
    options.pack_options(parser)
    options.model_options(parser, several="scicevpr-t")
    options.precision_option(parser)
    options.storage_options(parser)
    options.matches_options(parser)
    options.radius_option(parser)
    parser.set_defaults(run=search)


def search(arguments: argparse.Namespace) -> int:
    """Show the most similar database photos of each query."""
    from scicevpr.cli.chosen_data import (
        pack_descriptors,
        pack_or_dataset,
        packed_models,
        read_database,
        stored_descriptors,
    )
    from scicevpr.cli.chosen_models import chosen_precision, load_models
    from scicevpr.cli.describe import describe_chosen
    from scicevpr.datasets import parse_name
    from scicevpr.retrieval.factory import make_index
    from scicevpr.retrieval.matches import list_matches

    check_outputs(arguments.json)
    pack = None
    if arguments.pack is None:
        database = read_database(arguments)
    else:
        dataset, pack = pack_or_dataset(arguments)
        database = dataset.database
    queries = [parse_name(path) for path in arguments.photos]
    console, found = open_console(), []
    for title, model in load_models(arguments, packed_models(pack) or ("scicevpr-t",)):
        mode = chosen_precision(model, arguments)
        with show_progress(title) as step:
            described = describe_chosen(model, [photo.path for photo in queries], arguments, step, "queries", mode)
            searched, pca = pack_descriptors(model, pack, arguments, mode)
            searched = searched or stored_descriptors(model, database, arguments, mode)
            if searched is None:
                paths = [photo.path for photo in database]
                searched = describe_chosen(model, paths, arguments, step, "database", mode)
        values = described.values if pca is None else pca.transform(described.values)
        matches = make_index(searched.values).search(values, arguments.top)
        answers = list_matches(matches, database, queries, arguments.radius)
        for query, answer in zip(queries, answers, strict=True):
            show_matches(console, f"{title}: {query.name}", answer)
        print_line(console, described.protocol_line())
        protocol = {"database grouping": searched.grouping, "PCA": pca.label if pca else "none"}
        entries = [
            {"query": str(query.path), "matches": [_match_json(match) for match in answer]}
            for query, answer in zip(queries, answers, strict=True)
        ]
        found.append({"title": title, "protocol": {**described.protocol(), **protocol}, "queries": entries})
    if arguments.json:
        write_json(arguments.json, {"results": found})
    return 0


def _match_json(match: Match) -> dict[str, Any]:
    return {**{key: value for key, value in asdict(match).items() if key != "place"}, "database": str(match.place.path)}
