"""match, rerank: the point pairs of two photos; fitting the weight of re-ranking, and counting chance."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scicevpr.cli import options
from scicevpr.cli.matching import RERANKERS, point_store, points_option, searched
from scicevpr.cli.outputs import check_outputs, make_table, open_console, print_line, show_progress, write_json
from scicevpr.errors import UsageError
from scicevpr.progress import of_stage

if TYPE_CHECKING:
    from scicevpr.datasets import Dataset


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Add the commands."""
    parser = commands.add_parser("match", help="which points of two photos are the same: pairs, inliers, milliseconds")
    parser.add_argument("photos", nargs=2, type=Path, metavar="PHOTO")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the pairs as JSON")
    parser.set_defaults(run=match)

    actions = options.add_actions(commands, "rerank", "re-ranking by local features: fit its weight, count chance")
    parser = actions.add_parser(
        "fit",
        help="fit the weight of the inliers for a model, on several data sets",
        description="The weight with the best mean Recall@1 of the re-ranked answers, each data set counting the same.",
    )
    add = parser.add_argument
    add("--on", nargs="+", required=True, metavar="DIR[:SPLIT]", help="data sets to fit on, not those to judge by")
    add("--by", nargs="+", choices=RERANKERS[:2], default=list(RERANKERS[:2]), help="default: xfeat and tokens")
    add("--top", type=options.positive, default=20, metavar="N", help="candidates (default: 20)")
    add("--output", type=Path, metavar="FILE", help="file of fits (default: assets/weights/rerank.json)")
    points_option(parser)
    options.model_options(parser, several="scicevpr-t and cricavpr-t")
    parser.set_defaults(run=fit)
    parser = actions.add_parser(
        "chance",
        help="inliers of unrelated photos: the 99th percentile is what counts as chance",
        description="Draw pairs of photos that are far apart and count their inliers.",
    )
    options.data_options(parser)
    options.query_options(parser)
    add = parser.add_argument
    add("--pairs", type=options.positive, default=500, metavar="N", help="default: 500")
    add("--seed", type=int, default=0, help="default: 0")
    add("--json", type=Path, metavar="FILE", help="write the numbers as JSON")
    points_option(parser)
    parser.set_defaults(run=chance)


def match(arguments: argparse.Namespace) -> int:
    """The point pairs of two photos."""
    from scicevpr.local_features.pairs import match_photos

    check_outputs(arguments.json)
    check = match_photos(*arguments.photos)
    console = open_console()
    print_line(
        console,
        f"{len(check.inlier)} pairs of points, {check.inliers} of them inliers of one view geometry; "
        f"{1000 * check.seconds:.0f} ms.",
    )
    if arguments.json:
        write_json(arguments.json, {"photos": [str(path) for path in arguments.photos], **check.to_json()})
    return 0


def read_sets(names: list[str]) -> list[Dataset]:
    """Data sets given as DIR or DIR:SPLIT."""
    from scicevpr.datasets import read_dataset

    found = []
    for name in names:
        folder, _, split = name.rpartition(":") if not Path(name).is_dir() else (name, "", "")
        found.append(read_dataset(Path(folder or name), split=split or "test"))
    return found


def fit(arguments: argparse.Namespace) -> int:
    """Fit the weight of the inliers for each model and re-ranker."""
    from scicevpr.cli import chosen_models as chosen
    from scicevpr.evaluation import benchmark
    from scicevpr.evaluation.answers import gather_answers
    from scicevpr.evaluation.fits import bundled_fits, write_fit
    from scicevpr.evaluation.rerank import fit_weight
    from scicevpr.local_features.rerank import make_checker

    output = arguments.output or bundled_fits("rerank")
    check_outputs(output)
    sets, console = read_sets(arguments.on), open_console()
    memos: list[dict[tuple[int, int], int]] = [{} for _ in sets]
    for title, model in chosen.load_models(arguments, ("scicevpr-t", "cricavpr-t")):
        answers: dict[str, list[Any]] = {by: [] for by in arguments.by}
        for dataset, memo in zip(sets, memos, strict=True):
            with show_progress(f"{title}, {dataset.name}") as step:
                result = benchmark.evaluate(model, dataset, ns=(1, arguments.top), progress=step)
                database, queries = searched(result)
                for by in arguments.by:
                    found, _ = gather_answers(
                        f"{dataset.name} / {dataset.split}",
                        dataset,
                        database,
                        queries,
                        top=arguments.top,
                        checker=make_checker(by, model, point_store(arguments)),
                        places=result.places(),
                        memo=memo if by == "xfeat" else None,
                        progress=of_stage(step, f"{by}: queries"),
                    )
                    answers[by].append(found)
        fitted = {by: fit_weight(found, by) for by, found in answers.items()}
        write_fit(output, model, {"rerankers": fitted})
        for by, entry in fitted.items():
            table = make_table("weight", title=f"{title}, by {by}: Recall@1", numbers=[*entry["sets"], "mean"])
            for weight, recalls in entry["recall@1"].items():
                chosen_one = float(weight) == entry["weight"]
                cells = [f"{value:.1f}" for value in (*recalls, sum(recalls) / len(recalls))]
                table.add_row(weight, *cells, style="bold" if chosen_one else None)
            console.print(table)
    print_line(console, f"Fits: {output}")
    return 0


def chance(arguments: argparse.Namespace) -> int:
    """Inliers of unrelated photos."""
    import numpy as np

    from scicevpr.cli.chosen_data import read_data
    from scicevpr.datasets.ground_truth import utm_array
    from scicevpr.evaluation.answers import STREET
    from scicevpr.evaluation.rerank import unrelated_pairs
    from scicevpr.local_features.rerank import XFeatChecker

    check_outputs(arguments.json)
    dataset = read_data(arguments)
    if not dataset.positioned:
        raise UsageError("Unrelated photos are told by their positions, and this data set has photos without one.")
    photos, metres = (*dataset.database, *dataset.queries), STREET * dataset.truth.radius
    pairs, checker = (
        unrelated_pairs(utm_array(photos), arguments.pairs, metres, arguments.seed),
        XFeatChecker(point_store(arguments)),
    )
    counts = []
    with show_progress("Unrelated photos") as step:
        for number, (one, other) in enumerate(pairs.tolist(), 1):
            counts.append(checker.check(*(checker.features(photos[row].path) for row in (one, other))).inliers)
            step("pairs", number, len(pairs))
    limits = {f"{q} %": float(np.percentile(counts, q)) for q in (50, 90, 99)}
    console = open_console()
    print_line(
        console,
        f"{dataset.name}: {len(counts)} pairs of photos more than {metres:g} m apart share "
        f"{limits['50 %']:.0f} inliers in the median and {limits['99 %']:.0f} at the 99th percentile: chance.",
    )
    if arguments.json:
        content = {"dataset": f"{dataset.name} / {dataset.split}", "metres": metres, "seed": arguments.seed}
        write_json(arguments.json, {**content, "percentiles": limits, "inliers": counts, "protocol": checker.label})
    return 0
