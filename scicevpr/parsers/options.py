"""Options that several subcommands share."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def data_options(parser: argparse.ArgumentParser) -> None:
    """Which data set, or which folder of database photos."""
    parser.add_argument(
        "--dataset", type=Path, metavar="DIR",
        help="a data set folder, such as one with images/SPLIT/database and images/SPLIT/queries (default: the bundled "
        "city); `scicevpr datasets check DIR` says what it is",
    )  # fmt: skip
    parser.add_argument(
        "--eval_datasets_folder", "--eval-datasets-folder", type=Path, metavar="DIR",
        help="with --eval_dataset_name: --dataset DIR/NAME (default: the environment variable DATASETS_FOLDER)",
    )  # fmt: skip
    parser.add_argument("--eval_dataset_name", "--eval-dataset-name", metavar="NAME", help="such as pitts30k")
    layout_options(parser)
    parser.add_argument("--database", "--database_folder", type=Path, metavar="DIR", help="any folder of photos")


def layout_options(parser: argparse.ArgumentParser) -> None:
    """How a data set folder is read."""
    parser.add_argument("--split", default="test", help="train, val or test (default: test)")
    parser.add_argument(
        "--query-folder", default="queries", metavar="NAME",
        help="such as queries_night in SVOX, or all that fit a pattern: 'queries_*'; for MSLS full or a subtask",
    )  # fmt: skip
    parser.add_argument(
        "--layout", metavar="NAME", help="utm-tree, msls, vpr-bench or npy (default: as the folder looks)"
    )
    parser.add_argument(
        "--benchmark", metavar="KEY", help="which published set this is (default: by name; `scicevpr datasets list`)"
    )
    parser.add_argument("--image-root", type=Path, metavar="DIR", help="where the paths of .npy photo lists start")


def query_options(parser: argparse.ArgumentParser) -> None:
    """Which folder of queries, and what is right."""
    parser.add_argument("--queries", "--queries_folder", type=Path, metavar="DIR", help="any folder of query photos")
    answer_options(parser)


def answer_options(parser: argparse.ArgumentParser) -> None:
    """What is right, where the data set itself should not say it, and which queries count."""
    parser.add_argument(
        "--no-labels", "--no_labels", action="store_true", help="ignore positions: predictions only, no scores"
    )
    parser.add_argument(
        "--ground-truth", type=Path, metavar="FILE",
        help="right answers: .csv (query,database), .json or .npy (database rows of each query)",
    )  # fmt: skip
    parser.add_argument(
        "--frames",
        type=int,
        metavar="N",
        help="right are the database frames whose number (in the name) is the query's, N more or less",
    )
    parser.add_argument("--same-name", action="store_true", help="photos of the same name show the same place")
    parser.add_argument(
        "--positions", type=Path, metavar="CSV", help="positions: name,east,north or name,latitude,longitude"
    )
    parser.add_argument(
        "--query-list", type=Path, metavar="FILE", help="use only these queries: names in a text file, or .npy"
    )


def model_options(parser: argparse.ArgumentParser, several: str | None, grouping: bool = True) -> None:
    """Which models, and how they describe photos; ``several`` names the default where more than one may be given."""
    parser.add_argument(
        "--model", action="append" if several else None, metavar="NAME_OR_SOURCE",
        help="a variant, a source of weights, or a model of other people (megaloc, hub:OWNER/REPO:ENTRY)"
        + (f"; may be repeated (default: {several})" if several else " (default: scicevpr-t)"),
    )  # fmt: skip
    parser.add_argument(
        "--weights", action="append", metavar="SOURCE",
        help="weights for the --model before it: a path, https://..., a Hub repository org/name, or a name of "
        "`scicevpr weights list`",
    )  # fmt: skip
    parser.add_argument("--variant", metavar="NAME", help="which variant a published checkpoint is for")
    parser.add_argument(
        "--allow-untrained", action="store_true", help="accept a variant without weights (random ones, for trials)"
    )
    parser.add_argument(
        "--trust-remote-code", action="store_true", help="let a model of other people run its own code here"
    )
    if grouping:
        parser.add_argument(
            "--grouping", metavar="GROUPING",
            help="which photos share a batch: alone, or sequential:16 (default for the CricaVPR models, whose "
            "descriptors depend on it: in file order as published, 8 on the Pittsburgh sets, else 16)",
        )  # fmt: skip
    parser.add_argument(
        "--batch-size", "--batch_size", type=positive, default=16, metavar="B",
        help="photos at once where that cannot change the result (default: 16)",
    )  # fmt: skip
    parser.add_argument(
        "--infer-batch-size", "--infer_batch_size", action=_InferBatchSize, type=positive, metavar="B",
        help="as the published codes: --batch-size B, and for models that feel their batch --grouping sequential:B "
        "(CricaVPR on the Pittsburgh sets: half of it, as its code does)",
    )  # fmt: skip
    parser.add_argument(
        "--resize", "--image-size", "--image_size", type=positive, nargs="+", metavar="PIXELS",
        help="rows and columns, or one number for both (default: the variant's)",
    )  # fmt: skip
    parser.add_argument(
        "--antialias", action=argparse.BooleanOptionalAction, default=None, help="default: the variant's"
    )
    machine_options(parser)
    parser.add_argument("--seed", type=int, default=0, help="for random weights and the choice of PCA photos")


class _InferBatchSize(argparse.Action):
    """One number for the photos at once and for the batches that a cross-image model sees."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option: str | None = None
    ) -> None:
        namespace.infer_batch_size = namespace.batch_size = values


