"""The query sets of a benchmark: one factor at a time, and all of them together.

A set that changes one factor leaves the others as the database has them (day, easy viewpoint, normal traffic, good
camera, same years), so that its Recall says what that factor costs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from training.procity.conditions import QUERY_CONDITIONS


@dataclass(frozen=True)
class Tier:
    """How far a viewpoint may differ: standard deviations, cut off at two and a half of them.

    ``along`` and ``across`` the street in metres, ``turn`` and ``tilt`` in degrees, ``zoom`` as a logarithm of the
    field of view.
    """

    name: str
    along: float
    across: float
    turn: float
    tilt: float
    zoom: float


TIERS: dict[str, Tier] = {
    tier.name: tier
    for tier in (
        Tier("database", 0.0, 0.15, 1.5, 0.0, 0.0),
        Tier("easy", 1.5, 0.5, 3.0, 0.8, 0.03),
        Tier("medium", 2.5, 1.0, 7.0, 1.5, 0.07),
        Tier("hard", 4.0, 2.0, 13.0, 2.5, 0.14),
    )
}


@dataclass(frozen=True)
class QuerySet:
    """``count`` queries; each factor of a photo is drawn from its tuple."""

    name: str
    count: int
    conditions: tuple[str, ...] = ("day",)
    tiers: tuple[str, ...] = ("easy",)
    traffic: tuple[str, ...] = ("normal",)
    cameras: tuple[str, ...] = ("good",)
    eras: tuple[str, ...] = ("0",)


EVERY_WEATHER = ("day", "day_am", "overcast", "rain", "fog", "snow", "dusk", "night", "night_rain", "autumn", "spring")


def benchmark_sets(count: int) -> tuple[QuerySet, ...]:
    """Eight weathers, hours and seasons; three viewpoint tiers; traffic, camera and years; and all combined."""
    weathers = tuple(QuerySet(name, count, conditions=(name,)) for name in QUERY_CONDITIONS)
    return (
        *weathers,
        QuerySet("view_easy", count),
        QuerySet("view_medium", count, tiers=("medium",)),
        QuerySet("view_hard", count, tiers=("hard",)),
        QuerySet("traffic", count, traffic=("heavy",)),
        QuerySet("camera", count, cameras=("poor",)),
        QuerySet("years", count, eras=("2", "3")),
        QuerySet(
            "combined",
            count,
            conditions=EVERY_WEATHER,
            tiers=("medium", "hard"),
            traffic=("normal", "heavy"),
            cameras=("good", "good", "poor"),
            eras=("0", "2"),
        ),
    )


def small_sets(count: int) -> tuple[QuerySet, ...]:
    """The eight weathers only: for validation during training and for tests."""
    return tuple(replace(query_set, count=count) for query_set in benchmark_sets(count)[: len(QUERY_CONDITIONS)])
