"""What `scicevpr index` does."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from rich import box
from rich.table import Table
from rich.text import Text

from scicevpr.cli.terminal import check_outputs, open_console, print_line, show_progress, write_json
from scicevpr.errors import UsageError
from scicevpr.files.descriptor_files import load_descriptors
from scicevpr.packs import open_pack
from scicevpr.retrieval import (
    StoredIndex,
    add_records,
    build_index,
    check_index,
    compact_index,
    open_index,
    remove_records,
)
from scicevpr.retrieval.rows import RowFiles, find_rows

MIB = 2**20


def build(arguments: argparse.Namespace) -> int:
    """Build an index, or go on with one."""
    if (arguments.pack is None) == (arguments.descriptors is None):
        raise UsageError("Give either --descriptors or --pack.")
    sources = arguments.descriptors or [_of_pack(arguments.pack, arguments.model)]
    with show_progress("Index") as step:
        index = build_index(
            arguments.output,
            sources,
            arguments.tier,
            memory=arguments.memory and arguments.memory * MIB,
            restart=arguments.restart,
            progress=step,
            dimension=arguments.pca,
            nlist=arguments.lists,
            nprobe=arguments.probes,
            rerank_k=arguments.shortlist,
            seed=arguments.seed,
        )
    _show(index)
    return 0


def info(arguments: argparse.Namespace) -> int:
    """Show what an index is."""
    _show(open_index(arguments.index))
    return 0


def check(arguments: argparse.Namespace) -> int:
    """Compare everything with its checksum; 1 when something is wrong."""
    with show_progress("Check") as step:
        problems = check_index(arguments.index, lambda done, total: step("MiB", done // MIB, total // MIB))
    console = open_console()
    for problem in problems:
        print_line(console, problem)
    print_line(
        console, f"{arguments.index}: {f'{len(problems)} problems' if problems else 'everything is as it was built'}."
    )
    return 1 if problems else 0


def search(arguments: argparse.Namespace) -> int:
    """Show the nearest rows of each query."""
    check_outputs(arguments.json)
    index, console = open_index(arguments.index), open_console()
    queries, titles = _queries(arguments.queries, index)
    names = _names(index)
    matches, found = index.search(queries, arguments.top), []
    for row, title in enumerate(titles):
        table = Table("rank", "similarity", "row", "photo", title=Text(title), box=box.SIMPLE)
        answers = []
        for rank, (match, near) in enumerate(zip(matches.indices[row], matches.similarities[row], strict=True), 1):
            if match >= 0:
                name = names.get(int(match), "")
                table.add_row(str(rank), f"{near:.4f}", str(match), Text(name, overflow="fold"))
                answers.append({"rank": rank, "row": int(match), "similarity": float(near), "name": name})
        console.print(table)
        found.append({"query": title, "matches": answers})
    print_line(console, f"Search: {index.label}")
    if arguments.json:
        write_json(arguments.json, {"index": {"label": index.label, **index.metadata()}, "queries": found})
    return 0


def add(arguments: argparse.Namespace) -> int:
    """Add the rows of a file."""
    with show_progress("Index") as step:
        index = add_records(arguments.index, arguments.descriptors, lambda done, total: step("rows", done, total))
    _show(index)
    return 0


def remove(arguments: argparse.Namespace) -> int:
    """Let rows be found no more."""
    _show(remove_records(arguments.index, arguments.rows))
    return 0


def compact(arguments: argparse.Namespace) -> int:
    """Take removed rows out."""
    compact_index(arguments.index)
    _show(open_index(arguments.index))
    return 0


def _of_pack(reference: str, variant: str | None) -> Path:
    pack = open_pack(reference)
    entries = [entry for entry in pack.models if variant in (None, entry.variant)]
    if len(entries) != 1:
        has = "; ".join(entry.label for entry in pack.models)
        raise UsageError(f"--model must name one of the pack's descriptors: {has}.")
    return pack.folder / entries[0].file


def _queries(path: Path, index: StoredIndex) -> tuple[np.ndarray, list[str]]:
    file = find_rows(path)
    if file.model:
        index.check_model(*file.model)
        found, names = load_descriptors(path)
        return found.values, names
    values = RowFiles([file])[:]
    return values, [f"query {row}" for row in range(len(values))]


def _names(index: StoredIndex) -> dict[int, str]:
    """Photo names of the rows, as far as the descriptor files hold them."""
    physical: list[str] = []
    for source in index.manifest.sources:
        named = source.path.suffix == ".safetensors"
        physical += load_descriptors(source.path, mapped=True)[1] if named else [""] * source.rows
    return {row: physical[place] for row, place in enumerate(index.order().tolist())}


def _show(index: StoredIndex) -> None:
    console = open_console()
    print_line(console, f"{index.folder}: {index.label}")
    for title, words in index.metadata().items():
        print_line(console, f"  {title}: {words}")
