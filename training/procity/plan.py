"""The city plan: a grid of blocks with streets, buildings, parks and furniture, and a ring of distant towers.

x is east, y is north, z is up, in metres. Streets are centred at x = i * 72 and y = j * 58.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.procity.atlas import Atlas
from training.procity.buildings import add_building
from training.procity.cars import CAR_SHAPES, car_mesh
from training.procity.furniture import LAMP_STYLES, add_lamp_post, add_street_item, pedestrian_mesh, tree_mesh
from training.procity.lots import TINTS, Lot
from training.procity.mesh import UP, MeshBuilder, Surface, point
from training.procity.streets import PAVEMENT_HEIGHT, Edge, Plot, add_ground

BLOCK_PITCH_X = 72.0
BLOCK_PITCH_Y = 58.0
STREET_WIDTH_X = (7.0, 11.0)
STREET_WIDTH_Y = (6.5, 10.0)
STYLE_FAMILIES = (  # numbers into facades.STYLES; a block draws its buildings from one family
    (0, 1, 3, 5),
    (7, 8, 9, 10, 11, 12),
    (14, 15, 17, 18),
    (21, 22, 25),
    (28, 29, 31, 34),
    (30, 32, 33, 35, 0),
)
BUILDING_DEPTH = 11.0
LOT_WIDTH = (8.0, 16.0)
TERRACE_LOT_WIDTH = 7.5
SMALLEST_LOT = 7.0
TERRACE_CHANCE, PARK_CHANCE, GAP_CHANCE, MURAL_CHANCE = 0.18, 0.13, 0.05, 0.3
LAMP_SPACING, PARKING_SPACING, WALK_SPACING = 19.0, 5.6, 3.7
TREE_SPACINGS = (0.0, 9.0, 13.0)  # 0: no street trees
TREE_SHAPES, PEDESTRIAN_SHAPES = 4, 8
PARK_TREES = 26
FAR_TOWERS = 170


@dataclass(frozen=True, eq=False)
class Block:
    """One block with the streets south and west of it.

    `mesh` float32 [V, 14] (see mesh.py); `lights` float32 [N, 9]: x y z, red green blue, strength, is_shop, seed;
    `trees` float64 [N, 7]: x y z, turn (radians), scale, shape number, random 0..1; `bounds`: x0, y0, x1, y1.
    """

    mesh: np.ndarray
    lights: np.ndarray
    trees: np.ndarray
    bounds: tuple[float, float, float, float]


@dataclass(frozen=True, eq=False)
class City:
    """All that stays the same between visits, and the shapes and places of what does not.

    `blocks` in the order i * blocks_y + j (i counts eastwards, j northwards); `far`: the backdrop's mesh;
    `parking` and `walks` float64 [N, 3]: x, y, heading (radians anticlockwise from +x) of parked cars and pedestrians;
    `trees`, `cars`, `people`: meshes at the origin; `street_width_x` [blocks_x + 1] of the streets at x = i * 72,
    `street_width_y` [blocks_y + 1] of those at y = j * 58, in metres.
    """

    blocks: tuple[Block, ...]
    far: np.ndarray
    parking: np.ndarray
    walks: np.ndarray
    trees: tuple[np.ndarray, ...]
    cars: tuple[np.ndarray, ...]
    people: tuple[np.ndarray, ...]
    blocks_x: int
    blocks_y: int
    street_width_x: np.ndarray
    street_width_y: np.ndarray
    seed: int


def build_city(atlas: Atlas, seed: int, blocks_x: int = 5, blocks_y: int = 5) -> City:
    """Lay out a city of blocks_x by blocks_y blocks. The same atlas and seed (>= 0) give the same bytes.

    Raises ValueError for fewer than one block or a negative seed.
    """
    if blocks_x < 1 or blocks_y < 1:
        raise ValueError(f"a city needs at least 1 x 1 blocks, not {blocks_x} x {blocks_y}")
    rng = np.random.default_rng(seed)
    width_x, width_y = rng.uniform(*STREET_WIDTH_X, blocks_x + 1), rng.uniform(*STREET_WIDTH_Y, blocks_y + 1)
    blocks: list[Block] = []
    parking: list[tuple[float, float, float]] = []
    walks: list[tuple[float, float, float]] = []
    for i in range(blocks_x):
        for j in range(blocks_y):
            plot = Plot(
                x0=i * BLOCK_PITCH_X + width_x[i] / 2,
                y0=j * BLOCK_PITCH_Y + width_y[j] / 2,
                x1=(i + 1) * BLOCK_PITCH_X - width_x[i + 1] / 2,
                y1=(j + 1) * BLOCK_PITCH_Y - width_y[j + 1] / 2,
                south=width_y[j],
                west=width_x[i],
            )
            blocks.append(_build_block(atlas, plot, np.random.default_rng([seed, i, j])))
            for edge in plot.edges():
                parking += _places(edge, np.arange(8, edge.length - 10, PARKING_SPACING), 1.05, np.pi)
                walks += _places(edge, np.arange(4, edge.length - 4, WALK_SPACING), -1.6, 0.0)
    return City(
        blocks=tuple(blocks),
        far=_build_backdrop(atlas, seed, blocks_x, blocks_y),
        parking=np.array(parking).reshape(-1, 3),
        walks=np.array(walks).reshape(-1, 3),
        trees=tuple(tree_mesh(atlas, _shape_seed(seed, 1, k)) for k in range(TREE_SHAPES)),
        cars=tuple(car_mesh(atlas, shape) for shape in CAR_SHAPES),
        people=tuple(pedestrian_mesh(atlas, _shape_seed(seed, 2, k)) for k in range(PEDESTRIAN_SHAPES)),
        blocks_x=blocks_x,
        blocks_y=blocks_y,
        street_width_x=width_x,
        street_width_y=width_y,
        seed=seed,
    )


def _shape_seed(seed: int, kind: int, number: int) -> int:
    return int(np.random.SeedSequence([seed, kind, number, 0]).generate_state(1)[0])


def _places(edge: Edge, distances: np.ndarray, out: float, turn: float) -> list[tuple[float, float, float]]:
    """x, y, heading of places at a distance from the kerb; the heading is the kerb's direction plus `turn`."""
    heading = float(np.arctan2(edge.along[1], edge.along[0])) + turn
    return [(*edge.at(distance, out)[:2], heading) for distance in distances]


