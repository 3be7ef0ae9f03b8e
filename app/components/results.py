"""Benchmark results as HTML: the table, the protocol of its rows, the comparison, and single queries with answers."""

from __future__ import annotations

from collections.abc import Sequence

from app.bench_cases import Case, CaseAnswer
from app.bench_records import Result
from app.components.cards import card_html
from app.components.pictures import described, escape, picture, thumbnail
from scicevpr.evaluation.comparison import Comparison
from scicevpr.evaluation.report import ALL
from scicevpr.evaluation.results import Scores

NOT_TIMED = "not timed"
EMPTY_TABLE = (
    '<section class="protocol protocol--waiting">Choose databases and models above and press Measure. The results will '
    "stand here, model by model.</section>"
)
EMPTY_CASES = (
    '<section class="protocol protocol--waiting">When something is measured, every query stands here with the models’ '
    "first answers: successes, failures and near misses.</section>"
)


def results_html(results: Sequence[Result]) -> str:
    """The table: Recall@N and MRR with 95 % intervals, size, time and memory."""
    if not results:
        return EMPTY_TABLE
    ns = results[0].evaluation.ns
    several = len({result.database for result in results}) > 1
    heads = [("model", ""), *((f"R@{n}, %", f"Recall@{n}: a right photo is among the first {n} answers") for n in ns)]
    heads += [
        ("MRR", f"mean of 1 / rank of the first right photo, 0 beyond rank {max(ns)}"),
        ("queries", "photos that were asked"),
        ("values", "numbers in a descriptor"),
        ("kB a photo", "a descriptor in float32"),
        ("ms a photo", "to read, resize and describe one query here, in this run or the remembered one"),
        ("database, MB", "all descriptors of the database in float32"),
        ("from", "measured now, or remembered from an earlier run of the same model, photos and grouping"),
    ]
    head = "".join(f'<th scope="col"{_title(words)}>{escape(text)}</th>' for text, words in heads)
    body, last = "", None
    for result in results:
        if several and result.database != last:
            name = f'<th scope="rowgroup" colspan="{len(heads)}">{escape(result.database_title)}</th>'
            body += f'<tr class="results__group">{name}</tr>'
            last = result.database
        body += _row(result)
    return (
        '<section class="protocol results" aria-label="Benchmark results"><div class="protocol__scroll" tabindex="0" '
        'role="region" aria-label="Benchmark results, can be scrolled">'
        f'<table class="listing"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div></section>'
    )


def _row(result: Result) -> str:
    scores, cost = result.evaluation.overall, result.cost
    limits = scores.intervals
    cells = [
        _number(f"{value:.1f}", None if limits is None else limits.recalls[n], "{:.1f}")
        for n, value in scores.recalls.items()
    ]
    cells.append(_number(f"{scores.mrr:.3f}", None if limits is None else limits.mrr, "{:.3f}"))
    speed = NOT_TIMED if cost.ms_a_photo is None else f"{cost.ms_a_photo:.0f}"
    plain = (f"{scores.queries:,}", f"{cost.values:,}", f"{cost.kilobytes_a_photo:.1f}", speed)
    cells += [f"<td>{escape(text)}</td>" for text in (*plain, f"{cost.database_megabytes:,.1f}", result.source)]
    return f'<tr data-model="{escape(result.role)}"><th scope="row">{escape(result.title)}</th>{"".join(cells)}</tr>'


def _number(text: str, limits: tuple[float, float] | None, style: str) -> str:
    if limits is None:
        return f"<td>{text}</td>"
    low, high = (style.format(value) for value in limits)
    return f'<td>{text}<small title="95 % interval">{low} to {high}</small></td>'


def _title(words: str) -> str:
    return f' title="{escape(words)}"' if words else ""


def problems_html(problems: Sequence[str]) -> str:
    """What could not be measured and why; empty when all could."""
    return "".join(
        f'<div class="banner banner--alarm" role="status"><strong>Not measured.</strong> {escape(text)}</div>'
        for text in problems
    )


