"""One block with the streets south and west of it: houses, gardens, flats, works, parks, squares or a landmark."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from training.procity.atlas import Atlas
from training.procity.buildings import add_building
from training.procity.character import Character
from training.procity.furniture import add_lamp_post, add_street_item
from training.procity.land import Land
from training.procity.landmarks import (
    Site,
    add_church,
    add_colonnade,
    add_hedge,
    add_market_hall,
    add_monument,
    add_stall,
    add_station,
    add_works,
    tower_lots,
)
from training.procity.lots import Lot
from training.procity.mesh import Face, MeshBuilder, Surface, point
from training.procity.streets import PAVEMENT_HEIGHT, PAVEMENT_WIDTH, Edge, Ground, Plot, add_ground

BUILDING_DEPTH = 11.0
TERRACE_LOT = 7.5
GAP_CHANCE, MURAL_CHANCE = 0.05, 0.3
LAMP_SPACING, PARKING_SPACING, WALK_SPACING = 19.0, 5.8, 3.7
TREE_SHAPES = 5
PARK_TREES = 24
GARDEN_DEPTH = 5.0
LANDMARKS = {"church": add_church, "market": add_market_hall, "station": add_station}


@dataclass(frozen=True, eq=False)
class Block:
    """`mesh` float32 [V, 14] (see mesh.py); `lights` float32 [N, 9]: x y z, red green blue, strength, is_shop, seed;
    `trees` float64 [N, 7]: x y, metres above the ground, turn (radians), scale, shape number, random 0..1; `bounds`:
    world x0, y0, x1, y1; `parking` and `walks`: x, y, heading of places for cars and pedestrians."""

    mesh: np.ndarray
    lights: np.ndarray
    trees: np.ndarray
    bounds: tuple[float, float, float, float]
    parking: list[tuple[float, float, float]]
    walks: list[tuple[float, float, float]]
    kind: str


@dataclass(frozen=True, eq=False)
class Workplace:
    """What every function here needs: where to draw, and by which rules."""

    mesh: MeshBuilder
    atlas: Atlas
    land: Land
    plot: Plot
    character: Character
    rng: np.random.Generator
    trees: list[tuple[float, ...]]

    def site(self, rim: float = PAVEMENT_WIDTH + 1.0) -> Site:
        """The land behind the pavement as a building site, its long side along the plan's x or y at random."""
        x0, y0, x1, y1 = self.plot.inner(rim)
        x, y = (x0 + x1) / 2, (y0 + y1) / 2
        middle, along = self.land.place(x, y, PAVEMENT_HEIGHT), self.land.direction(x, y, point(1, 0))
        width = float(np.linalg.norm(self.land.place(x1, y)[:2] - self.land.place(x0, y)[:2]))
        depth = float(np.linalg.norm(self.land.place(x, y1)[:2] - self.land.place(x, y0)[:2]))
        return Site(middle, along, width, depth)

    def style(self, family: tuple[tuple[str, str], ...], rng: np.random.Generator) -> int:
        """An index into `atlas.styles`."""
        return self.atlas.styles.index(family[int(rng.integers(len(family)))])

    def add_tree(self, x: float, y: float, scale: tuple[float, float]) -> None:
        """A tree at a plan point."""
        wx, wy = self.land.flat(x, y)
        rng = self.rng
        turn, size, shape = rng.random() * 2 * np.pi, rng.uniform(*scale), int(rng.integers(TREE_SHAPES))
        self.trees.append((float(wx), float(wy), PAVEMENT_HEIGHT, turn, size, shape, rng.random()))


