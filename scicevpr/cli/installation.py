"""models, verify and precision: which variants are here, whether they compute what they should, and how fast."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scicevpr.cli import options
from scicevpr.cli.outputs import (
    check_outputs,
    make_table,
    open_console,
    print_line,
    print_note,
    show_progress,
    write_json,
)
from scicevpr.config import VARIANTS
from scicevpr.errors import UsageError

if TYPE_CHECKING:
    from rich.table import Table


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Add the commands."""
    listing = commands.add_parser("models", help="list the model variants and which weights are here")
    listing.set_defaults(run=models)
    parser = commands.add_parser(
        "verify", help="check this installation against a folder of reference vectors (exit code 1 on a miss)"
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="for instance tests/golden")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="check only these files (names without .npz)")
    options.machine_options(parser)
    parser.set_defaults(run=verify)
    parser = commands.add_parser(
        "precision",
        help="what a faster precision costs: descriptors, Recall@1 and time against float32",
        description="Describe a labelled data set (the bundled city unless told otherwise) in each precision that this "
        "machine has, and compare with float32: how far descriptors move, how Recall@1 changes, what a photo takes.",
    )
    options.data_options(parser)
    options.query_options(parser)
    options.model_options(parser, several="scicevpr-t", grouping=False)
    add = parser.add_argument
    add(
        "--modes",
        nargs="+",
        choices=("bfloat16", "int8", "float16"),
        metavar="MODE",
        help="bfloat16, int8, float16 (default: all that this machine has)",
    )
    add("--rounds", type=options.positive, default=7, metavar="N", help="of the timing, modes in turn (default: 7)")
    add("--json", type=Path, metavar="FILE", help="write the results, as `--precision auto` reads them")
    parser.set_defaults(run=precision)


def models(arguments: argparse.Namespace) -> int:
    """List the variants."""
    from scicevpr.models.checkpoint import read_metadata
    from scicevpr.models.weights import bundled_weights

    table = make_table("name", "model", "dimensions", "depends on its batch", "weights")
    bundled = bundled_weights()
    for name, variant in VARIANTS.items():
        weights = f"not here ({variant.weights_note})"
        if name in bundled:
            known = read_metadata(bundled[name])
            weights = f"bundled, {known.get('sha256', '')}: {known.get('trained_on', 'training not recorded')}"
        depends = "yes" if variant.cross_image else "no"
        table.add_row(name, variant.title, str(variant.descriptor_dim), depends, weights)
    open_console().print(table)
    return 0


def verify(arguments: argparse.Namespace) -> int:
    """Check the installation against reference vectors; 1 when anything misses."""
    from scicevpr.cli.chosen_models import prepare_machine
    from scicevpr.evaluation.verify import verify_folder

    prepare_machine(arguments)
    with show_progress("Verify") as step:
        checks = verify_folder(
            arguments.folder,
            device=arguments.device,
            dtype=arguments.dtype,
            only=arguments.only,
            progress=lambda _, done, total: step("files", done, total),
        )
    table = make_table("file", "array", "error", "tolerance", "verdict", "note")
    for check in checks:
        numbers = ("" if value is None else f"{value:.1e}" for value in (check.error, check.tolerance))
        verdict = "[green]ok[/]" if check.passed else "[bold red]MISS[/]"
        table.add_row(check.file, check.array, *numbers, verdict, check.note or "")
    console = open_console()
    console.print(table)
    misses = sum(not check.passed for check in checks)
    print_line(console, f"{len(checks)} checks, {misses} missed ({arguments.device}, {arguments.dtype}).")
    return 1 if misses else 0


def precision(arguments: argparse.Namespace) -> int:
    """Measure each mode and say which one `--precision auto` would pick."""
    from scicevpr.cli.chosen_data import read_data
    from scicevpr.cli.chosen_models import load_models, prepare_machine
    from scicevpr.descriptors.precision import MODES, best_mode, hardware, obstacle
    from scicevpr.evaluation.precision_cost import available_modes, measure_modes

    check_outputs(arguments.json)
    prepare_machine(arguments)
    dataset = read_data(arguments)
    if not dataset.labelled or not dataset.queries:
        raise UsageError(f"{dataset.name} has no labelled queries, so no Recall@1 can be measured. Name another set.")
    if arguments.resize or arguments.antialias is not None:
        raise UsageError("Precision is measured with the variant's own resize. Leave --resize and --antialias out.")
    if arguments.dtype != "float32":
        raise UsageError("Precisions are compared with float32. Leave --dtype out and name them with --modes.")
    for mode in MODES:
        if reason := obstacle(mode, arguments.device):
            print_note(f"Note: {mode} is left out: {reason}.")
    wanted, measured, console = tuple(arguments.modes or available_modes(arguments.device)), [], open_console()
    for title, model in load_models(arguments, ("scicevpr-t",)):
        with show_progress(title) as step:
            found = measure_modes(model, dataset, modes=wanted, rounds=arguments.rounds, progress=step)
        measured.append(found)
        console.print(_table(title, found))
        choice = best_mode(model, measured={"models": [found]})
        print_line(console, f"auto would pick {choice.mode}: {choice.reason}.")
    if arguments.json:
        counts = {"database": len(dataset.database), "queries": len(dataset.queries)}
        data = {"name": f"{dataset.name} / {dataset.split}", **counts}
        write_json(arguments.json, {"dataset": data, "machine": hardware(), "models": measured})
    return 0


def _table(title: str, found: dict[str, Any]) -> Table:
    table = make_table(
        "precision",
        "descriptor change, median",
        "largest",
        "Recall@1 %",
        "95 %",
        "change",
        "p",
        "ms a photo",
        "times",
        title=title,
    )
    for mode, row in found["modes"].items():
        low, high = row["interval"] or ("–", "–")
        distance = row["distance"]
        table.add_row(
            mode,
            f"{100 * distance['median']:.2g} %",
            f"{100 * distance['largest']:.2g} %",
            f"{row['recall']:.1f}",
            f"{low}–{high}",
            f"{row['change']:+.2f}",
            f"{row['p']:.2g}",
            f"{row['ms a photo']:.1f}",
            f"{row['times faster']:.2f}",
        )
    table.caption = (
        "descriptor change: distance from the float32 descriptor, of the median distance between different photos"
    )
    return table
