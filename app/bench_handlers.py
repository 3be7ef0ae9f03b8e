"""Between the Benchmarks tab and its service: raw component values in, ready component values out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import combinations
from typing import Any

import gradio as gr
import plotly.graph_objects as go

from app.bench import FILE, LARGEST_SEED, SHUFFLED, Bench
from app.bench_cases import ALL_RIGHT, ANY, CLOSE, IN_ORDER, MISTAKES, NEAR, NONE_RIGHT, ONLY, SUCCESSES, Cases
from app.bench_files import write_files
from app.bench_records import Result, compared
from app.components.pictures import escape
from app.components.results import (
    EMPTY_CASES,
    cases_html,
    comparison_words,
    condition_scores,
    problems_html,
    protocols_html,
    results_html,
)
from app.handlers import PageHandlers, plain_text, toasts
from app.outgoing import ServerFile
from app.queries import whole_number
from app.rooms import BASELINE, STABLE
from app.stops import Stops
from scicevpr.errors import SciceVPRError, UsageError
from scicevpr.evaluation.baselines import BASELINES
from scicevpr.evaluation.comparison import Comparison
from scicevpr.figures.scores import Bar, condition_bars, recall_curves

PAGE = 6
VIEW_PARTS = 9
EVERYTHING = ""
FILES = ("Table as CSV", "Curves as CSV", "Table as LaTeX", "All as JSON")
"""Words for the files of `write_files`."""

SELECTIONS = (
    ("every query", ANY),
    ("only this model is wrong", ONLY),
    ("all models are wrong", NONE_RIGHT),
    ("all models are right", ALL_RIGHT),
    ("near misses", NEAR),
)
CASE_ORDERS = (
    ("closest decisions first", CLOSE),
    ("surest mistakes first", MISTAKES),
    ("surest right answers first", SUCCESSES),
    ("order of the query list", IN_ORDER),
)


class BenchHandlers(PageHandlers):
    """The events of the Benchmarks tab and its API endpoint."""

    def __init__(self, bench: Bench) -> None:
        super().__init__(bench.services)
        self.bench = bench
        self.stops = Stops()
        self.run = toasts(self._run)
        self.view = toasts(self._view)
        self.compare = toasts(self._compare)
        self.open = toasts(self._open)
        self.files = toasts(self._files)
        self.file_of = toasts(self._file_of)
        self.api_benchmark = toasts(self._api_benchmark)

    # ---- what can be chosen -------------------------------------------------------------------------------------

    def choices(self) -> tuple[list[str], list[tuple[str, str]]]:
        """Names of the databases, and (title, role) of the models that can be measured."""
        usable = [state.role for state in self.services.model_states() if state.state != "missing"]
        roles = [*usable, *BASELINES]
        return list(self.services.datasets), [(self.bench.title(role), role) for role in roles]

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

    def _run(
        self, databases: Any, models: Any, grouping: Any, seed: Any, shown: Any, request: gr.Request
    ) -> Iterator[tuple]:
        """Measure, to the end or until stopped; yields values for (words, problems, table, keys, the view of one
        database)."""
        order = str(grouping or FILE)
        order += f" {whole_number(seed, 'The seed of the shuffle', 0, LARGEST_SEED)}" if order == SHUFFLED else ""
        results: list[Result] = []
        problems: list[str] = []
        pairs = len(databases or ()) * len(models or ())
        steps = self.bench.run(names_of(databases), names_of(models), order)
        with self.stops.running(request) as stop, closing(steps):
            for step in steps:
                if stop.is_set():
                    break
                words = f"{len(results) + len(problems) + 1} of {pairs}: {escape(step.words)}"
                if step.problem:
                    problems.append(step.problem)
                    yield words, problems_html(problems), *[gr.skip()] * (2 + VIEW_PARTS)
                elif step.new is not None:
                    results.append(step.new)
                    keys = text_of(results)
                    yield words, gr.skip(), results_html(results), keys, *self._view(keys, step.new.database)
                else:
                    yield words, *[gr.skip()] * (3 + VIEW_PARTS)
        if stop.is_set():
            yield f"Stopped. {len(results)} measured; they stay.", *[gr.skip()] * (3 + VIEW_PARTS)
            return
        names = [result.database for result in results]
        if not results:
            yield "Nothing could be measured.", problems_html(problems), results_html([]), "", *self._view("", None)
            return
        database = shown if shown in names else names[0]
        yield (
            f"Done: {len(results)} of {pairs} measured.",
            problems_html(problems),
            results_html(results),
            text_of(results),
            *self._view(text_of(results), database),
        )

    def _view(self, keys: Any, shown: Any) -> tuple:
        """One database of the results: values for (database, curves, bars, model A, model B, sentence, protocols, model
        in question, condition)."""
        results = self.bench.results(keys_of(keys))
        if not results:
            hidden = gr.update(value=None, visible=False)
            nothing = gr.update(choices=[], value=None)
            return (
                gr.update(choices=[], value=None, visible=False),
                hidden,
                hidden,
                nothing,
                nothing,
                "",
                "",
                nothing,
                nothing,
            )
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

    def _compare(self, keys: Any, shown: Any, a: Any, b: Any) -> str:
        """Two models in one sentence, as HTML."""
        return self._sentence(self._own(keys, shown), a, b)

    @staticmethod
    def _sentence(own: Sequence[Result], a: Any, b: Any) -> str:
        by_role = {result.role: result for result in own}
        if a not in by_role or b not in by_role or a == b:
            return '<p class="hint">Choose two different models to compare them on the same queries.</p>'
        words = comparison_words(compared(by_role[a], by_role[b]), own[0].database_title)
        return f'<p class="results__sentence" role="status">{escape(words)}</p>'

    def _browse(
        self, keys: Any, shown: Any, show: Any, role: Any, condition: Any, order: Any, page: Any, step: Any = 0
    ) -> tuple[str, str, int]:
        """A page of queries: values for (queries, words, page)."""
        own = self._own(keys, shown)
        if not own:
            return EMPTY_CASES, "", 0
        cases = Cases(own)
        roles = [result.role for result in own]
        rows = cases.select(str(show), role if role in roles else roles[0], condition or None, str(order))
        last = max(0, (len(rows) - 1) // PAGE)
        at = min(max(0, whole_number(page or 0, "The page", 0, 10**6) + step), last)
        chosen = rows[at * PAGE : (at + 1) * PAGE]
        total = len(cases.dataset.queries)
        words = f"{len(rows):,} of {total:,} queries"
        if len(rows):
            words += f"; shown: {at * PAGE + 1} to {at * PAGE + len(chosen)}"
        if show == NEAR:
            limits = f"{cases.dataset.truth.radius:g} to {cases.near_limit:g} m"
            words += f". Near miss: a model's first answer is wrong, but only {limits} away"
        return cases_html([cases.case(int(row)) for row in chosen]), escape(words) + ".", at

    def turn(self, step: int) -> Any:
        """A handler that turns the page by ``step``."""
        return toasts(lambda *form: self._browse(*form, step=step))

    def _open(self, keys: Any, shown: Any, event: gr.EventData) -> tuple[str, str, str]:
        """The query whose button was pressed: values for (its row, the database's name, "find" or "inside")."""
        data = event._data if isinstance(event._data, dict) else {}
        own = self._own(keys, shown)
        if not own:
            raise UsageError("These results are forgotten. Measure again.")
        queries = own[0].dataset.queries
        row = whole_number(data.get("row"), "The query", 0, len(queries) - 1)
        return str(row), own[0].database, "inside" if data.get("to") == "inside" else "find"

    def opened(self, row: Any, database: Any) -> tuple[str, ServerFile]:
        """A database's name and the file of one of its queries. UsageError for a row that it does not have."""
        key, dataset = self.services.dataset(database)
        if not dataset.queries:
            raise UsageError(f"{self.services.datasets.title(key)} has no query photos.")
        number = whole_number(row, "The query", 0, len(dataset.queries) - 1)
        return key, self.services.outgoing.photo(key, dataset.queries[number])

    def _files(self, keys: Any) -> list[dict]:
        """What is shown as files; values for the buttons of FILES."""
        results = self.bench.results(keys_of(keys))
        if not results:
            return [gr.update(value=None, visible=False)] * len(FILES)
        return [gr.update(value=file, visible=True) for file in self._written(results)]

    def _file_of(self, keys: Any) -> ServerFile:
        """What is shown as a JSON file, for the Figures tab. UsageError when there is nothing."""
        results = self.bench.results(keys_of(keys))
        if not results:
            raise UsageError("There are no results to draw yet. Measure first.")
        return self._written(results)[-1]

    def _written(self, results: Sequence[Result]) -> list[ServerFile]:
        outgoing = self.services.outgoing
        folder = outgoing.folder(*(result.database for result in results))
        return [outgoing.file(path) for path in write_files(folder, results, all_comparisons(results))]

    # ---- endpoint -----------------------------------------------------------------------------------------------

    def _api_benchmark(self, database: Any, model: Any = STABLE, grouping: Any = FILE) -> dict:
        """Recall@1/5/10/100 and MRR with 95 % intervals of a model on a database, in all and by condition.

        Args:
            database: Name of the database (see databases); left out: the first one.
            model: "stable", "baseline", "teacher" or "third" (see models).
            grouping: Which queries share a batch: "file" (as published), "alone", "shuffled" or "shuffled 3" (a seed).

        Returns:
            The scores in %, the protocol, and what the model costs (descriptor size, ms a photo, memory in MB).
        """
        role, order = plain_text(model, "The model") or STABLE, plain_text(grouping, "The grouping") or FILE
        return self.bench.measure(database, role, order).to_json()

    def _own(self, keys: Any, shown: Any) -> list[Result]:
        results = self.bench.results(keys_of(keys))
        name = shown if any(result.database == shown for result in results) else None
        return [result for result in results if result.database == (name or results[0].database)]


def first_roles(roles: Sequence[tuple[str, str]]) -> list[str]:
    """The models that are chosen at first: SciceVPR and the baseline, where they are there."""
    names = [role for _, role in roles]
    return [role for role in (STABLE, BASELINE) if role in names] or names[:1]


def names_of(value: Any) -> list[str]:
    """A group of checkboxes as a list. UsageError for anything else."""
    if value is None:
        return []
    if not isinstance(value, (list, tuple)):
        raise UsageError(f"A list of names is needed, not {type(value).__name__}.")
    return [plain_text(item, "A name") for item in value]


def text_of(results: Sequence[Result]) -> str:
    """Keys of results as text; the page keeps it."""
    return ",".join(result.key for result in results)


def keys_of(text: Any) -> list[str]:
    """The opposite of text_of."""
    return [key for key in str(text or "").split(",") if key]


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
        for name, scores in condition_scores(result).items():
            limits = (None, None) if scores.intervals is None else scores.intervals.recalls[1]
            bars[name] = Bar(scores.recalls[1], *limits, scores.queries)
        models[result.title] = bars
    return condition_bars(models, f"Recall@1 by condition, 95 % intervals<br>{escape(own[0].database_title)}")
