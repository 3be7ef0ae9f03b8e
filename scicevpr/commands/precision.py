"""What `scicevpr precision` does: the loss and the time of each precision mode, against float32."""

from __future__ import annotations

import argparse
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from scicevpr.cli.terminal import check_outputs, open_console, print_line, show_progress, write_json
from scicevpr.commands.data import read_data
from scicevpr.commands.models import load_models
from scicevpr.descriptors.precision import MODES, best_mode, hardware, obstacle
from scicevpr.errors import UsageError
from scicevpr.evaluation.precision_cost import available_modes, measure_modes


def precision(arguments: argparse.Namespace) -> int:
    """Measure each mode and say which one `--precision auto` would pick."""
    check_outputs(arguments.json)
    dataset = read_data(arguments)
    if not dataset.labelled or not dataset.queries:
        raise UsageError(f"{dataset.name} has no labelled queries, so no Recall@1 can be measured. Name another set.")
    if arguments.resize or arguments.antialias is not None:
        raise UsageError("Precision is measured with the variant's own resize. Leave --resize and --antialias out.")
    if arguments.dtype != "float32":
        raise UsageError("Precisions are compared with float32. Leave --dtype out and name them with --modes.")
    console, note, measured = open_console(), open_console(stderr=True), []
    for mode in MODES:
        if reason := obstacle(mode, arguments.device):
            print_line(note, f"Note: {mode} is left out: {reason}.")
    models = load_models(arguments, ("scicevpr-t",))
    wanted = tuple(arguments.modes or available_modes(arguments.device))
    for title, model in models:
        with show_progress(title) as step:
            found = measure_modes(model, dataset, modes=wanted, rounds=arguments.rounds, progress=step)
        measured.append(found)
        console.print(_table(title, found))
        choice = best_mode(model, measured={"models": [found]})
        print_line(console, f"auto would pick {choice.mode}: {choice.reason}.")
    if arguments.json:
        data = {"name": f"{dataset.name} / {dataset.split}", "database": len(dataset.database)}
        data["queries"] = len(dataset.queries)
        write_json(arguments.json, {"dataset": data, "machine": hardware(), "models": measured})
    return 0


def _table(title: str, found: dict[str, Any]) -> Table:
    table = Table(
        "precision", "moved, median", "moved, largest", "Recall@1 %", "95 %", "change", "p", "ms a photo", "times",
        title=title, box=box.SIMPLE,
    )  # fmt: skip
    for mode, row in found["modes"].items():
        low, high = row["interval"] or ("–", "–")
        distance = row["distance"]
        table.add_row(
            Text(mode),
            f"{100 * distance['median']:.2g} %",
            f"{100 * distance['largest']:.2g} %",
            f"{row['recall']:.1f}",
            f"{low}–{high}",
            f"{row['change']:+.2f}",
            f"{row['p']:.2g}",
            f"{row['ms a photo']:.1f}",
            f"{row['times faster']:.2f}",
        )
    table.caption = "moved: distance from the float32 descriptor, of the median distance between different photos"
    return table
