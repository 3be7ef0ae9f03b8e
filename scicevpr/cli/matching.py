"""What `evaluate` and `search` do with --rerank and --pr: their options, their work and their tables."""

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

    from scicevpr.datasets import Photo
    from scicevpr.evaluation.precision_recall import PRResult
    from scicevpr.evaluation.rerank import Reranked
    from scicevpr.evaluation.results import Evaluation
    from scicevpr.local_features.store import PointStore
    from scicevpr.models.model import VPRModel
    from scicevpr.retrieval.matches import Matches

RERANKERS = ("xfeat", "tokens", "inliers")
CURVE_FILES = (".json", ".csv", ".tex", ".pdf", ".svg", ".png")


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

        database, queries = searched(result)
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


def searched(result: Evaluation) -> tuple[Any, Any]:
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
