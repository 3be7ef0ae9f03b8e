"""What is written when results are there: options that evaluate and score share."""

from __future__ import annotations

import argparse
from pathlib import Path

from scicevpr.parsers import options


def output_options(parser: argparse.ArgumentParser, *, descriptors: bool = True) -> None:
    """Files of results, and how their intervals are made. descriptors: may descriptors be saved too?"""
    group = parser.add_argument_group("results")
    group.add_argument("--json", type=Path, metavar="FILE", help="write scores, protocol and predictions as JSON")
    group.add_argument(
        "--csv", type=Path, metavar="FILE", help="write the scores as CSV, one line per model, condition, metric and N"
    )
    group.add_argument("--latex", type=Path, metavar="FILE", help="write a LaTeX table (package booktabs)")
    group.add_argument("--markdown", type=Path, metavar="FILE", help="write a Markdown table")
    group.add_argument(
        "--per-condition", action="store_true", help="one row per condition in the LaTeX and Markdown tables"
    )
    group.add_argument("--save-predictions", type=Path, metavar="DIR", help="write one CSV of predictions per model")
    group.add_argument(
        "--num_preds_to_save", "--num-preds-to-save", type=options.positive, metavar="N",
        help="write a picture of every query with its N best answers, and their paths as text",
    )  # fmt: skip
    group.add_argument(
        "--save_only_wrong_preds", "--save-only-wrong-preds", action="store_true",
        help="of those, only queries whose first answer is wrong",
    )  # fmt: skip
    if descriptors:
        group.add_argument(
            "--save_descriptors", "--save-descriptors", action="store_true",
            help="write descriptors as .npy, to be scored again by `scicevpr score`",
        )  # fmt: skip
    else:
        parser.set_defaults(save_descriptors=False)
    group.add_argument(
        "--save_dir", "--save-dir", type=Path, metavar="DIR",
        help="where scores, pictures and descriptors go, into a new folder named after the time (default: logs)",
    )  # fmt: skip
    group.add_argument("--log_dir", "--log-dir", metavar="NAME", help="a folder in between: logs/NAME/TIME")
    group.add_argument(
        "--intervals-by", choices=("place", "query"), default="place",
        help="what the bootstrap draws: places, with all their queries together (default), or single queries",
    )  # fmt: skip
    group.add_argument("--no-intervals", action="store_true", help="no confidence intervals")
