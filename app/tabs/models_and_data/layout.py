"""The Models & data tab: which models and databases are loaded, and how to load others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from app.core.model_slots import ROLES, THIRD
from app.tabs.models_and_data.handlers import SourceHandlers
from app.tabs.models_and_data.service import Sources
from app.ui.events import LONG, QUICK, QUIET, endpoint
from app.ui.html import hint_html, step_html
from scicevpr.config import VARIANTS

ID, TITLE = "models_and_data", "Models & data"
WEIGHTS_HINT = (
    "A path (/weights/best_model.pth), a URL, a Hub repository (name/repository), a known name (cricavpr-b), or a "
    "model of others (megaloc, hub:owner/repository:entry) that was named when the app was started. The bundled models "
    "come back with the second button."
)
PACK_HINT = (
    "A pack holds a database's records and descriptors, with or without its photos. scicevpr pack build makes one. "
    "Packs of the Hub are data set repositories; they are downloaded once."
)
LOCKED = "This server is shared, so its models and databases are fixed. On your own machine this page can load others."


@dataclass(frozen=True)
class SourceParts:
    """What build_app wires to the other tabs: events after which models or databases differ, and the new name."""

    models_changed: tuple[Any, ...]
    database_opened: tuple[Any, ...]
    opened: gr.Textbox


def build(tab: gr.Tab, sources: Sources) -> SourceParts:
    """Lay out the tab inside the current gr.Tab."""
    handlers = SourceHandlers(sources)
    models_0, databases_0 = handlers.tables()
    free, named = not sources.locked, "Each has to be named when the app is started: --trust-remote-code SOURCE."
    if sources.trusted:
        named = f"Named when the app was started: {', '.join(sources.trusted)}."
    gr.HTML(step_html(None, "The models"), elem_classes="step")
    models = gr.HTML(models_0, elem_id="models-table")
    gr.HTML(step_html(None, "The databases"), elem_classes="step")
    databases = gr.HTML(databases_0, elem_id="databases-table")
    if sources.locked:
        gr.HTML(hint_html(LOCKED), elem_classes="step")
    with gr.Row(equal_height=False, visible=free):
        with gr.Column(min_width=320):
            gr.HTML(step_html(None, "Load other weights"), elem_classes="step")
            role = gr.Radio(
                [(words, role) for role, words in ROLES.items()], value=THIRD, label="Where", elem_id="load-role"
            )
            source = gr.Textbox(
                "", label="Weights", placeholder="path, URL, Hub repository or name", elem_id="load-from"
            )
            gr.HTML(hint_html(WEIGHTS_HINT), elem_classes="step")
            with gr.Accordion("More", open=False):
                variant = gr.Dropdown(
                    [("told from the file", ""), *((v.title, name) for name, v in VARIANTS.items())],
                    value="", label="Variant of a published file", elem_id="load-variant",
                )  # fmt: skip
                trust = gr.Checkbox(
                    False, label="Run the code of other people's repositories", interactive=bool(sources.trusted),
                    info=f"Models of others come with code of their own, which torch.hub downloads and runs. {named}",
                    elem_id="load-trust",
                )  # fmt: skip
            with gr.Row():
                load = gr.Button("Load", variant="primary", elem_id="load-go")
                back = gr.Button("Back to the first model", elem_id="load-reset")
        with gr.Column(min_width=320):
            gr.HTML(step_html(None, "Open a database pack"), elem_classes="step")
            chosen = gr.Dropdown(
                handlers.pack_choices() if free else [], value=None, label="On this machine", elem_id="pack-local",
                info="Packs that were built or downloaded here.",
            )  # fmt: skip
            written = gr.Textbox(
                "", label="Or from elsewhere", placeholder="folder, or name/repository on the Hub", elem_id="pack-from"
            )
            photos = gr.Textbox(
                "", label="Folder with its photos (optional)", elem_id="pack-photos", visible=sources.may_read_folders
            )
            gr.HTML(hint_html(PACK_HINT), elem_classes="step")
            open_ = gr.Button("Open", variant="primary", elem_id="pack-go")
        with gr.Column(min_width=320):
            gr.HTML(step_html(None, "Real photos"), elem_classes="step")
            real = gr.Dropdown(
                handlers.set_choices() if free else [], value=None, label="Published data set", elem_id="real-set",
                info="Downloaded once from its authors' server, and kept.",
            )  # fmt: skip
            licence = gr.Markdown("", elem_id="real-licence")
            accepted = gr.Checkbox(False, label="I have read and accept its licence", elem_id="real-accepted")
            get = gr.Button("Get", variant="primary", elem_id="real-go")
    words = gr.Markdown("", elem_id="source-words")
    opened = gr.Textbox("", visible=False)
    shown = {"show_progress_on": [words]}
    loaded = load.click(
        handlers.load, [role, source, variant, trust], [models, databases, words], **shown, **QUIET, **LONG
    )
    reset = back.click(handlers.reset, role, [models, databases, words], **QUICK)
    open_event = open_.click(
        handlers.open, [chosen, written, photos], [models, databases, words, opened], **shown, **QUIET, **LONG
    )
    real.change(handlers.licence, real, licence, **QUICK)
    got = get.click(handlers.get_set, [real, accepted], [models, databases, words, opened], **shown, **QUIET, **LONG)
    tab.select(handlers.tables, None, [models, databases], queue=False, **QUIET)
    endpoint(handlers.api_load_weights, [role, source, variant, trust])
    endpoint(handlers.api_open_pack, [written, photos], gr.Textbox)
    return SourceParts((loaded, reset), (open_event, got), opened)
