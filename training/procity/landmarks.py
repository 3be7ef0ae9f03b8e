"""What a town is known by: churches, market halls, stations, works, towers of flats, monuments, stalls."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from training.procity.atlas import Atlas
from training.procity.lots import Look, Lot, Tint
from training.procity.mesh import UP, Face, MeshBuilder, Surface

STONES: tuple[Tint, ...] = (
    (0.70, 0.64, 0.54),
    (0.56, 0.34, 0.27),
    (0.82, 0.80, 0.76),
    (0.50, 0.48, 0.46),
    (0.88, 0.78, 0.58),
)
ROOFS: tuple[Tint, ...] = ((0.30, 0.33, 0.36), (0.60, 0.32, 0.22), (0.34, 0.50, 0.44), (0.22, 0.22, 0.24))


@dataclass(frozen=True, eq=False)
class Site:
    """Where a landmark stands: the middle [3] at the ground, unit vector along its long side, free size in metres."""

    middle: np.ndarray
    along: np.ndarray
    width: float
    depth: float

    @property
    def back(self) -> np.ndarray:
        """Unit vector to the left of `along`."""
        return np.array([-self.along[1], self.along[0], 0.0])

    def at(self, x: float, y: float, z: float = 0.0) -> np.ndarray:
        """The point x metres along and y metres back from the middle."""
        return self.middle + self.along * x + self.back * y + UP * z


def _colour(rng: np.random.Generator, palette: tuple[Tint, ...]) -> np.ndarray:
    return np.array(palette[rng.integers(len(palette))]) * rng.uniform(0.85, 1.1)


def _style(atlas: Atlas, material: str, window: str) -> int:
    return atlas.layers[f"facade_{atlas.styles.index((material, window))}"]


def add_hall(
    mesh: MeshBuilder,
    atlas: Atlas,
    site: Site,
    box: tuple[float, float, float, float],
    height: float,
    rise: float,
    walls: int,
    tint: np.ndarray,
    roof: np.ndarray,
    bay: float = 4.0,
    seed: float = 0.0,
    roof_layer: str = "rooftile",
) -> None:
    """A long house with a ridge along the site: box = (x, y, width, depth) from the site's middle; `rise` 0 is flat."""
    x, y, width, depth = box
    corners = [site.at(x, y), site.at(x + width, y), site.at(x + width, y + depth), site.at(x, y + depth)]
    for i, normal in enumerate((-site.back, site.along, site.back, -site.along)):
        start, edge = corners[i] - UP * 1.5, corners[(i + 1) % 4] - corners[i]
        columns = max(1, round(float(np.linalg.norm(edge)) / bay))
        rows = max(1, round(height / 5))
        uv = (0, -1.5 / height * rows, columns, rows)
        mesh.rect(start, edge, UP * (height + 1.5), uv, walls, tint, Surface.FACADE, seed, normal)
    top = [c + UP * height for c in corners]
    layer = atlas.layers[roof_layer]
    if rise <= 0:
        mesh.quad(top, [(0, 0), (5, 0), (5, 5), (0, 5)], atlas.layers["gravel"], (0.7,) * 3, Surface.ROOF, normal=UP)
        return
    left, right = site.at(x - 0.4, y + depth / 2, height + rise), site.at(x + width + 0.4, y + depth / 2, height + rise)
    eaves = site.back * 0.5, site.along * 0.4
    corners_uv = [(0, 0), (width / 3, 0), (width / 3, depth / 5), (0, depth / 5)]
    front = [top[0] - eaves[0] - eaves[1], top[1] - eaves[0] + eaves[1], right, left]
    rear = [top[2] + eaves[0] + eaves[1], top[3] + eaves[0] - eaves[1], left, right]
    mesh.quad(front, corners_uv, layer, roof, Surface.ROOF)
    mesh.quad(rear, corners_uv, layer, roof, Surface.ROOF)
    wall = atlas.layers["wall_stone"]
    for a, b, x_end, normal in ((top[3], top[0], x, -site.along), (top[1], top[2], x + width, site.along)):
        peak = site.at(x_end, y + depth / 2, height + rise)
        mesh.quad(
            [a, b, peak, peak], [(0, 0), (depth / 3, 0), (depth / 6, 1), (depth / 6, 1)], wall, tint, normal=normal
        )


def _add_tower(
    mesh: MeshBuilder,
    atlas: Atlas,
    foot: np.ndarray,
    site: Site,
    size: float,
    height: float,
    walls: int,
    tint: np.ndarray,
) -> np.ndarray:
    """A square tower; returns the middle of its top."""
    corner = foot - (site.along + site.back) * size / 2 - UP * 1.5
    edges = ((corner, site.along), (corner + site.along * size, site.back))
    for start, direction in (
        *edges,
        (corner + (site.along + site.back) * size, -site.along),
        (corner + site.back * size, -site.back),
    ):
        uv, outward = (0, 0, 2, round(height / 5)), np.array([direction[1], -direction[0], 0])
        mesh.rect(start, direction * size, UP * (height + 1.5), uv, walls, tint, Surface.FACADE, 3.0, outward)
    return foot + UP * height


