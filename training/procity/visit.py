"""What belongs to a visit and not to a place: parked cars, traffic, people, lit windows, clouds.

Two photos of one place with different visit seeds show the same houses and other cars.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.procity.plan import City

# fmt: off
CAR_COLOURS = np.array([
    (0.75, 0.76, 0.78), (0.08, 0.08, 0.09), (0.35, 0.36, 0.38), (0.55, 0.05, 0.05), (0.06, 0.14, 0.40),
    (0.85, 0.85, 0.84), (0.10, 0.22, 0.16), (0.62, 0.55, 0.40), (0.80, 0.45, 0.06), (0.45, 0.55, 0.65),
])
# fmt: on
PARKED_SHARES = (0.36, 0.34, 0.10, 0.20, 0.0, 0.0)  # by shape; see cars.CAR_SHAPES
MOVING_SHARES = (0.32, 0.30, 0.10, 0.18, 0.05, 0.05)
CROWD_SHARE = 0.2  # of the places where somebody may walk
METRES_PER_CAR = 95.0  # of street, on an ordinary visit
TRAFFIC = {"light": 0.4, "normal": 1.0, "heavy": 3.2}  # times as many cars and people


@dataclass(frozen=True)
class Visit:
    """Movable things, one row an instance: shape, x, y, metres above the ground, turn, red, green, blue, scale.

    A negative scale says that every vertex stands on the ground below it.
    """

    cars: np.ndarray  # float64 [n,9]
    people: np.ndarray  # float64 [m,9]
    window_seed: float
    cloud_seed: float


def plan_visit(city: City, seed: int, traffic: str = "normal") -> Visit:
    """Draw a visit to the city. The same city, seed and traffic (a key of TRAFFIC) give the same visit."""
    random, busy = np.random.default_rng([seed, 1000]), TRAFFIC[traffic]
    cars, people = [], []

    def add_car(shape: int, x: float, y: float, turn: float) -> None:
        colour = CAR_COLOURS[random.integers(len(CAR_COLOURS))]
        if shape >= 4:
            colour = np.clip(colour * 0.5 + random.uniform(0.2, 0.5, 3), 0, 0.9)
        cars.append((shape, x, y, 0.0, turn, *colour, -1.0))

    parked = min(0.92, city.characters[0].parked * (0.55 + 0.45 * busy))
    for x, y, turn in city.parking[random.random(len(city.parking)) < parked]:
        turned_round = np.pi if random.random() < 0.12 else 0.0
        shift = random.normal(0, 0.12, 2)
        shape = int(random.choice(len(PARKED_SHARES), p=PARKED_SHARES))
        add_car(shape, x + shift[0], y + shift[1], turn + np.pi + random.normal(0, 0.02) + turned_round)
    for street in city.streets:
        if street.is_covered:
            continue
        line = street.line
        steps = np.hypot(*np.diff(line, axis=0).T)
        for _ in range(int(random.poisson(steps.sum() / METRES_PER_CAR * busy))):
            at = int(random.integers(len(line) - 1))
            forward = (line[at + 1] - line[at]) / max(steps[at], 1e-6)
            way = 1.0 if random.random() < 0.5 else -1.0
            right = np.array([forward[1], -forward[0]]) * way
            x, y = line[at] + right * max(1.02, street.lane)
            heading = np.arctan2(forward[1] * way, forward[0] * way)  # a car's mesh has its headlamps at -x
            add_car(int(random.choice(len(MOVING_SHARES), p=MOVING_SHARES)), x, y, heading + np.pi)
    for x, y, turn in city.walks[random.random(len(city.walks)) < min(0.8, CROWD_SHARE * busy)]:
        shift = random.normal(0, 0.6, 2)
        turned_round = np.pi if random.random() < 0.5 else 0.0
        shape = int(random.integers(len(city.people)))
        way = turn + turned_round + random.normal(0, 0.2)
        people.append((shape, x + shift[0], y + shift[1], 0.14, way, 1, 1, 1, -1.0))
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

    def cars(self, visit: Visit, dense: bool = False) -> np.ndarray:
        """The visit's cars in view, without those that would hide the street right before the lens.

        `dense`: heavy traffic may come closer.
        """
        cars = visit.cars[self.sees(visit.cars[:, 1], visit.cars[:, 2], 110, 9)]
        ahead, aside = self.ahead_and_aside(cars[:, 1], cars[:, 2])
        distance = np.hypot(ahead, aside)
        long = cars[:, 0] >= 4
        before_lens = (ahead < np.where(long, 22, 8 if dense else 16)) & (np.abs(aside) < 2.0)
        beside_lens = (distance < np.where(long, 13, 6 if dense else 9.5)) & (ahead > -3) & (np.abs(aside) < 5)
        return cars[~before_lens & ~beside_lens & (distance > 4.0)]

    def people(self, visit: Visit) -> np.ndarray:
        """The visit's people in view, none closer than 3 m."""
        people = visit.people[self.sees(visit.people[:, 1], visit.people[:, 2], 70, 4)]
        return people[np.hypot(people[:, 1] - self.x, people[:, 2] - self.y) > 3.0]
