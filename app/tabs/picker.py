"""Where a tab gets its photo from: the examples, or one of the visitor's own."""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr

from app.components.header import step_html
from app.handlers import FindHandlers
from app.services import Services

QUICK = {"queue": False, "show_progress": "hidden", "api_visibility": "private", "preprocess": False}


@dataclass(frozen=True)
class Picker:
    """The photo and the database of a tab."""

    photo: gr.Image
    database: gr.Dropdown


def photo_picker(services: Services, prefix: str, title: str, alt_text: str) -> Picker:
    """Lay out two columns (examples; own photo and database) inside the current row, and wire them.

    prefix: of the elements' ids, such as "inside".
    """
    finder, names = FindHandlers(services), list(services.datasets)
    with gr.Column(scale=6, min_width=300):
        gr.HTML(step_html(1, title), elem_classes="step")
        examples = gr.Gallery(
            finder.example_items(), show_label=False, columns=4, height="auto", object_fit="cover", allow_preview=False,
            buttons=[], interactive=False, elem_id=f"{prefix}-examples", elem_classes="examples",
        )  # fmt: skip
    with gr.Column(scale=4, min_width=260):
        gr.HTML(step_html(None, "or bring your own"), elem_classes="step")
        photo = gr.Image(
            show_label=False, sources=["upload", "clipboard"], type="filepath", image_mode=None, height=200, buttons=[],
            placeholder="Drop a street photo here", alt_text=alt_text, elem_id=f"{prefix}-photo",
        )  # fmt: skip
        database = gr.Dropdown(
            names, value=names[0] if names else None, label="Database", interactive=True, visible=len(names) > 1,
            elem_id=f"{prefix}-database",
        )  # fmt: skip
    examples.select(
        finder.example, [database], [photo], show_progress="hidden", api_visibility="private", preprocess=False
    )
    database.input(
        lambda name: (None, gr.Gallery(value=finder.example_items(name), selected_index=None)),
        [database],
        [photo, examples],
        **QUICK,
    )
    return Picker(photo, database)
