"""The ground of one block: pavement, kerb, the two streets south and west of it, and their markings."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.procity.atlas import Atlas
from training.procity.mesh import UP, MeshBuilder, Surface, Vector, point

PAVEMENT_WIDTH = 3.0
PAVEMENT_HEIGHT = 0.14
PAVEMENTS = ("paver", "slab", "cobble")
ZEBRA_CHANCE = 0.75


@dataclass(frozen=True, eq=False)
class Edge:
    """One side of a block, the block on its left: start corner [3], unit direction [3], length in metres."""

    start: np.ndarray
    along: np.ndarray
    length: float

    @property
    def towards_street(self) -> np.ndarray:
        """Unit vector away from the block."""
        return np.array([self.along[1], -self.along[0], 0.0])

    def at(self, distance: float, out: float = 0.0, z: float = 0.0) -> np.ndarray:
        """The point `distance` metres along the edge, `out` metres into the street, `z` metres up."""
        return self.start + self.along * distance + self.towards_street * out + UP * z


@dataclass(frozen=True)
class Plot:
    """A block's rectangle within its kerbs, and the widths of the streets south and west of it (all metres)."""

    x0: float
    y0: float
    x1: float
    y1: float
    south: float
    west: float

    @property
    def width(self) -> float:
        """East-west size in metres."""
        return self.x1 - self.x0

    @property
    def depth(self) -> float:
        """North-south size in metres."""
        return self.y1 - self.y0

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """x0, y0, x1, y1 of the ground that belongs to the block, its two streets included."""
        return self.x0 - self.west, self.y0 - self.south, self.x1, self.y1

    def inner(self) -> tuple[float, float, float, float]:
        """x0, y0, x1, y1 of the land behind the pavement."""
        rim = PAVEMENT_WIDTH
        return self.x0 + rim, self.y0 + rim, self.x1 - rim, self.y1 - rim

    def edges(self) -> tuple[Edge, Edge, Edge, Edge]:
        """The kerbs, anticlockwise: south, east, north, west."""
        return (
            Edge(point(self.x0, self.y0), point(1, 0), self.width),
            Edge(point(self.x1, self.y0), point(0, 1), self.depth),
            Edge(point(self.x1, self.y1), point(-1, 0), self.width),
            Edge(point(self.x0, self.y1), point(0, -1), self.depth),
        )


def add_ground(mesh: MeshBuilder, atlas: Atlas, plot: Plot, rng: np.random.Generator) -> None:
    """Pavement, kerbs, roads, markings and patches of newer asphalt."""
    pavement = atlas.layers[PAVEMENTS[int(rng.integers(len(PAVEMENTS)))]]
    uv = (plot.x0 / 4, plot.y0 / 4, plot.x1 / 4, plot.y1 / 4)
    top = point(plot.x0, plot.y0, PAVEMENT_HEIGHT)
    _flat(mesh, top, plot.width, plot.depth, uv, pavement, Surface.WALK)
    kerb, rise = atlas.layers["plain"], UP * PAVEMENT_HEIGHT
    for edge in plot.edges():
        mesh.rect(edge.start, edge.along * edge.length, rise, (0, 0, 20, 0.05), kerb, (0.55, 0.55, 0.54))
    _add_roads(mesh, atlas, plot)
    _add_markings(mesh, atlas, plot, rng)
    for _ in range(3):
        corner = point(rng.uniform(plot.x0, plot.x1), plot.y0 - plot.south * rng.uniform(0.2, 0.8), 0.008)
        size, tint = (rng.uniform(1.5, 7), rng.uniform(0.6, 1.8)), (0.72, 0.72, 0.75)
        _flat(mesh, corner, *size, (0, 0, 1, 1), atlas.layers["asphalt"], Surface.ROAD, tint)


def _flat(
    mesh: MeshBuilder,
    corner: np.ndarray,
    width: float,
    depth: float,
    uv: tuple[float, float, float, float],
    layer: int,
    surface: Surface,
    tint: Vector = (1, 1, 1),
) -> None:
    mesh.rect(corner, point(width, 0), point(0, depth), uv, layer, tint, surface, normal=UP)


def _add_roads(mesh: MeshBuilder, atlas: Atlas, plot: Plot) -> None:
    """The southern street with its crossing, and the western one."""
    asphalt, (x0, y0, x1, y1) = atlas.layers["asphalt"], plot.bounds
    uv = (x0 / 6, y0 / 6, x1 / 6, plot.y0 / 6)
    _flat(mesh, point(x0, y0), x1 - x0, plot.south, uv, asphalt, Surface.ROAD)
    uv = (x0 / 6, plot.y0 / 6, plot.x0 / 6, y1 / 6)
    _flat(mesh, point(x0, plot.y0), plot.west, plot.depth, uv, asphalt, Surface.ROAD)


def _add_markings(mesh: MeshBuilder, atlas: Atlas, plot: Plot, rng: np.random.Generator) -> None:
    """Dashed centre lines on two blocks of three, zebra crossings on three of four."""
    plain = atlas.layers["plain"]

    def mark(x: float, y: float, width: float, depth: float) -> None:
        uv = (0, 0, width / 3, depth / 3)
        _flat(mesh, point(x, y, 0.012), width, depth, uv, plain, Surface.MARKING, (0.82, 0.82, 0.8))

    if rng.integers(3) > 0:
        for x in np.arange(plot.x0 + 7, plot.x1 - 9, 6.0):
            mark(x, plot.y0 - plot.south / 2 - 0.07, 3.2, 0.14)
        for y in np.arange(plot.y0 + 7, plot.y1 - 9, 6.0):
            mark(plot.x0 - plot.west / 2 - 0.07, y, 0.14, 3.2)
    if rng.random() < ZEBRA_CHANCE:
        for y in np.arange(plot.y0 - plot.south + 0.5, plot.y0 - 0.5, 0.95):
            mark(plot.x0 + 1.0, y, 2.6, 0.5)
        for x in np.arange(plot.x0 - plot.west + 0.5, plot.x0 - 0.5, 0.95):
            mark(x, plot.y0 + 1.0, 0.5, 2.6)
