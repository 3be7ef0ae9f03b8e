"""The Stability tab: put other photos into a query's batch and see whose answer changes."""

from __future__ import annotations

from pathlib import Path

import gradio as gr

from app.tabs.stability.handlers import COLUMNS, LARGEST_SEEDS, MOST_IN_WORST_BATCH, StabilityHandlers
from app.tabs.stability.html import WAITING, waiting_tray_html
from app.tabs.stability.service import Stability
from app.ui.events import LONG, MODEL, QUICK, QUIET, count_input, database_input, endpoint, text_input
from app.ui.html import hint_html, step_html
from app.ui.links import LinkedTab
from app.ui.photo_picker import Picker, photo_picker, share_selection
from scicevpr.evaluation.batch_effects import SIZES

ID, TITLE = "stability", "Stability"
LINK = LinkedTab(
    ID, {"size": "stability-size"}, "stability-database", "stability-photo", "stability-examples",
    batch_mates="stability-batch-mates", batch_of="stability-batch-of", redrawn="tray",
)  # fmt: skip
SCRIPT = Path(__file__).with_name("tray.js")
BATCH_HINT = (
    "Random batch: as many photos as are in the batch now, drawn from those on offer. Offer other photos: a new draw "
    "from the query list. Make CricaVPR fail: searches the whole query list for the other photos that turn its "
    "answer to another place. Make CricaVPR right: for those with which a photo of the right place comes first, "
    "although alone another one does. SciceVPR's answer stays what it is in both."
)
CURVE_HINT = (
    "Measure: the settings above, for all models; rows appear as they are ready. Figure 2: all sizes and orders, ten "
    "shuffles. Figure 1: queries alone and in pairs, the database in batches of two. The first run describes every "
    "photo once."
)
ORDERS = [("file order", "file"), ("shuffled", "shuffled"), ("grouped by place", "place")]


def batch_controls(
    prefix: str, sizes: list[int], orders: list[str], shuffles: int
) -> tuple[gr.CheckboxGroup, gr.CheckboxGroup, gr.Slider]:
    """Sizes and orders of batches, and how many shuffles, inside the current row; with what is chosen at first."""
    return (
        gr.CheckboxGroup(
            list(SIZES), value=sizes, label="Queries in a batch", elem_id=f"{prefix}-sizes",
            info="1 means: every query alone.",
        ),
        gr.CheckboxGroup(
            ORDERS, value=orders, label="Order of the queries", elem_id=f"{prefix}-orders",
            info="Grouped by place uses the true positions, which nobody has in practice.",
        ),
        gr.Slider(
            1, LARGEST_SEEDS, value=shuffles, step=1, label="Shuffles", buttons=[], elem_id=f"{prefix}-seeds",
            info="Each has a seed of its own.",
        ),
    )  # fmt: skip


