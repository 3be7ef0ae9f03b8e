"""What a batch does, for paper: Recall@1 over the queries' batches (Figure 2), who reads and rewrites whom."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from PIL import Image

from scicevpr.config import Preprocessing
from scicevpr.datasets import Dataset
from scicevpr.errors import UsageError
from scicevpr.evaluation.batch_effects import StabilitySetup, batch_lines
from scicevpr.explanations import Explanation
from scicevpr.figures.paper.sheet import INK, MARGIN, SOFT, Sheet, add_legend, toned_colours
from scicevpr.figures.paper.style import Style
from scicevpr.figures.paper.subjects import Subject, data_sentence, grouped, model_sentences, short_name
from scicevpr.models.model import VPRModel

DASHES = {"any": "-", "file": "-", "shuffled": (0, (1, 1.4)), "place": (0, (4, 1.6))}
MARKERS = {"any": "o", "file": "o", "shuffled": "D", "place": "s"}
CURVE_PANELS = (("recall", "Recall@1"), ("changed", "first answers that changed"))


@dataclass(frozen=True)
class CurveData:
    """Figure 2 of the paper. table: rows of `scicevpr.evaluation.batch_effects.query_batches` of several models.

    queries: how many there are. protocol (here and below): sentences for the caption.
    """

    table: pd.DataFrame
    queries: int
    protocol: str


def curve_data(setups: Sequence[tuple[str, StabilitySetup]], table: pd.DataFrame) -> CurveData:
    """Figure 2 from setups (title, setup) and the rows of `query_batches` measured with them, under these titles."""
    dataset = setups[0][1].dataset
    parts = [
        (title, setup.model, f"database described {grouped(setup.model, setup.database_grouping)}")
        for title, setup in setups
    ]
    return CurveData(table, len(dataset.queries), f"{data_sentence(dataset)} {model_sentences(parts)}")


def paint_curves(figure: Figure, data: CurveData, style: Style, vector: bool) -> None:
    """Recall@1, and how many first answers changed, over the size of the queries' batches."""
    panels = style.chosen([key for key, _ in CURVE_PANELS])
    side_by_side = style.double and len(panels) > 1
    rows, columns = (1, len(panels)) if side_by_side else (len(panels), 1)
    axes = figure.subplots(rows, columns, squeeze=False).flatten()
    labels: list[str] = []
    for number, (panel, plot) in enumerate(zip(panels, axes, strict=True)):
        _curve_panel(plot, panel, data, style)
        if len(panels) > 1 and style.letters:
            plot.set_title(style.letter(number), loc="left", fontweight="bold")
        labels = plot.get_legend_handles_labels()[1]
    height = 2.35 if style.double else 2.1
    add_legend(figure, axes[0], labels, style, height * rows)


def _curve_panel(plot: Any, panel: str, data: CurveData, style: Style) -> None:
    table = data.table.assign(changed=100.0 * data.table["flips"] / max(1, data.queries))
    colours = style.colours(list(table["model"].unique()))
    for line in batch_lines(table, "recall_1" if panel == "recall" else "changed"):
        colour = colours[line.model]
        if line.order == "shuffled":
            plot.fill_between(line.sizes, line.low, line.high, color=colour, alpha=0.18, linewidth=0, zorder=2)
        plot.plot(
            line.sizes,
            line.means,
            linestyle=DASHES[line.order],
            marker=MARKERS[line.order],
            label=f"{style.name(line.model)}, {line.label}",
            color=colour,
            clip_on=False,
            zorder=3,
        )
    sizes = sorted(int(size) for size in table["size"].unique())
    plot.set_xscale("log", base=2)
    plot.set_xticks(sizes, [str(size) for size in sizes])
    plot.minorticks_off()
    plot.set_xlabel("queries in a batch")
    plot.set_ylabel("Recall@1 (%)" if panel == "recall" else "first answers changed (%)")
    if panel == "changed":
        plot.set_ylim(bottom=0)


def curve_table(data: CurveData) -> pd.DataFrame:
    """The plotted numbers: one row a setting and seed."""
    names = ("model", "order", "size", "seed", "recall_1", "flips")
    table = data.table[[name for name in names if name in data.table]].copy()
    table["seed"] = table["seed"].astype("Int64")  # there is none where nothing is shuffled
    return table.assign(changed=100.0 * table["flips"] / max(1, data.queries), queries=data.queries)


def curve_caption(data: CurveData, style: Style) -> str:
    """What the curves show, with the protocol."""
    table = data.table
    seeds = int(table["seed"].nunique())
    shuffled = f" Shuffled: mean and range over {seeds} random orders." if seeds else ""
    place = " Grouped by place uses the true positions." if (table["order"] == "place").any() else ""
    panels = style.chosen([key for key, _ in CURVE_PANELS])
    words = {"recall": "Recall@1", "changed": "the share of queries whose first answer is not the one they get alone"}
    what = " and ".join(
        f"({style.letter(n)}) {words[p]}" if style.letters and len(panels) > 1 else words[p]
        for n, p in enumerate(panels)
    )
    return (
        f"{what[0].upper()}{what[1:]} over the number of queries that share a batch; one photo a batch is every query "
        f"alone. {data.queries} queries.{shuffled}{place} {data.protocol} After Figure 2 of the SciceVPR paper "
        "(arXiv 2502.20676)."
    )


