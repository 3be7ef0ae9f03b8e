"""What belongs to a visit and not to a place: parked cars, traffic, people, lit windows, clouds.

Two photos of one place with different visit seeds show the same houses and other cars.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.procity.plan import BLOCK_PITCH_X, BLOCK_PITCH_Y, City

# fmt: off
CAR_COLOURS = np.array([
    (0.75, 0.76, 0.78), (0.08, 0.08, 0.09), (0.35, 0.36, 0.38), (0.55, 0.05, 0.05), (0.06, 0.14, 0.40),
    (0.85, 0.85, 0.84), (0.10, 0.22, 0.16), (0.62, 0.55, 0.40), (0.80, 0.45, 0.06), (0.45, 0.55, 0.65),
])
# fmt: on
CAR_SHARES = (0.35, 0.33, 0.12, 0.20)
PARKED_SHARE = 0.62  # of the parking places
CROWD_SHARE = 0.2  # of the places where somebody may walk
TRAFFIC_PER_STREET = 4.0
LANE_OFFSET = 1.02  # metres from the centre line


@dataclass(frozen=True)
class Visit:
    """Movable things, one row an instance: shape, x, y, z, turn (radians), red, green, blue, scale."""

    cars: np.ndarray  # float64 [n,9]
    people: np.ndarray  # float64 [m,9]
    window_seed: float
    cloud_seed: float


def _car(random: np.random.Generator, shape: int, x: float, y: float, turn: float) -> tuple[float, ...]:
    return (shape, x, y, 0.0, turn, *CAR_COLOURS[random.integers(len(CAR_COLOURS))], 1.0)


def plan_visit(city: City, seed: int) -> Visit:
    """Draw a visit to the city. The same city and seed give the same visit."""
    random = np.random.default_rng([seed, 1000])
    cars = []
    for x, y, turn in city.parking[random.random(len(city.parking)) < PARKED_SHARE]:
        shape = int(random.choice(len(CAR_SHARES), p=CAR_SHARES))
        turned_round = np.pi if random.random() < 0.12 else 0.0
        shift = random.normal(0, 0.12, 2)
        cars.append(
            _car(random, shape, x + shift[0], y + shift[1], turn + np.pi + random.normal(0, 0.02) + turned_round)
        )
    width, height = city.blocks_x * BLOCK_PITCH_X, city.blocks_y * BLOCK_PITCH_Y
    for street in range(city.blocks_x + 1):  # along y; a car's mesh has its headlamps at -x
        for _ in range(int(random.poisson(TRAFFIC_PER_STREET))):
            northwards = random.random() < 0.5
            side, turn = (LANE_OFFSET, -np.pi / 2) if northwards else (-LANE_OFFSET, np.pi / 2)
            shape = int(random.integers(len(city.cars)))
            cars.append(_car(random, shape, street * BLOCK_PITCH_X + side, random.uniform(0, height), turn))
    for street in range(city.blocks_y + 1):  # along x
        for _ in range(int(random.poisson(TRAFFIC_PER_STREET))):
            eastwards = random.random() < 0.5
            side, turn = (-LANE_OFFSET, np.pi) if eastwards else (LANE_OFFSET, 0.0)
            shape = int(random.integers(len(city.cars)))
            cars.append(_car(random, shape, random.uniform(0, width), street * BLOCK_PITCH_Y + side, turn))
    people = []
    for x, y, turn in city.walks[random.random(len(city.walks)) < CROWD_SHARE]:
        shift = random.normal(0, 0.8, 2)
        turned_round = np.pi if random.random() < 0.5 else 0.0
        shape = int(random.integers(len(city.people)))
        people.append(
            (shape, x + shift[0], y + shift[1], 0.14, turn + turned_round + random.normal(0, 0.2), 1, 1, 1, 1.0)
        )
    return Visit(
        cars=np.array(cars, float).reshape(-1, 9),
        people=np.array(people, float).reshape(-1, 9),
        window_seed=float(random.random() * 97),
        cloud_seed=float(random.random()),
    )


@dataclass(frozen=True)
class View:
    """Where a camera stands and looks on the map; picks what can be seen from there."""

    x: float
    y: float
    forward: np.ndarray  # [2], unit

    def ahead_and_aside(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Metres in front of the camera, and metres to the left of its axis."""
        dx, dy = np.asarray(x) - self.x, np.asarray(y) - self.y
        return dx * self.forward[0] + dy * self.forward[1], dy * self.forward[0] - dx * self.forward[1]

    def sees(self, x: np.ndarray, y: np.ndarray, reach: float, margin: float, slope: float = 0.85) -> np.ndarray:
        """Mask of the points in a widened view triangle up to `reach` metres ahead."""
        ahead, aside = self.ahead_and_aside(x, y)
        return (ahead > -margin) & (ahead < reach) & (np.abs(aside) < np.maximum(ahead, 0) * slope + margin)

    def sees_box(self, bounds: np.ndarray) -> bool:
        """Whether a rectangle (x0, y0, x1, y1) reaches into the view."""
        x0, y0, x1, y1 = bounds
        ahead, aside = self.ahead_and_aside(np.array([x0, x0, x1, x1]), np.array([y0, y1, y0, y1]))
        if ahead.max() <= -2:
            return False
        edge = ahead * 0.95 + 3
        return not ((aside > edge).all() or (-aside > edge).all())

    def cars(self, visit: Visit) -> np.ndarray:
        """The visit's cars in view, without those that would hide the street right before the lens."""
        cars = visit.cars[self.sees(visit.cars[:, 1], visit.cars[:, 2], 110, 9)]
        ahead, aside = self.ahead_and_aside(cars[:, 1], cars[:, 2])
        distance = np.hypot(ahead, aside)
        before_lens = (ahead < 14) & (np.abs(aside) < 2.0)
        beside_lens = (distance < 7) & (ahead > -2) & (np.abs(aside) < 4.5)
        return cars[~before_lens & ~beside_lens & (distance > 4.0)]

    def people(self, visit: Visit) -> np.ndarray:
        """The visit's people in view, none closer than 2.5 m."""
        people = visit.people[self.sees(visit.people[:, 1], visit.people[:, 2], 70, 4)]
        return people[np.hypot(people[:, 1] - self.x, people[:, 2] - self.y) > 2.5]
