"""index: indexes on disk, built, searched, checked and changed."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from scicevpr.cli import options
from scicevpr.cli.outputs import (
    check_outputs,
    open_console,
    print_line,
    show_index,
    show_progress,
    show_rows,
    tell_problems,
    write_json,
)
from scicevpr.errors import UsageError

if TYPE_CHECKING:
    import numpy as np

    from scicevpr.retrieval.stored_index import StoredIndex

MIB = 2**20
TIERS = ("auto", "ivf-pq", "int8", "streamed")


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Add the command."""
    actions = options.add_actions(
        commands,
        "index",
        help="indexes on disk: search in up to millions of descriptors",
        description="An index refers to files of descriptors (`scicevpr describe`, packs) and makes them quick to "
        "search. Small databases need none.",
    )
    parser = actions.add_parser(
        "build",
        help="build an index of descriptors on disk",
        description="Build an index. What was stopped or killed goes on where it was when it is called again.",
    )
    add = parser.add_argument
    add("output", type=Path, metavar="OUT", help="folder to make")
    add(
        "--descriptors",
        type=Path,
        nargs="+",
        metavar="FILE",
        help=".npy or .safetensors, rows one file after the other; they must stay where they are",
    )
    add("--pack", metavar="PATH_OR_REPO", help="instead: the database descriptors of a pack")
    add("--model", metavar="VARIANT", help="which of the pack's descriptors (default: the only ones it has)")
    add(
        "--tier",
        choices=TIERS,
        default="auto",
        help="ivf-pq: the nearest by a short code, re-ranked exactly; int8: exact, a quarter of the memory; "
        "streamed: exact, from the disk (default: auto, by size and memory)",
    )
    add("--memory", type=options.positive, metavar="MIB", help="what it may take (default: half of what is free)")
    add("--restart", action="store_true", help="throw away what an earlier call has done of it")
    add, count = parser.add_argument_group("ivf-pq").add_argument, {"type": options.positive}
    add("--pca", default=512, metavar="K", help="dimensions of the short descriptors (default: 512)", **count)
    add("--nlist", metavar="N", help="lists (default: about a quarter of the square root of the rows)", **count)
    add(
        "--nprobe",
        metavar="N",
        help="lists that a query looks into (default: the fewest that agree with exact search)",
        **count,
    )
    add("--rerank-k", metavar="N", help="rows compared in full (default: likewise)", **count)
    add("--seed", type=int, default=0, help="of the samples (default: 0)")
    parser.set_defaults(run=build)

    for name, run, help in (
        ("info", info, "how an index searches, its size, its agreement with exact search"),
        (
            "check",
            check,
            "compare every byte of an index and its descriptors with their checksums (exit code 1 on damage)",
        ),
        ("compact", compact, "take removed rows out for good; the others are numbered anew"),
        ("search", search, "the rows most similar to query descriptors"),
        ("add", add_rows, "add the rows of another descriptor file"),
        ("remove", remove_rows, "let rows be found no more; the others keep their numbers"),
    ):
        parser = actions.add_parser(name, help=help, description=help[0].upper() + help[1:] + ".")
        parser.add_argument("index", type=Path, metavar="DIR", help="folder of the index")
        if name == "search":
            parser.add_argument(
                "queries", type=Path, metavar="FILE", help="descriptors of the queries: .npy or .safetensors"
            )
            options.matches_options(parser)
        elif name == "add":
            parser.add_argument(
                "descriptors", type=Path, metavar="FILE", help=".npy or .safetensors; it must stay where it is"
            )
        elif name == "remove":
            parser.add_argument("rows", type=int, nargs="+", metavar="ROW", help="row numbers, from 0")
        parser.set_defaults(run=run)


def build(arguments: argparse.Namespace) -> int:
    """Build an index, or go on with one."""
    from scicevpr.retrieval.factory import build_index

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
            nlist=arguments.nlist,
            nprobe=arguments.nprobe,
            rerank_k=arguments.rerank_k,
            seed=arguments.seed,
        )
    show_index(index.folder, index)
    return 0


