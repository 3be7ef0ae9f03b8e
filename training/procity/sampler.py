"""Where and when photos are taken: the places of a training city, the database and the queries of a benchmark city."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from scicevpr.errors import UsageError
from training.procity.conditions import QUERY_CONDITIONS, TRAINING_MIX, get_condition
from training.procity.plan import BLOCK_PITCH_X, BLOCK_PITCH_Y

if TYPE_CHECKING:
    from training.procity.plan import City

PLACE_DISTANCE = 20.0  # metres along a street between training places that look the same way
QUERY_REACH = 15.0  # metres to the nearest database photo of the same heading
SAME_HEADING = 30.0  # degrees
STREET_END = 8.0  # metres kept free at both ends of a street
KERB_DISTANCE = 1.6  # metres between the camera and the kerb, at least
DATABASE_FOV, DATABASE_PITCH = 58.0, 4.0
FOV_RANGE, PITCH_RANGE = (52.0, 66.0), (2.0, 7.0)  # degrees
HEIGHT_RANGE = (2.1, 2.5)  # metres: a camera on the roof of a car
SEASON_MONTHS = {"spring": (4, 5), "summer": (6, 7, 8), "autumn": (10, 11), "winter": (1, 2, 12)}


@dataclass(frozen=True)
class Shot:
    """One photo to take. With the city, it decides every pixel."""

    place_id: str
    x: float  # metres east of the city's origin
    y: float  # metres north
    z: float  # metres above the street
    yaw: float  # degrees clockwise from north
    pitch: float  # degrees upwards
    fov: float  # degrees, vertical
    condition: str
    visit: int  # seed of cars, people, lit windows and clouds
    seed: int  # of exposure, white balance, noise, rain
    timestamp: str  # YYYYMMDD_hhmmss
    role: str = "database"  # train, database or queries
    number: int = 0  # among the visits to its place


@dataclass(frozen=True)
class Street:
    """A straight street with a direction of travel."""

    x: float  # where it starts
    y: float
    heading: float  # degrees clockwise from north
    length: float
    width: float

    def point(self, along: float, aside: float) -> tuple[float, float]:
        """Metres along the street and to the right of its centre line -> x, y."""
        a = np.radians(self.heading)
        return float(self.x + along * np.sin(a) + aside * np.cos(a)), float(
            self.y + along * np.cos(a) - aside * np.sin(a)
        )

    @property
    def lane(self) -> float:
        """Metres from the centre line to the middle of the right-hand lane."""
        return float(np.clip(self.width / 4, 0.8, min(1.9, self.width / 2 - 2.2)))


def city_streets(city: City) -> list[Street]:
    """The inner streets, each once for every direction of travel."""
    across, up = city.blocks_x * BLOCK_PITCH_X, city.blocks_y * BLOCK_PITCH_Y
    streets = []
    for i in range(1, city.blocks_x):
        x, width = i * BLOCK_PITCH_X, float(city.street_width_x[i])
        streets += [Street(x, 0.0, 0.0, up, width), Street(x, up, 180.0, up, width)]
    for j in range(1, city.blocks_y):
        y, width = j * BLOCK_PITCH_Y, float(city.street_width_y[j])
        streets += [Street(0.0, y, 90.0, across, width), Street(across, y, 270.0, across, width)]
    return streets


class Sampler:
    """Draws the shots of one city. Equal cities and seeds give equal shots.

    Args:
        city: the plan.
        name: of the city, the start of every place id, for example "c201".
        seed: of all draws.
    """

    def __init__(self, city: City, name: str, seed: int) -> None:
        self.city, self.name, self.seed = city, name, seed
        self.streets = city_streets(city)
        if not self.streets:
            raise UsageError("a city of fewer than 2x2 blocks has no inner street to stand on")

    # ---- standing clear of trees
    @cached_property
    def _trunks(self) -> np.ndarray:
        """Trees [n,3]: x, y and the metres that the crown needs at the camera's height."""
        rows = np.concatenate([np.asarray(block.trees, float).reshape(-1, 7) for block in self.city.blocks])
        need = np.zeros(len(rows))
        for variant, mesh in enumerate(self.city.trees):
            radius, height = np.hypot(mesh[:, 0], mesh[:, 1]), mesh[:, 2]
            for row in np.flatnonzero(rows[:, 5].astype(int) == variant):
                scale = rows[row, 4]
                level = (height * scale > 1.4) & (height * scale < 3.2)
                need[row] = radius[level].max() * scale + 0.4 if level.any() else 0.6
        return np.column_stack([rows[:, :2], need])

    def clearance(self, x: float, y: float) -> float:
        """Metres between the camera and the nearest crown at its height; negative inside a tree."""
        if not len(self._trunks):
            return np.inf
        return float((np.hypot(self._trunks[:, 0] - x, self._trunks[:, 1] - y) - self._trunks[:, 2]).min())

    def _stand(self, street: Street, along: float, aside: float) -> tuple[float, float]:
        """The nearest free standing place: towards the centre line first, then along the street."""
        limit = street.width / 2 - KERB_DISTANCE
        aside = float(np.clip(aside, -limit, limit))
        best, most = street.point(along, aside), -np.inf
        for step in (0.0, 1.0, -1.0, 2.0, -2.0, 3.0, -3.0):
            moved = float(np.clip(along + step, STREET_END / 2, street.length - STREET_END / 2))
            for share in (1.0, 0.6, 0.2):
                at = street.point(moved, aside * share)
                room = self.clearance(*at)
                if room >= 0:
                    return at
                if room > most:
                    best, most = at, room
        return best

    def _shot(
        self,
        random: np.random.Generator,
        street: Street,
        along: float,
        aside: float,
        place_id: str,
        condition: str,
        visit: int,
        *,
        yaw_spread: float,
        free_lens: bool,
        role: str,
        number: int = 0,
    ) -> Shot:
        x, y = self._stand(street, along, aside)
        return Shot(
            place_id=place_id,
            x=x,
            y=y,
            z=float(random.uniform(*HEIGHT_RANGE)),
            yaw=float((street.heading + np.clip(random.normal(0, yaw_spread), -18, 18)) % 360),
            pitch=float(random.uniform(*PITCH_RANGE)) if free_lens else DATABASE_PITCH,
            fov=float(random.uniform(*FOV_RANGE)) if free_lens else DATABASE_FOV,
            condition=condition,
            visit=visit,
            seed=int(random.integers(1 << 31)),
            timestamp=_timestamp(random, condition),
            role=role,
            number=number,
        )

    # ---- training
    def training(self, places: int, visits: int) -> list[Shot]:
        """`visits` photos of each of `places` places, in the weather-heavy mix of conditions.

        Places are at least 20 m apart along their street, or look another way. UsageError when the city has too few.
        """
        candidates = []
        for street in self.streets:
            phase = np.random.default_rng([self.seed, 1, int(street.x), int(street.y), int(street.heading)]).uniform(
                0, PLACE_DISTANCE
            )
            candidates += [
                (street, along)
                for along in np.arange(STREET_END + phase / 2, street.length - STREET_END, PLACE_DISTANCE)
            ]
        if len(candidates) < places:
            raise UsageError(
                f"the city has room for {len(candidates)} training places, not {places}; ask for fewer or more blocks"
            )
        names, shares = list(TRAINING_MIX), np.array(list(TRAINING_MIX.values()))
        shots = []
        for place, chosen in enumerate(_spread(len(candidates), places)):
            street, along = candidates[chosen]
            random = np.random.default_rng([self.seed, 2, place])
            aside = street.lane + random.normal(0, 0.3)
            for visit in range(visits):
                condition = names[int(random.choice(len(names), p=shares / shares.sum()))]
                shots.append(
                    self._shot(
                        random,
                        street,
                        along + _within(random, 2.5, 6),
                        aside + _within(random, 1.0, 2.5),
                        f"{self.name}p{place}",
                        condition,
                        30_000 + place * 64 + visit,
                        yaw_spread=6.0,
                        free_lens=True,
                        role="train",
                        number=visit,
                    )
                )
        return shots

    # ---- benchmark
    def database(self, count: int, step: float = 12.0) -> list[Shot]:
        """`count` day photos: every `step` metres of every street and direction, thinned evenly; a drive is a visit."""
        candidates = [
            (drive, along)
            for drive, street in enumerate(self.streets)
            for along in np.arange(STREET_END, street.length - STREET_END, step)
        ]
        if len(candidates) < count:
            raise UsageError(
                f"a photo every {step:g} m gives {len(candidates)} database photos, not {count}; use a smaller step"
            )
        shots = []
        for number, chosen in enumerate(_spread(len(candidates), count)):
            drive, along = candidates[chosen]
            street, random = self.streets[drive], np.random.default_rng([self.seed, 3, number])
            shots.append(
                self._shot(
                    random,
                    street,
                    along,
                    street.lane + random.normal(0, 0.15),
                    f"{self.name}d{number}",
                    "day",
                    10_000 + drive,
                    yaw_spread=1.5,
                    free_lens=False,
                    role="database",
                )
            )
        return shots

    def queries(
        self, database: Sequence[Shot], per_condition: int, conditions: Sequence[str] = QUERY_CONDITIONS
    ) -> list[Shot]:
        """`per_condition` photos of each condition from shifted viewpoints on other visits.

        Each has a database photo of its heading (30 degrees) within 15 m, so that it can be answered.
        """
        places = np.array([(shot.x, shot.y) for shot in database])
        headings = np.array([shot.yaw for shot in database])
        lengths = np.array([street.length for street in self.streets])
        shots = []
        for number in range(per_condition * len(conditions)):
            condition = conditions[number % len(conditions)]
            random = np.random.default_rng([self.seed, 4, number])
            for _ in range(500):
                street = self.streets[int(random.choice(len(lengths), p=lengths / lengths.sum()))]
                along, aside = (
                    random.uniform(STREET_END, street.length - STREET_END),
                    street.lane + _within(random, 1.2, 3),
                )
                shot = self._shot(
                    random,
                    street,
                    along,
                    aside,
                    f"{self.name}q{number}",
                    condition,
                    20_000 + number,
                    yaw_spread=6.0,
                    free_lens=True,
                    role="queries",
                )
                near = np.hypot(*(places - (shot.x, shot.y)).T) <= QUERY_REACH
                if (near & (heading_difference(headings, shot.yaw) <= SAME_HEADING)).any():
                    shots.append(shot)
                    break
            else:
                raise UsageError(
                    f"no place for query {number} within {QUERY_REACH:g} m of one of {len(database)} database photos"
                )
        return shots


def heading_difference(a: np.ndarray | float, b: np.ndarray | float) -> np.ndarray | float:
    """Degrees between two headings, 0 to 180."""
    return np.abs((np.asarray(a) - b + 180) % 360 - 180)


def _spread(available: int, wanted: int) -> np.ndarray:
    """`wanted` of `available` numbers, evenly spread."""
    return (np.arange(wanted) * available / max(wanted, 1)).astype(int)


def _within(random: np.random.Generator, spread: float, limit: float) -> float:
    return float(np.clip(random.normal(0, spread), -limit, limit))


def _timestamp(random: np.random.Generator, condition: str) -> str:
    """A moment that fits the condition: season by its leaves, hour by its light."""
    weather = get_condition(condition)
    month = int(random.choice(SEASON_MONTHS[weather.season_name]))
    year, day = int(random.integers(2019, 2026)), int(random.integers(1, 29))
    minute, second = random.integers(0, 60, 2)
    return f"{year}{month:02d}{day:02d}_{weather.hour:02d}{minute:02d}{second:02d}"
