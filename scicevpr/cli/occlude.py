"""occlude: what of a photo an answer hangs on, and how little changes it; for every model, also of other people."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from scicevpr.cli import options
from scicevpr.cli.outputs import check_outputs, make_table, open_console, plain_cell, print_line, write_json


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "occlude",
        help="which parts of a photo an answer hangs on, tested by deletion, and the smallest changes that flip it",
        description="Slide a grey window over the photo and see how much similarity to the answer is lost. Nothing but "
        "descriptors is needed, so any model can be explained.",
    )
    add = parser.add_argument
    add("photo", type=Path, metavar="QUERY", help="the query photo")
    add("--output", type=Path, required=True, metavar="DIR", help="folder for the results")
    add("--grid", type=options.positive, nargs=2, default=(12, 16), metavar=("ROWS", "COLUMNS"), help="default: 12 16")
    add("--window", type=options.positive, default=3, metavar="CELLS", help="side of the window (default: 3)")
    add(
        "--changes",
        nargs="*",
        metavar="KIND",
        help="also the smallest change of each kind that changes the place of rank 1: darkness, fog, blur, noise, "
        "jpeg, crop, rotation, occlusion (default: all)",
    )
    options.data_options(parser)
    options.model_options(parser, several="scicevpr-t")
    options.radius_option(parser)
    parser.set_defaults(run=occlude)


def occlude(arguments: argparse.Namespace) -> int:
    """Write maps and numbers for each model."""
    import numpy as np

    from scicevpr.cli.chosen_data import database_descriptors, read_database
    from scicevpr.cli.chosen_models import load_models
    from scicevpr.datasets.ground_truth import DEFAULT_RADIUS, utm_array
    from scicevpr.explanations.changes import CHANGES, what_would_it_take
    from scicevpr.explanations.occlusion import compare_maps, described_alone, occlusion_map
    from scicevpr.figures.inside import overlay, value_range
    from scicevpr.files.photos import open_photo

    folder = arguments.output
    check_outputs(folder / "occlusion.json")
    photo, database, console = open_photo(arguments.photo), read_database(arguments), open_console()
    placed = all(place.utm is not None for place in database)
    where = utm_array(database) if placed else None
    radius, found = arguments.radius or DEFAULT_RADIUS, []
    for title, model in load_models(arguments, ("scicevpr-t",)):
        stored, describe = database_descriptors(model, database, arguments, title).values, described_alone(model)
        similar = np.asarray(stored) @ describe([photo])[0]
        first = int(similar.argmax())
        same = np.arange(len(database)) == first
        if where is not None:
            same |= np.hypot(*(where - where[first]).T) <= radius
        rival = int(np.where(same, -np.inf, similar).argmax()) if not same.all() else None
        shown = occlusion_map(
            describe,
            photo,
            stored[first],
            None if rival is None else stored[rival],
            grid=tuple(arguments.grid),
            window=arguments.window,
        )
        maps = {"occlusion": shown.drop} | ({} if shown.margin_drop is None else {"margin": shown.margin_drop})
        tests = compare_maps(describe, photo, stored[first], maps)
        name = model.variant.name
        for key, values in maps.items():
            overlay(photo, values, *value_range(values)).save(folder / f"{name}-{key}.png")
        np.savez_compressed(folder / f"{name}.npz", **maps)
        table = make_table("map", title=f"{title}: {database[first].name}", numbers=("deletion", "insertion", "score"))
        for row in tests:
            table.add_row(str(row["map"]), *(f"{row[key]:.4f}" for key in ("deletion", "insertion", "score")))
        console.print(table)
        entry: dict[str, Any] = {
            "model": title,
            "match": str(database[first].path),
            "similarity": shown.similarity,
            "margin": shown.margin,
            "deletion and insertion": tests,
        }
        if arguments.changes is not None:
            values = np.asarray(stored)

            def place(descriptor: np.ndarray, values: Any = values, same: Any = same) -> Any:
                """Rank 1, or "the same place" where it lies within the radius of the first answer."""
                row = int((values @ descriptor).argmax())
                return "the same place" if same[row] else database[row].name

            flips = what_would_it_take(describe, place, photo, arguments.changes or tuple(CHANGES))
            table = make_table("change", "smallest that changes the place", "then rank 1 is", title=title)
            for flip in flips:
                other = "" if flip.strength is None else plain_cell(flip.other)
                table.add_row(flip.kind, flip.amount, other)
            console.print(table)
            entry["changes"] = [
                {
                    "kind": flip.kind,
                    "strength": flip.strength,
                    "amount": flip.amount,
                    "answer": flip.other,
                    "photos described": flip.tried,
                }
                for flip in flips
            ]
        found.append(entry)
    write_json(folder / "occlusion.json", {"query": str(arguments.photo), "results": found})
    print_line(console, f"Maps as pictures and arrays, numbers in occlusion.json: {folder}")
    return 0
