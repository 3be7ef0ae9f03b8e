"""stability: does an answer depend on the other photos in the batch? One experiment at a time, as a table."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scicevpr.cli import options
from scicevpr.cli.outputs import check_outputs, make_table, open_console, print_line, show_progress
from scicevpr.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd

    from scicevpr.evaluation.batch_effects import StabilitySetup

EXPERIMENTS = ("batches", "photos", "database", "last", "batch-mates", "worst", "flips", "pairs")


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "stability",
        help="does the answer depend on the photos that share the batch? experiments as tables",
        description="Run one experiment and print its table. All are repeatable: chance comes from seeds.",
    )
    add = parser.add_argument
    add(
        "experiment",
        choices=EXPERIMENTS,
        metavar="EXPERIMENT",
        help="batches (Recall@1 over query batch sizes and orders: Figure 2), photos (every query in shuffled batches "
        "against itself alone), database (the database in other batches), last (the incomplete last batch), "
        "batch-mates (one query in random batches, with x and y on the database's main plane, or with the photos "
        "given), worst (search the batch that changes an answer most), flips (how often random, same-street and worst "
        "batches flip a right answer), pairs (Figure 1)",
    )
    add("--query", metavar="NAME_OR_ROW", help="for batch-mates and worst: a query's file name or row")
    add("--batch-mates", nargs="+", metavar="NAME_OR_ROW", help="for batch-mates: exactly these other queries")
    add("--size", type=options.positive, default=16, metavar="B", help="photos in a batch (default: 16)")
    options.orders_options(parser, seeds=5)
    add(
        "--goal",
        choices=("any", "fail", "right"),
        default="any",
        help="for worst: a batch that changes the answer (default), makes a right one wrong, or a wrong one right",
    )
    add("--draws", type=options.positive, default=100, metavar="N", help="random batches (default: 100)")
    add("--csv", type=Path, metavar="FILE", help="write the table")
    options.radius_option(parser)
    options.data_options(parser)
    options.query_options(parser)
    options.model_options(parser, several="scicevpr-t and cricavpr-t", grouping=False)
    parser.set_defaults(run=stability)


def stability(arguments: argparse.Namespace) -> int:
    """Run one experiment for each model, print the table, write it as CSV."""
    import pandas as pd

    from scicevpr.cli.chosen_data import read_data, stored_descriptors
    from scicevpr.cli.chosen_models import load_models
    from scicevpr.datasets.tables import cell_text
    from scicevpr.evaluation.batch_effects import prepare_stability

    check_outputs(arguments.csv)
    dataset = read_data(arguments)
    console, tables = open_console(), []
    for title, model in load_models(arguments, ("scicevpr-t", "cricavpr-t")):
        with show_progress(title) as step:
            setup = prepare_stability(
                model,
                dataset,
                radius=arguments.radius,
                database=stored_descriptors(model, dataset.database, arguments),
                database_regions=arguments.experiment in ("database", "pairs"),
                progress=step,
            )
        table = _experiment(setup, arguments).assign(model=title)
        tables.append(table)
        print_line(console, f"{title}: database {setup.database_grouping}, {len(dataset.queries)} queries")
        shown = table.drop(columns="model")
        drawn = make_table(*map(str, shown.columns))
        for values in shown.itertuples(index=False):
            drawn.add_row(*map(_cell, values))
        console.print(drawn)
        if arguments.experiment == "worst":
            print_line(console, _worst_words(setup, table.iloc[0]))
    if arguments.csv:
        pd.concat(tables, ignore_index=True).map(cell_text).to_csv(arguments.csv, index=False)
        print_line(console, f"Table: {arguments.csv}")
    return 0


def _experiment(setup: StabilitySetup, arguments: argparse.Namespace) -> pd.DataFrame:
    import pandas as pd

    from scicevpr.cli.chosen_data import query_row
    from scicevpr.evaluation import batch_effects, batch_mates

    name, size, seeds = arguments.experiment, arguments.size, range(arguments.seeds)
    sizes = tuple(arguments.sizes or batch_effects.SIZES)
    if name == "batches":
        return batch_effects.query_batches(setup, sizes, arguments.orders or batch_effects.ORDERS, seeds)
    if name == "photos":
        return batch_effects.photo_stability(setup, size, seeds)
    if name == "database":
        return batch_effects.database_batches(setup, sizes, seeds)
    if name == "last":
        return batch_effects.last_batch(setup, size)
    if name == "flips":
        from scicevpr.evaluation.batch_flips import flip_rates

        return flip_rates(setup, arguments.sizes or (2, 4, 8, 16), arguments.draws)
    if name == "pairs":
        chosen = batch_mates.telling_pairs(setup)
        if not chosen:
            return pd.DataFrame([{"model": setup.title, "note": "no pair of queries changes an answer"}])
        return batch_mates.paired_queries(setup, chosen)
    if arguments.query is None:
        raise UsageError(f"The experiment {name!r} is about one query: name it with --query.")
    row = query_row(setup.dataset, arguments.query)
    if name == "worst":
        found = batch_mates.worst_batch(setup, row, size, seed=0, goal=arguments.goal)
        numbers = ("margin_alone", "margin", "flipped", "first_alone", "first", "tried", "sentence")
        mates = ",".join(map(str, found.batch_mates))
        return pd.DataFrame(
            [{"query": row, "batch_mates": mates, **{number: getattr(found, number) for number in numbers}}]
        )
    if arguments.batch_mates:
        rows = [query_row(setup.dataset, one) for one in arguments.batch_mates]
        return batch_mates.chosen_batch_mates(setup, row, rows)
    draws = batch_mates.random_batches(setup, row, size, arguments.draws, 0)
    x, y = batch_mates.database_plane(setup).transform(draws.descriptors).T
    return draws.table.assign(x=x, y=y)


def _worst_words(setup: StabilitySetup, found: Any) -> str:
    """What the worst batch does to this model's answer: which photos stand at rank 1, and whether they are right."""
    alone, now = (_answer_words(setup, int(found["query"]), int(found[name])) for name in ("first_alone", "first"))
    if not setup.model.variant.cross_image:
        return f"{setup.title} describes every photo alone, so no batch changes its answer: {alone}."
    if not found["flipped"]:
        return (
            f"{setup.title}: no batch that was tried changes the place that it answers, {alone}; the nearest photo of "
            f"another place stays {-found['margin']:.4f} behind."
        )
    return f"{setup.title}: alone it answers {alone}; in this batch {now}, ahead by {found['margin']:.4f}."


def _answer_words(setup: StabilitySetup, query: int, row: int) -> str:
    """A database photo as an answer: "name (right)"."""
    name = setup.dataset.database[row].name
    if setup.positives is None:
        return name
    return f"{name} ({'right' if row in setup.positives[query] else 'wrong'})"


def _cell(value: Any) -> str:
    if value is None or value != value:
        return ""
    if isinstance(value, float):
        return f"{value:.4f}".rstrip("0").rstrip(".") if abs(value) >= 1e-3 or value == 0 else f"{value:.1e}"
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
