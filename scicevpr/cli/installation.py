"""models and verify: which model variants are here, and whether this installation computes what it should."""

from __future__ import annotations

import argparse
from pathlib import Path

from scicevpr.cli import options
from scicevpr.cli.terminal import make_table, open_console, print_line, show_progress
from scicevpr.config import VARIANTS


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
