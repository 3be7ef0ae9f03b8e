"""The city plan: blocks between streets on a bent land, and a ring of distant houses.

The plan is laid out around (0, 0) in plan metres and placed in the world by the city's land (land.py).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.procity.atlas import Atlas
from training.procity.blocks import TREE_SHAPES, Block, build_block
from training.procity.cars import CAR_SHAPES, car_mesh
from training.procity.character import Character, city_characters
from training.procity.furniture import pedestrian_mesh
from training.procity.furniture import tree_mesh as make_tree
from training.procity.land import Land, draw_land
from training.procity.lots import TINTS
from training.procity.mesh import UP, MeshBuilder, Surface, point
from training.procity.streets import CANAL_QUAY, CANAL_WATER, Ground, Plot

PEDESTRIAN_SHAPES = 10
COVERED_WIDTH = {"gallery": 3.4, "underpass": 6.5}  # metres between the pavements of a roofed street
FAR_HOUSES, FAR_TOWERS = 210, 60
LINE_STEP = 2.0  # plan metres between the points of a street's centre line


@dataclass(frozen=True, eq=False)
class Street:
    """One street from end to end: its centre line in the world and what it is.

    ``line`` [n, 2] world metres; ``width`` kerb to kerb; ``kind``: road, canal, gallery or underpass; ``lane``: metres
    from the centre line to the middle of the right-hand lane; ``inner_limit``, ``limit``: metres from the centre line
    between which a camera may stand; ``inner``: houses on both sides.
    """

    line: np.ndarray
    width: float
    kind: str
    lane: float
    inner_limit: float
    limit: float
    inner: bool

    @property
    def is_covered(self) -> bool:
        """Whether it has a roof."""
        return self.kind in ("gallery", "underpass")


@dataclass(frozen=True, eq=False)
class City:
    """All that stays the same between visits, and the shapes and places of what does not.

    `blocks`; `far`: the backdrop's mesh; `streets`; `parking` and `walks` float64 [N, 3]: world x, y, heading (radians
    anticlockwise from +x) of parked cars and pedestrians; `trees`, `cars`, `people`: meshes at the origin.
    """

    blocks: tuple[Block, ...]
    far: np.ndarray
    streets: tuple[Street, ...]
    parking: np.ndarray
    walks: np.ndarray
    trees: tuple[np.ndarray, ...]
    cars: tuple[np.ndarray, ...]
    people: tuple[np.ndarray, ...]
    land: Land
    characters: tuple[Character, Character]
    seed: int


def build_city(
    atlas: Atlas, seed: int, blocks_x: int = 5, blocks_y: int = 5, characters: tuple[Character, Character] | None = None
) -> City:
    """Lay out a city of blocks_x by blocks_y blocks. The same atlas and seed (>= 0) give the same bytes.

    Raises ValueError for fewer than one block or a negative seed.
    """
    if blocks_x < 1 or blocks_y < 1:
        raise ValueError(f"a city needs at least 1 x 1 blocks, not {blocks_x} x {blocks_y}")
    rng = np.random.default_rng([seed, 17])
    first, second = characters or city_characters(seed)
    widths_x, widths_y = (rng.uniform(*first.street, n + 1) for n in (blocks_x, blocks_y))
    kinds_x, kinds_y = ["road"] * (blocks_x + 1), ["road"] * (blocks_y + 1)
    inner = list(rng.permutation(np.arange(1, blocks_y)))
    if inner and first.canal:
        row = inner.pop()
        kinds_y[row], widths_y[row] = "canal", CANAL_WATER + 2 * CANAL_QUAY
    if inner and blocks_y > 2:
        row = inner.pop()
        kinds_y[row], widths_y[row] = first.covered, COVERED_WIDTH[first.covered]
    xs, ys = _positions(widths_x, first.pitch_x, rng), _positions(widths_y, first.pitch_y, rng)
    radius = float(max(xs[-1], ys[-1]))
    land = draw_land(first.form, first.hills, radius, rng)
    special = _landmark_blocks(first, blocks_x, blocks_y, kinds_y, rng)
    cut = rng.uniform(0.35, 0.75) * np.array([xs[-1], ys[-1]]) * rng.choice([-1, 1], 2)
    blocks, parking, walks = [], [], []
    for i in range(blocks_x):
        for j in range(blocks_y):
            plot = Plot(
                x0=xs[i] + widths_x[i] / 2,
                y0=ys[j] + widths_y[j] / 2,
                x1=xs[i + 1] - widths_x[i + 1] / 2,
                y1=ys[j + 1] - widths_y[j + 1] / 2,
                south=widths_y[j],
                west=widths_x[i],
                south_kind=kinds_y[j],
                west_kind=kinds_x[i],
            )
            middle = np.array([plot.x0 + plot.x1, plot.y0 + plot.y1]) / 2
            is_second = ((middle - cut) * np.sign(cut) > -20).all()
            character = second if is_second else first
            edges = tuple(_edge_kinds(kinds_x, kinds_y, i, j))
            block = build_block(
                atlas, land, plot, edges, character, special.get((i, j)), np.random.default_rng([seed, i, j])
            )
            blocks.append(block)
            parking += block.parking
            walks += block.walks
    return City(
        blocks=tuple(blocks),
        far=_build_backdrop(atlas, land, seed, xs, ys, first, second),
        streets=tuple(_streets(land, xs, ys, widths_x, widths_y, kinds_x, kinds_y)),
        parking=np.array(parking).reshape(-1, 3),
        walks=np.array(walks).reshape(-1, 3),
        trees=tuple(make_tree(atlas, _shape_seed(seed, 1, k), first.leaf_tint) for k in range(TREE_SHAPES)),
        cars=tuple(car_mesh(atlas, shape) for shape in CAR_SHAPES),
        people=tuple(pedestrian_mesh(atlas, _shape_seed(seed, 2, k)) for k in range(PEDESTRIAN_SHAPES)),
        land=land,
        characters=(first, second),
        seed=seed,
    )


def _shape_seed(seed: int, kind: int, number: int) -> int:
    return int(np.random.SeedSequence([seed, kind, number, 0]).generate_state(1)[0])


def _positions(widths: np.ndarray, pitch: tuple[float, float], rng: np.random.Generator) -> np.ndarray:
    """Centre lines of parallel streets, their middle at 0."""
    gaps = rng.uniform(*pitch, len(widths) - 1) + (widths[1:] + widths[:-1]) / 2 - 9.0
    at = np.concatenate([[0.0], np.cumsum(gaps)])
    return at - at[-1] / 2


def _edge_kinds(kinds_x: list[str], kinds_y: list[str], i: int, j: int) -> tuple[str, str, str, str]:
    """Kinds of the streets south, east, north and west of a block."""
    return kinds_y[j], kinds_x[i + 1], kinds_y[j + 1], kinds_x[i]


def _landmark_blocks(
    character: Character, blocks_x: int, blocks_y: int, kinds_y: list[str], rng: np.random.Generator
) -> dict[tuple[int, int], str]:
    """Blocks of their own for the landmarks, away from roofed streets, while there are enough blocks."""
    most = blocks_x * blocks_y // 4
    open_rows = [j for j in range(blocks_y) if not {kinds_y[j], kinds_y[j + 1]} & set(COVERED_WIDTH)]
    places = [(i, j) for i in range(blocks_x) for j in open_rows]
    chosen = rng.permutation(len(places))[: min(most, len(character.landmarks))]
    return {places[k]: kind for k, kind in zip(chosen, character.landmarks, strict=False)}


def _streets(
    land: Land,
    xs: np.ndarray,
    ys: np.ndarray,
    widths_x: np.ndarray,
    widths_y: np.ndarray,
    kinds_x: list[str],
    kinds_y: list[str],
) -> list[Street]:
    streets = []
    for number, (x, width, kind) in enumerate(zip(xs, widths_x, kinds_x, strict=True)):
        along = np.arange(ys[0], ys[-1] + 1e-6, LINE_STEP)
        line = np.stack(land.flat(np.full_like(along, x), along), 1)
        streets.append(_street(line, float(width), kind, 0 < number < len(xs) - 1))
    for number, (y, width, kind) in enumerate(zip(ys, widths_y, kinds_y, strict=True)):
        along = np.arange(xs[0], xs[-1] + 1e-6, LINE_STEP)
        line = np.stack(land.flat(along, np.full_like(along, y)), 1)
        streets.append(_street(line, float(width), kind, 0 < number < len(ys) - 1))
    return streets


def _street(line: np.ndarray, width: float, kind: str, inner: bool) -> Street:
    if kind == "canal":
        lane, low, high = CANAL_WATER / 2 + CANAL_QUAY / 2, CANAL_WATER / 2 + 0.8, width / 2 - 0.8
    elif kind == "gallery":
        lane, low, high = 0.5, 0.0, width / 2 + 0.6
    else:
        lane, low, high = (
            float(np.clip(width / 4, 0.7, max(0.8, min(2.6, width / 2 - 1.7)))),
            0.0,
            max(0.9, width / 2 - 1.5),
        )
    return Street(line, width, kind, lane, low, high, inner)


def _build_backdrop(
    atlas: Atlas, land: Land, seed: int, xs: np.ndarray, ys: np.ndarray, first: Character, second: Character
) -> np.ndarray:
    """Houses round the city, towers behind them, and the ground under everything."""
    mesh, rng = MeshBuilder(), np.random.default_rng([seed, 99])
    styles = [atlas.styles.index(style) for family in first.families + second.families for style in family]
    across, up = xs[-1] - xs[0], ys[-1] - ys[0]
    for number in range(FAR_HOUSES + FAR_TOWERS):
        style = styles[int(rng.integers(len(styles)))]
        material, window = atlas.styles[style]
        look = first.look if rng.random() < 0.7 else second.look
        palette = look.tints.get(material, TINTS[material])
        floors = rng.integers(*(look.modern_floors if window in ("strip", "curtainwall") else look.floors)) + 1
        is_tower = number >= FAR_HOUSES
        share = rng.random() * 2 * (across + up)
        out = rng.uniform(60, 200) if is_tower else 7 + rng.exponential(16)
        x, y = _around(xs, ys, share, out)
        width, depth = rng.uniform(12, 26), rng.uniform(10, 18)
        height = rng.uniform(25, 60) if is_tower and rng.random() < 0.4 else 3.2 * floors + 3
        tint = np.array(palette[int(rng.integers(len(palette)))]) * rng.uniform(0.85, 1.05)
        layer, uv = atlas.layers[f"facade_{style}"], (0, 0, round(width / 3), round(height / 3))
        foot = land.place(x, y, -2.0)
        along = land.direction(x, y, point(1, 0)) * width
        back = land.direction(x, y, point(0, 1)) * depth
        corner, rise = foot - along / 2 - back / 2, UP * (height + 2)
        starts = (corner, corner + along, corner + along + back, corner + back)
        for start, edge in zip(starts, (along, back, -along, -back), strict=True):
            mesh.rect(start, edge, rise, uv, layer, tint, Surface.FACADE, float(number))
        roof = np.array(look.roof_tints[int(rng.integers(len(look.roof_tints)))])
        mesh.rect(corner + rise, along, back, (0, 0, 5, 5), atlas.layers["gravel"], roof, Surface.ROOF)
    ground = Ground(mesh, atlas, land)
    reach = 70.0
    for box in (
        (xs[0] - reach, ys[0] - reach, xs[-1] + reach, ys[0]),
        (xs[0] - reach, ys[-1], xs[-1] + reach, ys[-1] + reach),
        (xs[0] - reach, ys[0], xs[0], ys[-1]),
        (xs[-1], ys[0], xs[-1] + reach, ys[-1]),
    ):
        ground.area(*box, -0.03, "asphalt", 6, Surface.WALK, (0.95, 0.98, 0.9))
    size, grass = 1800.0, (0.9, 0.95, 0.8)
    low = point(-size / 2, -size / 2, -first.hills * 1.7 - 4.0)
    mesh.rect(
        low, point(size, 0), point(0, size), (0, 0, 200, 200), atlas.layers["grass"], grass, Surface.WALK, normal=UP
    )
    return mesh.array()


def _around(xs: np.ndarray, ys: np.ndarray, share: float, out: float) -> tuple[float, float]:
    """A plan point `out` metres outside the city, `share` metres along its outline."""
    across, up = xs[-1] - xs[0], ys[-1] - ys[0]
    if share < across:
        return xs[0] + share, ys[0] - out - 5
    if share < 2 * across:
        return xs[0] + share - across, ys[-1] + out + 5
    if share < 2 * across + up:
        return xs[0] - out - 5, ys[0] + share - 2 * across
    return xs[-1] + out + 5, ys[0] + share - 2 * across - up
