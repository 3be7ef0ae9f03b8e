"""The table of what a visitor brought, and words about their database."""

from __future__ import annotations

from collections.abc import Sequence

from app.components.pictures import escape
from app.my_places import MyDatabase
from app.reading import Reading
from scicevpr.config import VARIANTS
from scicevpr.datasets import Dataset, Photo

IGNORED_SHOWN = 4


def reading_html(reading: Reading, queries: Sequence[Photo]) -> str:
    """A row per photo: its name, where its position comes from, what it is for, and problems; problems first."""
    asked = {place.path for place in queries}
    rows = [(name, "", "", "left out", why) for name, why in reading.left_out]
    for photo in sorted(reading.photos, key=lambda photo: not photo.problem):
        place = photo.photo
        where = "" if place.utm is None else f"{place.utm[0]:.1f} {place.utm[1]:.1f}"
        where = f"{where} · {place.zone}" if place.zone and where else where
        role = "query" if place.path in asked else "searched"
        rows.append((reading.name(photo), photo.source or "none", where, role, photo.problem or ""))
    heads = ("photo", "position from", "east north (m) · zone", "used as", "problem")
    head = "".join(f'<th scope="col">{escape(text)}</th>' for text in heads)
    body = "".join(_row(row) for row in rows)
    return (
        '<section class="brought" aria-label="What was read"><div class="brought__scroll" tabindex="0" role="group" '
        f'aria-label="Table of the photos, scrolls"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
        "</div></section>"
    )


def waiting_html() -> str:
    """Words before anything was brought."""
    return _box("waiting", "Nothing here yet.", ["Choose photos, then press the button. Only your page will see them."])


def reading_words_html(reading: Reading) -> str:
    """What was read, while it is being described."""
    return _box("waiting", f"{_counted(reading)}. They are being described now.", _remarks(reading))


def database_html(database: MyDatabase, reading: Reading | None = None) -> str:
    """The finished database: sizes, groupings, and what can be done with it."""
    data = database.dataset
    searched, asked = len(data.database), len(data.queries)
    grouped = "; ".join(
        f"{VARIANTS[name].title if name in VARIANTS else name}: {_grouping(grouping)}"
        for name, grouping in database.groupings
    )
    lines = [
        f"Searched: {_photos(searched)}. "
        + (
            f"Offered as queries: {_photos(asked)}."
            if asked
            else "No photo is held back, so bring a query of your own."
        ),
        f"Photos that shared a batch: {grouped}.",
        *([] if reading is None else _remarks(reading)),
    ]
    lines.append(_verdicts(data))
    return _box("ready", f"{database.title} can be searched ({database.seconds:.0f} s).", lines)


def _counted(reading: Reading) -> str:
    return f"{_photos(len(reading.photos))} read, {reading.positioned} with a position"


def _remarks(reading: Reading) -> list[str]:
    lines = list(reading.notes)
    if reading.left_out:
        lines.append(f"{_photos(len(reading.left_out))} left out; the table says why.")
    if ignored := reading.gathered.ignored:
        more = f" and {len(ignored) - IGNORED_SHOWN} more" if len(ignored) > IGNORED_SHOWN else ""
        files = "other file" if len(ignored) == 1 else "other files"
        lines.append(f"{len(ignored)} {files} ignored: {', '.join(ignored[:IGNORED_SHOWN])}{more}.")
    return lines


def _verdicts(data: Dataset) -> str:
    if data.labelled:
        return f"Every photo has a position, so answers are called right (within {data.truth.label()}) or wrong."
    missing = sum(place.utm is None for place in (*data.database, *data.queries))
    return (
        f"{_photos(missing)} without a position, so no answer can be called right or wrong. Leave them out, or "
        "bring a table of positions."
    )


def _grouping(label: str) -> str:
    """Which photos shared a batch, in a newcomer's words."""
    if label in ("alone", "independent of the batch"):
        return "every photo alone"
    kind, _, size = label.partition(" ")
    return f"{size} a batch, in the order of their paths" if kind == "sequential" else label


def _photos(count: int) -> str:
    return "1 photo" if count == 1 else f"{count:,} photos"


def _row(cells: Sequence[str]) -> str:
    first, *others = cells
    trouble = ' class="brought__trouble"' if cells[-1] else ""
    return f'<tr{trouble}><th scope="row">{escape(first)}</th>{"".join(f"<td>{escape(c)}</td>" for c in others)}</tr>'


def _box(mood: str, title: str, lines: Sequence[str]) -> str:
    items = "".join(f"<p>{escape(line)}</p>" for line in lines)
    return f'<section class="mine mine--{mood}" role="status"><h3>{escape(title)}</h3>{items}</section>'
