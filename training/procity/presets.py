"""What to render: one frozen `Preset` per split, and where each city lies on the globe."""

from __future__ import annotations

from dataclasses import dataclass

from scicevpr.errors import UsageError
from training.procity.querysets import QuerySet, benchmark_sets, small_sets

UTM_ZONE = 32
ORIGIN_EAST, ORIGIN_NORTH = 440_000.0, 5_400_000.0  # metres; latitude 48.7, letter U
NEIGHBOUR, ROW, REGION = 700.0, 1_500.0, 6_000.0  # metres between the middles of cities 4, 1 and 16 numbers apart


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
    queries: tuple[QuerySet, ...] = ()
    supersampling: float = 2.0  # samples along each side of a pixel


PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        Preset("test", "test", (200, 204), database=420, database_step=8.5, queries=benchmark_sets(35)),
        Preset("val", "val", (103, 105), blocks=(4, 4), database=160, database_step=11.0, queries=small_sets(15)),
        Preset("train", "train", tuple(range(1, 17)), blocks=(4, 4), places=88, visits=6, supersampling=1.4),
        Preset(
            "tiny",
            "test",
            (301,),
            blocks=(2, 2),
            places=12,
            visits=4,
            database=24,
            database_step=10.0,
            queries=small_sets(1),
        ),
    )
}


def get_preset(name: str) -> Preset:
    """The preset of that name; UsageError lists the names."""
    if name not in PRESETS:
        raise UsageError(f"no preset called {name!r}; choose one of: {', '.join(PRESETS)}")
    return PRESETS[name]


def city_origin(city: int) -> tuple[float, float]:
    """UTM metres (east, north) of the middle of a city, all in zone 32 U; the two test cities are neighbours."""
    north = ROW * (city % 4) + REGION * (city // 16)
    return ORIGIN_EAST + NEIGHBOUR * (city // 4 % 4), ORIGIN_NORTH + north
