"""The lie of the land: a plan of straight streets is bent by a conformal map and lifted by hills.

A conformal map keeps right angles, so houses still stand square to their streets, while the streets become arcs,
rings or slow curves. Plan coordinates are metres with the city's middle at (0, 0); world coordinates are metres too,
x east, y north, z up.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

FORMS = ("grid", "bent", "ring", "winding")
WAVES = 3  # hills; the shaders know the same number


@dataclass(frozen=True, eq=False)
class Land:
    """How the plan lies in the world.

    ``form``: grid (straight), bent (parabolic arcs), ring (circles and rays) or winding (slow S-curves).
    ``strength``: how much, a complex number whose angle is the direction; ``radius``: half the city's size in metres.
    ``turn``: of the whole city, radians. ``waves`` [3, 4]: kx, ky (radians per metre), phase, amplitude (metres).
    """

    form: str = "grid"
    strength: complex = 0.0
    radius: float = 180.0
    turn: float = 0.0
    waves: np.ndarray = None  # type: ignore[assignment]  # __post_init__ fills it

    def __post_init__(self) -> None:
        if self.form not in FORMS:
            raise ValueError(f"no form of land {self.form!r}; choose one of: {', '.join(FORMS)}")
        if self.waves is None:
            object.__setattr__(self, "waves", np.zeros((WAVES, 4)))

    def _bend(self, z: np.ndarray) -> np.ndarray:
        c, r = self.strength, self.radius
        if self.form == "bent":
            z = z + c * z * z / r
        elif self.form == "ring" and c != 0:
            z = (np.exp(c * z / r) - 1) * r / c
        elif self.form == "winding" and c != 0:
            k = 1.9 / r
            z = z + abs(c) / k * (np.sin(k * z + np.angle(c)) + 0.5 * np.sin(k * z * 1j + 2 * np.angle(c)) / 1j)
        return z * np.exp(1j * self.turn)

    def flat(self, x: np.ndarray | float, y: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
        """Plan x, y -> world x, y."""
        w = self._bend(np.asarray(x, float) + 1j * np.asarray(y, float))
        return w.real, w.imag

    def height(self, x: np.ndarray | float, y: np.ndarray | float) -> np.ndarray:
        """Metres of the ground at world x, y."""
        x, y = np.asarray(x, float)[..., None], np.asarray(y, float)[..., None]
        kx, ky, phase, amplitude = self.waves.T
        return (amplitude * np.sin(kx * x + ky * y + phase)).sum(-1)

    def place(self, x: np.ndarray | float, y: np.ndarray | float, z: np.ndarray | float = 0.0) -> np.ndarray:
        """Plan x, y and metres above the ground -> world points [..., 3]."""
        wx, wy = self.flat(x, y)
        return np.stack(np.broadcast_arrays(wx, wy, self.height(wx, wy) + z), -1)

    def turn_at(self, x: float, y: float) -> float:
        """Radians by which directions turn from plan to world at a plan point."""
        z = complex(x, y)
        return float(np.angle(self._bend(np.array(z + 0.01)) - self._bend(np.array(z - 0.01))))

    def direction(self, x: float, y: float, along: np.ndarray) -> np.ndarray:
        """A plan direction [3] at a plan point -> the level unit vector [3] of the world."""
        angle = self.turn_at(x, y)
        c, s = np.cos(angle), np.sin(angle)
        return np.array([c * along[0] - s * along[1], s * along[0] + c * along[1], 0.0])

    def slope(self, x: float, y: float, heading: float) -> float:
        """Degrees by which the ground rises at world x, y towards a heading (degrees clockwise from north)."""
        a = np.radians(heading)
        dx, dy = np.sin(a) * 6, np.cos(a) * 6
        rise = self.height(x + dx, y + dy) - self.height(x - dx, y - dy)
        return float(np.degrees(np.arctan2(rise, 12.0)))


def draw_land(form: str, hills: float, radius: float, rng: np.random.Generator) -> Land:
    """A land of a form with hills of about ``hills`` metres; other numbers give other curves, hills and headings."""
    size = {"grid": 0.0, "bent": 0.15, "ring": 0.34, "winding": 0.085}[form]
    waves = []
    for share, (shortest, longest) in ((1.0, (230, 380)), (0.5, (140, 230)), (0.12, (70, 110))):
        k, angle = 2 * np.pi / rng.uniform(shortest, longest), rng.uniform(0, 2 * np.pi)
        waves.append((k * np.cos(angle), k * np.sin(angle), rng.uniform(0, 2 * np.pi), hills * share))
    strength = size * rng.uniform(0.75, 1.0) * np.exp(1j * rng.uniform(0, 2 * np.pi))
    return Land(form, complex(strength), radius, float(rng.uniform(0, 2 * np.pi)), np.array(waves))
