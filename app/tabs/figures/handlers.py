"""Between the Figures tab and its service: raw component values in, ready component values out."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import gradio as gr

from app.core.incoming import result_files
from app.core.limits import LABELS
from app.core.outgoing import ServerFile
from app.core.values import plain_text, real_number, text_list, whole_number
from app.tabs.figures.service import Choices, FigureStudio, Written
from app.ui.events import PROGRESS, Handlers, Stops, describing, toasts
from app.ui.html import escape, hint_html
from scicevpr.errors import UsageError
from scicevpr.figures.paper import FIGURES, Style, draw, figure_kind, parse_labels
from scicevpr.figures.paper.batches import MOST_BATCH_MATES
from scicevpr.figures.paper.retrieval import MOST_ANSWERS

WAITING = '<div class="sheet sheet--waiting"><p>Choose a figure, then press Draw.</p></div>'
GROUPS = ("photo", "results", "models", "top", "batch_mates", "pairs", "curve", "n")
"""Parts of the form that some figures need and others do not, in the order of `form_for`."""
NEEDED = {
    "figure-1": ("photo", "models", "pairs"),
    "figure-2": ("photo", "models", "curve"),
    "figure-4": ("photo", "models"),
    "fusion": ("photo", "models"),
    "attention": ("photo", "models", "batch_mates"),
    "strip": ("photo", "models", "top"),
    "recall": ("results",),
    "conditions": ("results", "n"),
    "table": ("results",),
}
NO_PHOTO = "This figure is about the whole database: no photo is needed."


class FigureHandlers(Handlers):
    """The events of the Figures tab and its endpoint."""

    def __init__(self, studio: FigureStudio) -> None:
        super().__init__(studio.services)
        self.studio = studio
        self.stops = Stops()

    @toasts
    def form_for(self, figure: Any) -> tuple:
        """What the form shows for a figure: values for (sentence, panels, then one per group of GROUPS)."""
        kind = figure_kind(str(figure))
        needed = NEEDED[kind.name]
        note = "" if kind.needs == "photo" or kind.needs == "results" else f" {NO_PHOTO}"
        panels = [(words, key) for key, words in kind.panels]
        asked = kind.needs == "photo" or len(self.services.datasets) > 1  # the picker also names the database
        return (
            hint_html(kind.sentence + note),
            gr.update(choices=panels, value=[key for _, key in panels], visible=bool(panels)),
            *(gr.update(visible=group in needed and (group != "photo" or asked)) for group in GROUPS),
        )

    def refresh(self, chosen: Any) -> Any:
        """The models on offer now, for the model boxes."""
        roles = self.studio.roles()
        kept = [role for _, role in roles if role in (chosen or ())]
        return gr.update(choices=roles, value=kept)

    @toasts
    def draw(
        self, figure: Any, photo: Any, database: Any, results: Any, roles: Any, top: Any, batch_mates: Any, pairs: Any,
        sizes: Any, orders: Any, seeds: Any, n: Any, width: Any, font: Any, palette: Any, letters: Any, labels: Any,
        dpi: Any, panels: Any, typeface: Any, request: gr.Request, progress: Any = PROGRESS,
    ) -> Iterator[tuple]:  # fmt: skip
        """Measure and draw; yields values for (words, sheet, files)."""
        kind = figure_kind(str(figure))
        style = style_of(width, font, palette, letters, labels, dpi, panels, typeface)
        if kind.panels and not style.panels:
            raise UsageError("Choose at least one panel.")
        draw(kind.name, None, style)
        choices = self._choices(
            kind.name, photo, database, results, roles, top, batch_mates, pairs, sizes, orders, seeds, n
        )  # fmt: skip
        yield "Measuring…", gr.skip(), None

        data = None
        with self.stops.running(request) as stop:
            for words, data in self.studio.data(choices, describing(progress)):
                if stop.is_set():
                    yield "Stopped.", gr.skip(), None
                    return
                if data is None:
                    yield words, gr.skip(), None
        yield "Drawing…", gr.skip(), None
        written = self.studio.write(draw(kind.name, data, style), choices)
        count = len(written.files)
        done = f"{kind.title} is ready: {count} files below, {width} column, {dpi} dpi."
        yield done, sheet_html(written), list(written.files)

    def _choices(
        self, figure: str, photo: Any, database: Any, results: Any, roles: Any, top: Any, batch_mates: Any, pairs: Any,
        sizes: Any, orders: Any, seeds: Any, n: Any,
    ) -> Choices:  # fmt: skip
        needed = NEEDED[figure]
        asked = self.photo(photo) if FIGURES[figure].needs == "photo" else None
        return Choices(
            figure=figure,
            database=database,
            roles=tuple(map(str, roles or ())),
            photo=None if asked is None else asked.image,
            name="" if asked is None else asked.name,
            results=result_files(results) if "results" in needed else (),
            top=whole_number(top, "The number of answers", 1, MOST_ANSWERS) if "top" in needed else 5,
            batch_mates=whole_number(batch_mates, "The number of other photos in the batch", 1, MOST_BATCH_MATES)
            if "batch_mates" in needed
            else 7,
            pairs=whole_number(pairs, "The number of pairs", 1, 4) if "pairs" in needed else 2,
            sizes=tuple(whole_number(size, "A batch size", 1, 64) for size in sizes or ()),
            orders=tuple(map(str, orders or ())),
            seeds=whole_number(seeds, "The number of shuffles", 1, 20) if "curve" in needed else 10,
            n=whole_number(n, "N", 1, 1000) if "n" in needed and n not in (None, "") else None,
        )

    @toasts
    def api_figure(
        self, figure: Any, image: Any = None, database: Any = None, results: Any = None, models: Any = None,
        width: Any = "double", palette: Any = "colour",
    ) -> list[ServerFile]:  # fmt: skip
        """Draw a publication figure as files.

        Args:
            figure: figure-1, figure-2, figure-4, fusion, attention, strip, recall, conditions or table.
            image: The photo, for figure-4, fusion, attention and strip.
            database: Name of the database (see databases); left out: the first one.
            results: JSON files of an evaluation, uploaded or as data URIs, for recall, conditions and table.
            models: Roles of the models, such as ["stable", "baseline"] (see models).
            width: "single" (a column, 3.3 inches) or "double" (6.9 inches).
            palette: "colour" (colour-blind safe) or "grey".

        Returns:
            The files: PDF, SVG, PNG, CSV of the plotted numbers, caption; LaTeX for the table.
        """
        kind = figure_kind(plain_text(figure, "The figure"))
        asked = self.photo(image) if kind.needs == "photo" else None
        files = result_files(results) if kind.needs == "results" else ()
        photo, name = (None, "") if asked is None else (asked.image, asked.name)
        choices = Choices(kind.name, database, tuple(text_list(models, "models")), photo, name, files)
        style = Style(width=plain_text(width, "The width"), palette=plain_text(palette, "The palette"))
        return list(self.studio.write(self.studio.draw(choices, style), choices).files)


def style_of(
    width: Any, font: Any, palette: Any, letters: Any, labels: Any, dpi: Any, panels: Any, typeface: Any = "sans"
) -> Style:
    """The style that the form holds. UsageError says what is allowed."""
    return Style(
        width=str(width),
        font_size=real_number(font, "The font size in points", 0, 1000),
        palette=str(palette),
        letters=bool(letters),
        labels=parse_labels(plain_text(labels, "The names of the models", LABELS)),
        dpi=whole_number(dpi, "The resolution", 72, 1200),
        panels=tuple(map(str, panels or ())),
        typeface=str(typeface),
    )


def sheet_html(written: Written) -> str:
    """The figure on white paper, and its caption."""
    picture = base64.b64encode(written.preview).decode()
    return (
        '<figure class="sheet"><div class="sheet__paper" tabindex="0" role="group" aria-label="The figure, scrolls">'
        f'<img src="data:image/png;base64,{picture}" '
        f'alt="{escape(written.kind.title)}: {escape(written.kind.sentence)}"></div>'
        f"<figcaption>{escape(written.caption)}</figcaption></figure>"
    )
