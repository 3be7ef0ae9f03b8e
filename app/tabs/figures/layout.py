"""The Figures tab: publication figures of what the other tabs show, with files and a caption."""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr

from app.core.model_slots import BASELINE, STABLE
from app.tabs.figures.handlers import WAITING, FigureHandlers
from app.tabs.figures.service import FigureStudio
from app.tabs.stability.layout import ORDERS, batch_controls
from app.ui.events import LONG, QUICK, QUIET, database_input, endpoint, files_input
from app.ui.html import hint_html, step_html
from app.ui.links import LinkedTab
from app.ui.photo_picker import photo_picker, share_selection
from scicevpr.evaluation.batch_effects import SIZES
from scicevpr.figures.paper import FIGURES
from scicevpr.figures.paper.batches import MOST_BATCH_MATES
from scicevpr.figures.paper.retrieval import MOST_ANSWERS

ID, TITLE = "figures", "Figures"
LINK = LinkedTab(
    ID,
    {
        "figure": "figures-figure", "model": "figures-models", "top": "figures-top",
        "batch_mates": "figures-batch-mates", "pairs": "figures-pairs", "width": "figures-width",
        "palette": "figures-palette", "font": "figures-font", "dpi": "figures-dpi", "typeface": "figures-typeface",
    },
    "figures-database", "figures-photo", "figures-examples",
)  # fmt: skip
FIRST = "strip"
FILES_HINT = (
    "PDF and SVG are vector files (fonts embedded or outlined), PNG has the dots per inch chosen above, CSV holds the "
    "plotted numbers, TXT the caption with the whole protocol; the table also comes as LaTeX. The command "
    "“scicevpr figure” makes the same files, byte for byte."
)
DRAW_HINT = "Stop works between two settings of Figure 2; the other figures take seconds once every photo is described."


@dataclass(frozen=True)
class FigureParts:
    """What build_app may wire to other tabs: figure, database and the results file."""

    figure: gr.Radio
    database: gr.Dropdown
    results: gr.File


