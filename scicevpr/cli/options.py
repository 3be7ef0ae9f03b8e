"""Options that several commands share."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def positive(text: str) -> int:
    """A whole number of at least 1, for argparse."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return value


def add_actions(commands: argparse._SubParsersAction, name: str, help: str, **words: str) -> argparse._SubParsersAction:
    """A command that has subcommands of its own."""
    parser = commands.add_parser(name, help=help, **words)
    return parser.add_subparsers(dest="action", required=True, metavar="ACTION")


# ---- data ------------------------------------------------------------------------------------------------------------


def data_options(parser: argparse.ArgumentParser) -> None:
    """Which data set, or which folder of database photos."""
    add = parser.add_argument
    add(
        "--dataset",
        type=Path,
        metavar="DIR",
        help="a data set folder, such as one with images/SPLIT/database and images/SPLIT/queries (default: the bundled "
        "city); `scicevpr datasets check DIR` says what it is",
    )
    add(
        "--eval_datasets_folder",
        "--eval-datasets-folder",
        type=Path,
        metavar="DIR",
        help="with --eval_dataset_name: --dataset DIR/NAME (default: the environment variable DATASETS_FOLDER)",
    )
    add("--eval_dataset_name", "--eval-dataset-name", metavar="NAME", help="such as pitts30k")
    layout_options(parser)
    add("--database", "--database_folder", type=Path, metavar="DIR", help="any folder of photos")


def layout_options(parser: argparse.ArgumentParser) -> None:
    """How a data set folder is read."""
    add = parser.add_argument
    add("--split", default="test", help="train, val or test (default: test)")
    add(
        "--query-folder",
        default="queries",
        metavar="NAME",
        help="such as queries_night in SVOX, or all that fit a pattern: 'queries_*'; for MSLS full or a subtask",
    )
    add("--layout", metavar="NAME", help="utm-tree, msls, gt-npz, vpr-bench or npy (default: as the folder looks)")
    add("--benchmark", metavar="KEY", help="which published set this is (default: by name; `scicevpr datasets list`)")
    add("--image-root", type=Path, metavar="DIR", help="where the paths of .npy photo lists start")


def query_options(parser: argparse.ArgumentParser) -> None:
    """Which folder of queries, and what is right."""
    parser.add_argument("--queries", "--queries_folder", type=Path, metavar="DIR", help="any folder of query photos")
    ground_truth_options(parser)


def ground_truth_options(parser: argparse.ArgumentParser) -> None:
    """What is right, where the data set itself should not say it, and which queries count."""
    add = parser.add_argument
    add("--no-labels", "--no_labels", action="store_true", help="ignore positions: predictions only, no scores")
    add(
        "--ground-truth",
        type=Path,
        metavar="FILE",
        help="right answers: .csv (query,database), .json, .npy (database rows of each query) or GT.npz",
    )
    add(
        "--frames",
        type=int,
        metavar="N",
        help="right are the database frames whose number (in the name) is the query's, N more or less",
    )
    add("--same-name", action="store_true", help="photos of the same name show the same place")
    add("--positions", type=Path, metavar="CSV", help="positions: name,east,north or name,latitude,longitude")
    add("--query-list", type=Path, metavar="FILE", help="use only these queries: names in a text file, or .npy")


def pack_options(parser: argparse.ArgumentParser) -> None:
    """A pack in place of a data set."""
    add = parser.add_argument
    add(
        "--pack",
        metavar="PATH_OR_REPO",
        help="a pack folder, or a Hub repository that was pulled, instead of --dataset",
    )
    add(
        "--photos",
        dest="pack_photos",
        type=Path,
        metavar="DIR",
        help="for a pack: where your own copy of the data set's photos is",
    )


def damage_option(parser: argparse.ArgumentParser) -> None:
    """What is done about photos that cannot be read."""
    parser.add_argument(
        "--leave-out-damaged",
        action="store_true",
        help="go on without the photos that cannot be read (default: name them all before the work, and stop)",
    )


# ---- models ----------------------------------------------------------------------------------------------------------


def model_options(parser: argparse.ArgumentParser, several: str | None, grouping: bool = True) -> None:
    """Which models, and how they describe photos; ``several`` names the default where more than one may be given."""
    add = parser.add_argument
    add(
        "--model",
        action="append" if several else None,
        metavar="NAME_OR_SOURCE",
        help="a variant, a source of weights, or a model of other people (megaloc, hub:OWNER/REPO:ENTRY)"
        + (f"; may be repeated (default: {several})" if several else " (default: scicevpr-t)"),
    )
    add(
        "--weights",
        action="append",
        metavar="SOURCE",
        help="weights for the --model before it: a path, https://..., a Hub repository org/name, or a name of "
        "`scicevpr weights list`",
    )
    add("--variant", metavar="NAME", help="which variant a published checkpoint is for")
    add("--allow-untrained", action="store_true", help="accept a variant without weights (random ones, for trials)")
    add("--trust-remote-code", action="store_true", help="let a model of other people run its own code here")
    if grouping:
        add(
            "--grouping",
            metavar="GROUPING",
            help="which photos share a batch: alone, or sequential:16 (default for the CricaVPR models, whose "
            "descriptors depend on it: in file order as published, 8 on the Pittsburgh sets, else 16)",
        )
    else:
        parser.set_defaults(grouping=None)
    add(
        "--batch-size",
        "--batch_size",
        type=positive,
        default=16,
        metavar="B",
        help="photos at once where that cannot change the result (default: 16)",
    )
    add(
        "--infer-batch-size",
        "--infer_batch_size",
        action=_InferBatchSize,
        type=positive,
        metavar="B",
        help="as the published codes: --batch-size B, and for models that feel their batch --grouping sequential:B "
        "(CricaVPR on the Pittsburgh sets: half of it, as its code does)",
    )
    add(
        "--resize",
        "--image-size",
        "--image_size",
        type=positive,
        nargs="+",
        metavar="PIXELS",
        help="rows and columns, or one number for both (default: the variant's)",
    )
    add("--antialias", action=argparse.BooleanOptionalAction, default=None, help="default: the variant's")
    machine_options(parser)
    add("--seed", type=int, default=0, help="for random weights and the choice of PCA photos")


