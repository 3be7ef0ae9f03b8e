"""The My places tab: a visitor's own photos become a database that only this visitor can search."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from app.core.limits import KEPT_S
from app.tabs.my_places.handlers import MyPlacesHandlers
from app.tabs.my_places.html import waiting_html
from app.tabs.my_places.service import TITLE as DATABASE_TITLE
from app.tabs.my_places.service import MyPlaces
from app.ui.events import QUICK, QUIET
from app.ui.html import hint_html, step_html
from scicevpr.datasets.photos import EXTENSIONS

ID, TITLE = "my_places", "My places"
# described beside the searches of others, not before them: half a thousand photos take minutes
OWN_LINE = {"concurrency_id": "places", "concurrency_limit": 1}
HOLD_CHOICES = [("none", 0), ("every 10th", 10), ("every 5th", 5), ("every 3rd", 3)]
PHOTO_HINT = "Photos, or a zip of them with or without folders, or the zip of a pack made here. {limits}"
FOLDER_HINT = "Or a folder on this machine. It is read where it is, and nothing in it is changed."
WHERE_HINT = (
    "Positions are read from names (@easting@northing@…), else from the camera's GPS data. A table replaces both: a "
    "CSV file with name and latitude,longitude (degrees) or east,north (metres). Photos without a position are "
    "searched too, but then no answer can be called right or wrong."
)
HOLD_HINT = (
    "Held-back photos are not searched: Find offers them as queries, Stability as other photos of a batch. Photos in a "
    "folder called queries are held back in any case, and then no others."
)
PRIVATE_HINT = (
    "Nobody else sees these photos. They are deleted when you close or reload this page, when you remove them, or six "
    "hours after you brought them. The zip is a database pack: bring it here again another day, and it opens without "
    "describing anything; unpacked, it also opens under Models & data and with scicevpr search --pack."
)


@dataclass(frozen=True)
class MyPlacesParts:
    """What build_app wires to the other tabs: the session's token, and events after which its databases differ."""

    token: gr.State
    changed: tuple[Any, ...]
    handlers: MyPlacesHandlers


def build(tab: gr.Tab, mine: MyPlaces, page: gr.Blocks) -> MyPlacesParts:
    """Lay out the tab inside the current gr.Tab. page: the gr.Blocks around it, whose closing ends a session."""
    handlers = MyPlacesHandlers(mine, page)
    token = gr.State("", time_to_live=int(KEPT_S), delete_callback=mine.forget)
    with gr.Row(elem_id="mine-form", equal_height=False):
        with gr.Column(scale=5, min_width=300):
            gr.HTML(step_html(1, "Bring photos"), elem_classes="step")
            files = gr.File(
                file_count="multiple", file_types=[*EXTENSIONS, ".zip", ".csv"], label="Photos or zips", height=200,
                elem_id="mine-files",
            )  # fmt: skip
            gr.HTML(hint_html(PHOTO_HINT.format(limits=mine.limits.sentence)), elem_classes="step")
            folder = gr.Textbox(
                "", label="Folder on this machine", info=FOLDER_HINT, placeholder="/home/me/photos",
                visible=mine.may_read_folders, elem_id="mine-folder",
            )  # fmt: skip
        with gr.Column(scale=5, min_width=300):
            gr.HTML(step_html(2, "Where were they taken? (optional)"), elem_classes="step")
            table = gr.File(
                file_count="single", file_types=[".csv"], label="Table of positions (CSV)", height=130,
                elem_id="mine-table",
            )  # fmt: skip
            gr.HTML(hint_html(WHERE_HINT), elem_classes="step")
            condition = gr.Textbox(
                "", label="Condition", info="Such as night or snow; for photos whose name or row says none.",
                max_length=40, elem_id="mine-condition",
            )  # fmt: skip
        with gr.Column(scale=5, min_width=300):
            gr.HTML(step_html(3, "Make them searchable"), elem_classes="step")
            title = gr.Textbox(
                DATABASE_TITLE, label="Name", info="What the list of databases will call them.", max_length=60,
                elem_id="mine-title",
            )  # fmt: skip
            hold = gr.Radio(HOLD_CHOICES, value=5, label="Hold back as queries", info=HOLD_HINT, elem_id="mine-hold")
            with gr.Row():
                go = gr.Button("Describe with both models", variant="primary", scale=3, elem_id="mine-go")
                stop = gr.Button("Stop", variant="stop", scale=1, min_width=90, elem_id="mine-stop")
    words = gr.HTML(waiting_html(), elem_id="mine-words", min_height=90)
    with gr.Row(elem_id="mine-after"):
        find = gr.Button("Search them in Find", interactive=False, elem_id="mine-find")
        archive = gr.DownloadButton("Download as a pack (zip)", interactive=False, elem_id="mine-archive")
        remove = gr.Button("Remove my places", elem_id="mine-remove")
    with gr.Row(visible=False, elem_id="mine-sure") as sure:
        gr.HTML(hint_html("Remove your photos, their descriptors and the list from this server now?"))
        yes = gr.Button("Yes, remove them", variant="stop", elem_id="mine-yes")
        no = gr.Button("No, keep them", elem_id="mine-no")
    gr.HTML(hint_html(PRIVATE_HINT), elem_classes="step")
    listed = gr.HTML("", elem_id="mine-listed")

    handlers.field_files = (files.temp_files, table.temp_files)
    for source in (files, table):
        source.upload(handlers.uploaded, [token, files, table], token, **QUICK)
    built = go.click(
        handlers.build,
        [token, files, folder, table, condition, title, hold],
        [token, words, listed, archive, find],
        show_progress_on=[words],
        **QUIET,
        **OWN_LINE,
    )
    built.failure(handlers.now, token, [words, archive, find], **QUICK)
    stop.click(mine.stop, token, None, **QUICK)
    remove.click(lambda: gr.Row(visible=True), None, sure, **QUICK)
    no.click(lambda: gr.Row(visible=False), None, sure, **QUICK)
    removed = yes.click(handlers.remove, token, [token, words, listed, archive, find, files, table, sure], **QUICK)
    wanted = find.click(
        None, None, None, js="() => { window.studioOpenTab?.('Find'); return []; }", api_visibility="private"
    )
    page.unload(handlers.leave)
    return MyPlacesParts(token, (built, removed, wanted), handlers)
