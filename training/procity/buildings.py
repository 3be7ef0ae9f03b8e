"""Buildings: one lot in, quads out. Ground floors are in storefronts.py, roofs in roofs.py."""

from __future__ import annotations

import numpy as np

from training.procity.atlas import MURALS, RAILINGS, Atlas
from training.procity.lots import House, Lot, draw_house
from training.procity.mesh import UP, Face, MeshBuilder, Surface, Vector
from training.procity.roofs import add_roof
from training.procity.storefronts import ground_floor


def add_building(mesh: MeshBuilder, atlas: Atlas, lot: Lot, rng: np.random.Generator, style: int) -> float:
    """Add a building of the given style (an index into `atlas.styles`). Returns its wall height in metres."""
    house = draw_house(atlas, lot, rng, style)
    add_front(mesh, atlas, house, Face(lot.origin, lot.along, lot.outward, lot.width), rng)
    back = -lot.outward
    right, rear = lot.origin + lot.along * lot.width, back * lot.depth
    sides = (
        (Face(right, back, lot.along, lot.depth), lot.right_open),
        (Face(lot.origin + rear, lot.outward, -lot.along, lot.depth), lot.left_open),
    )
    for face, is_open in sides:
        if is_open:
            add_front(mesh, atlas, house, face, rng)
        else:
            _blind_wall(mesh, atlas, house, face)
            if lot.exposed and rng.random() < 0.6:
                _add_mural(mesh, atlas, house, face, rng)
    rear_face = Face(right + rear, -lot.along, back, lot.width)
    _blind_wall(mesh, atlas, house, rear_face)
    uv = (0, 0, max(1, round(lot.width / 4)), house.floors)
    rise = UP * house.floors * house.floor_height
    start, edge = rear_face.at(0, house.ground_height, 0.01), rear_face.along * lot.width
    mesh.rect(start, edge, rise, uv, house.layer, house.tint, Surface.FACADE, house.seed + 5, back)
    if lot.plinth > 0.05:
        _add_plinth(mesh, atlas, house, lot)
    _add_scaffold(mesh, atlas, house, lot)
    add_roof(mesh, atlas, house, lot, rng)
    return house.height


def _add_plinth(mesh: MeshBuilder, atlas: Atlas, house: House, lot: Lot) -> None:
    """The foundation that fills the wedge between a level house and a sloping street."""
    corner = lot.origin - UP * lot.plinth - lot.outward * lot.depth
    edges = lot.along * lot.width, lot.outward * (lot.depth + 0.02)
    mesh.box(corner, *edges, lot.plinth + 0.02, atlas.layers["wall_stone"], house.shade(0.6))


def _add_scaffold(mesh: MeshBuilder, atlas: Atlas, house: House, lot: Lot) -> None:
    """Scaffolding before the front; the shader draws it only in the years in which this building has it."""
    height, out = house.height + 0.8, 1.0
    start, edge = lot.origin + lot.outward * out, lot.along * lot.width
    uv = (0, 0, lot.width / 4, height / 4)
    layer, seed = atlas.layers["scaffold"], house.seed
    mesh.rect(start, edge, UP * height, uv, layer, surface=Surface.SCAFFOLD, seed=seed, normal=lot.outward)
    for x in (0.0, lot.width):
        base = lot.origin + lot.along * x
        uv = (0, 0, out / 4, height / 4)
        edge, rise = lot.outward * out, UP * height
        mesh.rect(base, edge, rise, uv, layer, surface=Surface.SCAFFOLD, seed=seed, normal=lot.along)


def add_front(mesh: MeshBuilder, atlas: Atlas, house: House, face: Face, rng: np.random.Generator) -> None:
    """A side that faces a street: upper floors, ground floor, ledges, downpipe, balconies and wall boxes."""
    columns = max(1, round(face.width / house.bay))
    rise = UP * house.floors * house.floor_height
    start, edge, uv = face.at(0, house.ground_height), face.along * face.width, (0, 0, columns, house.floors)
    mesh.rect(start, edge, rise, uv, house.layer, house.tint, Surface.FACADE, house.seed, face.outward)
    ground_floor(mesh, atlas, house, face, rng)
    if house.is_curtain_wall:
        return
    add_ledge(mesh, atlas, face, house.ground_height - 0.1, 0.2, 0.14, house.shade(0.85, 0.1))
    cornice_height, cornice_depth = rng.uniform(0.35, 0.6), rng.uniform(0.2, 0.5)
    add_ledge(mesh, atlas, face, house.height - 0.15, cornice_height, cornice_depth, house.shade(0.8, 0.12))
    pipe_edges = face.along * 0.11, face.outward * 0.11
    mesh.box(face.at(0.15, 0, 0.02), *pipe_edges, house.height, atlas.layers["plain"], (0.32, 0.32, 0.33))
    if rng.random() < house.look.balconies and house.window != "strip":
        _add_balconies(mesh, atlas, house, face, columns, rng)
    if rng.random() < 0.35:
        _add_wall_boxes(mesh, atlas, house, face, columns, rng)


