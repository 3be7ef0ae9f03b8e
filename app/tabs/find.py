"""The Find tab: a photo in, both models' answers side by side."""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr

from app.components.header import step_html
from app.handlers import PARTS, FindHandlers
from app.services import MAX_COMPANY, MAX_K, Services
from app.tabs.endpoint_inputs import count_input, database_input, text_input

COMPANY_CHOICES = [("alone", 0), ("+1", 1), ("+3", 3), ("+7", 7), ("+15", 15)]
QUIET = {"api_visibility": "private", "preprocess": False}
MODEL = {"concurrency_id": "model", "concurrency_limit": 1}
"""Of events that answer within seconds: one at a time."""

LONG = {"concurrency_id": "long", "concurrency_limit": 1}
"""Of events that run for minutes: one at a time, beside the quick ones, which they slow down but do not hold up."""


@dataclass(frozen=True)
class FindParts:
    """The components that other tabs and build_app may need."""

    photo: gr.Image
    database: gr.Dropdown
    examples: gr.Gallery
    form: list
    parts: list


def build(services: Services, notice: gr.HTML) -> FindParts:
    """Lay out the tab inside the current gr.Tab. notice: the page's banners, renewed by every search."""
    handlers = FindHandlers(services)
    _, strip_0, stable_0, baseline_0, third_0, map_0, protocol_0, legend_0 = handlers.waiting_view()
    with gr.Row(elem_id="find-form", equal_height=False):
        with gr.Column(scale=6, min_width=320):
            gr.HTML(step_html(1, "Pick an example"), elem_classes="step")
            examples = gr.Gallery(
                handlers.example_items(),
                show_label=False,
                columns=4,
                height="auto",
                object_fit="cover",
                allow_preview=False,
                buttons=[],
                interactive=False,
                elem_id="examples",
                elem_classes="examples",
            )
            legend = gr.HTML(legend_0, elem_id="legend")
        with gr.Column(scale=5, min_width=300):
            gr.HTML(step_html(None, "or bring your own photo"), elem_classes="step")
            photo = gr.Image(
                show_label=False,
                sources=["upload", "clipboard", "webcam"],
                type="filepath",
                image_mode=None,
                height=236,
                buttons=[],
                placeholder="Drop a street photo here\n- or -\nclick to choose one",
                alt_text="your query photo",
                elem_id="photo",
            )
            with gr.Accordion("Where was it taken? (optional)", open=False, elem_id="position"):
                gr.Markdown(
                    "Only needed to check the answers. Examples, and files named `@easting@northing@…@.jpg`, bring "
                    "their position along; for other photos enter UTM metres in the database's zone."
                )
                with gr.Row():
                    east = gr.Number(None, label="Easting (m)", precision=2, elem_id="east", min_width=110)
                    north = gr.Number(None, label="Northing (m)", precision=2, elem_id="north", min_width=110)
        with gr.Column(scale=5, min_width=300, elem_id="settings"):
            gr.HTML(step_html(2, "Search"), elem_classes="step")
            names = list(services.datasets)
            database = gr.Dropdown(
                names, value=names[0] if names else None, label="Database", interactive=True, elem_id="database"
            )
            k = gr.Slider(1, MAX_K, value=5, step=1, label="Matches per model (K)", buttons=[], elem_id="k")
            batch_mates = gr.Radio(
                COMPANY_CHOICES,
                value=0,
                label="Company in the baseline's batch",
                info="CricaVPR describes photos in batches. How many photos following yours in the query list join it?",
                elem_id="company",
            )
            go = gr.Button("Find the place", variant="primary", elem_id="go")

    strip = gr.HTML(strip_0, elem_id="strip")
    with gr.Row(elem_id="answers", equal_height=False):
        stable = gr.HTML(stable_0, elem_id="answer-stable", elem_classes="answer-box", min_height=420)
        baseline = gr.HTML(baseline_0, elem_id="answer-baseline", elem_classes="answer-box", min_height=420)
        third = gr.HTML(
            third_0["value"], visible=third_0["visible"], min_height=420, elem_id="answer-third",
            elem_classes="answer-box",
        )  # fmt: skip
    with gr.Row(elem_id="evidence", equal_height=False):
        with gr.Column(scale=6, min_width=320):
            gr.HTML(step_html(None, "Where query and matches lie"), elem_classes="step")
            map_ = gr.Plot(map_0, show_label=False, elem_id="map")
        with gr.Column(scale=5, min_width=320):
            gr.HTML(step_html(None, "How these answers were made"), elem_classes="step")
            protocol = gr.HTML(protocol_0, elem_id="protocol")

    by_name = {
        "notice": notice, "strip": strip, "stable": stable, "baseline": baseline, "third": third, "map": map_,
        "protocol": protocol, "legend": legend,
    }  # fmt: skip
    parts = [by_name[name] for name in PARTS]
    form = [photo, database, k, batch_mates, east, north]
    shown = {"show_progress_on": [stable, baseline]}

    def search(event, handler, **options):
        """A search that empties the page when it fails, so that no old answer stands beside a new photo."""
        searched = event(handler, form, parts, **QUIET, **MODEL, **shown, **options)
        searched.failure(handlers.waiting_view, [database], parts, queue=False, **QUIET)

    # change, not input: gradio sends input for a removed photo as well, and with the old photo
    search(go.click, handlers.search_view)
    for event in (photo.change, k.change, batch_mates.change, east.submit, north.submit):
        search(event, handlers.current_view, trigger_mode="always_last")
    examples.select(handlers.example, [database], [photo], show_progress="hidden", **QUIET)
    database.input(
        handlers.other_database, [database], [photo, examples, *parts], queue=False, show_progress="hidden", **QUIET
    )
    _endpoints(handlers, form)
    return FindParts(photo, database, examples, form, parts)


def _endpoints(handlers: FindHandlers, form: list) -> None:
    """The named API endpoints; they share the form's components only for their types and defaults."""
    result = gr.JSON(visible=False)
    trigger = gr.Button(visible=False)
    photo, _, k, _, east, north = form
    batch_mates, query = count_input("Company", 0, 0, MAX_COMPANY), text_input("Query")
    asked = [photo, database_input(handlers.services), k, batch_mates, east, north, query]
    trigger.click(handlers.api_find, asked, result, api_name="find", preprocess=False, **MODEL)
    trigger.click(handlers.api_databases, None, result, api_name="databases", queue=False)
    trigger.click(handlers.api_models, None, result, api_name="models", queue=False)
