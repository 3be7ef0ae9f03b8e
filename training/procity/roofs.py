"""Roofs: flat with a parapet, gabled along the street, or with a gable towards the street."""

from __future__ import annotations

import numpy as np

from training.procity.atlas import Atlas
from training.procity.lots import House, Lot
from training.procity.mesh import UP, Face, MeshBuilder, Surface

CHIMNEY_TINT = (0.6, 0.38, 0.3)
EAVES = 0.35  # metres that a roof stands out over front and back
GABLE_EAVES = 0.3  # metres that a street-gable roof stands out over the sides
DORMER_SPACING = 4.5


def add_roof(mesh: MeshBuilder, atlas: Atlas, house: House, lot: Lot, rng: np.random.Generator) -> None:
    """Add a roof on the walls of a building: always flat on modern ones, otherwise drawn from its look."""
    look = house.look
    tint = np.array(look.roof_tints[rng.integers(len(look.roof_tints))])
    forms, weights = list(look.roofs), np.array(list(look.roofs.values()), float)
    form = "flat" if house.is_modern else str(rng.choice(forms, p=weights / weights.sum()))
    if form == "flat":
        _flat_roof(mesh, atlas, house, lot, rng)
        return
    rise = rng.uniform(*look.roof_rise)
    layer = atlas.layers["rooftile" if rng.random() < 0.75 else "metalroof"]
    if form == "gable":
        _gable_roof(mesh, atlas, house, lot, rise, layer, tint)
        if rng.random() < 0.5:
            _add_dormers(mesh, atlas, house, lot, tint)
    elif form == "mansard":
        _mansard_roof(mesh, atlas, house, lot, layer, tint)
    elif form == "hip":
        _hip_roof(mesh, atlas, house, lot, rise, layer, tint)
    else:
        _street_gable_roof(mesh, atlas, house, lot, rise * 1.3, layer, tint)
        if form == "step":
            _add_stepped_gable(mesh, atlas, house, lot, rise * 1.3)
    front, back = _front(lot), -lot.outward
    for _ in range(int(rng.integers(0, 3))):
        x, depth = rng.uniform(0.1, 0.85) * lot.width, rng.uniform(0.3, 0.6) * lot.depth
        corner, height = front.at(x, house.height, -depth), rise + rng.uniform(0.5, 1.2)
        edges = lot.along * 0.7, back * 0.5
        mesh.box(corner, *edges, height, atlas.layers["wall_brick"], CHIMNEY_TINT, top_surface=Surface.ROOF)


def _mansard_roof(mesh: MeshBuilder, atlas: Atlas, house: House, lot: Lot, layer: int, tint: np.ndarray) -> None:
    """A steep storey of slates with dormers, and a flat top."""
    front, top, rise, inset = _front(lot), house.height, 2.9, 1.1
    low = [
        front.at(0, top),
        front.at(lot.width, top),
        front.at(lot.width, top, -lot.depth),
        front.at(0, top, -lot.depth),
    ]
    high = [
        front.at(inset, top + rise, -inset),
        front.at(lot.width - inset, top + rise, -inset),
        front.at(lot.width - inset, top + rise, inset - lot.depth),
        front.at(inset, top + rise, inset - lot.depth),
    ]
    for i in range(4):
        j = (i + 1) % 4
        length = float(np.linalg.norm(low[j] - low[i])) / 3
        uv = [(0, 0), (length, 0), (length - 0.3, 1), (0.3, 1)]
        mesh.quad([low[i], low[j], high[j], high[i]], uv, layer, tint, Surface.ROOF)
    mesh.quad(high, [(0, 0), (3, 0), (3, 3), (0, 3)], atlas.layers["gravel"], (0.7, 0.7, 0.7), Surface.ROOF, normal=UP)
    _add_dormers(mesh, atlas, house, lot, tint)


def _hip_roof(
    mesh: MeshBuilder, atlas: Atlas, house: House, lot: Lot, rise: float, layer: int, tint: np.ndarray
) -> None:
    """Four slopes that meet in a short ridge."""
    front, top, e = _front(lot), house.height, EAVES
    low = [
        front.at(-e, top, e),
        front.at(lot.width + e, top, e),
        front.at(lot.width + e, top, -lot.depth - e),
        front.at(-e, top, -lot.depth - e),
    ]
    half = min(lot.width * 0.42, lot.depth / 2)
    left = front.at(half, top + rise, -lot.depth / 2)
    right = front.at(lot.width - half, top + rise, -lot.depth / 2)
    uv = [(0, 0), (lot.width / 3, 0), (lot.width / 4, 1.5), (lot.width / 12, 1.5)]
    mesh.quad([low[0], low[1], right, left], uv, layer, tint, Surface.ROOF)
    mesh.quad([low[2], low[3], left, right], uv, layer, tint, Surface.ROOF)
    mesh.quad([low[1], low[2], right, right], uv, layer, tint, Surface.ROOF)
    mesh.quad([low[3], low[0], left, left], uv, layer, tint, Surface.ROOF)


def _add_stepped_gable(mesh: MeshBuilder, atlas: Atlas, house: House, lot: Lot, rise: float) -> None:
    """A stair of wall in front of the roof's end."""
    front, steps = _front(lot), 4
    layer = atlas.layers[f"wall_{house.material}"]
    for i in range(steps):
        width = lot.width * (1 - i / steps) * 0.96
        corner = front.at((lot.width - width) / 2, house.height + i * (rise + 0.9) / steps, -0.2)
        edges = lot.along * width, lot.outward * 0.28
        mesh.box(corner, *edges, (rise + 0.9) / steps, layer, house.tint, top_surface=Surface.ROOF)


