"""Six vehicle shapes, each drawn from its side profile and shaded smoothly."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from training.procity.atlas import Atlas
from training.procity.mesh import MeshBuilder, Surface

GLASS_TINT = (0.05, 0.06, 0.07)
SILL = 0.32  # metres above the road
NO_UV = [(0.0, 0.0)] * 4


@dataclass(frozen=True)
class CarShape:
    """Length, width, height and the height of the belt line in metres.

    `profile` runs from front to rear as (share of the length, height in metres). `side_glass` shifts the front and
    rear ends of the side windows, in metres; `lamps` is the height of the lamps.
    """

    length: float
    width: float
    height: float
    belt: float
    profile: tuple[tuple[float, float], ...]
    side_glass: tuple[float, float] = (0.13, 0.13)
    lamps: float = 0.66
    rounding: float = 0.13
    lean: float = 0.2
    wheel: float = 0.33

    def points(self) -> list[tuple[float, float]]:
        """The profile as (x, z) in metres with x = 0 at the middle and the front at negative x."""
        return [((share - 0.5) * self.length, z) for share, z in self.profile]

    def half_width(self, z: float, x: float = 0.0) -> float:
        """Half the body's width: narrower above the belt line, towards the sill and at both ends."""
        ends = 1 - self.rounding * abs(x / (self.length / 2)) ** 5
        if z > self.belt:
            return self.width / 2 * ends * (1 - self.lean * (z - self.belt) / (self.height - self.belt + 0.01))
        return self.width / 2 * ends * (1 - 0.06 * max(0.0, 0.6 - z))


SEDAN = CarShape(
    4.5, 1.76, 1.43, 0.90,
    ((0, 0.32), (0.02, 0.62), (0.27, 0.88), (0.40, 1.40), (0.68, 1.43), (0.83, 0.98), (0.985, 0.90), (1, 0.35)),
)  # fmt: skip
HATCHBACK = CarShape(
    3.9, 1.7, 1.5, 0.93,
    ((0, 0.32), (0.02, 0.66), (0.26, 0.92), (0.42, 1.45), (0.84, 1.5), (0.97, 0.95), (1, 0.4)),
)  # fmt: skip
VAN = CarShape(
    4.9, 1.95, 2.1, 1.15,
    ((0, 0.35), (0.02, 0.85), (0.17, 1.15), (0.31, 2.0), (0.96, 2.1), (0.995, 1.0), (1, 0.4)),
    side_glass=(-0.07, -1.82), lamps=0.8,
)  # fmt: skip
SUV = CarShape(
    4.5, 1.85, 1.68, 1.02,
    ((0, 0.4), (0.01, 0.8), (0.25, 1.02), (0.38, 1.6), (0.86, 1.68), (0.97, 1.08), (1, 0.45)),
)  # fmt: skip
BUS = CarShape(
    10.8, 2.5, 3.0, 1.25,
    ((0, 0.38), (0.004, 1.2), (0.012, 2.85), (0.04, 3.0), (0.985, 3.0), (0.998, 1.2), (1, 0.4)),
    side_glass=(0.3, -0.4), lamps=0.75, rounding=0.05, lean=0.03, wheel=0.48,
)  # fmt: skip
TRUCK = CarShape(
    6.8, 2.2, 2.9, 1.2,
    ((0, 0.4), (0.01, 1.1), (0.05, 2.05), (0.10, 2.3), (0.27, 2.35), (0.28, 2.9), (0.99, 2.9), (1, 0.5)),
    side_glass=(0.1, -5.0), lamps=0.8, rounding=0.03, lean=0.03, wheel=0.42,
)  # fmt: skip
CAR_SHAPES = (SEDAN, HATCHBACK, VAN, SUV, BUS, TRUCK)


def car_mesh(atlas: Atlas, shape: CarShape) -> np.ndarray:
    """A car standing on the ground at the origin with its front towards -x, float32 [V, 14].

    Quads of Surface.CAR take the colour of the instance; the last but one quad is the shadow under the car.
    """
    mesh, plain = MeshBuilder(), atlas.layers["plain"]
    _add_shell(mesh, plain, shape)
    for side in (-1, 1):
        _add_side(mesh, plain, shape, side)
        for x in (-shape.length * 0.31, shape.length * 0.31):
            _add_wheel(mesh, plain, x, side * (shape.width / 2 + 0.01), side, shape.wheel)
    _add_ends(mesh, plain, shape)
    _add_underside(mesh, plain, shape)
    return _smooth(mesh.array())


