"""The databases that can be searched: those everybody sees, and private ones that only their owner can name."""

from __future__ import annotations

import secrets

from scicevpr.errors import UsageError
from scicevpr.places import Dataset

PRIVATE = "mine-"
GONE = (
    "These places are gone: they are kept only while the page that built them stays open. Build them again in My "
    "places, or choose another database."
)


class Databases(dict[str, Dataset]):
    """Databases by display name. A private one is found under its key, which nobody can guess, and never listed:
    iteration, length and ``in`` know the public ones only, so that whatever lists databases cannot leak it."""

    def __init__(self, datasets: dict[str, Dataset]) -> None:
        super().__init__(datasets)
        self._private: dict[str, tuple[str, Dataset]] = {}

    def __missing__(self, key: str) -> Dataset:
        return self._private[key][1]

    def add_private(self, title: str, dataset: Dataset) -> str:
        """Keep a database under a new key of 256 random bits, which is returned."""
        key = PRIVATE + secrets.token_urlsafe(32)
        self._private[key] = (title, dataset)
        return key

    def remove_private(self, key: str) -> None:
        """Forget a private database; an unknown key is no error."""
        self._private.pop(key, None)

    def is_private(self, key: str) -> bool:
        """True for the key of a private database that is there."""
        return key in self._private

    def title(self, key: str) -> str:
        """What to call a database on the page: never a private one's key."""
        return self._private[key][0] if key in self._private else key

    def check(self, key: str) -> None:
        """UsageError when there is no such database; it lists the names that exist."""
        if key in self or key in self._private:
            return
        if str(key).startswith(PRIVATE):
            raise UsageError(GONE)
        raise UsageError(f"There is no database {key!r}. Choose one of: {', '.join(self)}.")
