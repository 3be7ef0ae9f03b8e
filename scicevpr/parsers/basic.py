"""evaluate, search, describe, verify, models: what can be asked for."""

from __future__ import annotations

import argparse
from pathlib import Path

from scicevpr.parsers import options


def add(commands: argparse._SubParsersAction) -> None:
    """Add the subcommands."""
    _evaluate(commands)
    _search(commands)
    _describe(commands)
    _verify(commands)
    listing = commands.add_parser("models", help="list the model variants and which weights are here")
    listing.set_defaults(handler="commands.models")


def _evaluate(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "evaluate",
        help="Recall@N, MRR and F1@N of models on a data set (the bundled city unless told otherwise)",
        description="Describe database and queries, search exactly, and score per condition.",
    )
    options.data_options(parser)
    options.query_options(parser)
    options.model_options(parser, several="scicevpr-t and cricavpr-t")
    parser.add_argument("--baselines", action="store_true", help="also measure HOG and a colour histogram")
    parser.add_argument("--query-grouping", metavar="GROUPING", help="as --grouping, for the queries alone")
    parser.add_argument(
        "--shuffle-queries", type=int, metavar="SEED", help="shuffle the queries: shows whether a model feels its batch"
    )
    parser.add_argument(
        "--recall-values", "--recall_values", type=options.positive, nargs="+", default=[1, 5, 10], metavar="N",
        help="default: 1 5 10; the largest is also how far MRR looks",
    )  # fmt: skip
    options.radius_option(parser)
    parser.add_argument(
        "--utm-rounding", choices=("float64", "published"), default="float64",
        help="published: round positions to float32 first, as the published SciceVPR evaluation does",
    )  # fmt: skip
    parser.add_argument(
        "--pca-dim", "--pca_dim", type=options.positive, metavar="K", help="reduce descriptors to K values"
    )
    parser.add_argument(
        "--pca-folder", "--pca_dataset_folder", type=Path, metavar="DIR", help="photos on which the PCA is fitted"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write scores, protocol and predictions as JSON")
    parser.add_argument("--save-predictions", type=Path, metavar="DIR", help="write one CSV of predictions per model")
    parser.set_defaults(handler="commands.evaluate")


def _search(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("search", help="the database photos most similar to a photo")
    parser.add_argument("photos", nargs="+", type=Path, metavar="QUERY", help="query photos")
    options.data_options(parser)
    options.model_options(parser, several="scicevpr-t")
    parser.add_argument(
        "-k", "--top", type=options.positive, default=5, metavar="K", help="matches per query (default: 5)"
    )
    options.radius_option(parser)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the matches as JSON")
    parser.set_defaults(handler="commands.search")


def _describe(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("describe", help="write the descriptors of photos to a file")
    parser.add_argument("photos", nargs="+", type=Path, metavar="PHOTO_OR_FOLDER", help="photos, or folders of photos")
    parser.add_argument(
        "--output", type=Path, required=True, metavar="FILE",
        help=".safetensors: float16 with names and protocol; .npy: float32, with names and protocol in FILE.json",
    )  # fmt: skip
    options.model_options(parser, several=None)
    parser.set_defaults(handler="commands.describe")


def _verify(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "verify", help="check this installation against a folder of reference vectors (exit code 1 on a miss)"
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="for instance tests/golden")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="check only these files (names without .npz)")
    options.machine_options(parser)
    parser.set_defaults(handler="commands.verify")
