"""explain and stability: what can be asked for."""

from __future__ import annotations

import argparse
from pathlib import Path

from scicevpr.parsers import options

EXPERIMENTS = ("batches", "photos", "database", "last", "company", "worst", "pairs")


def add(commands: argparse._SubParsersAction) -> None:
    """Add the subcommands."""
    _explain(commands)
    _stability(commands)


def _explain(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "explain",
        help="why a photo matches: maps of the model's inside, region terms, patches",
        description="Take a photo through a model and write every map as array and picture, with the numbers as JSON.",
    )
    parser.add_argument("photo", type=Path, metavar="QUERY", help="the query photo")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder for the results")
    parser.add_argument(
        "--match", type=Path, metavar="PHOTO", help="compare with this photo instead of a search's match"
    )
    parser.add_argument(
        "--rank", type=options.positive, default=1, metavar="R", help="which match of the search (default: 1)"
    )
    parser.add_argument(
        "--company", type=Path, nargs="+", default=[], metavar="PHOTO", help="photos that share the query's batch"
    )
    parser.add_argument(
        "--cell", type=options.positive, nargs=2, default=(9, 9), metavar=("ROW", "COLUMN"),
        help="the marked cell of the token grid, from 1 (default: 9 9)",
    )  # fmt: skip
    parser.add_argument("--maps", nargs="+", metavar="KEY", help="only these maps, such as energy:fused (default: all)")
    options.data_options(parser)
    options.model_options(parser, several=None)
    parser.set_defaults(handler="inside.explain")


def _stability(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "stability",
        help="does the answer depend on the photos that share the batch? experiments as tables",
        description="Run one experiment and print its table. All are repeatable: chance comes from seeds.",
    )
    parser.add_argument(
        "experiment", choices=EXPERIMENTS, metavar="EXPERIMENT",
        help="batches (Recall@1 over query batch sizes and orders: Figure 2), photos (every query in shuffled batches "
        "against itself alone), database (the database in other batches), last (the incomplete last batch), company "
        "(one query in random companies, with x and y on the database's main plane, or the one given), worst (search "
        "the company that changes an answer most), pairs (Figure 1)",
    )  # fmt: skip
    parser.add_argument("--query", metavar="NAME_OR_ROW", help="for company and worst: a query's file name or row")
    parser.add_argument("--company", nargs="+", metavar="NAME_OR_ROW", help="for company: exactly these queries")
    parser.add_argument(
        "--size", type=options.positive, default=16, metavar="B", help="photos in a batch (default: 16)"
    )
    parser.add_argument("--sizes", type=options.positive, nargs="+", metavar="B", help="default: 1 2 4 8 16 32 64")
    parser.add_argument("--orders", nargs="+", choices=("file", "shuffled", "place"), help="default: all three")
    parser.add_argument("--seeds", type=options.positive, default=5, metavar="N", help="shuffles or tries (default: 5)")
    parser.add_argument(
        "--draws", type=options.positive, default=100, metavar="N", help="random companies (default: 100)"
    )
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write the table")
    options.radius_option(parser)
    options.data_options(parser)
    options.query_options(parser)
    options.model_options(parser, several="scicevpr-t and cricavpr-t", grouping=False)
    parser.set_defaults(grouping=None, handler="inside.stability")