def build(tab: gr.Tab, stability: Stability, notice: gr.HTML) -> Picker:
    """Lay out the tab inside the current gr.Tab. notice: the page's banners."""
    handlers, services = StabilityHandlers(stability), stability.services
    with gr.Row(elem_id="stability-form", equal_height=False):
        picker = photo_picker(services, "stability", "Pick a query", "the query")
        photo, database = picker.photo, picker.database
    gr.HTML(step_html(2, "Choose the other photos of its batch"), elem_classes="step")
    tray = gr.HTML(waiting_tray_html(), js_on_load=SCRIPT.read_text(encoding="utf-8"), elem_id="tray", min_height=180)
    with gr.Row(elem_id="stability-buttons", equal_height=False):
        empty = gr.Button("Empty the batch", size="sm", elem_id="stability-empty")
        random = gr.Button("Random batch", size="sm", elem_id="stability-random")
        others = gr.Button("Offer other photos", size="sm", elem_id="stability-others")
        worst = gr.Button("Make CricaVPR fail", variant="primary", size="sm", elem_id="stability-worst")
        best = gr.Button("Make CricaVPR right", variant="primary", size="sm", elem_id="stability-best")
    size = gr.Slider(
        2, 16, value=8, step=1, label="Batch size of these two searches", buttons=[], elem_id="stability-size",
        info="Photos in the batch, the query included.",
    )  # fmt: skip
    gr.HTML(hint_html(BATCH_HINT), elem_classes="step")
    words = gr.Markdown("", elem_id="stability-words")
    batch_mates = gr.Textbox("", visible=False, elem_id="stability-batch-mates")
    seed = gr.Number(0, visible=False, precision=0, elem_id="stability-seed")
    batch_of = gr.Textbox("", visible=False, elem_id="stability-batch-of")  # the photo whose batch this is
    taken = gr.Textbox("", visible=False, elem_id="stability-taken")  # a batch chosen in another tab, such as "+3"
    gr.HTML(step_html(3, "Whose answer changes?"), elem_classes="step")
    with gr.Row(elem_id="stability-answers", equal_height=False):
        stable = gr.HTML(WAITING, elem_id="stability-stable", elem_classes="answer-box")
        baseline = gr.HTML(WAITING, elem_id="stability-baseline", elem_classes="answer-box")
    why = gr.HTML("", elem_id="stability-why")
    with gr.Row(elem_id="stability-planes", equal_height=False):
        stable_plane = gr.Plot(visible=False, show_label=False, elem_id="stability-plane-stable")
        baseline_plane = gr.Plot(visible=False, show_label=False, elem_id="stability-plane-baseline")

    gr.HTML(step_html(4, "And over all queries? Recall@1 against batch size and order"), elem_classes="step")
    with gr.Row(elem_id="curve-form", equal_height=False):
        sizes, orders, seeds = batch_controls("curve", [1, 2, 4, 8, 16, 32], ["file", "shuffled"], 3)
    with gr.Row(elem_id="curve-buttons"):
        run = gr.Button("Measure", variant="primary", elem_id="curve-run")
        figure_2 = gr.Button("Figure 2 of the paper", elem_id="figure-2")
        figure_1 = gr.Button("Figure 1 of the paper", elem_id="figure-1")
        stop = gr.Button("Stop", variant="stop", elem_id="curve-stop")
    gr.HTML(hint_html(CURVE_HINT), elem_classes="step")
    told = gr.Markdown("", elem_id="curve-words")
    pairs = gr.HTML("", elem_id="pairs")
    curve = gr.Plot(visible=False, show_label=False, elem_id="curve")
    with gr.Accordion("All numbers", open=False, elem_id="curve-numbers"):
        table = gr.Dataframe(headers=list(COLUMNS), interactive=False, elem_id="curve-table", show_label=False)
        file = gr.File(label="As CSV", interactive=False, elem_id="curve-file")

    form = [photo, database, batch_mates, seed]
    parts = [notice, tray, stable, baseline, why, stable_plane, baseline_plane]

    def show(event, **options):
        shown = event(handlers.show, form, parts, show_progress_on=[stable, baseline], **QUIET, **MODEL, **options)
        shown.failure(handlers.waiting, None, parts, queue=False, **QUIET)

    # change also comes when the tab is shown again, and with a link, which brings photo and batch at once
    new = [batch_mates, words, seed, batch_of, taken]
    fresh = photo.change(handlers.fresh, [photo, database, batch_of, taken], new, **QUICK)
    show(fresh.then, trigger_mode="always_last")
    follow = taken.change(handlers.followed, [photo, database, taken, batch_mates], batch_mates, **QUICK)
    show(follow.success, trigger_mode="always_last")
    share_selection(tab, ID, photo, database, batch_mates, taken)
    moved = tray.select(handlers.moved, batch_mates, batch_mates, **QUICK)
    show(moved.success)
    show(empty.click(lambda: "", None, batch_mates, **QUICK).success)
    show(random.click(handlers.drawn, form, [batch_mates, seed], **QUICK).success)
    show(others.click(lambda number: int(number or 0) + 1, seed, seed, **QUICK).success)
    searched = [
        button.click(handler, [*form[:3], size], [batch_mates, words], show_progress_on=[tray], **QUIET, **LONG)
        for button, handler in ((worst, handlers.make_it_fail), (best, handlers.make_it_right))
    ]
    for search in searched:
        show(search.success)
    results = [curve, table, file, told]
    run.click(handlers.curve, [database, sizes, orders, seeds], results, show_progress_on=[told], **QUIET, **LONG)
    figure_2.click(handlers.figure_2, [database], results, show_progress_on=[told], **QUIET, **LONG)
    first = figure_1.click(handlers.pairs, [database], [pairs], show_progress_on=[told], **QUIET, **LONG)
    stop.click(handlers.stops.stop, None, None, cancels=[first, *searched], **QUICK)
    asked, query = database_input(services), text_input("Query")
    endpoint(handlers.api_batch_mates, [photo, asked, text_input("Other photos in the batch"), query], line=MODEL)
    size = count_input("Batch size", 8, 2, MOST_IN_WORST_BATCH)
    image = gr.Image(visible=False, type="filepath", label="Query photo")
    endpoint(handlers.api_worst_batch, [image, asked, size, query])
    measured = text_input("Queries in a batch", "1,8,32"), text_input("Order of the queries", "file")
    endpoint(handlers.api_stability, [asked, *measured, count_input("Shuffles", 3, 1, LARGEST_SEEDS)])
    return picker
