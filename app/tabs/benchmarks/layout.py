"""The Benchmarks tab: models measured on databases, and every query behind the numbers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from app.core.model_slots import BASELINE, STABLE
from app.tabs.benchmarks.handlers import EVERYTHING, FILES, MOST_QUERIES, BenchmarkHandlers, first_roles
from app.tabs.benchmarks.html import EMPTY_QUERIES, results_html
from app.tabs.benchmarks.query_table import ANY, CLOSE, QUERY_ORDERS, SELECTIONS
from app.tabs.benchmarks.service import ALONE, FILE, LARGEST_SEED, SHUFFLED, Benchmarks
from app.ui.events import LONG, QUICK, QUIET, count_input, database_input, endpoint, text_input
from app.ui.html import hint_html, step_html
from app.ui.links import LinkedTab

ID, TITLE = "benchmarks", "Benchmarks"
LINK = LinkedTab(
    ID,
    {
        "model": "benchmarks-models", "grouping": "benchmarks-grouping", "seed": "benchmarks-seed",
        "show": "benchmarks-show", "order": "benchmarks-order",
    },
    "benchmarks-databases",
)  # fmt: skip
SCRIPT = Path(__file__).with_name("query_table.js")
GROUPINGS = [("file order, as published", FILE), ("every query alone", ALONE), ("shuffled", SHUFFLED)]
RUN_HINT = (
    "Measure: every model on every database; rows appear as they are ready, and Stop keeps what is there. What was "
    "measured before with the same models, photos and grouping is remembered. Files of the same numbers stand below."
)
QUERIES_HINT = (
    "Margin: the similarity of the best right photo minus that of the best wrong one; below zero the answer is wrong. "
    "The buttons carry a query into Find or Inside."
)


@dataclass(frozen=True)
class BenchmarkParts:
    """What build_app may wire to other tabs.

    opened: event after which wanted (row, database, "find" or "inside", model, others in its batch) names the query
    that a visitor wants to open.
    choices: the boxes of databases and models. keys: which results are shown. to_figures: event of the wish to draw
    them. tab: its being opened is an event.
    """

    opened: Any
    wanted: list[gr.Textbox]
    choices: list[gr.CheckboxGroup]
    keys: gr.Textbox
    to_figures: Any
    handlers: BenchmarkHandlers
    tab: gr.Tab


def build(tab: gr.Tab, benchmarks: Benchmarks) -> BenchmarkParts:
    """Lay out the tab inside the current gr.Tab."""
    handlers = BenchmarkHandlers(benchmarks)
    names, roles = handlers.choices()
    with gr.Row(elem_id="benchmarks-form", equal_height=False):
        with gr.Column(scale=5, min_width=280):
            gr.HTML(step_html(1, "Choose databases and models"), elem_classes="step")
            databases = gr.CheckboxGroup(
                names, value=names[:1], label="Databases", elem_id="benchmarks-databases",
                info="Opened packs are here too.",
            )  # fmt: skip
            models = gr.CheckboxGroup(
                roles, value=first_roles(roles), label="Models", elem_id="benchmarks-models",
                info="ImageNet features, HOG, colours: not trained for places. Other weights: Models & data.",
            )  # fmt: skip
        with gr.Column(scale=5, min_width=280):
            gr.HTML(step_html(2, "Which queries share a batch?"), elem_classes="step")
            grouping = gr.Radio(
                GROUPINGS, value=FILE, label="Grouping of the queries", elem_id="benchmarks-grouping",
                info="Only cross-image models such as CricaVPR feel it; SciceVPR describes every photo by itself.",
            )  # fmt: skip
            seed = gr.Slider(
                0, LARGEST_SEED, value=0, step=1, label="Seed of the shuffle", buttons=[], visible=False,
                elem_id="benchmarks-seed", info="Another seed is another random order.",
            )  # fmt: skip
            with gr.Row():
                run = gr.Button("Measure", variant="primary", elem_id="benchmarks-run")
                stop = gr.Button("Stop", variant="stop", elem_id="benchmarks-stop")
            gr.HTML(hint_html(RUN_HINT), elem_classes="step")
    words = gr.Markdown("", elem_id="benchmarks-words")
    problems = gr.HTML("", elem_id="benchmarks-problems")
    gr.HTML(step_html(3, "Results"), elem_classes="step")
    table = gr.HTML(results_html([]), elem_id="benchmarks-table")
    shown = gr.Radio(
        [], label="Database shown below", visible=False, elem_id="benchmarks-shown",
        info="Curves, conditions, comparison and single queries are of one database.",
    )  # fmt: skip
    with gr.Row(elem_id="benchmarks-plots", equal_height=False):
        curves = gr.Plot(visible=False, show_label=False, elem_id="benchmarks-curves")
        bars = gr.Plot(visible=False, show_label=False, elem_id="benchmarks-bars")
    with gr.Row(elem_id="benchmarks-compare", equal_height=False):
        pair = {"interactive": True, "min_width": 180}
        a = gr.Dropdown([], label="Compare", elem_id="benchmarks-a", info="Query by query.", **pair)
        b = gr.Dropdown([], label="with", elem_id="benchmarks-b", info="On the same queries.", **pair)
    sentence = gr.HTML("", elem_id="benchmarks-sentence")
    protocols = gr.HTML("", elem_id="benchmarks-protocols")
    with gr.Row(elem_id="benchmarks-files"):
        files = [gr.DownloadButton(words, visible=False, size="sm", min_width=140) for words in FILES]
        figure = gr.Button("Draw them in Figures", visible=False, size="sm", min_width=140, elem_id="benchmarks-figure")
    gr.HTML(step_html(4, "Query by query: successes, failures, near misses"), elem_classes="step")
    with gr.Row(elem_id="benchmarks-filter", equal_height=False):
        show = gr.Dropdown(
            list(SELECTIONS), value=ANY, label="Show", interactive=True, elem_id="benchmarks-show", min_width=180,
            info="By whose first answer is right.",
        )  # fmt: skip
        which = gr.Dropdown(
            [], label="Model in question", interactive=True, elem_id="benchmarks-which", min_width=180,
            info="Which one “this model” is, and whose margin sorts.",
        )  # fmt: skip
        condition = gr.Dropdown(
            [("all conditions", EVERYTHING)], value=EVERYTHING, label="Condition", interactive=True,
            elem_id="benchmarks-condition", min_width=180, info="Of the query.",
        )  # fmt: skip
        order = gr.Dropdown(
            list(QUERY_ORDERS), value=CLOSE, label="Order", interactive=True, elem_id="benchmarks-order", min_width=180,
            info="By similarity margin, or as listed.",
        )  # fmt: skip
    told = gr.Markdown("", elem_id="benchmarks-count")
    queries = gr.HTML(EMPTY_QUERIES, js_on_load=SCRIPT.read_text(encoding="utf-8"), elem_id="benchmarks-queries")
    with gr.Row(elem_id="benchmarks-pages"):
        before = gr.Button("Previous queries", size="sm", elem_id="benchmarks-before")
        after = gr.Button("Next queries", size="sm", elem_id="benchmarks-after")
    gr.HTML(hint_html(QUERIES_HINT), elem_classes="step")
    keys = gr.Textbox("", visible=False, elem_id="benchmarks-keys")
    page = gr.Number(0, visible=False, precision=0)
    wanted = [gr.Textbox("", visible=False) for _ in range(5)]

    view = [shown, curves, bars, a, b, sentence, protocols, which, condition]
    form, listed = [keys, shown, show, which, condition, order, page], [queries, told, page]

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
    opened = queries.select(handlers.open, [keys, shown, which], wanted, **QUICK)
    named, together = database_input(benchmarks.services), text_input("Grouping of the queries", FILE)
    endpoint(handlers.api_benchmark, [named, text_input("Model", STABLE), together])
    endpoint(handlers.api_compare, [named, text_input("Model", STABLE), text_input("Other model", BASELINE), together])
    several, limit = text_input("Models", f"{STABLE},{BASELINE}"), count_input("Queries", 20, 1, MOST_QUERIES)
    kind = text_input("Show", ANY), text_input("Condition"), text_input("Order", CLOSE)
    endpoint(handlers.api_queries, [named, several, together, *kind, limit])
    return BenchmarkParts(opened, wanted, [databases, models], keys, figure.click, handlers, tab)
