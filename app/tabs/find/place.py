"""The answer in one sentence: where the photo was most likely taken, how sure the model is, and what the others say."""

from __future__ import annotations

from collections.abc import Sequence

from app.core.records import Answer, Found, Hit
from app.ui.html import Markup, data_uri, escape, metres_words
from scicevpr.datasets import Photo
from scicevpr.datasets.zones import degrees_of, metres_between

QUERY_SIZE = 640
KNOWN_FROM = {"file name": "by its file name", "GPS": "by its camera's GPS", "entered": "as entered"}
MAP = "https://www.openstreetmap.org/?mlat={0:.5f}&mlon={1:.5f}#map=18/{0:.5f}/{1:.5f}"


def place_html(found: Found) -> str:
    """The sentence at the head of the results, and the query for the large view (hidden)."""
    answer = leading(found)
    parts = answer_parts(found, answer)
    words = " ".join(part if isinstance(part, Markup) else escape(part) for part in parts)
    query = f'<img hidden data-query src="{data_uri(found.query, QUERY_SIZE)}" alt="your photo">'
    mood = "unknown" if answer is None else answer.verdict()[0]
    return f'<section class="place place--{mood}" role="status" aria-label="The answer"><p>{words}</p>{query}</section>'


def waiting_place_html() -> str:
    """Before the first search: nothing, but the place of it."""
    return '<section class="place place--waiting" role="status" aria-label="The answer"></section>'


def leading(found: Found) -> Answer | None:
    """The answer that the sentence speaks of: SciceVPR's, or the first one that has matches."""
    return next((answer for answer in found.answers if answer.hits), None)


def answer_parts(found: Found, answer: Answer | None) -> list[str]:
    """The parts of the sentence, in order; whoever has more to say appends a part. Markup is left as it is."""
    if answer is None:
        return [answer_.problem for answer_ in found.answers[:1]]
    best = answer.hits[0]
    return [
        part
        for part in (
            where_words(best, found.drawn),
            judged_words(found, answer),
            lead_words(answer),
            agreement_words(best, [other for other in found.answers if other is not answer and other.hits], found),
        )
        if part
    ]


def where_words(best: Hit, drawn: bool) -> Markup:
    """The place of the best match: degrees and metres, with a link to a map where the position is real."""
    photo = best.photo
    if photo.utm is None or photo.mock_position:
        return Markup(
            f"<strong>Most likely here:</strong> the place of {escape(photo.name)} (its position is unknown)."
        )
    text, link = position_text(photo), ""
    degrees = degrees_of(photo)
    if drawn:
        link = " in a drawn city that exists nowhere"
    elif degrees is not None:
        address = escape(MAP.format(*degrees))
        link = f' (<a href="{address}" target="_blank" rel="noopener noreferrer">on OpenStreetMap</a>)'
    return Markup(f"<strong>Most likely here:</strong> {escape(text)}{link}.")


def position_text(photo: Photo) -> str:
    """A position in degrees and metres, as far as both are known."""
    if photo.utm is None:
        return ""
    east, north = photo.utm
    metres = f"{east:,.0f} m E, {north:,.0f} m N" + (f" (zone {photo.zone})" if photo.zone else "")
    degrees = degrees_of(photo)
    return metres if degrees is None else f"{degrees[0]:.5f}, {degrees[1]:.5f} · {metres}"


def lead_words(answer: Answer) -> str:
    """By how much rank 1 leads the best photo of another place."""
    if answer.lead is None:
        return ""
    return f"{answer.title}'s rank 1 leads the best other place by {answer.lead:.3f} in cosine."


def agreement_words(best: Hit, others: Sequence[Answer], found: Found) -> str:
    """Whether the other models name the same place."""
    words = []
    for other in others:
        metres = metres_between(best.photo, other.hits[0].photo)
        if metres != metres:  # unknown positions
            same, away = best.row == other.hits[0].row, ""
        else:
            same, away = metres <= (found.radius or 25.0), f", {metres_words(metres)} away"
        words.append(f"{other.title} names {'the same place' if same else f'another place{away}'}.")
    return " ".join(words)


def judged_words(found: Found, answer: Answer) -> str:
    """What is known about the query's own position: right, wrong, outside, or unknown and why."""
    if found.position is None:
        if found.position_problem:
            return f"Whether that is right is not known: {found.position_problem}."
        return (
            "Whether that is right is not known, because your photo's position is not: type it in above if you know it."
        )
    known, best = KNOWN_FROM[found.position.known_from], answer.hits[0]
    if answer.outside is not None:
        return f"{answer.verdict()[1]} (its position {known})."
    if best.right is None or best.metres is None:
        return ""
    verdict = "right" if best.right else "wrong"
    return f"That is {verdict}: {metres_words(best.metres)} from where your photo was taken ({known})."
