"""What company did to both models' answers, side by side; and Figure 1 of the paper."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from app.components.cards import SUBTITLES, card_html, metres_words
from app.components.matrix import rewriting_html
from app.components.pictures import described, escape, thumbnail
from app.lab_records import PairFigure, Reaction
from app.records import Hit
from scicevpr.datasets import Photo
from scicevpr.models.regions import region_boxes

REGIONS = ("class token", *(region.name for region in region_boxes()[1:]))
VERDICTS = {True: "right", False: "wrong", None: "unknown"}


def reaction_words(reaction: Reaction, companions: int) -> tuple[str, str]:
    """A sentence about the change, and its mood: "same", "flip" or "alone"."""
    if companions == 0:
        return "alone", "Alone so far: add photos to its batch to see whether this answer changes."
    before, after = reaction.alone[0].right, reaction.now[0].right
    if not reaction.flip:
        return "same", "The first answer stays the same."
    if before is None:
        return "flip", "The first answer changed to another photo."
    if before == after:
        return "flip", f"The first answer changed to another photo ({VERDICTS[after]} before and after)."
    return "flip", f"The first answer changed: {VERDICTS[before]} alone, {VERDICTS[after]} in this company."


def reaction_html(reaction: Reaction, companions: int) -> str:
    """One model's column: verdict, answers alone and in company, numbers."""
    mood, words = reaction_words(reaction, companions)
    sign = {"same": "=", "flip": "≠", "alone": "·"}[mood]
    rows = _answers("Alone", reaction.alone, reaction.title)
    if companions:
        rows += _answers("In this company", reaction.now, reaction.title)
    flips = int(reaction.draws["flip"].sum()) if len(reaction.draws) else 0
    numbers = (
        f"cosine to alone {reaction.cosine:.6f} · rank correlation of the top 10 {reaction.correlation:.3f} · first "
        f"answer changed in {flips} of {len(reaction.draws)} random companies"
    )
    return (
        f'<section class="answer reaction reaction--{mood}" aria-label="{escape(reaction.title)}" data-flip="{mood}">'
        f'<header class="answer__head"><h3>{escape(reaction.title)}</h3>'
        f'<p class="answer__sub">{escape(SUBTITLES.get(reaction.role, ""))}</p></header>'
        '<p class="verdict reaction__verdict" role="status">'
        f'<span class="verdict__sign" aria-hidden="true">{sign}</span>'
        f'{escape(words)}</p>{rows}<p class="times">{escape(numbers)}</p></section>'
    )


def why_html(reaction: Reaction, batch_mates: Sequence[Photo]) -> str:
    """Which companion rewrote which region of the query's descriptor; empty without company."""
    if reaction.rewriting is None:
        return ""
    pictures = [None, *(thumbnail(place.path, 120) for place in batch_mates)]
    table, words = rewriting_html(reaction.rewriting, pictures, REGIONS)
    title = f"Why: who rewrote which region of the description by {reaction.title}"
    return (
        f'<section class="why"><h4 class="reaction__title">{escape(title)}</h4>'
        f'<div class="matrix__scroll batch">{table}</div><p class="stage__numbers">{escape(words)}</p></section>'
    )


def _answers(title: str, hits: Sequence[Hit], model: str) -> str:
    cards = "".join(card_html(hit, model).replace(" card--first", "") for hit in hits)
    return f'<h4 class="reaction__title">{escape(title)}</h4><ol class="cards cards--small">{cards}</ol>'


def pair_figure_html(figure: PairFigure) -> str:
    """Figure 1: one block a pair; queries alone and in an orange pair, each model's first answer framed."""
    blocks = ""
    for start in range(0, len(figure.chosen), 2):
        pair = figure.chosen[start : start + 2]
        cells = "".join(_pair_row(figure, model, pair) for model in figure.table["model"].unique())
        blocks += f'<div class="pairs__block">{cells}</div>'
    numbers = figure.statistics
    caption = (
        f"The same queries alone and in a batch of two (orange frame), with the photo at rank 1; green is right "
        f"({figure.dataset.truth.label()}), red wrong. Database {figure.key}; cross-image models describe it in "
        f"sequential batches of 2. The pairs were searched for: of {numbers['pairs']:.0f} random pairs "
        f"{numbers['changed']:.1f} % change an answer of the baseline, {numbers['lost']:.1f} % turn a right one wrong. "
        "After Figure 1 of the SciceVPR paper (arXiv 2502.20676)."
    )
    return f'<section class="pairs">{blocks}<p class="times">{escape(caption)}</p></section>'


def _pair_row(figure: PairFigure, model: str, pair: Sequence[int]) -> str:
    table = figure.table[figure.table["model"] == model]
    alone = "".join(f'<div class="pairs__batch">{_query_and_answer(figure, table, row, "alone")}</div>' for row in pair)
    together = "".join(_query_and_answer(figure, table, row, "pair") for row in pair)
    return (
        f'<div class="pairs__row"><h4>{escape(model)}</h4><div class="pairs__line">{alone}'
        f'<div class="pairs__batch pairs__batch--two">{together}</div></div></div>'
    )


def _query_and_answer(figure: PairFigure, table: pd.DataFrame, row: int, batch: str) -> str:
    entry = table[(table["query"] == row) & (table["batch"] == batch)].iloc[0]
    query, answer = figure.dataset.queries[row], figure.dataset.database[int(entry["first"])]
    verdict = "right" if entry["right"] else "wrong"
    words = f"{verdict}, {metres_words(float(entry['metres']))}"
    return (
        f'<figure class="pairs__one"><img src="{thumbnail(query.path, 200)}" alt="query, {escape(described(query))}">'
        f'<img class="pairs__answer pairs__answer--{verdict}" src="{thumbnail(answer.path, 200)}" '
        f'alt="answer, {escape(words)}"><figcaption>{escape(words)}</figcaption></figure>'
    )
