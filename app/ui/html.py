"""Pieces of HTML for all tabs: safe text, small pictures, headings, banners, tables.

Every text from outside is escaped, every picture has an alternative text.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from app.core.databases import Remembered
from scicevpr.datasets import Dataset, Photo
from scicevpr.errors import ImageError
from scicevpr.figures.inside import colours
from scicevpr.files.photos import open_photo

LONGEST = 480
QUALITY = 85
TEMPLATE_SIGNS = str.maketrans({"{": "&#123;", "}": "&#125;", "$": "&#36;", "`": "&#96;"})
VERDICTS = {True: "right", False: "wrong", None: "unknown"}
SINGLE_SHARE = 0.5
"""From which share of the joint change on a single photo is said to explain it."""
_thumbnails = Remembered(1024, lambda path: Path(path).is_file())


class Markup(str):
    """HTML that is safe already; any other text in a table is escaped."""

    __slots__ = ()


def escape(text: object) -> str:
    """Text that is safe in HTML content and attributes, and in gradio's HTML templates (which read braces and "$")."""
    return html.escape(str(text), quote=True).translate(TEMPLATE_SIGNS)


def step_html(number: int | None, text: str) -> str:
    """A heading inside a tab, with or without a step number."""
    sign = f'<span class="step__number">{number}</span>' if number else ""
    return f'<h2 class="step__title">{sign}{escape(text)}</h2>'


def hint_html(text: str) -> str:
    """One line that explains the controls above it."""
    return f'<p class="hint">{escape(text)}</p>'


def banner_html(mood: str, title: str, text: object) -> str:
    """A notice. mood: "alarm" or "quiet"."""
    strong = f"<strong>{escape(title)}</strong> " if title else ""
    return f'<div class="banner banner--{mood}" role="status">{strong}{escape(text)}</div>'


def waiting_panel(text: str) -> str:
    """What stands where a table or a list will be."""
    return f'<section class="panel panel--waiting" role="status">{escape(text)}</section>'


def counted(count: int, word: str) -> str:
    """A number of things: "1 photo", "1,200 photos"."""
    return f"{count:,} {word}" + ("" if count == 1 else "s")


def metres_words(metres: float | None) -> str:
    """A distance for a caption: "6 m", "1.2 km", or nothing."""
    if metres is None:
        return ""
    return f"{metres:.0f} m" if metres < 1000 else f"{metres / 1000:,.1f} km"


# ---- tables ---------------------------------------------------------------------------------------------------------


def row_html(head: str, cells: Iterable[object], **attributes: str) -> str:
    """A row of a table: its heading and its cells, which are escaped unless they are Markup. attributes: of the row,
    with _ for - (class_ for class)."""
    named = "".join(f' {name.rstrip("_").replace("_", "-")}="{escape(value)}"' for name, value in attributes.items())
    body = "".join(cell if isinstance(cell, Markup) else f"<td>{escape(cell)}</td>" for cell in cells)
    return f'<tr{named}><th scope="row">{escape(head)}</th>{body}</tr>'


def table_html(label: str, heads: Sequence[str | tuple[str, str]], rows: Iterable[str], kind: str = "") -> str:
    """A table that scrolls by itself. heads: of the columns, each perhaps with words that explain it; rows: as
    `row_html` gives them; kind: a class for what is special about it."""
    top = ""
    for head in heads:
        text, words = (head, "") if isinstance(head, str) else head
        title = f' title="{escape(words)}"' if words else ""
        top += f'<th scope="col"{title}>{escape(text)}</th>' if text else "<td></td>"
    return (
        f'<section class="panel {kind}" aria-label="{escape(label)}"><div class="panel__scroll" tabindex="0" '
        f'role="region" aria-label="{escape(label)}, can be scrolled"><table>'
        f"{f'<thead><tr>{top}</tr></thead>' if heads else ''}<tbody>{''.join(rows)}</tbody></table></div></section>"
    )


def protocol_rows(protocols: Sequence[Mapping[str, str]]) -> list[str]:
    """Rows of several protocols side by side: what agrees is written once."""
    rows = []
    for key in dict.fromkeys(key for protocol in protocols for key in protocol):
        values: list[object] = [protocol.get(key, "–") for protocol in protocols]
        if len(set(values)) == 1:
            values = [Markup(f'<td colspan="{len(values)}">{escape(values[0])}</td>')]
        rows.append(row_html(key, values))
    return rows


# ---- pictures -------------------------------------------------------------------------------------------------------


def data_uri(image: Image.Image, longest: int = LONGEST) -> str:
    """A photo as a small JPEG in a data URI, at most `longest` pixels on its longer side."""
    small = image.convert("RGB")
    small.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def thumbnail(path: Path, longest: int = LONGEST) -> str | None:
    """A photo on disk as a small data URI (remembered); None when the file cannot be read any more."""
    try:
        key = (str(path), path.stat().st_mtime_ns, longest)
        return _thumbnails.get(key) or _thumbnails.put(key, data_uri(open_photo(path), longest), str(path))
    except (ImageError, OSError):
        return None


def forget_thumbnails(_key: str, dataset: Dataset) -> None:
    """Forget the small pictures of a data set's photos."""
    _thumbnails.forget({str(photo.path) for photo in (*dataset.queries, *dataset.database)})


