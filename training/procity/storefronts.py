"""Ground floors: a row of shops, garages, doors and windows, with signs, awnings and shop light."""

from __future__ import annotations

import colorsys

import numpy as np

from training.procity.atlas import GARAGES, SHOPS, SIGNS, Atlas
from training.procity.lots import House
from training.procity.mesh import UP, Face, MeshBuilder, Surface
from training.procity.surfaces import SIGNS_PER_LAYER

UNIT_WIDTH = 4.6  # metres, before fitting a whole number of units into the front
CHAINS = 4  # shop names that turn up all over the city
SHOP_LIGHT = (1.0, 0.82, 0.58)
SHOP_LIGHT_STRENGTH = 3.2


def ground_floor(mesh: MeshBuilder, atlas: Atlas, house: House, face: Face, rng: np.random.Generator) -> None:
    """Fill a street side's ground floor with units of about 4.6 m."""
    units = max(1, round(face.width / UNIT_WIDTH))
    width = face.width / units
    shopping = rng.random() < house.look.shops
    for number in range(units):
        use = rng.random()
        part = Face(face.at(number * width), face.along, face.outward, width)
        if shopping and use < 0.72:
            _add_shop(mesh, atlas, house, part, number, rng)
        elif shopping and use < 0.8:
            layer = atlas.layers[f"garage_{int(rng.integers(GARAGES))}"]
            _add_panel(mesh, house, part, layer, house.seed)
        else:
            _add_dwelling(mesh, atlas, house, part, number, with_door=use > 0.88 or number == 0)


def _add_panel(mesh: MeshBuilder, house: House, part: Face, layer: int, seed: float) -> None:
    """One ground-floor tile over the whole part, tinted like the building."""
    edge, rise = part.along * part.width, UP * house.ground_height
    mesh.rect(part.origin, edge, rise, (0, 0, 1, 1), layer, house.tint, Surface.FACADE, seed, part.outward)


def _add_dwelling(mesh: MeshBuilder, atlas: Atlas, house: House, part: Face, number: int, with_door: bool) -> None:
    """One or two tiles of house front, the first of them the door."""
    count = 2 if part.width > 3.6 else 1
    for i in range(count):
        name = "door" if with_door and i == 0 else "window"
        piece = Face(part.at(part.width * i / count), part.along, part.outward, part.width / count)
        _add_panel(mesh, house, piece, atlas.layers[f"{name}_{house.material}"], house.seed + number + i * 3)


def _add_shop(mesh: MeshBuilder, atlas: Atlas, house: House, part: Face, number: int, rng: np.random.Generator) -> None:
    height, seed = house.ground_height, house.seed + number
    layer = atlas.layers[f"shop_{int(rng.integers(SHOPS))}"]
    edge, rise = part.along * part.width, UP * height
    mesh.rect(part.origin, edge, rise, (0, 0, 1, 1), layer, surface=Surface.SHOP, seed=seed, normal=part.outward)
    _add_fascia(mesh, atlas, part, height, seed, rng)
    mesh.light(part.at(part.width / 2, 2.2, 1.3), SHOP_LIGHT, SHOP_LIGHT_STRENGTH, is_shop=True, seed=seed)
    if rng.random() < 0.45:
        _add_awning(mesh, atlas, part, height, rng)
    if rng.random() < 0.35:
        _add_blade_sign(mesh, atlas, part, height, house.seed, rng)


def _sign(atlas: Atlas, number: int) -> tuple[int, float]:
    """Layer of a sign and the v coordinate of its lower edge (a sign is 1/8 of the layer high)."""
    return atlas.layers[f"sign_{number // SIGNS_PER_LAYER}"], 1 - (number % SIGNS_PER_LAYER + 1) / SIGNS_PER_LAYER


def _add_fascia(
    mesh: MeshBuilder, atlas: Atlas, part: Face, height: float, seed: float, rng: np.random.Generator
) -> None:
    """The name above the shop: three quarters of all names, a quarter from the few chains."""
    number = int(rng.integers(SIGNS)) if rng.random() < 0.75 else int(rng.integers(CHAINS))
    layer, bottom = _sign(atlas, number)
    start, edge = part.at(part.width * 0.05, height * 0.775, 0.14), part.along * part.width * 0.9
    board, uv = UP * height * 0.17, (0.0, bottom + 0.002, 1.0, bottom + 0.123)
    mesh.rect(start, edge, board, uv, layer, surface=Surface.SIGN, seed=seed, normal=part.outward)
    mesh.rect(start + board, edge, -part.outward * 0.14, (0, 0, 1, 1), atlas.layers["plain"], (0.5, 0.5, 0.5))


def _add_awning(mesh: MeshBuilder, atlas: Atlas, part: Face, height: float, rng: np.random.Generator) -> None:
    tint = colorsys.hsv_to_rgb(rng.random(), rng.uniform(0.4, 0.9), rng.uniform(0.3, 0.8))
    drop = part.outward * rng.uniform(1, 1.7) - UP * 0.7
    cloth = atlas.layers["awning" if rng.random() < 0.6 else "plain"]
    outer, edge = part.at(part.width * 0.06, height * 0.74) + drop, part.along * part.width * 0.88
    mesh.rect(outer, edge, -drop, (0, 0, part.width / 3, 1), cloth, tint)
    valance, uv = UP * 0.22, (0, 0, part.width / 3, 0.2)
    mesh.rect(outer - valance, edge, valance, uv, atlas.layers["awning"], tint, normal=part.outward)


def _add_blade_sign(
    mesh: MeshBuilder, atlas: Atlas, part: Face, height: float, seed: float, rng: np.random.Generator
) -> None:
    """A small sign at right angles to the wall, readable from both sides."""
    layer, bottom = _sign(atlas, int(rng.integers(SIGNS)))
    uv, rise = (0.1, bottom, 0.9, bottom + 1 / SIGNS_PER_LAYER), UP * 0.5
    for sign, out in ((1, 0.15), (-1, 1.15)):
        start, edge, normal = part.at(part.width * 0.02, height * 0.82, out), part.outward * sign, -part.along * sign
        mesh.rect(start, edge, rise, uv, layer, surface=Surface.SIGN, seed=seed, normal=normal)
