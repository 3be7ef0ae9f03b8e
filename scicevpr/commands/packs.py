"""What `scicevpr pack` does."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from rich import box
from rich.table import Table
from rich.text import Text

from scicevpr.cli.terminal import Step, open_console, print_line, show_evaluation, show_progress
from scicevpr.cluster import LocalEngine, RayEngine, ShardedDescribing, require_ray
from scicevpr.commands.data import read_data, read_database, sound_photos
from scicevpr.commands.evaluate import check_pca_options, chosen_pca
from scicevpr.commands.models import (
    chosen_grouping,
    chosen_precision,
    chosen_preprocessing,
    chosen_query_grouping,
    load_models,
    reading_options,
)
from scicevpr.commands.outputs import add_intervals, check_output_options, write_outputs
from scicevpr.datasets import Dataset
from scicevpr.errors import UsageError
from scicevpr.models.model import VPRModel
from scicevpr.packs import (
    Content,
    Pack,
    build_pack,
    check_pack,
    describe_content,
    list_packs,
    open_pack,
    pull_pack,
    push_pack,
    score_pack,
)
from scicevpr.packs.library import packs_folder
from scicevpr.packs.manifest import Manifest

MIB = 2**20


def build(arguments: argparse.Namespace) -> int:
    """Describe a data set and write a pack."""
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


def check(arguments: argparse.Namespace) -> int:
    """Compare every file with its checksum; 1 when one is wrong."""
    with show_progress("Check") as step:
        problems = check_pack(arguments.pack, progress=lambda done, total: step("MiB", done // MIB, total // MIB))
    console = open_console()
    for problem in problems:
        print_line(console, f"{problem.file}: {problem.message}")
    print_line(
        console, f"{arguments.pack}: {f'{len(problems)} problems' if problems else 'every file is as it was made'}."
    )
    return 1 if problems else 0


def info(arguments: argparse.Namespace) -> int:
    """Show what a pack holds."""
    _show(open_pack(arguments.pack))
    return 0


def score(arguments: argparse.Namespace) -> int:
    """Score the descriptors in a pack."""
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
    table = Table("pack", "from", "title", "database", "queries", "descriptors", "MiB", box=box.SIMPLE)
    found = list_packs()
    for pack in found:
        manifest = pack.manifest
        models = ", ".join(dict.fromkeys(entry.variant for entry in manifest.entries))
        counts = [str(manifest.counts[part]) for part in ("database", "queries")]
        table.add_row(Text(pack.reference), pack.source, Text(manifest.title), *counts, Text(models), _size(manifest))
    console = open_console()
    if found:
        console.print(table)
    else:
        print_line(
            console, f"No packs in {packs_folder()} ($SCICEVPR_PACKS names another folder) nor in the Hub's cache."
        )
    return 0


def push(arguments: argparse.Namespace) -> int:
    """Upload a pack."""
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
    pack = pull_pack(
        arguments.repository,
        revision=arguments.revision,
        local_files_only=arguments.local_files_only,
        endpoint=arguments.endpoint,
    )
    _show(pack)
    return 0


def _dataset(arguments: argparse.Namespace) -> Dataset:
    if arguments.queries or not arguments.database:
        return read_data(arguments)
    database = read_database(arguments)
    folder = arguments.database
    return Dataset(folder.resolve().name, "database", folder, database, (), use_labels=not arguments.no_labels)


def _content(
    arguments: argparse.Namespace,
    dataset: Dataset,
    title: str,
    model: VPRModel,
    describing: ShardedDescribing,
    step: Step,
) -> Content:
    def own_step(stage: str, done: int, total: int) -> None:
        step(f"{title}: {stage}", done, total)

    mode = chosen_precision(model, arguments)
    return describe_content(
        model,
        dataset,
        grouping=chosen_grouping(model, arguments, dataset),
        query_grouping=chosen_query_grouping(arguments.query_grouping, model, dataset),
        preprocessing=chosen_preprocessing(model, arguments),
        precision=mode,
        pca=chosen_pca(model, arguments, own_step, mode, dataset),
        full=not arguments.pca_only,
        progress=own_step,
        describe_with=describing,
        **reading_options(arguments),
    )


def _check_engine(arguments: argparse.Namespace) -> None:
    """Say before the work that options contradict each other, or that Ray is not installed."""
    if arguments.engine == "ray":
        require_ray(alone=arguments.address is None)
        return
    for option in ("address", "workers", "worker_gpus"):
        if getattr(arguments, option):
            raise UsageError(f"--{option.replace('_', '-')} belongs to --engine ray. Leave it out, or add that.")


@contextmanager
def _describing(arguments: argparse.Namespace) -> Iterator[ShardedDescribing]:
    """`describe` in shards, by the engine asked for. They are deleted when all went well, and else kept."""
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
            words = f"Finished shards are kept in {describing.folder}: the same command goes on from there."
            print_line(open_console(stderr=True), words)
        raise
    describing.clear()


def _show(pack: Pack) -> None:
    manifest, dataset = pack.manifest, pack.dataset
    console = open_console()
    print_line(console, f"{manifest.title}: {pack.folder}")
    photos = "no photos" if manifest.thumbnails is None else f"thumbnails of at most {manifest.thumbnails} pixels"
    truth = f"right within {dataset.truth.label()}" if dataset.labelled else "no labels"
    print_line(console, f"{len(dataset.database)} database photos, {len(dataset.queries)} queries, {truth}, {photos}")
    table = Table("model", "weights", "part", "values", "resize", "grouping", box=box.SIMPLE)
    for entry in manifest.entries:
        words = [Text(entry.protocol.get(key, "")) for key in ("resize", "grouping")]
        values = f"{entry.dimension}{' (PCA)' if entry.pca else ''}"
        trained = "" if entry.trained else " (NOT trained)"
        table.add_row(Text(entry.variant), Text(entry.weights + trained), entry.part, values, *words)
    console.print(table)
    for words in dict.fromkeys(entry.protocol.get("PCA", "") for entry in manifest.entries if entry.pca):
        print_line(console, f"PCA {words}")
    licence = manifest.licence or "not stated"
    print_line(console, f"{_size(manifest)} MiB · licence {licence} · made {manifest.created}")


def _size(manifest: Manifest) -> str:
    return f"{sum(facts.bytes for facts in manifest.files.values()) / MIB:.1f}"
