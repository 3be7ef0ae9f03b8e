"""figure: the figures for paper, the same bytes as the app draws."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scicevpr.cli import options
from scicevpr.cli.outputs import check_outputs, open_console, print_line, show_progress
from scicevpr.errors import UsageError

if TYPE_CHECKING:
    from scicevpr.datasets import Dataset, Photo
    from scicevpr.figures.paper.subjects import Described, Subject
    from scicevpr.models.model import VPRModel

NAMES = ("figure-1", "figure-2", "figure-4", "fusion", "attention", "strip", "recall", "conditions", "table")
BOTH = ("scicevpr-t", "cricavpr-t")
DEFAULTS = {"fusion": ("scicevpr-t",), "attention": ("cricavpr-t",)}


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "figure",
        help="publication figures: vector PDF and SVG, PNG, CSV of the plotted numbers, LaTeX, caption",
        description="Draw a figure for paper, the same bytes as the app's Figures tab with the same choices.",
    )
    add = parser.add_argument
    add(
        "name",
        choices=NAMES,
        metavar="NAME",
        help="figure-1 (queries alone and in pairs), figure-2 (Recall@1 against batch size and order), figure-4 (the "
        "14 regions of a pair), fusion, attention, strip (a query's best answers), recall, conditions, table",
    )
    add(
        "--output",
        type=Path,
        nargs="+",
        required=True,
        metavar="FILE",
        help="files to write, by their endings: .pdf .svg .png .csv .tex (table only) .txt (the caption)",
    )
    add("--csv", type=Path, metavar="FILE", help="also the plotted numbers")
    add("--latex", type=Path, metavar="FILE", help="also the table for LaTeX (figure table only)")
    add("--caption", type=Path, metavar="FILE", help="also the caption with the whole protocol")
    add = parser.add_argument_group("looks").add_argument
    add("--width", choices=("single", "double"), default="double", help="3.3 or 6.9 inches (default: double)")
    add("--font-size", type=float, default=8.0, metavar="POINTS", help="5 to 14 (default: 8)")
    add("--typeface", choices=("sans", "serif"), default="sans", help="embedded in PDF files (default: sans)")
    add("--palette", choices=("colour", "grey"), default="colour", help="colour (safe for colour-blind people) or grey")
    add("--no-letters", action="store_true", help="no panel letters")
    add("--label", action="append", default=[], metavar="MODEL=NAME", help="print NAME for a model; may be repeated")
    add("--dpi", type=int, default=300, help="of photos and PNG files (default: 300)")
    add(
        "--panels",
        nargs="+",
        default=[],
        metavar="KEY",
        help="only these: recall, changed (figure-2); contribution, fused, mixers (fusion); attention, rewriting "
        "(attention); all, conditions (table)",
    )
    content = parser.add_argument_group("content")
    add, count = content.add_argument, {"type": options.positive, "metavar": "N"}
    add(
        "--photo",
        metavar="FILE_OR_NAME",
        help="figure-4, fusion, attention, strip: a photo, or a name or row of the query list (default: the first)",
    )
    add(
        "--match",
        type=Path,
        metavar="PHOTO",
        help="figure-4: compare with this photo (default: the first answer of the first model)",
    )
    add("--top", type=options.positive, default=5, metavar="K", help="strip: answers (default: 5)")
    add("--batch-mates", default=7, help="attention: other photos in the query's batch (default: 7)", **count)
    add("--pairs", default=2, help="figure-1: pairs (default: 2)", **count)
    options.orders_options(content, seeds=10)
    add(
        "--results",
        type=Path,
        nargs="+",
        metavar="JSON",
        help="recall, conditions, table: files of `scicevpr evaluate --json`",
    )
    add("--n", help="conditions: Recall@N (default: the smallest N)", **count)
    options.data_options(parser)
    options.query_options(parser)
    options.model_options(parser, several="those that the figure compares", grouping=False)
    parser.set_defaults(run=figure)


def figure(arguments: argparse.Namespace) -> int:
    """Draw one figure and write it in every format asked for."""
    from scicevpr.figures.paper import Style, draw, figure_kind, parse_labels

    kind = figure_kind(arguments.name)
    outputs = _outputs(arguments)
    style = Style(
        width=arguments.width,
        font_size=arguments.font_size,
        palette=arguments.palette,
        letters=not arguments.no_letters,
        labels=parse_labels(";".join(arguments.label)),
        dpi=arguments.dpi,
        panels=tuple(arguments.panels),
        typeface=arguments.typeface,
    )
    draw(kind.name, None, style)  # a panel that does not exist is said before the work
    if kind.latex is None and "tex" in (form for form, _ in outputs):
        raise UsageError(f"{kind.title} has no LaTeX; only the figure table has.")
    drawing = draw(kind.name, _data(arguments), style)
    console = open_console()
    for form, path in outputs:
        path.write_bytes(drawing.render(form))
        print_line(console, f"{kind.title}: {path}")
    print_line(console, f"Caption: {drawing.caption}")
    return 0


def _outputs(arguments: argparse.Namespace) -> list[tuple[str, Path]]:
    """Formats and files, checked before the work."""
    from scicevpr.figures.paper import FORMATS

    outputs = [(path.suffix.lower().removeprefix("."), path) for path in arguments.output]
    for form, path in outputs:
        if form not in FORMATS:
            raise UsageError(f"The output {path} must end in one of: {', '.join('.' + form for form in FORMATS)}.")
    more = (("csv", arguments.csv), ("tex", arguments.latex), ("txt", arguments.caption))
    outputs += [(form, path) for form, path in more if path is not None]
    for _, path in outputs:
        check_outputs(path)
    return outputs


def _data(arguments: argparse.Namespace) -> Any:
    """The numbers and photos that the figure shows."""
    from scicevpr.cli.chosen_data import read_data
    from scicevpr.cli.chosen_models import chosen_preprocessing, load_models
    from scicevpr.evaluation.results import read_results
    from scicevpr.figures.paper import batches, maps, retrieval, scores

    name = arguments.name
    if name in ("recall", "conditions", "table"):
        if not arguments.results:
            raise UsageError(f"The figure {name} needs --results FILE.json, as `scicevpr evaluate --json` writes it.")
        results = [result for path in arguments.results for result in read_results(path)]
        return scores.result_data(results, arguments.n)
    dataset = read_data(arguments)
    models = load_models(arguments, DEFAULTS.get(name, BOTH))
    if name in ("figure-1", "figure-2"):
        return _experiment(arguments, dataset, models)
    subject = _subject(arguments, dataset)
    preprocessing = chosen_preprocessing(models[0][1], arguments)
    if name == "fusion":
        return maps.fusion_data(subject, *models[0], preprocessing)
    if name == "attention":
        return batches.attention_data(subject, dataset, *models[0], arguments.batch_mates, preprocessing)
    if name == "strip":
        described = [_described(arguments, dataset, *model) for model in models]
        return retrieval.strip_data(subject, dataset, described, arguments.top)
    match = _match(arguments, dataset, subject, models[0])
    return maps.region_data(subject, match, models, dataset, preprocessing)


def _experiment(arguments: argparse.Namespace, dataset: Dataset, models: list[tuple[str, VPRModel]]) -> Any:
    """The experiment of Figure 1 or 2 with all models."""
    import pandas as pd

    from scicevpr.cli.chosen_data import stored_descriptors
    from scicevpr.evaluation.batch_effects import SIZES, prepare_stability, query_batches
    from scicevpr.evaluation.protocols import ORDERS
    from scicevpr.figures.paper.batches import curve_data
    from scicevpr.figures.paper.retrieval import pair_data

    setups, pairs = [], arguments.name == "figure-1"
    for title, model in models:
        stored = stored_descriptors(model, dataset.database, arguments)
        regions = pairs and model.variant.cross_image
        with show_progress(title) as step:
            setup = prepare_stability(model, dataset, database=stored, database_regions=regions, progress=step)
        setups.append((title, setup))
    if pairs:
        return pair_data(setups, arguments.pairs)
    sizes = tuple(sorted(set(arguments.sizes or SIZES)))
    orders = [order for order in ORDERS if order in (arguments.orders or ORDERS)]
    if not dataset.labelled:
        raise UsageError("Recall needs ground truth: this data set has photos without a position in their names.")
    seeds = range(arguments.seeds)
    tables = [query_batches(setup, sizes, orders, seeds).assign(model=title) for title, setup in setups]
    return curve_data(setups, pd.concat(tables, ignore_index=True))


def _subject(arguments: argparse.Namespace, dataset: Dataset) -> Subject:
    """The photo: a file, or one of the query list by name or row."""
    from scicevpr.cli.chosen_data import query_row
    from scicevpr.figures.paper.subjects import subject_of

    if arguments.photo is not None and Path(arguments.photo).is_file():
        return subject_of(dataset, Path(arguments.photo), Path(arguments.photo).name)
    photo = dataset.queries[query_row(dataset, arguments.photo or "0")]
    return subject_of(dataset, photo.path, photo.name)


def _described(arguments: argparse.Namespace, dataset: Dataset, title: str, model: VPRModel) -> Described:
    from scicevpr.cli.chosen_data import database_descriptors
    from scicevpr.cli.chosen_models import chosen_preprocessing
    from scicevpr.evaluation.protocols import published_grouping
    from scicevpr.figures.paper.subjects import Described
    from scicevpr.retrieval.exact import ExactIndex

    grouping = published_grouping(model.variant, dataset)
    values = database_descriptors(model, dataset.database, arguments, title, grouping)
    return Described(title, model, values, ExactIndex(values.values), chosen_preprocessing(model, arguments))


def _match(arguments: argparse.Namespace, dataset: Dataset, subject: Subject, model: tuple[str, VPRModel]) -> Photo:
    """The first answer of a model; or --match: the database photo of this path, or the end of a path, else a photo by
    itself. DatasetError for several."""
    from scicevpr.datasets import parse_name
    from scicevpr.datasets.tables import NameIndex

    if arguments.match is None:
        return dataset.database[_described(arguments, dataset, *model).first_match(subject.image)]
    index, name = NameIndex(dataset.database, "database photos"), str(arguments.match)
    return dataset.database[index.row(name, Path("--match"))] if name in index else parse_name(arguments.match)
