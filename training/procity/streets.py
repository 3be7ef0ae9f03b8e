"""Ground: pavements, kerbs, roads, markings, canals with bridges, and the roofs of covered streets.

Everything here is laid out in plan metres and placed in the world by the city's land, in cells small enough to follow
its curves.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.procity.atlas import Atlas
from training.procity.character import Character
from training.procity.land import Land
from training.procity.mesh import UP, MeshBuilder, Surface, Vector, point

PAVEMENT_WIDTH = 3.0
PAVEMENT_HEIGHT = 0.14
ZEBRA_CHANCE = 0.75
CELL = 5.0  # plan metres; larger areas are cut up so that they bend with the land
CANAL_WATER = 9.0  # metres of water between the quays
CANAL_QUAY = 5.2  # metres of road on each side of it
WATER_LEVEL = -1.5
COVERED_HEIGHT = {"gallery": 6.4, "underpass": 4.1}
ROAD_REPEAT = {"asphalt": 6.0, "cobble": 2.6}  # metres


@dataclass(frozen=True, eq=False)
class Edge:
    """One side of a block, the block on its left: plan start [3], unit direction [3], length in plan metres."""

    land: Land
    start: np.ndarray
    along: np.ndarray
    length: float

    def plan(self, distance: float, out: float = 0.0) -> tuple[float, float]:
        """Plan x, y of the point `distance` metres along the edge and `out` metres into the street."""
        x = self.start[0] + self.along[0] * distance + self.along[1] * out
        return float(x), float(self.start[1] + self.along[1] * distance - self.along[0] * out)

    def at(self, distance: float, out: float = 0.0, z: float = 0.0) -> np.ndarray:
        """The same point in the world [3], `z` metres above the ground."""
        return self.land.place(*self.plan(distance, out), z)

    def direction(self, distance: float) -> np.ndarray:
        """Unit vector [3] of the world along the edge."""
        return self.land.direction(*self.plan(distance), self.along)

    def towards_street(self, distance: float) -> np.ndarray:
        """Unit vector [3] of the world away from the block."""
        along = self.direction(distance)
        return np.array([along[1], -along[0], 0.0])


@dataclass(frozen=True)
class Plot:
    """A block's plan rectangle within its kerbs, and the widths and kinds of the streets south and west of it."""

    x0: float
    y0: float
    x1: float
    y1: float
    south: float
    west: float
    south_kind: str = "road"
    west_kind: str = "road"

    @property
    def width(self) -> float:
        """East-west size in plan metres."""
        return self.x1 - self.x0

    @property
    def depth(self) -> float:
        """North-south size in plan metres."""
        return self.y1 - self.y0

    def inner(self, rim: float = PAVEMENT_WIDTH) -> tuple[float, float, float, float]:
        """x0, y0, x1, y1 of the land behind the pavement."""
        return self.x0 + rim, self.y0 + rim, self.x1 - rim, self.y1 - rim

    def edges(self, land: Land) -> tuple[Edge, Edge, Edge, Edge]:
        """The kerbs, anticlockwise: south, east, north, west."""
        return (
            Edge(land, point(self.x0, self.y0), point(1, 0), self.width),
            Edge(land, point(self.x1, self.y0), point(0, 1), self.depth),
            Edge(land, point(self.x1, self.y1), point(-1, 0), self.width),
            Edge(land, point(self.x0, self.y1), point(0, -1), self.depth),
        )


class Ground:
    """Lays flat things of one block on the land."""

    def __init__(self, mesh: MeshBuilder, atlas: Atlas, land: Land) -> None:
        self.mesh, self.atlas, self.land = mesh, atlas, land

    def area(
        self,
        x0: float,
        y0: float,
        x1: float,
        y1: float,
        z: float,
        layer: str,
        repeat: float,
        surface: Surface,
        tint: Vector = (1, 1, 1),
    ) -> None:
        """A plan rectangle `z` metres above the ground; its texture repeats every `repeat` metres."""
        if x1 - x0 < 1e-6 or y1 - y0 < 1e-6:
            return
        xs = np.linspace(x0, x1, max(1, int(np.ceil((x1 - x0) / CELL))) + 1)
        ys = np.linspace(y0, y1, max(1, int(np.ceil((y1 - y0) / CELL))) + 1)
        a, b = (v.ravel() for v in np.meshgrid(xs[:-1], ys[:-1], indexing="ij"))
        c, d = (v.ravel() for v in np.meshgrid(xs[1:], ys[1:], indexing="ij"))
        x, y = np.stack([a, c, c, a], 1), np.stack([b, b, d, d], 1)
        uv = np.stack([x, y], -1) / repeat
        self.mesh.patch(self.land.place(x, y, z), uv, self.atlas.layers[layer], tint, surface)

    def wall(
        self, start: tuple[float, float], end: tuple[float, float], low: float, high: float, layer: str, tint: Vector
    ) -> None:
        """An upright strip over a plan line, from `low` to `high` metres above the ground, seen from both sides."""
        count = max(1, int(np.ceil(np.hypot(end[0] - start[0], end[1] - start[1]) / CELL)))
        xs, ys = np.linspace(start[0], end[0], count + 1), np.linspace(start[1], end[1], count + 1)
        foot, head = self.land.place(xs, ys, low), self.land.place(xs, ys, high)
        corners = np.stack([foot[:-1], foot[1:], head[1:], head[:-1]], 1)
        lengths = np.linalg.norm(corners[:, 1] - corners[:, 0], axis=1)
        for quad, length in zip(corners, lengths, strict=True):
            uv = [(0, 0), (length / 3, 0), (length / 3, (high - low) / 3), (0, (high - low) / 3)]
            self.mesh.quad(quad, uv, self.atlas.layers[layer], tint, Surface.FENCE)


