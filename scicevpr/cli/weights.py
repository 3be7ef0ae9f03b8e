"""weights: known weights listed, downloaded, looked at, published."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from scicevpr.cli import options
from scicevpr.cli.outputs import make_table, open_console, plain_cell, print_line, show_download
from scicevpr.config import VARIANTS
from scicevpr.errors import UsageError, WeightsError

if TYPE_CHECKING:
    from scicevpr.hub.sources import Source

SOURCE = {
    "metavar": "SOURCE",
    "help": "a path, https://… (#sha256=HEX to check it), a Hub repository org/name or org/name@revision, "
    "hf:org/name/path/in/repo, or a name of `weights list`",
}
ENDPOINT = {"metavar": "URL", "help": "another Hub than huggingface.co (default: HF_ENDPOINT)"}


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Add the command."""
    actions = options.add_actions(commands, "weights", help="known weights: list, download, look at, publish")
    listing = actions.add_parser("list", help="known sources of weights, and which are on this computer")
    listing.set_defaults(run=show_list)

    parser = actions.add_parser("get", help="download weights, check them, and print the file's path")
    add = parser.add_argument
    add("source", **SOURCE)
    add("--variant", metavar="NAME", help="also check that the file fits this variant")
    add("--local-files-only", action="store_true", help="do not use the network")
    add("--endpoint", **ENDPOINT)
    parser.set_defaults(run=get)

    parser = actions.add_parser("info", help="what is known about weights, without downloading them")
    parser.add_argument("source", **SOURCE)
    parser.set_defaults(run=info)

    parser = actions.add_parser("push", help="upload a model with configuration and model card to a Hub repository")
    add = parser.add_argument
    add("model", metavar="MODEL_OR_FILE", help="a variant whose weights are here, or a weights file")
    add("repository", metavar="REPO", help="org/name; made if it is missing")
    add("--variant", metavar="NAME", help="which variant a published checkpoint is for")
    add("--private", action="store_true", help="make the repository private if it is made")
    add("--results", type=Path, metavar="FILE", help="scores for the card, from `evaluate --json FILE`")
    add("--licence", metavar="ID", help="the weights' licence for the card, such as mit")
    add("--endpoint", **ENDPOINT)
    parser.set_defaults(run=push)


def show_list(arguments: argparse.Namespace) -> int:
    """All known sources, whose they are, and where they lie."""
    from scicevpr.hub.download import find_cached
    from scicevpr.hub.load import VARIABLE, assigned_weights
    from scicevpr.hub.sources import NO_OFFICIAL_WEIGHTS, Source, registry

    table = make_table("name", "what", "licence", "whose", "here", "source")
    for entry in registry():
        here = "yes" if find_cached(Source(entry.name, (entry.place,))) else "no"
        whose = "official" if entry.official else "ours"
        where = "bundled" if entry.kind == "bundled" else entry.where
        table.add_row(entry.name, entry.what, entry.licence, whose, here, plain_cell(where))
    console = open_console()
    console.print(table)
    print_line(console, NO_OFFICIAL_WEIGHTS)
    pairs, single = assigned_weights()
    for name, source in pairs.items():
        print_line(console, f"{VARIABLE}: {name} takes {source}")
    if single is not None:
        print_line(console, f"{VARIABLE}: {single}, for the variant that it fits")
    return 0


def get(arguments: argparse.Namespace) -> int:
    """Bring weights here, check them, print their path."""
    from scicevpr.hub.download import fetch
    from scicevpr.hub.load import load_model

    source = _source(arguments.source)
    with show_download(source.text) as progress:
        path = fetch(
            source, local_files_only=arguments.local_files_only, progress=progress, endpoint=arguments.endpoint
        )
    fits = []
    if arguments.variant:
        model = load_model(path, variant=arguments.variant, allow_untrained=True)
        fits = [f"It fits {model.variant.name}." if model.weights else f"It fits the backbone of {model.variant.name}."]
    console = open_console()
    for line in (str(path), *_description(path), *fits):
        print_line(console, line)
    return 0


def info(arguments: argparse.Namespace) -> int:
    """Say what is known about weights. Nothing is downloaded."""
    from scicevpr.hub.download import fetch, find_cached
    from scicevpr.hub.sources import LocalFile, address, entries_named

    source = _source(arguments.source)
    console, local = open_console(), isinstance(source.places[0], LocalFile)
    for entry in entries_named(source.text) if source.registered else ():
        whose = "official" if entry.official else "not official"
        print_line(console, f"{entry.name}: {entry.what}. Licence {entry.licence}; {whose}. {entry.where}")
    if not source.registered and not local:
        print_line(console, f"{source.text}: {address(source.places[0])}")
    if find_cached(source) is None and not local:
        print_line(console, f"Not on this computer. Get it with: scicevpr weights get {source.text}")
        return 0
    path = fetch(source, local_files_only=True)  # says when there is no such file
    for line in (f"File: {path}", *_description(path)):
        print_line(console, line)
    return 0


def push(arguments: argparse.Namespace) -> int:
    """Upload a model."""
    from scicevpr.hub.load import load_model
    from scicevpr.hub.pretrained import push_to_hub

    name = arguments.model
    variant = None if name.lower() in VARIANTS else arguments.variant
    results = _results(arguments.results) if arguments.results else ()
    model = load_model(name, variant=variant, local_files_only=True)
    url = push_to_hub(
        model, arguments.repository, private=arguments.private or None, endpoint=arguments.endpoint,
        results=results, licence=arguments.licence,
    )  # fmt: skip
    sha256 = model.weights.sha256 if model.weights is not None else "random"  # which push_to_hub refuses
    print_line(open_console(), f"{model.variant.title}, weights {sha256}: {url}")
    return 0


def _source(text: str) -> Source:
    """The source; the name of a variant whose weights nobody publishes gets an answer of its own."""
    from scicevpr.hub.sources import NO_OFFICIAL_WEIGHTS, entries_named, parse_source

    variant = VARIANTS.get(text.lower())
    if variant is not None and not entries_named(text):
        raise WeightsError(f"There is nothing to get for {variant.name}: {variant.weights_note}. {NO_OFFICIAL_WEIGHTS}")
    return parse_source(text)


def _description(path: Path) -> list[str]:
    """What a weights file is and holds, a line each."""
    from scicevpr.files.reading import sha256_of
    from scicevpr.files.writing import bytes_label
    from scicevpr.models.checkpoint import read_checkpoint, read_metadata
    from scicevpr.models.key_formats import detect, unwrap

    first = f"{bytes_label(path.stat().st_size)}, SHA-256 of the file {sha256_of(path)}"
    content, metadata = read_checkpoint(path)
    state, _ = unwrap(content, str(path))
    if metadata.get("format") != "scicevpr-weights":
        return [first, f"{len(state)} tensors, layout {detect(state, str(path))}"]
    names = {"sha256": "hash of the tensors (in protocols)", "backbone_sha256": "hash of the backbone's tensors"}
    known = [f"{names.get(key, key)}: {value}" for key, value in sorted(read_metadata(path).items()) if key != "format"]
    return [first, f"this project's format, {len(state)} tensors", *known]


def _results(path: Path) -> list[dict]:
    try:
        results = json.loads(path.read_text(encoding="utf-8"))["results"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path} holds no results: give a file written by `scicevpr evaluate --json`.") from error
    return list(results)