def build(tab: gr.Tab, studio: FigureStudio) -> FigureParts:
    """Lay out the tab inside the current gr.Tab."""
    handlers, kind = FigureHandlers(studio), FIGURES[FIRST]
    roles = studio.roles()
    gr.HTML(step_html(None, "Choose a figure"), elem_classes="step")
    figure = gr.Radio(
        [(entry.title, name) for name, entry in FIGURES.items()], value=FIRST, label="Figure", elem_id="figures-figure",
        info="Figures 1, 2 and 4 are those of the SciceVPR paper, on the database chosen below.",
    )  # fmt: skip
    sentence = gr.HTML(hint_html(kind.sentence), elem_id="figures-sentence", elem_classes="step")
    with gr.Row(elem_id="figures-photo-row", equal_height=False) as photo_row:
        picker = photo_picker(studio.services, "figures", "Pick the photo", "the photo of the figure")
    results = gr.File(
        label="Results (JSON)", file_count="multiple", file_types=[".json"], visible=False, elem_id="figures-results",
        height=120,
    )  # fmt: skip
    with gr.Row(elem_id="figures-content", equal_height=False):
        models = gr.CheckboxGroup(
            roles, value=[role for _, role in roles if role in (STABLE, BASELINE)], label="Models",
            elem_id="figures-models",
            info="Fusion needs SciceVPR or Super-CricaVPR, attention a CricaVPR: the first that fits is drawn.",
        )  # fmt: skip
        top = gr.Slider(
            1, MOST_ANSWERS, value=5, step=1, label="Answers", buttons=[], elem_id="figures-top",
            info="Database photos of each model.",
        )  # fmt: skip
        batch_mates = gr.Slider(
            1, MOST_BATCH_MATES, value=7, step=1, label="Other photos in the batch", buttons=[], visible=False,
            elem_id="figures-batch-mates",
            info="Queries after the photo in the list that share its batch.",
        )  # fmt: skip
        pairs = gr.Slider(
            1, 4, value=2, step=1, label="Pairs", buttons=[], visible=False, elem_id="figures-pairs",
            info="Pairs of queries that change an answer.",
        )  # fmt: skip
        n = gr.Number(
            None, label="N of the bars", precision=0, visible=False, elem_id="figures-n",
            info="Recall@N; empty: the smallest N in the results.",
        )  # fmt: skip
    with gr.Row(elem_id="figures-curve", equal_height=False, visible=False) as curve:
        sizes, orders, seeds = batch_controls("figures", list(SIZES), [key for _, key in ORDERS], 10)
    gr.HTML(step_html(None, "Choose its looks"), elem_classes="step")
    with gr.Row(elem_id="figures-looks", equal_height=False):
        width = gr.Radio(
            [("one column, 3.3 in", "single"), ("two columns, 6.9 in", "double")], value="double", label="Width",
            elem_id="figures-width", info="The figure is exactly that wide.",
        )  # fmt: skip
        palette = gr.Radio(
            [("colour", "colour"), ("grey", "grey")], value="colour", label="Colours", elem_id="figures-palette",
            info="Colour-blind safe (Okabe-Ito), or printed in grey.",
        )  # fmt: skip
        font = gr.Slider(
            5, 14, value=8, step=0.5, label="Font size", buttons=[], elem_id="figures-font", info="Points."
        )  # fmt: skip
        typeface = gr.Radio(
            [("sans serif", "sans"), ("serif", "serif")], value="sans", label="Typeface", elem_id="figures-typeface",
            info="Embedded in PDF files, outlined in SVG files.",
        )  # fmt: skip
        dpi = gr.Number(
            300, label="Dots per inch", precision=0, elem_id="figures-dpi", info="Of photos and of the PNG: 72 to 1200."
        )
    with gr.Row(elem_id="figures-words-row", equal_height=False):
        panels = gr.CheckboxGroup([], label="Panels", visible=False, elem_id="figures-panels", info="What is drawn.")
        letters = gr.Checkbox(True, label="Panel letters", elem_id="figures-letters", info="a, b, c before the panels.")
        labels = gr.Textbox(
            "", label="Names of the models", placeholder="SciceVPR-T=Ours; CricaVPR-T=Baseline",
            elem_id="figures-labels", info="What the figure calls them; empty: their own names.",
        )  # fmt: skip
    with gr.Row(elem_id="figures-buttons"):
        go = gr.Button("Draw", variant="primary", elem_id="figures-draw")
        stop = gr.Button("Stop", variant="stop", elem_id="figures-stop")
    gr.HTML(hint_html(DRAW_HINT), elem_classes="step")
    words = gr.Markdown("", elem_id="figures-words")
    sheet = gr.HTML(WAITING, elem_id="figures-sheet", min_height=140)
    files = gr.File(label="Files", file_count="multiple", interactive=False, elem_id="figures-files")
    gr.HTML(hint_html(FILES_HINT), elem_classes="step")

    figure.change(
        handlers.form_for,
        figure,
        [sentence, panels, photo_row, results, models, top, batch_mates, pairs, curve, n],
        **QUICK,
    )
    form = [
        figure, picker.photo, picker.database, results, models, top, batch_mates, pairs, sizes, orders, seeds, n,
        width, font, palette, letters, labels, dpi, panels, typeface,
    ]  # fmt: skip
    go.click(handlers.draw, form, [words, sheet, files], show_progress_on=[sheet], **QUIET, **LONG)
    stop.click(handlers.stops.stop, None, None, **QUICK)
    tab.select(handlers.refresh, models, models, **QUICK)
    asked = [figure, picker.photo, database_input(studio.services), files_input("Results"), models, width, palette]
    endpoint(handlers.api_figure, asked, gr.File, file_count="multiple")
    share_selection(tab, ID, picker.photo, picker.database)
    return FigureParts(figure, picker.database, results)
