"""The Inside tab: a photo's way through a model, step by step, and why it matches."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import gradio as gr

from app.core.model_slots import BASELINE, STABLE, TEACHER
from app.core.query_resolution import MOST_BATCH_MATES
from app.core.services import Services
from app.tabs.inside.handlers import ATTENTION_CHOICES, FIRST_CELL, GRID, InsideHandlers
from app.tabs.inside.html import step_choices, waiting_stage_html
from app.tabs.inside.service import FIRST_RIGHT, RANKS
from app.ui.events import MODEL, QUIET, count_input, database_input, endpoint, text_input
from app.ui.html import step_html
from app.ui.links import LinkedTab
from app.ui.photo_picker import BATCH_CHOICES, photo_picker, share_selection

ID, TITLE = "inside", "Inside"
LINK = LinkedTab(
    ID,
    {
        "model": "inside-model", "match": "inside-rank", "batch_mates": "inside-batch-mates", "step": "stepper",
        "picture": "inside-view", "row": "cell-r", "column": "cell-c",
    },
    "inside-database", "inside-photo", "inside-examples",
)  # fmt: skip
SCRIPT = Path(__file__).with_name("stage.js")
FIRST_STEP = "layers"


@dataclass(frozen=True)
class InsideParts:
    """What other parts of the page choose here."""

    photo: gr.Image
    database: gr.Dropdown
    role: gr.Radio
    rank: gr.Dropdown
    batch_mates: gr.Radio


def build(tab: gr.Tab, services: Services, notice: gr.HTML) -> InsideParts:
    """Lay out the tab inside the current gr.Tab. notice: the page's banners."""
    handlers = InsideHandlers(services)
    with gr.Row(elem_id="inside-form", equal_height=False):
        picker = photo_picker(services, "inside", "Pick a photo", "the photo to explain")
        photo, database = picker.photo, picker.database
        with gr.Column(scale=5, min_width=280, elem_id="inside-settings"):
            gr.HTML(step_html(2, "Choose model and match"), elem_classes="step")
            titles = {STABLE: "SciceVPR", TEACHER: "Super-CricaVPR", BASELINE: "CricaVPR"}
            roles = [(title, role) for role, title in titles.items() if role in services.roles]
            role = gr.Radio(
                roles, value=STABLE, label="Model", elem_id="inside-model",
                info="SciceVPR looks at one photo alone; the other two compare the photos of a batch.",
            )  # fmt: skip
            rank = gr.Dropdown(
                [*((f"rank {r}", r) for r in range(1, RANKS + 1)), ("the first right one", FIRST_RIGHT)], value=1,
                label="Match to compare with", info="The model's own answers, most similar first.",
                elem_id="inside-rank", interactive=True,
            )  # fmt: skip
            batch_mates = gr.Radio(
                BATCH_CHOICES, value=3, label="Other photos in the batch", elem_id="inside-batch-mates",
                info="How many photos following yours share its batch? SciceVPR does not feel them.",
            )  # fmt: skip

    with gr.Group(elem_id="stepper-box"):
        step = gr.Radio(
            step_choices(None), value=FIRST_STEP,
            label="Walk through the model", elem_id="stepper",
            info="From left to right as the data goes; arrow keys move on.",
        )  # fmt: skip
    with gr.Row(elem_id="inside-choices"):
        view = gr.Dropdown(
            [], label="Picture", info="What to show of this step.", visible=False, interactive=True,
            elem_id="inside-view",
        )  # fmt: skip
        with gr.Row(visible=False, elem_id="cell-row") as cell_row:
            row = gr.Slider(
                1, GRID, value=FIRST_CELL[0] + 1, step=1, label="Marked cell: row", buttons=[], elem_id="cell-r",
                info="Or click the picture.",
            )  # fmt: skip
            column = gr.Slider(
                1, GRID, value=FIRST_CELL[1] + 1, step=1, label="Marked cell: column", buttons=[], elem_id="cell-c",
                info="Or use the arrow keys on it.",
            )  # fmt: skip
        with gr.Row(visible=False, elem_id="attention-row") as attention_row:
            layer, head, region = (
                gr.Dropdown(
                    choices, value="mean", label=name.capitalize(), interactive=True, elem_id=f"attention-{name}",
                    info=words, min_width=120,
                )
                for (name, choices), words in zip(
                    ATTENTION_CHOICES.items(),
                    ("Of the encoder.", "Of its attention.", "Whose vectors meet."), strict=True,
                )
            )  # fmt: skip
    stage = gr.HTML(
        waiting_stage_html(), js_on_load=SCRIPT.read_text(encoding="utf-8"), elem_id="stage", min_height=420
    )
    plot = gr.Plot(visible=False, show_label=False, elem_id="inside-plot")

    form = [photo, database, role, rank, batch_mates, step, view, row, column, layer, head, region]
    parts = [notice, stage, plot, step, view, cell_row, attention_row]

    def show(event, **options) -> None:
        shown = event(handlers.show, form, parts, show_progress_on=[stage], **QUIET, **MODEL, **options)
        shown.failure(handlers.waiting, None, parts, queue=False, **QUIET)

    changed = [chosen.change for chosen in (photo, role, rank, batch_mates)]  # also when another tab chose it
    entered = [component.input for component in (step, view, row, column, layer, head, region)]
    show(partial(gr.on, [*changed, *entered]), trigger_mode="always_last")  # one event: the last choice is shown
    picked = stage.select(handlers.picked, None, [row, column], queue=False, show_progress="hidden", **QUIET)
    show(picked.success)
    match, others = count_input("Match", 1, 1, RANKS), count_input("Other photos in the batch", 3, 0, MOST_BATCH_MATES)
    asked = [photo, database_input(services), role, match, others, text_input("Query")]
    endpoint(handlers.api_explain, asked, line=MODEL)
    share_selection(tab, ID, photo, database, batch_mates)
    return InsideParts(photo, database, role, rank, batch_mates)
