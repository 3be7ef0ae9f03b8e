"""Roofs: flat with a parapet, gabled along the street, or with a gable towards the street."""

from __future__ import annotations

import numpy as np

from training.procity.atlas import Atlas
from training.procity.lots import House, Lot
from training.procity.mesh import UP, Face, MeshBuilder, Surface

ROOF_TINTS = ((0.62, 0.33, 0.24), (0.48, 0.28, 0.22), (0.34, 0.33, 0.35), (0.40, 0.42, 0.45), (0.55, 0.40, 0.32))
CHIMNEY_TINT = (0.6, 0.38, 0.3)
EAVES = 0.35  # metres that a roof stands out over front and back
GABLE_EAVES = 0.3  # metres that a street-gable roof stands out over the sides
DORMER_SPACING = 4.5


def add_roof(mesh: MeshBuilder, atlas: Atlas, house: House, lot: Lot, rng: np.random.Generator) -> None:
    """Add a roof on the walls of a building: always flat on modern ones, otherwise drawn at random."""
    tint, form = np.array(ROOF_TINTS[rng.integers(len(ROOF_TINTS))]), rng.random()
    if house.is_modern or form < 0.3:
        _flat_roof(mesh, atlas, house, lot, rng)
        return
    rise = rng.uniform(1.8, 3.6)
    layer = atlas.layers["rooftile" if rng.random() < 0.75 else "metalroof"]
    if form < 0.75:
        _gable_roof(mesh, atlas, house, lot, rise, layer, tint)
        if rng.random() < 0.5:
            _add_dormers(mesh, atlas, house, lot, tint)
    else:
        _street_gable_roof(mesh, atlas, house, lot, rise * 1.3, layer, tint)
    front, back = _front(lot), -lot.outward
    for _ in range(int(rng.integers(0, 3))):
        x, depth = rng.uniform(0.1, 0.85) * lot.width, rng.uniform(0.3, 0.6) * lot.depth
        corner, height = front.at(x, house.height, -depth), rise + rng.uniform(0.5, 1.2)
        edges = lot.along * 0.7, back * 0.5
        mesh.box(corner, *edges, height, atlas.layers["wall_brick"], CHIMNEY_TINT, top_surface=Surface.ROOF)


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
