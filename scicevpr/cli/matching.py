"""match, rerank: point pairs of two photos; fitting and judging re-ranking; what `evaluate --rerank --pr` prints."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scicevpr.cli import options
from scicevpr.cli.outputs import (
    add_intervals,
    check_outputs,
    make_table,
    open_console,
    plain_cell,
    print_line,
    show_evaluation,
    show_progress,
    write_json,
)
from scicevpr.errors import UsageError
from scicevpr.progress import of_stage

if TYPE_CHECKING:
    from rich.console import Console

    from scicevpr.datasets import Dataset, Photo
    from scicevpr.evaluation.precision_recall import PRResult
    from scicevpr.evaluation.rerank import Reranked
    from scicevpr.evaluation.results import Evaluation
    from scicevpr.local_features.store import PointStore
    from scicevpr.models.model import VPRModel
    from scicevpr.retrieval.matches import Matches

RERANKERS = ("xfeat", "tokens", "inliers")
CURVE_FILES = (".json", ".csv", ".tex", ".pdf", ".svg", ".png")


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


def points_option(parser: argparse.ArgumentParser) -> None:
    """Where the points of photos are kept."""
    parser.add_argument(
        "--points",
        type=Path,
        metavar="DIR",
        help="folder in which the points of photos are kept and found again (default: in memory, for this run)",
    )


def rerank_options(parser: argparse.ArgumentParser) -> None:
    """Whether and how answers are re-ranked."""
    add = parser.add_argument_group("re-ranking by local features").add_argument
    add("--rerank", type=options.positive, metavar="N", help="re-rank the first N answers (20 is usual)")
    add(
        "--rerank-by",
        choices=RERANKERS,
        nargs="+",
        default=["xfeat"],
        metavar="NAME",
        help="xfeat (similarity and inliers of learned points; default), tokens (similarity and inliers of the model's "
        "patch tokens), inliers (of learned points, alone); several give a row each",
    )
    add("--rerank-weight", type=float, metavar="W", help="of ln(1 + inliers) (default: as fitted for the model)")
    add(
        "--rerank-below",
        type=float,
        metavar="MARGIN",
        help="re-rank only where the first answer is less than so much more similar than the best other place",
    )
    add(
        "--points",
        type=Path,
        metavar="DIR",
        help="folder in which the points of photos are kept and found again (default: in memory, for this run)",
    )


def search_options(parser: argparse.ArgumentParser) -> None:
    """Whether the answers of a search are re-ranked."""
    add = parser.add_argument
    add("--rerank", type=options.positive, metavar="N", help="re-rank the first N answers by local features")
    add("--rerank-by", choices=RERANKERS, default="xfeat", help="default: xfeat; as in `evaluate`")
    points_option(parser)


def rerank_search(
    arguments: argparse.Namespace,
    model: VPRModel,
    matches: Matches,
    database: Sequence[Photo],
    queries: Sequence[Photo],
) -> tuple[Matches, list[list[int]], dict[str, str]]:
    """The matches re-ranked as the options ask, inliers by query and rank (nothing where not asked for), and what the
    protocol says of it."""
    if not arguments.rerank:
        return matches, [[] for _ in queries], {}
    from scicevpr.evaluation.rerank import rerank_weight
    from scicevpr.local_features.rerank import check_candidates, make_checker, reorder, rerank_order

    by = arguments.rerank_by
    weight, checker = rerank_weight(model, by), make_checker(by, model, point_store(arguments))
    with show_progress("Re-ranking") as step:
        checks = check_candidates(
            checker, matches, database, queries, arguments.rerank, progress=of_stage(step, "queries")
        )
    order = rerank_order(matches.similarities, checks.counts, by, weight.value)
    inliers = [counts[own][counts[own] >= 0].tolist() for counts, own in zip(checks.counts, order, strict=True)]
    label = f"best {arguments.rerank} by {by}, weight {weight.value:g} ({weight.source}); {checker.label}"
    return reorder(matches, order), inliers, {"re-ranking": label}


def pr_options(parser: argparse.ArgumentParser) -> None:
    """Whether precision-recall curves are made."""
    add = parser.add_argument_group("precision and recall").add_argument
    add(
        "--pr",
        nargs="*",
        type=Path,
        metavar="FILE",
        help="average precision, maximum F1, recall at 100 %% precision, extended precision; with files also as "
        f"{' '.join(CURVE_FILES)}, by their endings",
    )
    add(
        "--pr-soft-radius",
        type=float,
        metavar="METRES",
        help="pairs within it are neither right nor wrong, unless they are right (default: none)",
    )
    add(
        "--pr-thresholds",
        type=options.positive,
        metavar="N",
        help="so many thresholds, evenly spaced (VPR_Tutorial: 100; default: every similarity that occurs)",
    )


def check_matching_options(arguments: argparse.Namespace) -> None:
    """Say before the work what cannot be done. The lists of answers become as long as there are candidates."""
    if not arguments.rerank:
        for option in ("rerank_weight", "rerank_below", "points"):
            if getattr(arguments, option) is not None:
                raise UsageError(f"--{option.replace('_', '-')} belongs to --rerank N; add it.")
    elif arguments.no_labels:
        raise UsageError("--rerank needs labels here: without them nobody can say whether it helps.")
    else:
        arguments.recall_values = sorted({*arguments.recall_values, arguments.rerank})
        from scicevpr.local_features.rerank import make_checker

        for by in arguments.rerank_by:
            if by != "tokens":
                make_checker(by)  # says at once what is not installed
    for path in arguments.pr or ():
        if path.suffix.lower() not in CURVE_FILES:
            raise UsageError(f"The file {path} of --pr must end in one of {', '.join(CURVE_FILES)}.")
        check_outputs(path)
    if arguments.pr is None and (arguments.pr_soft_radius or arguments.pr_thresholds):
        raise UsageError("--pr-soft-radius and --pr-thresholds belong to --pr; add it.")
    if arguments.pr is not None and arguments.no_labels:
        raise UsageError("--pr needs labels, but --no-labels ignores them. Leave one of the two out.")


def after_evaluation(
    arguments: argparse.Namespace, result: Evaluation, model: VPRModel, console: Console
) -> list[Evaluation]:
    """What --pr and --rerank add to one model's result; the re-ranked results."""
    if arguments.pr is not None:
        from scicevpr.evaluation.precision_recall import precision_recall

        database, queries = _searched(result)
        curves = precision_recall(
            result.title,
            result.dataset,
            database,
            queries,
            soft_radius=arguments.pr_soft_radius,
            thresholds=arguments.pr_thresholds,
            places=result.places(),
            intervals=not arguments.no_intervals,
            positives=result.positives,
        )
        arguments.pr_curves = [*getattr(arguments, "pr_curves", []), curves]
        show_curves(console, curves)
    found = []
    for by in arguments.rerank_by if arguments.rerank else ():
        reranked = rerank_one(arguments, result, model, by)
        found.append(add_intervals(arguments, reranked.result))
        show_evaluation(console, found[-1])
        show_reranked(console, reranked)
    return found


