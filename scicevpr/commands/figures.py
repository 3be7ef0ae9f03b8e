"""What `scicevpr figure` does: figures for paper."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pandas as pd

from scicevpr.cli.terminal import check_outputs, open_console, print_line, show_progress
from scicevpr.commands.data import read_data, stored_descriptors
from scicevpr.commands.inside import query_row
from scicevpr.commands.models import chosen_preprocessing, load_models
from scicevpr.datasets import Dataset, Photo, parse_name
from scicevpr.datasets.name_index import NameIndex
from scicevpr.descriptors.describe import describe
from scicevpr.errors import UsageError
from scicevpr.evaluation.batch_effects import ORDERS, SIZES, Lab, prepare_lab, query_batches
from scicevpr.evaluation.groupings import published_grouping
from scicevpr.figures.paper import FORMATS, Style, draw, figure_kind, parse_labels
from scicevpr.figures.paper import sources as make
from scicevpr.models.model import VPRModel
from scicevpr.retrieval import ExactIndex

BOTH = ("scicevpr-t", "cricavpr-t")
DEFAULTS = {"fusion": ("scicevpr-t",), "attention": ("cricavpr-t",)}


def figure(arguments: argparse.Namespace) -> int:
    """Draw one figure and write it in every format asked for."""
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
    )
    draw(kind.name, None, style)  # a panel that does not exist is said before the work
    for form, _ in outputs:
        if form == "tex" and kind.latex is None:
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
    name = arguments.name
    if name in ("recall", "conditions", "table"):
        if not arguments.results:
            raise UsageError(f"The figure {name} needs --results FILE.json, as `scicevpr evaluate --json` writes it.")
        results = [result for path in arguments.results for result in make.read_results(path)]
        return make.result_data(results, arguments.n)
    dataset = read_data(arguments)
    models = load_models(arguments, DEFAULTS.get(name, BOTH))
    if name in ("figure-1", "figure-2"):
        return _experiment(arguments, dataset, models)
    subject = _subject(arguments, dataset)
    preprocessing = chosen_preprocessing(models[0][1], arguments)
    if name == "fusion":
        return make.fusion_data(subject, *models[0], preprocessing)
    if name == "attention":
        return make.attention_data(subject, dataset, *models[0], arguments.batch_mates, preprocessing)
    if name == "strip":
        described = [_described(arguments, dataset, *model) for model in models]
        return make.strip_data(subject, dataset, described, arguments.top)
    if arguments.match is not None:
        match = _match(arguments.match, dataset)
    else:
        found = _described(arguments, dataset, *models[0])
        match = dataset.database[make.best_match(subject, [found])]
    return make.region_data(subject, match, models, dataset, preprocessing)


def _match(path: Path, dataset: Dataset) -> Photo:
    """The database photo of this path, or the end of a path; else a photo by itself. DatasetError for several."""
    index = NameIndex(dataset.database, "database photos")
    if str(path) in index:
        return dataset.database[index.row(str(path), Path("--match"))]
    return parse_name(path)


def _experiment(arguments: argparse.Namespace, dataset: Dataset, models: list[tuple[str, VPRModel]]) -> Any:
    """Labs of all models, and the data of Figure 1 or 2."""
    labs: list[tuple[str, Lab]] = []
    pairs = arguments.name == "figure-1"
    for title, model in models:
        with show_progress(title) as step:
            stored = stored_descriptors(model, dataset.database, arguments)
            regions = pairs and model.variant.cross_image
            labs.append(
                (title, prepare_lab(model, dataset, database=stored, database_regions=regions, progress=step))
            )  # fmt: skip
    if pairs:
        return make.pair_data(labs, arguments.pairs)
    sizes = tuple(sorted(set(arguments.sizes or SIZES)))
    orders = [order for order in ORDERS if order in (arguments.orders or ORDERS)]
    if not dataset.labelled:
        raise UsageError("Recall needs ground truth: this data set has photos without a position in their names.")
    tables = [query_batches(lab, sizes, orders, range(arguments.seeds)).assign(model=title) for title, lab in labs]
    return make.curve_data(labs, pd.concat(tables, ignore_index=True))


def _described(arguments: argparse.Namespace, dataset: Dataset, title: str, model: VPRModel) -> make.Described:
    preprocessing = chosen_preprocessing(model, arguments)
    values = stored_descriptors(model, dataset.database, arguments)
    if values is None:
        with show_progress(title) as step:
            values = describe(
                model,
                [place.path for place in dataset.database],
                grouping=published_grouping(model.variant, dataset),
                batch_size=arguments.batch_size,
                preprocessing=preprocessing,
                progress=lambda done, total: step("database", done, total),
            )
    return make.Described(title, model, values, ExactIndex(values.values), preprocessing)


def _subject(arguments: argparse.Namespace, dataset: Dataset) -> make.Subject:
    """The photo: a file, or one of the query list by name or row."""
    if arguments.photo is not None and Path(arguments.photo).is_file():
        return make.subject_of(dataset, Path(arguments.photo), Path(arguments.photo).name)
    row = query_row(dataset, arguments.photo or "0")
    place = dataset.queries[row]
    return make.subject_of(dataset, place.path, place.name)
