"""score and compare: what can be asked for."""

from __future__ import annotations

import argparse
from pathlib import Path

from scicevpr.parsers import options
from scicevpr.parsers.outputs import output_options


def add(commands: argparse._SubParsersAction) -> None:
    """Add the subcommands."""
    _score(commands)
    _compare(commands)


def scoring_options(parser: argparse.ArgumentParser) -> None:
    """How far to look, and what is right."""
    parser.add_argument(
        "--recall-values", "--recall_values", type=options.positive, nargs="+", default=[1, 5, 10], metavar="N",
        help="default: 1 5 10; the largest is also how far MRR looks",
    )  # fmt: skip
    options.radius_option(parser)
    parser.add_argument(
        "--utm-rounding", choices=("float64", "published"), default="float64",
        help="published: round positions to float32 first, as the published SciceVPR evaluation does",
    )  # fmt: skip


def _score(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "score",
        help="score descriptors that were exported earlier, or by another method, without a model",
        description="Search and score descriptors from files (.npy, .safetensors). Which photos they belong to is read "
        "from the descriptors.json beside them, unless a data set is named.",
    )
    parser.add_argument(
        "--database-descriptors", "--database_descriptors", type=Path, required=True, metavar="FILE",
        help="descriptors of the database photos, in the order of their paths",
    )  # fmt: skip
    parser.add_argument(
        "--query-descriptors", "--queries-descriptors", "--queries_descriptors", type=Path, required=True,
        metavar="FILE", help="descriptors of the queries",
    )  # fmt: skip
    parser.add_argument("--title", metavar="NAME", help="the model's name in tables (default: as recorded)")
    options.data_options(parser)
    options.query_options(parser)
    scoring_options(parser)
    parser.add_argument(
        "--test_method", "--test-method", metavar="NAME",
        help="nearest_crop, maj_voting ... for queries of five crops (default: as recorded, else hard_resize)",
    )  # fmt: skip
    parser.add_argument(
        "--majority_weight", "--majority-weight", type=float, default=0.01, metavar="W",
        help="for maj_voting (default: 0.01)",
    )  # fmt: skip
    output_options(parser, descriptors=False)
    parser.set_defaults(handler="scoring.score")


def _compare(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "compare",
        help="is one model better than another on the same queries? paired differences with intervals and p-values",
        description="Compare two results of `scicevpr evaluate --json`, query by query. Several p-values at once call "
        "for a stricter bar.",
    )
    parser.add_argument("files", nargs="+", type=Path, metavar="RESULTS.json", help="one or two files with two results")
    parser.add_argument(
        "--models", nargs=2, metavar=("A", "B"), help="titles of the two results, where the files hold more than two"
    )
    parser.add_argument(
        "--recall-values", "--recall_values", type=options.positive, nargs="+", metavar="N",
        help="default: all that both results have",
    )  # fmt: skip
    parser.add_argument(
        "--intervals-by", choices=("place", "query"), default="place",
        help="what the bootstrap draws: places, with all their queries together (default), or single queries",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, help="of the bootstrap (default: 0)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the comparison as JSON")
    parser.set_defaults(handler="scoring.compare")
