"""What a building is before it is drawn: the lot it stands on, and its style, colour and heights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np

from training.procity.atlas import Atlas

Tint = tuple[float, float, float]

LIGHT_PLASTER: tuple[Tint, ...] = (
    (0.90, 0.84, 0.70),
    (0.92, 0.78, 0.55),
    (0.84, 0.62, 0.50),
    (0.78, 0.82, 0.80),
    (0.93, 0.91, 0.86),
    (0.72, 0.78, 0.70),
    (0.85, 0.72, 0.68),
    (0.70, 0.75, 0.85),
    (0.95, 0.88, 0.62),
    (0.66, 0.64, 0.60),
)
PANEL_TINTS = ((0.70, 0.70, 0.69), (0.78, 0.76, 0.70), (0.55, 0.58, 0.60), (0.82, 0.80, 0.78), (0.60, 0.50, 0.42))
TINTS = {
    "brick": (
        (0.62, 0.33, 0.26),
        (0.70, 0.45, 0.34),
        (0.52, 0.28, 0.24),
        (0.75, 0.60, 0.45),
        (0.55, 0.42, 0.38),
        (0.80, 0.72, 0.58),
    ),
    "plaster": LIGHT_PLASTER,
    "stone": ((0.80, 0.76, 0.68), (0.72, 0.70, 0.66), (0.85, 0.80, 0.70), (0.62, 0.60, 0.57)),
    "panel": PANEL_TINTS,
    "siding": LIGHT_PLASTER,
    "tilewall": PANEL_TINTS,
    "timber": LIGHT_PLASTER,
}
ROOF_TINTS: tuple[Tint, ...] = (
    (0.62, 0.33, 0.24),
    (0.48, 0.28, 0.22),
    (0.34, 0.33, 0.35),
    (0.40, 0.42, 0.45),
    (0.55, 0.40, 0.32),
)
SEEDS_PER_HOUSE = 64
"""A building owns this many consecutive surface seeds; the shader finds the building's number by dividing."""


@dataclass(frozen=True, eq=False)
class Look:
    """What the houses of one kind of city have in common.

    ``tints``: colours by material (materials left out use TINTS); ``floors`` and ``modern_floors``: upper storeys, from
    and below; ``roofs``: weight of each form (flat, gable, street, hip, mansard, step); ``roof_rise`` and ``ground``:
    metres; ``balconies`` and ``shops``: chances.
    """

    tints: Mapping[str, tuple[Tint, ...]] = field(default_factory=lambda: MappingProxyType({}))
    floors: tuple[int, int] = (2, 6)
    modern_floors: tuple[int, int] = (5, 9)
    roofs: Mapping[str, float] = field(
        default_factory=lambda: MappingProxyType({"flat": 0.3, "gable": 0.45, "street": 0.25})
    )
    roof_tints: tuple[Tint, ...] = ROOF_TINTS
    roof_rise: tuple[float, float] = (1.8, 3.6)
    ground: tuple[float, float] = (3.4, 4.3)
    balconies: float = 0.42
    shops: float = 0.65


PLAIN_LOOK = Look()


@dataclass(frozen=True, eq=False)
class Lot:
    """Where a building stands: front-left corner [3] at the pavement, unit vector along the street, size in metres.

    The street is to the right of `along`. `left_open` and `right_open` say which sides also face a street;
    `exposed` allows a mural on a blind side wall; `plinth`: metres that the foundation reaches down on a slope.
    """

    origin: np.ndarray
    along: np.ndarray
    width: float
    depth: float
    left_open: bool = False
    right_open: bool = False
    exposed: bool = False
    look: Look = PLAIN_LOOK
    plinth: float = 0.0

    @property
    def outward(self) -> np.ndarray:
        """Unit vector from the front towards the street."""
        return np.array([self.along[1], -self.along[0], 0.0])


@dataclass(frozen=True, eq=False)
class House:
    """What is drawn once for a whole building: style, colour, and heights in metres."""

    material: str
    window: str
    layer: int
    tint: np.ndarray
    seed: float
    floors: int
    floor_height: float
    ground_height: float
    bay: float
    look: Look = PLAIN_LOOK

    @property
    def height(self) -> float:
        """Height of the walls above the pavement, in metres."""
        return self.ground_height + self.floors * self.floor_height

    @property
    def is_curtain_wall(self) -> bool:
        """Whether the upper floors are glass from side to side."""
        return self.window == "curtainwall"

    @property
    def is_modern(self) -> bool:
        """Curtain walls and strip windows: taller, flat roofs."""
        return self.window in ("curtainwall", "strip")

    def shade(self, scale: float, offset: float = 0.0) -> np.ndarray:
        """The building's colour made darker or lighter, within 0..1."""
        return np.clip(self.tint * scale + offset, 0, 1)


def draw_house(atlas: Atlas, lot: Lot, rng: np.random.Generator, style: int) -> House:
    """Draw the colour, seed, storeys and heights of a building of a style (an index into `atlas.styles`)."""
    material, window = atlas.styles[style]
    look = lot.look
    palette = look.tints.get(material, TINTS[material])
    tint = np.clip(np.array(palette[rng.integers(len(palette))]) * rng.uniform(0.9, 1.05), 0, 1)
    modern, curtain = window in ("curtainwall", "strip"), window == "curtainwall"
    return House(
        material=material,
        window=window,
        layer=atlas.layers[f"facade_{style}"],
        tint=tint,
        seed=float(rng.integers(1, 1500) * SEEDS_PER_HOUSE),
        floors=int(rng.integers(*(look.modern_floors if modern else look.floors))),
        floor_height=rng.uniform(2.9, 3.5),
        bay=rng.uniform(2.8, 4) if curtain else rng.uniform(2.4, 3.4),
        ground_height=rng.uniform(*look.ground),
        look=look,
    )