def _build_block(atlas: Atlas, plot: Plot, rng: np.random.Generator) -> Block:
    mesh = MeshBuilder()
    add_ground(mesh, atlas, plot, rng)
    family = STYLE_FAMILIES[int(rng.integers(len(STYLE_FAMILIES)))]
    is_park = rng.random() < PARK_CHANCE
    if is_park:
        _add_lawn(mesh, atlas, plot)
    else:
        _add_buildings(mesh, atlas, plot, family, rng)
    trees = _furnish(mesh, atlas, plot, rng)
    if is_park:
        x0, y0, x1, y1 = plot.inner()
        places = [(rng.uniform(x0, x1), rng.uniform(y0, y1)) for _ in range(PARK_TREES)]
        trees += [_tree(x, y, (0.9, 1.4), rng) for x, y in places]
    return Block(mesh.array(), mesh.light_array(), np.array(trees, float).reshape(-1, 7), plot.bounds)


def _tree(x: float, y: float, scale: tuple[float, float], rng: np.random.Generator) -> tuple[float, ...]:
    turn, size, shape = rng.random() * 2 * np.pi, rng.uniform(*scale), int(rng.integers(TREE_SHAPES))
    return x, y, PAVEMENT_HEIGHT, turn, size, shape, rng.random()


def _add_lawn(mesh: MeshBuilder, atlas: Atlas, plot: Plot) -> None:
    x0, y0, x1, y1 = plot.inner()
    uv, grass = (0, 0, plot.width / 4, plot.depth / 4), atlas.layers["grass"]
    mesh.rect(point(x0, y0, 0.16), point(x1 - x0, 0), point(0, y1 - y0), uv, grass, surface=Surface.WALK, normal=UP)


def _add_buildings(
    mesh: MeshBuilder, atlas: Atlas, plot: Plot, family: tuple[int, ...], rng: np.random.Generator
) -> None:
    """Rows of buildings along the four sides; the south and north rows take the corners."""
    x0, y0, x1, y1 = plot.inner()
    depth, length = BUILDING_DEPTH, y1 - y0 - 2 * BUILDING_DEPTH
    sides = (
        (Edge(point(x0, y0), point(1, 0), x1 - x0), True),
        (Edge(point(x1, y0 + depth), point(0, 1), length), False),
        (Edge(point(x1, y1), point(-1, 0), x1 - x0), True),
        (Edge(point(x0, y1 - depth), point(0, -1), length), False),
    )
    for side, has_corners in sides:
        _add_row(mesh, atlas, side, has_corners, family, rng)


