"""The Find tab: a photo in, both models' answers side by side."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import gradio as gr

from app.core.query_resolution import MOST_BATCH_MATES
from app.core.services import MAX_K, Services
from app.tabs.find.handlers import FindHandlers
from app.ui.events import AT_ONCE, MODEL, QUIET, count_input, database_input, endpoint, text_input
from app.ui.html import step_html
from app.ui.links import LinkedTab
from app.ui.photo_picker import (
    BATCH_CHOICES,
    Picker,
    database_choice,
    example_gallery,
    photo_field,
    share_selection,
    wire_examples,
)

ID, TITLE = "find", "Find"
SCRIPT = Path(__file__).with_name("match.js")
SHOW_ANSWER = (Path(__file__).with_name("show_answer.js")).read_text(encoding="utf-8")
LINK = LinkedTab(ID, {"k": "k", "batch_mates": "batch-mates"}, "database", "photo", "examples")


@dataclass(frozen=True)
class FindParts:
    """What build_app and other tabs may need: components, the search's form and what it fills in, and its handlers.

    matches: the columns whose matches can be asked about.
    """

    photo: gr.Image
    database: gr.Dropdown
    examples: gr.Gallery
    form: list
    parts: list
    student: gr.Textbox
    batch_mates: gr.Radio
    matches: list[gr.HTML]
    handlers: FindHandlers


def build(tab: gr.Tab, services: Services, notice: gr.HTML) -> FindParts:
    """Lay out the tab inside the current gr.Tab. notice: the page's banners, renewed by every search."""
    handlers = FindHandlers(services)
    _, place_0, strip_0, stable_0, baseline_0, third_0, map_0, protocol_0, legend_0 = handlers.waiting_view()
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
                    "Only needed to check the answers. Examples, photos with GPS, and files named "
                    "`@easting@northing@…@.jpg` bring their position along. For others type what a map shows."
                )
                where = gr.Textbox(
                    "", label="Latitude, longitude, or easting northing", max_length=100, elem_id="where",
                    placeholder="49.39797, 8.18961", info="In degrees, or in metres of the database's UTM zone.",
                )  # fmt: skip
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

    place = gr.HTML(place_0, elem_id="place")
    strip = gr.HTML(strip_0, elem_id="strip")
    with gr.Row(elem_id="answers", equal_height=False):
        box = {"elem_classes": "answer-box", "min_height": 420, "js_on_load": SCRIPT.read_text(encoding="utf-8")}
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

    parts = [notice, place, strip, stable, baseline, third, map_, protocol, legend]  # in the order of PARTS
    student = gr.Textbox("", visible=False)  # key of a model that this visitor trained
    form = [photo, database, k, batch_mates, where, student]

    def search(event, handler, **options):
        """A search that empties the page when it fails, so that no old answer stands beside a new photo."""
        searched = event(handler, form, parts, show_progress_on=[stable, baseline], **QUIET, **MODEL, **options)
        searched.failure(handlers.waiting_view, [database], parts, queue=False, **QUIET)
        return searched

    def search_and_show(event, handler, **options):
        """The same, and the answer comes into view."""
        search(event, handler, **options).success(None, js=SHOW_ANSWER, api_visibility="private")

    # change, not input: gradio sends input for a removed photo as well, and with the old photo
    search_and_show(go.click, handlers.search_view)
    for event in (photo.change, where.submit):
        search_and_show(event, handlers.current_view, trigger_mode="always_last")
    for event in (k.change, batch_mates.change):
        search(event, handlers.current_view, trigger_mode="always_last")
    wire_examples(handlers, Picker(photo, database, examples), marked=True)
    share_selection(tab, ID, photo, database, batch_mates)
    database.input(
        handlers.other_database, [database], [photo, examples, *parts], queue=False, show_progress="hidden", **QUIET
    )
    named, others = database_input(services), count_input("Other photos in the batch", 0, 0, MOST_BATCH_MATES)
    east, north = (gr.Number(None, label=name, visible=False) for name in ("Easting in metres", "Northing in metres"))
    asked = [photo, named, k, others, east, north, text_input("Query"), text_input("Position")]
    endpoint(handlers.api_find, asked, line=MODEL)
    endpoint(handlers.api_databases, [], line=AT_ONCE)
    endpoint(handlers.api_models, [], line=AT_ONCE)
    name = gr.Textbox(label="File name", visible=False)
    endpoint(handlers.api_photo, [name, database_input(services)], gr.File, AT_ONCE)
    return FindParts(photo, database, examples, form, parts, student, batch_mates, [stable, baseline], handlers)
