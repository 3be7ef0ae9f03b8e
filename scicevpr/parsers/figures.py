"""figure: what can be asked for."""

from __future__ import annotations

import argparse
from pathlib import Path

from scicevpr.parsers import options

NAMES = ("figure-1", "figure-2", "figure-4", "fusion", "attention", "strip", "recall", "conditions", "table")


def add(commands: argparse._SubParsersAction) -> None:
    """Add the subcommand."""
    parser = commands.add_parser(
        "figure",
        help="publication figures: vector PDF and SVG, PNG, CSV of the plotted numbers, LaTeX, caption",
        description="Draw a figure for paper, the same bytes as the app's Figures tab with the same choices.",
    )
    parser.add_argument(
        "name", choices=NAMES, metavar="NAME",
        help="figure-1 (queries alone and in pairs), figure-2 (Recall@1 against batch size and order), figure-4 (the "
        "14 regions of a pair), fusion, attention, strip (a query's best answers), recall, conditions, table",
    )  # fmt: skip
    parser.add_argument(
        "--output", type=Path, nargs="+", required=True, metavar="FILE",
        help="files to write, by their endings: .pdf .svg .png .csv .tex (table only) .txt (the caption)",
    )  # fmt: skip
    parser.add_argument("--csv", type=Path, metavar="FILE", help="also the plotted numbers")
    parser.add_argument("--latex", type=Path, metavar="FILE", help="also the table for LaTeX (figure table only)")
    parser.add_argument("--caption", type=Path, metavar="FILE", help="also the caption with the whole protocol")
    _style(parser.add_argument_group("looks"))
    _content(parser.add_argument_group("content"))
    options.data_options(parser)
    options.query_options(parser)
    options.model_options(parser, several="those that the figure compares", grouping=False)
    parser.set_defaults(grouping=None, handler="figures.figure")


def _style(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--width", choices=("single", "double"), default="double", help="3.3 or 6.9 inches (default: double)"
    )
    group.add_argument("--font-size", type=float, default=8.0, metavar="POINTS", help="5 to 14 (default: 8)")
    group.add_argument(
        "--palette", choices=("colour", "grey"), default="colour", help="colour (safe for colour-blind people) or grey"
    )
    group.add_argument("--no-letters", action="store_true", help="no panel letters")
    group.add_argument(
        "--label", action="append", default=[], metavar="MODEL=NAME", help="print NAME for a model; may be repeated"
    )
    group.add_argument("--dpi", type=int, default=300, help="of photos and PNG files (default: 300)")
    group.add_argument(
        "--panels", nargs="+", default=[], metavar="KEY",
        help="only these: recall, changed (figure-2); contribution, fused, mixers (fusion); attention, rewriting "
        "(attention); all, conditions (table)",
    )  # fmt: skip


def _content(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--photo", metavar="FILE_OR_NAME",
        help="figure-4, fusion, attention, strip: a photo, or a name or row of the query list (default: the first)",
    )  # fmt: skip
    group.add_argument("--match", type=Path, metavar="PHOTO", help="figure-4: compare with this photo (default: the "
                       "first answer of the first model)")  # fmt: skip
    group.add_argument("--top", type=options.positive, default=5, metavar="K", help="strip: answers (default: 5)")
    group.add_argument(
        "--company",
        type=options.positive,
        default=7,
        metavar="N",
        help="attention: photos beside the query (default: 7)",
    )
    group.add_argument("--pairs", type=options.positive, default=2, metavar="N", help="figure-1: pairs (default: 2)")
    group.add_argument("--sizes", type=options.positive, nargs="+", metavar="B", help="figure-2: 1 2 4 8 16 32 64")
    group.add_argument(
        "--orders", nargs="+", choices=("file", "shuffled", "place"), help="figure-2 (default: all three)"
    )
    group.add_argument(
        "--seeds", type=options.positive, default=10, metavar="N", help="figure-2: random orders (default: 10)"
    )
    group.add_argument(
        "--results", type=Path, nargs="+", metavar="JSON",
        help="recall, conditions, table: files of `scicevpr evaluate --json`",
    )  # fmt: skip
    group.add_argument("--n", type=options.positive, metavar="N", help="conditions: Recall@N (default: the smallest N)")