def _add_spire(
    mesh: MeshBuilder, layer: int, base: np.ndarray, site: Site, size: float, height: float, tint: np.ndarray
) -> None:
    half, peak = size / 2 + 0.2, base + UP * height
    ring = [base + site.along * a * half + site.back * b * half for a, b in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
    for i in range(4):
        mesh.quad(
            [ring[i], ring[(i + 1) % 4], peak, peak], [(0, 0), (1, 0), (0.5, 2), (0.5, 2)], layer, tint, Surface.ROOF
        )


def _add_clock(mesh: MeshBuilder, atlas: Atlas, centre: np.ndarray, outward: np.ndarray, radius: float) -> None:
    across = np.array([-outward[1], outward[0], 0.0])
    angles, plain = np.linspace(0, 2 * np.pi, 13), atlas.layers["plain"]
    rim = [centre + (across * np.cos(a) + UP * np.sin(a)) * radius for a in angles]
    for a, b in pairwise(rim):
        mesh.quad([centre, a, b, centre], [(0, 0)] * 4, plain, (0.95, 0.93, 0.85), Surface.LAMP, normal=outward)
    for turn, length in ((1.1, 0.8), (2.6, 0.55)):
        tip = (across * np.cos(turn) + UP * np.sin(turn)) * radius * length
        side = np.cross(tip, outward) * 0.08
        hand = [centre - side, centre + tip - side, centre + tip + side, centre + side]
        mesh.quad([p + outward * 0.03 for p in hand], [(0, 0)] * 4, plain, (0.05, 0.05, 0.05), normal=outward)


def add_church(mesh: MeshBuilder, atlas: Atlas, site: Site, rng: np.random.Generator) -> None:
    """A nave with a tower in the west, spired, domed or flat."""
    tint, roof = _colour(rng, STONES), _colour(rng, ROOFS)
    walls = _style(atlas, str(rng.choice(["stone", "brick", "plaster"])), "arched")
    length, width, height = (
        min(site.width * 0.75, rng.uniform(22, 34)),
        min(site.depth * 0.5, rng.uniform(10, 14)),
        rng.uniform(9, 13),
    )
    add_hall(
        mesh,
        atlas,
        site,
        (-length / 2 + 4, -width / 2, length, width),
        height,
        rng.uniform(4, 8),
        walls,
        tint,
        roof,
        5.0,
    )
    size, tall = rng.uniform(5.5, 8), rng.uniform(20, 32)
    foot = site.at(-length / 2, 0)
    top = _add_tower(mesh, atlas, foot, site, size, tall, walls, tint)
    layer, form = atlas.layers["metalroof"], rng.integers(3)
    if form == 0:
        _add_spire(mesh, layer, top, site, size, rng.uniform(12, 20), roof)
    elif form == 1:
        radii = [(size * 0.5 * np.cos(a), size * 0.6 * np.sin(a)) for a in np.linspace(0, 1.45, 6)]
        for (r0, z0), (r1, z1) in pairwise(radii):
            mesh.prism(top + UP * z0, top + UP * (z1 + 0.01), r0, r1, 12, layer, roof, Surface.ROOF)
    else:
        _add_spire(mesh, layer, top, site, size, 4.0, roof)
    for outward in (-site.back, -site.along, site.back):
        _add_clock(mesh, atlas, foot + UP * tall * 0.82 + outward * (size / 2 + 0.05), outward, 1.3)


def add_market_hall(mesh: MeshBuilder, atlas: Atlas, site: Site, rng: np.random.Generator) -> None:
    """A wide hall with arched windows, a raised middle and shop signs round it."""
    tint, roof = _colour(rng, STONES), _colour(rng, ROOFS)
    walls = _style(atlas, str(rng.choice(["brick", "stone", "plaster"])), str(rng.choice(["arched", "french"])))
    width, depth, height = site.width * 0.8, site.depth * 0.7, rng.uniform(6, 9)
    add_hall(
        mesh, atlas, site, (-width / 2, -depth / 2, width, depth), height, 3.0, walls, tint, roof, 3.4, 7.0, "metalroof"
    )
    add_hall(
        mesh,
        atlas,
        site,
        (-width * 0.32, -depth * 0.2, width * 0.64, depth * 0.4),
        height + 5,
        2.5,
        walls,
        tint,
        roof,
        3.4,
    )
    colour = colorsys.hsv_to_rgb(rng.random(), 0.6, 0.55)
    for side, outward in ((-1, -site.back), (1, site.back)):
        start = site.at(-width / 2 * side * -1 if side > 0 else -width / 2, side * (depth / 2 + 1.8), 2.6)
        edge = site.along * width * (-1 if side > 0 else 1)
        mesh.rect(start, edge, -outward * 1.8 + UP * 0.7, (0, 0, width / 3, 1), atlas.layers["awning"], colour)


def add_station(mesh: MeshBuilder, atlas: Atlas, site: Site, rng: np.random.Generator) -> None:
    """A long low front with a clock tower and a canopy on posts."""
    tint, roof = _colour(rng, STONES), _colour(rng, ROOFS)
    walls = _style(atlas, str(rng.choice(["brick", "stone"])), str(rng.choice(["arched", "sash"])))
    width, depth, height = site.width * 0.88, min(15.0, site.depth * 0.5), rng.uniform(8, 11)
    add_hall(mesh, atlas, site, (-width / 2, -depth / 2, width, depth), height, 3.5, walls, tint, roof, 3.6, 9.0)
    at = rng.choice([-0.25, 0.0, 0.3]) * width
    foot = site.at(at, -depth / 2)
    tall = rng.uniform(17, 24)
    top = _add_tower(mesh, atlas, foot, site, 5.0, tall, walls, tint)
    _add_spire(mesh, atlas.layers["metalroof"], top, site, 5.0, rng.uniform(2, 6), roof)
    for outward in (-site.back, site.along, -site.along):
        _add_clock(mesh, atlas, foot + UP * (tall - 2) + outward * 2.55, outward, 1.5)
    for side in (-1, 1):
        y = side * (depth / 2 + 2.6)
        start = site.at(-width / 2, min(y, side * depth / 2), 3.4)
        mesh.box(
            start, site.along * width, site.back * 2.6, 0.2, atlas.layers["metalroof"], (0.55, 0.58, 0.6), bottom=True
        )
        for x in np.arange(-width / 2 + 1, width / 2, 4.5):
            mesh.prism(
                site.at(x, y * 0.97), site.at(x, y * 0.97, 3.4), 0.09, 0.09, 6, atlas.layers["plain"], (0.2, 0.25, 0.22)
            )


def add_works(mesh: MeshBuilder, atlas: Atlas, site: Site, look: Look, rng: np.random.Generator) -> None:
    """Two sheds or saw-tooth halls and perhaps a chimney."""
    palette = (*look.tints.get("brick", STONES), (0.45, 0.52, 0.58), (0.62, 0.60, 0.55))
    for number in range(2):
        tint, roof = _colour(rng, palette), _colour(rng, ROOFS)
        material = str(rng.choice(["brick", "siding", "panel"]))
        walls = _style(atlas, material, "arched" if material == "brick" and rng.random() < 0.5 else "strip")
        width, depth = site.width * 0.5 - 1.5, site.depth * rng.uniform(0.8, 1.0)
        x = -site.width / 2 + number * (site.width * 0.5 + 1.5)
        height, teeth = rng.uniform(6, 11), int(rng.integers(1, 4))
        for tooth in range(teeth):
            box = (x, -depth / 2 + tooth * depth / teeth, width, depth / teeth)
            add_hall(
                mesh, atlas, site, box, height, rng.uniform(1.5, 3), walls, tint, roof, 4.5, 11.0 + number, "metalroof"
            )
    if rng.random() < 0.6:
        foot = site.at(rng.uniform(-0.05, 0.05) * site.width, rng.uniform(-0.3, 0.3) * site.depth)
        tall = rng.uniform(22, 38)
        mesh.prism(foot, foot + UP * tall, 1.6, 1.0, 10, atlas.layers["wall_brick"], _colour(rng, STONES))


def tower_lots(site: Site, look: Look, rng: np.random.Generator) -> list[Lot]:
    """Two or three slabs of flats on a lawn, as lots that are open on all sides."""
    lots, tall = [], Look(**{**look.__dict__, "floors": (7, 13), "modern_floors": (8, 14), "roofs": {"flat": 1.0}})
    for x, y in ((-0.26, -0.24), (0.26, 0.22)) if rng.random() < 0.6 else ((0.0, -0.28), (0.0, 0.24)):
        width = site.width * (0.42 if x else 0.8)
        origin = site.at(x * site.width - width / 2, y * site.depth - 5.5)
        lots.append(Lot(origin, site.along, width, 11.0, True, True, look=tall, plinth=1.0))
    return lots


def add_monument(mesh: MeshBuilder, atlas: Atlas, at: np.ndarray, along: np.ndarray, rng: np.random.Generator) -> None:
    """An obelisk, a column with a figure, a fountain or a slab of bronze on steps."""
    stone, side = _colour(rng, STONES), np.array([-along[1], along[0], 0.0])
    layer, plain = atlas.layers["wall_stone"], atlas.layers["plain"]
    for step, size in enumerate((3.2, 2.4, 1.7)):
        mesh.box(at - (along + side) * size + UP * step * 0.25, along * 2 * size, side * 2 * size, 0.25, layer, stone)
    base, form = at + UP * 0.75, rng.integers(4)
    if form == 0:
        mesh.prism(base, base + UP * rng.uniform(7, 12), 0.75, 0.45, 4, plain, stone)
    elif form == 1:
        height = rng.uniform(6, 11)
        mesh.prism(base, base + UP * height, 0.55, 0.45, 12, plain, stone)
        mesh.box(base + UP * height - (along + side) * 0.7, along * 1.4, side * 1.4, 0.35, plain, stone)
        bronze = (0.25, 0.36, 0.30)
        mesh.prism(base + UP * (height + 0.35), base + UP * (height + 1.7), 0.4, 0.28, 8, plain, bronze)
        mesh.prism(base + UP * (height + 1.7), base + UP * (height + 2.1), 0.22, 0.16, 8, plain, bronze)
    elif form == 2:
        mesh.prism(base - UP * 0.4, base + UP * 0.2, 3.6, 3.7, 16, layer, stone)
        mesh.prism(base, base + UP * 2.2, 0.4, 0.25, 10, plain, stone)
        mesh.prism(base + UP * 1.7, base + UP * 2.1, 0.4, 1.5, 14, plain, stone)
    else:
        mesh.box(base - along * 1.2 - side * 0.6, along * 2.4, side * 1.2, 2.2, layer, stone)
        mesh.box(base - along * 1.0 - side * 0.3 + UP * 2.2, along * 2.0, side * 0.6, 1.6, plain, (0.28, 0.34, 0.28))


def add_stall(mesh: MeshBuilder, atlas: Atlas, at: np.ndarray, along: np.ndarray, rng: np.random.Generator) -> None:
    """A market stall: a table of crates under a striped roof."""
    side, plain = np.array([-along[1], along[0], 0.0]), atlas.layers["plain"]
    wide, deep = rng.uniform(2.4, 3.6), 1.8
    cloth = colorsys.hsv_to_rgb(rng.random(), rng.uniform(0.5, 0.9), rng.uniform(0.4, 0.8))
    mesh.box(at, along * wide, side * deep * 0.7, 0.85, plain, (0.42, 0.32, 0.22))
    for x in np.arange(0.1, wide - 0.3, 0.45):
        goods = colorsys.hsv_to_rgb(rng.random() * 0.4, 0.8, 0.6)
        mesh.box(at + along * x + UP * 0.85, along * 0.38, side * 0.6, 0.2, plain, goods)
    for x in (0.0, wide):
        for y in (0.0, deep):
            mesh.prism(
                at + along * x + side * y, at + along * x + side * y + UP * 2.2, 0.04, 0.04, 4, plain, (0.4,) * 3
            )
    ridge, layer = at + side * deep / 2 + UP * 2.9, atlas.layers["awning"]
    for start in (at - side * 0.3 + UP * 2.1, at + side * (deep + 0.3) + UP * 2.1):
        mesh.rect(start, along * wide, ridge - start, (0, 0, wide / 2, 1), layer, cloth)


def add_hedge(mesh: MeshBuilder, atlas: Atlas, start: np.ndarray, end: np.ndarray, height: float, hedge: bool) -> None:
    """A hedge or a wooden fence between two points."""
    edge = end - start
    along = edge / np.linalg.norm(edge)
    across = np.array([-along[1], along[0], 0.0]) * (0.6 if hedge else 0.08)
    layer, tint = (
        (atlas.layers["grass"], (1.0, 1.05, 0.9)) if hedge else (atlas.layers["wall_siding"], (0.75, 0.70, 0.62))
    )
    mesh.box(start - UP * 0.3, edge, across, height + 0.3, layer, tint)


def add_colonnade(mesh: MeshBuilder, atlas: Atlas, face: Face, height: float, depth: float, tint: np.ndarray) -> None:
    """Columns before a front and the ceiling they carry over the pavement."""
    plain, edge = atlas.layers["plain"], face.along * face.width
    top = face.at(0, height, depth)
    mesh.box(
        top, edge, -face.outward * depth, 0.5, atlas.layers["wall_stone"], tint, top_surface=Surface.ROOF, bottom=True
    )
    for x in np.arange(0.6, face.width, 3.2):
        foot = face.at(float(x), -0.1, depth - 0.35)
        mesh.prism(foot, foot + UP * (height + 0.1), 0.27, 0.23, 9, plain, tint)
        mesh.prism(foot, foot + UP * 0.5, 0.38, 0.3, 9, plain, tint)
