"""Options that several subcommands share."""

from __future__ import annotations

import argparse
from pathlib import Path


def data_options(parser: argparse.ArgumentParser) -> None:
    """Which data set, or which folder of database photos."""
    parser.add_argument(
        "--dataset", type=Path, metavar="DIR",
        help="a folder with images/SPLIT/database and images/SPLIT/queries (default: the bundled city)",
    )  # fmt: skip
    parser.add_argument("--split", default="test", help="train, val or test (default: test)")
    parser.add_argument("--query-folder", default="queries", metavar="NAME", help="such as queries_night in SVOX")
    parser.add_argument("--database", "--database_folder", type=Path, metavar="DIR", help="any folder of photos")


def query_options(parser: argparse.ArgumentParser) -> None:
    """Which folder of queries, and whether their positions count."""
    parser.add_argument("--queries", "--queries_folder", type=Path, metavar="DIR", help="any folder of query photos")
    parser.add_argument(
        "--no-labels", "--no_labels", action="store_true", help="ignore positions: predictions only, no scores"
    )


def model_options(parser: argparse.ArgumentParser, several: str | None, grouping: bool = True) -> None:
    """Which models, and how they describe photos; ``several`` names the default where more than one may be given."""
    if several:
        parser.add_argument(
            "--model", action="append", metavar="NAME_OR_PATH",
            help=f"a variant or a weights file; may be repeated (default: {several})",
        )  # fmt: skip
    else:
        parser.add_argument("--model", default="scicevpr-t", metavar="NAME_OR_PATH", help="default: scicevpr-t")
    parser.add_argument("--variant", metavar="NAME", help="which variant a published checkpoint is for")
    parser.add_argument(
        "--allow-untrained", action="store_true", help="accept a variant without weights (random ones, for trials)"
    )
    if grouping:
        parser.add_argument(
            "--grouping", metavar="GROUPING",
            help="which photos share a batch: alone, or sequential:16 (default: sequential:16 for the CricaVPR models, "
            "whose descriptors depend on it)",
        )  # fmt: skip
    parser.add_argument(
        "--batch-size", "--batch_size", "--infer_batch_size", type=positive, default=16, metavar="B",
        help="photos at once where that cannot change the result (default: 16)",
    )  # fmt: skip
    parser.add_argument(
        "--resize", "--image_size", type=positive, nargs=2, metavar=("ROWS", "COLUMNS"), help="default: the variant's"
    )
    parser.add_argument(
        "--antialias", action=argparse.BooleanOptionalAction, default=None, help="default: the variant's"
    )
    machine_options(parser)
    parser.add_argument("--seed", type=int, default=0, help="for random weights and the choice of PCA photos")


def machine_options(parser: argparse.ArgumentParser) -> None:
    """Device, precision, threads."""
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, mps ... (default: cpu)")
    parser.add_argument(
        "--dtype", choices=("float32", "float64", "bfloat16", "float16"), default="float32", help="default: float32"
    )
    parser.add_argument("--threads", type=positive, metavar="N", help="processor threads (default: as torch decides)")


def radius_option(parser: argparse.ArgumentParser) -> None:
    """What counts as right."""
    parser.add_argument(
        "--radius", "--positive_dist_threshold", "--val_positive_dist_threshold", type=float,
        metavar="METRES", help="a match this near is right (default: the data set's own rule, 25 for most)",
    )  # fmt: skip


def positive(text: str) -> int:
    """A whole number of at least 1, for argparse."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return value