def _smooth(vertices: np.ndarray, sharpest: float = 0.35) -> np.ndarray:
    """Average the normals of paint and glass where corners meet at less than about 70 degrees."""
    result, kinds = vertices.copy(), vertices[:, 13].round().astype(int)
    soft = np.flatnonzero(np.isin(kinds, (Surface.CAR, Surface.CAR_GLASS)))
    _, corner = np.unique(np.round(vertices[soft, :3], 2), axis=0, return_inverse=True)
    normals = vertices[soft, 3:6]
    for group in range(corner.max() + 1):
        rows = np.flatnonzero(corner.reshape(-1) == group)
        near = normals[rows] @ normals[rows].T > sharpest
        mean = near.astype(float) @ normals[rows]
        result[soft[rows], 3:6] = mean / np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-6)
    return result


def _add_shell(mesh: MeshBuilder, plain: int, shape: CarShape) -> None:
    """Bonnet, windscreen, roof, rear window and tail: a strip across the car along its profile."""
    points = shape.points()
    last = len(points) - 2
    for i in range(last + 1):
        (x0, z0), (x1, z1) = points[i], points[i + 1]
        w0, w1 = shape.half_width(z0, x0), shape.half_width(z1, x1)
        windscreen = z1 - z0 > 0.35 and i >= 2
        rear_window = z0 - z1 > 0.35 and i < last and z0 > shape.belt + 0.2
        glass = windscreen or rear_window
        corners = [(x1, -w1, z1), (x1, w1, z1), (x0, w0, z0), (x0, -w0, z0)]
        normal = (-1, 0, 0.1) if i == 0 else (1, 0, 0.1) if i == last else None
        mesh.quad(
            corners,
            [(0, 0), (1, 0), (1, 1), (0, 1)],
            plain,
            GLASS_TINT if glass else (1, 1, 1),
            Surface.CAR_GLASS if glass else Surface.CAR,
            1.0 if glass else 0.0,
            normal,
        )


def _add_side(mesh: MeshBuilder, plain: int, shape: CarShape, side: int) -> None:
    """The body below the belt line, the cabin above it, and two side windows."""
    points = shape.points()

    def at(x: float, z: float, out: float = 0.0) -> tuple[float, float, float]:
        return x, side * (shape.half_width(z, x) + out), z

    for (x0, z0), (x1, z1) in pairwise(_finer(points)):
        belt0, belt1 = min(z0, shape.belt), min(z1, shape.belt)
        lower = [at(x0, SILL), at(x1, SILL), at(x1, belt1), at(x0, belt0)]
        mesh.quad(lower, NO_UV, plain, surface=Surface.CAR, normal=(0, side, 0.15))
        if max(z0, z1) > shape.belt + 0.01:
            upper = [at(x0, belt0), at(x1, belt1), at(x1, z1), at(x0, z0)]
            mesh.quad(upper, NO_UV, plain, surface=Surface.CAR, normal=(0, side * 0.95, 0.3))
    cabin = [x for x, z in points if z > shape.belt + 0.2]
    front, rear, bottom, top = min(cabin), max(cabin), shape.belt + 0.03, shape.height - 0.12
    first = front + shape.side_glass[0], front + (rear - front) * 0.48
    second = front + (rear - front) * 0.52, rear + shape.side_glass[1]
    windows = [(first, 0.28, 0.0), (second, 0.0, 0.22)]
    if shape.length > 9:  # a row of windows
        cuts = np.linspace(front + 0.4, rear - 0.5, 8)
        windows = [((a, b - 0.15), 0.0, 0.0) for a, b in pairwise(cuts)]
    for (x0, x1), lean_front, lean_rear in windows:
        if x1 - x0 < 0.2:
            continue
        corners = [(x0 - lean_front * 0.8, bottom), (x1 + lean_rear * 0.8, bottom)]
        corners += [(x1 - lean_rear * 0.3, top), (x0 + lean_front, top)]
        window = [at(x, z, 0.012) for x, z in corners]
        mesh.quad(window, NO_UV, plain, GLASS_TINT, Surface.CAR_GLASS, normal=(0, side * 0.95, 0.3))


