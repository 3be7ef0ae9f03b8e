"""What makes one city unlike another: eight characters with their own houses, colours, streets, lamps and landmarks."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from training.procity.lots import LIGHT_PLASTER, Look, Tint

Style = tuple[str, str]
BLOCK_KINDS = ("houses", "detached", "towers", "works", "park", "square", "church", "market", "station", "colonnade")


@dataclass(frozen=True)
class Character:
    """One kind of city. ``families``: groups of (material, window); a block draws its houses from one group.

    ``form`` and ``hills`` shape the land (land.py); ``pitch_x``, ``pitch_y``: metres between streets; ``street``:
    metres from kerb to kerb; ``lots``: metres of house front; ``mix``: weight of each kind of block;
    ``landmarks``: blocks that every such city has; ``canal``: a canal instead of one street; ``covered``: a roofed
    street, "gallery" (glass) or "underpass" (concrete); ``road``, ``pavements``: ground layers; ``tree_spacing``:
    metres, 0 for none.
    """

    name: str
    look: Look
    families: tuple[tuple[Style, ...], ...]
    form: str = "grid"
    hills: float = 0.4
    pitch_x: tuple[float, float] = (64.0, 80.0)
    pitch_y: tuple[float, float] = (52.0, 64.0)
    street: tuple[float, float] = (7.0, 10.5)
    lots: tuple[float, float] = (8.0, 16.0)
    terraces: float = 0.18
    mix: dict[str, float] = field(default_factory=lambda: {"houses": 1.0, "park": 0.12})
    landmarks: tuple[str, ...] = ("square", "church")
    canal: bool = False
    covered: str = "gallery"
    road: str = "asphalt"
    road_tint: Tint = (1.0, 1.0, 1.0)
    pavements: tuple[str, ...] = ("paver", "slab", "cobble")
    lamps: tuple[int, ...] = (0, 1)
    tree_spacing: tuple[float, ...] = (0.0, 9.0, 13.0)
    tree_scale: tuple[float, float] = (0.75, 1.1)
    leaf_tint: Tint = (1.0, 1.0, 1.0)
    parked: float = 0.5
    furniture_tint: Tint = (0.25, 0.38, 0.28)


def _all(materials: tuple[str, ...], windows: tuple[str, ...]) -> tuple[Style, ...]:
    return tuple((material, window) for material in materials for window in windows)


_BRICK_REDS = ((0.58, 0.27, 0.20), (0.48, 0.22, 0.18), (0.66, 0.38, 0.27), (0.40, 0.22, 0.20), (0.70, 0.50, 0.38))
_WARM = (
    (0.93, 0.76, 0.50),
    (0.90, 0.62, 0.44),
    (0.95, 0.86, 0.62),
    (0.86, 0.52, 0.40),
    (0.96, 0.90, 0.78),
    (0.84, 0.68, 0.58),
)
_WHITE = ((0.95, 0.94, 0.91), (0.92, 0.90, 0.84), (0.90, 0.92, 0.93), (0.96, 0.93, 0.86))
_PASTEL = (
    (0.72, 0.82, 0.84),
    (0.93, 0.90, 0.74),
    (0.86, 0.74, 0.76),
    (0.76, 0.84, 0.70),
    (0.94, 0.94, 0.92),
    (0.60, 0.68, 0.76),
)
_GREYS = ((0.66, 0.66, 0.65), (0.74, 0.72, 0.68), (0.52, 0.54, 0.56), (0.80, 0.79, 0.76), (0.60, 0.62, 0.60))
_SAND = ((0.86, 0.78, 0.62), (0.78, 0.70, 0.56), (0.90, 0.84, 0.72), (0.72, 0.66, 0.56))
_SLATE = ((0.34, 0.36, 0.40), (0.28, 0.30, 0.34), (0.42, 0.42, 0.46))
_CLAY = ((0.66, 0.34, 0.22), (0.72, 0.42, 0.28), (0.58, 0.30, 0.22))

_CHARACTERS = (
    Character(
        "harbour",
        Look(
            tints={"brick": _BRICK_REDS, "plaster": _WHITE},
            floors=(2, 5),
            roofs={"step": 4, "street": 3, "gable": 2},
            roof_tints=_SLATE + _CLAY[:1],
            balconies=0.1,
            shops=0.6,
        ),
        (_all(("brick",), ("sash", "arched", "casement")), _all(("brick", "plaster"), ("sash", "french"))),
        form="bent",
        pitch_y=(56, 66),
        street=(6.5, 8.5),
        lots=(5.5, 9.0),
        terraces=0.1,
        canal=True,
        covered="underpass",
        mix={"houses": 1.0, "works": 0.25, "square": 0.08, "park": 0.05},
        landmarks=("church", "market"),
        road="cobble",
        road_tint=(0.85, 0.82, 0.80),
        pavements=("cobble", "paver"),
        lamps=(1,),
        tree_spacing=(0.0, 11.0),
        furniture_tint=(0.12, 0.13, 0.14),
        parked=0.4,
    ),
    Character(
        "hillside",
        Look(
            tints={"plaster": _WARM, "stone": _SAND},
            floors=(2, 5),
            roofs={"gable": 4, "street": 1, "flat": 1},
            roof_tints=_CLAY,
            balconies=0.55,
            shops=0.5,
            roof_rise=(1.2, 2.2),
        ),
        (_all(("plaster",), ("french", "casement", "arched")), _all(("plaster", "stone"), ("twin", "casement"))),
        form="winding",
        hills=4.6,
        street=(5.5, 8.0),
        lots=(7.0, 12.0),
        mix={"houses": 1.0, "square": 0.12, "park": 0.10},
        landmarks=("church", "square", "market"),
        pavements=("slab", "cobble"),
        lamps=(1, 2),
        tree_spacing=(0.0, 14.0),
        leaf_tint=(1.05, 1.0, 0.9),
        road_tint=(1.12, 1.08, 1.0),
        furniture_tint=(0.35, 0.30, 0.22),
    ),
    Character(
        "metropolis",
        Look(
            tints={"stone": _SAND, "panel": _GREYS},
            floors=(5, 11),
            modern_floors=(7, 16),
            roofs={"flat": 1},
            balconies=0.1,
            shops=0.8,
            ground=(4.0, 5.0),
        ),
        (
            (("panel", "curtainwall"), ("panel", "strip")),
            _all(("stone",), ("sash", "square", "arched")),
            (("panel", "curtainwall"), ("stone", "sash"), ("brick", "square")),
            (("tilewall", "strip"), ("panel", "strip")),
        ),
        pitch_x=(72, 88),
        pitch_y=(60, 70),
        street=(11.0, 15.0),
        lots=(14.0, 27.0),
        terraces=0.05,
        mix={"houses": 1.0, "square": 0.15, "park": 0.10, "towers": 0.10},
        landmarks=("station", "square"),
        pavements=("slab", "paver"),
        lamps=(0, 3),
        tree_spacing=(0.0, 9.0, 16.0),
        covered="underpass",
        parked=0.35,
        furniture_tint=(0.30, 0.31, 0.33),
    ),
    Character(
        "garden",
        Look(
            tints={"siding": _PASTEL, "brick": _BRICK_REDS, "plaster": LIGHT_PLASTER},
            floors=(1, 3),
            roofs={"gable": 3, "street": 3, "hip": 2},
            roof_tints=_SLATE + _CLAY,
            balconies=0.1,
            shops=0.12,
            ground=(2.8, 3.2),
            roof_rise=(2.2, 4.0),
        ),
        (_all(("siding",), ("sash", "bay3", "twin")), _all(("siding", "brick"), ("square", "casement"))),
        form="bent",
        hills=2.2,
        pitch_x=(70, 90),
        street=(7.0, 9.0),
        mix={"detached": 1.0, "houses": 0.15, "park": 0.2},
        landmarks=("church", "park"),
        lots=(8.0, 13.0),
        lamps=(0, 2),
        tree_spacing=(8.0, 10.0),
        tree_scale=(0.9, 1.4),
        leaf_tint=(0.92, 1.05, 0.9),
        covered="underpass",
        parked=0.3,
        furniture_tint=(0.10, 0.20, 0.42),
    ),
    Character(
        "spa",
        Look(
            tints={"stone": _WHITE, "plaster": _WHITE + _PASTEL[:2]},
            floors=(3, 6),
            roofs={"mansard": 5, "flat": 1},
            roof_tints=_SLATE,
            balconies=0.6,
            shops=0.55,
            ground=(3.8, 4.8),
        ),
        (_all(("stone", "plaster"), ("french", "arched")), _all(("stone",), ("french", "casement", "sash"))),
        form="ring",
        hills=1.2,
        street=(9.0, 13.0),
        lots=(11.0, 19.0),
        terraces=0.3,
        mix={"houses": 1.0, "park": 0.2, "square": 0.12, "colonnade": 0.3},
        landmarks=("square", "church", "park"),
        lamps=(1,),
        tree_spacing=(7.5, 9.0),
        leaf_tint=(0.9, 1.0, 0.9),
        pavements=("slab",),
        road_tint=(1.2, 1.18, 1.14),
        furniture_tint=(0.10, 0.24, 0.16),
    ),
    Character(
        "works",
        Look(
            tints={"brick": _BRICK_REDS + _SAND[:1], "siding": _GREYS, "panel": _GREYS},
            floors=(1, 4),
            modern_floors=(1, 4),
            roofs={"flat": 3, "gable": 2},
            balconies=0.05,
            shops=0.25,
        ),
        (_all(("brick",), ("strip", "arched", "square")), (("siding", "strip"), ("panel", "strip"), ("brick", "sash"))),
        pitch_x=(74, 92),
        street=(9.0, 12.0),
        lots=(12.0, 24.0),
        terraces=0.3,
        canal=True,
        covered="underpass",
        mix={"works": 1.0, "houses": 0.6, "park": 0.05},
        landmarks=("station",),
        pavements=("slab",),
        lamps=(0,),
        tree_spacing=(0.0, 0.0, 14.0),
        road_tint=(0.85, 0.86, 0.88),
        furniture_tint=(0.45, 0.35, 0.10),
        parked=0.45,
    ),
    Character(
        "estates",
        Look(
            tints={"panel": _GREYS + _PASTEL[:2], "tilewall": _PASTEL},
            floors=(4, 8),
            modern_floors=(5, 10),
            roofs={"flat": 1},
            balconies=0.65,
            shops=0.3,
        ),
        (_all(("panel",), ("square", "strip", "bay3")), _all(("tilewall",), ("square", "sash", "strip"))),
        form="bent",
        hills=1.0,
        pitch_x=(76, 94),
        pitch_y=(60, 72),
        street=(9.0, 13.0),
        lots=(16.0, 30.0),
        terraces=0.35,
        mix={"towers": 1.0, "houses": 0.6, "park": 0.15, "square": 0.1},
        landmarks=("market", "square"),
        lamps=(0, 3),
        tree_spacing=(0.0, 11.0),
        pavements=("slab", "paver"),
        road_tint=(1.1, 1.1, 1.1),
        furniture_tint=(0.55, 0.12, 0.10),
    ),
    Character(
        "oldtown",
        Look(
            tints={"timber": _WHITE + _WARM[:3], "plaster": _WARM + _PASTEL},
            floors=(2, 4),
            roofs={"street": 5, "gable": 3},
            roof_tints=_CLAY + _SLATE[:1],
            balconies=0.08,
            shops=0.7,
            ground=(2.9, 3.5),
            roof_rise=(2.6, 4.6),
        ),
        (_all(("timber",), ("casement", "square", "sash")), _all(("timber", "plaster"), ("casement", "square"))),
        form="winding",
        hills=2.0,
        pitch_x=(54, 70),
        pitch_y=(46, 58),
        street=(5.0, 7.0),
        lots=(5.0, 9.0),
        terraces=0.08,
        mix={"houses": 1.0, "square": 0.15},
        landmarks=("church", "square", "market"),
        road="cobble",
        road_tint=(1.05, 0.98, 0.92),
        pavements=("cobble", "slab"),
        lamps=(1, 2),
        tree_spacing=(0.0, 0.0, 16.0),
        parked=0.25,
        furniture_tint=(0.30, 0.20, 0.12),
    ),
)
CHARACTERS: dict[str, Character] = {character.name: character for character in _CHARACTERS}


def city_characters(seed: int) -> tuple[Character, Character]:
    """Character of a city and of its second district.

    Neighbouring seeds have different ones, and a city's own colours are shifted a little, so that two cities of one
    character are not the same town.
    """
    names, rng = list(CHARACTERS), np.random.default_rng([seed, 31])
    first = seed % len(names)
    second = (first + 1 + int(rng.integers(len(names) - 1))) % len(names)
    return _shifted(CHARACTERS[names[first]], rng), _shifted(CHARACTERS[names[second]], rng)


def _shifted(character: Character, rng: np.random.Generator) -> Character:
    """The character with its colours moved together by a few percent of red, green and blue."""
    shift = np.exp(rng.normal(0, 0.05, 3))
    tints = {
        material: tuple(tuple(float(c) for c in np.clip(np.array(tint) * shift, 0.03, 1)) for tint in palette)
        for material, palette in character.look.tints.items()
    }
    return replace(character, look=replace(character.look, tints=tints))
