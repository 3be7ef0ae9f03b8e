"""What `scicevpr weights` does: list known sources, download, look at a file, publish."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich import box
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.table import Table
from rich.text import Text

from scicevpr import hub
from scicevpr.cli.terminal import open_console, print_line
from scicevpr.config import VARIANTS
from scicevpr.errors import UsageError, WeightsError
from scicevpr.files.reading import sha256_of
from scicevpr.hub.load import VARIABLE, assigned_weights, load_model
from scicevpr.hub.pretrained import push_to_hub
from scicevpr.hub.sources import LocalFile, Source, address, entries_named, registry
from scicevpr.hub.web import Progress as OnBytes
from scicevpr.hub.web import bytes_label
from scicevpr.models.checkpoint import read_checkpoint, read_metadata
from scicevpr.models.key_formats import detect, unwrap


def show_list(arguments: argparse.Namespace) -> int:
    """All known sources, whose they are, and where they lie."""
    table = Table("name", "what", "licence", "whose", "here", "source", box=box.SIMPLE)
    for entry in registry():
        here = "yes" if hub.find_cached(Source(entry.name, (entry.place,))) else "no"
        whose = "official" if entry.official else "ours"
        where = "bundled" if entry.kind == "bundled" else entry.where
        table.add_row(entry.name, entry.what, entry.licence, whose, here, Text(where, overflow="fold"))
    console = open_console()
    console.print(table)
    print_line(console, hub.NO_OFFICIAL_WEIGHTS)
    pairs, single = assigned_weights()
    for name, source in pairs.items():
        print_line(console, f"{VARIABLE}: {name} takes {source}")
    if single is not None:
        print_line(console, f"{VARIABLE}: {single}, for the variant that it fits")
    return 0


def get(arguments: argparse.Namespace) -> int:
    """Bring weights here, check them, print their path."""
    source = _source(arguments.source)
    with _bytes_progress(source.text) as progress:
        path = hub.fetch(
            source, local_files_only=arguments.local_files_only, progress=progress, endpoint=arguments.endpoint
        )
    fits = ""
    if arguments.variant:
        model = load_model(path, variant=arguments.variant, allow_untrained=True)
        fits = f"It fits {model.variant.name}." if model.weights else f"It fits the backbone of {model.variant.name}."
    console = open_console()
    print_line(console, str(path))
    print_line(console, f"{bytes_label(path.stat().st_size)}, SHA-256 of the file {sha256_of(path)}")
    for fact in _facts(path):
        print_line(console, fact)
    if fits:
        print_line(console, fits)
    return 0


def info(arguments: argparse.Namespace) -> int:
    """Say what is known about weights. Nothing is downloaded."""
    source = _source(arguments.source)
    console = open_console()
    for entry in entries_named(source.text) if source.registered else ():
        whose = "official" if entry.official else "not official"
        print_line(console, f"{entry.name}: {entry.what}. Licence {entry.licence}; {whose}. {entry.where}")
    if not source.registered and not isinstance(source.places[0], LocalFile):
        print_line(console, f"{source.text}: {address(source.places[0])}")
    path = hub.find_cached(source)
    if path is None and isinstance(source.places[0], LocalFile):
        hub.fetch(source, local_files_only=True)  # says that there is no such file
    if path is None:
        print_line(console, f"Not on this computer. Get it with: scicevpr weights get {source.text}")
        return 0
    path = hub.fetch(source, local_files_only=True)
    print_line(console, f"File: {path}")
    print_line(console, f"{bytes_label(path.stat().st_size)}, SHA-256 of the file {sha256_of(path)}")
    for fact in _facts(path):
        print_line(console, fact)
    return 0


def push(arguments: argparse.Namespace) -> int:
    """Upload a model."""
    name = arguments.model
    variant = None if name.lower() in VARIANTS else arguments.variant
    results = _results(arguments.results) if arguments.results else ()
    model = load_model(name, variant=variant, local_files_only=True)
    url = push_to_hub(
        model,
        arguments.repository,
        private=arguments.private or None,
        endpoint=arguments.endpoint,
        results=results,
        licence=arguments.licence,
    )
    print_line(open_console(), f"{model.variant.title}, weights {model.weights.sha256}: {url}")
    return 0


def _source(text: str) -> Source:
    """The source; the name of a variant whose weights nobody publishes gets an answer of its own."""
    variant = VARIANTS.get(text.lower())
    if variant is not None and not entries_named(text):
        raise WeightsError(
            f"There is nothing to get for {variant.name}: {variant.weights_note}. {hub.NO_OFFICIAL_WEIGHTS}"
        )
    return hub.parse_source(text)


def _facts(path: Path) -> list[str]:
    """What a weights file holds, a line each."""
    content, metadata = read_checkpoint(path)
    state, _ = unwrap(content, str(path))
    if metadata.get("format") != "scicevpr-weights":
        return [f"{len(state)} tensors, key format {detect(state, str(path))}"]
    names = {"sha256": "hash of the tensors (in protocols)", "backbone_sha256": "hash of the backbone's tensors"}
    facts = [f"{names.get(key, key)}: {value}" for key, value in sorted(read_metadata(path).items()) if key != "format"]
    return [f"this project's format, {len(state)} tensors", *facts]


def _results(path: Path) -> list[dict]:
    try:
        results = json.loads(path.read_text(encoding="utf-8"))["results"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path} holds no results: give a file written by `scicevpr evaluate --json`.") from error
    return list(results)


@contextmanager
def _bytes_progress(title: str) -> Iterator[OnBytes]:
    """A download bar on standard error; nothing is drawn where there is no terminal."""
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(
        *columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()
    ) as bars:
        task = bars.add_task(title, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)
