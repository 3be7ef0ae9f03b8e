"""Answers as cards: framed photos with rank, similarity and metres, under what kind of model gave them."""

from __future__ import annotations

from collections.abc import Sequence

from app.core.model_slots import BASELINE, STABLE, THIRD
from app.core.records import Hit
from app.ui.html import described, escape, metres_words, picture, thumbnail

SUBTITLES = {
    STABLE: "looks at your photo alone: same answer in any batch",
    BASELINE: "compares the photos of a batch: the others can change its answer",
    THIRD: "another model on the same database",
}
SIGNS = {True: ("right", "✓"), False: ("wrong", "✕"), None: ("neutral", "")}


def hit_words(hit: Hit, title: str) -> str:
    """A match in one plain sentence, for alternative texts and for the map."""
    parts = [f"{title}, rank {hit.rank}", f"similarity {hit.similarity:.3f}"]
    if hit.metres is not None:
        parts.append(f"{metres_words(hit.metres)} from the query")
    if hit.right is not None:
        parts.append("right" if hit.right else "wrong")
    about = described(hit.photo)
    return ", ".join(parts) + (f" ({about})" if about else "")


def card_html(hit: Hit, title: str, large: bool = False, why: str = "") -> str:
    """One match: framed photo with rank and verdict signs; below it cosine and metres. large: twice as wide. why:
    the model's role, for a button that asks why this is a match."""
    verdict, sign = SIGNS[hit.right]
    badges = f'<span class="badge badge--rank">{hit.rank}</span>'
    if sign:
        badges += f'<span class="badge badge--verdict" aria-hidden="true">{sign}</span>'
    words = hit_words(hit, title)
    photo = picture(thumbnail(hit.photo.path), words, f"{words}. {hit.photo.name}", badges)
    distance = metres_words(hit.metres)
    cosine = "cosine" if large else '<abbr title="cosine similarity">cos</abbr>'
    numbers = f'<span>{cosine} <span class="card__similarity">{hit.similarity:.3f}</span></span>'
    numbers += f'<span class="card__metres">{distance}</span>' if distance else ""
    size = " card--first" if large else ""
    button = ""
    if why:
        ask = "Why this match?" if large else "Why?"
        button = (
            f'<button type="button" class="card__why" data-why="{escape(why)}" data-rank="{hit.rank}" '
            f'aria-label="{ask} {escape(title)}, rank {hit.rank}">{ask}</button>'
        )
    return (
        f'<li class="card card--{verdict}{size}" data-rank="{hit.rank}" data-verdict="{verdict}">{photo}'
        f'<div class="card__facts">{numbers}</div><div class="card__about">{escape(described(hit.photo))}</div>'
        f"{button}</li>"
    )


def cards_html(hits: Sequence[Hit], title: str, kind: str = "", large_first: bool = False, why: str = "") -> str:
    """The matches of a model, best first. why: as `card_html`."""
    cards = "".join(card_html(hit, title, large_first and hit.rank == 1, why) for hit in hits)
    return f'<ol class="cards {kind}">{cards}</ol>'


def heading_html(role: str, title: str, extra: str = "") -> str:
    """A column's title and what kind of model it is."""
    return (
        f'<header class="answer__head"><h3>{escape(title)} {extra}</h3>'
        f'<p class="answer__sub">{escape(SUBTITLES.get(role, ""))}</p></header>'
    )


def verdict_html(mood: str, sign: str, sentence: str, kind: str = "") -> str:
    """The verdict line of a column."""
    return (
        f'<p class="verdict verdict--{mood} {kind}" role="status"><span class="verdict__sign" aria-hidden="true">{sign}'
        f"</span>{escape(sentence)}</p>"
    )
