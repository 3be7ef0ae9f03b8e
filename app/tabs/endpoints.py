"""The endpoints that belong to no tab; nothing of them is seen on the page."""

from __future__ import annotations

import gradio as gr

from app.core.model_slots import BASELINE, STABLE
from app.endpoints import MOST_QUERIES, MOST_SHUFFLES, Endpoints
from app.tabs.benchmarks.query_table import ANY, CLOSE
from app.tabs.benchmarks.service import FILE, Bench
from app.tabs.endpoint_inputs import count_input, database_input, text_input
from app.tabs.find.layout import LONG
from app.tabs.stability.service import Laboratory


def build(laboratory: Laboratory, bench: Bench) -> None:
    """Register the endpoints inside the current gr.Blocks."""
    handlers, services = Endpoints(laboratory, bench), laboratory.services
    answer, trigger = gr.JSON(visible=False), gr.Button(visible=False)
    image, photo = gr.Image(visible=False, type="filepath", label="Query photo"), gr.File(visible=False)
    database = database_input(services)
    grouping = text_input("Grouping of the queries", FILE)
    trigger.click(
        handlers.api_worst_batch, [image, database, count_input("Batch size", 8, 2, 32), text_input("Query")], answer,
        api_name="worst_company", preprocess=False, **LONG,
    )  # fmt: skip
    trigger.click(
        handlers.api_stability,
        [
            database, text_input("Queries in a batch", "1,8,32"), text_input("Order of the queries", "file"),
            count_input("Shuffles", 3, 1, MOST_SHUFFLES),
        ],
        answer, api_name="stability", preprocess=False, **LONG,
    )  # fmt: skip
    trigger.click(
        handlers.api_compare, [database, text_input("Model", STABLE), text_input("Other model", BASELINE), grouping],
        answer, api_name="compare", preprocess=False, **LONG,
    )  # fmt: skip
    trigger.click(
        handlers.api_queries,
        [
            database, text_input("Models", f"{STABLE},{BASELINE}"), grouping, text_input("Show", ANY),
            text_input("Condition"), text_input("Order", CLOSE), count_input("Queries", 20, 1, MOST_QUERIES),
        ],
        answer, api_name="queries", preprocess=False, **LONG,
    )  # fmt: skip
    name = gr.Textbox(label="File name", visible=False)
    trigger.click(handlers.api_photo, [name, database], photo, api_name="photo", preprocess=False, queue=False)
