"""Between the Benchmarks tab and its service: raw component values in, ready component values out."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import combinations
from typing import Any

import gradio as gr
import plotly.graph_objects as go

from app.core.model_slots import BASELINE, STABLE
from app.core.outgoing import ServerFile
from app.core.values import joined, plain_text, text_list, whole_number
from app.tabs.benchmarks.html import (
    EMPTY_QUERIES,
    comparison_words,
    problems_html,
    protocols_html,
    queries_html,
    results_html,
)
from app.tabs.benchmarks.query_table import ANY, CLOSE, NEAR, QueryTable
from app.tabs.benchmarks.report_files import write_files
from app.tabs.benchmarks.results import Result, compared
from app.tabs.benchmarks.service import FILE, LARGEST_SEED, SHUFFLED, Benchmarks
from app.ui.events import Handlers, Stops, event_data, toasts
from app.ui.html import escape
from scicevpr.errors import SciceVPRError, UsageError
from scicevpr.evaluation.baselines import BASELINES
from scicevpr.evaluation.comparison import Comparison
from scicevpr.evaluation.report import ALL
from scicevpr.figures.scores import Bar, condition_bars, recall_curves

PAGE = 6
MOST_QUERIES = 200
VIEW_PARTS = 9
EVERYTHING = ""
FILES = ("Table as CSV", "Curves as CSV", "Table as LaTeX", "All as JSON")
"""Words for the files of `write_files`."""


class BenchmarkHandlers(Handlers):
    """The events of the Benchmarks tab and its endpoints."""

    def __init__(self, benchmarks: Benchmarks) -> None:
        super().__init__(benchmarks.services)
        self.benchmarks = benchmarks
        self.stops = Stops()

    # ---- what can be chosen -------------------------------------------------------------------------------------

    def choices(self) -> tuple[list[str], list[tuple[str, str]]]:
        """Names of the databases, and (title, role) of the models that can be measured."""
        usable = [state.role for state in self.services.model_states() if state.state != "missing"]
        roles = [*usable, *BASELINES]
        return list(self.services.datasets), [(self.benchmarks.title(role), role) for role in roles]

    def refresh(self, names: Sequence[Any], databases: Any, models: Any) -> tuple[dict, dict]:
        """What can be chosen now, with what was chosen kept; values for (databases, models).

        names: databases as a dropdown takes them, this visitor's own places among them.
        """
        keys = [name if isinstance(name, str) else name[1] for name in names]
        _, roles = self.choices()
        kept = [name for name in databases or () if name in keys] or keys[:1]
        chosen = [role for role in models or () if role in [r for _, r in roles]]
        return gr.update(choices=list(names), value=kept), gr.update(choices=roles, value=chosen or first_roles(roles))

    # ---- events of the page -------------------------------------------------------------------------------------

    @toasts
    def run(
        self, databases: Any, models: Any, grouping: Any, seed: Any, shown: Any, request: gr.Request
    ) -> Iterator[tuple]:
        """Measure, to the end or until stopped; yields values for (words, problems, table, keys, the view of one
        database)."""
        order = str(grouping or FILE)
        order += f" {whole_number(seed, 'The seed of the shuffle', 0, LARGEST_SEED)}" if order == SHUFFLED else ""
        results: list[Result] = []
        problems: list[str] = []
        pairs = len(databases or ()) * len(models or ())
        steps = self.benchmarks.run(text_list(databases, "databases"), text_list(models, "models"), order)
        with self.stops.running(request) as stop, closing(steps):
            for step in steps:
                if stop.is_set():
                    break
                words = f"{len(results) + len(problems) + 1} of {pairs}: {escape(step.label)}"
                if step.problem:
                    problems.append(step.problem)
                    yield words, problems_html(problems), *[gr.skip()] * (2 + VIEW_PARTS)
                elif step.new is not None:
                    results.append(step.new)
                    keys = joined(result.key for result in results)
                    yield words, gr.skip(), results_html(results), keys, *self.view(keys, step.new.database)
                else:
                    yield words, *[gr.skip()] * (3 + VIEW_PARTS)
        if stop.is_set():
            yield f"Stopped. {len(results)} measured; they stay.", *[gr.skip()] * (3 + VIEW_PARTS)
            return
        names = [result.database for result in results]
        if not results:
            yield "Nothing could be measured.", problems_html(problems), results_html([]), "", *self.view("", None)
            return
        database = shown if shown in names else names[0]
        yield (
            f"Done: {len(results)} of {pairs} measured.",
            problems_html(problems),
            results_html(results),
            keys,
            *self.view(keys, database),
        )

    @toasts
    def view(self, keys: Any, shown: Any) -> tuple:
        """One database of the results: values for (database, curves, bars, model A, model B, sentence, protocols, model
        in question, condition)."""
        results = self._results(keys)
        if not results:
            hidden, nothing = gr.update(value=None, visible=False), gr.update(choices=[], value=None)
            shown = gr.update(choices=[], value=None, visible=False)
            return shown, hidden, hidden, nothing, nothing, "", "", nothing, nothing
        names = {result.database: result.database_title for result in results}
        name = shown if shown in names else next(iter(names))
        own = [result for result in results if result.database == name]
        roles = [(result.title, result.role) for result in own]
        a, b = (own[0].role, own[1].role) if len(own) > 1 else (own[0].role, None)
        conditions = [("all conditions", EVERYTHING), *((c, c) for c in own[0].evaluation.conditions)]
        return (
            gr.update(choices=[(title, key) for key, title in names.items()], value=name, visible=len(names) > 1),
            gr.update(value=curves_of(own), visible=True),
            gr.update(value=bars_of(own), visible=True),
            gr.update(choices=roles, value=a),
            gr.update(choices=roles, value=b),
            self._sentence(own, a, b),
            protocols_html(own),
            gr.update(choices=roles, value=a),
            gr.update(choices=conditions, value=EVERYTHING),
        )

    @toasts
    def compare(self, keys: Any, shown: Any, a: Any, b: Any) -> str:
        """Two models in one sentence, as HTML."""
        return self._sentence(self._own(keys, shown), a, b)

    @staticmethod
    def _sentence(own: Sequence[Result], a: Any, b: Any) -> str:
        by_role = {result.role: result for result in own}
        if a not in by_role or b not in by_role or a == b:
            return '<p class="hint">Choose two different models to compare them on the same queries.</p>'
        words = comparison_words(compared(by_role[a], by_role[b]), own[0].database_title)
        return f'<p class="results__sentence" role="status">{escape(words)}</p>'

    def _browse(self, *form: Any, step: int = 0) -> tuple[str, str, int]:
        """A page of queries: values for (queries, words, page)."""
        keys, shown, show, role, condition, order, page = form
        own = self._own(keys, shown)
        if not own:
            return EMPTY_QUERIES, "", 0
        table = QueryTable(own)
        roles = [result.role for result in own]
        rows = table.select(str(show), role if role in roles else roles[0], condition or None, str(order))
        last = max(0, (len(rows) - 1) // PAGE)
        at = min(max(0, whole_number(page or 0, "The page", 0, 10**6) + step), last)
        chosen = rows[at * PAGE : (at + 1) * PAGE]
        total = len(table.dataset.queries)
        words = f"{len(rows):,} of {total:,} queries"
        if len(rows):
            words += f"; shown: {at * PAGE + 1} to {at * PAGE + len(chosen)}"
        if show == NEAR:
            limits = f"{table.dataset.truth.radius:g} to {table.near_limit:g} m"
            words += f". Near miss: a model's first answer is wrong, but only {limits} away"
        return queries_html([table.row(int(row)) for row in chosen]), escape(words) + ".", at

    def turn(self, step: int) -> Any:
        """A handler that turns the page by ``step``."""
        return toasts(lambda *form: self._browse(*form, step=step))

    @toasts
    def open(self, keys: Any, shown: Any, which: Any, event: gr.EventData) -> tuple[str, str, str, str, str]:
        """The query whose button was pressed: values for (its row, the database's name, "find" or "inside", the model
        in question, how many other photos of its batch)."""
        data = event_data(event)
        own = self._own(keys, shown)
        if not own:
            raise UsageError("These results are forgotten. Measure again.")
        queries = own[0].dataset.queries
        row = whole_number(data.get("row"), "The query", 0, len(queries) - 1)
        asked = next((result for result in own if result.role == which), own[0])
        size = re.search(r"\d+", asked.evaluation.protocol.get("query grouping", ""))  # "sequential 16", "alone"
        others = min(int(size[0]), len(queries)) - 1 if size else 0
        return str(row), own[0].database, "inside" if data.get("to") == "inside" else "find", asked.role, str(others)

    def opened(self, row: Any, database: Any) -> tuple[str, ServerFile]:
        """A database's name and the file of one of its queries. UsageError for a row that it does not have."""
        key, dataset = self.services.dataset(database)
        if not dataset.queries:
            raise UsageError(f"{self.services.datasets.title(key)} has no query photos.")
        number = whole_number(row, "The query", 0, len(dataset.queries) - 1)
        return key, self.services.outgoing.photo(key, dataset.queries[number])

    @toasts
    def files(self, keys: Any) -> list[dict]:
        """What is shown as files; values for the buttons of FILES."""
        results = self._results(keys)
        if not results:
            return [gr.update(value=None, visible=False)] * len(FILES)
        return [gr.update(value=file, visible=True) for file in self._written(results)]

    @toasts
    def file_of(self, keys: Any) -> ServerFile:
        """What is shown as a JSON file, for the Figures tab. UsageError when there is nothing."""
        results = self._results(keys)
        if not results:
            raise UsageError("There are no results to draw yet. Measure first.")
        return self._written(results)[-1]

    def _written(self, results: Sequence[Result]) -> list[ServerFile]:
        outgoing = self.services.outgoing
        folder = outgoing.folder(*(result.database for result in results))
        return [outgoing.file(path) for path in write_files(folder, results, all_comparisons(results))]

    # ---- endpoint -----------------------------------------------------------------------------------------------

    @toasts
    def api_benchmark(self, database: Any, model: Any = STABLE, grouping: Any = FILE) -> dict:
        """Recall@1/5/10/100 and MRR with 95 % intervals of a model on a database, in all and by condition.

        Args:
            database: Name of the database (see databases); left out: the first one.
            model: "stable", "baseline", "teacher" or "third" (see models).
            grouping: Which queries share a batch: "file" (as published), "alone", "shuffled" or "shuffled 3" (a seed).

        Returns:
            The scores in %, the protocol, and what the model costs (descriptor size, ms a photo, memory in MB).
        """
        role, order = plain_text(model, "The model") or STABLE, plain_text(grouping, "The grouping") or FILE
        return self.benchmarks.measure(database, role, order).to_json()

    @toasts
    def api_compare(self, database: Any = None, a: Any = STABLE, b: Any = BASELINE, grouping: Any = FILE) -> dict:
        """Compare two models on the same queries, with 95 % intervals and p-values, in all and by condition.

        Args:
            database: Name of the database (see databases); left out: the first one.
            a: Role of the first model: "stable", "baseline", "teacher" or "third" (see models).
            b: Role of the second model.
            grouping: Which queries share a batch: "file" (as published), "alone", "shuffled" or "shuffled 3" (a seed).

        Returns:
            Recall@1 of both in %, the difference with its interval, the p-value, and how many only one gets right.
        """
        order = plain_text(grouping, "The grouping") or FILE
        first, second = (self.benchmarks.measure(database, plain_text(role, "A model"), order) for role in (a, b))
        return compared(first, second).to_json()

    @toasts
    def api_queries(
        self, database: Any = None, models: Any = f"{STABLE},{BASELINE}", grouping: Any = FILE, show: Any = ANY,
        condition: Any = "", order: Any = CLOSE, limit: Any = 20,
    ) -> dict:  # fmt: skip
        """List single queries of a benchmark: successes, failures and near misses of the models.

        Args:
            database: Name of the database (see databases); left out: the first one.
            models: Roles of the models, such as "stable,baseline"; the first is "this model" below.
            grouping: Which queries share a batch: "file" (as published), "alone", "shuffled" or "shuffled 3" (a seed).
            show: "any", "only" (just this model is wrong), "wrong" (all are), "right" (all are) or "near" (near miss).
            condition: Only queries under this condition, such as "night"; "": all.
            order: "close" (closest decisions first), "mistakes" (surest first), "successes" (surest first) or "file".
            limit: Queries to return, 1 to 200.

        Returns:
            How many queries fit, and for each the photo, position, condition and every model's first answer.
        """
        most, together = whole_number(limit, "The limit", 1, MOST_QUERIES), plain_text(grouping, "The grouping") or FILE
        selection, only = plain_text(show, "The selection"), plain_text(condition, "The condition") or None
        results = [self.benchmarks.measure(database, role, together) for role in text_list(models, "models")]
        table = QueryTable(results)
        rows = table.select(selection, results[0].role, only, plain_text(order, "The order"))
        return {"found": len(rows), "queries": [table.row(int(row)).to_json() for row in rows[:most]]}

    def _results(self, keys: Any) -> list[Result]:
        """What a page shows, by the text that it keeps."""
        return self.benchmarks.results([key for key in str(keys or "").split(",") if key])

    def _own(self, keys: Any, shown: Any) -> list[Result]:
        results = self._results(keys)
        name = shown if any(result.database == shown for result in results) else None
        return [result for result in results if result.database == (name or results[0].database)]


