"""score and compare: results from files, without a model."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from scicevpr.cli import options
from scicevpr.cli.outputs import add_intervals, check_output_options, output_options, write_outputs
from scicevpr.cli.terminal import (
    check_outputs,
    make_table,
    open_console,
    plain_cell,
    print_line,
    print_note,
    show_evaluation,
    write_json,
)
from scicevpr.errors import UsageError

if TYPE_CHECKING:
    from rich.table import Table

    from scicevpr.evaluation.comparison import Comparison, StoredRelevance


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Add the commands."""
    parser = commands.add_parser(
        "score",
        help="score descriptors that were exported earlier, or by another method, without a model",
        description="Search and score descriptors from files (.npy, .safetensors). Which photos they belong to is read "
        "from the descriptors.json beside them, unless a data set is named.",
    )
    add = parser.add_argument
    add("--database-descriptors", "--database_descriptors", type=Path, required=True, metavar="FILE",
        help="descriptors of the database photos, in the order of their paths")
    add("--query-descriptors", "--queries-descriptors", "--queries_descriptors", type=Path, required=True,
        metavar="FILE", help="descriptors of the queries")
    add("--title", metavar="NAME", help="the model's name in tables (default: as recorded)")
    options.data_options(parser)
    options.query_options(parser)
    options.scoring_options(parser)
    add("--test_method", "--test-method", metavar="NAME",
        help="nearest_crop, maj_voting ... for queries of five crops (default: as recorded, else hard_resize)")
    add("--majority_weight", "--majority-weight", type=float, default=0.01, metavar="W",
        help="for maj_voting (default: 0.01)")
    output_options(parser, descriptors=False)
    parser.set_defaults(run=score)

    parser = commands.add_parser(
        "compare",
        help="is one model better than another on the same queries? paired differences with intervals and p-values",
        description="Compare two results of `scicevpr evaluate --json`, query by query. Several p-values at once call "
        "for a stricter bar.",
    )
    add = parser.add_argument
    add("files", nargs="+", type=Path, metavar="RESULTS.json", help="one or two files with two results")
    add("--models", nargs=2, metavar=("A", "B"),
        help="titles of the two results, where the files hold more than two")
    add("--recall-values", "--recall_values", type=options.positive, nargs="+", metavar="N",
        help="default: all that both results have")
    options.intervals_option(parser)
    add("--seed", type=int, default=0, help="of the bootstrap (default: 0)")
    add("--json", type=Path, metavar="FILE", help="write the comparison as JSON")
    parser.set_defaults(run=compare)


def score(arguments: argparse.Namespace) -> int:
    """Score descriptors from files."""
    from scicevpr.cli.chosen_data import read_data
    from scicevpr.evaluation.stored import open_descriptors, recorded_dataset, score_stored

    check_output_options(arguments)
    database, queries = open_descriptors(arguments.database_descriptors), open_descriptors(arguments.query_descriptors)
    named = arguments.dataset or arguments.eval_dataset_name or arguments.database or arguments.queries
    dataset = read_data(arguments) if named else recorded_dataset(database, queries, labels=not arguments.no_labels)
    result = score_stored(
        database,
        queries,
        dataset,
        ns=arguments.recall_values,
        radius=arguments.radius,
        rounding="float32" if arguments.utm_rounding == "published" else "float64",
        test_method=arguments.test_method,
        majority_weight=arguments.majority_weight,
        title=arguments.title,
    )
    console, result = open_console(), add_intervals(arguments, result)
    show_evaluation(console, result)
    for note in dataset.notes:
        print_note(f"Note: {note}")
    write_outputs(arguments, [result], console)
    return 0


def compare(arguments: argparse.Namespace) -> int:
    """Compare two results query by query."""
    from scicevpr.evaluation import comparison

    check_outputs(arguments.json)
    pair, ns = _chosen(arguments), arguments.recall_values
    found = comparison.compare(*pair, ns, by=arguments.intervals_by, seed=arguments.seed)
    console = open_console()
    console.print(_comparison_table(found))
    print_line(console, "Protocol: " + " · ".join(f"{key} {value}" for key, value in found.protocol.items()))
    for key, (a, b) in found.differing.items():
        print_line(console, f"Differs: {key}: A {a}; B {b}")
    if arguments.json:
        write_json(arguments.json, {"comparison": found.to_json()})
        print_line(console, f"The comparison: {arguments.json}")
    return 0


def _chosen(arguments: argparse.Namespace) -> tuple[StoredRelevance, StoredRelevance]:
    """The two results meant. With two files the first of --models is looked for in the first file."""
    from scicevpr.evaluation.comparison import read_relevance

    if len(arguments.files) > 2:
        raise UsageError(f"Two results are compared, from one or two files, not from {len(arguments.files)}.")
    found = [read_relevance(path) for path in arguments.files]
    if arguments.models:
        sources = found if len(found) == 2 else found * 2
        pair = [_named(source, title) for source, title in zip(sources, arguments.models, strict=True)]
    else:
        pair = [result for results in found for result in results]
        if len(pair) != 2 or [] in found:
            titles = ", ".join(f"{result.title!r}" for result in pair) or "none"
            if len(pair) < 2:
                raise UsageError(f"Two results are needed, and the files hold {titles} only. Name a second file.")
            raise UsageError(f"The files hold these results: {titles}. Choose two with --models A B.")
    a, b = pair
    if a.title == b.title and len(found) == 2:  # one model under two protocols: the files tell them apart
        a, b = (replace(x, title=f"{x.title} ({path})") for x, path in zip(pair, arguments.files, strict=True))
    return a, b


def _named(results: list[StoredRelevance], title: str) -> StoredRelevance:
    found = [result for result in results if result.title.lower() == title.lower()]
    if len(found) != 1:
        titles = ", ".join(f"{result.title!r}" for result in results)
        raise UsageError(f"{len(found)} results have the title {title!r}; the file holds {titles}.")
    return found[0]


def _comparison_table(comparison: Comparison) -> Table:
    numbers = ("N", "queries", "A", "B", "A - B", "interval", "only A right", "only B right", "p")
    table = make_table("condition", title=f"A: {comparison.a}   B: {comparison.b}", numbers=numbers)
    for condition, rows in comparison.rows.items():
        for row in rows:
            table.add_row(
                plain_cell(condition),
                str(row.n),
                str(row.queries),
                f"{row.recall_a:.1f}",
                f"{row.recall_b:.1f}",
                f"{row.difference:+.1f}",
                plain_cell("" if row.low is None else f"[{row.low:+.1f}, {row.high:+.1f}]"),
                str(row.only_a),
                str(row.only_b),
                f"{row.p_value:.3f}" if row.p_value >= 0.001 else f"{row.p_value:.1e}",
                style="bold" if condition == "all" else None,
            )
    return table
