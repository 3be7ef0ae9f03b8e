"""trust: fit how far answers can be trusted, and say how honest that is on a data set."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scicevpr.cli import options
from scicevpr.cli.matching import point_store, points_option
from scicevpr.cli.outputs import (
    check_outputs,
    make_table,
    open_console,
    plain_cell,
    print_line,
    print_note,
    show_progress,
    write_json,
)
from scicevpr.cli.rerank import read_sets
from scicevpr.errors import UsageError, WeightsError
from scicevpr.progress import of_stage

if TYPE_CHECKING:
    from rich.console import Console

    from scicevpr.datasets import Dataset
    from scicevpr.evaluation.answers import AnswerLists
    from scicevpr.models.model import VPRModel

FIGURES = (".pdf", ".svg", ".png", ".csv")


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Add the commands."""
    actions = options.add_actions(commands, "trust", "how far answers can be trusted: fit it, and judge the fit")
    parser = actions.add_parser(
        "fit",
        help="fit the probability that rank 1 is right, and that the place is in the database",
        description="Fitted on data with labels that is not judged later: the same queries are asked with and without "
        "their place in the database.",
    )
    add = parser.add_argument
    add("--on", nargs="+", required=True, metavar="DIR[:SPLIT]", help="data sets to fit on")
    add("--output", type=Path, metavar="FILE", help="file of fits (default: assets/weights/trust.json)")
    _common(parser)
    parser.set_defaults(run=fit)
    parser = actions.add_parser(
        "report", help="reliability, AUROC of every cue, risk over coverage: on a data set that was not fitted on"
    )
    options.data_options(parser)
    options.query_options(parser)
    add = parser.add_argument
    add("--fits", type=Path, metavar="FILE", help="file of fits (default: assets/weights/trust.json)")
    add("--rerank", action="store_true", help="judge the re-ranked answers")
    add(
        "--unrelated",
        nargs="?",
        const="drawn",
        metavar="DIR",
        help="also ask for pictures of no place: those of a folder, or 200 drawn ones",
    )
    add("--json", type=Path, metavar="FILE", help="write the numbers as JSON")
    add("--figure", type=Path, nargs="+", metavar="FILE", help=f"reliability and risk: {' '.join(FIGURES)}")
    _common(parser)
    parser.set_defaults(run=report)