# ---- a batch in a cross-image model ----------------------------------------------------------------------------------


ATTENTION_PANELS = (("attention", "who reads whom"), ("rewriting", "who rewrote which region"))
MOST_BATCH_MATES = 15


@dataclass(frozen=True)
class AttentionData:
    """A batch in a cross-image model. attention [B, B]: row reads column. rewriting [B, 14]: of the first photo."""

    title: str
    photos: tuple[Image.Image, ...]
    names: tuple[str, ...]
    regions: tuple[str, ...]
    attention: np.ndarray
    rewriting: np.ndarray
    protocol: str


def attention_data(
    subject: Subject,
    dataset: Dataset,
    title: str,
    model: VPRModel,
    batch_mates: int = 7,
    preprocessing: Preprocessing | None = None,
) -> AttentionData:
    """Attention in a batch of a photo and the queries after it in the list, as many as ``batch_mates`` says (after a
    photo of one's own: the first ones).

    Raises UsageError for a model without attention between photos, or more batch mates than there are.
    """
    if not model.variant.cross_image:
        raise UsageError(
            f"{model.variant.title} looks at one photo at a time: there is no attention between photos. Choose "
            "CricaVPR or Super-CricaVPR."
        )
    most = min(MOST_BATCH_MATES, len(dataset.queries) - (subject.row is not None))
    if not 1 <= batch_mates <= most:
        raise UsageError(f"The other photos in the batch must be 1 to {most}, not {batch_mates}.")
    start = 0 if subject.row is None else subject.row + 1
    others = [dataset.queries[(start + step) % len(dataset.queries)] for step in range(batch_mates)]
    explanation = Explanation(model, [subject.image, *(photo.path for photo in others)], preprocessing)
    sentence = model_sentences([(title, model, "the query with the queries after it in the list")], preprocessing)
    return AttentionData(
        title=title,
        photos=explanation.photos,
        names=(subject.name, *(photo.name for photo in others)),
        regions=explanation.region_names,
        attention=explanation.attention(),
        rewriting=explanation.rewriting(),
        protocol=f"{dataset.name} ({dataset.split}). {sentence}",
    )


def paint_attention(figure: Figure, data: AttentionData, style: Style, vector: bool) -> None:
    """Who reads whom as a matrix between photos, and who rewrote which region of the first photo."""
    sheet = Sheet(figure, style, vector)
    chosen = style.chosen([key for key, _ in ATTENTION_PANELS])
    columns = len(chosen) if style.double else 1
    between = 0.3
    space = (sheet.width - 2 * MARGIN - between * (columns - 1)) / columns
    y = bottom = 0.03
    for number, panel in enumerate(chosen):
        x = MARGIN + (number % columns) * (space + between)
        top = y if number == 0 or columns > 1 else bottom + 0.12
        paint = _attention if panel == "attention" else _rewriting
        bottom = max(bottom, paint(sheet, data, style.letter(number), x, top, space))
    sheet.finish(bottom + 0.03)


def _attention(sheet: Sheet, data: AttentionData, letter: str, x: float, y: float, space: float) -> float:
    style, count = sheet.style, len(data.photos)
    words = f"{style.name(data.title)}: how much each photo (row) reads from each photo (column)"
    y = sheet.heading(x, y, space, words, letter)
    cell = (space - 0.2) / (count + 1.15)
    left, top = x + 0.2 + 1.15 * cell, y + 1.15 * cell
    for number, photo in enumerate(data.photos):
        sheet.picture(left + number * cell + 0.02, y, cell - 0.04, cell, photo)
        sheet.picture(x + 0.2, top + number * cell + 0.01, cell, cell - 0.02, photo)
        words = "query" if number == 0 else str(number)
        middle = top + (number + 0.5) * cell
        sheet.text(x + 0.09, middle, words, style.tiny, ha="center", va="center", rotation=90 * (number == 0))
    _grid(sheet, data.attention, left, top, cell, cell, percent=True)
    end = top + count * cell + 0.08
    sheet.text(left - 0.05, end + 0.035, "0", style.small, ha="right", va="center")
    _bar(sheet, left, end, x + space - left, f"{100 * data.attention.max():.1f} % (numbers: percent)")
    return end + 0.16


def _bar(sheet: Sheet, x: float, y: float, space: float, words: str) -> None:
    """A small colour scale with the words at its upper end, together at most ``space`` inches wide."""
    width = min(1.2, 0.45 * space)
    sheet.image(x, y, width, 0.07, toned_colours(np.linspace(0, 1, 256)[None], 0, 1, sheet.style))
    sheet.text(x + width + 0.05, y + 0.035, words, sheet.style.small, va="center", fit=space - width - 0.05)


