"""The tray of the Stability tab: the query's batch in its orange frame, and the photos that can be dragged into it."""

from __future__ import annotations

from collections.abc import Sequence

from app.components.pictures import data_uri, described, escape, thumbnail
from app.lab_records import Session
from scicevpr.datasets import Photo

TILE = 150


def tray_html(session: Session, batch_mates: Sequence[int], pool: Sequence[int]) -> str:
    """Both zones. Tiles can be dragged, or clicked, or moved with Enter (see static/tray.js)."""
    queries = session.dataset.queries
    query = (
        f'<li class="tray__tile tray__tile--query"><img src="{data_uri(session.image, TILE)}" alt="your query" '
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
        '<div class="tray__zone" data-zone="pool" role="group" aria-label="Photos that can keep it company">'
        f'<h3>Other photos of the query list</h3><ol class="tray__tiles">{outside}</ol></div></section>'
    )


def waiting_tray_html() -> str:
    """The tray before there is a query."""
    return (
        '<section class="tray"><div class="tray__zone tray__zone--batch tray__zone--waiting"><h3>The batch of your '
        "query</h3><p>Pick a query above. Then drag other photos into its batch and watch whose answer changes.</p>"
        "</div></section>"
    )


def _tile(row: int, place: Photo, inside: bool) -> str:
    about = described(place) or place.name
    action = "take out of the batch" if inside else "put into the batch"
    source = thumbnail(place.path, TILE)
    image = f'<img src="{source}" alt="" draggable="false">' if source else "<i>not readable</i>"
    return (
        f'<li class="tray__tile"><button type="button" draggable="true" data-row="{row}" '
        f'data-to="{"pool" if inside else "batch"}" aria-label="{escape(about)}: {action}" title="{escape(about)}">'
        f"{image}</button><span>{escape(place.condition or '')}</span></li>"
    )