def build_block(
    atlas: Atlas,
    land: Land,
    plot: Plot,
    edge_kinds: tuple[str, ...],
    character: Character,
    landmark: str | None,
    rng: np.random.Generator,
) -> Block:
    """Draw one block. `edge_kinds`: what the streets south, east, north and west are; `landmark`: its kind, if set."""
    work = Workplace(MeshBuilder(), atlas, land, plot, character, rng, [])
    add_ground(work.mesh, atlas, land, plot, character, rng)
    names, weights = list(character.mix), np.array(list(character.mix.values()))
    kind = landmark or str(rng.choice(names, p=weights / weights.sum()))
    covered = any(k in ("gallery", "underpass") for k in edge_kinds)
    if covered and kind not in ("houses", "colonnade", "works"):
        kind = "houses"  # a roofed street needs walls
    if kind in ("houses", "colonnade"):
        _add_houses(work, colonnade=kind == "colonnade")
    elif kind == "detached":
        _add_detached(work)
    elif kind == "towers":
        _add_lawn(work)
        family = character.families[int(rng.integers(len(character.families)))]
        for lot in tower_lots(work.site(), character.look, rng):
            add_building(work.mesh, atlas, lot, rng, work.style(family, rng))
    elif kind == "works":
        add_works(work.mesh, atlas, work.site(PAVEMENT_WIDTH + 0.3), character.look, rng)
    elif kind == "park":
        _add_park(work)
    elif kind == "square":
        _add_square(work)
    else:
        if kind == "church":
            _add_lawn(work)
        LANDMARKS[kind](work.mesh, atlas, work.site(), rng)
    parking, walks = _furnish(work, edge_kinds)
    mesh = work.mesh.array()
    low, high = mesh[:, :2].min(0), mesh[:, :2].max(0)
    trees = np.array(work.trees, float).reshape(-1, 7)
    bounds = (float(low[0]), float(low[1]), float(high[0]), float(high[1]))
    return Block(mesh, work.mesh.light_array(), trees, bounds, parking, walks, kind)


def _add_lawn(work: Workplace) -> None:
    Ground(work.mesh, work.atlas, work.land).area(*work.plot.inner(), 0.16, "grass", 4, Surface.WALK, (0.98,) * 3)


def _add_park(work: Workplace) -> None:
    """Lawn, two paths that cross, trees, and sometimes a monument and a hedge round it."""
    _add_lawn(work)
    ground, (x0, y0, x1, y1), rng = Ground(work.mesh, work.atlas, work.land), work.plot.inner(), work.rng
    x, y = (x0 + x1) / 2, (y0 + y1) / 2
    path = (0.17, "gravel", 4, Surface.WALK, (0.98, 0.86, 0.70))
    ground.area(x - 1.2, y0, x + 1.2, y1, *path)
    ground.area(x0, y - 1.2, x1, y + 1.2, *path)
    if rng.random() < 0.6:
        add_monument(work.mesh, work.atlas, work.land.place(x, y, 0.1), work.land.direction(x, y, point(1, 0)), rng)
    for _ in range(PARK_TREES):
        at = rng.uniform(x0 + 1, x1 - 1), rng.uniform(y0 + 1, y1 - 1)
        if np.hypot(at[0] - x, at[1] - y) > 6:
            work.add_tree(*at, (0.9, 1.45))
    if rng.random() < 0.5:
        _enclose(work, hedge=rng.random() < 0.6)


def _enclose(work: Workplace, hedge: bool) -> None:
    """A low hedge or fence behind the pavement with a gap in the middle of each side."""
    for edge in work.plot.edges(work.land):
        inset = -PAVEMENT_WIDTH - 0.7
        for a, b in ((4.0, edge.length / 2 - 2.5), (edge.length / 2 + 2.5, edge.length - 4.0)):
            cuts = np.linspace(a, b, max(2, int((b - a) / 6) + 1))
            for start, end in pairwise(cuts):
                add_hedge(work.mesh, work.atlas, edge.at(start, inset), edge.at(end, inset), 0.9, hedge)