def damage_option(parser: argparse.ArgumentParser) -> None:
    """What is done about photos that cannot be read."""
    parser.add_argument(
        "--leave-out-damaged", action="store_true",
        help="go on without the photos that cannot be read (default: name them all before the work, and stop)",
    )  # fmt: skip


def storage_options(parser: argparse.ArgumentParser) -> None:
    """How photos are read, and where many descriptors lie in the meantime."""
    parser.add_argument(
        "--num-workers", "--num_workers", type=int, default=2, metavar="N",
        help="threads that decode photos ahead of the model; the result does not depend on it (default: 2)",
    )  # fmt: skip
    parser.add_argument(
        "--efficient-ram-testing", "--efficient_ram_testing", action="store_true",
        help="keep descriptors in a temporary file, not in memory (same result)",
    )  # fmt: skip
    parser.add_argument(
        "--memory-limit", type=positive, default=512, metavar="MIB",
        help="descriptors beyond this go to a temporary file by themselves (default: 512)",
    )  # fmt: skip
    parser.add_argument(
        "--storage", type=Path, metavar="DIR",
        help="folder for that file, on a real disk (default: the system's temporary folder)",
    )  # fmt: skip


def pca_options(parser: argparse.ArgumentParser) -> None:
    """Which PCA, fitted where."""
    parser.add_argument("--pca-dim", "--pca_dim", type=positive, metavar="K", help="reduce descriptors to K values")
    parser.add_argument(
        "--pca-folder", "--pca_dataset_folder", type=Path, metavar="DIR",
        help="photos on which the PCA is fitted, once: the fit is kept in the user's cache",
    )  # fmt: skip
    parser.add_argument(
        "--pca-file", type=Path, metavar="FILE", help="a fitted PCA; where it is missing, the fit is written there"
    )
    parser.add_argument(
        "--pca-solver", choices=("auto", "exact", "randomized"), default="auto",
        help="default: auto, exact where that is cheap; the randomized one depends on --seed",
    )  # fmt: skip


def machine_options(parser: argparse.ArgumentParser) -> None:
    """Device, precision, threads."""
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, mps ... (default: cpu)")
    parser.add_argument(
        "--dtype", choices=("float32", "float64", "bfloat16", "float16"), default="float32", help="default: float32"
    )
    parser.add_argument("--threads", type=positive, metavar="N", help="processor threads (default: as torch decides)")


def precision_option(parser: argparse.ArgumentParser) -> None:
    """How a float32 model is run."""
    parser.add_argument(
        "--precision", choices=("auto", "float32", "bfloat16", "int8", "float16"),
        help="run a float32 model folded, in this precision; auto: the fastest whose Recall@1 was measured to be "
        "unchanged with these weights (`scicevpr precision`). Default: as --dtype says, not folded",
    )  # fmt: skip


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


def pack_options(parser: argparse.ArgumentParser) -> None:
    """A pack in place of a data set; see commands.data.pack_or_dataset."""
    parser.add_argument(
        "--pack",
        metavar="PATH_OR_REPO",
        help="a pack folder, or a Hub repository that was pulled, instead of --dataset",
    )
    parser.add_argument(
        "--photos",
        dest="pack_photos",
        type=Path,
        metavar="DIR",
        help="for a pack: where your own copy of the data set's photos is",
    )