def _searched(result: Evaluation) -> tuple[Any, Any]:
    """The descriptors that were compared."""
    if result.database is None or result.queries is None or result.protocol.get("PCA", "none") != "none":
        raise UsageError("--pr needs the descriptors as the model gives them: leave the PCA out.")
    if len(result.queries.values) != len(result.dataset.queries):
        raise UsageError("--pr needs one descriptor a query: leave --test-method out.")
    return result.database.values, result.queries.values


def rerank_one(arguments: argparse.Namespace, result: Evaluation, model: VPRModel, by: str) -> Reranked:
    """One result re-ranked in one way."""
    from scicevpr.evaluation.rerank import RerankWeight, rerank_evaluation, rerank_weight
    from scicevpr.local_features.rerank import make_checker

    weight = rerank_weight(model, by)
    if arguments.rerank_weight is not None and by != "inliers":
        weight = RerankWeight(arguments.rerank_weight, "as asked for")
    checker = make_checker(by, model, point_store(arguments))
    with show_progress(f"{result.title}, re-ranking by {by}") as step:
        return rerank_evaluation(
            result,
            checker,
            by=by,
            weight=weight,
            top=arguments.rerank,
            below=arguments.rerank_below,
            progress=of_stage(step, "queries"),
        )


def point_store(arguments: argparse.Namespace) -> PointStore:
    """The store that the options name; the same one for everything in a run."""
    from scicevpr.local_features.store import PointStore

    if getattr(arguments, "point_store", None) is None:
        arguments.point_store = PointStore(arguments.points)
    return arguments.point_store


# ---- tables ----------------------------------------------------------------------------------------------------------


def show_reranked(console: Console, reranked: Reranked) -> None:
    """One stage against two: Recall@N, time, bytes, and where it pays."""
    numbers = ("N", "one stage", "re-ranked", "difference", "interval", "p")
    table = make_table(title=f"{reranked.before.title}: one stage and re-ranked by {reranked.by}", numbers=numbers)
    for row in reranked.paired:
        limits = "" if row.low is None else f"[{row.low:+.1f}, {row.high:+.1f}]"
        table.add_row(
            str(row.n),
            f"{row.recall_b:.1f}",
            f"{row.recall_a:.1f}",
            f"{row.difference:+.1f}",
            plain_cell(limits),
            f"{row.p_value:.3f}",
        )
    console.print(table)
    checks = reranked.checks
    print_line(
        console,
        f"{checks.query_ms:.0f} ms a query where points are kept (a photo {checks.find_ms:.1f} ms, a pair "
        f"{checks.check_ms:.1f} ms); {checks.bytes_a_photo / 1000:.0f} kB a photo.",
    )
    for part in reranked.pays:
        print_line(
            console,
            f"Re-ranked only the {part['share']:.0%} of smallest margin (below {part['margin']:.3f}): Recall@1 "
            f"{part['recall@1']:.1f}.",
        )
    console.print()


def show_curves(console: Console, curves: PRResult) -> None:
    """The scores of all queries, and of each condition."""
    for matching, parts in curves.curves.items():
        scores = list(parts["all"].scores)
        table = make_table("condition", title=f"{curves.title}: precision and recall, {matching}", numbers=scores)
        for condition, curve in parts.items():
            cells = []
            for score, value in curve.scores.items():
                low, high = curve.intervals.get(score, (None, None))
                cells.append(f"{value:.3f}" + ("" if low is None else f" [{low:.3f}, {high:.3f}]"))
            table.add_row(plain_cell(condition), *map(plain_cell, cells), style="bold" if condition == "all" else None)
        console.print(table)
    console.print()


def write_curves(arguments: argparse.Namespace, console: Console) -> None:
    """The files of --pr, for all models of the run."""
    curves = getattr(arguments, "pr_curves", [])
    if not curves:
        return
    from scicevpr.figures.paper import Drawing, Style
    from scicevpr.figures.paper.trust import PRECISION_RECALL

    drawing = Drawing(PRECISION_RECALL, curves, Style(width="double"))
    for path in arguments.pr:
        if path.suffix.lower() == ".json":
            write_json(path, {"results": [part.to_json() for part in curves]})
        else:
            drawing.write(path)
        print_line(console, f"Precision and recall: {path}")


# ---- match, rerank fit, rerank chance --------------------------------------------------------------------------------


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
                database, queries = _searched(result)
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
