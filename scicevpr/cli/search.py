"""search and describe: the database photos most similar to a photo; descriptors of photos as a file."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scicevpr.cli import matching, options
from scicevpr.cli.outputs import (
    check_outputs,
    check_photos,
    open_console,
    print_line,
    print_note,
    show_matches,
    show_progress,
    write_json,
)
from scicevpr.errors import UsageError
from scicevpr.progress import StageProgress

if TYPE_CHECKING:
    from scicevpr.files.descriptor_files import Descriptors
    from scicevpr.models.model import VPRModel
    from scicevpr.retrieval.matches import Match


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Add the commands."""
    parser = commands.add_parser("search", help="the database photos most similar to a photo")
    parser.add_argument("photos", nargs="+", type=Path, metavar="QUERY", help="query photos")
    parser.add_argument(
        "--in", dest="within", type=Path, metavar="FOLDER", help="where to search: a data set, or any folder of photos"
    )
    options.data_options(parser)
    options.pack_options(parser)
    options.model_options(parser, several="scicevpr-t")
    options.precision_option(parser)
    options.storage_options(parser)
    options.matches_options(parser)
    options.radius_option(parser)
    matching.search_options(parser)
    parser.set_defaults(run=search)

    parser = commands.add_parser("describe", help="write the descriptors of photos to a file")
    parser.add_argument("photos", nargs="+", type=Path, metavar="PHOTO_OR_FOLDER", help="photos, or folders of photos")
    parser.add_argument(
        "--output",
        type=Path,
        required=True,
        metavar="FILE",
        help=".safetensors: float16 with names and protocol; .npy: float32, with names and protocol in FILE.json",
    )
    options.model_options(parser, several=None)
    options.precision_option(parser)
    options.damage_option(parser)
    options.storage_options(parser)
    parser.set_defaults(run=describe)


def search(arguments: argparse.Namespace) -> int:
    """Show the most similar database photos of each query."""
    check_photos(*arguments.photos)
    from scicevpr.cli.chosen_data import (
        pack_descriptors,
        pack_or_dataset,
        packed_models,
        read_database,
        stored_descriptors,
    )
    from scicevpr.cli.chosen_models import chosen_precision, load_models
    from scicevpr.datasets import parse_name
    from scicevpr.retrieval.factory import make_index
    from scicevpr.retrieval.matches import list_matches

    check_outputs(arguments.json)
    pack = None
    if arguments.pack is None:
        database = read_database(arguments)
    else:
        dataset, pack = pack_or_dataset(arguments)
        database = dataset.database
    queries = [parse_name(path) for path in arguments.photos]
    console = open_console()
    found: list[dict[str, Any]] = []
    for title, model in load_models(arguments, packed_models(pack) or ("scicevpr-t",)):
        mode = chosen_precision(model, arguments)
        with show_progress(title) as step:
            described = describe_chosen(model, [photo.path for photo in queries], arguments, step, "queries", mode)
            searched, pca = pack_descriptors(model, pack, arguments, mode)
            searched = searched or stored_descriptors(model, database, arguments, mode)
            if searched is None:
                paths = [photo.path for photo in database]
                searched = describe_chosen(model, paths, arguments, step, "database", mode)
        values = described.values if pca is None else pca.transform(described.values)
        matches = make_index(searched.values).search(values, max(arguments.top, arguments.rerank or 0))
        matches, found_inliers, reranking = matching.rerank_search(arguments, model, matches, database, queries)
        answers = [answer[: arguments.top] for answer in list_matches(matches, database, queries, arguments.radius)]
        for query, answer, inliers in zip(queries, answers, found_inliers, strict=True):
            show_matches(console, f"{title}: {query.name}", answer)
            if inliers:
                print_line(console, f"Inliers by rank: {', '.join(map(str, inliers[: arguments.top]))}.")
        print_line(console, described.protocol_line())
        protocol = {"database grouping": searched.grouping, "PCA": pca.label if pca else "none", **reranking}
        entries = [
            {"query": str(query.path), "matches": [_match_json(match) for match in answer], "inliers": inliers}
            for query, answer, inliers in zip(queries, answers, found_inliers, strict=True)
        ]
        found.append({"title": title, "protocol": {**described.protocol(), **protocol}, "queries": entries})
    if arguments.json:
        write_json(arguments.json, {"results": found})
    return 0


def _match_json(match: Match) -> dict[str, Any]:
    return {**{key: value for key, value in asdict(match).items() if key != "photo"}, "database": str(match.photo.path)}


def describe(arguments: argparse.Namespace) -> int:
    """Write descriptors to a file."""
    check_photos(*arguments.photos)
    from scicevpr.cli.chosen_data import tell_left_out
    from scicevpr.cli.chosen_models import chosen_precision, load_models
    from scicevpr.datasets import list_photos
    from scicevpr.datasets.photos import left_out_note
    from scicevpr.files.descriptor_files import save_descriptors
    from scicevpr.files.photos import damaged_photos
    from scicevpr.files.reading import sha256_of

    output = arguments.output
    if output.suffix not in (".npy", ".safetensors"):
        raise UsageError(f"The output {output} must end in .npy or .safetensors.")
    check_outputs(output)
    paths: list[Path] = []
    labels: list[str] = []
    for source in arguments.photos:
        photos = list_photos(source) if source.is_dir() else [source]
        paths += photos
        labels += [path.relative_to(source).as_posix() if source.is_dir() else str(path) for path in photos]
    left_out = left_out_note(*(source for source in arguments.photos if source.is_dir()))
    if left_out:
        print_note(f"Note: {left_out}")
    if arguments.leave_out_damaged:
        found = damaged_photos(paths)
        tell_left_out(found)
        damaged = {path for path, _ in found}
        kept = [row for row, path in enumerate(paths) if path not in damaged]
        if not kept:
            raise UsageError("All photos are damaged; there is nothing to describe.")
        paths, labels = [paths[row] for row in kept], [labels[row] for row in kept]
    [(title, model)] = load_models(arguments, ())
    mode = chosen_precision(model, arguments)
    with show_progress(title) as step:
        out = output if output.suffix == ".npy" else None
        described = describe_chosen(model, paths, arguments, step, "photos", mode, out)
    if output.suffix == ".npy":
        record = {"protocol": described.protocol(), "names": labels, "sha256": sha256_of(output)}
        write_json(output.with_name(output.name + ".json"), record)
    else:
        save_descriptors(output, described, labels)
    console = open_console()
    print_line(console, f"{len(paths)} descriptors of {described.values.shape[1]} dimensions: {output}")
    print_line(console, described.protocol_line())
    return 0


def describe_chosen(
    model: VPRModel,
    paths: Sequence[Path],
    arguments: argparse.Namespace,
    step: StageProgress,
    stage: str,
    precision: str | None,
    out: Path | None = None,
) -> Descriptors:
    """Describe photos as the options say; what does not fit into memory goes to a temporary file."""
    from scicevpr.cli.chosen_models import chosen_grouping, chosen_preprocessing, loading_options
    from scicevpr.descriptors.describe import describe
    from scicevpr.files.writing import scratch_folder

    loading = loading_options(arguments)
    needed = (4 * len(paths) * model.variant.descriptor_dim, loading.pop("memory_limit"), loading.pop("storage"))
    return describe(
        model,
        paths,
        grouping=chosen_grouping(model, arguments),
        preprocessing=chosen_preprocessing(model, arguments),
        precision=precision,
        out=out,
        scratch=None if out else scratch_folder(*needed),
        progress=lambda done, total: step(stage, done, total),
        **loading,
    )
