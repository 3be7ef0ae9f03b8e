"""One model's answer: verdict, framed photos, times and protocol."""

from __future__ import annotations

from app.components.pictures import described, escape, picture, thumbnail
from app.records import Answer, Hit
from app.rooms import BASELINE, STABLE, THIRD

SUBTITLES = {
    STABLE: "looks at your photo alone: same answer in any company",
    BASELINE: "compares the photos of a batch: company can change its answer",
    THIRD: "another model on the same database",
}
SIGNS = {True: ("right", "✓"), False: ("wrong", "✕"), None: ("neutral", "")}
MOOD_SIGNS = {"right": "✓", "late": "↓", "wrong": "✕", "unknown": "?"}


def metres_words(metres: float | None) -> str:
    """A distance for a caption: "6 m", "1.2 km", or nothing."""
    if metres is None:
        return ""
    return f"{metres:.0f} m" if metres < 1000 else f"{metres / 1000:,.1f} km"


def hit_words(hit: Hit, title: str) -> str:
    """A match in one plain sentence, for alternative texts and for the map."""
    parts = [f"{title}, rank {hit.rank}", f"similarity {hit.similarity:.3f}"]
    if hit.metres is not None:
        parts.append(f"{metres_words(hit.metres)} from the query")
    if hit.right is not None:
        parts.append("right" if hit.right else "wrong")
    about = described(hit.place)
    return ", ".join(parts) + (f" ({about})" if about else "")


def card_html(hit: Hit, title: str) -> str:
    """One match: framed photo with rank and verdict signs; below it similarity and metres."""
    verdict, sign = SIGNS[hit.right]
    badges = f'<span class="badge badge--rank">{hit.rank}</span>'
    if sign:
        badges += f'<span class="badge badge--verdict" aria-hidden="true">{sign}</span>'
    words = hit_words(hit, title)
    photo = picture(thumbnail(hit.place.path), words, f"{words}. {hit.place.name}", badges)
    distance = metres_words(hit.metres)
    facts = f'<span class="card__similarity" title="cosine similarity">{hit.similarity:.3f}</span>'
    facts += f'<span class="card__metres">{distance}</span>' if distance else ""
    about = described(hit.place)
    size = " card--first" if hit.rank == 1 else ""
    return (
        f'<li class="card card--{verdict}{size}" data-rank="{hit.rank}" data-verdict="{verdict}">{photo}'
        f'<div class="card__facts">{facts}</div><div class="card__about">{escape(about)}</div></li>'
    )


def answer_html(answer: Answer) -> str:
    """A model's whole column."""
    mood, sentence = answer.verdict()
    cards = "".join(card_html(hit, answer.title) for hit in answer.hits)
    searched = f" · searched in {answer.search_ms:.1f} ms" if answer.hits else ""
    photos = "1 photo" if answer.described == 1 else f"{answer.described} photos"
    untrained = "" if answer.trained else '<span class="pill pill--alarm">untrained weights</span>'
    return (
        f'<section class="answer answer--{escape(answer.role)}" aria-label="{escape(answer.title)}">'
        f"{heading_html(answer.role, answer.title, untrained)}"
        f'<p class="verdict verdict--{mood}" role="status"><span class="verdict__sign" aria-hidden="true">'
        f"{MOOD_SIGNS[mood]}</span>{escape(sentence)}</p>"
        f'<ol class="cards">{cards}</ol>'
        f'<p class="times">{photos} described in {answer.describe_ms:.0f} ms{searched}</p>'
        "</section>"
    )


def heading_html(role: str, title: str, extra: str = "") -> str:
    """A column's title and what kind of model it is."""
    return (
        f'<header class="answer__head"><h3>{escape(title)} {extra}</h3>'
        f'<p class="answer__sub">{escape(SUBTITLES.get(role, ""))}</p></header>'
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


def protocol_html(answers: tuple[Answer, ...]) -> str:
    """The protocol of the answers as a table: what agrees is written once."""
    answers = tuple(answer for answer in answers if answer.protocol)
    if not answers:
        return '<section class="protocol protocol--waiting">The protocol of the search will stand here.</section>'
    rows = []
    for key in answers[0].protocol:
        values = [answer.protocol[key] for answer in answers]
        if len(set(values)) == 1:
            cells = f'<td colspan="{len(values)}">{escape(values[0])}</td>'
        else:
            cells = "".join(f"<td>{escape(value)}</td>" for value in values)
        rows.append(f'<tr><th scope="row">{escape(key)}</th>{cells}</tr>')
    return (
        '<section class="protocol" aria-label="Protocol">'
        f'<div class="protocol__scroll"><table>{"".join(rows)}</table></div></section>'
    )
