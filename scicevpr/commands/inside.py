"""What `scicevpr explain` and `scicevpr stability` do: the numbers of the app's tabs, in files and tables."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich import box
from rich.table import Table
from rich.text import Text

from scicevpr.cli.terminal import check_outputs, open_console, print_line, show_progress, write_json
from scicevpr.commands.data import read_data, read_database, stored_descriptors
from scicevpr.commands.models import chosen_preprocessing, load_models
from scicevpr.datasets import Dataset
from scicevpr.datasets.name_index import NameIndex
from scicevpr.descriptors.describe import describe
from scicevpr.errors import DatasetError, UsageError
from scicevpr.evaluation import batch_effects as experiments
from scicevpr.evaluation.batch_mates import chosen_batch_mates, random_batches
from scicevpr.evaluation.plane import database_plane
from scicevpr.evaluation.worst_batch import worst_batch
from scicevpr.explanations import Explanation, deciding_region, region_terms
from scicevpr.figures.overlay import overlay, value_range
from scicevpr.figures.paper.export import figure_1, telling_pairs
from scicevpr.models.model import VPRModel
from scicevpr.models.regions import region_boxes
from scicevpr.retrieval import ExactIndex


def explain(arguments: argparse.Namespace) -> int:
    """Write maps (arrays and pictures) and numbers of one photo inside one model."""
    folder = arguments.output
    check_outputs(folder / "explanation.json")
    [(title, model)] = load_models(arguments, ())
    preprocessing = chosen_preprocessing(model, arguments)
    explanation = Explanation(model, [arguments.photo, *arguments.batch_mates], preprocessing)
    query = explanation.descriptors[0]
    match_path, match, rivals = _match(arguments, model, query)
    other = Explanation(model, [match_path], preprocessing)
    names = [region.name for region in region_boxes(explanation.trace.grid)]
    if model.variant.class_token:
        names[0] = "class token"
    cell = (arguments.cell[0] - 1, arguments.cell[1] - 1)
    terms = region_terms(query, match)
    content: dict[str, Any] = {
        "model": title,
        "query": str(arguments.photo),
        "company": [str(path) for path in arguments.batch_mates],
        "match": str(match_path),
        "similarity": float(terms.sum()),
        "region_terms": dict(zip(names, map(float, terms), strict=True)),
        "tensors": [
            {"step": step, "what": what, "shape": list(shape)} for step, what, shape in explanation.shapes()
        ],
    }  # fmt: skip
    if rivals is not None:
        decision = deciding_region(query, match, rivals)
        content["deciding_region"] = names[decision.region]
        content["gap_to_the_rival"] = decision.gap
    turning = map(float, explanation.turning())
    content["cosine_through_the_encoder"] = dict(zip(names, turning, strict=True))
    if not model.variant.class_token:
        shares = explanation.contribution()
        content["layer_energy_shares"] = [float(v) for v in shares.share]
        content["layer_parts_of_the_sum"] = [float(v) for v in shares.aligned]
    found = explanation.correspondence(other)
    content["nearest_patches"] = [
        {"row": r + 1, "column": c + 1, "cosine": value} for r, c, value in found.best_of(*cell)
    ]
    arrays: dict[str, np.ndarray] = {"patch_similarity": found.similarity, "region_terms": terms}
    if model.variant.cross_image:
        arrays["cross_image_attention"] = explanation.attention()
        arrays["rewriting"] = explanation.rewriting()
    written = _write_maps(explanation, arguments.maps, cell, folder, arrays)
    np.savez_compressed(folder / "maps.npz", **arrays)
    write_json(folder / "explanation.json", content)
    _show_explanation(content, names, folder, written)
    return 0


def _match(
    arguments: argparse.Namespace, model: VPRModel, query: np.ndarray
) -> tuple[Path, np.ndarray, np.ndarray | None]:
    """The photo to compare with, its descriptor, and that of its best rival (None for a photo of one's own choice)."""
    if arguments.match is not None:
        described = describe(model, [arguments.match], preprocessing=chosen_preprocessing(model, arguments))
        return arguments.match, described.values[0], None
    database = read_database(arguments)
    if arguments.rank > len(database):
        raise UsageError(f"There is no match of rank {arguments.rank}: the database has {len(database)} photos.")
    searched = stored_descriptors(model, database, arguments)
    if searched is None:
        with show_progress(model.variant.title) as step:
            searched = describe(
                model,
                [place.path for place in database],
                batch_size=arguments.batch_size,
                preprocessing=chosen_preprocessing(model, arguments),
                progress=lambda done, total: step("database", done, total),
            )
    rows = ExactIndex(searched.values).search(query[None], max(2, arguments.rank)).indices[0]
    row, rival = rows[arguments.rank - 1], rows[1 if arguments.rank == 1 else 0]
    return database[row].path, searched.values[row], searched.values[rival] if rival >= 0 else None


def _write_maps(
    explanation: Explanation,
    wanted: list[str] | None,
    cell: tuple[int, int],
    folder: Path,
    arrays: dict[str, np.ndarray],
) -> int:
    """Write the pictures and add the arrays; returns how many maps there were."""
    keys = [v.key for step in explanation.views.values() for v in step if v.is_map]
    for key in wanted or keys:
        heat = explanation.heat_map(key, cell=cell)
        low, high = value_range(heat.values, without=cell if heat.kind == "influence" else None)
        region = None if heat.region is None else explanation.trace.boxes[heat.region]
        picture = overlay(explanation.photos[0], heat.values, low, high, region=region, cell=heat.cell)
        name = key.replace(":", "-")
        picture.save(folder / f"{name}.png")
        arrays[name] = heat.values
    return len(wanted or keys)


def _show_explanation(content: dict[str, Any], names: list[str], folder: Path, written: int) -> None:
    console = open_console()
    table = Table("region", "term", title=Text(f"{content['model']}: {content['similarity']:.5f}"), box=box.SIMPLE)
    for name in names:
        table.add_row(name, f"{content['region_terms'][name]:+.5f}")
    console.print(table)
    print_line(console, f"Match: {content['match']}")
    if "deciding_region" in content:
        print_line(console, f"Against its rival the region '{content['deciding_region']}' spoke most for it.")
    print_line(console, f"{written} maps as pictures and in maps.npz, numbers in explanation.json: {folder}")


def stability(arguments: argparse.Namespace) -> int:
    """Run one experiment for each model, print the table, write it as CSV."""
    check_outputs(arguments.csv)
    dataset = read_data(arguments)
    console, tables = open_console(), []
    for title, model in load_models(arguments, ("scicevpr-t", "cricavpr-t")):
        with show_progress(title) as step:
            stored = stored_descriptors(model, dataset.database, arguments)
            lab = experiments.prepare_lab(
                model,
                dataset,
                radius=arguments.radius,
                database=stored,
                database_regions=arguments.experiment in ("database", "pairs"),
                progress=step,
            )
        table = _experiment(lab, arguments)
        table["model"] = title
        tables.append(table)
        print_line(console, f"{title}: database {lab.database_grouping}, {len(dataset.queries)} queries")
        _show_table(table)
    if arguments.csv:
        pd.concat(tables, ignore_index=True).to_csv(arguments.csv, index=False)
        print_line(console, f"Table: {arguments.csv}")
    return 0


def _experiment(lab: experiments.Lab, arguments: argparse.Namespace) -> pd.DataFrame:
    name, size = arguments.experiment, arguments.size
    sizes = tuple(arguments.sizes or experiments.SIZES)
    if name == "batches":
        return experiments.query_batches(lab, sizes, arguments.orders or experiments.ORDERS, range(arguments.seeds))
    if name == "photos":
        return experiments.photo_stability(lab, size, range(arguments.seeds))
    if name == "database":
        return experiments.database_batches(lab, sizes, range(arguments.seeds))
    if name == "last":
        return experiments.last_batch(lab, size)
    if name == "pairs":
        chosen = telling_pairs(lab)
        if not chosen:
            return pd.DataFrame([{"model": lab.title, "note": "no pair of queries changes an answer"}])
        return figure_1(lab, chosen)
    if arguments.query is None:
        raise UsageError(f"The experiment {name!r} is about one query: name it with --query.")
    row = query_row(lab.dataset, arguments.query)
    if name == "worst":
        found = worst_batch(lab, row, size, seed=0)
        members = ",".join(map(str, found.batch_mates))
        return pd.DataFrame([{"query": row, "company": members, **_numbers(found)}])
    if arguments.batch_mates:
        rows = [query_row(lab.dataset, one) for one in arguments.batch_mates]
        return chosen_batch_mates(lab, row, rows)
    draws = random_batches(lab, row, size, arguments.draws, 0)
    x, y = database_plane(lab).transform(draws.descriptors).T
    return draws.table.assign(x=x, y=y)


def _numbers(found: Any) -> dict[str, Any]:
    return {
        "margin_alone": found.margin_alone,
        "margin": found.margin,
        "flipped": found.flipped,
        "first_alone": found.first_alone,
        "first": found.first,
        "tried": found.tried,
    }


def query_row(dataset: Dataset, text: str) -> int:
    """Row of a query given by row, file name or the end of its path. UsageError when there is none, or several."""
    if text.isdigit() and int(text) < len(dataset.queries):
        return int(text)
    index = NameIndex(dataset.queries, "query photos")
    for name in (text, Path(text).name):
        if name in index:
            try:
                return index.row(name, Path("the command line"))
            except DatasetError as error:
                raise UsageError(str(error)) from error
    raise UsageError(
        f"There is no query {text!r}; give a file name of the query list, or a row 0..{len(dataset.queries) - 1}."
    )


def _show_table(table: pd.DataFrame) -> None:
    shown = table.drop(columns="model")
    drawn = Table(*map(str, shown.columns), box=box.SIMPLE)
    for values in shown.itertuples(index=False):
        drawn.add_row(*(_cell(value) for value in values))
    open_console().print(drawn)


def _cell(value: Any) -> str:
    if value is None or value != value:
        return ""
    if isinstance(value, float):
        return f"{value:.4f}".rstrip("0").rstrip(".") if abs(value) >= 1e-3 or value == 0 else f"{value:.1e}"
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
