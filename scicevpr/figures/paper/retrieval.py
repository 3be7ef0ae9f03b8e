"""Figures of answers: a retrieval strip, and Figure 1 of the SciceVPR paper."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure
from PIL import Image

from scicevpr.datasets import Dataset
from scicevpr.datasets.zones import metres_apart
from scicevpr.errors import UsageError
from scicevpr.evaluation.batch_effects import StabilitySetup
from scicevpr.evaluation.batch_mates import PAIR_DATABASE, pair_statistics, paired_queries, telling_pairs
from scicevpr.figures.paper.sheet import GAP, MARGIN, SOFT, Sheet, aspect_of
from scicevpr.figures.paper.style import Style
from scicevpr.figures.paper.subjects import (
    Described,
    Subject,
    data_sentence,
    grouped,
    model_sentences,
    photo_of,
    right_rows,
    short_name,
)

MOST_ANSWERS = 10
FRAMES = "frames: green with a tick, a right answer; orange-red with a cross, a wrong one"
GREY_FRAMES = "frames: black with a tick, a right answer; grey with a cross, a wrong one"


def frames(style: Style) -> str:
    """What the frames mean, for a caption."""
    return GREY_FRAMES if style.grey else FRAMES


def metres_text(metres: float | None) -> str:
    """A distance as it stands below a photo."""
    if metres is None:
        return ""
    return f"{metres:.0f} m" if metres < 10_000 else f"{metres / 1000:.0f} km"


# ---- retrieval strip -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Answer:
    """One database photo in an answer. photo: None when it is not here; metres, right: None when unknown."""

    photo: Image.Image | None
    name: str
    similarity: float
    metres: float | None
    right: bool | None


@dataclass(frozen=True)
class StripData:
    """A query and what each model answers: rows of (title, answers)."""

    query: Image.Image
    query_name: str
    rows: tuple[tuple[str, tuple[Answer, ...]], ...]
    protocol: str


def strip_data(subject: Subject, dataset: Dataset, models: Sequence[Described], top: int = 5) -> StripData:
    """The best ``top`` (1..10) answers of each model to a photo that is described alone."""
    if not 1 <= top <= MOST_ANSWERS:
        raise UsageError(f"A strip shows 1 to {MOST_ANSWERS} answers, not {top}.")
    right = right_rows(dataset, subject)
    rows = []
    for entry in models:
        found = entry.index.search(entry.query(subject.image)[None], min(top, len(dataset.database)))
        answers = []
        for row, similarity in zip(found.indices[0].tolist(), found.similarities[0].tolist(), strict=True):
            photo = dataset.database[row]
            metres = metres_apart(subject.utm, photo.utm if dataset.use_labels else None)
            is_right = None if right is None else row in right
            answers.append(Answer(photo_of(photo), photo.name, similarity, metres, is_right))
        rows.append((entry.title, tuple(answers)))
    parts = [(e.title, e.model, f"query alone, database {grouped(e.model, e.descriptors.grouping)}") for e in models]
    protocol = f"{data_sentence(dataset)} {model_sentences(parts, models[0].preprocessing)}"
    return StripData(subject.image, subject.name, tuple(rows), protocol)


def paint_strip(figure: Figure, data: StripData, style: Style, vector: bool) -> None:
    """The query on the left, a row of answers for each model."""
    sheet = Sheet(figure, style, vector)
    columns = 1 + max(len(answers) for _, answers in data.rows)
    step = (sheet.width - 2 * MARGIN + GAP) / columns
    tile, high = step - GAP, (step - GAP) * aspect_of(data.query)
    left = MARGIN + step
    y, tops = 0.03, []
    for number, (title, answers) in enumerate(data.rows):
        y = sheet.heading(left, y, sheet.width - MARGIN - left, style.name(title), style.letter(number), bold=True)
        tops.append(y)
        for rank, answer in enumerate(answers):
            x = left + rank * step
            sheet.picture(x, y, tile, high, answer.photo, answer.right)
            _below(sheet, x, y + high, tile, answer)
        y += high + 0.03 + 2 * sheet.line_height(style.small) + 0.05
    middle = (tops[0] + tops[-1]) / 2
    sheet.text(MARGIN + tile / 2, middle - 0.03, "query", va="bottom", ha="center", bold=True, fit=tile)
    sheet.picture(MARGIN, middle, tile, high, data.query, framed=True)
    sheet.finish(y)


def _below(sheet: Sheet, x: float, y: float, width: float, answer: Answer) -> None:
    size, centre = sheet.style.small, x + width / 2
    sheet.text(centre, y + 0.03, f"{answer.similarity:.3f}", size, ha="center", fit=width)
    words = metres_text(answer.metres)
    sheet.text(centre, y + 0.03 + sheet.line_height(size), words, size, ha="center", fit=width, colour=SOFT)


def strip_table(data: StripData) -> pd.DataFrame:
    """The plotted numbers."""
    return pd.DataFrame(
        {
            "model": title,
            "query": data.query_name,
            "rank": rank,
            "photo": answer.name,
            "similarity": answer.similarity,
            "metres": answer.metres,
            "right": answer.right,
        }
        for title, answers in data.rows
        for rank, answer in enumerate(answers, 1)
    )


def strip_caption(data: StripData, style: Style) -> str:
    """What the strip shows, with its protocol."""
    count = max(len(answers) for _, answers in data.rows)
    judged = any(answer.right is not None for _, answers in data.rows for answer in answers)
    return (
        f"A query and the {count} most similar database photos of each model, best first; below each its similarity "
        f"(cosine) and its distance in metres where it is known{'; ' + frames(style) if judged else ''}. Query "
        f"{short_name(data.query_name)}. {data.protocol}"
    )


# ---- Figure 1 --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PairData:
    """Figure 1 of the paper. table: rows of `scicevpr.evaluation.batch_mates.paired_queries` of several models.

    chosen: query rows, two a pair. queries, answers: photos by row (None: not here). names: of both, by row.
    """

    table: pd.DataFrame
    chosen: tuple[int, ...]
    queries: dict[int, Image.Image | None]
    answers: dict[int, Image.Image | None]
    query_names: dict[int, str]
    answer_names: dict[int, str]
    statistics: dict[str, float]
    searched_for: str
    protocol: str


def pair_data(setups: Sequence[tuple[str, StabilitySetup]], pairs: int = 2, seed: int = 0) -> PairData:
    """Figure 1 for setups (title, setup); the pairs are searched for with the first cross-image model. UsageError: no
    such model, no labels, or no pair that changes an answer."""
    baseline = next(((title, setup) for title, setup in setups if setup.model.variant.cross_image), None)
    if baseline is None:
        raise UsageError("Figure 1 needs a model whose answers depend on the batch, such as cricavpr-t.")
    dataset = setups[0][1].dataset
    if not dataset.labelled:
        raise UsageError("Right and wrong need positions: this data set has photos without one in their names.")
    chosen = telling_pairs(baseline[1], pairs, seed)
    if not chosen:
        raise UsageError(f"No pair of queries was found that changes an answer of {baseline[0]}.")
    table = pd.concat([paired_queries(setup, chosen).assign(model=title) for title, setup in setups], ignore_index=True)
    firsts = sorted({int(row) for row in table["first"]})
    database = f"sequential {PAIR_DATABASE.size}"
    parts = [(title, setup.model, f"database described {grouped(setup.model, database)}") for title, setup in setups]
    return PairData(
        table=table,
        chosen=tuple(chosen),
        queries={row: photo_of(dataset.queries[row]) for row in chosen},
        answers={row: photo_of(dataset.database[row]) for row in firsts},
        query_names={row: dataset.queries[row].name for row in chosen},
        answer_names={row: dataset.database[row].name for row in firsts},
        statistics=pair_statistics(baseline[1], seed),
        searched_for=baseline[0],
        protocol=f"{data_sentence(dataset)} {model_sentences(parts)}",
    )


def paint_pairs(figure: Figure, data: PairData, style: Style, vector: bool) -> None:
    """For each pair and model: both queries alone, and both in one batch (framed), each with its first answer."""
    sheet = Sheet(figure, style, vector)
    models = list(data.table["model"].unique())
    halves = 2 if style.double else 1
    between = 0.24 if style.double else 0.12
    space = (sheet.width - 2 * MARGIN - between * (halves - 1)) / halves
    pad = 0.055
    tile = (space - 2 * pad - 3 * GAP - 0.06) / 4
    high = tile * aspect_of(data.queries[data.chosen[0]])
    y, number = 0.03, 0
    for start in range(0, len(data.chosen), 2):
        pair = data.chosen[start : start + 2]
        for model in models:
            y = sheet.heading(MARGIN, y, sheet.width - 2 * MARGIN, style.name(model), style.letter(number), bold=True)
            number += 1
            table, bottom = data.table[data.table["model"] == model], y
            for half, batch in enumerate(("alone", "pair")):
                x = MARGIN + (space + between) * (half if halves == 2 else 0)
                top = y if halves == 2 or half == 0 else bottom + 0.04
                bottom = _pair_line(sheet, data, table, pair, batch, x, top, space, tile, high, pad)
            y = bottom + 0.07
        y += 0.08
    sheet.finish(y - 0.08)


def _pair_line(
    sheet: Sheet,
    data: PairData,
    table: pd.DataFrame,
    pair: tuple[int, ...],
    batch: str,
    x: float,
    y: float,
    space: float,
    tile: float,
    high: float,
    pad: float,
) -> float:
    """Two queries and their first answers; returns where the line ends."""
    style, size = sheet.style, sheet.style.small
    words = "each query alone" if batch == "alone" else "both queries in one batch"
    sheet.text(x + pad, y, words, size, colour=SOFT, fit=space)
    top = y + sheet.line_height(size) + 0.05
    bottom = top + high + 0.03 + sheet.line_height(size)
    for position, row in enumerate(pair):
        entry = table[(table["query"] == row) & (table["batch"] == batch)].iloc[0]
        left = x + pad + position * (2 * tile + 2 * GAP + 0.06)
        right = None if entry["right"] is None else bool(entry["right"])
        metres = None if pd.isna(entry["metres"]) else float(entry["metres"])
        sheet.picture(left, top, tile, high, data.queries[row], framed=True)
        sheet.picture(left + tile + GAP, top, tile, high, data.answers[int(entry["first"])], right)
        sheet.text(left + tile / 2, top + high + 0.03, "query", size, ha="center", fit=tile, colour=SOFT)
        sheet.text(left + 1.5 * tile + GAP, top + high + 0.03, metres_text(metres), size, ha="center", fit=tile)
        if batch == "alone":
            sheet.box(left - pad * 0.7, top - pad * 0.7, 2 * tile + GAP + 1.4 * pad, bottom - top + pad, SOFT, 0.5)
    if batch == "pair":
        sheet.box(x + pad * 0.3, top - pad * 0.7, space - 0.6 * pad, bottom - top + pad, style.batch, 1.8)
    return bottom + pad


def pair_table(data: PairData) -> pd.DataFrame:
    """The plotted numbers, photos by name."""
    table = data.table.copy()
    names = data.query_names
    table["query"] = [names[int(row)] for row in data.table["query"]]
    table["partner"] = [None if pd.isna(row) else names[int(row)] for row in data.table["partner"]]
    table["first"] = [data.answer_names[int(row)] for row in data.table["first"]]
    return table


def pair_caption(data: PairData, style: Style) -> str:
    """What the figure shows, how the pairs were found, and the protocol."""
    numbers, colour = data.statistics, "grey" if style.grey else "orange"
    return (
        f"The same queries alone and in a batch of two ({colour} frame), each with the database photo at rank 1 and "
        f"its distance; {frames(style)}. The pairs were searched for: of {numbers['pairs']:.0f} random pairs "
        f"{numbers['changed']:.1f} % change an answer of {data.searched_for}, {numbers['lost']:.1f} % turn a right one "
        f"wrong. {data.protocol} After Figure 1 of the SciceVPR paper (arXiv 2502.20676)."
    )