def info(arguments: argparse.Namespace) -> int:
    """Show what an index is."""
    from scicevpr.retrieval.stored_index import open_index

    index = open_index(arguments.index)
    show_index(index.folder, index)
    return 0


def check(arguments: argparse.Namespace) -> int:
    """Compare everything with its checksum; 1 when something is wrong."""
    from scicevpr.retrieval.stored_index import check_index

    with show_progress("Check") as step:
        problems = check_index(arguments.index, lambda done, total: step("MiB", done // MIB, total // MIB))
    return tell_problems(arguments.index, problems, "everything is as it was built")


def search(arguments: argparse.Namespace) -> int:
    """Show the nearest rows of each query."""
    from scicevpr.retrieval.stored_index import open_index

    check_outputs(arguments.json)
    index, console = open_index(arguments.index), open_console()
    queries, titles = _queries(arguments.queries, index)
    names = _names(index)
    matches, found = index.search(queries, arguments.top), []
    for row, title in enumerate(titles):
        lines, answers = [], []
        for rank, (match, near) in enumerate(zip(matches.indices[row], matches.similarities[row], strict=True), 1):
            if match >= 0:
                name = names.get(int(match), "")
                lines.append((str(rank), f"{near:.4f}", str(match), name))
                answers.append({"rank": rank, "row": int(match), "similarity": float(near), "name": name})
        show_rows(console, title, ("rank", "similarity", "row", "photo"), lines)
        found.append({"query": title, "matches": answers})
    print_line(console, f"Search: {index.label}")
    if arguments.json:
        write_json(arguments.json, {"index": {"label": index.label, **index.metadata()}, "queries": found})
    return 0


def add_rows(arguments: argparse.Namespace) -> int:
    """Add the rows of a file."""
    from scicevpr.retrieval.changes import add_records

    with show_progress("Index") as step:
        index = add_records(arguments.index, arguments.descriptors, lambda done, total: step("rows", done, total))
    show_index(index.folder, index)
    return 0


def remove_rows(arguments: argparse.Namespace) -> int:
    """Let rows be found no more."""
    from scicevpr.retrieval.changes import remove_records

    index = remove_records(arguments.index, arguments.rows)
    show_index(index.folder, index)
    return 0


def compact(arguments: argparse.Namespace) -> int:
    """Take removed rows out."""
    from scicevpr.retrieval.changes import compact_index
    from scicevpr.retrieval.stored_index import open_index

    compact_index(arguments.index)
    index = open_index(arguments.index)
    show_index(index.folder, index)
    return 0


def _of_pack(reference: str, variant: str | None) -> Path:
    from scicevpr.packs import open_pack

    pack = open_pack(reference)
    entries = [entry for entry in pack.models if variant in (None, entry.variant)]
    if len(entries) != 1:
        has = "; ".join(entry.label for entry in pack.models)
        raise UsageError(f"--model must name one of the pack's descriptors: {has}.")
    return pack.folder / entries[0].file


def _queries(path: Path, index: StoredIndex) -> tuple[np.ndarray, list[str]]:
    from scicevpr.files.descriptor_files import load_descriptors
    from scicevpr.retrieval.rows import RowFiles, find_rows

    file = find_rows(path)
    if file.model:
        index.check_model(*file.model)
        found, names = load_descriptors(path)
        return found.values, names
    values = RowFiles([file])[:]
    return values, [f"query {row}" for row in range(len(values))]


def _names(index: StoredIndex) -> dict[int, str]:
    """Photo names of the rows, as far as the descriptor files hold them."""
    from scicevpr.files.descriptor_files import load_descriptors

    stored: list[str] = []
    for source in index.manifest.sources:
        named = source.path.suffix == ".safetensors"
        stored += load_descriptors(source.path, mapped=True)[1] if named else [""] * source.rows
    return {row: stored[position] for row, position in enumerate(index.order().tolist())}