def _add_row(
    mesh: MeshBuilder, atlas: Atlas, side: Edge, has_corners: bool, family: tuple[int, ...], rng: np.random.Generator
) -> None:
    """One side of a block: separate buildings, or a terrace that repeats one building; with the odd gap."""
    is_terrace = rng.random() < TERRACE_CHANCE
    spans = _split_lots(side.length, is_terrace, rng)
    terrace_seed, terrace_style = int(rng.integers(1 << 30)), int(rng.choice(family))
    last = len(spans) - 1
    for number, (start, width) in enumerate(spans):
        if rng.random() < GAP_CHANCE and 0 < number < last:
            continue
        exposed = rng.random() < MURAL_CHANCE
        left, right = has_corners and number == 0, has_corners and number == last
        depth = BUILDING_DEPTH if left or right else BUILDING_DEPTH * rng.uniform(0.92, 1.0)
        origin = side.at(start, z=PAVEMENT_HEIGHT)
        lot = Lot(origin, side.along, width, depth, left_open=left, right_open=right, exposed=exposed)
        house_rng = np.random.default_rng(terrace_seed if is_terrace else int(rng.integers(1 << 30)))
        style = terrace_style if is_terrace else int(house_rng.choice(family))
        add_building(mesh, atlas, lot, house_rng, style)


def _split_lots(length: float, is_terrace: bool, rng: np.random.Generator) -> list[tuple[float, float]]:
    """(start, width) in metres of the lots along a side; the last one takes what is left."""
    spans, start = [], 0.0
    while start < length - 0.1:
        width = TERRACE_LOT_WIDTH if is_terrace else rng.uniform(*LOT_WIDTH)
        if length - start - width < SMALLEST_LOT:
            width = length - start
        spans.append((start, width))
        start += width
    return spans


def _furnish(mesh: MeshBuilder, atlas: Atlas, plot: Plot, rng: np.random.Generator) -> list[tuple[float, ...]]:
    """Lamps and small items along the kerbs. Returns the street trees."""
    trees: list[tuple[float, ...]] = []
    lamp_style, spacing = int(rng.integers(LAMP_STYLES)), float(rng.choice(TREE_SPACINGS))
    for edge in plot.edges():
        for distance in np.arange(6, edge.length - 4, LAMP_SPACING):
            add_lamp_post(mesh, atlas, edge.at(distance, -0.45), edge.towards_street, lamp_style)
        if spacing and rng.random() < 0.75:
            for distance in np.arange(9.5, edge.length - 6, spacing):
                if rng.random() < 0.85:
                    x, y, _ = edge.at(distance, -0.9)
                    trees.append(_tree(x, y, (0.75, 1.1), rng))
        for distance in rng.uniform(5, edge.length - 5, 3):
            foot = edge.at(distance, -0.35, PAVEMENT_HEIGHT)
            add_street_item(mesh, atlas, foot, edge.along, edge.towards_street, rng)
    return trees


def _build_backdrop(atlas: Atlas, seed: int, blocks_x: int, blocks_y: int) -> np.ndarray:
    """Box towers 260 to 420 m from the middle of the city, and the ground under everything."""
    mesh, rng = MeshBuilder(), np.random.default_rng([seed, 99])
    for number in range(FAR_TOWERS):
        angle, distance = rng.random() * 2 * np.pi, rng.uniform(260, 420)
        x = blocks_x * BLOCK_PITCH_X / 2 + distance * np.cos(angle)
        y = blocks_y * BLOCK_PITCH_Y / 2 + distance * np.sin(angle)
        width = rng.uniform(12, 30)
        height = rng.uniform(10, 38) if rng.random() < 0.88 else rng.uniform(45, 85)
        style = int(rng.integers(len(atlas.styles)))
        tint = TINTS[atlas.styles[style][0]][int(rng.integers(4))]
        layer, uv = atlas.layers[f"facade_{style}"], (0, 0, round(width / 3), round(height / 3))
        corner, east, north = point(x - width / 2, y - width / 2), point(width, 0), point(0, width)
        rise = UP * height
        starts = (corner, corner + east, corner + east + north, corner + north)
        for start, edge in zip(starts, (east, north, -east, -north), strict=True):
            mesh.rect(start, edge, rise, uv, layer, tint, Surface.FACADE, float(number))
        mesh.rect(corner + rise, east, north, (0, 0, 5, 5), atlas.layers["gravel"], surface=Surface.ROOF)
    ground, size = point(-500, -500, -0.05), 1400
    uv, tint = (0, 0, 200, 200), (0.9, 0.95, 0.8)
    asphalt = atlas.layers["asphalt"]
    mesh.rect(ground, point(size, 0), point(0, size), uv, asphalt, tint, Surface.WALK, normal=UP)
    return mesh.array()