def described(photo: Photo) -> str:
    """What is known of a photo in a few words, e.g. "night · facing 120°"; not escaped."""
    words = [photo.condition] if photo.condition else []
    if photo.heading is not None:
        words.append(f"facing {photo.heading:.0f}°")
    return " · ".join(words)


def picture(source: str | None, alt: str, caption: str, extra: str = "") -> str:
    """A photo that opens large on click or Enter. source: data URI or None; alt and caption: plain text."""
    if source is None:
        return f'<div class="photo photo--lost" role="img" aria-label="{escape(alt)}">photo not readable{extra}</div>'
    return (
        f'<button type="button" class="photo" data-enlarge data-caption="{escape(caption)}" '
        f'aria-label="Enlarge: {escape(alt)}">'
        f'<img src="{source}" alt="{escape(alt)}" draggable="false">{extra}</button>'
    )


# ---- matrices -------------------------------------------------------------------------------------------------------


def change_matrix(moved: np.ndarray, pictures: Sequence[str | None], regions: Sequence[str]) -> tuple[str, str]:
    """How far each photo of the batch moves each region part of the query's descriptor, as a table, and in words.

    moved [B, 14] as `explanations.maps.rewriting` gives it (all others first); pictures: data URIs.
    """
    rows = ["all other photos together", *(f"photo {i}" for i in range(1, len(moved)))]
    table = matrix_table(moved, [None, *pictures[1:]], rows, None, list(regions), "moved by")
    if len(moved) == 1:
        return table, "Alone in its batch, nothing of it was changed."
    together, single = float(np.linalg.norm(moved[0])), np.linalg.norm(moved[1:], axis=1)
    most = int(single.argmax())
    words = f"All other photos together move the descriptor, which has length 1, by {together:.3f}."
    if single[most] < SINGLE_SHARE * together:
        return table, (
            f"{words} No single photo explains that: leaving out any one of them moves it by {single[most]:.3f} at "
            "most. They do the same thing to it together, so one less hardly matters."
        )
    region = int(moved[most + 1].argmax())
    return table, (
        f"{words} {rows[most + 1].capitalize()} alone accounts for most: without it the descriptor would lie "
        f"{single[most]:.3f} away, above all in “{regions[region]}” ({moved[most + 1, region]:.3f})."
    )


def matrix_table(
    values: np.ndarray,
    row_pictures: Sequence[str | None],
    rows: Sequence[str],
    column_pictures: Sequence[str | None] | None,
    columns: Sequence[str],
    what: str,
    low: float = 0.0,
    high: float = 1e-12,
    around: float | None = None,
) -> str:
    """A matrix as a table with thumbnails on its axes; every cell carries its number, and a colour bar stands below.

    Colours run from ``low`` to ``high``, or to the largest value where that is higher; with ``around`` from blue over
    white at this value to orange.
    """
    high = max(high, float(values.max()))
    if around is not None:
        reach = max(float(np.abs(values - around).max()), 1e-12)
        low, high = around - reach, around + reach
    tints = colours(values, low, high) if around is None else two_sided(values, around, high - around)

    def head(picture: str | None, name: str, scope: str) -> str:
        image = f'<img src="{picture}" alt="">' if picture else ""
        return f'<th scope="{scope}">{image}<span>{escape(name)}</span></th>'

    def cell(i: int, j: int) -> str:
        red, green, blue = (int(v) for v in tints[i, j])
        ink = "#111" if red * 0.3 + green * 0.6 + blue * 0.1 > 140 else "#fff"
        words = escape(f"{rows[i]}, {columns[j]}: {what} {values[i, j]:.4f}")
        return f'<td style="background:rgb({red},{green},{blue});color:{ink}" title="{words}">{values[i, j]:.3f}</td>'

    tops = [head(column_pictures[j] if column_pictures else None, name, "col") for j, name in enumerate(columns)]
    body = [
        f"<tr>{head(row_pictures[i], name, 'row')}{''.join(cell(i, j) for j in range(len(columns)))}</tr>"
        for i, name in enumerate(rows)
    ]
    top = f"<thead><tr><td></td>{''.join(tops)}</tr></thead>"
    bar = scale_html(low, high, around)
    return f'<table class="matrix">{top}<tbody>{"".join(body)}</tbody></table>{bar}'


def scale_html(low: float, high: float, around: float | None = None) -> str:
    """A colour bar with the values at its ends, and in its middle where colours have two sides."""
    steps = np.linspace(low, high, 9)[None]
    tints = colours(steps, low, high) if around is None else two_sided(steps, around, high - around)
    stops = ", ".join(f"rgb({r},{g},{b})" for r, g, b in tints[0])
    middle = "" if around is None else f"<span>{around:.3g}</span>"
    return (
        f'<div class="scale"><span>{low:.3g}</span><i style="background: linear-gradient(90deg, {stops})"></i>{middle}'
        f"<span>{high:.3g}</span></div>"
    )


def two_sided(values: np.ndarray, around: float, reach: float) -> np.ndarray:
    """Values [rows, columns] to RGB: white at ``around``, orange above, blue below, full at ``reach`` from it."""
    share = ((values - around) / reach).clip(-1, 1)[..., None]
    ends = np.where(share > 0, np.array([216, 107, 15]), np.array([38, 99, 163]))
    return (255 + (ends - 255) * np.abs(share)).round().astype(np.uint8)
