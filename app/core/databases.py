"""The databases that can be searched: those everybody sees, and private ones that only their owner can name."""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Hashable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scicevpr.datasets import Dataset
from scicevpr.errors import UsageError

PRIVATE = "mine-"
GONE = (
    "These places are gone: they are kept only while the page that built them stays open. Build them again in My "
    "places, or choose another database."
)
Forget = Callable[[str, Dataset], None]
"""Called with (key, data set) when a private database ends: whatever was kept of it has to go."""


class Remembered:
    """The last `most` values by key, each about something that may go away (a database, a file): its values go with it,
    and nothing is kept about what is not here any more."""

    def __init__(self, most: int, is_here: Callable[[str], bool] = lambda about: True) -> None:
        self._most, self._is_here = most, is_here
        self._kept: OrderedDict[Hashable, tuple[str, Any]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable) -> Any:
        """The value of a key, None where there is none."""
        with self._lock:
            if key not in self._kept:
                return None
            self._kept.move_to_end(key)
            return self._kept[key][1]

    def put(self, key: Hashable, value: Any, about: str = "") -> Any:
        """Keep a value, unless what it is about has gone meanwhile; returns it."""
        with self._lock:
            if self._is_here(about):
                self._kept[key] = about, value
                self._kept.move_to_end(key)
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
        return value

    def forget(self, gone: Collection[str]) -> None:
        """Forget all that was kept about these."""
        with self._lock:
            for key in [key for key, (about, _) in self._kept.items() if about in gone]:
                del self._kept[key]


@dataclass(frozen=True)
class _Private:
    title: str
    dataset: Dataset
    folder: Path | None


class Databases(dict[str, Dataset]):
    """Databases by display name. A private one is found under its key, which nobody can guess, and never listed:
    iteration, length and ``in`` know the public ones only, so that whatever lists databases cannot leak it.

    Every cache that keeps something of a database comes from `remembered`, or joins with `when_forgotten`; there is no
    other way to be told.
    """

    def __init__(self, datasets: dict[str, Dataset]) -> None:
        super().__init__(datasets)
        self._private: dict[str, _Private] = {}
        self._forget: list[Forget] = []
        self._listed: dict[str, tuple[Dataset, frozenset[str]]] = {}
        self._lock = threading.RLock()

    def __missing__(self, key: str) -> Dataset:
        with self._lock:
            if key not in self._private:
                raise UsageError(GONE)
            return self._private[key].dataset

    def __setitem__(self, key: str, dataset: Dataset) -> None:
        with self._lock:
            super().__setitem__(key, dataset)

    def __iter__(self) -> Iterator[str]:
        with self._lock:
            return iter(list(super().__iter__()))

    def items(self) -> list[tuple[str, Dataset]]:  # type: ignore[override]  # a view would change under its reader
        """Public databases with their names, as they are at the moment."""
        with self._lock:
            return list(super().items())

    def values(self) -> list[Dataset]:  # type: ignore[override]  # likewise
        """Public databases, as they are at the moment."""
        with self._lock:
            return list(super().values())

    def add_private(self, title: str, dataset: Dataset, folder: Path | None = None) -> str:
        """Keep a database under a new key of 256 random bits, which is returned. folder: of its visit; whatever is
        made from it lies there and goes with it."""
        key = PRIVATE + secrets.token_urlsafe(32)
        with self._lock:
            self._private[key] = _Private(title, dataset, folder)
        return key

    def remove_private(self, key: str) -> None:
        """Forget a private database and tell every cache; an unknown key is no error."""
        with self._lock:
            gone = self._private.pop(key, None)
            told = list(self._forget)
        if gone is not None:
            for forget in told:
                forget(key, gone.dataset)

    def when_forgotten(self, forget: Forget) -> None:
        """Have something called whenever a private database is forgotten."""
        with self._lock:
            self._forget.append(forget)

    def remembered(self, most: int) -> Remembered:
        """A cache of so many values about these databases."""
        kept = Remembered(most, self.is_here)
        self.when_forgotten(lambda key, _dataset: kept.forget((key,)))
        return kept

    def is_private(self, key: str) -> bool:
        """True for the key of a private database that is there."""
        with self._lock:
            return key in self._private

    def is_here(self, key: str) -> bool:
        """True for a database that can be asked: public, or private and not forgotten yet."""
        return key in self or self.is_private(key)

    def folder(self, key: str) -> Path | None:
        """The folder of a private database's visit; None for a public one."""
        with self._lock:
            return self._private[key].folder if key in self._private else None

    def title(self, key: str) -> str:
        """What to call a database on the page: never a private one's key."""
        with self._lock:
            return self._private[key].title if key in self._private else key

    def lists(self, path: str) -> bool:
        """True for the path of a photo that a public database lists, written as it is written there."""
        for key, dataset in self.items():
            with self._lock:
                known, paths = self._listed.get(key, (None, frozenset()))
            if known is not dataset:
                paths = frozenset(str(photo.path) for photo in (*dataset.queries, *dataset.database))
                with self._lock:
                    self._listed[key] = dataset, paths
            if path in paths:
                return True
        return False

    def check(self, key: str) -> None:
        """UsageError when there is no such database; it lists the names that exist."""
        if not isinstance(key, str):
            raise UsageError(f"A database is named by text, not by {type(key).__name__}. See databases for the names.")
        if self.is_here(key):
            return
        if key.startswith(PRIVATE):
            raise UsageError(GONE)
        raise UsageError(f"There is no database {key[:80]!r}. Choose one of: {', '.join(self)}.")
