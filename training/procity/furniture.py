"""What stands on the pavement: trees, lamps, bins, boxes and signposts; and pedestrians."""

from __future__ import annotations

import colorsys
from itertools import pairwise

import numpy as np

from training.procity.atlas import LEAF_CARDS, Atlas
from training.procity.mesh import UP, MeshBuilder, Surface, point, unit

LEAVES_PER_TREE = 95
LAMP_STRENGTH = 14.0
LAMP_STYLES = 4  # 0 an arm over the street, 1 a lantern, 2 a globe, 3 a tall mast with two arms
SIGN_COLOURS = ((0.8, 0.08, 0.06), (0.08, 0.2, 0.65), (0.95, 0.8, 0.1))


def tree_mesh(atlas: Atlas, seed: int, leaf_tint: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> np.ndarray:
    """A tree of 5.5 to 9 m standing at the origin, float32 [V, 14].

    A leaf card's seed (its number within the tree) lets the shader thin the leaves out by season.
    """
    rng, mesh, bark = np.random.default_rng(seed), MeshBuilder(), atlas.layers["bark"]
    height = rng.uniform(5.5, 9)
    trunk, crown = height * rng.uniform(0.3, 0.4), height * rng.uniform(0.25, 0.34)
    mesh.prism((0, 0, 0), (0, 0, trunk), 0.17, 0.13, 6, bark)
    tips: list[np.ndarray] = []
    for i in range(5):
        angle = i * 0.4 * np.pi + rng.uniform(-0.4, 0.4)
        direction = unit([np.cos(angle) * 0.75, np.sin(angle) * 0.75, rng.uniform(0.6, 1.2)])
        start = point(0, 0, trunk * rng.uniform(0.85, 1))
        _grow_branch(mesh, bark, start, direction, height * 0.22, 0.07, 2, tips, rng)
    centre = point(0, 0, trunk + crown * 0.9)
    for i in rng.permutation(len(tips))[:LEAVES_PER_TREE]:
        _add_leaf_card(mesh, atlas, tips[i], centre, crown, float(i), np.array(leaf_tint), rng)
    return mesh.array()


def _grow_branch(
    mesh: MeshBuilder,
    bark: int,
    start: np.ndarray,
    direction: np.ndarray,
    length: float,
    radius: float,
    level: int,
    tips: list[np.ndarray],
    rng: np.random.Generator,
) -> None:
    """A branch that splits into two or three until `level` is 0. Adds the places for leaves to `tips`."""
    end = start + direction * length
    mesh.prism(start, end, radius, radius * 0.6, 4, bark)
    if level == 0:
        tips.append(end)
        return
    for _ in range(int(rng.integers(2, 4))):
        twig = unit(direction + rng.normal(0, 0.55, 3) + UP * 0.15)
        _grow_branch(mesh, bark, end, twig, length * rng.uniform(0.6, 0.85), radius * 0.55, level - 1, tips, rng)
        tips.append(end + twig * 0.3)


def _add_leaf_card(
    mesh: MeshBuilder,
    atlas: Atlas,
    place: np.ndarray,
    centre: np.ndarray,
    crown: float,
    seed: float,
    tint: np.ndarray,
    rng: np.random.Generator,
) -> None:
    """A square of leaves, lit as part of the crown's round shape and darker near its middle."""
    size, turn, tilt = rng.uniform(0.75, 1.25), rng.random() * 2 * np.pi, rng.uniform(-0.6, 0.6)
    u = np.array([np.cos(turn), np.sin(turn), 0]) * size
    v = np.array([-np.sin(turn) * np.sin(tilt), np.cos(turn) * np.sin(tilt), np.cos(tilt)]) * size
    outward = place - centre
    distance = float(np.linalg.norm(outward))
    normal = outward / (distance + 0.3) + UP * 0.25
    shade = 0.55 + 0.45 * np.clip(distance / crown, 0, 1)
    layer, uv = atlas.layers[f"leaf_{int(rng.integers(LEAF_CARDS))}"], (0, 0, 1, 1)
    mesh.rect(place - u - v, 2 * u, 2 * v, uv, layer, shade * tint, Surface.LEAF, seed, normal)


def pedestrian_mesh(atlas: Atlas, seed: int) -> np.ndarray:
    """A walking person of 1.55 to 1.9 m at the origin who looks along +x, float32 [V, 14]."""
    rng, mesh, plain = np.random.default_rng(seed), MeshBuilder(), atlas.layers["plain"]
    scale, stride = rng.uniform(1.55, 1.9) / 1.75, rng.uniform(-0.3, 0.3)
    girth = rng.uniform(0.9, 1.2)

    def cloth(saturation: float, value: float) -> tuple[float, float, float]:
        return colorsys.hsv_to_rgb(rng.random(), rng.uniform(0, saturation), rng.uniform(0.12, value + 0.15))

    def tube(
        points: tuple[tuple[float, ...], ...], tint: tuple | np.ndarray, sides: int = 8, wide: float = 1.0
    ) -> None:
        """A chain of (x, y, z, radius)."""
        for (x0, y0, z0, r0), (x1, y1, z1, r1) in pairwise(points):
            start, end = (x0, y0, z0 * scale), (x1, y1, z1 * scale)
            mesh.prism(start, end, r0 * wide, r1 * wide, sides, plain, tint, Surface.PEDESTRIAN)

    top, trousers, shoes = cloth(0.8, 0.75), cloth(0.5, 0.35), cloth(0.3, 0.2)
    skin, hair = np.array([0.80, 0.60, 0.48]) * rng.uniform(0.4, 1.05), cloth(0.5, 0.25)
    coat = rng.random() < 0.35
    for side in (-1, 1):
        x = stride * side
        tube(((x + 0.12, side * 0.09, 0.03, 0.04), (x - 0.06, side * 0.09, 0.06, 0.055)), shoes, 6)
        knee = (x * 0.55 + 0.04, side * 0.09, 0.46, 0.062)
        tube(((x, side * 0.09, 0.05, 0.05), knee, (0, side * 0.085, 0.88, 0.09)), trousers, 7, girth)
        swing = -x * 0.9
        elbow = (swing * 0.45 - 0.05, side * 0.26, 1.10, 0.05)
        tube(((swing, side * 0.25, 0.84, 0.04), elbow, (0, side * 0.20, 1.42, 0.065)), top, 6, girth)
        tube(((swing + 0.02, side * 0.25, 0.76, 0.035), (swing, side * 0.25, 0.84, 0.038)), skin, 5)
    hem = 0.45 if coat else 0.82
    tube(((0, 0, hem, 0.19), (0, 0, 0.95, 0.165), (0, 0, 1.25, 0.185), (0, 0, 1.42, 0.17)), top, 10, girth)
    tube(((0, 0, 1.42, 0.17), (0, 0, 1.50, 0.07)), top, 10, girth)
    tube(((0, 0, 1.48, 0.05), (0.01, 0, 1.53, 0.055)), skin)
    tube(((0.01, 0, 1.53, 0.06), (0.015, 0, 1.58, 0.09), (0.01, 0, 1.66, 0.10)), skin)
    tube(((0.0, 0, 1.64, 0.105), (-0.005, 0, 1.71, 0.09), (-0.01, 0, 1.76, 0.03)), hair)
    if rng.random() < 0.35:  # a backpack
        tube(((-0.22, 0, 0.98, 0.13), (-0.22, 0, 1.38, 0.12)), cloth(0.8, 0.6), 6)
    elif rng.random() < 0.3:  # a bag
        tube(((0.05, 0.34, 0.45, 0.12), (0.05, 0.34, 0.72, 0.10)), cloth(0.7, 0.5), 5)
    return mesh.array()


def add_lamp_post(mesh: MeshBuilder, atlas: Atlas, foot: np.ndarray, towards_street: np.ndarray, style: int) -> None:
    """A street lamp with its light; `style` is one of LAMP_STYLES."""
    plain = atlas.layers["plain"]
    if style in (0, 3):
        for arm in (towards_street,) if style == 0 else (towards_street, -towards_street):
            _add_arm_lamp(mesh, plain, foot, arm, 6.5 if style == 0 else 8.5)
    elif style == 1:
        _add_lantern(mesh, plain, foot)
    else:
        _add_globe(mesh, plain, foot)


def _add_arm_lamp(mesh: MeshBuilder, plain: int, foot: np.ndarray, arm: np.ndarray, height: float) -> None:
    grey, side = (0.42, 0.43, 0.44), np.array([-arm[1], arm[0], 0.0])
    mesh.prism(foot, foot + UP * height, 0.09, 0.06, 6, plain, grey)
    mesh.prism(foot + UP * (height - 0.1), foot + arm * 1.6 + UP * (height + 0.3), 0.045, 0.04, 5, plain, grey)
    corner = foot + arm * 1.2 - side * 0.15 + UP * (height + 0.22)
    mesh.box(corner, arm * 0.9, side * 0.3, 0.12, plain, (0.4, 0.4, 0.4))
    below = corner - UP * 0.01
    mesh.rect(below, side * 0.3, arm * 0.9, (0, 0, 1, 1), plain, (1, 0.85, 0.6), Surface.LAMP, normal=-UP)
    mesh.light(foot + arm * 1.5 + UP * (height - 0.1), (1.0, 0.80, 0.55), LAMP_STRENGTH)


def _add_globe(mesh: MeshBuilder, plain: int, foot: np.ndarray) -> None:
    iron, white = (0.2, 0.2, 0.22), (1, 0.95, 0.85)
    mesh.prism(foot, foot + UP * 3.6, 0.07, 0.05, 6, plain, iron)
    for low, high, r0, r1 in ((3.55, 3.7, 0.08, 0.26), (3.7, 3.95, 0.26, 0.26), (3.95, 4.1, 0.26, 0.06)):
        mesh.prism(foot + UP * low, foot + UP * high, r0, r1, 8, plain, white, Surface.LAMP)
    mesh.light(foot + UP * 3.85, (1.0, 0.92, 0.80), LAMP_STRENGTH * 0.8)


def _add_lantern(mesh: MeshBuilder, plain: int, foot: np.ndarray) -> None:
    iron = (0.16, 0.18, 0.17)
    mesh.prism(foot, foot + UP * 4.5, 0.09, 0.06, 6, plain, iron)
    mesh.prism(foot + UP * 4.4, foot + UP * 5.1, 0.16, 0.26, 6, plain, (1, 0.82, 0.55), Surface.LAMP)
    mesh.prism(foot + UP * 5.1, foot + UP * 5.35, 0.3, 0.05, 6, plain, iron)
    mesh.light(foot + UP * 4.9, (1.0, 0.72, 0.40), LAMP_STRENGTH)


def add_street_item(
    mesh: MeshBuilder,
    atlas: Atlas,
    foot: np.ndarray,
    along: np.ndarray,
    towards_street: np.ndarray,
    rng: np.random.Generator,
    tint: tuple[float, float, float] = (0.25, 0.38, 0.28),
) -> None:
    """A bollard, a box, a bench, a signpost, or nothing, at a point of the kerb; `tint` is the city's own."""
    plain, kind = atlas.layers["plain"], rng.random()
    if kind < 0.35:
        mesh.prism(foot, foot + UP * 0.95, 0.09, 0.07, 6, plain, tint)
    elif kind < 0.5:
        edges = along * 0.6, towards_street * 0.35
        mesh.box(foot - along * 0.3, *edges, 1.1, plain, tint, top_surface=Surface.ROOF)
    elif kind < 0.62:
        mesh.box(
            foot + UP * 0.4 - along * 0.9,
            along * 1.8,
            towards_street * 0.42,
            0.06,
            plain,
            (0.45, 0.32, 0.2),
            bottom=True,
        )
        mesh.box(foot + UP * 0.4 - along * 0.9, along * 1.8, towards_street * 0.05, 0.45, plain, (0.45, 0.32, 0.2))
        for x in (-0.75, 0.7):
            mesh.box(foot + along * x, along * 0.06, towards_street * 0.4, 0.4, plain, tint)
    elif kind < 0.8:
        mesh.prism(foot, foot + UP * 2.5, 0.03, 0.03, 5, plain, (0.5, 0.5, 0.5))
        colour = SIGN_COLOURS[int(rng.integers(len(SIGN_COLOURS)))]
        corner = foot + UP * 2.0 - towards_street * 0.3 - along * 0.04
        mesh.rect(corner, towards_street * 0.6, UP * 0.6, (0, 0, 1, 1), plain, colour)
