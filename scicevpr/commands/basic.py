"""What `scicevpr search`, `describe`, `verify` and `models` do."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table

from scicevpr.cli.terminal import (
    Step,
    check_outputs,
    open_console,
    print_line,
    short,
    show_matches,
    show_progress,
    write_json,
)
from scicevpr.commands.data import (
    pack_descriptors,
    pack_or_dataset,
    pack_reduction,
    packed_models,
    read_database,
    stored_descriptors,
    tell_left_out,
)
from scicevpr.commands.models import (
    chosen_grouping,
    chosen_precision,
    chosen_preprocessing,
    load_models,
    prepare_machine,
    reading_options,
)
from scicevpr.config import VARIANTS
from scicevpr.datasets import list_photos, parse_name
from scicevpr.datasets.photos import left_out_note
from scicevpr.descriptors.describe import describe as describe_photos
from scicevpr.errors import UsageError
from scicevpr.files.descriptor_files import Descriptors, save_descriptors
from scicevpr.files.photos import damaged_photos
from scicevpr.files.reading import sha256_of
from scicevpr.files.writing import scratch_folder
from scicevpr.models.checkpoint import read_metadata
from scicevpr.models.model import VPRModel
from scicevpr.models.weights import bundled_weights
from scicevpr.retrieval import list_matches, make_index


def search(arguments: argparse.Namespace) -> int:
    """Show the most similar database photos of each query."""
    check_outputs(arguments.json)
    pack = None
    if arguments.pack is None:
        database = read_database(arguments)
    else:
        dataset, pack = pack_or_dataset(arguments)
        database = dataset.database
    queries = [parse_name(path) for path in arguments.photos]
    models = load_models(arguments, packed_models(pack) or ("scicevpr-t",))
    console, found = open_console(), []
    for title, model in models:
        mode = chosen_precision(model, arguments)
        with show_progress(title) as step:
            described = _descriptors(model, [place.path for place in queries], arguments, step, "queries", mode)
            searched = pack_descriptors(model, pack, arguments, mode)
            reduction = pack_reduction(model, pack, searched)
            searched = searched or stored_descriptors(model, database, arguments, mode)
            if searched is None:
                searched = _descriptors(model, [place.path for place in database], arguments, step, "database", mode)
        values = described.values if reduction is None else reduction.transform(described.values)
        matches = make_index(searched.values).search(values, arguments.top)
        answers = list_matches(matches, database, queries, arguments.radius)
        for query, answer in zip(queries, answers, strict=True):
            show_matches(console, f"{title}: {query.name}", answer)
        print_line(console, described.protocol_line())
        found.append(
            {
                "title": title,
                "protocol": {
                    **described.protocol(),
                    "database grouping": searched.grouping,
                    "PCA": reduction.label if reduction else "none",
                },
                "queries": [
                    {"query": str(query.path), "matches": [_match_json(match) for match in answer]}
                    for query, answer in zip(queries, answers, strict=True)
                ],
            }
        )
    if arguments.json:
        write_json(arguments.json, {"results": found})
    return 0


def describe(arguments: argparse.Namespace) -> int:
    """Write descriptors to a file."""
    output = arguments.output
    if output.suffix not in (".npy", ".safetensors"):
        raise UsageError(f"The output {output} must end in .npy or .safetensors.")
    check_outputs(output)
    paths: list[Path] = []
    names: list[str] = []
    for source in arguments.photos:
        photos = list_photos(source) if source.is_dir() else [source]
        paths += photos
        names += [path.relative_to(source).as_posix() if source.is_dir() else str(path) for path in photos]
    left_out = left_out_note(*(source for source in arguments.photos if source.is_dir()))
    if left_out:
        print_line(open_console(stderr=True), f"Note: {left_out}")
    if arguments.leave_out_damaged:
        found = damaged_photos(paths)
        tell_left_out(found)
        kept = [row for row, path in enumerate(paths) if path not in {path for path, _ in found}]
        if not kept:
            raise UsageError("All photos are damaged; there is nothing to describe.")
        paths, names = ([values[row] for row in kept] for values in (paths, names))
    [(title, model)] = load_models(arguments, ())
    mode = chosen_precision(model, arguments)
    with show_progress(title) as step:
        out = output if output.suffix == ".npy" else None
        described = _descriptors(model, paths, arguments, step, "photos", mode, out)
    if output.suffix == ".npy":
        record = {"protocol": described.protocol(), "names": names, "sha256": sha256_of(output)}
        write_json(output.with_name(output.name + ".json"), record)
    else:
        save_descriptors(output, described, names)
    console = open_console()
    print_line(console, f"{len(paths)} descriptors of {described.values.shape[1]} values: {output}")
    print_line(console, described.protocol_line())
    return 0


def verify(arguments: argparse.Namespace) -> int:
    """Check the installation against reference vectors; 1 when anything misses."""
    from scicevpr.evaluation.verify import verify_folder

    prepare_machine(arguments)
    with show_progress("Verify") as step:
        checks = verify_folder(
            arguments.folder,
            device=arguments.device,
            dtype=arguments.dtype,
            only=arguments.only,
            progress=lambda _, done, total: step("files", done, total),
        )
    table = Table("file", "array", "error", "tolerance", "verdict", "note", box=box.SIMPLE)
    for check in checks:
        verdict = "[green]ok[/]" if check.passed else "[bold red]MISS[/]"
        table.add_row(check.file, check.array, short(check.error), short(check.tolerance), verdict, check.note or "")
    console = open_console()
    console.print(table)
    misses = sum(not check.passed for check in checks)
    print_line(console, f"{len(checks)} checks, {misses} missed ({arguments.device}, {arguments.dtype}).")
    return 1 if misses else 0


def models(arguments: argparse.Namespace) -> int:
    """List the variants."""
    table = Table("name", "model", "values", "depends on its batch", "weights", box=box.SIMPLE)
    bundled = bundled_weights()
    for name, variant in VARIANTS.items():
        weights = f"not here ({variant.weights_note})"
        if name in bundled:
            facts = read_metadata(bundled[name])
            weights = f"bundled, {facts.get('sha256', '')}: {facts.get('trained_on', 'training not recorded')}"
        depends = "yes" if variant.cross_image else "no"
        table.add_row(name, variant.title, str(variant.descriptor_dim), depends, weights)
    open_console().print(table)
    return 0


def _descriptors(
    model: VPRModel,
    paths: list[Path],
    arguments: argparse.Namespace,
    step: Step,
    stage: str,
    precision: str | None,
    out: Path | None = None,
) -> Descriptors:
    reading = reading_options(arguments)
    room = (4 * len(paths) * model.variant.descriptor_dim, reading.pop("memory_limit"), reading.pop("storage"))
    return describe_photos(
        model,
        paths,
        grouping=chosen_grouping(model, arguments),
        preprocessing=chosen_preprocessing(model, arguments),
        precision=precision,
        out=out,
        scratch=None if out else scratch_folder(*room),
        progress=lambda done, total: step(stage, done, total),
        **reading,
    )


def _match_json(match: Any) -> dict[str, Any]:
    return {**{key: value for key, value in asdict(match).items() if key != "place"}, "database": str(match.place.path)}