def _finer(points: list[tuple[float, float]], longest: float = 0.9) -> list[tuple[float, float]]:
    """The profile with long stretches cut up, so that the body's sides can curve."""
    result = points[:1]
    for (x0, z0), (x1, z1) in pairwise(points):
        parts = max(1, int(np.ceil((x1 - x0) / longest)))
        result += [(x0 + (x1 - x0) * i / parts, z0 + (z1 - z0) * i / parts) for i in range(1, parts + 1)]
    return result


def _add_wheel(mesh: MeshBuilder, plain: int, x: float, y: float, side: int, radius: float, sides: int = 12) -> None:
    """A tyre and a rim, each a fan of quads whose first and last corners meet in the middle."""
    centre, angles = np.array([x, y, radius]), np.linspace(0, 2 * np.pi, sides + 1)
    spokes = np.stack([np.cos(angles), np.zeros_like(angles), np.sin(angles)], 1) * radius
    hub = centre + np.array([0, side * 0.01, 0])
    for a, b in pairwise(spokes):
        mesh.quad([centre, centre + a, centre + b, centre], NO_UV, plain, (0.03, 0.03, 0.03), normal=(0, side, 0))
        rim = [hub, hub + a * 0.6, hub + b * 0.6, hub]
        mesh.quad(rim, NO_UV, plain, (0.45, 0.46, 0.48), normal=(0, side, 0.2))


def _add_ends(mesh: MeshBuilder, plain: int, shape: CarShape) -> None:
    """Head lamps, tail lamps, grille and number plates."""
    front, rear, lamps = -shape.length / 2, shape.length / 2, shape.lamps
    for side in (-1, 1):
        y = side * shape.width * 0.36
        head = [(front - 0.02, y - 0.2, lamps - 0.08), (front - 0.02, y + 0.2, lamps - 0.08)]
        head += [(front + 0.02, y + 0.2, lamps + 0.09), (front + 0.02, y - 0.2, lamps + 0.09)]
        mesh.quad(head, NO_UV, plain, (0.95, 0.95, 0.9), Surface.LAMP, normal=(-1, 0, 0))
        tail = [(rear + 0.02, y - 0.17, lamps - 0.02), (rear + 0.02, y + 0.17, lamps - 0.02)]
        tail += [(rear, y + 0.17, lamps + 0.18), (rear, y - 0.17, lamps + 0.18)]
        mesh.quad(tail, NO_UV, plain, (0.7, 0.03, 0.02), Surface.TAIL_LIGHT, normal=(1, 0, 0))
    half = shape.width * 0.3
    grille = [(front, -half, 0.36), (front, half, 0.36), (front - 0.015, half, 0.55), (front - 0.015, -half, 0.55)]
    mesh.quad(grille, NO_UV, plain, (0.06, 0.06, 0.06), normal=(-1, 0, 0))
    for sign in (-1, 1):
        x = sign * (rear + 0.03)
        plate = [(x, -0.26, 0.46), (x, 0.26, 0.46), (x, 0.26, 0.58), (x, -0.26, 0.58)]
        mesh.quad(plate, NO_UV, plain, (0.85, 0.85, 0.8), normal=(sign, 0, 0))


def _add_underside(mesh: MeshBuilder, plain: int, shape: CarShape) -> None:
    """The dark patch on the road under the car, and the car's floor."""
    x, y, z = shape.length / 2 + 0.1, shape.width / 2 + 0.08, 0.016
    patch = [(-x, -y, z), (x, -y, z), (x, y, z), (-x, y, z)]
    mesh.quad(patch, NO_UV, plain, (0.10, 0.10, 0.11), Surface.CAR_SHADOW, normal=(0, 0, 1))
    x, y, z = shape.length / 2, shape.width / 2, 0.25
    floor = [(-x, -y, z), (x, -y, z), (x, y, z), (-x, y, z)]
    mesh.quad(floor, NO_UV, plain, (0.02, 0.02, 0.02), normal=(0, 0, -1))
