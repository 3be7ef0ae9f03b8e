"""The How it works tab: the models part by part, the three families, the words of the field, lessons and papers."""

from __future__ import annotations

import gradio as gr

from app.core.services import Services
from app.tabs.how_it_works.architecture import FAMILIES, SIZES
from app.tabs.how_it_works.handlers import FIRST, FIRST_PART, LearnHandlers
from app.tabs.how_it_works.html import glossary_html, more_html
from app.tabs.how_it_works.service import MAX_PHOTOS, Learning
from app.ui.events import AT_ONCE, QUICK, count_input, endpoint
from app.ui.glossary import TERMS
from app.ui.html import hint_html, step_html
from app.ui.theme import CHOOSE_PART

ID, TITLE = "how_it_works", "How it works"
PHOTOS = (1, 4, 16)
HINT = (
    "Click a part of the figure, or go there with Tab and the arrow keys and press Enter. The shapes are not written "
    "down anywhere: they come from running the model's own code."
)


def build(tab: gr.Tab, services: Services) -> None:
    """Lay out the tab inside the current gr.Tab; when it is opened, the shapes are worked out."""
    handlers = LearnHandlers(Learning(services))
    figure_0, part_0, families_0 = handlers.waiting()
    gr.HTML(step_html(1, "From a photo to a place"), elem_classes="step")
    with gr.Row(elem_id="learn-form", equal_height=False):
        family = gr.Radio(
            [(title, key) for key, title in FAMILIES.items()], value=FIRST[0], label="Family", elem_id="learn-family",
            info="CricaVPR is the baseline, Super-CricaVPR the teacher, SciceVPR the student.",
        )  # fmt: skip
        size = gr.Radio(
            list(SIZES), value=FIRST[1], label="Size", elem_id="learn-size",
            info="T is trained by this project; S, B and L have the sizes of DINOv2.",
        )  # fmt: skip
        photos = gr.Radio(
            list(PHOTOS), value=FIRST[2], label="Photos in the batch", elem_id="learn-photos",
            info="The first number of most shapes.",
        )  # fmt: skip
    figure = gr.HTML(figure_0, js_on_load=CHOOSE_PART, elem_id="learn-figure")
    gr.HTML(hint_html(HINT), elem_classes="step")
    shown = gr.HTML(part_0, elem_id="learn-part", min_height=300)
    gr.HTML(step_html(2, "Three families, one idea after another"), elem_classes="step")
    families = gr.HTML(families_0, elem_id="learn-families")
    gr.HTML(step_html(3, "Words of the field"), elem_classes="step")
    asked = gr.Textbox(
        "", label="Search the glossary", info="A word, a part of it, or several.", placeholder="descriptor",
        elem_id="glossary-search", max_lines=1,
    )  # fmt: skip
    terms = gr.HTML(glossary_html(TERMS), elem_id="glossary")
    gr.HTML(more_html(), elem_id="learn-more")
    part = gr.Textbox(FIRST_PART, visible=False)

    form = [family, size, photos]
    view = [figure, shown, families]
    tab.select(handlers.show, [*form, part], view, **QUICK)
    for choice in form:
        choice.input(handlers.show, [*form, part], view, **QUICK)
    figure.select(handlers.picked, form, [part, shown], **QUICK)
    # change, not input: gradio sends input for keys alone, not for pasted text
    asked.change(handlers.terms, asked, terms, trigger_mode="always_last", **QUICK)
    asked_for = [family, size, count_input("Photos in the batch", 1, 1, MAX_PHOTOS)]
    endpoint(handlers.api_architecture, asked_for, line=AT_ONCE)
