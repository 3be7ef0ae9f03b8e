"""The Benchmarks tab: models measured on databases, and every query behind the numbers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from app.bench import ALONE, FILE, LARGEST_SEED, SHUFFLED, Bench
from app.bench_cases import ANY, CLOSE
from app.bench_handlers import CASE_ORDERS, EVERYTHING, FILES, SELECTIONS, BenchHandlers, first_roles
from app.components.header import hint_html, step_html
from app.components.results import EMPTY_CASES, results_html
from app.tabs.endpoint_inputs import database_input, text_input
from app.tabs.find import LONG, QUIET
from app.tabs.picker import QUICK

STATIC = Path(__file__).resolve().parents[1] / "static"
GROUPINGS = [("file order, as published", FILE), ("every query alone", ALONE), ("shuffled", SHUFFLED)]
RUN_HINT = (
    "Measure: every model on every database; rows appear as they are ready, and Stop keeps what is there. What was "
    "measured before with the same models, photos and grouping is remembered. Files of the same numbers stand below."
)
CASES_HINT = (
    "Margin: the similarity of the best right photo minus that of the best wrong one; below zero the answer is wrong. "
    "The buttons carry a query into Find or Inside."
)


@dataclass(frozen=True)
class BenchmarkParts:
    """What build_app may wire to other tabs.

    opened: event after which row, database and tab ("find" or "inside") name the query that a visitor wants to open.
    choices: the boxes of databases and models. keys: which results are shown. to_figures: event
    of the wish to draw them.
    """

    opened: Any
    row: gr.Textbox
    database: gr.Textbox
    tab: gr.Textbox
    keys: gr.Textbox
    choices: tuple[gr.CheckboxGroup, gr.CheckboxGroup]
    to_figures: Any
    handlers: BenchHandlers


def build(bench: Bench) -> BenchmarkParts:
    """Lay out the tab inside the current gr.Tab."""
    handlers = BenchHandlers(bench)
    names, roles = handlers.choices()
    with gr.Row(elem_id="bench-form", equal_height=False):
        with gr.Column(scale=5, min_width=280):
            gr.HTML(step_html(1, "Choose databases and models"), elem_classes="step")
            databases = gr.CheckboxGroup(
                names, value=names[:1], label="Databases", elem_id="bench-databases",
                info="Opened packs are here too.",
            )  # fmt: skip
            models = gr.CheckboxGroup(
                roles, value=first_roles(roles), label="Models", elem_id="bench-models",
                info="ImageNet features, HOG, colours: not trained for places. Other weights: Models & data.",
            )  # fmt: skip
        with gr.Column(scale=5, min_width=280):
            gr.HTML(step_html(2, "Which queries share a batch?"), elem_classes="step")
            grouping = gr.Radio(
                GROUPINGS, value=FILE, label="Grouping of the queries", elem_id="bench-grouping",
                info="Only cross-image models such as CricaVPR feel it; SciceVPR describes every photo by itself.",
            )  # fmt: skip
            seed = gr.Slider(
                0, LARGEST_SEED, value=0, step=1, label="Seed of the shuffle", buttons=[], visible=False,
                elem_id="bench-seed", info="Another seed is another random order.",
            )  # fmt: skip
            with gr.Row():
                run = gr.Button("Measure", variant="primary", elem_id="bench-run")
                stop = gr.Button("Stop", variant="stop", elem_id="bench-stop")
            gr.HTML(hint_html(RUN_HINT), elem_classes="step")
    words = gr.Markdown("", elem_id="bench-words")
    problems = gr.HTML("", elem_id="bench-problems")
    gr.HTML(step_html(3, "Results"), elem_classes="step")
    table = gr.HTML(results_html([]), elem_id="bench-table")
    shown = gr.Radio(
        [], label="Database shown below", visible=False, elem_id="bench-shown",
        info="Curves, conditions, comparison and single queries are of one database.",
    )  # fmt: skip
    with gr.Row(elem_id="bench-plots", equal_height=False):
        curves = gr.Plot(visible=False, show_label=False, elem_id="bench-curves")
        bars = gr.Plot(visible=False, show_label=False, elem_id="bench-bars")
    with gr.Row(elem_id="bench-compare", equal_height=False):
        a = gr.Dropdown([], label="Compare", interactive=True, elem_id="bench-a", min_width=180, info="Query by query.")
        b = gr.Dropdown(
            [], label="with", interactive=True, elem_id="bench-b", min_width=180, info="On the same queries."
        )
    sentence = gr.HTML("", elem_id="bench-sentence")
    protocols = gr.HTML("", elem_id="bench-protocols")
    with gr.Row(elem_id="bench-files"):
        files = [gr.DownloadButton(words, visible=False, size="sm", min_width=140) for words in FILES]
        figure = gr.Button("Draw them in Figures", visible=False, size="sm", min_width=140, elem_id="bench-figure")
    gr.HTML(step_html(4, "Query by query: successes, failures, near misses"), elem_classes="step")
    with gr.Row(elem_id="bench-filter", equal_height=False):
        show = gr.Dropdown(
            list(SELECTIONS), value=ANY, label="Show", interactive=True, elem_id="bench-show", min_width=180,
            info="By whose first answer is right.",
        )  # fmt: skip
        which = gr.Dropdown(
            [], label="Model in question", interactive=True, elem_id="bench-which", min_width=180,
            info="Which one “this model” is, and whose margin sorts.",
        )  # fmt: skip
        condition = gr.Dropdown(
            [("all conditions", EVERYTHING)], value=EVERYTHING, label="Condition", interactive=True,
            elem_id="bench-condition", min_width=180, info="Of the query.",
        )  # fmt: skip
        order = gr.Dropdown(
            list(CASE_ORDERS), value=CLOSE, label="Order", interactive=True, elem_id="bench-order", min_width=180,
            info="By similarity margin, or as listed.",
        )  # fmt: skip
    told = gr.Markdown("", elem_id="bench-count")
    cases = gr.HTML(EMPTY_CASES, js_on_load=(STATIC / "results.js").read_text(encoding="utf-8"), elem_id="bench-cases")
    with gr.Row(elem_id="bench-pages"):
        before = gr.Button("Previous queries", size="sm", elem_id="bench-before")
        after = gr.Button("Next queries", size="sm", elem_id="bench-after")
    gr.HTML(hint_html(CASES_HINT), elem_classes="step")
    keys = gr.Textbox("", visible=False, elem_id="bench-keys")
    page = gr.Number(0, visible=False, precision=0)
    opened_row, opened_database, opened_tab = (gr.Textbox("", visible=False) for _ in range(3))

    view = [shown, curves, bars, a, b, sentence, protocols, which, condition]
    form, listed = [keys, shown, show, which, condition, order, page], [cases, told, page]

    def settle(event) -> None:
        """After the results changed: first page of queries, new files."""
        event(handlers.turn(-(10**6)), form, listed, **QUICK)
        event(handlers.files, keys, files, **QUICK)
        event(lambda text: gr.update(visible=bool(text)), keys, figure, **QUICK)

    measured = run.click(
        handlers.run, [databases, models, grouping, seed, shown], [words, problems, table, keys, *view],
        show_progress_on=[words], **QUIET, **LONG,
    )  # fmt: skip
    settle(measured.success)
    stop.click(handlers.stops.stop, None, None, **QUICK)
    grouping.input(lambda value: gr.update(visible=value == SHUFFLED), grouping, seed, **QUICK)
    settle(shown.input(handlers.view, [keys, shown], view, **QUICK).success)
    for choice in (a, b):
        choice.input(handlers.compare, [keys, shown, a, b], sentence, **QUICK)
    for choice in (show, which, condition, order):
        choice.input(handlers.turn(-(10**6)), form, listed, **QUICK)
    before.click(handlers.turn(-1), form, listed, **QUICK)
    after.click(handlers.turn(1), form, listed, **QUICK)
    opened = cases.select(handlers.open, [keys, shown], [opened_row, opened_database, opened_tab], **QUICK)
    answer, trigger, name = gr.JSON(visible=False), gr.Button(visible=False), database_input(bench.services)
    role, order_name = text_input("Model", "stable"), text_input("Grouping of the queries", FILE)
    trigger.click(
        handlers.api_benchmark, [name, role, order_name], answer, api_name="benchmark", preprocess=False, **LONG
    )
    return BenchmarkParts(
        opened, opened_row, opened_database, opened_tab, keys, (databases, models), figure.click, handlers
    )
