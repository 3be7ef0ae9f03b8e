"""evaluate: models and baselines on a data set, from options to tables and files."""

from __future__ import annotations

import argparse
from dataclasses import replace

from scicevpr.cli import options
from scicevpr.cli.outputs import add_intervals, check_output_options, output_options, write_outputs
from scicevpr.cli.terminal import open_console, print_note, show_evaluation, show_progress
from scicevpr.errors import UsageError

IGNORED = {
    "--foundation_model_path": "a checkpoint holds its own backbone",
    "--crica_path": "the teacher matters only in training",
    "--train_positives_dist_threshold": "training",
    "--train_batch_size": "training",
    "--epochs_num": "training",
    "--lr": "training",
    "--optim": "training",
    "--patience": "training",
}
"""Option of the published codes -> why it has no effect on an evaluation."""


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "evaluate",
        help="Recall@N, MRR and F1@N of models on a data set (the bundled city unless told otherwise)",
        description="Describe database and queries, search exactly, and score per condition.",
    )
    options.data_options(parser)
    options.pack_options(parser)
    options.query_options(parser)
    options.model_options(parser, several="scicevpr-t and cricavpr-t")
    options.precision_option(parser)
    options.storage_options(parser)
    add = parser.add_argument
    add("--baselines", action="store_true", help="also measure ImageNet features, HOG and a colour histogram")
    add("--test-method", "--test_method", default="hard_resize", metavar="NAME",
        help="how queries are viewed: hard_resize (default), single_query, central_crop, five_crops, nearest_crop or "
        "maj_voting; database photos are always resized whole")
    add("--majority-weight", "--majority_weight", type=float, default=0.01, metavar="W",
        help="how much a vote counts in maj_voting (default: 0.01)")
    options.query_grouping_option(
        parser,
        "; also place or place:16 (queries of one place together, as far as 16 allow: it uses the true positions)",
    )
    add("--shuffle-queries", type=int, metavar="SEED",
        help="shuffle the queries: shows whether a model feels its batch")
    add("--published", action="store_true",
        help="what the published numbers were measured with: no antialias, published batches, and for SciceVPR and "
        "its teacher positions rounded to float32 (CricaVPR's code keeps float64)")
    add("--without-itself", action="store_true",
        help="leave a query that is itself in the database out of its own answers")
    options.damage_option(parser)
    options.scoring_options(parser)
    options.pca_options(parser)
    _options_of_other_tools(parser)
    output_options(parser)
    parser.set_defaults(run=evaluate)


def _options_of_other_tools(parser: argparse.ArgumentParser) -> None:
    """Options as the published SciceVPR and CricaVPR codes (--resume, --backbone_arch ...) and VPR-methods-evaluation
    (--method ...) call them, so that a command line people know still works. What the weights decide is checked
    against them; what only matters in training is accepted, and said once."""
    add = parser.add_argument_group("names of other tools").add_argument
    add("--resume", dest="weights", action="append", metavar="FILE", help="a checkpoint, as --weights")
    add("--method", metavar="NAME", help="scicevpr, super-cricavpr, cricavpr, or what --model accepts")
    add("--backbone", "--backbone_arch", metavar="NAME",
        help="t, s, b, l or dinov2_vits14, dinov2_vitb14, dinov2_vitl14 (default: the weights', or t with --method)")
    for name in ("--descriptors_dimension", "--layer1", "--backbone_out_dim", "--mix_in_dim", "--token_num"):
        add(name, type=options.positive, metavar="N", help="must be what the weights are for")
    add("--token_ratio", type=float, metavar="R", help="must be 1")
    add("--out_indices", type=int, nargs="+", metavar="N", help="tapped blocks; must be what the weights are for")
    for name, reason in IGNORED.items():
        add(name, metavar="VALUE", help=f"no effect here: {reason}")


def evaluate(arguments: argparse.Namespace) -> int:
    """Score models and baselines on a data set."""
    from scicevpr.cli import chosen_models as chosen
    from scicevpr.cli.chosen_data import pack_descriptors, pack_or_dataset, packed_models, sound_photos
    from scicevpr.evaluation import benchmark
    from scicevpr.evaluation.baselines import BASELINES
    from scicevpr.evaluation.groupings import published_rounding
    from scicevpr.evaluation.query_methods import find_method

    check_output_options(arguments)
    chosen.check_published(arguments)
    method = find_method(arguments.test_method)
    chosen.check_pca_options(arguments)
    _say_ignored(arguments)
    dataset, pack = pack_or_dataset(arguments)
    if pack is not None and not all(photo.path.is_file() for photo in dataset.queries):
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
    console, results = open_console(), []
    for title, model in chosen.load_models(arguments, packed_models(pack) or ("scicevpr-t", "cricavpr-t")):
        mode = chosen.chosen_precision(model, arguments)
        stored, pca = pack_descriptors(model, pack, arguments, mode)
        if pca is not None and (arguments.pca_dim or arguments.pca_file):
            raise UsageError(
                f"The pack {pack.title!r} holds reduced descriptors with a PCA of its own. Leave --pca-… out."
            )
        with show_progress(title) as step:
            result = benchmark.evaluate(
                model,
                dataset,
                test_method=method.name,
                majority_weight=arguments.majority_weight,
                without_itself=arguments.without_itself,
                database_grouping=chosen.chosen_grouping(model, arguments, dataset),
                query_grouping=chosen.chosen_query_grouping(arguments.query_grouping, model, dataset),
                preprocessing=chosen.chosen_preprocessing(model, arguments),
                precision=mode,
                database=stored,
                pca=pca or chosen.chosen_pca(model, arguments, step, mode, dataset),
                progress=step,
                **chosen.loading_options(arguments),
                **scoring | ({"rounding": published_rounding(model.variant)} if arguments.published else {}),
            )
        if pack is not None:
            origin = "described now" if stored is None else f"of the pack {pack.title!r}, float16"
            result = replace(result, protocol={**result.protocol, "database descriptors": origin})
        results.append(add_intervals(arguments, replace(result, title=title)))
        show_evaluation(console, results[-1])
    for name in BASELINES if arguments.baselines else ():
        with show_progress(BASELINES[name].title) as step:
            result = benchmark.evaluate_baseline(name, dataset, progress=step, **scoring)
        results.append(add_intervals(arguments, result))
        show_evaluation(console, results[-1])
    for note in results[0].dataset.notes:
        print_note(f"Note: {note}")
    write_outputs(arguments, results, console)
    return 0


def _say_ignored(arguments: argparse.Namespace) -> None:
    """One note for all options of other tools that have no effect on an evaluation."""
    given = [option for option in IGNORED if getattr(arguments, option.lstrip("-")) is not None]
    if given:
        reasons = dict.fromkeys(IGNORED[option] for option in given)
        print_note(f"Note: Accepted, but without effect here: {', '.join(given)} ({'; '.join(reasons)}).")
