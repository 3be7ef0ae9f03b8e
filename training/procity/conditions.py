"""Weather and light: one frozen `Condition` per name, all numbers in linear light.

The derived conditions are written as changes to another one, so that a reader sees what makes rain rain.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from scicevpr.errors import UsageError

Colour = tuple[float, float, float]


def _colour(red: float, green: float, blue: float, strength: float = 1.0) -> Colour:
    return (red * strength, green * strength, blue * strength)


@dataclass(frozen=True)
class Condition:
    """Everything that the weather, the hour and the season change in a photo."""

    name: str
    # the sun
    sun_azimuth: float = 215.0  # degrees clockwise from north
    sun_elevation: float = 42.0  # degrees
    sun_colour: Colour = (3.2, 3.01, 2.62)
    # the sky picture
    zenith: Colour = (0.184, 0.391, 0.897)
    horizon: Colour = (0.62, 0.76, 0.95)
    sun_glow: Colour = (1.2, 1.08, 0.84)
    cloud_lit: Colour = (1.5, 1.5, 1.5)
    cloud_dark: Colour = (0.55, 0.6, 0.68)
    cloud_cover: float = 0.42
    cloud_edge: float = 0.25
    overcast: float = 0.0  # 1: closed clouds
    stars: float = 0.0
    # light from all around, by the direction in which a surface looks
    ambient_up: Colour = (0.74, 0.84, 1.04)
    ambient_side: Colour = (0.54, 0.57, 0.62)
    ambient_down: Colour = (0.34, 0.31, 0.27)
    soft_sky: float = 0.0  # 1: no direct sun, the shadow map gives soft sky occlusion
    shadow_radius: float = 0.0010  # of the shadow map's width
    # the air
    fog_colour: Colour = (0.561, 0.646, 0.765)
    fog_sun: Colour = (0.25, 0.2, 0.1)
    fog_density: float = 0.0012  # per metre
    fog_on_sky: float = 0.15
    # what falls and what lies
    wetness: float = 0.0
    snow: float = 0.0
    rain: float = 0.0
    flakes: float = 0.0
    drop_colour: Colour = (0.7, 0.72, 0.76)
    # lamps
    lit_windows: float = 0.0  # share
    lamp_power: float = 0.0
    halo: float = 0.0
    # vegetation
    season: float = 1.0  # 0 spring, 1 summer, 2 autumn, 3 winter
    leaf_amount: float = 1.0
    # the camera's answer
    exposure: float = 0.74
    auto_exposure: float = 0.42
    bloom: float = 0.05
    saturation: float = 1.08
    noise: float = 0.012
    occlusion: float = 0.75
    # the clock, for timestamps only
    hour: int = 14

    @property
    def season_name(self) -> str:
        """Spring, summer, autumn or winter."""
        return ("spring", "summer", "autumn", "winter")[round(self.season)]


# fmt: off
def _table() -> dict[str, Condition]:
    day = Condition("day")
    day_am = replace(
        day, name="day_am", sun_azimuth=105, sun_elevation=30, sun_colour=_colour(1.0, 0.88, 0.70, 3.2),
        cloud_cover=0.3, hour=9,
    )
    spring = replace(
        day, name="spring", season=0.0, sun_azimuth=130, sun_elevation=38, sun_colour=_colour(1.0, 0.93, 0.80, 3.1),
        cloud_cover=0.52, hour=10,
    )
    autumn = replace(
        day, name="autumn", season=2.0, leaf_amount=0.72, sun_azimuth=235, sun_elevation=25,
        sun_colour=_colour(1.0, 0.84, 0.60, 3.2), cloud_cover=0.5, hour=16,
    )
    snow_sun = replace(
        day, name="snow_sun", snow=1.0, season=3.0, leaf_amount=0.0, sun_azimuth=225, sun_elevation=24,
        sun_colour=_colour(1.0, 0.88, 0.72, 2.8), ambient_down=_colour(0.7, 0.75, 0.85, 0.5), exposure=0.54,
        cloud_cover=0.25, hour=15,
    )
    overcast = replace(
        day, name="overcast", sun_azimuth=180, sun_elevation=80, sun_colour=(0, 0, 0), sun_glow=(0, 0, 0),
        overcast=1.0, cloud_lit=_colour(1, 1, 1.02, 1.15), cloud_dark=(0.66, 0.69, 0.74),
        ambient_up=(0.92, 0.96, 1.0), ambient_side=_colour(0.62, 0.65, 0.69, 0.85),
        ambient_down=_colour(0.35, 0.34, 0.33, 0.5), soft_sky=1.0, shadow_radius=0.014, fog_colour=(0.72, 0.75, 0.79),
        fog_sun=(0, 0, 0), fog_density=0.0022, fog_on_sky=0.3, saturation=0.95, exposure=0.85, hour=12,
    )
    rain = replace(
        overcast, name="rain", cloud_lit=(0.62, 0.65, 0.70), cloud_dark=(0.34, 0.37, 0.42),
        ambient_up=_colour(0.60, 0.64, 0.70, 0.85), ambient_side=_colour(0.45, 0.48, 0.52, 0.75),
        fog_colour=_colour(0.50, 0.53, 0.57, 0.8), fog_density=0.0075, fog_on_sky=0.75, wetness=1.0, rain=0.30,
        lit_windows=0.16, lamp_power=0.35, drop_colour=(0.62, 0.65, 0.70), saturation=0.88, exposure=1.15, bloom=0.10,
        hour=15,
    )
    fog = replace(
        overcast, name="fog", fog_density=0.021, fog_on_sky=1.0, fog_colour=_colour(0.70, 0.72, 0.74, 0.85),
        lit_windows=0.12, lamp_power=0.45, halo=0.0012, saturation=0.8, bloom=0.15, wetness=0.35,
        ambient_up=_colour(0.8, 0.83, 0.86, 0.8), exposure=0.95, hour=8,
    )
    snow = replace(
        overcast, name="snow", snow=1.0, season=3.0, leaf_amount=0.0, flakes=0.85, fog_density=0.010, fog_on_sky=0.9,
        fog_colour=_colour(0.80, 0.83, 0.88, 0.85), ambient_down=_colour(0.7, 0.72, 0.76, 0.5),
        drop_colour=(0.72, 0.74, 0.78), lit_windows=0.14, lamp_power=0.3, exposure=0.95, saturation=0.92, hour=11,
    )
    dusk = replace(
        day, name="dusk", sun_azimuth=262, sun_elevation=7, sun_colour=_colour(1.0, 0.52, 0.22, 1.5),
        zenith=_colour(0.10, 0.16, 0.42, 0.8), horizon=_colour(0.85, 0.48, 0.34, 0.75),
        sun_glow=_colour(1.0, 0.45, 0.15, 1.3), cloud_lit=_colour(1.0, 0.55, 0.40, 0.9),
        cloud_dark=_colour(0.25, 0.22, 0.34, 0.8), cloud_cover=0.55, ambient_up=_colour(0.28, 0.32, 0.52, 0.62),
        ambient_side=_colour(0.42, 0.34, 0.36, 0.5), ambient_down=_colour(0.2, 0.16, 0.15, 0.5),
        fog_colour=_colour(0.62, 0.42, 0.38, 0.6), fog_sun=(0.5, 0.22, 0.05), fog_density=0.0035, fog_on_sky=0.35,
        lit_windows=0.38, lamp_power=0.9, exposure=1.0, bloom=0.09, noise=0.018, hour=19,
    )
    night = replace(
        day, name="night", sun_azimuth=180, sun_elevation=80, sun_colour=(0, 0, 0), sun_glow=(0, 0, 0),
        zenith=_colour(0.010, 0.014, 0.034, 1.2), horizon=_colour(0.075, 0.055, 0.045, 0.9),
        cloud_lit=_colour(0.09, 0.07, 0.06, 0.8), cloud_dark=(0.03, 0.028, 0.032), cloud_cover=0.45, stars=1.0,
        ambient_up=_colour(0.022, 0.024, 0.040, 1.6), ambient_side=_colour(0.030, 0.026, 0.026, 1.5),
        ambient_down=(0.02, 0.016, 0.012), soft_sky=1.0, shadow_radius=0.014, fog_colour=(0.05, 0.04, 0.035),
        fog_sun=(0, 0, 0), fog_density=0.003, fog_on_sky=0.3, lit_windows=0.34, lamp_power=1.15, halo=0.0006,
        exposure=1.75, auto_exposure=0.25, bloom=0.13, noise=0.035, saturation=1.0, occlusion=0.6, hour=22,
    )
    night_rain = replace(
        night, name="night_rain", wetness=1.0, rain=0.10, overcast=1.0, cloud_dark=(0.05, 0.042, 0.040),
        cloud_lit=(0.08, 0.065, 0.06), fog_density=0.006, fog_on_sky=0.7, halo=0.0013, drop_colour=(0.30, 0.26, 0.22),
        bloom=0.18,
    )
    night_fog = replace(
        night, name="night_fog", fog_density=0.018, fog_on_sky=1.0, overcast=1.0, fog_colour=(0.10, 0.08, 0.065),
        halo=0.0035, bloom=0.2,
    )
    night_snow = replace(
        night, name="night_snow", snow=1.0, season=3.0, leaf_amount=0.0, flakes=0.8, overcast=1.0, fog_density=0.008,
        fog_on_sky=0.8, fog_colour=(0.11, 0.09, 0.08), cloud_dark=(0.08, 0.065, 0.06), cloud_lit=(0.11, 0.09, 0.08),
        halo=0.0012, drop_colour=(0.35, 0.32, 0.3), exposure=1.3,
    )
    every = (
        day, day_am, overcast, dusk, spring, autumn, night, rain, fog, snow, snow_sun, night_rain, night_fog,
        night_snow,
    )
    return {condition.name: condition for condition in every}
# fmt: on


CONDITIONS: dict[str, Condition] = _table()

# How often a training photo shows each condition: more bad weather than a year has. Sums to 1.
# fmt: off
TRAINING_MIX: dict[str, float] = {
    "day": 0.14, "day_am": 0.06, "autumn": 0.06, "spring": 0.04, "overcast": 0.10, "rain": 0.13, "fog": 0.11,
    "snow": 0.10, "snow_sun": 0.03, "dusk": 0.09, "night": 0.08, "night_rain": 0.04, "night_snow": 0.01,
    "night_fog": 0.01,
}
# fmt: on

# The eight weathers, hours and seasons of a benchmark's queries.
QUERY_CONDITIONS: tuple[str, ...] = ("day", "overcast", "rain", "fog", "snow", "dusk", "night", "autumn")


def under_roof(condition: Condition) -> Condition:
    """The same hour and weather seen from a roofed street: nothing falls or lies, its lamps burn by day too."""
    return replace(
        condition,
        rain=0.0,
        flakes=0.0,
        snow=0.0,
        wetness=min(condition.wetness, 0.25),
        fog_density=condition.fog_density * 0.5,
        lamp_power=max(condition.lamp_power, 0.55),
        lit_windows=max(condition.lit_windows, 0.4),
        auto_exposure=0.6,
    )


def get_condition(name: str) -> Condition:
    """The condition of that name; UsageError lists the names."""
    try:
        return CONDITIONS[name]
    except KeyError:
        raise UsageError(f"no condition called {name!r}; choose one of: {', '.join(CONDITIONS)}") from None
