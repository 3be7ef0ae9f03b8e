"""audit: how much each unsaid choice of the protocol moves Recall@1 of a model on a data set."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

from scicevpr.cli import options
from scicevpr.cli.outputs import (
    check_outputs,
    make_table,
    open_console,
    plain_cell,
    print_line,
    show_progress,
    write_json,
)
from scicevpr.errors import UsageError


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "audit",
        help="how much the choices that papers leave unsaid move Recall@1, each with a paired interval",
        description="Evaluate a model plainly, then once for each choice done otherwise: antialiasing, resize rule, "
        "JPEG quality, colour, batches and orders, PCA, precision, rounding, radius, half of the queries.",
    )
    options.data_options(parser)
    options.query_options(parser)
    options.model_options(parser, several=None)
    add = parser.add_argument
    add("--choices", nargs="+", metavar="NAME", help="only choices whose name begins so, such as antialias JPEG PCA")
    add("--keep", type=Path, metavar="FILE", help="write rows here as they come, and go on from it when interrupted")
    add("--json", type=Path, metavar="FILE", help="write the table as JSON")
    parser.set_defaults(run=audit)


def audit(arguments: argparse.Namespace) -> int:
    """Print the table."""
    from scicevpr.cli.chosen_data import read_data
    from scicevpr.cli.chosen_models import load_models
    from scicevpr.evaluation.audit import choices_for, run_audit, spread

    for path in (arguments.keep, arguments.json):
        check_outputs(path)
    dataset, [(title, model)] = read_data(arguments), load_models(arguments, ())
    choices = choices_for(model, dataset)
    if arguments.choices:
        wanted = tuple(name.lower() for name in arguments.choices)
        chosen = [choice for choice in choices if choice.what.lower().startswith(wanted)]
        if not chosen:
            names = ", ".join(dict.fromkeys(choice.what for choice in choices))
            raise UsageError(f"No choice begins with {' or '.join(arguments.choices)}; there are: {names}.")
        choices = chosen
    with show_progress(title) as step:
        rows = run_audit(model, dataset, choices, kept=arguments.keep, progress=lambda _, at, of: step("rows", at, of))
    numbers = ("Recall@1", "difference", "interval", "p")
    table = make_table("choice", "setting", title=f"{title} on {dataset.name} / {dataset.split}", numbers=numbers)
    for row in rows:
        limits = "" if row.low is None else f"[{row.low:+.1f}, {row.high:+.1f}]"
        table.add_row(
            plain_cell(row.what),
            plain_cell(row.setting),
            f"{row.recall:.1f}",
            f"{row.difference:+.1f}",
            plain_cell(limits),
            "" if row.low is None else f"{row.p_value:.3f}",
        )
    console = open_console()
    console.print(table)
    print_line(console, f"The same weights print Recall@1 values that lie {spread(rows):.1f} points apart.")
    if arguments.json:
        write_json(
            arguments.json,
            {
                "model": title,
                "dataset": f"{dataset.name} / {dataset.split}",
                "rows": [asdict(row) for row in rows],
                "spread": spread(rows),
            },
        )
        print_line(console, f"The table: {arguments.json}")
    return 0
