"""Which photos a search may find: around a position, under some conditions, of one database."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from scicevpr.errors import UsageError


class Near(NamedTuple):
    """Photos within some metres (inclusive) of a UTM position. zone: such as "32U"; None: zones are not compared."""

    east: float
    north: float
    metres: float
    zone: str | None = None

    def holds(self, east: float, north: float) -> bool:
        """Whether a position lies within the radius."""
        return (east - self.east) ** 2 + (north - self.north) ** 2 <= self.metres**2


def check_near(near: Sequence[Any] | None) -> Near | None:
    """(east, north, metres[, zone]) as a Near. UsageError for anything else."""
    if near is None:
        return None
    try:
        near = Near(*near)
        numbers = [float(value) for value in near[:3]]
    except (TypeError, ValueError):
        raise UsageError(f"near must be (east, north, metres) or (east, north, metres, zone), not {near!r}.") from None
    if not all(map(math.isfinite, numbers)) or numbers[2] <= 0:
        raise UsageError(f"near needs a finite position and a positive number of metres, not {near!r}.")
    return Near(*numbers, near.zone)


def expression(near: Near | None = None, conditions: Sequence[str] | None = None, database: str | None = None) -> str:
    """The filter in Milvus' words. A radius is a box here: servers cannot multiply fields, the rest is done after."""
    parts = []
    if near is not None:
        reach = near.metres * (1 + 1e-9) + 1e-6  # rounding at the box's edge must not lose a photo at the radius
        parts += [f"east >= {near.east - reach!r}", f"east <= {near.east + reach!r}"]
        parts += [f"north >= {near.north - reach!r}", f"north <= {near.north + reach!r}"]
        if near.zone is not None:
            parts.append(f"zone == {quoted(near.zone)}")
    if conditions is not None:
        if isinstance(conditions, str) or not conditions:
            raise UsageError(f"conditions must be a list such as ['night', 'rain'], not {conditions!r}.")
        parts.append(f"condition in [{', '.join(map(quoted, conditions))}]")
    if database is not None:
        parts.append(f"database == {quoted(database)}")
    return " and ".join(parts)


def quoted(text: str) -> str:
    """A text as a filter holds it. UsageError for control characters, which no server takes."""
    if any(ord(character) < 32 for character in text):
        raise UsageError(f"{text!r} holds characters that cannot be searched for.")
    return json.dumps(text, ensure_ascii=False)