def _common(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--no-inliers", action="store_true", help="from similarities alone, without local features")
    add("--top", type=options.positive, default=20, metavar="N", help="answers that are looked at (default: 20)")
    points_option(parser)
    options.model_options(parser, several="scicevpr-t and cricavpr-t")


def _answers(
    arguments: argparse.Namespace, title: str, model: VPRModel, dataset: Dataset, memo: dict[tuple[int, int], int]
) -> tuple[AnswerLists, AnswerLists, Any]:
    """Answers with and without the queries' places, and the evaluation behind them."""
    from scicevpr.cli import chosen_models as chosen
    from scicevpr.evaluation import benchmark
    from scicevpr.evaluation.answers import gather_answers

    checker = _checker(arguments)
    name = f"{dataset.name} / {dataset.split}"
    with show_progress(f"{title}, {dataset.name}") as step:
        result = benchmark.evaluate(
            model,
            dataset,
            ns=(1, arguments.top),
            progress=step,
            database_grouping=chosen.chosen_grouping(model, arguments, dataset),
        )
        if result.database is None or result.queries is None or result.overall is None:
            raise UsageError(f"{dataset.name} has no labels, so nobody knows which answers are right.")
        values, places = (result.database.values, result.queries.values), result.places()
        known, unknown = (
            gather_answers(
                name,
                dataset,
                *values,
                checker=checker,
                top=arguments.top,
                unknown=without,
                places=places,
                memo=memo,
                progress=of_stage(step, f"inliers {'without' if without else 'with'} the place"),
            )[0]
            for without in (False, True)
        )
    return known, unknown, result


def _checker(arguments: argparse.Namespace) -> Any:
    """Local features, unless they are not wanted."""
    if arguments.no_inliers:
        return None
    from scicevpr.local_features.rerank import make_checker

    return make_checker("xfeat", store=point_store(arguments))


def fit(arguments: argparse.Namespace) -> int:
    """Fit trust for each model."""
    from scicevpr.cli.chosen_models import load_models
    from scicevpr.evaluation.fits import bundled_fits, write_fit
    from scicevpr.evaluation.rerank import rerank_weight
    from scicevpr.evaluation.trust import fit_trust

    output = arguments.output or bundled_fits("trust")
    check_outputs(output)
    _checker(arguments)
    sets, console = read_sets(arguments.on), open_console()
    memos: list[dict[tuple[int, int], int]] = [{} for _ in sets]
    for title, model in load_models(arguments, ("scicevpr-t", "cricavpr-t")):
        pairs = [_answers(arguments, title, model, *part)[:2] for part in zip(sets, memos, strict=True)]
        known, unknown = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        kinds = {"similarities": False} if arguments.no_inliers else {"similarities": False, "inliers": True}
        weight = rerank_weight(model, "xfeat").value
        fitted = {kind: fit_trust(known, unknown, inliers, weight) for kind, inliers in kinds.items()}
        write_fit(output, model, {"trust": {kind: trust.to_json() for kind, trust in fitted.items()}})
        for kind, trust in fitted.items():
            for target, regression in trust.models.items():
                pairs_of = zip(regression.names, regression.coefficients, strict=True)
                words = ", ".join(f"{name} {value:+.2f}" for name, value in pairs_of)
                print_line(console, f"{title}, {target}, from {kind}, {trust.queries} queries: {words}")
    print_line(console, f"Fits: {output}")
    return 0


def report(arguments: argparse.Namespace) -> int:
    """Judge the fits on a data set."""
    from scicevpr.cli.chosen_data import read_data
    from scicevpr.cli.chosen_models import load_models
    from scicevpr.evaluation.rerank import rerank_weight
    from scicevpr.evaluation.trust import find_trust, trust_report

    for path in (arguments.json, *(arguments.figure or ())):
        check_outputs(path)
    for path in arguments.figure or ():
        if path.suffix.lower() not in FIGURES:
            raise UsageError(f"The figure {path} must end in one of {', '.join(FIGURES)}.")
    if arguments.rerank and arguments.no_inliers:
        raise UsageError("--rerank orders by inliers, and --no-inliers leaves them out. Leave one of the two out.")
    _checker(arguments)
    dataset, console, found = read_data(arguments), open_console(), []
    memo: dict[tuple[int, int], int] = {}
    for title, model in load_models(arguments, ("scicevpr-t", "cricavpr-t")):
        fits = {"similarities": find_trust(model, False, arguments.fits)}
        if not arguments.no_inliers:
            fits["inliers"] = find_trust(model, True, arguments.fits)
        if fits["similarities"] is None:
            raise WeightsError(f"No trust was fitted for {title}. Fit it: scicevpr trust fit --on DIR:SPLIT")
        known, unknown, result = _answers(arguments, title, model, dataset, memo)
        unrelated = _unrelated(arguments, model, dataset, result) if arguments.unrelated else None
        weight = rerank_weight(model, "xfeat").value if arguments.rerank else None
        content = trust_report(title, known, unknown, fits, unrelated, weight)
        found.append({**content, "weight of re-ranking": weight, "protocol": result.protocol})
        show_report(console, found[-1])
    if arguments.json:
        write_json(arguments.json, {"results": found})
        print_line(console, f"All numbers: {arguments.json}")
    if arguments.figure:
        from scicevpr.figures.paper import Drawing, Style
        from scicevpr.figures.paper.trust import RELIABILITY

        drawing = Drawing(RELIABILITY, found, Style(width="double"))
        for path in arguments.figure:
            print_line(console, f"Reliability: {drawing.write(path)}")
    return 0


def _unrelated(arguments: argparse.Namespace, model: VPRModel, dataset: Dataset, result: Any) -> AnswerLists:
    """Answers to pictures of no place."""
    from scicevpr.datasets import Photo, list_photos
    from scicevpr.descriptors.describe import describe
    from scicevpr.evaluation.answers import unknown_answers
    from scicevpr.evaluation.unrelated import unrelated_pictures

    folder = Path(arguments.unrelated)
    pictures: list[Any] = unrelated_pictures() if arguments.unrelated == "drawn" else list(list_photos(folder))
    described = describe(model, pictures)
    if model.variant.cross_image:
        print_note(f"Note: pictures of no place were described in batches of their own ({described.grouping}).")
    photos: list[Photo] = list(dataset.database)
    return unknown_answers(
        "pictures of no place",
        dataset,
        photos,
        result.database.values,
        described.values,
        pictures,
        _checker(arguments),
        arguments.top,
    )


def show_report(console: Console, content: dict[str, Any]) -> None:
    """The table of cues and the sentences."""
    for what in ("right against wrong", "known against unknown"):
        numbers = ("AUROC", "average precision", "calibration error")
        table = make_table("cue", "fitted", title=f"{content['title']}, {content['data']}: {what}", numbers=numbers)
        for row in content[what]:
            error = row["calibration error"]
            table.add_row(
                plain_cell(row["cue"]),
                row["fitted"],
                f"{row['auroc']:.3f}",
                f"{row['average precision']:.3f}",
                "" if error is None else f"{100 * error:.1f}",
            )
        console.print(table)
    called = "; ".join(f"{name} {value:.1%}" for name, value in content["called unknown"].items())
    print_line(
        console,
        f"From {content['from']}, fitted on {', '.join(content['fitted on'])}: Recall@1 {content['recall@1']:.1f}, "
        f"expected calibration error {100 * content['expected calibration error']:.1f} points. Called “probably not "
        f"in this database”: {called}.",
    )
    console.print()
