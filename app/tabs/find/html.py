"""The Find tab as HTML: the batch that the baseline saw, each model's answer, the map, and the protocol."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from app.core.model_slots import BASELINE, STABLE, THIRD
from app.core.records import Answer, Found
from app.tabs.find.scale import scale_html
from app.ui.cards import cards_html, heading_html, hit_words, verdict_html
from app.ui.html import (
    counted,
    data_uri,
    described,
    escape,
    picture,
    protocol_rows,
    table_html,
    thumbnail,
    waiting_panel,
)
from scicevpr.figures.screen import MapSeries, match_map

SIGNS = {"right": "✓", "late": "↓", "wrong": "✕", "unknown": "?"}
SYMBOLS = {STABLE: "circle-open", BASELINE: "square-open", THIRD: "diamond-open"}
TILE = 200


def legend_html(rule: str) -> str:
    """What the frames mean. rule: the data set's, such as "25 m"."""
    entries = (
        ("right", "✓", f"right: shows the place of your photo ({rule})"),
        ("wrong", "✕", "wrong: shows another place"),
        ("neutral", "", "no verdict: your photo's position is unknown"),
        ("batch", "", "one batch: photos described together"),
    )
    items = "".join(
        f'<li><span class="legend__frame legend__frame--{kind}" aria-hidden="true">{sign}</span>{escape(text)}</li>'
        for kind, sign, text in entries
    )
    return f'<ul class="legend" aria-label="What the frames mean">{items}</ul>'


# ---- the batch, in the orange frame that means "these photos shared one batch" --------------------------------------


def strip_html(found: Found) -> str:
    """The query and the other photos of its batch as a row of thumbnails, and what they did."""
    query = picture(data_uri(found.query, TILE), "your query", f"Your query. {found.query_photo.name}")
    tiles = [f'<li class="tile tile--query">{query}<span>your query</span></li>']
    for number, mate in enumerate(found.batch_mates, 1):
        name, about = f"photo {number} of the batch", described(mate)
        photo = picture(thumbnail(mate.path, TILE), f"{name}, {about}", f"{name.capitalize()}: {about}. {mate.name}")
        tiles.append(f'<li class="tile">{photo}<span>{escape(mate.condition or f"photo {number}")}</span></li>')
    photos = f'<ol class="batch__photos">{"".join(tiles)}</ol>'
    return _strip(f"The batch {found.baseline.title} saw", batch_sentence(found), photos)


def batch_sentence(found: Found) -> str:
    """What the baseline's batch was and what it did, in plain words."""
    baseline, stable = found.baseline.title, found.stable.title
    if not found.batch_mates:
        return (
            f"Alone: {baseline} had no other photo to compare yours with. Put others into its batch and its answer may "
            f"change; {stable}'s cannot."
        )
    return (
        f"Your photo and {counted(len(found.batch_mates), 'other photo')} of the query list went through {baseline} "
        f"together. That turned its description of your photo: cosine {found.cosine_to_alone:.3f} to the one made "
        f"alone (1.000 would be no change). {stable} described it alone."
    )


def waiting_strip_html() -> str:
    """The strip before the first search."""
    words = (
        "CricaVPR describes photos in batches, and the photos of a batch influence each other. The ones it saw "
        "together with yours will stand in this orange frame."
    )
    ghost = '<ol class="batch__photos" aria-hidden="true"><li class="tile"><div class="photo"></div></li></ol>'
    return _strip("The batch the baseline saw", words, ghost, "batch--waiting")


def _strip(title: str, words: str, photos: str, kind: str = "") -> str:
    return (
        f'<section class="batch {kind}" aria-label="The batch the baseline saw"><div class="batch__text">'
        f"<h3>{escape(title)}</h3><p>{escape(words)}</p></div>{photos}</section>"
    )


# ---- the answers ----------------------------------------------------------------------------------------------------


def answer_html(answer: Answer) -> str:
    """A model's whole column."""
    mood, sentence = answer.verdict()
    searched = f" · searched in {answer.search_ms:.1f} ms" if answer.hits else ""
    untrained = "" if answer.trained else '<span class="pill pill--alarm">untrained weights</span>'
    return (
        f'<section class="answer answer--{escape(answer.role)}" data-compare aria-label="{escape(answer.title)}">'
        f"{heading_html(answer.role, answer.title, untrained)}{verdict_html(mood, SIGNS[mood], sentence)}"
        f"{cards_html(answer.hits, answer.title, large_first=True, why=answer.role if answer.role != THIRD else '')}"
        f"{scale_html(answer)}"
        f'<p class="times">{counted(answer.encoded, "photo")} described in {answer.describe_ms:.0f} ms{searched}</p>'
        "</section>"
    )


def waiting_html(role: str, title: str) -> str:
    """A column before the first search: the same shape, without content, so that nothing jumps later."""
    cards = "".join(
        f'<li class="card card--ghost{" card--first" if rank == 1 else ""}"><div class="photo"></div></li>'
        for rank in range(1, 6)
    )
    return (
        f'<section class="answer answer--{escape(role)} answer--waiting">{heading_html(role, title)}'
        '<p class="verdict verdict--waiting">Pick a photo above to see where this model places it.</p>'
        f'<ol class="cards" aria-hidden="true">{cards}</ol></section>'
    )


def protocol_html(answers: Sequence[Answer]) -> str:
    """The protocol of the answers as a table: what agrees is written once."""
    protocols = [answer.protocol for answer in answers if answer.protocol]
    if not protocols:
        return waiting_panel("The protocol of the search will stand here.")
    return table_html("Protocol", (), protocol_rows(protocols))


def found_map(found: Found) -> go.Figure | None:
    """Query and matches on the map; None when the database's positions cannot be drawn."""
    if found.positions is None:
        return None
    series = [
        MapSeries(
            title=answer.title,
            utm=np.array([hit.photo.utm for hit in answer.hits]),
            right=[hit.right for hit in answer.hits],
            symbol=SYMBOLS[answer.role],
            notes=[escape(hit_words(hit, answer.title)) for hit in answer.hits],
        )
        for answer in found.answers
        if answer.hits
    ]
    query = None if found.position is None else (found.position.east, found.position.north)
    return match_map(found.positions, series, query, found.radius)
