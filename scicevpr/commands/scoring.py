"""What `scicevpr score` and `scicevpr compare` do: results from files, without a model."""

from __future__ import annotations

import argparse
from dataclasses import replace

from rich import box
from rich.table import Table
from rich.text import Text

from scicevpr.cli.terminal import check_outputs, open_console, print_line, show_evaluation, write_json
from scicevpr.commands.data import read_data
from scicevpr.commands.outputs import add_intervals, check_output_options, write_outputs
from scicevpr.errors import UsageError
from scicevpr.evaluation.comparison import Comparison, GroundTruthOptions, read_answers
from scicevpr.evaluation.comparison import compare as compare_answers
from scicevpr.evaluation.stored import open_descriptors, recorded_dataset, score_stored


def score(arguments: argparse.Namespace) -> int:
    """Score descriptors from files."""
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
    console = open_console()
    result = add_intervals(arguments, result)
    show_evaluation(console, result)
    for note in dataset.notes:
        open_console(stderr=True).print(f"Note: {note}", markup=False, highlight=False, soft_wrap=True)
    write_outputs(arguments, [result], console)
    return 0


def compare(arguments: argparse.Namespace) -> int:
    """Compare two results query by query."""
    check_outputs(arguments.json)
    a, b = _chosen(arguments)
    comparison = compare_answers(a, b, arguments.recall_values, by=arguments.intervals_by, seed=arguments.seed)
    console = open_console()
    console.print(_comparison_table(comparison))
    print_line(console, "Protocol: " + " · ".join(f"{key} {value}" for key, value in comparison.protocol.items()))
    for key, (words_a, words_b) in comparison.differing.items():
        print_line(console, f"Differs: {key}: A {words_a}; B {words_b}")
    if arguments.json:
        write_json(arguments.json, {"comparison": comparison.to_json()})
        print_line(console, f"The comparison: {arguments.json}")
    return 0


def _chosen(arguments: argparse.Namespace) -> tuple[GroundTruthOptions, GroundTruthOptions]:
    """The two results meant. With two files the first of --models is looked for in the first file."""
    if len(arguments.files) > 2:
        raise UsageError(f"Two results are compared, from one or two files, not from {len(arguments.files)}.")
    found = [read_answers(path) for path in arguments.files]
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


def _named(results: list[GroundTruthOptions], title: str) -> GroundTruthOptions:
    found = [result for result in results if result.title.lower() == title.lower()]
    if len(found) != 1:
        titles = ", ".join(f"{result.title!r}" for result in results)
        raise UsageError(f"{len(found)} results have the title {title!r}; the file holds {titles}.")
    return found[0]


def _comparison_table(comparison: Comparison) -> Table:
    table = Table(title=Text(f"A: {comparison.a}   B: {comparison.b}"), box=box.SIMPLE, padding=(0, 1))
    table.add_column("condition")
    for heading in ("N", "queries", "A", "B", "A - B", "interval", "only A right", "only B right", "p"):
        table.add_column(heading, justify="right")
    for condition, rows in comparison.rows.items():
        for row in rows:
            table.add_row(
                Text(condition),
                str(row.n),
                str(row.queries),
                f"{row.recall_a:.1f}",
                f"{row.recall_b:.1f}",
                f"{row.difference:+.1f}",
                Text("" if row.low is None else f"[{row.low:+.1f}, {row.high:+.1f}]"),
                str(row.only_a),
                str(row.only_b),
                f"{row.p_value:.3f}" if row.p_value >= 0.001 else f"{row.p_value:.1e}",
                style="bold" if condition == "all" else None,
            )
    return table
