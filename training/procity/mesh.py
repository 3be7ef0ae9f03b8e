"""Surface kinds and the builder that collects quads into one vertex array.

Coordinates are metres: x east, y north, z up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

VERTEX_FLOATS = 14  # position 3, normal 3, uv 2, layer 1, tint 3, seed 1, surface kind 1
LIGHT_FLOATS = 9  # x y z, red green blue, strength, is_shop, seed
QUAD_ORDER = (0, 1, 2, 0, 2, 3)
UP = np.array([0.0, 0.0, 1.0])

Vector = Sequence[float] | np.ndarray


class Surface(IntEnum):
    """What a quad is made of: the shader chooses its treatment (windows, wetness, snow, glow) by this number."""

    GENERIC = 0
    FACADE = 1
    ROAD = 2
    LEAF = 3
    CAR = 4
    LAMP = 5
    SIGN = 6
    WALK = 7
    ROOF = 8
    TAIL_LIGHT = 9
    SHOP = 10
    CAR_GLASS = 11
    CUT_OUT = 12
    PEDESTRIAN = 13
    MARKING = 14
    CAR_SHADOW = 15
    WATER = 16
    SCAFFOLD = 17
    FENCE = 18


def point(x: float, y: float, z: float = 0.0) -> np.ndarray:
    """A position or edge as a float64 vector [3]."""
    return np.array([x, y, z], float)


def unit(vector: Vector) -> np.ndarray:
    """The vector at length 1 (a vector of length 0 stays 0)."""
    vector = np.asarray(vector, float)
    return vector / (np.linalg.norm(vector) + 1e-12)


@dataclass(frozen=True, eq=False)
class Face:
    """A vertical wall plane: its lower left corner seen from outside, its direction, its outward normal, its width."""

    origin: np.ndarray
    along: np.ndarray
    outward: np.ndarray
    width: float

    def at(self, x: float, z: float = 0.0, out: float = 0.0) -> np.ndarray:
        """The point x metres along, z metres up and `out` metres in front of the plane."""
        return self.origin + self.along * x + UP * z + self.outward * out


class MeshBuilder:
    """Collects quads and lights. Every method takes metres; colours are sRGB 0..1; `layer` is an atlas layer."""

    def __init__(self) -> None:
        self._quads: list[np.ndarray] = []
        self.lights: list[np.ndarray] = []

    def quad(
        self,
        corners: Sequence[Vector] | np.ndarray,
        uv: Sequence[tuple[float, float]],
        layer: int,
        tint: Vector = (1, 1, 1),
        surface: Surface = Surface.GENERIC,
        seed: float = 0.0,
        normal: Vector | None = None,
    ) -> None:
        """Four corners in order round the quad. Without `normal` it points to where the corners run anticlockwise.

        A `normal` [4, 3] gives each corner its own.
        """
        corners = np.asarray(corners, float)
        if normal is None:
            normal = np.cross(corners[1] - corners[0], corners[3] - corners[0])
        vertices = np.empty((4, VERTEX_FLOATS), np.float32)
        vertices[:, :3] = corners
        vertices[:, 3:6] = [unit(n) for n in normal] if np.ndim(normal) == 2 else unit(normal)
        vertices[:, 6:8] = uv
        vertices[:, 8] = layer
        vertices[:, 9:12] = tint
        vertices[:, 12] = seed
        vertices[:, 13] = surface
        self._quads.append(vertices[list(QUAD_ORDER)])

    def patch(
        self,
        corners: np.ndarray,
        uv: np.ndarray,
        layer: int,
        tint: Vector = (1, 1, 1),
        surface: Surface = Surface.GENERIC,
        normal: Vector = (0, 0, 1),
    ) -> None:
        """Many quads of one surface at once: corners [n, 4, 3], uv [n, 4, 2]."""
        vertices = np.empty((len(corners), 4, VERTEX_FLOATS), np.float32)
        vertices[..., :3], vertices[..., 3:6], vertices[..., 6:8] = corners, unit(normal), uv
        vertices[..., 8], vertices[..., 9:12], vertices[..., 12], vertices[..., 13] = layer, tint, 0, surface
        self._quads.append(vertices[:, list(QUAD_ORDER)].reshape(-1, VERTEX_FLOATS))

    def rect(
        self,
        origin: Vector,
        edge_u: Vector,
        edge_v: Vector,
        uv: tuple[float, float, float, float],
        layer: int,
        tint: Vector = (1, 1, 1),
        surface: Surface = Surface.GENERIC,
        seed: float = 0.0,
        normal: Vector | None = None,
    ) -> None:
        """A parallelogram from `origin` along two edges; uv = (u0, v0, u1, v1) at its origin and opposite corner."""
        origin, edge_u, edge_v = (np.asarray(value, float) for value in (origin, edge_u, edge_v))
        u0, v0, u1, v1 = uv
        corners = [origin, origin + edge_u, origin + edge_u + edge_v, origin + edge_v]
        self.quad(corners, [(u0, v0), (u1, v0), (u1, v1), (u0, v1)], layer, tint, surface, seed, normal)

    def box(
        self,
        corner: Vector,
        edge_x: Vector,
        edge_y: Vector,
        height: float,
        layer: int,
        tint: Vector = (1, 1, 1),
        surface: Surface = Surface.GENERIC,
        top_tint: Vector | None = None,
        top_surface: Surface | None = None,
        bottom: bool = False,
    ) -> None:
        """An upright box on two horizontal edges, normals outward, 3 m to a texture repeat; `bottom` adds the base."""
        corner, a, b = (np.asarray(value, float) for value in (corner, edge_x, edge_y))
        if a[0] * b[1] - a[1] * b[0] < 0:
            a, b = b, a
        size_a, size_b, rise = np.linalg.norm(a) / 3, np.linalg.norm(b) / 3, UP * height
        sides = ((corner, a, size_a), (corner + a, b, size_b), (corner + a + b, -a, size_a), (corner + b, -b, size_b))
        for start, edge, size in sides:
            self.rect(start, edge, rise, (0, 0, size, height / 3), layer, tint, surface)
        uv = (0, 0, size_a, size_b)
        lid = surface if top_surface is None else top_surface
        self.rect(corner + rise, a, b, uv, layer, tint if top_tint is None else top_tint, lid)
        if bottom:
            self.rect(corner + b, a, -b, uv, layer, tint, surface)

    def prism(
        self,
        start: Vector,
        end: Vector,
        start_radius: float,
        end_radius: float,
        sides: int,
        layer: int,
        tint: Vector = (1, 1, 1),
        surface: Surface = Surface.GENERIC,
    ) -> None:
        """An open tapering tube between two points, shaded as round."""
        start, end = np.asarray(start, float), np.asarray(end, float)
        length = float(np.linalg.norm(end - start))
        axis = (end - start) / length
        across = unit(np.cross(axis, [0.31, 0.95, 0.05]))
        other = np.cross(axis, across)
        angles = np.linspace(0, 2 * np.pi, sides + 1)
        spokes = np.cos(angles)[:, None] * across + np.sin(angles)[:, None] * other
        for i in range(sides):
            a, b = spokes[i], spokes[i + 1]
            corners = [start + a * start_radius, start + b * start_radius, end + b * end_radius, end + a * end_radius]
            left, right = i / sides, (i + 1) / sides
            uv = [(left, 0), (right, 0), (right, length / 3), (left, length / 3)]
            self.quad(corners, uv, layer, tint, surface, normal=np.array([a, b, b, a]))

    def light(
        self, position: Vector, colour: Vector, strength: float, is_shop: bool = False, seed: float = 0.0
    ) -> None:
        """A light source: a lamp, or the glow of a shop window."""
        self.lights.append(np.array([*position, *colour, strength, float(is_shop), seed], np.float32))

    def array(self) -> np.ndarray:
        """All quads as float32 [V, 14], six vertices a quad in the order 0 1 2 0 2 3 ([0, 14] when empty)."""
        if not self._quads:
            return np.zeros((0, VERTEX_FLOATS), np.float32)
        return np.concatenate(self._quads)

    def light_array(self) -> np.ndarray:
        """All lights as float32 [N, 9]."""
        return np.array(self.lights, np.float32).reshape(-1, LIGHT_FLOATS)
