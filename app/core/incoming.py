"""Files that arrive from outside: the one place that decides which of them may be opened.

A browser, a program or an MCP client names a file by a path, and nothing stops it from naming any path of this machine.
Only two kinds are opened: what was uploaded here (it lies in gradio's upload cache, where a visitor's own places lie
too), and the photos that a public database lists. Every other path, whether there is something or not, gets the same
answer. Handlers call `query_photo`, `uploaded_files` or `result_files` and never read a path from a payload themselves.
"""

from __future__ import annotations

import base64
import binascii
import io
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from app.core.databases import Databases
from app.core.limits import DEEP_PIXELS, PHOTO_BYTES, RESULT_BYTES, RESULT_FILES
from app.core.upload_cache import upload_folder
from scicevpr.datasets import Photo
from scicevpr.datasets.intake import megabytes
from scicevpr.datasets.positions import gps_of
from scicevpr.errors import DatasetError, ImageError, UsageError
from scicevpr.files.photos import FORMATS, open_photo

REFUSED = "This file is not one that was uploaded here, or it is not on the server any more. Choose it again."
LONGEST_NAME = 255  # bytes, as file systems have it
UNSAYABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
"""What a file name may not hold: control characters, and halves of characters."""
HALF = re.compile(r"[\ud800-\udfff]")
DEEP_MODES = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")


class RefusedPath(ImageError):
    """A path that may not be opened; its words are the same for every reason."""

    def __init__(self) -> None:
        super().__init__(REFUSED)


@dataclass(frozen=True)
class QueryPhoto:
    """A photo to ask about, open, its file name (which may carry its position), and its GPS: latitude and longitude in
    degrees, or why there is none although the camera wrote something."""

    image: Image.Image
    name: str
    gps: tuple[float, float] | None = None
    gps_problem: str = ""

    @classmethod
    def listed(cls, photo: Photo) -> QueryPhoto:
        """A photo of a database, which the server found itself."""
        return cls(opened(photo.path, photo.name), photo.name)


def query_photo(payload: Any, databases: Databases | None = None) -> QueryPhoto:
    """The photo that gradio's payload means. databases: whose listed photos may be named as well.

    Raises ImageError: no photo, one that may not be opened, or one that cannot be read.
    """
    entry = _file_entry(payload)
    name = photo_name(entry)
    if entry.get("path"):
        return _query(_allowed(entry["path"], databases), name)
    head, comma, body = str(entry.get("url") or "").partition(",")
    if not (head.startswith("data:") and head.endswith(";base64") and comma):
        raise ImageError("The photo arrived without any content. Choose it again.")
    return _query(_decoded(body, PHOTO_BYTES, name or "The photo"), name)


def _query(source: Path | bytes, name: str) -> QueryPhoto:
    image = opened(source, name)
    try:
        return QueryPhoto(image, name, gps_of(source)[0])
    except DatasetError as error:
        return QueryPhoto(image, name, None, str(error))


def photo_name(payload: Any) -> str:
    """The file name of gradio's payload of a photo; nothing is opened. ImageError when there is no photo."""
    entry = _file_entry(payload)
    text = entry.get("orig_name") or entry.get("path") or ""
    name = UNSAYABLE.sub("_", os.path.basename(text.replace("\\", "/"))) if isinstance(text, str) else ""
    return name.encode()[-LONGEST_NAME:].decode(errors="ignore")


def uploaded_files(payload: Any) -> list[tuple[Path, str]]:
    """Uploaded files, one or several: (file, original name).

    Raises UsageError for anything else, RefusedPath for files that were not uploaded here.
    """
    found = []
    for item in payload if isinstance(payload, list) else [payload]:
        if item in (None, "", {}):
            continue
        if not isinstance(item, Mapping) or not item.get("path"):
            raise UsageError("The files arrived without any content. Choose them again.")
        found.append((_allowed(item["path"], None), photo_name(item)))
    return found


def result_files(payload: Any) -> tuple[Path, ...]:
    """The JSON files among what was uploaded, or sent as data URIs. UsageError for other files only, too many, or too
    large ones."""
    items = payload if isinstance(payload, list) else [payload]
    sent = [item for item in items if isinstance(item, str) and item.startswith("data:")]
    if len(sent) > RESULT_FILES:
        raise UsageError(f"These are {len(sent)} files; at most {RESULT_FILES} are drawn together.")
    files = uploaded_files([item for item in items if item not in sent])
    files += [(_kept(text, f"results-{number}.json"), f"file {number}") for number, text in enumerate(sent, 1)]
    chosen = tuple(path for path, _ in files if path.suffix.lower() == ".json")
    if files and not chosen:
        raise UsageError(f"{files[0][1]} is no JSON file. The results of an evaluation are one.")
    if len(chosen) > RESULT_FILES:
        raise UsageError(f"These are {len(chosen)} files; at most {RESULT_FILES} are drawn together.")
    for path, name in files:
        if path in chosen and path.stat().st_size > RESULT_BYTES:
            size = megabytes(path.stat().st_size)
            raise UsageError(f"{name} has {size}; at most {megabytes(RESULT_BYTES)} are read.")
    return chosen


