"""Finding photos by what a table calls them: the base name, with or without extension, or the end of the path.

Names are compared in one Unicode form: macOS stores "ü" as two characters, a table typed elsewhere holds one.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from scicevpr.datasets.names import Photo
from scicevpr.errors import DatasetError

DEPTH = 4  # path components that are compared at most: city/query/images/name.jpg


class NameIndex:
    """Row numbers of photos by name. ``what`` says in messages which photos these are, e.g. "query photos"."""

    def __init__(self, places: Sequence[Photo], what: str) -> None:
        self.what = what
        self.count = len(places)
        self._example = places[0].name if places else "none"
        self._rows: dict[str, list[int]] = {}
        for row, place in enumerate(places):
            for key in _keys(unicodedata.normalize("NFC", place.path.as_posix())):
                self._rows.setdefault(key, []).append(row)

    def __contains__(self, text: str) -> bool:
        return self._found(text) != []

    def row(self, text: str, source: Path) -> int:
        """The row of the photo that ``source`` (a file) calls ``text``. DatasetError: no photo, or several."""
        found = self._found(text)
        if len(found) == 1:
            return found[0]
        if not found:
            raise DatasetError(
                f"{source} names {text!r}, which is not among the {self.count} {self.what} (they are called like "
                f"{self._example!r}). Write names as in the folders; upper and lower case count."
            )
        raise DatasetError(
            f"{source} names {text!r}, but {len(found)} of the {self.what} are called that. Write more of their path."
        )

    def _found(self, text: str) -> list[int]:
        parts = PurePosixPath(unicodedata.normalize("NFC", text).replace("\\", "/")).parts
        return self._rows.get("/".join(parts[-DEPTH:]), [])


def _keys(path: str) -> list[str]:
    parts = PurePosixPath(path).parts[-DEPTH:]
    ends = ["/".join(parts[start:]) for start in range(len(parts))]
    stem = PurePosixPath(path).stem
    return list(dict.fromkeys([*ends, *(end[: len(end) - len(parts[-1])] + stem for end in ends)]))
