"""What each subcommand of `scicevpr` does: read the options, call the library, show the result.

Results go to standard output, progress and notes to standard error.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich import box
from rich.table import Table

from scicevpr.config import VARIANTS, Preprocessing, assets_folder
from scicevpr.describe import Descriptors, Grouping
from scicevpr.describe import describe as describe_photos
from scicevpr.errors import DatasetError, UsageError
from scicevpr.evaluation.baselines import BASELINES
from scicevpr.evaluation.benchmark import evaluate as evaluate_model
from scicevpr.evaluation.benchmark import evaluate_baseline
from scicevpr.evaluation.results import write_predictions
from scicevpr.models.checkpoint_io import read_metadata
from scicevpr.models.model import VPRModel
from scicevpr.models.weights import bundled_weights, load_model
from scicevpr.places import (
    Dataset,
    Place,
    bundled_city,
    find_descriptors,
    list_photos,
    parse_name,
    read_dataset,
    read_folders,
    save_descriptors,
)
from scicevpr.retrieval import PCA, ExactIndex, list_matches
from scicevpr.retrieval.pca import MAX_PHOTOS
from scicevpr.terminal import (
    Step,
    open_console,
    print_line,
    short,
    show_evaluation,
    show_matches,
    show_progress,
    write_json,
)


def evaluate(arguments: argparse.Namespace) -> int:
    """Score models and baselines on a data set."""
    check_outputs(arguments.json)
    dataset = read_data(arguments)
    if arguments.shuffle_queries is not None:
        dataset = dataset.shuffle_queries(arguments.shuffle_queries)
    if (arguments.pca_dim is None) != (arguments.pca_folder is None):
        raise UsageError("--pca-dim and --pca-folder belong together: the PCA is fitted on the photos of that folder.")
    rounding = "float32" if arguments.utm_rounding == "published" else "float64"
    scoring = {"ns": arguments.recall_values, "radius": arguments.radius, "rounding": rounding}
    models = load_models(arguments, ("scicevpr-t", "cricavpr-t"))
    console = open_console()
    results = []
    for title, model in models:
        with show_progress(title) as step:
            result = evaluate_model(
                model,
                dataset,
                database_grouping=_grouping(arguments.grouping),
                query_grouping=_grouping(arguments.query_grouping),
                batch_size=arguments.batch_size,
                preprocessing=chosen_preprocessing(model, arguments),
                pca=_pca(model, arguments, step) if arguments.pca_dim else None,
                progress=step,
                **scoring,
            )
        results.append(replace(result, title=title))
        show_evaluation(console, results[-1])
    for name in BASELINES if arguments.baselines else ():
        with show_progress(BASELINES[name].title) as step:
            results.append(evaluate_baseline(name, dataset, progress=step, **scoring))
        show_evaluation(console, results[-1])
    for note in results[0].dataset.notes:
        open_console(stderr=True).print(f"Note: {note}", markup=False, highlight=False, soft_wrap=True)
    if arguments.save_predictions:
        for result in results:
            path = write_predictions(result, arguments.save_predictions)
            print_line(console, f"Predictions of {result.title}: {path}")
    if arguments.json:
        write_json(arguments.json, {"results": [result.to_json() for result in results]})
        print_line(console, f"All results: {arguments.json}")
    return 0


def search(arguments: argparse.Namespace) -> int:
    """Show the most similar database photos of each query."""
    check_outputs(arguments.json)
    database = read_database(arguments)
    queries = [parse_name(path) for path in arguments.photos]
    models = load_models(arguments, ("scicevpr-t",))
    console, found = open_console(), []
    for title, model in models:
        with show_progress(title) as step:
            described = _descriptors(model, [place.path for place in queries], arguments, step, "queries")
            searched = stored_descriptors(model, database, arguments)
            if searched is None:
                searched = _descriptors(model, [place.path for place in database], arguments, step, "database")
        matches = ExactIndex(searched.values).search(described.values, arguments.top)
        answers = list_matches(matches, database, queries, arguments.radius)
        for query, answer in zip(queries, answers, strict=True):
            show_matches(console, f"{title}: {query.name}", answer)
        print_line(console, described.protocol_line())
        found.append(
            {
                "title": title,
                "protocol": {**described.protocol(), "database grouping": searched.grouping},
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
    [(title, model)] = load_models(arguments, ())
    with show_progress(title) as step:
        described = _descriptors(model, paths, arguments, step, "photos")
    if output.suffix == ".npy":
        np.save(output, described.values)
        write_json(output.with_name(output.name + ".json"), {"protocol": described.protocol(), "names": names})
    else:
        save_descriptors(output, described, names)
    console = open_console()
    print_line(console, f"{len(paths)} descriptors of {described.values.shape[1]} values: {output}")
    print_line(console, described.protocol_line())
    return 0


def verify(arguments: argparse.Namespace) -> int:
    """Check the installation against reference vectors; 1 when anything misses."""
    from scicevpr.verify import verify_folder

    _machine(arguments)
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


def read_data(arguments: argparse.Namespace) -> Dataset:
    """The data set that the options name; the bundled city where they name none."""
    labels = not arguments.no_labels
    if arguments.database or arguments.queries:
        if arguments.dataset or not (arguments.database and arguments.queries):
            raise UsageError("Give either --dataset, or both --database and --queries.")
        return read_folders(arguments.database, arguments.queries, labels)
    if arguments.dataset:
        return read_dataset(arguments.dataset, arguments.split, queries=arguments.query_folder, labels=labels)
    return replace(bundled_city(), use_labels=labels)


def read_database(arguments: argparse.Namespace) -> tuple[Place, ...]:
    """The database photos that the options name, without need of queries."""
    if arguments.database:
        if arguments.dataset:
            raise UsageError("Give either --dataset or --database.")
        return tuple(parse_name(path) for path in list_photos(arguments.database))
    if arguments.dataset:
        return read_dataset(arguments.dataset, arguments.split, queries=arguments.query_folder, labels=False).database
    return bundled_city().database


def _machine(arguments: argparse.Namespace) -> None:
    """Threads, and a device that is really there."""
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    try:
        torch.empty(1, device=arguments.device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"The device {arguments.device!r} cannot be used ({reason}). Try --device cpu.") from error


def load_models(arguments: argparse.Namespace, default: tuple[str, ...]) -> list[tuple[str, VPRModel]]:
    """Titles and models. A title names the file where the weights are not the bundled ones."""
    _machine(arguments)
    chosen = arguments.model or default
    loaded = []
    for name in (chosen,) if isinstance(chosen, str) else chosen:
        torch.manual_seed(arguments.seed)  # only random weights feel it
        bundled = name.lower() in VARIANTS
        model = load_model(
            name,
            variant=None if bundled else arguments.variant,
            device=arguments.device,
            dtype=getattr(torch, arguments.dtype),
            allow_untrained=arguments.allow_untrained,
        )
        title = model.variant.title if bundled else f"{model.variant.title} ({name})"
        loaded.append((title, model))
    return loaded


def chosen_preprocessing(model: VPRModel, arguments: argparse.Namespace) -> Preprocessing:
    """The variant's preprocessing with the options' changes."""
    chosen = model.variant.preprocessing
    if arguments.resize:
        chosen = replace(chosen, size=tuple(arguments.resize))
    return chosen if arguments.antialias is None else replace(chosen, antialias=arguments.antialias)


def _grouping(text: str | None) -> Grouping | None:
    return Grouping.parse(text) if text else None


def _descriptors(
    model: VPRModel, paths: list[Path], arguments: argparse.Namespace, step: Step, stage: str
) -> Descriptors:
    return describe_photos(
        model,
        paths,
        batch_size=arguments.batch_size,
        grouping=_grouping(arguments.grouping),
        preprocessing=chosen_preprocessing(model, arguments),
        progress=lambda done, total: step(stage, done, total),
    )


def stored_descriptors(
    model: VPRModel, database: tuple[Place, ...], arguments: argparse.Namespace
) -> Descriptors | None:
    """The bundled descriptors, where they are what would be computed now."""
    names = [place.name for place in database]
    packs = assets_folder() / "descriptors"
    return find_descriptors(packs, model, names, _grouping(arguments.grouping), chosen_preprocessing(model, arguments))


def _pca(model: VPRModel, arguments: argparse.Namespace, step: Step) -> PCA:
    """Fit on at most 2^14 photos of the folder, drawn with the seed."""
    photos = list_photos(arguments.pca_folder)
    if len(photos) > MAX_PHOTOS:
        rows = np.random.default_rng(arguments.seed).choice(len(photos), MAX_PHOTOS, replace=False)
        photos = [photos[row] for row in np.sort(rows)]
    described = _descriptors(model, photos, arguments, step, "PCA photos")
    return PCA.fit(
        described.values,
        arguments.pca_dim,
        seed=arguments.seed,
        fingerprint=described.fingerprint,
        weights=described.weights,
    )


def check_outputs(path: Path | None) -> None:
    """Say before the work, not after it, that a result cannot be written."""
    if path is None:
        return
    if path.is_dir():
        raise UsageError(f"{path} is a folder; a file name is needed.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DatasetError(f"The folder {path.parent} cannot be made ({error.strerror}).") from error


def _match_json(match: Any) -> dict[str, Any]:
    return {**{key: value for key, value in asdict(match).items() if key != "place"}, "database": str(match.place.path)}
