"""pack: database packs, made, checked, looked at, scored and shared."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from scicevpr.cli import options
from scicevpr.cli.outputs import (
    add_intervals,
    check_output_options,
    make_table,
    open_console,
    output_options,
    plain_cell,
    print_line,
    print_note,
    show_evaluation,
    show_progress,
    tell_problems,
    write_outputs,
)
from scicevpr.errors import UsageError
from scicevpr.progress import StageProgress

if TYPE_CHECKING:
    from scicevpr.cluster.describing import ShardedDescribing
    from scicevpr.datasets import Dataset
    from scicevpr.models.model import VPRModel
    from scicevpr.packs.build import Content
    from scicevpr.packs.manifest import Manifest
    from scicevpr.packs.pack import Pack

MIB = 2**20


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Add the command."""
    actions = options.add_actions(
        commands,
        "pack",
        help="database packs: a described data set in one folder, to keep, to share, to open without describing again",
        description="A pack holds records, descriptors, perhaps a PCA and thumbnails, and a protocol card.",
    )
    _build_options(
        actions.add_parser(
            "build", help="describe a data set and write a pack", description="Describe a data set and write a pack."
        )
    )
    where = {"metavar": "PATH_OR_REPO", "help": "a pack folder, or a Hub repository that was pulled"}
    parser = actions.add_parser("check", help="compare every file with its checksum (exit code 1 when one is wrong)")
    parser.add_argument("pack", **where)
    parser.set_defaults(run=check)
    parser = actions.add_parser("info", help="what a pack holds")
    parser.add_argument("pack", **where)
    parser.set_defaults(run=info)
    parser = actions.add_parser("score", help="score the descriptors in a pack, without a model and without photos")
    parser.add_argument("pack", **where)
    options.scoring_options(parser)
    output_options(parser, descriptors=False)
    parser.set_defaults(run=score, no_labels=False)
    listing = actions.add_parser("list", help="the packs on this computer")
    listing.set_defaults(run=show_list)

    endpoint = {"metavar": "URL", "help": "another Hub than $HF_ENDPOINT or huggingface.co"}
    parser = actions.add_parser("push", help="upload a pack to a data set repository of the Hugging Face Hub")
    add = parser.add_argument
    add("pack", metavar="PATH", help="a pack folder")
    add("repository", metavar="ORG/NAME", help="made if it does not exist")
    add("--private", action="store_true", help="make the repository private")
    add(
        "--i-may-share-these-photos",
        action="store_true",
        help="you have the right to publish the photos whose thumbnails are in the pack",
    )
    add("--endpoint", **endpoint)
    parser.set_defaults(run=push)
    parser = actions.add_parser("pull", help="download a pack from the Hub, into the Hub's own cache")
    add = parser.add_argument
    add("repository", metavar="ORG/NAME", help="may carry a revision: ORG/NAME@REVISION")
    add("--revision", metavar="NAME", help="a branch, tag or commit (default: main)")
    add("--local-files-only", action="store_true", help="never use the network")
    add("--endpoint", **endpoint)
    parser.set_defaults(run=pull)


def _build_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("output", type=Path, metavar="OUT", help="folder to make")
    add("--title", default="", help="what to call the pack (default: the data set's name)")
    add("--licence", "--license", default="", metavar="NAME", help="of the pack, such as cc-by-4.0")
    photos = parser.add_mutually_exclusive_group()
    photos.add_argument(
        "--thumbnails",
        type=options.positive,
        nargs="?",
        const=320,
        metavar="PX",
        help="add small copies of the photos, at most PX pixels a side (320 if PX is left out)",
    )
    photos.add_argument(
        "--no-photos", action="store_true", help="no thumbnails (what happens anyway without --thumbnails)"
    )
    add("--overwrite", action="store_true", help="replace a pack of that name")
    options.data_options(parser)
    options.query_options(parser)
    options.model_options(parser, several="scicevpr-t")
    options.query_grouping_option(parser)
    options.precision_option(parser)
    options.pca_options(parser)
    add("--pca-only", action="store_true", help="leave the full descriptors out")
    options.damage_option(parser)
    options.storage_options(parser)
    add = parser.add_argument_group(
        "many photos", "Photos are described in shards. After an interruption the same command describes the rest."
    ).add_argument
    add(
        "--engine",
        choices=("local", "ray"),
        default="local",
        help="who describes: this process, or a Ray cluster (same descriptors; needs the extra 'ray')",
    )
    add(
        "--address",
        metavar="HOST:PORT",
        help="of a running Ray cluster, or auto; --engine ray without it starts one on this machine",
    )
    add(
        "--workers",
        type=options.positive,
        metavar="N",
        help="models on the cluster, each with --threads (default 1) threads (default: as many as fit)",
    )
    add("--worker-gpus", type=float, default=0.0, metavar="N", help="GPUs of each worker; 0.5 lets two share one")
    add(
        "--shards",
        type=Path,
        metavar="DIR",
        help="where finished shards lie until the pack is made, on a real disk (default: OUT.shards)",
    )
    add(
        "--shard-photos",
        type=options.positive,
        default=512,
        metavar="N",
        help="photos in a shard: what an interruption can cost (default: 512)",
    )
    parser.set_defaults(run=build)