def protocols_html(results: Sequence[Result]) -> str:
    """The protocol of every row of one database, behind a line that opens; what agrees is written once."""
    if not results:
        return ""
    rows = ""
    for key in dict.fromkeys(key for result in results for key in result.evaluation.protocol):
        values = [result.evaluation.protocol.get(key, "–") for result in results]
        if len(set(values)) == 1:
            cells = f'<td colspan="{len(values)}">{escape(values[0])}</td>'
        else:
            cells = "".join(f"<td>{escape(value)}</td>" for value in values)
        rows += f'<tr><th scope="row">{escape(key)}</th>{cells}</tr>'
    heads = "".join(f'<th scope="col">{escape(result.title)}</th>' for result in results)
    notes = dict.fromkeys(note for result in results for note in result.evaluation.notes)
    more = "".join(f'<p class="hint">{escape(note)}</p>' for note in notes)
    return (
        f'<details class="protocol results__protocol"><summary>Protocol of each row: '
        f"{escape(results[0].database_title)}</summary>"
        f'<div class="protocol__scroll"><table><thead><tr><td></td>{heads}</tr></thead><tbody>{rows}</tbody>'
        f"</table></div>{more}</details>"
    )


def comparison_words(comparison: Comparison, database: str) -> str:
    """Two models on the same queries in one plain sentence."""
    row = comparison.rows[ALL][0]
    a, b = comparison.a, comparison.b
    alone = f"{row.only_a} of {row.queries} queries are right first with {a} only, {row.only_b} with {b} only"
    if row.only_a + row.only_b == 0:
        return f"On {database}, {a} and {b} have the same first answers right: {row.recall_a:.1f} % of {row.queries}."
    gap = f"{abs(row.difference):.1f} points"
    if row.low is None:
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


def condition_scores(result: Result) -> dict[str, Scores]:
    """Scores by condition, all queries last."""
    return {**result.evaluation.conditions, ALL: result.evaluation.overall}


def cases_html(cases: Sequence[Case], empty: str = "No query is like that. Choose another selection.") -> str:
    """Queries with every model's first answer; buttons open them in other tabs (see static/results.js)."""
    if not cases:
        return f'<section class="protocol protocol--waiting" role="status">{escape(empty)}</section>'
    return f'<ol class="cases">{"".join(map(_case, cases))}</ol>'


def _case(case: Case) -> str:
    query, about = case.query, described(case.query)
    name = f"query {case.row + 1}" + (f", {about}" if about else "")
    photo = picture(thumbnail(query.path, 240), name, f"{name}. {query.name}")
    disabled = "" if query.path.is_file() else " disabled"
    buttons = "".join(
        f'<button type="button" class="cases__open" data-row="{case.row}" data-to="{to}"{disabled} '
        f'aria-label="Open {escape(name)} in {to.capitalize()}">Open in {to.capitalize()}</button>'
        for to in ("find", "inside")
    )
    lost = "" if case.findable else '<p class="cases__note">No database photo shows this place.</p>'
    answers = "".join(map(_answer, case.answers))
    return (
        f'<li class="case" data-row="{case.row}"><div class="case__query"><h4>{escape(name)}</h4>{photo}{lost}'
        f'<div class="cases__buttons">{buttons}</div></div><div class="case__answers">{answers}</div></li>'
    )


def _answer(answer: CaseAnswer) -> str:
    card = card_html(answer.hit, answer.title).replace(" card--first", "")
    margin = "no margin"
    if answer.margin is not None:
        sign = ("≥ " if answer.margin > 0 else "≤ ") if answer.at_least else ""
        margin = f"margin {sign}{answer.margin:+.3f}"
    return (
        f'<div class="case__answer" data-model="{escape(answer.role)}"><h4>{escape(answer.title)}</h4>'
        f'<ol class="cards">{card}</ol><span class="case__margin">{escape(margin)}</span></div>'
    )
