"""The Stability tab as HTML: the tray of the batch, what it did to both models' answers, and Figure 1 of the paper."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from app.core.model_slots import BASELINE
from app.core.records import Hit
from app.tabs.inside.service import CLASS_TOKEN
from app.tabs.stability.records import Reaction, Session
from app.tabs.stability.service import PairFigure
from app.ui.cards import cards_html, heading_html, verdict_html
from app.ui.html import VERDICTS, change_matrix, data_uri, described, escape, metres_words, thumbnail
from scicevpr.datasets import Photo
from scicevpr.models.regions import region_boxes

TILE = 150
REGIONS = (CLASS_TOKEN, *(region.name for region in region_boxes()[1:]))
WAITING = (
    '<section class="answer answer--waiting"><p class="verdict verdict--waiting">Pick a query above to see what the '
    "other photos of its batch do to this model's answer.</p></section>"
)


# ---- the tray: the query's batch in its orange frame, and the photos that can be dragged into it --------------------


def tray_html(session: Session, batch_mates: Sequence[int], pool: Sequence[int]) -> str:
    """Both zones. Tiles can be dragged, or clicked, or moved with Enter (see tray.js)."""
    queries = session.dataset.queries
    query = (
        f'<li class="tray__tile tray__tile--query"><img src="{data_uri(session.image, TILE)}" alt="" '
        f'draggable="false"><span>your query</span></li>'
    )
    inside = "".join(_tile(row, queries[row], True) for row in batch_mates)
    outside = "".join(_tile(row, queries[row], False) for row in pool if row not in set(batch_mates))
    count = len(batch_mates) + 1
    words = "alone in its batch" if count == 1 else f"in a batch of {count}"
    return (
        '<section class="tray"><div class="tray__zone tray__zone--batch" data-zone="batch" role="group" '
        'aria-label="The batch of your query"><h3>Described together: your query '
        f'{words}</h3><ol class="tray__tiles">{query}{inside}</ol>'
        '<p class="tray__hint">Drop photos here. Click one, or press Enter on it, to move it in or out.</p></div>'
        '<div class="tray__zone" data-zone="pool" role="group" aria-label="Photos that can join it">'
        f'<h3>Other photos of the query list</h3><ol class="tray__tiles">{outside}</ol></div></section>'
    )


def waiting_tray_html() -> str:
    """The tray before there is a query."""
    return (
        '<section class="tray"><div class="tray__zone tray__zone--batch tray__zone--waiting"><h3>The batch of your '
        "query</h3><p>Pick a query above. Then drag other photos into its batch and watch whose answer changes.</p>"
        "</div></section>"
    )


def _tile(row: int, photo: Photo, inside: bool) -> str:
    about = described(photo) or photo.name
    action = "take out of the batch" if inside else "put into the batch"
    source = thumbnail(photo.path, TILE)
    image = f'<img src="{source}" alt="" draggable="false">' if source else "<i>not readable</i>"
    return (
        f'<li class="tray__tile"><button type="button" draggable="true" data-row="{row}" '
        f'data-to="{"pool" if inside else "batch"}" aria-label="{escape(about)}: {action}" title="{escape(about)}">'
        f"{image}</button><span>{escape(photo.condition or '')}</span></li>"
    )


# ---- what the batch did ---------------------------------------------------------------------------------------------


def reaction_words(reaction: Reaction, batch_mates: int) -> tuple[str, str]:
    """A sentence about the change, and its mood: "same", "flip" or "alone"."""
    if batch_mates == 0 and reaction.role == BASELINE and reaction.alone[0].right is False:
        return "alone", (
            "Wrong alone. That says little about it: it was trained on batches of many photos and never on one. Add "
            "photos to its batch to see whether this answer changes."
        )
    if batch_mates == 0:
        return "alone", "Alone so far: add photos to its batch to see whether this answer changes."
    before, after = reaction.alone[0].right, reaction.now[0].right
    if not reaction.flip:
        return "same", "The first answer stays the same."
    if before is None:
        return "flip", "The first answer changed to another photo."
    if before == after:
        return "flip", f"The first answer changed to another photo ({VERDICTS[after]} before and after)."
    return "flip", f"The first answer changed: {VERDICTS[before]} alone, {VERDICTS[after]} in this batch."


def reaction_html(reaction: Reaction, batch_mates: int) -> str:
    """One model's column: verdict, answers alone and in the batch, numbers."""
    mood, words = reaction_words(reaction, batch_mates)
    sign = {"same": "=", "flip": "≠", "alone": "·"}[mood]
    rows = _answers("Alone", reaction.alone, reaction.title)
    if batch_mates:
        rows += _answers("In this batch", reaction.now, reaction.title)
    flips = int(reaction.draws["flip"].sum()) if len(reaction.draws) else 0
    numbers = (
        f"cosine to alone {reaction.cosine:.6f} · rank correlation of the top 10 {reaction.correlation:.3f} · first "
        f"answer changed in {flips} of {len(reaction.draws)} random batches"
    )
    return (
        f'<section class="answer reaction reaction--{mood}" aria-label="{escape(reaction.title)}" data-flip="{mood}">'
        f"{heading_html(reaction.role, reaction.title)}{verdict_html(mood, sign, words, 'reaction__verdict')}"
        f'{rows}<p class="times">{escape(numbers)}</p></section>'
    )


def why_html(reaction: Reaction, batch_mates: Sequence[Photo]) -> str:
    """Which photo of the batch rewrote which region of the query's descriptor; empty when it is alone."""
    if reaction.rewriting is None:
        return ""
    pictures = [None, *(thumbnail(mate.path, 120) for mate in batch_mates)]
    table, words = change_matrix(reaction.rewriting, pictures, REGIONS)
    title = f"Why: who rewrote which region of the description by {reaction.title}"
    return (
        f'<section class="why"><h4 class="reaction__title">{escape(title)}</h4>'
        f'<div class="matrix__scroll batch">{table}</div><p class="stage__numbers">{escape(words)}</p></section>'
    )


def _answers(title: str, hits: Sequence[Hit], model: str) -> str:
    return f'<h4 class="reaction__title">{escape(title)}</h4>{cards_html(hits, model, "cards--small")}'


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
    verdict = VERDICTS[bool(entry["right"])]
    words = f"{verdict}, {metres_words(float(entry['metres']))}"
    return (
        f'<figure class="pairs__one"><img src="{thumbnail(query.path, 200)}" alt="query, {escape(described(query))}">'
        f'<img class="pairs__answer pairs__answer--{verdict}" src="{thumbnail(answer.path, 200)}" '
        f'alt="answer, {escape(words)}"><figcaption>{escape(words)}</figcaption></figure>'
    )
