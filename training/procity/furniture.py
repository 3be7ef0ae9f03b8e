"""What stands on the pavement: trees, lamps, bins, boxes and signposts; and pedestrians."""

from __future__ import annotations

import colorsys

import numpy as np

from training.procity.atlas import LEAF_CARDS, Atlas
from training.procity.mesh import UP, MeshBuilder, Surface, point, unit

LEAVES_PER_TREE = 95
LAMP_STRENGTH = 14.0
LAMP_STYLES = 2  # 0 an arm over the street, 1 a lantern
SIGN_COLOURS = ((0.8, 0.08, 0.06), (0.08, 0.2, 0.65), (0.95, 0.8, 0.1))


def tree_mesh(atlas: Atlas, seed: int) -> np.ndarray:
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
        _add_leaf_card(mesh, atlas, tips[i], centre, crown, float(i), rng)
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
    mesh.rect(place - u - v, 2 * u, 2 * v, uv, layer, (shade,) * 3, Surface.LEAF, seed, normal)


def pedestrian_mesh(atlas: Atlas, seed: int) -> np.ndarray:
    """A walking person of 1.58 to 1.86 m at the origin who looks along +x, float32 [V, 14]."""
    rng, mesh, plain = np.random.default_rng(seed), MeshBuilder(), atlas.layers["plain"]
    scale, stride = rng.uniform(1.58, 1.86) / 1.75, rng.uniform(-0.28, 0.28)

    def cloth(saturation: float, value: float) -> tuple[float, float, float]:
        return colorsys.hsv_to_rgb(rng.random(), rng.uniform(0, saturation), rng.uniform(0.22, value + 0.15))

    def limb(start: tuple, end: tuple, radius0: float, radius1: float, sides: int, tint: tuple | np.ndarray) -> None:
        (x0, y0, z0), (x1, y1, z1) = start, end
        mesh.prism((x0, y0, z0 * scale), (x1, y1, z1 * scale), radius0, radius1, sides, plain, tint, Surface.PEDESTRIAN)

    top, trousers = cloth(0.8, 0.75), cloth(0.5, 0.35)
    skin, hair = np.array([0.80, 0.60, 0.48]) * rng.uniform(0.4, 1.05), cloth(0.4, 0.3)
    for side in (-1, 1):
        limb((stride * side, side * 0.09, 0), (0, side * 0.09, 0.85), 0.065, 0.09, 6, trousers)
        limb((-stride * side * 0.8, side * 0.27, 0.80), (0, side * 0.21, 1.42), 0.045, 0.06, 5, top)
    limb((0, 0, 0.80), (0, 0, 1.45), 0.17, 0.21, 8, top)  # body
    limb((0, 0, 1.43), (0, 0, 1.52), 0.15, 0.06, 8, top)  # shoulders
    limb((0, 0, 1.48), (0.01, 0, 1.63), 0.07, 0.105, 8, skin)  # head
    limb((0, 0, 1.63), (-0.01, 0, 1.77), 0.115, 0.06, 8, hair)
    if rng.random() < 0.4:  # backpack
        limb((-0.2, 0, 0.95), (-0.2, 0, 1.4), 0.15, 0.13, 6, cloth(0.8, 0.6))
    return mesh.array()


def add_lamp_post(mesh: MeshBuilder, atlas: Atlas, foot: np.ndarray, towards_street: np.ndarray, style: int) -> None:
    """A street lamp with its light. `style` 0 has an arm over the street, 1 a lantern on the post."""
    plain = atlas.layers["plain"]
    if style == 0:
        _add_arm_lamp(mesh, plain, foot, towards_street)
    else:
        _add_lantern(mesh, plain, foot)


def _add_arm_lamp(mesh: MeshBuilder, plain: int, foot: np.ndarray, towards_street: np.ndarray) -> None:
    grey = (0.42, 0.43, 0.44)
    mesh.prism(foot, foot + UP * 6.5, 0.09, 0.06, 6, plain, grey)
    mesh.prism(foot + UP * 6.4, foot + towards_street * 1.6 + UP * 6.8, 0.045, 0.04, 5, plain, grey)
    head = foot + towards_street * 1.5 + UP * 6.72
    size_x, size_y = np.abs(towards_street[:2]) * 0.9 + np.abs(towards_street[1::-1]) * 0.3
    corner = head - point(0.2, 0.2)
    mesh.box(corner, point(size_x, 0), point(0, size_y), 0.12, plain, (0.4, 0.4, 0.4))
    below = corner - UP * 0.01
    mesh.rect(below, point(0, size_y), point(size_x, 0), (0, 0, 1, 1), plain, (1, 0.85, 0.6), Surface.LAMP, normal=-UP)
    mesh.light(head - UP * 0.3, (1.0, 0.80, 0.55), LAMP_STRENGTH)


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
) -> None:
    """A bollard, a box, a signpost, or nothing, at a point of the kerb."""
    plain, kind = atlas.layers["plain"], rng.random()
    if kind < 0.35:
        mesh.prism(foot, foot + UP * 0.95, 0.09, 0.07, 6, plain, (0.2, 0.22, 0.2))
    elif kind < 0.6:
        edges, green = (along * 0.6, towards_street * 0.35), (0.25, 0.38, 0.28)
        mesh.box(foot - along * 0.3, *edges, 1.1, plain, green, top_surface=Surface.ROOF)
    elif kind < 0.8:
        mesh.prism(foot, foot + UP * 2.5, 0.03, 0.03, 5, plain, (0.5, 0.5, 0.5))
        colour = SIGN_COLOURS[int(rng.integers(len(SIGN_COLOURS)))]
        corner = foot + UP * 2.0 - towards_street * 0.3 - along * 0.04
        mesh.rect(corner, towards_street * 0.6, UP * 0.6, (0, 0, 1, 1), plain, colour)
