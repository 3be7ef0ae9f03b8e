"""Small pictures and safe text for the HTML pieces."""

from __future__ import annotations

import base64
import html
import io
import threading
from collections import OrderedDict
from collections.abc import Iterable
from pathlib import Path

from PIL import Image

from scicevpr.datasets import Photo
from scicevpr.errors import ImageError
from scicevpr.files.photos import open_photo

LONGEST = 320
QUALITY = 85
REMEMBERED = 1024
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


class _Thumbnails:
    """The last small pictures, by file, its time and size."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, int, int], str] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, path: Path, longest: int) -> str:
        """A photo's small picture. Raises ImageError or OSError for a file that cannot be read."""
        key = (str(path), path.stat().st_mtime_ns, longest)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        made = data_uri(open_photo(path), longest)
        with self._lock:
            if path.is_file():  # else it was removed meanwhile, and nothing of it stays
                self._kept[key] = made
            while len(self._kept) > REMEMBERED:
                self._kept.popitem(last=False)
        return made

    def forget(self, paths: Iterable[Path]) -> None:
        gone = {str(path) for path in paths}
        with self._lock:
            for key in [key for key in self._kept if key[0] in gone]:
                del self._kept[key]


_thumbnails = _Thumbnails()


def thumbnail(path: Path, longest: int = LONGEST) -> str | None:
    """A photo on disk as a small data URI (remembered); None when the file cannot be read any more."""
    try:
        return _thumbnails.get(path, longest)
    except (ImageError, OSError):
        return None


def forget_pictures(paths: Iterable[Path]) -> None:
    """Forget the small pictures of these photos."""
    _thumbnails.forget(paths)


def described(place: Photo) -> str:
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
