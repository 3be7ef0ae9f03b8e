"""The Inside tab: a photo's way through a model, step by step, and why it matches."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import gradio as gr

from app.components.header import step_html
from app.components.stage import step_choices, waiting_stage_html
from app.inside import RANKS
from app.inside_handlers import ATTENTION_CHOICES, FIRST_CELL, GRID, InsideHandlers
from app.rooms import BASELINE, STABLE, TEACHER
from app.services import MAX_COMPANY, Services
from app.tabs.endpoint_inputs import count_input, database_input, text_input
from app.tabs.find import COMPANY_CHOICES, MODEL, QUIET
from app.tabs.picker import photo_picker

STATIC = Path(__file__).resolve().parents[1] / "static"
FIRST_STEP = "layers"


@dataclass(frozen=True)
class InsideParts:
    """The components that build_app may need: photo and database, to take them over from another tab."""

    photo: gr.Image
    database: gr.Dropdown


def build(services: Services, notice: gr.HTML) -> InsideParts:
    """Lay out the tab inside the current gr.Tab. notice: the page's banners."""
    handlers = InsideHandlers(services)
    with gr.Row(elem_id="inside-form", equal_height=False):
        picker = photo_picker(services, "inside", "Pick a photo", "the photo to explain")
        photo, database = picker.photo, picker.database
        with gr.Column(scale=5, min_width=280, elem_id="inside-settings"):
            gr.HTML(step_html(2, "Choose model and match"), elem_classes="step")
            titles = {STABLE: "SciceVPR", TEACHER: "Super-CricaVPR", BASELINE: "CricaVPR"}
            roles = [
                (title, role) for role, title in titles.items() if role in services.roles
            ]  # fmt: skip
            role = gr.Radio(
                roles, value=STABLE, label="Model", elem_id="inside-model",
                info="SciceVPR looks at one photo alone; the other two compare the photos of a batch.",
            )  # fmt: skip
            rank = gr.Radio(
                [(str(r), r) for r in range(1, RANKS + 1)], value=1, label="Match to compare with (rank)",
                info="The model's own answers, most similar first.", elem_id="inside-rank",
            )  # fmt: skip
            batch_mates = gr.Radio(
                COMPANY_CHOICES, value=3, label="Company in the batch", elem_id="inside-company",
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
        waiting_stage_html(),
        js_on_load=(STATIC / "stage.js").read_text(encoding="utf-8"),
        elem_id="stage",
        min_height=420,
    )
    plot = gr.Plot(visible=False, show_label=False, elem_id="inside-plot")

    form = [photo, database, role, rank, batch_mates, step, view, row, column, layer, head, region]
    parts = [notice, stage, plot, step, view, cell_row, attention_row]

    def show(event, **options) -> None:
        shown = event(handlers.show, form, parts, show_progress_on=[stage], **QUIET, **MODEL, **options)
        shown.failure(handlers.waiting, None, parts, queue=False, **QUIET)

    show(photo.change, trigger_mode="always_last")
    for component in (role, rank, batch_mates, step, view, row, column, layer, head, region):
        show(component.input, trigger_mode="always_last")
    picked = stage.select(handlers.picked, None, [row, column], queue=False, show_progress="hidden", **QUIET)
    show(picked.success)
    result, trigger = gr.JSON(visible=False), gr.Button(visible=False)
    match, others = count_input("Match", 1, 1, RANKS), count_input("Company", 3, 0, MAX_COMPANY)
    asked = [photo, database_input(services), role, match, others, text_input("Query")]
    trigger.click(handlers.api_explain, asked, result, api_name="explain", preprocess=False, **MODEL)
    return InsideParts(photo, database)