def _front(lot: Lot) -> Face:
    return Face(lot.origin, lot.along, lot.outward, lot.width)


def _flat_roof(mesh: MeshBuilder, atlas: Atlas, house: House, lot: Lot, rng: np.random.Generator) -> None:
    """Gravel, a parapet all round, and one to three service boxes."""
    front, back, top = _front(lot), -lot.outward, house.height
    width, depth = lot.along * lot.width, back * lot.depth
    uv = (0, 0, lot.width / 3, lot.depth / 3)
    start, gravel = front.at(0, top - 0.02), atlas.layers["gravel"]
    mesh.rect(start, width, depth, uv, gravel, (0.8, 0.8, 0.8), Surface.ROOF, normal=UP)
    base = front.at(0, top - 0.05)
    for corner, edge in ((base, width), (base + width, depth), (base + width + depth, -width), (base + depth, -depth)):
        inward = np.array([-edge[1], edge[0], 0]) / np.linalg.norm(edge) * 0.25
        mesh.box(corner, edge, inward, 0.75, atlas.layers["plain"], house.shade(0.85, 0.08), top_surface=Surface.ROOF)
    for _ in range(int(rng.integers(1, 4))):
        corner = front.at(rng.uniform(0.1, 0.7) * lot.width, top, -rng.uniform(0.2, 0.6) * lot.depth)
        edges, height = (lot.along * rng.uniform(1.5, 3), back * rng.uniform(1.5, 3)), rng.uniform(1, 2.8)
        mesh.box(corner, *edges, height, atlas.layers["metalroof"], (0.6, 0.6, 0.6), top_surface=Surface.ROOF)


def _gable_roof(
    mesh: MeshBuilder, atlas: Atlas, house: House, lot: Lot, rise: float, layer: int, tint: np.ndarray
) -> None:
    """A ridge parallel to the street."""
    front, top, width = _front(lot), house.height, lot.along * lot.width
    ridge = front.at(0, top + rise, -lot.depth / 2)
    slope = float(np.hypot(lot.depth / 2, rise)) / 3
    uv = [(0, 0), (lot.width / 3, 0), (lot.width / 3, slope), (0, slope)]
    near, far = front.at(0, top, EAVES), front.at(0, top, -lot.depth - EAVES)
    mesh.quad([near, near + width, ridge + width, ridge], uv, layer, tint, Surface.ROOF)
    mesh.quad([far + width, far, ridge, ridge + width], uv, layer, tint, Surface.ROOF)
    for x, normal in ((0, -lot.along), (lot.width, lot.along)):
        base = front.at(x, top), front.at(x, top, -lot.depth)
        _gable(mesh, atlas, house, base, front.at(x, top + rise, -lot.depth / 2), normal)


def _street_gable_roof(
    mesh: MeshBuilder, atlas: Atlas, house: House, lot: Lot, rise: float, layer: int, tint: np.ndarray
) -> None:
    """A ridge at right angles to the street."""
    front, top, depth = _front(lot), house.height, -lot.outward * lot.depth
    ridge = front.at(lot.width / 2, top + rise)
    slope, length = float(np.hypot(lot.width / 2, rise)) / 3, lot.depth / 3
    left, right = front.at(-GABLE_EAVES, top), front.at(lot.width + GABLE_EAVES, top)
    uv = [(0, 0), (0, slope), (length, slope), (length, 0)]
    mesh.quad([left, ridge, ridge + depth, left + depth], uv, layer, tint, Surface.ROOF)
    uv = [(0, 0), (length, 0), (length, slope), (0, slope)]
    mesh.quad([right, right + depth, ridge + depth, ridge], uv, layer, tint, Surface.ROOF)
    for out, normal in ((0, lot.outward), (-lot.depth, -lot.outward)):
        base = front.at(0, top, out), front.at(lot.width, top, out)
        _gable(mesh, atlas, house, base, front.at(lot.width / 2, top + rise, out), normal)


def _gable(
    mesh: MeshBuilder,
    atlas: Atlas,
    house: House,
    base: tuple[np.ndarray, np.ndarray],
    peak: np.ndarray,
    normal: np.ndarray,
) -> None:
    """The wall triangle under a ridge (a quad whose last two corners meet)."""
    width = float(np.linalg.norm(base[1] - base[0]))
    uv = [(0, 0), (width / 3, 0), (width / 6, 1), (width / 6, 1)]
    layer = atlas.layers[f"wall_{house.material}"]
    mesh.quad([*base, peak, peak], uv, layer, house.tint, normal=normal)


def _add_dormers(mesh: MeshBuilder, atlas: Atlas, house: House, lot: Lot, tint: np.ndarray) -> None:
    """Windows in the front slope, one to every 4.5 m."""
    front, back = _front(lot), -lot.outward
    count, width, height = max(1, int(lot.width / DORMER_SPACING)), 1.4, 1.5
    for i in range(count):
        x, z = (i + 0.5) * lot.width / count - width / 2, house.height + 0.25
        edge, rise, uv, seed = lot.along * width, UP * height, (0, 0, 1, 1), house.seed + i + 40
        start = front.at(x, z, -0.6)
        mesh.rect(start, edge, rise, uv, house.layer, house.tint, Surface.FACADE, seed, lot.outward)
        mesh.box(
            front.at(x, z, -0.61),
            edge,
            back * 2,
            height,
            atlas.layers["plain"],
            house.shade(0.8),
            top_tint=tint,
            top_surface=Surface.ROOF,
        )
