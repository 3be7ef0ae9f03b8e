"""The texture atlas of one city: every layer the meshes refer to, stacked into three arrays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from training.procity.facades import MATERIALS, STYLES, door, garage, ground_window, shop, upper_floor, wall
from training.procity.surfaces import GROUND_KINDS, SIGNS_PER_LAYER, ground, leaves, mural, railing, scaffold, signs
from training.procity.tiles import Layer, tile_seed

SHOPS = 18
GARAGES = 2
SIGN_LAYERS = 6
SIGNS = SIGN_LAYERS * SIGNS_PER_LAYER
MURALS = 5
LEAF_CARDS = 3
RAILINGS = 2


@dataclass(frozen=True, eq=False)
class Atlas:
    """All texture layers of a city, row 0 at the bottom of each.

    `albedo` [L, 256, 256, 4] uint8: sRGB colour + tint mask (opacity for leaves and railings).
    `material` [L, 256, 256, 4] uint8: glass, emission, normal x, normal y. `height` [L, 256, 256] uint8.
    `layers`: layer number by name, for example "asphalt", "facade_0", "wall_brick", "shop_3", "sign_0", "leaf_0".
    `styles`: (material, window) of each "facade_N".
    """

    albedo: np.ndarray
    material: np.ndarray
    height: np.ndarray
    layers: dict[str, int]
    styles: tuple[tuple[str, str], ...]


def layer_painters(seed: int) -> dict[str, Callable[[], Layer]]:
    """What paints each layer, by name, in the atlas' order. Nothing is painted until a painter is called."""
    painters: dict[str, Callable[[], Layer]] = {}
    for i, kind in enumerate(GROUND_KINDS):
        painters[kind] = partial(ground, kind, tile_seed(seed, i))
    for i, (material, window) in enumerate(STYLES):
        painters[f"facade_{i}"] = partial(upper_floor, material, window, tile_seed(seed, 1000 + i))
    for i, material in enumerate(MATERIALS):
        painters[f"wall_{material}"] = partial(_bare_wall, material, tile_seed(seed, 200 + i))
        painters[f"door_{material}"] = partial(door, material, tile_seed(seed, 300 + i))
        painters[f"window_{material}"] = partial(ground_window, material, tile_seed(seed, 400 + i))
    for name, count, paint, offset in (
        ("shop", SHOPS, shop, 2000),
        ("garage", GARAGES, garage, 500),
        ("sign", SIGN_LAYERS, signs, 600),
        ("mural", MURALS, mural, 700),
        ("leaf", LEAF_CARDS, leaves, 800),
    ):
        for i in range(count):
            painters[f"{name}_{i}"] = partial(paint, tile_seed(seed, offset + i))
    for i in range(RAILINGS):
        painters[f"railing_{i}"] = partial(railing, i % 2 == 1)
    painters["scaffold"] = scaffold
    return painters


def build_atlas(seed: int = 0) -> Atlas:
    """Paint all layers. The bytes depend on `seed` (>= 0) alone; other seeds give other shops, signs and facades.

    Takes a few seconds. Raises ValueError for a negative seed.
    """
    painters = layer_painters(seed)
    painted = [paint() for paint in painters.values()]
    return Atlas(
        albedo=np.stack([layer.albedo for layer in painted]),
        material=np.stack([layer.material for layer in painted]),
        height=np.stack([layer.height for layer in painted]),
        layers={name: number for number, name in enumerate(painters)},
        styles=STYLES,
    )


def _bare_wall(material: str, seed: int) -> Layer:
    return wall(material, seed).finish()
