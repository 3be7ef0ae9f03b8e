"""Where and when photos are taken: places of a training city, database and query sets of a benchmark city."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from scicevpr.errors import UsageError
from training.procity.conditions import TRAINING_MIX, get_condition
from training.procity.querysets import TIERS, QuerySet, Tier

if TYPE_CHECKING:
    from training.procity.plan import City, Street

PLACE_DISTANCE = 18.0  # metres along a street between training places that look the same way
QUERY_REACH = 20.0  # metres to the nearest database photo of the same heading
SAME_HEADING = 40.0  # degrees
STREET_END = 8.0  # metres kept free at both ends of a street
DATABASE_FOV, DATABASE_PITCH = 58.0, 4.0
FOV_RANGE = (46.0, 72.0)  # degrees; no lens is wider or narrower
HEIGHT_RANGE = (2.1, 2.5)  # metres: a camera on the roof of a car
WALKER_HEIGHT = (1.55, 1.8)  # metres, under a roof: a camera in a hand
SEASON_MONTHS = {"spring": (4, 5), "summer": (6, 7, 8), "autumn": (10, 11), "winter": (1, 2, 12)}
TRAINING_TIERS = {"easy": 0.25, "medium": 0.5, "hard": 0.25}
TRAINING_TRAFFIC = {"light": 0.2, "normal": 0.65, "heavy": 0.15}
POOR_CAMERA_SHARE, LATER_ERA_SHARE = 0.12, 0.25  # of the training photos


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
    covered: bool = False  # under the roof of a gallery or an underpass
    traffic: str = "normal"
    camera: str = "good"
    era: int = 0  # 0: the database's years; later ones have other shop signs, paint and scaffolds
    tier: str = "database"  # of the viewpoint
    query_set: str = ""

    @property
    def label(self) -> str:
        """What the file name says: the query set, or the condition of a database or training photo."""
        return self.query_set or self.condition


@dataclass(frozen=True, eq=False)
class Drive:
    """One way along a street, measured in metres of the world."""

    street: Street
    line: np.ndarray  # [n, 2]

    @cached_property
    def _metres(self) -> np.ndarray:
        return np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(self.line, axis=0).T))])

    @property
    def length(self) -> float:
        """Metres from end to end."""
        return float(self._metres[-1])

    def _middle(self, along: float) -> np.ndarray:
        return np.array([np.interp(along, self._metres, self.line[:, axis]) for axis in (0, 1)])

    def heading(self, along: float) -> float:
        """Degrees clockwise from north."""
        dx, dy = self._middle(along + 2) - self._middle(along - 2)
        return float(np.degrees(np.arctan2(dx, dy)) % 360)

    def point(self, along: float, aside: float) -> tuple[float, float]:
        """Metres along the street and to the right of its centre line -> x, y."""
        a = np.radians(self.heading(along))
        x, y = self._middle(along)
        return float(x + aside * np.cos(a)), float(y - aside * np.sin(a))

    def clip(self, aside: float) -> float:
        """The nearest distance from the centre line at which a camera may stand."""
        side = 1.0 if aside >= 0 or self.street.inner_limit > 0 else -1.0
        return side * float(
            np.clip(abs(aside) if aside * side > 0 else 0.0, self.street.inner_limit, self.street.limit)
        )


def city_drives(city: City) -> list[Drive]:
    """The inner streets, each once for every direction of travel."""
    return [Drive(street, line) for street in city.streets if street.inner for line in (street.line, street.line[::-1])]


class Sampler:
    """Draws the shots of one city. Equal cities and seeds give equal shots.

    Args:
        city: the plan.
        name: of the city, the start of every place id, for example "c201".
        seed: of all draws.
    """

    def __init__(self, city: City, name: str, seed: int) -> None:
        self.city, self.name, self.seed = city, name, seed
        self.drives = city_drives(city)
        if not self.drives:
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

    def _stand(self, drive: Drive, along: float, aside: float) -> tuple[float, float, float]:
        """The nearest free standing place: towards the centre line first, then along the street; x, y, metres along."""
        best, most = (*drive.point(along, drive.clip(aside)), along), -np.inf
        for step in (0.0, 1.0, -1.0, 2.0, -2.0, 3.0, -3.0):
            moved = float(np.clip(along + step, STREET_END / 2, drive.length - STREET_END / 2))
            for share in (1.0, 0.6, 0.2):
                at = drive.point(moved, drive.clip(aside * share))
                room = self.clearance(*at)
                if room >= 0:
                    return *at, moved
                if room > most:
                    best, most = (*at, moved), room
        return best

    def _shot(
        self,
        random: np.random.Generator,
        drive: Drive,
        along: float,
        aside: float,
        tier: Tier,
        place_id: str,
        condition: str,
        visit: int,
        **rest: object,
    ) -> Shot:
        """A photo from near (along, aside), moved, turned and zoomed within the tier."""
        along = float(np.clip(along + _within(random, tier.along), STREET_END / 2, drive.length - STREET_END / 2))
        x, y, along = self._stand(drive, along, aside + _within(random, tier.across))
        covered = drive.street.is_covered
        yaw = (drive.heading(along) + _within(random, tier.turn)) % 360
        slope = self.city.land.slope(x, y, yaw)
        fov = DATABASE_FOV * float(np.exp(_within(random, tier.zoom)))
        return Shot(
            place_id=place_id,
            x=x,
            y=y,
            z=float(random.uniform(*(WALKER_HEIGHT if covered else HEIGHT_RANGE))),
            yaw=float(yaw),
            pitch=(0.5 if covered else DATABASE_PITCH) + 0.8 * slope + _within(random, tier.tilt),
            fov=float(np.clip(fov, *FOV_RANGE)),
            condition=condition,
            visit=visit,
            seed=int(random.integers(1 << 31)),
            timestamp=_timestamp(random, condition, int(rest.get("era", 0))),  # type: ignore[call-overload]  # "era" is a number where there is one
            covered=covered,
            tier=tier.name,
            **rest,
        )

    # ---- training
    def training(self, places: int, visits: int) -> list[Shot]:
        """`visits` photos of each of `places` places, in the weather-heavy mix of conditions and all other factors.

        Places are at least 18 m apart along their street, or look another way. UsageError when the city has too few.
        """
        candidates = []
        for number, drive in enumerate(self.drives):
            phase = np.random.default_rng([self.seed, 1, number]).uniform(0, PLACE_DISTANCE)
            first = STREET_END + phase / 2
            candidates += [(drive, along) for along in np.arange(first, drive.length - STREET_END, PLACE_DISTANCE)]
        if len(candidates) < places:
            raise UsageError(
                f"the city has room for {len(candidates)} training places, not {places}; ask for fewer or more blocks"
            )
        shots = []
        for place, chosen in enumerate(_spread(len(candidates), places)):
            drive, along = candidates[chosen]
            random = np.random.default_rng([self.seed, 2, place])
            for visit in range(visits):
                shots.append(
                    self._shot(
                        random,
                        drive,
                        along,
                        drive.street.lane,
                        TIERS[_pick(random, TRAINING_TIERS)],
                        f"{self.name}p{place}",
                        _pick(random, TRAINING_MIX),
                        30_000 + place * 64 + visit,
                        traffic=_pick(random, TRAINING_TRAFFIC),
                        camera="poor" if random.random() < POOR_CAMERA_SHARE else "good",
                        era=int(random.integers(1, 4)) if random.random() < LATER_ERA_SHARE else 0,
                        role="train",
                        number=visit,
                    )
                )
        return shots

    # ---- benchmark
    def database(self, count: int, step: float = 12.0) -> list[Shot]:
        """`count` day photos: every `step` metres of every street and direction, thinned evenly; a drive is a visit."""
        candidates = [
            (number, along)
            for number, drive in enumerate(self.drives)
            for along in np.arange(STREET_END, drive.length - STREET_END, step)
        ]
        if len(candidates) < count:
            raise UsageError(
                f"a photo every {step:g} m gives {len(candidates)} database photos, not {count}; use a smaller step"
            )
        shots = []
        for number, chosen in enumerate(_spread(len(candidates), count)):
            way, along = candidates[chosen]
            drive, random = self.drives[way], np.random.default_rng([self.seed, 3, number])
            place, visit = f"{self.name}d{number}", 10_000 + way
            shots.append(
                self._shot(
                    random, drive, along, drive.street.lane, TIERS["database"], place, "day", visit, role="database"
                )
            )
        return shots

    def queries(self, database: Sequence[Shot], sets: Sequence[QuerySet]) -> list[Shot]:
        """The photos of the query sets, each on a visit of its own.

        A query stands near the place of a database photo of its heading (40 degrees), at most 20 m away, so that it
        can be answered.
        """
        places = np.array([(shot.x, shot.y) for shot in database])
        headings = np.array([shot.yaw for shot in database])
        lengths = np.array([drive.length for drive in self.drives])
        shots: list[Shot] = []
        for number_of_set, query_set in enumerate(sets):
            for number in range(query_set.count):
                random = np.random.default_rng([self.seed, 4, number_of_set, number])
                condition, tier = _one_of(random, query_set.conditions), TIERS[_one_of(random, query_set.tiers)]
                factors = {
                    "traffic": _one_of(random, query_set.traffic),
                    "camera": _one_of(random, query_set.cameras),
                    "era": int(_one_of(random, query_set.eras)),
                }
                for _ in range(500):
                    drive = self.drives[int(random.choice(len(lengths), p=lengths / lengths.sum()))]
                    along = random.uniform(STREET_END, drive.length - STREET_END)
                    visit = 20_000 + 1000 * number_of_set + number
                    name = f"{self.name}q{len(shots)}"
                    rest = {**factors, "role": "queries", "query_set": query_set.name}
                    shot = self._shot(random, drive, along, drive.street.lane, tier, name, condition, visit, **rest)
                    near = np.hypot(*(places - (shot.x, shot.y)).T) <= QUERY_REACH
                    if (near & (heading_difference(headings, shot.yaw) <= SAME_HEADING)).any():
                        shots.append(shot)
                        break
                else:
                    raise UsageError(
                        f"no place for a query of {query_set.name} within {QUERY_REACH:g} m of one of "
                        f"{len(database)} database photos"
                    )
        return shots


def heading_difference(a: np.ndarray | float, b: np.ndarray | float) -> np.ndarray | float:
    """Degrees between two headings, 0 to 180."""
    return np.abs((np.asarray(a) - b + 180) % 360 - 180)


def _spread(available: int, wanted: int) -> np.ndarray:
    """`wanted` of `available` numbers, evenly spread."""
    return (np.arange(wanted) * available / max(wanted, 1)).astype(int)


def _within(random: np.random.Generator, spread: float) -> float:
    """A normal draw, cut off at two and a half times its spread."""
    return float(np.clip(random.normal(0, 1), -2.5, 2.5) * spread)


def _pick(random: np.random.Generator, shares: dict[str, float]) -> str:
    names, weights = list(shares), np.array(list(shares.values()))
    return names[int(random.choice(len(names), p=weights / weights.sum()))]


def _one_of(random: np.random.Generator, values: Sequence[str]) -> str:
    return values[int(random.integers(len(values)))]


def _timestamp(random: np.random.Generator, condition: str, era: int) -> str:
    """A moment that fits: season by the leaves, hour by the light, and later years for a later era."""
    weather = get_condition(condition)
    month = int(random.choice(SEASON_MONTHS[weather.season_name]))
    year, day = int(random.integers(2014, 2017)) + 4 * era, int(random.integers(1, 29))
    minute, second = random.integers(0, 60, 2)
    return f"{year}{month:02d}{day:02d}_{weather.hour:02d}{minute:02d}{second:02d}"