def add_ground(
    mesh: MeshBuilder, atlas: Atlas, land: Land, plot: Plot, character: Character, rng: np.random.Generator
) -> None:
    """Pavement, kerbs, roads, water, markings and patches of newer asphalt of one block."""
    ground = Ground(mesh, atlas, land)
    pavement = character.pavements[int(rng.integers(len(character.pavements)))]
    ground.area(
        plot.x0, plot.y0, plot.x1, plot.y1, PAVEMENT_HEIGHT, pavement, 2.8 if pavement == "cobble" else 4, Surface.WALK
    )
    for edge in plot.edges(land):
        ground.wall(edge.plan(0), edge.plan(edge.length), 0, PAVEMENT_HEIGHT, "plain", (0.55, 0.55, 0.54))
    left, low = plot.x0 - plot.west, plot.y0 - plot.south
    for kind, box, is_row in (
        (plot.south_kind, (plot.x0, low, plot.x1, plot.y0), True),
        (plot.west_kind, (left, plot.y0, plot.x0, plot.y1), False),
    ):
        _add_street(ground, box, kind, is_row, character, rng)
    _add_crossing(ground, (left, low, plot.x0, plot.y0), plot, character)


def _add_street(
    ground: Ground,
    box: tuple[float, float, float, float],
    kind: str,
    is_row: bool,
    character: Character,
    rng: np.random.Generator,
) -> None:
    x0, y0, x1, y1 = box
    if kind == "canal":
        _add_canal(ground, box, is_row, character)
    elif kind == "road":
        ground.area(x0, y0, x1, y1, 0, character.road, ROAD_REPEAT[character.road], Surface.ROAD, character.road_tint)
        _add_markings(ground, box, is_row, character, rng)
    else:
        layer = "slab" if kind == "gallery" else "asphalt"
        ground.area(
            x0, y0, x1, y1, 0, layer, 4, Surface.WALK, (1, 0.97, 0.92) if kind == "gallery" else (1.5, 1.5, 1.5)
        )
        _add_cover(ground, box, kind, is_row)


def _add_crossing(ground: Ground, box: tuple[float, float, float, float], plot: Plot, character: Character) -> None:
    """Where two streets meet: road, or a bridge where one of them is a canal."""
    x0, y0, x1, y1 = box
    if "canal" not in (plot.south_kind, plot.west_kind):
        ground.area(*box, 0, character.road, ROAD_REPEAT[character.road], Surface.ROAD, character.road_tint)
        return
    ground.area(*box, 0.0, character.road, ROAD_REPEAT[character.road], Surface.ROAD, character.road_tint)
    tint, height = (0.60, 0.57, 0.52), 1.0
    if plot.south_kind == "canal":
        a, b = y0 + CANAL_QUAY, y1 - CANAL_QUAY
        for x in (x0, x1):
            ground.wall((x, a), (x, b), WATER_LEVEL, height, "wall_stone", tint)
    else:
        a, b = x0 + CANAL_QUAY, x1 - CANAL_QUAY
        for y in (y0, y1):
            ground.wall((a, y), (b, y), WATER_LEVEL, height, "wall_stone", tint)


def _add_canal(ground: Ground, box: tuple[float, float, float, float], is_row: bool, character: Character) -> None:
    """Two quays, stone walls, a railing and water."""
    x0, y0, x1, y1 = box
    quay = CANAL_QUAY
    road = (0, character.road, ROAD_REPEAT[character.road], Surface.ROAD, character.road_tint)
    stone, iron = (0.52, 0.50, 0.46), (0.10, 0.11, 0.11)
    if is_row:
        ground.area(x0, y0, x1, y0 + quay, *road)
        ground.area(x0, y1 - quay, x1, y1, *road)
        ground.area(x0, y0 + quay, x1, y1 - quay, WATER_LEVEL, "plain", 6, Surface.WATER, (0.10, 0.16, 0.14))
        lines = [((x0, y), (x1, y)) for y in (y0 + quay, y1 - quay)]
    else:
        ground.area(x0, y0, x0 + quay, y1, *road)
        ground.area(x1 - quay, y0, x1, y1, *road)
        ground.area(x0 + quay, y0, x1 - quay, y1, WATER_LEVEL, "plain", 6, Surface.WATER, (0.10, 0.16, 0.14))
        lines = [((x, y0), (x, y1)) for x in (x0 + quay, x1 - quay)]
    for start, end in lines:
        ground.wall(start, end, WATER_LEVEL - 0.2, 0.12, "wall_stone", stone)
        for height in (0.5, 0.95):
            ground.wall(start, end, height, height + 0.06, "plain", iron)
        length = float(np.hypot(end[0] - start[0], end[1] - start[1]))
        for share in np.arange(0, length, 2.6) / length:
            x, y = np.array(start) + share * (np.array(end) - start)
            foot = ground.land.place(x, y, 0.1)
            ground.mesh.prism(foot, foot + UP * 0.95, 0.05, 0.05, 4, ground.atlas.layers["plain"], iron)


