"""explain: the inside of a model on one photo, as maps and numbers in files."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scicevpr.cli import options
from scicevpr.cli.outputs import check_outputs, check_photos, make_table, open_console, print_line, write_json
from scicevpr.errors import UsageError

if TYPE_CHECKING:
    import numpy as np

    from scicevpr.explanations import Explanation
    from scicevpr.models.model import VPRModel


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "explain",
        help="why a photo matches: maps of the model's inside, region terms, patches",
        description="Take a photo through a model and write every map as array and picture, with the numbers as JSON.",
    )
    add = parser.add_argument
    add("photo", type=Path, metavar="QUERY", help="the query photo")
    add("--output", type=Path, required=True, metavar="DIR", help="folder for the results")
    add("--match", type=Path, metavar="PHOTO", help="compare with this photo instead of a search's match")
    add("--rank", type=options.positive, default=1, metavar="R", help="which match of the search (default: 1)")
    add("--batch-mates", type=Path, nargs="+", default=[], metavar="PHOTO", help="other photos in the query's batch")
    add(
        "--cell",
        type=options.positive,
        nargs=2,
        default=(9, 9),
        metavar=("ROW", "COLUMN"),
        help="the marked cell of the token grid, from 1 (default: 9 9)",
    )
    add("--maps", nargs="+", metavar="KEY", help="only these maps, such as energy:fused (default: all)")
    options.data_options(parser)
    options.model_options(parser, several=None)
    parser.set_defaults(run=explain)


def explain(arguments: argparse.Namespace) -> int:
    """Write maps (arrays and pictures) and numbers of one photo inside one model."""
    check_photos(arguments.photo, *arguments.batch_mates, *([arguments.match] if arguments.match else []))
    import numpy as np

    from scicevpr.cli.chosen_models import chosen_preprocessing, load_models
    from scicevpr.explanations import Explanation, deciding_region, region_terms

    folder = arguments.output
    check_outputs(folder / "explanation.json")
    [(title, model)] = load_models(arguments, ())
    preprocessing = chosen_preprocessing(model, arguments)
    explanation = Explanation(model, [arguments.photo, *arguments.batch_mates], preprocessing)
    query = explanation.descriptors[0]
    match_path, match, rival = _match(arguments, model, query)
    names = explanation.region_names
    cell = (arguments.cell[0] - 1, arguments.cell[1] - 1)
    terms = region_terms(query, match)
    content: dict[str, Any] = {
        "model": title,
        "query": str(arguments.photo),
        "batch_mates": [str(path) for path in arguments.batch_mates],
        "match": str(match_path),
        "similarity": float(terms.sum()),
        "region_terms": dict(zip(names, map(float, terms), strict=True)),
        "tensors": [{"step": step, "what": what, "shape": list(shape)} for step, what, shape in explanation.shapes()],
    }
    if rival is not None:
        decision = deciding_region(query, match, rival)
        content["deciding_region"] = names[decision.region]
        content["gap_to_the_rival"] = decision.gap
    content["cosine_through_the_encoder"] = dict(zip(names, map(float, explanation.turning()), strict=True))
    if not model.variant.class_token:
        shares = explanation.contribution()
        content["layer_energy_shares"] = [float(v) for v in shares.share]
        content["layer_parts_of_the_sum"] = [float(v) for v in shares.aligned]
    found = explanation.correspondence(Explanation(model, [match_path], preprocessing))
    content["nearest_patches"] = [
        {"row": row + 1, "column": column + 1, "cosine": cosine} for row, column, cosine in found.best_of(*cell)
    ]
    arrays: dict[str, np.ndarray] = {"patch_similarity": found.similarity, "region_terms": terms}
    if model.variant.cross_image:
        arrays["cross_image_attention"] = explanation.attention()
        arrays["rewriting"] = explanation.rewriting()
    written = _write_maps(explanation, arguments.maps, cell, folder, arrays)
    np.savez_compressed(folder / "maps.npz", **arrays)
    write_json(folder / "explanation.json", content)
    console, table = open_console(), make_table("region", "term", title=f"{title}: {content['similarity']:.5f}")
    for name, term in content["region_terms"].items():
        table.add_row(name, f"{term:+.5f}")
    console.print(table)
    print_line(console, f"Match: {match_path}")
    if rival is not None:
        print_line(console, f"Against its rival the region '{content['deciding_region']}' spoke most for it.")
    print_line(console, f"{written} maps as pictures and in maps.npz, numbers in explanation.json: {folder}")
    return 0


def _match(
    arguments: argparse.Namespace, model: VPRModel, query: np.ndarray
) -> tuple[Path, np.ndarray, np.ndarray | None]:
    """The photo to compare with, its descriptor, and that of its best rival (None for a photo of one's own choice)."""
    from scicevpr.cli.chosen_data import database_descriptors, read_database
    from scicevpr.cli.chosen_models import chosen_preprocessing
    from scicevpr.descriptors.describe import describe
    from scicevpr.retrieval.exact import ExactIndex

    if arguments.match is not None:
        described = describe(model, [arguments.match], preprocessing=chosen_preprocessing(model, arguments))
        return arguments.match, described.values[0], None
    database = read_database(arguments)
    if arguments.rank > len(database):
        raise UsageError(f"There is no match of rank {arguments.rank}: the database has {len(database)} photos.")
    searched = database_descriptors(model, database, arguments, model.variant.title)
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
    from scicevpr.figures.inside import overlay, value_range

    keys = wanted or [view.key for step in explanation.views.values() for view in step if view.is_map]
    for key in keys:
        heat = explanation.heat_map(key, cell=cell)
        low, high = value_range(heat.values, without=cell if heat.kind == "influence" else None)
        region = None if heat.region is None else explanation.trace.boxes[heat.region]
        picture = overlay(explanation.photos[0], heat.values, low, high, region=region, cell=heat.cell)
        name = key.replace(":", "-")
        picture.save(folder / f"{name}.png")
        arrays[name] = heat.values
    return len(keys)