def add_ledge(
    mesh: MeshBuilder, atlas: Atlas, face: Face, bottom: float, height: float, depth: float, tint: Vector
) -> None:
    """A horizontal band that stands out of a face: a ledge or a cornice."""
    layer, edge, tint = atlas.layers["plain"], face.along * face.width, np.asarray(tint)
    out, rise = face.outward * depth, UP * height
    thin = (0, 0, face.width / 3, 0.1)
    front, base = face.at(0, bottom, depth), face.at(0, bottom)
    mesh.rect(front, edge, rise, (0, 0, face.width / 3, height / 3), layer, tint, normal=face.outward)
    mesh.rect(front + rise, edge, -out, thin, layer, tint, Surface.ROOF, normal=UP)
    mesh.rect(base, edge, out, thin, layer, tint * 0.9, normal=-UP)
    for x, sign in ((0, -1), (face.width, 1)):
        mesh.rect(face.at(x, bottom), out, rise, (0, 0, 0.1, 0.1), layer, tint, normal=face.along * sign)


def _add_balconies(
    mesh: MeshBuilder, atlas: Atlas, house: House, face: Face, columns: int, rng: np.random.Generator
) -> None:
    """Balconies on every storey: some bays, every other bay, or the whole width."""
    railing = atlas.layers[f"railing_{int(rng.integers(RAILINGS))}"]
    chosen = [bay for bay in range(columns) if rng.random() < 0.7] if rng.random() < 0.5 else range(0, columns, 2)
    depth, bay_width = rng.uniform(0.6, 1.1), face.width / columns
    spans = [((bay + 0.08) * bay_width, (bay + 0.92) * bay_width) for bay in chosen]
    if rng.random() < 0.3:
        spans = [(0.2, face.width - 0.2)]
    for floor in range(house.floors):
        for left, right in spans:
            if floor == 0 and rng.random() < 0.4:
                continue
            bottom = house.ground_height + floor * house.floor_height - 0.08
            _add_balcony(mesh, atlas, face, left, right, bottom, depth, railing)


def _add_balcony(
    mesh: MeshBuilder, atlas: Atlas, face: Face, left: float, right: float, bottom: float, depth: float, railing: int
) -> None:
    layer, width, slab = atlas.layers["plain"], right - left, 0.14
    edge, out, concrete = face.along * width, face.outward * depth, (0.6, 0.6, 0.58)
    front, uv = face.at(left, bottom, depth), (0, 0, width / 3, 0.3)
    mesh.rect(front, edge, -out, uv, layer, concrete, normal=-UP)
    mesh.rect(front + UP * slab, edge, -out, uv, layer, (0.62, 0.62, 0.6), Surface.ROOF, normal=UP)
    mesh.rect(front, edge, UP * slab, (0, 0, width / 3, 0.1), layer, concrete, normal=face.outward)
    rail = UP * 0.95
    uv = (0, 0, width / 1.6, 1)
    mesh.rect(front + UP * slab, edge, rail, uv, railing, surface=Surface.CUT_OUT, normal=face.outward)
    for x in (left, right):
        start, uv = face.at(x, bottom + slab), (0, 0, depth / 1.6, 1)
        mesh.rect(start, out, rail, uv, railing, surface=Surface.CUT_OUT, normal=face.along)


def _add_wall_boxes(
    mesh: MeshBuilder, atlas: Atlas, house: House, face: Face, columns: int, rng: np.random.Generator
) -> None:
    """Air conditioners or flower boxes under a few windows."""
    for _ in range(int(rng.integers(2, 7))):
        floor, bay = int(rng.integers(house.floors)), int(rng.integers(columns))
        z = house.ground_height + floor * house.floor_height + 0.15
        corner = face.at((bay + 0.55) * face.width / columns, z, 0.02)
        edges = face.along * 0.8, face.outward * 0.35
        mesh.box(corner, *edges, 0.5, atlas.layers["plain"], (0.75, 0.75, 0.74), bottom=True)


def _blind_wall(mesh: MeshBuilder, atlas: Atlas, house: House, face: Face) -> None:
    layer, uv = atlas.layers[f"wall_{house.material}"], (0, 0, face.width / 3, house.height / 3)
    edge, rise = face.along * face.width, UP * house.height
    mesh.rect(face.origin, edge, rise, uv, layer, house.tint, seed=house.seed, normal=face.outward)


def _add_mural(mesh: MeshBuilder, atlas: Atlas, house: House, face: Face, rng: np.random.Generator) -> None:
    layer, rise = atlas.layers[f"mural_{int(rng.integers(MURALS))}"], UP * min(house.height * 0.7, 10)
    start, edge = face.at(face.width * 0.1, 0.8, 0.03), face.along * face.width * 0.8
    mesh.rect(start, edge, rise, (0, 0, 1, 1), layer, normal=face.outward)
