"""pack: what can be asked for."""

from __future__ import annotations

import argparse
from pathlib import Path

from scicevpr.parsers import options
from scicevpr.parsers.outputs import output_options
from scicevpr.parsers.scoring import scoring_options


def add(commands: argparse._SubParsersAction) -> None:
    """Add the subcommand."""
    parser = commands.add_parser(
        "pack",
        help="database packs: a described data set in one folder, to keep, to share, to open without describing again",
        description="A pack holds records, descriptors, perhaps a PCA and thumbnails, and a protocol card.",
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    _build(actions)
    _check(actions)
    _info(actions)
    _score(actions)
    listing = actions.add_parser("list", help="the packs on this computer")
    listing.set_defaults(handler="packs.show_list")
    _push(actions)
    _pull(actions)


def _build(actions: argparse._SubParsersAction) -> None:
    parser = actions.add_parser(
        "build", help="describe a data set and write a pack", description="Describe a data set and write a pack."
    )
    parser.add_argument("output", type=Path, metavar="OUT", help="folder to make")
    parser.add_argument("--title", default="", help="what to call the pack (default: the data set's name)")
    parser.add_argument("--licence", "--license", default="", metavar="NAME", help="of the pack, such as cc-by-4.0")
    photos = parser.add_mutually_exclusive_group()
    photos.add_argument(
        "--thumbnails", type=options.positive, nargs="?", const=320, metavar="PX",
        help="add small copies of the photos, at most PX pixels a side (320 if PX is left out)",
    )  # fmt: skip
    photos.add_argument(
        "--no-photos", action="store_true", help="no thumbnails (what happens anyway without --thumbnails)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a pack of that name")
    options.data_options(parser)
    options.query_options(parser)
    options.model_options(parser, several="scicevpr-t")
    parser.add_argument("--query-grouping", metavar="GROUPING", help="as --grouping, for the queries alone")
    options.precision_option(parser)
    options.pca_options(parser)
    parser.add_argument("--pca-only", action="store_true", help="leave the full descriptors out")
    options.damage_option(parser)
    options.storage_options(parser)
    _engine(parser)
    parser.set_defaults(handler="packs.build")


def _engine(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "many photos", "Photos are described in shards. After an interruption the same command describes the rest."
    )
    group.add_argument(
        "--engine", choices=("local", "ray"), default="local",
        help="who describes: this process, or a Ray cluster (same descriptors; needs the extra 'ray')",
    )  # fmt: skip
    group.add_argument(
        "--address", metavar="HOST:PORT",
        help="of a running Ray cluster, or auto; --engine ray without it starts one on this machine",
    )  # fmt: skip
    group.add_argument(
        "--workers", type=options.positive, metavar="N",
        help="models on the cluster, each with --threads (default 1) threads (default: as many as fit)",
    )  # fmt: skip
    group.add_argument(
        "--worker-gpus", type=float, default=0.0, metavar="N", help="GPUs of each worker; 0.5 lets two share one"
    )
    group.add_argument(
        "--shards", type=Path, metavar="DIR",
        help="where finished shards lie until the pack is made, on a real disk (default: OUT.shards)",
    )  # fmt: skip
    group.add_argument(
        "--shard-photos", type=options.positive, default=512, metavar="N",
        help="photos in a shard: what an interruption can cost (default: 512)",
    )  # fmt: skip


def _check(actions: argparse._SubParsersAction) -> None:
    parser = actions.add_parser("check", help="compare every file with its checksum (exit code 1 when one is wrong)")
    parser.add_argument("pack", metavar="PATH_OR_REPO", help="a pack folder, or a Hub repository that was pulled")
    parser.set_defaults(handler="packs.check")


def _info(actions: argparse._SubParsersAction) -> None:
    parser = actions.add_parser("info", help="what a pack holds")
    parser.add_argument("pack", metavar="PATH_OR_REPO", help="a pack folder, or a Hub repository that was pulled")
    parser.set_defaults(handler="packs.info")


def _score(actions: argparse._SubParsersAction) -> None:
    parser = actions.add_parser("score", help="score the descriptors in a pack, without a model and without photos")
    parser.add_argument("pack", metavar="PATH_OR_REPO", help="a pack folder, or a Hub repository that was pulled")
    scoring_options(parser)
    output_options(parser, descriptors=False)
    parser.set_defaults(handler="packs.score")


def _push(actions: argparse._SubParsersAction) -> None:
    parser = actions.add_parser("push", help="upload a pack to a data set repository of the Hugging Face Hub")
    parser.add_argument("pack", metavar="PATH", help="a pack folder")
    parser.add_argument("repository", metavar="ORG/NAME", help="made if it does not exist")
    parser.add_argument("--private", action="store_true", help="make the repository private")
    parser.add_argument(
        "--i-may-share-these-photos", action="store_true",
        help="you have the right to publish the photos whose thumbnails are in the pack",
    )  # fmt: skip
    parser.add_argument("--endpoint", metavar="URL", help="another Hub than $HF_ENDPOINT or huggingface.co")
    parser.set_defaults(handler="packs.push")


def _pull(actions: argparse._SubParsersAction) -> None:
    parser = actions.add_parser("pull", help="download a pack from the Hub, into the Hub's own cache")
    parser.add_argument("repository", metavar="ORG/NAME", help="may carry a revision: ORG/NAME@REVISION")
    parser.add_argument("--revision", metavar="NAME", help="a branch, tag or commit (default: main)")
    parser.add_argument("--local-files-only", action="store_true", help="never use the network")
    parser.add_argument("--endpoint", metavar="URL", help="another Hub than $HF_ENDPOINT or huggingface.co")
    parser.set_defaults(handler="packs.pull")