def build(arguments: argparse.Namespace) -> int:
    """Describe a data set and write a pack."""
    from scicevpr.cli.chosen_data import sound_photos
    from scicevpr.cli.chosen_models import check_pca_options, load_models
    from scicevpr.packs.build import build_pack

    check_pca_options(arguments)
    if arguments.pca_only and not (arguments.pca_dim or arguments.pca_file):
        raise UsageError("--pca-only needs a PCA: --pca-dim with --pca-folder, or --pca-file.")
    dataset = sound_photos(_dataset(arguments), arguments)
    _check_engine(arguments)
    models = load_models(arguments, ("scicevpr-t",))
    with _describing(arguments) as describing, show_progress("Pack") as step:
        pack = build_pack(
            arguments.output,
            dataset,
            # one model's descriptors at a time
            (_content(arguments, dataset, *model, describing, step) for model in models),
            title=arguments.title,
            licence=arguments.licence,
            thumbnails=arguments.thumbnails,
            overwrite=arguments.overwrite,
            progress=step,
        )
    _show(pack)
    return 0


def _dataset(arguments: argparse.Namespace) -> Dataset:
    from scicevpr.cli.chosen_data import read_data, read_database
    from scicevpr.datasets import Dataset

    if arguments.queries or not arguments.database:
        return read_data(arguments)
    database, folder = read_database(arguments), arguments.database
    return Dataset(folder.resolve().name, "database", folder, database, (), use_labels=not arguments.no_labels)


def _check_engine(arguments: argparse.Namespace) -> None:
    """Say before the work that options contradict each other, or that Ray is not installed."""
    from scicevpr.cluster.ray_cluster import require_ray

    if arguments.engine == "ray":
        require_ray(alone=arguments.address is None)
        return
    for option in ("address", "workers", "worker_gpus"):
        if getattr(arguments, option):
            raise UsageError(f"--{option.replace('_', '-')} belongs to --engine ray. Leave it out, or add that.")


@contextmanager
def _describing(arguments: argparse.Namespace) -> Iterator[ShardedDescribing]:
    """`describe` in shards, by the engine asked for. They are deleted when all went well, and else kept."""
    from scicevpr.cluster.describing import LocalEngine, ShardedDescribing
    from scicevpr.cluster.ray_cluster import RayEngine

    engine: LocalEngine | RayEngine = LocalEngine()
    if arguments.engine == "ray":
        engine = RayEngine(arguments.address, arguments.workers, arguments.threads or 1, arguments.worker_gpus)
    describing = ShardedDescribing(
        arguments.shards or arguments.output.with_name(f"{arguments.output.name}.shards"),
        engine,
        arguments.shard_photos,
        "float32" if arguments.pca_dim or arguments.pca_file else "float16",  # a PCA takes the full precision
        partial(print_line, open_console(stderr=True)),
    )
    try:
        with engine.connected():  # one cluster for all models and parts
            yield describing
    except BaseException:
        if describing.kept:
            print_note(f"Finished shards are kept in {describing.folder}: the same command goes on from there.")
        raise
    describing.clear()


def _content(
    arguments: argparse.Namespace,
    dataset: Dataset,
    title: str,
    model: VPRModel,
    describing: ShardedDescribing,
    step: StageProgress,
) -> Content:
    from scicevpr.cli import chosen_models as chosen
    from scicevpr.packs.build import describe_content

    def own_step(stage: str, done: int, total: int) -> None:
        step(f"{title}: {stage}", done, total)

    mode = chosen.chosen_precision(model, arguments)
    return describe_content(
        model,
        dataset,
        grouping=chosen.chosen_grouping(model, arguments, dataset),
        query_grouping=chosen.chosen_query_grouping(arguments.query_grouping, model, dataset),
        preprocessing=chosen.chosen_preprocessing(model, arguments),
        precision=mode,
        pca=chosen.chosen_pca(model, arguments, own_step, mode, dataset),
        full=not arguments.pca_only,
        progress=own_step,
        describe_with=describing,
        **chosen.loading_options(arguments),
    )