class _InferBatchSize(argparse.Action):
    """One number for the photos at once and for the batches that a cross-image model sees."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option: str | None = None
    ) -> None:
        namespace.infer_batch_size = namespace.batch_size = values


def query_grouping_option(parser: argparse.ArgumentParser, more: str = "") -> None:
    """Which queries share a batch, where they are not grouped as the database is."""
    parser.add_argument("--query-grouping", metavar="GROUPING", help=f"as --grouping, for the queries alone{more}")


def machine_options(parser: argparse.ArgumentParser) -> None:
    """Device, number format, threads."""
    add = parser.add_argument
    add(
        "--device",
        default="auto",
        help="cpu, cuda, cuda:1, mps ...; auto, the default: a GPU where there is one (cuda, then mps), else cpu",
    )
    add("--dtype", choices=("float32", "float64", "bfloat16", "float16"), default="float32", help="default: float32")
    add("--threads", type=positive, metavar="N", help="processor threads (default: as torch decides)")


def precision_option(parser: argparse.ArgumentParser) -> None:
    """How a float32 model is run."""
    parser.add_argument(
        "--precision",
        choices=("auto", "float32", "bfloat16", "int8", "float16"),
        help="run the fused copy of a float32 model, in this precision; auto: the fastest whose Recall@1 was measured "
        "to be unchanged with these weights (`scicevpr precision`). Default: as --dtype says, not fused",
    )


def storage_options(parser: argparse.ArgumentParser) -> None:
    """How photos are read, and where many descriptors lie in the meantime."""
    add = parser.add_argument
    add(
        "--num-workers",
        "--num_workers",
        type=int,
        default=2,
        metavar="N",
        help="threads that decode photos ahead of the model; the result does not depend on it (default: 2)",
    )
    add(
        "--efficient-ram-testing",
        "--efficient_ram_testing",
        action="store_true",
        help="keep descriptors in a temporary file, not in memory (same result)",
    )
    add(
        "--memory-limit",
        type=positive,
        default=512,
        metavar="MIB",
        help="descriptors beyond this go to a temporary file by themselves (default: 512)",
    )
    add(
        "--storage",
        type=Path,
        metavar="DIR",
        help="folder for that file, on a real disk (default: the system's temporary folder)",
    )


def pca_options(parser: argparse.ArgumentParser) -> None:
    """Which PCA, fitted where."""
    add = parser.add_argument
    add("--pca-dim", "--pca_dim", type=positive, metavar="K", help="reduce descriptors to K dimensions")
    add(
        "--pca-folder",
        "--pca_dataset_folder",
        type=Path,
        metavar="DIR",
        help="photos on which the PCA is fitted, once: the fit is kept in the user's cache",
    )
    add("--pca-file", type=Path, metavar="FILE", help="a fitted PCA; where it is missing, the fit is written there")
    add(
        "--pca-solver",
        choices=("auto", "exact", "randomized"),
        default="auto",
        help="default: auto, exact where that is cheap; the randomized one depends on --seed",
    )


# ---- search and scores -----------------------------------------------------------------------------------------------


def matches_options(parser: argparse.ArgumentParser) -> None:
    """How many matches, and where they are written."""
    parser.add_argument("-k", "--top", type=positive, default=5, metavar="K", help="matches per query (default: 5)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the matches as JSON")


def radius_option(parser: argparse.ArgumentParser) -> None:
    """What counts as right."""
    parser.add_argument(
        "--radius",
        "--positive_dist_threshold",
        "--val_positive_dist_threshold",
        type=float,
        metavar="METRES",
        help="a match this near is right (default: the data set's own rule, 25 for most)",
    )


RECALL_VALUES = (1, 5, 10, 100)
"""As in Python and in the page (`scicevpr.evaluation.benchmark.DEFAULT_NS`, which is too heavy to import here)."""


def scoring_options(parser: argparse.ArgumentParser) -> None:
    """How far to look, and what is right."""
    add = parser.add_argument
    add(
        "--recall-values",
        "--recall_values",
        type=positive,
        nargs="+",
        default=list(RECALL_VALUES),
        metavar="N",
        help="default: 1 5 10 100; the largest is also how far MRR looks",
    )
    radius_option(parser)
    add(
        "--utm-rounding",
        choices=("float64", "published"),
        default="float64",
        help="published: round positions to float32 first, as the published SciceVPR evaluation does",
    )


def intervals_option(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """What the bootstrap of confidence intervals draws."""
    parser.add_argument(
        "--intervals-by",
        choices=("place", "query"),
        default="place",
        help="what the bootstrap draws: places, with all their queries together (default), or single queries",
    )


def orders_options(parser: argparse.ArgumentParser | argparse._ArgumentGroup, seeds: int) -> None:
    """Batch sizes and orders of the queries, for Figure 2 of the paper."""
    add = parser.add_argument
    add("--sizes", type=positive, nargs="+", metavar="B", help="batch sizes (default: 1 2 4 8 16 32 64)")
    add("--orders", nargs="+", choices=("file", "shuffled", "place"), help="of the queries (default: all three)")
    add("--seeds", type=positive, default=seeds, metavar="N", help=f"random orders (default: {seeds})")
