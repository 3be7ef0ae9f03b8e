"""evaluate, score, compare: models on a data set, descriptors from files, two results query by query."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from scicevpr.cli import matching, options
from scicevpr.cli.outputs import (
    add_intervals,
    check_output_options,
    check_outputs,
    make_table,
    open_console,
    output_options,
    plain_cell,
    print_line,
    print_note,
    show_evaluation,
    show_progress,
    write_json,
    write_outputs,
)
from scicevpr.errors import UsageError

if TYPE_CHECKING:
    from rich.table import Table

    from scicevpr.evaluation.comparison import Comparison, StoredRelevance

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
    """Add the commands."""
    parser = commands.add_parser(
        "evaluate",
        help="Recall@N, MRR and F1@N of models on a data set (the bundled city unless told otherwise)",
        description="Describe database and queries, search exactly, and score per condition.",
    )
    parser.add_argument("folder", type=Path, nargs="?", metavar="FOLDER", help="a data set folder, as --dataset FOLDER")
    options.data_options(parser)
    options.pack_options(parser)
    options.query_options(parser)
    options.model_options(parser, several="scicevpr-t and cricavpr-t")
    options.precision_option(parser)
    options.storage_options(parser)
    add = parser.add_argument
    add("--baselines", action="store_true", help="also measure ImageNet features, HOG and a colour histogram")
    add(
        "--test-method",
        "--test_method",
        default="hard_resize",
        metavar="NAME",
        help="how queries are viewed: hard_resize (default), single_query, central_crop, five_crops, nearest_crop or "
        "maj_voting; database photos are always resized whole",
    )
    add(
        "--majority-weight",
        "--majority_weight",
        type=float,
        default=0.01,
        metavar="W",
        help="how much a vote counts in maj_voting (default: 0.01)",
    )
    options.query_grouping_option(
        parser,
        "; also place or place:16 (queries of one place together, as far as 16 allow: it uses the true positions)",
    )
    add(
        "--shuffle-queries", type=int, metavar="SEED", help="shuffle the queries: shows whether a model feels its batch"
    )
    add(
        "--published",
        action="store_true",
        help="what the published numbers were measured with: no antialias, published batches, and for SciceVPR and "
        "its teacher positions rounded to float32 (CricaVPR's code keeps float64)",
    )
    add(
        "--without-itself",
        action="store_true",
        help="leave a query that is itself in the database out of its own answers",
    )
    options.damage_option(parser)
    options.scoring_options(parser)
    options.pca_options(parser)
    matching.rerank_options(parser)
    matching.pr_options(parser)
    _options_of_other_tools(parser)
    output_options(parser)
    parser.set_defaults(run=evaluate)

    parser = commands.add_parser(
        "score",
        help="score descriptors that were exported earlier, or by another method, without a model",
        description="Search and score descriptors from files (.npy, .safetensors). Which photos they belong to is read "
        "from the descriptors.json beside them, unless a data set is named.",
    )
    add = parser.add_argument
    add(
        "--database-descriptors",
        "--database_descriptors",
        type=Path,
        required=True,
        metavar="FILE",
        help="descriptors of the database photos, in the order of their paths",
    )
    add(
        "--query-descriptors",
        "--queries-descriptors",
        "--queries_descriptors",
        type=Path,
        required=True,
        metavar="FILE",
        help="descriptors of the queries",
    )
    add("--title", metavar="NAME", help="the model's name in tables (default: as recorded)")
    options.data_options(parser)
    options.query_options(parser)
    options.scoring_options(parser)
    add(
        "--test_method",
        "--test-method",
        metavar="NAME",
        help="nearest_crop, maj_voting ... for queries of five crops (default: as recorded, else hard_resize)",
    )
    add(
        "--majority_weight",
        "--majority-weight",
        type=float,
        default=0.01,
        metavar="W",
        help="for maj_voting (default: 0.01)",
    )
    output_options(parser, descriptors=False)
    parser.set_defaults(run=score)

    parser = commands.add_parser(
        "compare",
        help="is one model better than another on the same queries? paired differences with intervals and p-values",
        description="Compare two results of `scicevpr evaluate --json`, query by query. Several p-values at once call "
        "for a stricter bar.",
    )
    add = parser.add_argument
    add("files", nargs="+", type=Path, metavar="RESULTS.json", help="one or two files with two results")
    add("--models", nargs=2, metavar=("A", "B"), help="titles of the two results, where the files hold more than two")
    add(
        "--recall-values",
        "--recall_values",
        type=options.positive,
        nargs="+",
        metavar="N",
        help="default: all that both results have",
    )
    options.intervals_option(parser)
    add("--seed", type=int, default=0, help="of the bootstrap (default: 0)")
    add("--json", type=Path, metavar="FILE", help="write the comparison as JSON")
    parser.set_defaults(run=compare)


def _options_of_other_tools(parser: argparse.ArgumentParser) -> None:
    """Options as the published SciceVPR and CricaVPR codes (--resume, --backbone_arch ...) and VPR-methods-evaluation
    (--method ...) call them, so that a command line people know still works. What the weights decide is checked
    against them; what only matters in training is accepted, and said once."""
    add = parser.add_argument_group("names of other tools").add_argument
    add("--resume", dest="weights", action="append", metavar="FILE", help="a checkpoint, as --weights")
    add("--method", metavar="NAME", help="scicevpr, super-cricavpr, cricavpr, or what --model accepts")
    add(
        "--backbone",
        "--backbone_arch",
        metavar="NAME",
        help="t, s, b, l or dinov2_vits14, dinov2_vitb14, dinov2_vitl14 (default: the weights', or t with --method)",
    )
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
    from scicevpr.evaluation.protocols import find_method, published_rounding

    check_output_options(arguments)
    matching.check_matching_options(arguments)
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
        if pack is not None and pca is not None and (arguments.pca_dim or arguments.pca_file):
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
        results += matching.after_evaluation(arguments, results[-1], model, console)
    for name in BASELINES if arguments.baselines else ():
        with show_progress(BASELINES[name].title) as step:
            result = benchmark.evaluate_baseline(name, dataset, progress=step, **scoring)
        results.append(add_intervals(arguments, result))
        show_evaluation(console, results[-1])
    for note in results[0].dataset.notes:
        print_note(f"Note: {note}")
    write_outputs(arguments, results, console)
    matching.write_curves(arguments, console)
    return 0


def _say_ignored(arguments: argparse.Namespace) -> None:
    """One note for all options of other tools that have no effect on an evaluation."""
    given = [option for option in IGNORED if getattr(arguments, option.lstrip("-")) is not None]
    if given:
        reasons = dict.fromkeys(IGNORED[option] for option in given)
        print_note(f"Note: Accepted, but without effect here: {', '.join(given)} ({'; '.join(reasons)}).")


def score(arguments: argparse.Namespace) -> int:
    """Score descriptors from files."""
    from scicevpr.cli.chosen_data import read_data
    from scicevpr.evaluation.stored import open_descriptors, recorded_dataset, score_stored

    check_output_options(arguments)
    database, queries = open_descriptors(arguments.database_descriptors), open_descriptors(arguments.query_descriptors)
    named = arguments.dataset or arguments.eval_dataset_name or arguments.database or arguments.queries
    dataset = read_data(arguments) if named else recorded_dataset(database, queries, labels=not arguments.no_labels)
    result = score_stored(
        database,
        queries,
        dataset,
        ns=arguments.recall_values,
        radius=arguments.radius,
        rounding="float32" if arguments.utm_rounding == "published" else "float64",
        test_method=arguments.test_method,
        majority_weight=arguments.majority_weight,
        title=arguments.title,
    )
    console, result = open_console(), add_intervals(arguments, result)
    show_evaluation(console, result)
    for note in dataset.notes:
        print_note(f"Note: {note}")
    write_outputs(arguments, [result], console)
    return 0


def compare(arguments: argparse.Namespace) -> int:
    """Compare two results query by query."""
    from scicevpr.evaluation import comparison

    check_outputs(arguments.json)
    pair, ns = _chosen(arguments), arguments.recall_values
    found = comparison.compare(*pair, ns, by=arguments.intervals_by, seed=arguments.seed)
    console = open_console()
    console.print(_comparison_table(found))
    print_line(console, "Protocol: " + " · ".join(f"{key} {value}" for key, value in found.protocol.items()))
    for key, (a, b) in found.differing.items():
        print_line(console, f"Differs: {key}: A {a}; B {b}")
    if arguments.json:
        write_json(arguments.json, {"comparison": found.to_json()})
        print_line(console, f"The comparison: {arguments.json}")
    return 0


def _chosen(arguments: argparse.Namespace) -> tuple[StoredRelevance, StoredRelevance]:
    """The two results meant. With two files the first of --models is looked for in the first file."""
    from scicevpr.evaluation.comparison import read_relevance

    if len(arguments.files) > 2:
        raise UsageError(f"Two results are compared, from one or two files, not from {len(arguments.files)}.")
    found = [read_relevance(path) for path in arguments.files]
    if arguments.models:
        sources = found if len(found) == 2 else found * 2
        pair = [_named(source, title) for source, title in zip(sources, arguments.models, strict=True)]
    else:
        pair = [result for results in found for result in results]
        if len(pair) != 2 or [] in found:
            titles = ", ".join(f"{result.title!r}" for result in pair) or "none"
            if len(pair) < 2:
                raise UsageError(f"Two results are needed, and the files hold {titles} only. Name a second file.")
            raise UsageError(f"The files hold these results: {titles}. Choose two with --models A B.")
    a, b = pair
    if a.title == b.title and len(found) == 2:  # one model under two protocols: the files tell them apart
        a, b = (replace(x, title=f"{x.title} ({path})") for x, path in zip(pair, arguments.files, strict=True))
    return a, b


def _named(results: list[StoredRelevance], title: str) -> StoredRelevance:
    found = [result for result in results if result.title.lower() == title.lower()]
    if len(found) != 1:
        titles = ", ".join(f"{result.title!r}" for result in results)
        raise UsageError(f"{len(found)} results have the title {title!r}; the file holds {titles}.")
    return found[0]


def _comparison_table(comparison: Comparison) -> Table:
    numbers = ("N", "queries", "A", "B", "A - B", "interval", "only A right", "only B right", "p")
    table = make_table("condition", title=f"A: {comparison.a}   B: {comparison.b}", numbers=numbers)
    for condition, rows in comparison.rows.items():
        for row in rows:
            table.add_row(
                plain_cell(condition),
                str(row.n),
                str(row.queries),
                f"{row.recall_a:.1f}",
                f"{row.recall_b:.1f}",
                f"{row.difference:+.1f}",
                plain_cell("" if row.low is None else f"[{row.low:+.1f}, {row.high:+.1f}]"),
                str(row.only_a),
                str(row.only_b),
                f"{row.p_value:.3f}" if row.p_value >= 0.001 else f"{row.p_value:.1e}",
                style="bold" if condition == "all" else None,
            )
    return table
