"""The Training tab: the three stages with their files and commands, and a small real distillation, live."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from app.tabs.training.handlers import FIRST, MOST_EPOCHS, TrainingHandlers
from app.tabs.training.html import EMPTY_TABLE, picture_html
from app.tabs.training.service import Distillations
from app.ui.events import LONG, MODEL, QUICK, QUIET, endpoint
from app.ui.html import hint_html, step_html
from app.ui.theme import CHOOSE_PART
from training.live import LIVE

ID, TITLE = "training", "Training"
PICTURE_HINT = (
    "Click a stage, or go there with Tab and the arrow keys and press Enter: its text, its commands and its file stand "
    "below. All stages of size T in one command: python -m training.family --render --data data/procity --runs runs"
)
RUN_HINT = (
    "Train: first all photos pass through the frozen backbone, once for all runs; then the student learns, and is "
    "measured after every epoch. Stop keeps what is there. The same numbers give the same student, bit for bit."
)
TRY_HINT = (
    "Try it in Find: the student becomes the third column of your page; nobody else sees it. Its first search there "
    "describes the whole database, once."
)


@dataclass(frozen=True)
class TrainingParts:
    """tried: the event after which Find's third column is to be the student of this key."""

    tried: Any
    key: gr.Textbox


def build(tab: gr.Tab, distillations: Distillations) -> TrainingParts:
    """Lay out the tab inside the current gr.Tab."""
    handlers = TrainingHandlers(distillations)
    text_0, command_0, full_0, source_0 = handlers.stage_view(FIRST)
    gr.HTML(step_html(1, "Three stages, one after another"), elem_classes="step")
    picture = gr.HTML(picture_html(), js_on_load=CHOOSE_PART, elem_id="stages")
    gr.HTML(hint_html(PICTURE_HINT), elem_classes="step")
    text = gr.HTML(text_0, elem_id="stage-text", min_height=210)
    with gr.Row(elem_id="stage-commands", equal_height=False):
        shell = {"language": "shell", "interactive": False, "lines": 3, "wrap_lines": True, "show_line_numbers": False}
        command = gr.Code(
            command_0, label="Size T, the steps of the shipped weights", buttons=["copy"], elem_id="stage-command",
            **shell,
        )  # fmt: skip
        full_size = gr.Code(
            full_0, label="Full size (here B) on GSV-Cities", buttons=["copy"], elem_id="stage-full", **shell
        )
    with gr.Accordion("Read its file", open=False, elem_id="stage-file"):
        source = gr.Code(
            source_0["value"], label=source_0["label"], language="python", interactive=False, lines=10, max_lines=24,
            buttons=["copy"], elem_id="stage-source",
        )  # fmt: skip

    gr.HTML(step_html(2, "Distil a student here and now"), elem_classes="step")
    gr.HTML(handlers.honesty(), elem_id="train-honesty")
    with gr.Row(elem_id="train-form", equal_height=False):
        gamma = gr.Slider(
            0, 4, value=LIVE.gamma, step=0.25, label="γ: weight of L_MS", buttons=[], elem_id="train-gamma",
            info="Tell places apart by their labels; 0 leaves the teacher alone to teach.",
        )  # fmt: skip
        eta = gr.Slider(
            0, 4, value=LIVE.eta, step=0.25, label="η: weight of L_D", buttons=[], elem_id="train-eta",
            info="Say what the teacher says; 0 is training without a teacher.",
        )  # fmt: skip
        rate = gr.Slider(
            0.0002, 0.005, value=LIVE.lr, step=0.0002, label="Learning rate", buttons=[], elem_id="train-rate",
            info=f"Length of the first steps; halved every {LIVE.decay_epochs} epochs.",
        )  # fmt: skip
        epochs = gr.Slider(
            1, MOST_EPOCHS, value=LIVE.epochs, step=1, label="Epochs", buttons=[], elem_id="train-epochs",
            info="How often every place is shown; the time grows with it.",
        )  # fmt: skip
        seed = gr.Number(
            0, label="Seed", precision=0, minimum=0, elem_id="train-seed", min_width=120,
            info="Another seed: other first weights and batches.",
        )  # fmt: skip
    with gr.Row(elem_id="train-buttons"):
        run = gr.Button("Train", variant="primary", elem_id="train-run")
        stop = gr.Button("Stop", variant="stop", elem_id="train-stop")
        try_it = gr.Button("Try it in Find", interactive=False, elem_id="train-try")
    gr.HTML(hint_html(RUN_HINT), elem_classes="step")
    gr.HTML(hint_html(TRY_HINT), elem_id="train-try-hint", elem_classes="step")
    words = gr.Markdown("", elem_id="train-words")
    with gr.Row(elem_id="train-plots", equal_height=False):
        losses = gr.Plot(visible=False, show_label=False, elem_id="train-losses")
        recall = gr.Plot(visible=False, show_label=False, elem_id="train-recall")
    table = gr.HTML(EMPTY_TABLE, elem_id="train-table")
    key = gr.Textbox("", visible=False, elem_id="train-key")

    picture.select(handlers.choose, None, [text, command, full_size, source], **QUICK)
    form = [gamma, eta, rate, epochs, seed]
    run.click(
        handlers.train, form, [words, losses, recall, table, key, try_it], show_progress_on=[words], **QUIET, **LONG
    )
    stop.click(handlers.stop, None, words, **QUICK)
    tried = try_it.click(handlers.try_it, key, words, show_progress_on=[words], **QUIET, **MODEL)
    endpoint(handlers.api_distill_demo, form)
    return TrainingParts(tried, key)
