"""precision: what can be asked for."""

from __future__ import annotations

import argparse
from pathlib import Path

from scicevpr.parsers import options


def add(commands: argparse._SubParsersAction) -> None:
    """Add the subcommand."""
    parser = commands.add_parser(
        "precision",
        help="what a faster precision costs: descriptors, Recall@1 and time against float32",
        description="Describe a labelled data set (the bundled city unless told otherwise) in each precision that this "
        "machine has, and compare with float32: how far descriptors move, how Recall@1 changes, what a photo takes.",
    )
    options.data_options(parser)
    options.query_options(parser)
    options.model_options(parser, several="scicevpr-t", grouping=False)
    parser.add_argument(
        "--modes", nargs="+", choices=("bfloat16", "int8", "float16"), metavar="MODE",
        help="bfloat16, int8, float16 (default: all that this machine has)",
    )  # fmt: skip
    parser.add_argument(
        "--rounds", type=options.positive, default=7, metavar="N", help="of the timing, modes in turn (default: 7)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results, as `--precision auto` reads them")
    parser.set_defaults(handler="precision.precision")
