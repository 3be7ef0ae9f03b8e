"""weights list, get, info, push: what can be asked for."""

from __future__ import annotations

import argparse
from pathlib import Path

SOURCE_HELP = (
    "a path, https://… (#sha256=HEX to check it), a Hub repository org/name or org/name@revision, "
    "hf:org/name/path/in/repo, or a name of `weights list`"
)


def add(commands: argparse._SubParsersAction) -> None:
    """Add the subcommand."""
    parser = commands.add_parser("weights", help="known weights: list, download, look at, publish")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")

    listing = actions.add_parser("list", help="known sources of weights, and which are on this computer")
    listing.set_defaults(handler="weights.show_list")

    get = actions.add_parser("get", help="download weights, check them, and print the file's path")
    get.add_argument("source", metavar="SOURCE", help=SOURCE_HELP)
    get.add_argument("--variant", metavar="NAME", help="also check that the file fits this variant")
    get.add_argument("--local-files-only", action="store_true", help="do not use the network")
    _hub_option(get)
    get.set_defaults(handler="weights.get")

    info = actions.add_parser("info", help="what is known about weights, without downloading them")
    info.add_argument("source", metavar="SOURCE", help=SOURCE_HELP)
    info.set_defaults(handler="weights.info")

    push = actions.add_parser("push", help="upload a model with configuration and model card to a Hub repository")
    push.add_argument("model", metavar="MODEL_OR_FILE", help="a variant whose weights are here, or a weights file")
    push.add_argument("repository", metavar="REPO", help="org/name; made if it is missing")
    push.add_argument("--variant", metavar="NAME", help="which variant a published checkpoint is for")
    push.add_argument("--private", action="store_true", help="make the repository private if it is made")
    push.add_argument("--results", type=Path, metavar="FILE", help="scores for the card, from `evaluate --json FILE`")
    push.add_argument("--licence", metavar="ID", help="the weights' licence for the card, such as mit")
    _hub_option(push)
    push.set_defaults(handler="weights.push")


def _hub_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--endpoint", metavar="URL", help="another Hub than huggingface.co (default: HF_ENDPOINT)")
