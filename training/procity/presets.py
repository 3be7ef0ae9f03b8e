"""What to render: one frozen `Preset` per split, and where each city lies on the globe."""

from __future__ import annotations

from dataclasses import dataclass

from scicevpr.errors import UsageError

UTM_ZONE = 32
ORIGIN_EAST, ORIGIN_NORTH = 440_000.0, 5_400_000.0  # metres; latitude 48.7, letter U
CITY_DISTANCE = 6_000.0  # metres between the origins of two cities


@dataclass(frozen=True)
class Preset:
    """A split: its cities and how many photos each gives."""

    name: str
    split: str
    cities: tuple[int, ...]  # seeds; the atlas of a city has the same seed
    blocks: tuple[int, int] = (5, 5)
    places: int = 0  # training places ...
    visits: int = 0  # ... and photos of each
    database: int = 0
    database_step: float = 10.0  # metres
    queries_per_condition: int = 0


PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        Preset("test", "test", (201,), database=480, queries_per_condition=50),
        Preset("val", "val", (101,), database=250, queries_per_condition=25),
        Preset("train", "train", tuple(range(1, 13)), places=128, visits=6),
        Preset(
            "tiny",
            "test",
            (301,),
            blocks=(2, 2),
            places=12,
            visits=4,
            database=24,
            database_step=12.0,
            queries_per_condition=1,
        ),
    )
}


def get_preset(name: str) -> Preset:
    """The preset of that name; UsageError lists the names."""
    if name not in PRESETS:
        raise UsageError(f"no preset called {name!r}; choose one of: {', '.join(PRESETS)}")
    return PRESETS[name]


def city_origin(city: int) -> tuple[float, float]:
    """UTM metres (east, north) of the corner of a city, all in zone 32 U and kilometres apart."""
    return ORIGIN_EAST + CITY_DISTANCE * (city % 16), ORIGIN_NORTH + CITY_DISTANCE * (city // 16)
