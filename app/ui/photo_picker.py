"""Where a tab gets its photo from: the examples of a database, or one of the visitor's own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from app.core.incoming import photo_name
from app.core.outgoing import ServerFile
from app.core.services import Services
from app.ui.events import QUICK, QUIET, Handlers, toasts
from app.ui.html import step_html
from scicevpr.errors import SciceVPRError, UsageError

BATCH_CHOICES = [("alone", 0), ("+1", 1), ("+3", 3), ("+7", 7), ("+15", 15)]
"""How many other photos share a query's batch."""


def nearest_batch(others: int) -> int:
    """The batch on offer that comes nearest to so many other photos."""
    return min((size for _, size in BATCH_CHOICES), key=lambda size: abs(size - others))


class PickerHandlers(Handlers):
    """The events of a picker."""

    @toasts
    def example(self, database: Any, photo: Any, event: gr.SelectData) -> Any:
        """The file of the example that was clicked; nothing new where it is the photo already, because an example that
        is marked counts as clicked."""
        key, _ = self.services.dataset(database)
        examples = self.services.examples(key)
        if not isinstance(event.index, int) or not 0 <= event.index < len(examples):
            raise UsageError("That example does not exist any more. Reload the page.")
        chosen = examples[event.index]
        if photo and photo_name(photo) == chosen.name:
            return gr.skip()
        return self.services.outgoing.photo(key, chosen)

    def example_items(self, database: Any = None) -> list[tuple[ServerFile, str]]:
        """Examples for the gallery: (file, caption); empty when there is no database."""
        try:
            key, _ = self.services.dataset(database)
            photos, file = self.services.examples(key), self.services.outgoing.photo
            return [(file(key, photo), photo.condition or f"example {n}") for n, photo in enumerate(photos, 1)]
        except SciceVPRError:
            return []

    def emptied(self, database: Any) -> tuple[None, gr.Gallery]:
        """Values for (photo, examples) after another database was chosen."""
        return None, self.gallery(database, None)

    def gallery(self, database: Any, photo: Any) -> gr.Gallery:
        """The examples of a database; the one that is the photo is marked."""
        return gr.Gallery(value=self.example_items(database), selected_index=self._example_index(database, photo))

    def marked(self, database: Any, photo: Any) -> Any:
        """No mark on any example where the photo is none of them. (Setting a mark counts as a click in the browser, and
        a photo that came from another tab then changes for ever.)"""
        return gr.Gallery(selected_index=None) if self._example_index(database, photo) is None else gr.skip()

    def _example_index(self, database: Any, photo: Any) -> int | None:
        """Which example the photo is, by its name; None for any other photo."""
        try:
            name = photo_name(photo) if photo else ""
            names = [example.name for example in self.services.examples(self.services.dataset(database)[0])]
        except SciceVPRError:
            return None
        return names.index(name) if name in names else None


@dataclass(frozen=True)
class Picker:
    """The photo, the database and the examples of a tab."""

    photo: gr.Image
    database: gr.Dropdown
    examples: gr.Gallery


def example_gallery(handlers: PickerHandlers, elem_id: str) -> gr.Gallery:
    """The examples of the first database."""
    return gr.Gallery(
        handlers.example_items(), show_label=False, columns=4, height="auto", object_fit="cover", allow_preview=False,
        buttons=[], interactive=False, elem_id=elem_id, elem_classes="examples",
    )  # fmt: skip


def photo_field(sources: list[str], elem_id: str, alt_text: str, **options: Any) -> gr.Image:
    """A photo of the visitor's own."""
    return gr.Image(
        show_label=False, sources=sources, type="filepath", image_mode=None, buttons=[], elem_id=elem_id,
        alt_text=alt_text, **options,
    )  # fmt: skip


def database_choice(services: Services, elem_id: str, **options: Any) -> gr.Dropdown:
    """The database to search."""
    names = list(services.datasets)
    first = names[0] if names else None
    return gr.Dropdown(names, value=first, label="Database", interactive=True, elem_id=elem_id, **options)


def photo_picker(services: Services, prefix: str, title: str, alt_text: str) -> Picker:
    """Lay out two columns (examples; own photo and database) inside the current row, and wire them.

    prefix: of the elements' ids, such as "inside".
    """
    handlers = PickerHandlers(services)
    with gr.Column(scale=6, min_width=300):
        gr.HTML(step_html(1, title), elem_classes="step")
        examples = example_gallery(handlers, f"{prefix}-examples")
    with gr.Column(scale=4, min_width=260):
        gr.HTML(step_html(None, "or bring your own"), elem_classes="step")
        photo = photo_field(
            ["upload", "clipboard"], f"{prefix}-photo", alt_text, height=200, placeholder="Drop a street photo here"
        )
        database = database_choice(services, f"{prefix}-database", visible=len(services.datasets) > 1)
    database.input(lambda: None, None, photo, **QUICK)
    picker = Picker(photo, database, examples)
    wire_examples(handlers, picker)
    return picker


def wire_examples(handlers: PickerHandlers, picker: Picker, marked: bool = False) -> None:
    """An example that is clicked becomes the photo. marked: no example is marked once another photo is shown."""
    photo, database, examples = picker.photo, picker.database, picker.examples
    examples.select(handlers.example, [database, photo], [photo], show_progress="hidden", **QUIET)
    database.change(handlers.gallery, [database, photo], examples, **QUICK)
    if marked:
        photo.change(handlers.marked, [database, photo], examples, **QUICK)


def share_selection(
    tab: gr.Tab, name: str, photo: gr.Image, database: gr.Dropdown, batch: Any = None, taken: Any = None
) -> None:
    """Find, Inside and Stability show one selection (selection.js): this tab notes what is chosen in it, and takes over
    what was chosen in another one when it is opened. taken: where a batch from elsewhere arrives, if not in batch."""
    note = f"(...values) => {{ window.studioSelection?.note({name!r}, values); return []; }}"
    take = (  # a moment later: a photo that is set before its field stands in the page changes for ever
        "async (...values) => { await new Promise((done) => setTimeout(done, 500));"
        f" return window.studioSelection?.take({name!r}, values) ?? []; }}"
    )
    values = [photo, database] + ([] if batch is None else [batch])
    for component in values:
        component.change(None, values, None, js=note, api_visibility="private")
    held = [photo, database] + ([] if batch is None else [taken or batch])
    tab.select(None, values, held, js=take, api_visibility="private")
