"""The `scicevpr` command: what can be asked for. What is done about it stands in scicevpr.commands.

Only the parser is built here and nothing heavy is imported, so that `scicevpr --help` answers at once.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from scicevpr import __version__
from scicevpr.errors import SciceVPRError

EXPERIMENTS = ("batches", "photos", "database", "last", "company", "worst", "pairs")
EXIT_MISS = 1
EXIT_ERROR = 2
EXIT_STOPPED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line. Returns the exit code: 0, 1 (verify found a miss), 2 (an error), 130 (stopped)."""
    arguments = build_parser().parse_args(argv)
    try:
        return _run(arguments)
    except SciceVPRError as error:
        return _fail(error)
    except OSError as error:
        if isinstance(error, BrokenPipeError):  # the reader of our output has closed it, as `head` does
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        return _fail(error)
    except KeyboardInterrupt:
        print("scicevpr: stopped.", file=sys.stderr)
        return EXIT_STOPPED


def _run(arguments: argparse.Namespace) -> int:
    if arguments.command in ("explain", "stability"):
        from scicevpr import commands_inside

        return getattr(commands_inside, arguments.command)(arguments)
    from scicevpr import commands

    return getattr(commands, arguments.command)(arguments)


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = argparse.ArgumentParser(
        prog="scicevpr",
        description="Visual place recognition with SciceVPR and CricaVPR: describe, search, evaluate, explain.",
    )
    parser.add_argument("--version", action="version", version=f"scicevpr {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _evaluate(commands)
    _search(commands)
    _describe(commands)
    _explain(commands)
    _stability(commands)
    _verify(commands)
    commands.add_parser("models", help="list the model variants and which weights are here")
    return parser


def _evaluate(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "evaluate",
        help="Recall@N, MRR and F1@N of models on a data set (the bundled city unless told otherwise)",
        description="Describe database and queries, search exactly, and score per condition.",
    )
    _data_options(parser)
    _query_options(parser)
    _model_options(parser, several="scicevpr-t and cricavpr-t")
    parser.add_argument("--baselines", action="store_true", help="also measure HOG and a colour histogram")
    parser.add_argument("--query-grouping", metavar="GROUPING", help="as --grouping, for the queries alone")
    parser.add_argument(
        "--shuffle-queries", type=int, metavar="SEED", help="shuffle the queries: shows whether a model feels its batch"
    )
    parser.add_argument(
        "--recall-values", "--recall_values", type=_positive, nargs="+", default=[1, 5, 10], metavar="N",
        help="default: 1 5 10; the largest is also how far MRR looks",
    )  # fmt: skip
    _radius_option(parser)
    parser.add_argument(
        "--utm-rounding", choices=("float64", "published"), default="float64",
        help="published: round positions to float32 first, as the published SciceVPR evaluation does",
    )  # fmt: skip
    parser.add_argument("--pca-dim", "--pca_dim", type=_positive, metavar="K", help="reduce descriptors to K values")
    parser.add_argument(
        "--pca-folder", "--pca_dataset_folder", type=Path, metavar="DIR", help="photos on which the PCA is fitted"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write scores, protocol and predictions as JSON")
    parser.add_argument("--save-predictions", type=Path, metavar="DIR", help="write one CSV of predictions per model")


def _search(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("search", help="the database photos most similar to a photo")
    parser.add_argument("photos", nargs="+", type=Path, metavar="QUERY", help="query photos")
    _data_options(parser)
    _model_options(parser, several="scicevpr-t")
    parser.add_argument("-k", "--top", type=_positive, default=5, metavar="K", help="matches per query (default: 5)")
    _radius_option(parser)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the matches as JSON")


def _describe(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("describe", help="write the descriptors of photos to a file")
    parser.add_argument("photos", nargs="+", type=Path, metavar="PHOTO_OR_FOLDER", help="photos, or folders of photos")
    parser.add_argument(
        "--output", type=Path, required=True, metavar="FILE",
        help=".safetensors: float16 with names and protocol; .npy: float32, with names and protocol in FILE.json",
    )  # fmt: skip
    _model_options(parser, several=None)


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
    parser.add_argument("--rank", type=_positive, default=1, metavar="R", help="which match of the search (default: 1)")
    parser.add_argument(
        "--company", type=Path, nargs="+", default=[], metavar="PHOTO", help="photos that share the query's batch"
    )
    parser.add_argument(
        "--cell", type=_positive, nargs=2, default=(9, 9), metavar=("ROW", "COLUMN"),
        help="the marked cell of the token grid, from 1 (default: 9 9)",
    )  # fmt: skip
    parser.add_argument("--maps", nargs="+", metavar="KEY", help="only these maps, such as energy:fused (default: all)")
    _data_options(parser)
    _model_options(parser, several=None)


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
    parser.add_argument("--size", type=_positive, default=16, metavar="B", help="photos in a batch (default: 16)")
    parser.add_argument("--sizes", type=_positive, nargs="+", metavar="B", help="default: 1 2 4 8 16 32 64")
    parser.add_argument("--orders", nargs="+", choices=("file", "shuffled", "place"), help="default: all three")
    parser.add_argument("--seeds", type=_positive, default=5, metavar="N", help="shuffles or tries (default: 5)")
    parser.add_argument("--draws", type=_positive, default=100, metavar="N", help="random companies (default: 100)")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write the table")
    _radius_option(parser)
    _data_options(parser)
    _query_options(parser)
    _model_options(parser, several="scicevpr-t and cricavpr-t", grouping=False)
    parser.set_defaults(grouping=None)


def _verify(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "verify", help="check this installation against a folder of reference vectors (exit code 1 on a miss)"
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="for instance tests/golden")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="check only these files (names without .npz)")
    _machine_options(parser)


def _data_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--dataset", type=Path, metavar="DIR",
        help="a folder with images/SPLIT/database and images/SPLIT/queries (default: the bundled city)",
    )  # fmt: skip
    parser.add_argument("--split", default="test", help="train, val or test (default: test)")
    parser.add_argument("--query-folder", default="queries", metavar="NAME", help="such as queries_night in SVOX")
    parser.add_argument("--database", "--database_folder", type=Path, metavar="DIR", help="any folder of photos")


def _query_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--queries", "--queries_folder", type=Path, metavar="DIR", help="any folder of query photos")
    parser.add_argument(
        "--no-labels", "--no_labels", action="store_true", help="ignore positions: predictions only, no scores"
    )


def _model_options(parser: argparse.ArgumentParser, several: str | None, grouping: bool = True) -> None:
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
        "--batch-size", "--batch_size", "--infer_batch_size", type=_positive, default=16, metavar="B",
        help="photos at once where that cannot change the result (default: 16)",
    )  # fmt: skip
    parser.add_argument(
        "--resize", "--image_size", type=_positive, nargs=2, metavar=("ROWS", "COLUMNS"), help="default: the variant's"
    )
    parser.add_argument(
        "--antialias", action=argparse.BooleanOptionalAction, default=None, help="default: the variant's"
    )
    _machine_options(parser)
    parser.add_argument("--seed", type=int, default=0, help="for random weights and the choice of PCA photos")


def _machine_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, mps ... (default: cpu)")
    parser.add_argument(
        "--dtype", choices=("float32", "float64", "bfloat16", "float16"), default="float32", help="default: float32"
    )
    parser.add_argument("--threads", type=_positive, metavar="N", help="processor threads (default: as torch decides)")


def _radius_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--radius", "--positive_dist_threshold", "--val_positive_dist_threshold", type=float, default=25.0,
        metavar="METRES", help="a match this near is right (default: 25)",
    )  # fmt: skip


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return value


def _fail(error: Exception) -> int:
    print("scicevpr: error: " + " ".join(str(error).split()), file=sys.stderr)
    return EXIT_ERROR
