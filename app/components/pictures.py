"""Small pictures and safe text for the HTML pieces."""

from __future__ import annotations

import base64
import html
import io
from functools import lru_cache
from pathlib import Path

from PIL import Image

from scicevpr.errors import ImageError
from scicevpr.places import Place
from scicevpr.preprocessing import open_photo

LONGEST = 320
QUALITY = 85
TEMPLATE_SIGNS = str.maketrans({"{": "&#123;", "}": "&#125;", "$": "&#36;", "`": "&#96;"})


def escape(text: object) -> str:
    """Text that is safe in HTML content and attributes, and in gradio's HTML templates (which read braces and "$")."""
    return html.escape(str(text), quote=True).translate(TEMPLATE_SIGNS)


def data_uri(image: Image.Image, longest: int = LONGEST) -> str:
    """A photo as a small JPEG in a data URI, at most `longest` pixels on its longer side."""
    small = image.convert("RGB")
    small.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


@lru_cache(maxsize=1024)
def _thumbnail(path: Path, modified: int, longest: int) -> str:
    return data_uri(open_photo(path), longest)


def thumbnail(path: Path, longest: int = LONGEST) -> str | None:
    """A photo on disk as a small data URI (remembered); None when the file cannot be read any more."""
    try:
        return _thumbnail(path, path.stat().st_mtime_ns, longest)
    except (ImageError, OSError):
        return None


def described(place: Place) -> str:
    """What is known of a photo in a few words, e.g. "night · facing 120°"; not escaped."""
    words = [place.condition] if place.condition else []
    if place.heading is not None:
        words.append(f"facing {place.heading:.0f}°")
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