def _add_square(work: Workplace) -> None:
    """Paving, a monument, rows of trees or stalls, lanterns."""
    rng, land = work.rng, work.land
    layer = str(rng.choice(["cobble", "slab", "paver"]))
    tint = np.clip(np.array([1.25, 1.18, 1.08]) * rng.uniform(0.8, 1.1), 0, 1.4)
    Ground(work.mesh, work.atlas, land).area(*work.plot.inner(), 0.15, layer, 4, Surface.WALK, tint)
    x0, y0, x1, y1 = work.plot.inner(PAVEMENT_WIDTH + 4)
    x, y = (x0 + x1) / 2, (y0 + y1) / 2
    add_monument(work.mesh, work.atlas, land.place(x, y, 0.12), land.direction(x, y, point(1, 0)), rng)
    if rng.random() < 0.6:
        for ax in np.arange(x0, x1, 8.0):
            for ay in (y0, y1):
                work.add_tree(ax, ay, (0.7, 1.0))
    if rng.random() < 0.7:
        for ax in np.arange(x0 + 3, x1 - 4, 5.5):
            for ay in (y0 + 5, y1 - 7):
                if abs(ax - x) > 5 and rng.random() < 0.75:
                    add_stall(work.mesh, work.atlas, land.place(ax, ay, 0.12), land.direction(ax, ay, point(1, 0)), rng)
    style = int(rng.choice(work.character.lamps))
    for ax in (x0, x, x1):
        for ay in (y0 + 3, y1 - 3):
            add_lamp_post(work.mesh, work.atlas, land.place(ax, ay, 0.12), land.direction(ax, ay, point(0, 1)), style)


def _add_houses(work: Workplace, colonnade: bool) -> None:
    """Rows of buildings along the four sides; the south and north rows take the corners."""
    x0, y0, x1, y1 = work.plot.inner()
    depth, length = BUILDING_DEPTH, y1 - y0 - 2 * BUILDING_DEPTH
    land, families = work.land, work.character.families
    family = families[int(work.rng.integers(len(families)))]
    sides = (
        (Edge(land, point(x0, y0), point(1, 0), x1 - x0), True),
        (Edge(land, point(x1, y0 + depth), point(0, 1), length), False),
        (Edge(land, point(x1, y1), point(-1, 0), x1 - x0), True),
        (Edge(land, point(x0, y1 - depth), point(0, -1), length), False),
    )
    for side, has_corners in sides:
        if side.length > 4:
            _add_row(work, side, has_corners, family, colonnade)


def rigid_lot(edge: Edge, start: float, width: float, depth: float, out: float = 0.0, **rest: object) -> Lot:
    """A straight, level lot between two points of a bent, sloping edge; as high as its higher front corner."""
    a, b = edge.at(start, out), edge.at(start + width, out)
    level = np.array([b[0] - a[0], b[1] - a[1], 0.0])
    size = float(np.linalg.norm(level))
    along = level / size
    back = np.array([-along[1], along[0], 0.0]) * depth * size / width
    ground = [edge.land.height(*(p + q)[:2]) for p in (a, b) for q in (0 * back, back)]
    origin = np.array([a[0], a[1], max(ground[0], ground[2]) + PAVEMENT_HEIGHT])
    plinth = float(origin[2] - min(ground))
    return Lot(origin, along, size, depth * size / width, plinth=plinth, **rest)


def _add_row(
    work: Workplace, side: Edge, has_corners: bool, family: tuple[tuple[str, str], ...], colonnade: bool
) -> None:
    """One side of a block: separate buildings, or a terrace that repeats one building; with the odd gap."""
    rng, character = work.rng, work.character
    is_terrace = rng.random() < character.terraces
    spans = _split_lots(side.length, is_terrace, character.lots, rng)
    terrace_seed, terrace_style = int(rng.integers(1 << 30)), work.style(family, rng)
    last = len(spans) - 1
    for number, (start, width) in enumerate(spans):
        if rng.random() < GAP_CHANCE and 0 < number < last:
            continue
        exposed = rng.random() < MURAL_CHANCE
        left, right = has_corners and number == 0, has_corners and number == last
        depth = BUILDING_DEPTH if left or right else BUILDING_DEPTH * rng.uniform(0.92, 1.0)
        corner = {"left_open": left, "right_open": right, "exposed": exposed, "look": character.look}
        lot = rigid_lot(side, start, width, depth, **corner)
        house_rng = np.random.default_rng(terrace_seed if is_terrace else int(rng.integers(1 << 30)))
        style = terrace_style if is_terrace else work.style(family, house_rng)
        add_building(work.mesh, work.atlas, lot, house_rng, style)
        if colonnade:
            face = Face(lot.origin, lot.along, lot.outward, lot.width)
            add_colonnade(work.mesh, work.atlas, face, 3.7, PAVEMENT_WIDTH - 0.6, np.array([0.85, 0.82, 0.75]))


