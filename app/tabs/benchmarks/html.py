"""Benchmark results as HTML: the table, the protocol of its rows, the comparison, and single queries with answers."""

from __future__ import annotations

from collections.abc import Sequence

from app.tabs.benchmarks.query_table import QueryAnswer, QueryRow
from app.tabs.benchmarks.results import Result
from app.ui.cards import cards_html
from app.ui.html import (
    Markup,
    banner_html,
    described,
    escape,
    hint_html,
    picture,
    protocol_rows,
    row_html,
    table_html,
    thumbnail,
    waiting_panel,
)
from scicevpr.evaluation.comparison import Comparison
from scicevpr.evaluation.report import ALL
from scicevpr.evaluation.results import mrr_name

NOT_TIMED = "not timed"
EMPTY_TABLE = waiting_panel(
    "Choose databases and models above and press Measure. The results will stand here, model by model."
)
EMPTY_QUERIES = waiting_panel(
    "When something is measured, every query stands here with the models’ first answers: successes, failures and near "
    "misses."
)


def results_html(results: Sequence[Result]) -> str:
    """The table: Recall@N and MRR with 95 % intervals, size, time and memory."""
    if not results:
        return EMPTY_TABLE
    ns = results[0].evaluation.ns
    several = len({result.database for result in results}) > 1
    heads = [("model", ""), *((f"R@{n}, %", f"Recall@{n}: a right photo is among the first {n} answers") for n in ns)]
    heads += [
        (mrr_name(ns), f"mean of 1 / rank of the first positive, 0 beyond rank {max(ns)}"),
        ("queries", "photos that were asked"),
        ("dimensions", "numbers in a descriptor"),
        ("kB a photo", "a descriptor in float32"),
        ("ms a photo", "to read, resize and describe one query here, in this run or the remembered one"),
        ("database, MB", "all descriptors of the database in float32"),
        ("from", "measured now, or remembered from an earlier run of the same model, photos and grouping"),
    ]
    rows, last = [], None
    for result in results:
        if several and result.database != last:
            name = f'<th scope="rowgroup" colspan="{len(heads)}">{escape(result.database_title)}</th>'
            rows.append(f'<tr class="panel__group">{name}</tr>')
            last = result.database
        rows.append(_row(result))
    return table_html("Benchmark results", heads, rows, "panel--numbers")


def _row(result: Result) -> str:
    scores, cost = result.scores, result.cost
    limits = scores.intervals
    numbers = [
        _number(f"{value:.1f}", None if limits is None else limits.recalls[n], "{:.1f}")
        for n, value in scores.recalls.items()
    ]
    numbers.append(_number(f"{scores.mrr:.3f}", None if limits is None else limits.mrr, "{:.3f}"))
    speed = NOT_TIMED if cost.ms_a_photo is None else f"{cost.ms_a_photo:.0f}"
    plain = (f"{scores.queries:,}", f"{cost.dimensions:,}", f"{cost.kilobytes_a_photo:.1f}", speed)
    cells = (*numbers, *plain, f"{cost.database_megabytes:,.1f}", result.source)
    return row_html(result.title, cells, data_model=result.role)


def _number(text: str, limits: tuple[float, float] | None, style: str) -> Markup:
    if limits is None:
        return Markup(f"<td>{text}</td>")
    low, high = (style.format(value) for value in limits)
    return Markup(f'<td>{text}<small title="95 % interval">{low} to {high}</small></td>')


def problems_html(problems: Sequence[str]) -> str:
    """What could not be measured and why; empty when all could."""
    return "".join(banner_html("alarm", "Not measured.", text) for text in problems)


def protocols_html(results: Sequence[Result]) -> str:
    """The protocol of every row of one database, behind a line that opens; what agrees is written once."""
    if not results:
        return ""
    heads = ["", *(result.title for result in results)]
    table = table_html("Protocol of each row", heads, protocol_rows([result.evaluation.protocol for result in results]))
    notes = dict.fromkeys(note for result in results for note in result.evaluation.notes)
    name = escape(results[0].database_title)
    return f"<details><summary>Protocol of each row: {name}</summary>{table}{''.join(map(hint_html, notes))}</details>"


def comparison_words(comparison: Comparison, database: str) -> str:
    """Two models on the same queries in one plain sentence."""
    row = comparison.rows[ALL][0]
    a, b = comparison.a, comparison.b
    alone = f"{row.only_a} of {row.queries} queries are right first with {a} only, {row.only_b} with {b} only"
    if row.only_a + row.only_b == 0:
        return f"On {database}, {a} and {b} have the same first answers right: {row.recall_a:.1f} % of {row.queries}."
    gap = f"{abs(row.difference):.1f} points"
    if row.low is None or row.high is None:
        return f"On {database}: {alone} ({gap} apart; too few places for an interval)."
    ends = sorted((abs(row.low), abs(row.high))) if row.low * row.high > 0 else (row.low, row.high)
    span = f"95 % interval {ends[0]:.1f} to {ends[1]:.1f}, p = {row.p_value:.2g} by McNemar’s exact test"
    if row.low <= 0 <= row.high:
        return (
            f"On {database} neither is shown to be better: {a} minus {b} is {row.difference:+.1f} points of Recall@1 "
            f"({span}); {alone}."
        )
    better, worse = (a, b) if row.difference > 0 else (b, a)
    return f"On {database}, {better} is better than {worse} by {gap} of Recall@1 ({span}); {alone}."


def queries_html(rows: Sequence[QueryRow]) -> str:
    """Queries with every model's first answer; buttons open them in other tabs (see query_table.js)."""
    if not rows:
        return waiting_panel("No query is like that. Choose another selection.")
    return f'<ol class="queries">{"".join(map(_query, rows))}</ol>'


def _query(row: QueryRow) -> str:
    query, about = row.query, described(row.query)
    name = f"query {row.row + 1}" + (f", {about}" if about else "")
    photo = picture(thumbnail(query.path, 240), name, f"{name}. {query.name}")
    disabled = "" if query.path.is_file() else " disabled"
    buttons = "".join(
        f'<button type="button" class="query__open" data-row="{row.row}" data-to="{to}"{disabled} '
        f'aria-label="Open {escape(name)} in {to.capitalize()}">Open in {to.capitalize()}</button>'
        for to in ("find", "inside")
    )
    lost = "" if row.findable else '<p class="query__note">No database photo shows this place.</p>'
    return (
        f'<li class="query" data-row="{row.row}"><div class="query__photo"><h4>{escape(name)}</h4>{photo}{lost}'
        f'<div class="query__buttons">{buttons}</div></div>'
        f'<div class="query__answers">{"".join(map(_answer, row.answers))}</div></li>'
    )


def _answer(answer: QueryAnswer) -> str:
    margin = "no margin"
    if answer.margin is not None:
        sign = ("≥ " if answer.margin > 0 else "≤ ") if answer.at_least else ""
        margin = f"margin {sign}{answer.margin:+.3f}"
    return (
        f'<div class="query__answer" data-model="{escape(answer.role)}"><h4>{escape(answer.title)}</h4>'
        f'{cards_html([answer.hit], answer.title)}<span class="query__margin">{escape(margin)}</span></div>'
    )
