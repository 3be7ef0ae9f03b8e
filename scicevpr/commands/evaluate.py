"""What `scicevpr evaluate` does: models and baselines on a data set, from options to tables and files."""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from pathlib import Path

from scicevpr.cli.terminal import Step, open_console, print_line, show_evaluation, show_progress
from scicevpr.commands.data import pack_descriptors, pack_or_dataset, pack_reduction, packed_models, sound_photos
from scicevpr.commands.models import (
    check_published,
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
from scicevpr.evaluation.baselines import BASELINES
from scicevpr.evaluation.benchmark import evaluate as evaluate_model
from scicevpr.evaluation.benchmark import evaluate_baseline
from scicevpr.evaluation.groupings import published_grouping, published_rounding
from scicevpr.evaluation.pca_fit import fit_pca, named_pca, pca_cache_folder
from scicevpr.evaluation.query_methods import find_method
from scicevpr.models.model import VPRModel
from scicevpr.parsers.familiar import IGNORED
from scicevpr.retrieval import PCA


def evaluate(arguments: argparse.Namespace) -> int:
    """Score models and baselines on a data set."""
    check_output_options(arguments)
    check_published(arguments)
    method = find_method(arguments.test_method)
    check_pca_options(arguments)
    _say_ignored(arguments)
    dataset, pack = pack_or_dataset(arguments)
    if pack is not None and not all(place.path.is_file() for place in dataset.queries):
        raise UsageError(
            f"The pack {pack.title!r} has no photos of its queries. Give their folder with --photos, or score the "
            f"descriptors inside: scicevpr pack score {arguments.pack}"
        )
    if pack is None:
        dataset = sound_photos(dataset, arguments)
    if arguments.shuffle_queries is not None:
        dataset = dataset.shuffle_queries(arguments.shuffle_queries)
    rounding = "float32" if arguments.utm_rounding == "published" else "float64"
    scoring = {"ns": arguments.recall_values, "radius": arguments.radius, "rounding": rounding}
    models = load_models(arguments, packed_models(pack) or ("scicevpr-t", "cricavpr-t"))
    console = open_console()
    results = []
    for title, model in models:
        mode = chosen_precision(model, arguments)
        stored = pack_descriptors(model, pack, arguments, mode)
        reduction = pack_reduction(model, pack, stored)
        if reduction is not None and (arguments.pca_dim or arguments.pca_file):
            raise UsageError(
                f"The pack {pack.title!r} holds reduced descriptors with a PCA of its own. Leave --pca-… out."
            )
        with show_progress(title) as step:
            result = evaluate_model(
                model,
                dataset,
                test_method=method.name,
                majority_weight=arguments.majority_weight,
                without_itself=arguments.without_itself,
                database_grouping=chosen_grouping(model, arguments, dataset),
                query_grouping=chosen_query_grouping(arguments.query_grouping, model, dataset),
                preprocessing=chosen_preprocessing(model, arguments),
                precision=mode,
                database=stored,
                pca=reduction or chosen_pca(model, arguments, step, mode, dataset),
                progress=step,
                **reading_options(arguments),
                **scoring | ({"rounding": published_rounding(model.variant)} if arguments.published else {}),
            )
        if pack is not None:
            origin = "described now" if stored is None else f"of the pack {pack.title!r}, float16"
            result = replace(result, protocol={**result.protocol, "database descriptors": origin})
        results.append(add_intervals(arguments, replace(result, title=title)))
        show_evaluation(console, results[-1])
    for name in BASELINES if arguments.baselines else ():
        with show_progress(BASELINES[name].title) as step:
            result = evaluate_baseline(name, dataset, progress=step, **scoring)
        results.append(add_intervals(arguments, result))
        show_evaluation(console, results[-1])
    for note in results[0].dataset.notes:
        _note(note)
    write_outputs(arguments, results, console)
    return 0


def check_pca_options(arguments: argparse.Namespace) -> None:
    """Raise UsageError for PCA options that leave open what is to be fitted, or on which photos."""
    given = [option is not None for option in (arguments.pca_dim, arguments.pca_folder)]
    if arguments.pca_file is not None:
        if not arguments.pca_file.exists() and not all(given):
            raise UsageError(
                f"There is no PCA file at {arguments.pca_file}. To fit one and write it there, add --pca-dim and "
                "--pca-folder."
            )
    elif any(given) and not all(given):
        raise UsageError("--pca-dim and --pca-folder belong together: the PCA is fitted on the photos of that folder.")


def chosen_pca(
    model: VPRModel, arguments: argparse.Namespace, step: Step, precision: str | None, dataset: Dataset
) -> PCA | None:
    """The PCA that the options ask for: of a file, of the user's cache, or fitted now, in the precision given and in
    batches as large as the data set's, as published."""
    if arguments.pca_dim is None and arguments.pca_file is None:
        return None
    folder = arguments.pca_folder
    parent = arguments.eval_datasets_folder or os.environ.get("DATASETS_FOLDER")
    if folder is not None and not folder.exists() and parent:
        folder = Path(parent) / folder  # as the published codes read it
    options = {
        "solver": arguments.pca_solver,
        "seed": arguments.seed,
        "grouping": chosen_grouping(model, arguments, dataset) or published_grouping(model.variant, dataset),
        "preprocessing": chosen_preprocessing(model, arguments),
        "precision": precision,
        "progress": lambda done, total: step("PCA photos", done, total),
        **reading_options(arguments),
    }
    if arguments.pca_file is not None:
        return named_pca(arguments.pca_file, model, folder, arguments.pca_dim, **options)
    return fit_pca(model, folder, arguments.pca_dim, cache=pca_cache_folder(), **options)


def _say_ignored(arguments: argparse.Namespace) -> None:
    """One note for all options of other tools that have no effect on an evaluation."""
    given = [option for option in IGNORED if getattr(arguments, option.lstrip("-")) is not None]
    if given:
        reasons = dict.fromkeys(IGNORED[option] for option in given)
        _note(f"Accepted, but without effect here: {', '.join(given)} ({'; '.join(reasons)}).")


def _note(text: str) -> None:
    print_line(open_console(stderr=True), f"Note: {text}")