def check(arguments: argparse.Namespace) -> int:
    """Compare every file with its checksum; 1 when one is wrong."""
    from scicevpr.packs.pack import check_pack

    with show_progress("Check") as step:
        problems = check_pack(arguments.pack, progress=lambda done, total: step("MiB", done // MIB, total // MIB))
    said = [f"{problem.file}: {problem.message}" for problem in problems]
    return tell_problems(arguments.pack, said, "every file is as it was made")


def info(arguments: argparse.Namespace) -> int:
    """Show what a pack holds."""
    from scicevpr.packs import open_pack

    _show(open_pack(arguments.pack))
    return 0


def score(arguments: argparse.Namespace) -> int:
    """Score the descriptors in a pack."""
    from scicevpr.packs import open_pack
    from scicevpr.packs.pack import score_pack

    check_output_options(arguments)
    pack, console, results = open_pack(arguments.pack), open_console(), []
    rounding = "float32" if arguments.utm_rounding == "published" else "float64"
    for result in score_pack(pack, ns=arguments.recall_values, radius=arguments.radius, rounding=rounding):
        results.append(add_intervals(arguments, result))
        show_evaluation(console, results[-1])
    write_outputs(arguments, results, console)
    return 0


def show_list(arguments: argparse.Namespace) -> int:
    """Show the packs on this computer."""
    from scicevpr.packs.manifest import list_packs, packs_folder

    found, console = list_packs(), open_console()
    if not found:
        place = f"{packs_folder()} ($SCICEVPR_PACKS names another folder)"
        print_line(console, f"No packs in {place} nor in the Hub's cache.")
        return 0
    table = make_table("pack", "from", "title", "database", "queries", "descriptors", "MiB")
    for pack in found:
        manifest = pack.manifest
        models = ", ".join(dict.fromkeys(entry.variant for entry in manifest.entries))
        counts = [str(manifest.counts[part]) for part in ("database", "queries")]
        texts = (plain_cell(pack.reference), pack.source, plain_cell(manifest.title), *counts, plain_cell(models))
        table.add_row(*texts, _size(manifest))
    console.print(table)
    return 0


def push(arguments: argparse.Namespace) -> int:
    """Upload a pack."""
    from scicevpr.packs.sharing import push_pack

    address = push_pack(
        arguments.pack,
        arguments.repository,
        private=arguments.private,
        photos_may_be_shared=arguments.i_may_share_these_photos,
        endpoint=arguments.endpoint,
    )
    print_line(open_console(), f"Uploaded: {address}")
    return 0


def pull(arguments: argparse.Namespace) -> int:
    """Download a pack."""
    from scicevpr.packs.sharing import pull_pack

    asked = {name: getattr(arguments, name) for name in ("revision", "local_files_only", "endpoint")}
    _show(pull_pack(arguments.repository, **asked))
    return 0


def _show(pack: Pack) -> None:
    manifest, dataset, console = pack.manifest, pack.dataset, open_console()
    print_line(console, f"{manifest.title}: {pack.folder}")
    photos = "no photos" if manifest.thumbnails is None else f"thumbnails of at most {manifest.thumbnails} pixels"
    truth = f"right within {dataset.truth.label()}" if dataset.labelled else "no labels"
    print_line(console, f"{len(dataset.database)} database photos, {len(dataset.queries)} queries, {truth}, {photos}")
    table = make_table("model", "weights", "part", "dimensions", "resize", "grouping")
    for entry in manifest.entries:
        protocol = [plain_cell(entry.protocol.get(key, "")) for key in ("resize", "grouping")]
        dimensions = f"{entry.dimension}{' (PCA)' if entry.pca else ''}"
        weights = entry.weights + ("" if entry.trained else " (NOT trained)")
        table.add_row(plain_cell(entry.variant), plain_cell(weights), entry.part, dimensions, *protocol)
    console.print(table)
    for label in dict.fromkeys(entry.protocol.get("PCA", "") for entry in manifest.entries if entry.pca):
        print_line(console, f"PCA {label}")
    licence = manifest.licence or "not stated"
    print_line(console, f"{_size(manifest)} MiB · licence {licence} · made {manifest.created}")


def _size(manifest: Manifest) -> str:
    return f"{sum(file.bytes for file in manifest.files.values()) / MIB:.1f}"
