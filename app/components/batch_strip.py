"""The batch that the baseline saw, in the orange frame that means "these photos shared one batch"."""

from __future__ import annotations

from app.components.pictures import data_uri, described, escape, picture, thumbnail
from app.records import Found


def strip_html(found: Found) -> str:
    """The query and its company as a row of thumbnails, and what the company did."""
    batch_mates = found.batch.batch_mates
    query = picture(data_uri(found.query, 200), "your query", f"Your query. {found.query_place.name}")
    tiles = [f'<li class="tile tile--query">{query}<span>your query</span></li>']
    for number, place in enumerate(batch_mates, 1):
        about = described(place)
        photo = picture(
            thumbnail(place.path, 200), f"company {number}, {about}", f"Company {number}: {about}. {place.name}"
        )
        tiles.append(f'<li class="tile">{photo}<span>{escape(place.condition or "company")}</span></li>')
    return (
        '<section class="batch" aria-label="The batch the baseline saw">'
        f'<div class="batch__text"><h3>The batch {escape(found.baseline.title)} saw</h3>'
        f"<p>{escape(sentence(found))}</p></div>"
        f'<ol class="batch__photos">{"".join(tiles)}</ol></section>'
    )


def sentence(found: Found) -> str:
    """What the baseline's batch was and what it did, in plain words."""
    batch_mates, baseline, stable = found.batch.batch_mates, found.baseline.title, found.stable.title
    if not batch_mates:
        return (
            f"Alone: {baseline} had no other photo to compare yours with. Give it company and its answer may change; "
            f"{stable}'s cannot."
        )
    others = f"{len(batch_mates)} other photo" + ("s" if len(batch_mates) > 1 else "")
    return (
        f"Your photo and {others} of the query list went through {baseline} together. That turned its description of "
        f"your photo: cosine {found.batch.drift:.3f} to the one made alone (1.000 would be no change). "
        f"{stable} described it alone."
    )


def waiting_strip_html() -> str:
    """The strip before the first search."""
    return (
        '<section class="batch batch--waiting" aria-label="The batch the baseline saw"><div class="batch__text">'
        "<h3>The batch the baseline saw</h3><p>CricaVPR describes photos in batches, and the photos of a batch "
        "influence each other. The ones it saw together with yours will stand in this orange frame.</p></div>"
        '<ol class="batch__photos" aria-hidden="true"><li class="tile"><div class="photo"></div></li></ol></section>'
    )