def _rewriting(sheet: Sheet, data: AttentionData, letter: str, x: float, y: float, space: float) -> float:
    style, (count, regions) = sheet.style, data.rewriting.shape
    y = sheet.heading(x, y, space, "How far each other photo moves each region of the query's description", letter)
    head = 0.2 + min(0.5, space / 8)
    cell = (space - head) / regions
    high = max(cell, min(1.3 * cell, 0.3))
    heads = ["token" if data.regions[0] == "class token" else "whole", *(f"{n}" for n in range(1, regions))]
    for number, name in enumerate(heads):
        centre = x + head + (number + 0.5) * cell
        sheet.text(centre, y, name, style.tiny, ha="center", fit=cell * (1.5 if number == 0 else 0.9))
    top, apart = y + sheet.line_height(style.tiny) + 0.02, 0.05
    for number in range(count):
        middle = top + (number + 0.5) * high + apart * (number > 0)
        words = "all" if number == 0 else str(number)
        sheet.text(x + 0.09, middle, words, style.tiny, ha="center", va="center")
        if number:
            sheet.picture(x + 0.18, middle - high / 2 + 0.01, head - 0.22, high - 0.02, data.photos[number])
    _grid(sheet, data.rewriting[:1], x + head, top, cell, high, percent=False)
    _grid(sheet, data.rewriting[1:], x + head, top + high + apart, cell, high, percent=False)
    end = top + count * high + apart + 0.08
    for words, values in (("all", data.rewriting[0]), ("1–" + str(count - 1), data.rewriting[1:])):
        sheet.text(
            x + head - 0.05,
            end + 0.035,
            f"row {words}: 0" if words == "all" else f"{words}: 0",
            style.tiny,
            ha="right",
            va="center",
            fit=head,
        )
        _bar(sheet, x + head, end, space - head, f"{values.max():.3f}")
        end += 0.14
    sheet.text(
        x + head, end, "regions 1–4: 2×2 cells, 5–13: 3×3 cells, row by row", style.tiny, colour=SOFT, fit=space - head
    )
    return end + sheet.line_height(style.tiny)


def _grid(sheet: Sheet, values: np.ndarray, x: float, y: float, width: float, height: float, percent: bool) -> None:
    """A matrix of coloured cells; numbers in them where they can be read."""
    high = max(float(values.max()), 1e-12)
    pixels = toned_colours(values, 0, high, sheet.style)
    rows, columns = values.shape
    sheet.image(x, y, columns * width, rows * height, pixels, smooth=False)
    for row in range(rows + 1):
        sheet.line([(x, y + row * height), (x + columns * width, y + row * height)], "white", 0.5)
    for column in range(columns + 1):
        sheet.line([(x + column * width, y), (x + column * width, y + rows * height)], "white", 0.5)
    if not percent or width < 0.19:
        return
    for row in range(rows):
        for column in range(columns):
            bright = float(pixels[row, column].astype(float) @ (0.299, 0.587, 0.114)) > 140
            sheet.text(
                x + (column + 0.5) * width,
                y + (row + 0.5) * height,
                f"{100 * values[row, column]:.1f}",
                sheet.style.tiny,
                ha="center",
                va="center",
                colour=INK if bright else "white",
                fit=width * 0.85,
            )


def attention_table(data: AttentionData) -> pd.DataFrame:
    """The plotted numbers of both panels."""
    names, columns = data.names, ["panel", "photo", "other", "region", "value"]
    read = [
        ("attention", names[i], names[j], None, float(data.attention[i, j]))
        for i in range(len(names))
        for j in range(len(names))
    ]
    moved = [
        ("rewriting", names[0], names[j] if j else "all other photos", region, float(data.rewriting[j, r]))
        for j in range(len(names))
        for r, region in enumerate(data.regions)
    ]
    return pd.DataFrame([*read, *moved], columns=columns)


def attention_caption(data: AttentionData, style: Style) -> str:
    """What both panels measure, with the protocol."""
    panels = enumerate(style.chosen([key for key, _ in ATTENTION_PANELS]))
    letters = {panel: f"({style.letter(n)}) " if style.letters else "" for n, panel in panels}
    parts = [
        f"A batch of {len(data.photos)} photos in {style.name(data.title)}; the query is {short_name(data.names[0])}."
    ]
    if "attention" in letters:
        parts.append(
            f"{letters['attention']}Attention with which each photo (row) reads each photo (column) when its "
            "region vectors are rewritten, mean over layers, regions and heads; rows sum to 1."
        )
    if "rewriting" in letters:
        parts.append(
            f"{letters['rewriting']}How far each other photo moves each of the 14 parts of the query's "
            "descriptor, measured by leaving it out; first row, on a scale of its own: all other photos "
            "against the query alone."
        )
    return " ".join([*parts, data.protocol])