def first_roles(roles: Sequence[tuple[str, str]]) -> list[str]:
    """The models that are chosen at first: SciceVPR and the baseline, where they are there."""
    names = [role for _, role in roles]
    return [role for role in (STABLE, BASELINE) if role in names] or names[:1]


def all_comparisons(results: Sequence[Result]) -> list[tuple[str, Comparison]]:
    """Every pair of models on every database."""
    found = []
    for a, b in combinations(results, 2):
        if a.database == b.database:
            try:
                found.append((a.database_title, compared(a, b)))
            except SciceVPRError:
                continue  # such as a query list that names a photo twice: the other pairs still count
    return found


def curves_of(own: Sequence[Result]) -> go.Figure:
    """Recall@N of the models on one database."""
    title = f"Recall@N, 95 % intervals over places<br>{escape(own[0].database_title)}"
    return recall_curves([result.curve for result in own], title)


def bars_of(own: Sequence[Result]) -> go.Figure:
    """Recall@1 by condition of the models on one database."""
    models = {}
    for result in own:
        bars = {}
        for name, scores in {**result.evaluation.conditions, ALL: result.scores}.items():
            low, high = (None, None) if scores.intervals is None else scores.intervals.recalls[1]
            bars[name] = Bar(scores.recalls[1], low, high, scores.queries)
        models[result.title] = bars
    return condition_bars(models, f"Recall@1 by condition, 95 % intervals<br>{escape(own[0].database_title)}")