def _add_detached(work: Workplace) -> None:
    """Houses in gardens behind hedges and fences."""
    rng, character, ground = work.rng, work.character, Ground(work.mesh, work.atlas, work.land)
    ground.area(*work.plot.inner(), 0.15, "grass", 4, Surface.WALK, (0.98,) * 3)
    family = character.families[int(rng.integers(len(character.families)))]
    hedge = rng.random() < 0.6
    for number, edge in enumerate(work.plot.edges(work.land)):
        margin = 3.0 if number % 2 == 0 else 17.0
        start = margin
        while start + 11 < edge.length - margin:
            width = rng.uniform(*character.lots)
            setback = -PAVEMENT_WIDTH - GARDEN_DEPTH - rng.uniform(0, 2)
            lot = rigid_lot(
                edge, start + 2.0, width, 9.0, setback, left_open=True, right_open=True, look=character.look
            )
            add_building(
                work.mesh, work.atlas, lot, np.random.default_rng(int(rng.integers(1 << 30))), work.style(family, rng)
            )
            inset, gate = -PAVEMENT_WIDTH - 0.4, start + width * rng.uniform(0.3, 0.7)
            for a, b in ((start, gate - 0.8), (gate + 0.8, start + width + 3.5)):
                if b - a > 0.5:
                    height = 1.25 if hedge else 1.0
                    add_hedge(
                        work.mesh, work.atlas, edge.at(a, inset), edge.at(min(b, edge.length - 3), inset), height, hedge
                    )
            if rng.random() < 0.7:
                work.add_tree(*edge.plan(start + rng.uniform(0, width), -PAVEMENT_WIDTH - 2.4), (0.5, 0.9))
            start += width + rng.uniform(4.0, 7.0)


def _split_lots(
    length: float, is_terrace: bool, widths: tuple[float, float], rng: np.random.Generator
) -> list[tuple[float, float]]:
    """(start, width) in plan metres of the lots along a side; the last one takes what is left."""
    spans, start = [], 0.0
    smallest = min(7.0, widths[0])
    while start < length - 0.1:
        width = TERRACE_LOT if is_terrace else rng.uniform(*widths)
        if length - start - width < smallest:
            width = length - start
        spans.append((start, width))
        start += width
    return spans


Places = list[tuple[float, float, float]]


def _furnish(work: Workplace, edge_kinds: tuple[str, ...]) -> tuple[Places, Places]:
    """Lamps, trees and small items along the kerbs. Returns places to park and places to walk."""
    rng, character = work.rng, work.character
    lamp_style, spacing = int(rng.choice(character.lamps)), float(rng.choice(character.tree_spacing))
    parking: Places = []
    walks: Places = []
    for edge, kind in zip(work.plot.edges(work.land), edge_kinds, strict=True):
        covered = kind in ("gallery", "underpass")
        walks += _places(edge, np.arange(4, edge.length - 4, WALK_SPACING), -1.6, 0.0)
        for distance in rng.uniform(5, edge.length - 5, 3):
            foot = edge.at(distance, -0.35, PAVEMENT_HEIGHT)
            along, out = edge.direction(distance), edge.towards_street(distance)
            add_street_item(work.mesh, work.atlas, foot, along, out, rng, character.furniture_tint)
        if covered:
            continue
        parking += _places(edge, np.arange(9, edge.length - 11, PARKING_SPACING), 1.05, np.pi)
        for distance in np.arange(6, edge.length - 4, LAMP_SPACING):
            add_lamp_post(work.mesh, work.atlas, edge.at(distance, -0.45), edge.towards_street(distance), lamp_style)
        if spacing and rng.random() < 0.75:
            for distance in np.arange(9.5, edge.length - 6, spacing):
                if rng.random() < 0.85:
                    work.add_tree(*edge.plan(distance, -0.9), character.tree_scale)
    return parking, walks


def _places(edge: Edge, distances: np.ndarray, out: float, turn: float) -> Places:
    """World x, y, heading of places at a distance from the kerb; the heading is the kerb's direction plus `turn`."""
    places = []
    for distance in distances:
        along, at = edge.direction(distance), edge.at(distance, out)
        places.append((float(at[0]), float(at[1]), float(np.arctan2(along[1], along[0])) + turn))
    return places