def _add_cover(ground: Ground, box: tuple[float, float, float, float], kind: str, is_row: bool) -> None:
    """A roof from house to house with ribs and lamps; glass over a gallery, concrete over an underpass."""
    x0, y0, x1, y1 = box
    rim, top = PAVEMENT_WIDTH, COVERED_HEIGHT[kind]
    roof = (x0, y0 - rim, x1, y1 + rim) if is_row else (x0 - rim, y0, x1 + rim, y1)
    glass = kind == "gallery"
    layer, tint = ("metalroof", (0.72, 0.80, 0.86)) if glass else ("wall_panel", (0.55, 0.55, 0.53))
    ground.area(*roof, top + 0.35, layer, 3, Surface.ROOF if glass else Surface.GENERIC, tint)
    rib = (0.16, 0.20, 0.18) if glass else (0.42, 0.42, 0.41)
    start, end = (x0, x1) if is_row else (y0, y1)
    across = (roof[1], roof[3]) if is_row else (roof[0], roof[2])
    for number, at in enumerate(np.arange(start + 1.5, end - 0.5, 4.5)):
        a, b = ((at, across[0]), (at, across[1])) if is_row else ((across[0], at), (across[1], at))
        ground.wall(a, b, top - (0.25 if glass else 0.45), top + 0.4, "plain", rib)
        _add_columns(ground, a, b, top, rib, 0.12 if glass else 0.28)
        if number % 2 == 0:
            middle = (np.array(a) + b) / 2
            _add_ceiling_lamp(ground, middle, top - 0.5, glass)


def _add_columns(
    ground: Ground, a: tuple[float, float], b: tuple[float, float], top: float, tint: Vector, radius: float
) -> None:
    """Two columns near the ends of a rib."""
    start, end = np.array(a), np.array(b)
    length = float(np.hypot(*(end - start)))
    for inset in (PAVEMENT_WIDTH - 0.35, length - PAVEMENT_WIDTH + 0.35):
        x, y = start + (end - start) * inset / length
        foot = ground.land.place(x, y)
        ground.mesh.prism(foot, foot + UP * top, radius, radius, 8, ground.atlas.layers["plain"], tint)


def _add_ceiling_lamp(ground: Ground, at: np.ndarray, height: float, warm: bool) -> None:
    place = ground.land.place(at[0], at[1], height)
    colour = (1.0, 0.84, 0.62) if warm else (0.86, 0.95, 1.0)
    corner = place - point(0.5, 0.12)
    layer = ground.atlas.layers["plain"]
    ground.mesh.box(corner, point(1.0, 0), point(0, 0.24), 0.1, layer, colour, Surface.LAMP, bottom=True)
    ground.mesh.light(place - UP * 0.3, colour, 9.0)


def _add_markings(
    ground: Ground, box: tuple[float, float, float, float], is_row: bool, character: Character, rng: np.random.Generator
) -> None:
    """Dashed centre lines on two streets of three, zebra crossings on three of four; none on cobbles."""
    has_lines, has_zebra = rng.integers(3) > 0, rng.random() < ZEBRA_CHANCE
    x0, y0, x1, y1 = box
    if character.road == "asphalt":
        for _ in range(3):
            x, y = rng.uniform(x0, x1 - 2), rng.uniform(y0 + 0.5, y1 - 1)
            size = rng.uniform(1.5, min(7, x1 - x)), rng.uniform(0.6, 1.8)
            ground.area(
                x, y, min(x + size[0], x1), min(y + size[1], y1), 0.008, "asphalt", 3, Surface.ROAD, (0.72,) * 3
            )

    def mark(a: float, b: float, wide: float, deep: float) -> None:
        x, y, w, d = (a, b, wide, deep) if is_row else (b, a, deep, wide)
        ground.area(x, y, x + w, y + d, 0.012, "plain", 3, Surface.MARKING, (0.82, 0.82, 0.8))

    start, end, low, high = (x0, x1, y0, y1) if is_row else (y0, y1, x0, x1)
    if has_lines and character.road == "asphalt":
        for along in np.arange(start + 7, end - 9, 6.0):
            mark(along, (low + high) / 2 - 0.07, 3.2, 0.14)
    if has_zebra and character.road == "asphalt":
        for across in np.arange(low + 0.5, high - 0.5, 0.95):
            mark(start + 1.0, across, 2.6, 0.5)
