"""Which photos share a batch. It is an explicit choice everywhere, because CricaVPR's descriptors depend on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from scicevpr.config import Variant
from scicevpr.errors import UsageError

DEFAULT_SEQUENTIAL = 16
"""CricaVPR's published evaluation: database and queries in file order, 16 photos a batch."""


@dataclass(frozen=True)
class Grouping:
    """Which photos share a batch: every photo alone, runs of ``size`` in the given order, or an explicit list.

    words: what an explicit list is called in a protocol.
    """

    kind: str
    size: int | None = None
    groups: tuple[tuple[int, ...], ...] | None = None
    words: str = ""

    @classmethod
    def alone(cls) -> Grouping:
        """Every photo in a batch of its own."""
        return cls("alone")

    @classmethod
    def sequential(cls, size: int) -> Grouping:
        """Runs of ``size`` photos in the given order; the last run may be shorter."""
        if size < 1:
            raise UsageError(f"A sequential grouping needs at least 1 photo a batch, not {size}.")
        return cls("sequential", size=size)

    @classmethod
    def explicit(cls, groups: Sequence[Sequence[int]], words: str = "") -> Grouping:
        """The given groups of photo indices; together they must hold every photo once."""
        return cls("groups", groups=tuple(tuple(int(i) for i in group) for group in groups), words=words)

    @classmethod
    def parse(cls, text: str) -> Grouping:
        """Read ``"alone"``, ``"sequential 16"``, ``"sequential:16"`` or ``"sequential"`` (16)."""
        words = text.replace(":", " ").split()
        if words == ["alone"]:
            return cls.alone()
        if words and words[0] == "sequential" and len(words) <= 2:
            size = words[1] if len(words) == 2 else str(DEFAULT_SEQUENTIAL)
            if size.isdigit():
                return cls.sequential(int(size))
        raise UsageError(f"Grouping {text!r} is not understood. Write 'alone' or 'sequential:16'.")

    @property
    def label(self) -> str:
        """Protocol words, e.g. ``"sequential 16"``."""
        if self.kind == "sequential":
            return f"sequential {self.size}"
        return self.words or f"{len(self.groups)} explicit groups" if self.kind == "groups" else self.kind

    def split(self, count: int) -> list[tuple[int, ...]]:
        """Return the groups of ``count`` photos as index tuples.

        Raises:
            UsageError: an explicit list leaves a photo out, names one twice or one that is not there.
        """
        if self.kind == "alone":
            return [(i,) for i in range(count)]
        if self.kind == "sequential":
            return [tuple(range(i, min(i + self.size, count))) for i in range(0, count, self.size)]
        members = sorted(i for group in self.groups for i in group)
        if members != list(range(count)):
            raise UsageError(
                f"The explicit groups hold photos {members[:8]}{'…' if len(members) > 8 else ''}, but every photo "
                f"0..{count - 1} must be in exactly one group."
            )
        return [group for group in self.groups if group]


def default_grouping(variant: Variant) -> Grouping | None:
    """The published "sequential 16" where a descriptor depends on its batch; None where grouping cannot matter."""
    return Grouping.sequential(DEFAULT_SEQUENTIAL) if variant.cross_image else None
