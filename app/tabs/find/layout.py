"""The Find tab: a photo in, both models' answers side by side."""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr

from app.core.query_resolution import MOST_BATCH_MATES
from app.core.services import MAX_K, Services
from app.tabs.find.handlers import FindHandlers
from app.ui.events import AT_ONCE, MODEL, QUIET, count_input, database_input, endpoint, text_input
from app.ui.html import step_html
from app.ui.links import LinkedTab
from app.ui.photo_picker import BATCH_CHOICES, database_choice, example_gallery, photo_field

ID, TITLE = "find", "Find"
LINK = LinkedTab(ID, {"k": "k", "batch_mates": "batch-mates"}, "database", "photo", "examples")


@dataclass(frozen=True)
class FindParts:
    """What build_app and other tabs may need: components, the search's form and what it fills in, and its handlers."""

    photo: gr.Image
    database: gr.Dropdown
    examples: gr.Gallery
    form: list
    parts: list
    handlers: FindHandlers


def build(tab: gr.Tab, services: Services, notice: gr.HTML) -> FindParts:
    """Lay out the tab inside the current gr.Tab. notice: the page's banners, renewed by every search."""
    handlers = FindHandlers(services)
    _, strip_0, stable_0, baseline_0, third_0, map_0, protocol_0, legend_0 = handlers.waiting_view()
    with gr.Row(elem_id="find-form", equal_height=False):
        with gr.Column(scale=6, min_width=320):
            gr.HTML(step_html(1, "Pick an example"), elem_classes="step")
            examples = example_gallery(handlers, "examples")
            legend = gr.HTML(legend_0, elem_id="legend")
        with gr.Column(scale=5, min_width=300):
            gr.HTML(step_html(None, "or bring your own photo"), elem_classes="step")
            photo = photo_field(
                ["upload", "clipboard", "webcam"], "photo", "your query photo", height=236,
                placeholder="Drop a street photo here\n- or -\nclick to choose one",
            )  # fmt: skip
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
            database = database_choice(services, "database")
            k = gr.Slider(1, MAX_K, value=5, step=1, label="Matches per model (K)", buttons=[], elem_id="k")
            batch_mates = gr.Radio(
                BATCH_CHOICES,
                value=0,
                label="Other photos in the baseline's batch",
                info="CricaVPR describes photos in batches. How many photos following yours in the query list join it?",
                elem_id="batch-mates",
            )
            go = gr.Button("Find the place", variant="primary", elem_id="go")

    strip = gr.HTML(strip_0, elem_id="strip")
    with gr.Row(elem_id="answers", equal_height=False):
        box = {"elem_classes": "answer-box", "min_height": 420}
        stable = gr.HTML(stable_0, elem_id="answer-stable", **box)
        baseline = gr.HTML(baseline_0, elem_id="answer-baseline", **box)
        third = gr.HTML(third_0["value"], visible=third_0["visible"], elem_id="answer-third", **box)
    with gr.Row(elem_id="evidence", equal_height=False):
        with gr.Column(scale=6, min_width=320):
            gr.HTML(step_html(None, "Where query and matches lie"), elem_classes="step")
            map_ = gr.Plot(map_0, show_label=False, elem_id="map")
        with gr.Column(scale=5, min_width=320):
            gr.HTML(step_html(None, "How these answers were made"), elem_classes="step")
            protocol = gr.HTML(protocol_0, elem_id="protocol")

    parts = [notice, strip, stable, baseline, third, map_, protocol, legend]  # in the order of PARTS
    form = [photo, database, k, batch_mates, east, north]

    def search(event, handler, **options):
        """A search that empties the page when it fails, so that no old answer stands beside a new photo."""
        searched = event(handler, form, parts, show_progress_on=[stable, baseline], **QUIET, **MODEL, **options)
        searched.failure(handlers.waiting_view, [database], parts, queue=False, **QUIET)

    # change, not input: gradio sends input for a removed photo as well, and with the old photo
    search(go.click, handlers.search_view)
    for event in (photo.change, k.change, batch_mates.change, east.submit, north.submit):
        search(event, handlers.current_view, trigger_mode="always_last")
    examples.select(handlers.example, [database], [photo], show_progress="hidden", **QUIET)
    database.input(
        handlers.other_database, [database], [photo, examples, *parts], queue=False, show_progress="hidden", **QUIET
    )
    named, others = database_input(services), count_input("Other photos in the batch", 0, 0, MOST_BATCH_MATES)
    endpoint(handlers.api_find, [photo, named, k, others, east, north, text_input("Query")], line=MODEL)
    endpoint(handlers.api_databases, [], line=AT_ONCE)
    endpoint(handlers.api_models, [], line=AT_ONCE)
    name = gr.Textbox(label="File name", visible=False)
    endpoint(handlers.api_photo, [name, database_input(services)], gr.File, AT_ONCE)
    return FindParts(photo, database, examples, form, parts, handlers)