def check_paths(value: Any, databases: Databases | None = None) -> None:
    """Refuse gradio's payloads, however deep in a value, whose path may not be opened. Raises RefusedPath."""
    for part in _parts(value):
        if isinstance(part, Mapping) and part.get("path"):
            _allowed(part["path"], databases)


def check_texts(value: Any) -> None:
    """Refuse texts, however deep in a value, that can be neither shown nor kept. Raises UsageError."""
    for part in _parts(value):
        for text in (part, *part) if isinstance(part, Mapping) else (part,):
            if isinstance(text, str) and not text.isascii() and HALF.search(text):
                raise UsageError("A text of this question holds half of a character (a surrogate). Write it anew.")


def _parts(value: Any) -> Iterator[Any]:
    yield value
    inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, (list, tuple)) else ()
    for item in inner:
        yield from _parts(item)


def opened(source: Path | bytes, name: str) -> Image.Image:
    """A photo within the limits, upright RGB. ImageError names it by its name, never by a path of this machine."""
    name = name or "the photo"
    size = len(source) if isinstance(source, bytes) else _size(source)
    if size > PHOTO_BYTES:
        raise ImageError(f"{name} has {megabytes(size)}; at most {megabytes(PHOTO_BYTES)} are taken. Make it smaller.")
    try:
        check_depth(source, name)
        return open_photo(source).copy()  # of the pixels alone: no open file, no path
    except ImageError as error:
        raise ImageError(str(error).replace(str(source), name) if isinstance(source, Path) else str(error)) from error


def check_depth(source: Path | bytes, name: str) -> None:
    """Refuse a photo of many bits and many pixels. ImageError names it."""
    Image.init()
    formats = [form for form in FORMATS if form in Image.OPEN]
    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=formats) as head:
            pixels, mode = head.size[0] * head.size[1], head.mode
    except Exception:  # damaged: opening it says how
        return
    if mode in DEEP_MODES and pixels > DEEP_PIXELS:
        raise ImageError(
            f"{name} has {pixels / 1e6:.1f} million pixels of more than 8 bits; at most {DEEP_PIXELS / 1e6:g} million "
            "are taken. Make it smaller, or save it with 8 bits."
        )


def _allowed(text: Any, databases: Databases | None) -> Path:
    """The file that a path means, if it may be opened. Nothing outside the upload cache is looked at."""
    if not isinstance(text, str) or not text or "\0" in text or len(text) > 4096:
        raise RefusedPath
    if databases is not None and databases.lists(text):
        return Path(text)
    folder, inside = upload_folder(), Path(os.path.abspath(text))
    if not os.path.isabs(text) or not inside.is_relative_to(folder):
        raise RefusedPath
    real = Path(os.path.realpath(inside))
    if not real.is_relative_to(os.path.realpath(folder)) or not real.is_file():
        raise RefusedPath
    return inside


def _decoded(body: str, most: int, name: str) -> bytes:
    """The bytes of a data URI. ImageError where they are too many, or damaged."""
    if len(body) > most * 4 / 3 + 4:
        raise ImageError(f"{name} is too large; at most {megabytes(most)} are taken.")
    try:
        return base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ImageError(f"The data URI of {name} is damaged. Send it again.") from error


def _kept(uri: str, name: str) -> Path:
    """A file that was sent as a data URI, where uploads lie."""
    head, _, body = uri.partition(",")
    if not head.endswith(";base64"):
        raise UsageError("A data URI must be in base64: data:application/json;base64,…")
    content = _decoded(body, RESULT_BYTES, name)
    path = upload_folder() / secrets.token_hex(16) / name
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    return path


def _file_entry(payload: Any) -> Mapping:
    if payload in (None, "", {}):
        raise ImageError("There is no photo yet. Pick an example, or upload, paste or take a photo first.")
    if not isinstance(payload, Mapping):
        raise ImageError(f"A photo must be sent as a file, not as {type(payload).__name__}.")
    return payload


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except (OSError, ValueError) as error:
        raise RefusedPath from error
