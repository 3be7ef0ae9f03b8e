"""evaluate, search, describe, verify, models: what can be asked for."""

from __future__ import annotations

import argparse
from pathlib import Path

from scicevpr.parsers import options
from scicevpr.parsers.familiar import familiar_options
from scicevpr.parsers.outputs import output_options
from scicevpr.parsers.scoring import scoring_options


def add(commands: argparse._SubParsersAction) -> None:
    """Add the subcommands."""
    _evaluate(commands)
    _search(commands)
    _describe(commands)
    _verify(commands)
    listing = commands.add_parser("models", help="list the model variants and which weights are here")
    listing.set_defaults(handler="basic.models")


def _evaluate(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "evaluate",
        help="Recall@N, MRR and F1@N of models on a data set (the bundled city unless told otherwise)",
        description="Describe database and queries, search exactly, and score per condition.",
    )
    options.data_options(parser)
    options.pack_options(parser)
    options.query_options(parser)
    options.model_options(parser, several="scicevpr-t and cricavpr-t")
    options.precision_option(parser)
    options.storage_options(parser)
    parser.add_argument(
        "--baselines", action="store_true", help="also measure ImageNet features, HOG and a colour histogram"
    )
    parser.add_argument(
        "--test-method", "--test_method", default="hard_resize", metavar="NAME",
        help="how queries are viewed: hard_resize (default), single_query, central_crop, five_crops, nearest_crop or "
        "maj_voting; database photos are always resized whole",
    )  # fmt: skip
    parser.add_argument(
        "--majority-weight", "--majority_weight", type=float, default=0.01, metavar="W",
        help="how much a vote counts in maj_voting (default: 0.01)",
    )  # fmt: skip
    parser.add_argument(
        "--query-grouping", metavar="GROUPING",
        help="as --grouping, for the queries alone; also place or place:16 (queries of one place together, as far as "
        "16 allow: it uses the true positions)",
    )  # fmt: skip
    parser.add_argument(
        "--shuffle-queries", type=int, metavar="SEED", help="shuffle the queries: shows whether a model feels its batch"
    )
    parser.add_argument(
        "--published", action="store_true",
        help="what the published numbers were measured with: no antialias, published batches, and for SciceVPR and "
        "its teacher positions rounded to float32 (CricaVPR's code keeps float64)",
    )  # fmt: skip
    parser.add_argument(
        "--without-itself", action="store_true",
        help="leave a query that is itself in the database out of its own answers",
    )  # fmt: skip
    options.damage_option(parser)
    scoring_options(parser)
    options.pca_options(parser)
    familiar_options(parser)
    output_options(parser)
    parser.set_defaults(handler="evaluate.evaluate")


def _search(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("search", help="the database photos most similar to a photo")
    parser.add_argument("photos", nargs="+", type=Path, metavar="QUERY", help="query photos")
    options.data_options(parser)
    options.pack_options(parser)
    options.model_options(parser, several="scicevpr-t")
    options.precision_option(parser)
    options.storage_options(parser)
    parser.add_argument(
        "-k", "--top", type=options.positive, default=5, metavar="K", help="matches per query (default: 5)"
    )
    options.radius_option(parser)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the matches as JSON")
    parser.set_defaults(handler="basic.search")


def _describe(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("describe", help="write the descriptors of photos to a file")
    parser.add_argument("photos", nargs="+", type=Path, metavar="PHOTO_OR_FOLDER", help="photos, or folders of photos")
    parser.add_argument(
        "--output", type=Path, required=True, metavar="FILE",
        help=".safetensors: float16 with names and protocol; .npy: float32, with names and protocol in FILE.json",
    )  # fmt: skip
    options.model_options(parser, several=None)
    options.precision_option(parser)
    options.damage_option(parser)
    options.storage_options(parser)
    parser.set_defaults(handler="basic.describe")


def _verify(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "verify", help="check this installation against a folder of reference vectors (exit code 1 on a miss)"
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="for instance tests/golden")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="check only these files (names without .npz)")
    options.machine_options(parser)
    parser.set_defaults(handler="basic.verify")
