"""UTM to latitude and longitude: against published points and against its own inverse."""

from __future__ import annotations

import pytest

from scicevpr.datasets.zones import central_meridian, from_latitude_longitude, latitude_letter, to_latitude_longitude
from training.procity.presets import PRESETS, UTM_ZONE, city_origin


@pytest.mark.parametrize(
    ("zone", "east", "north", "latitude", "longitude"),
    [
        # on the central meridian the north is the scaled meridian arc; on the equator it is zero
        (31, 500_000.0, 0.0, 0.0, 3.0),
        (32, 500_000.0, 4_982_950.400, 45.0, 9.0),  # 0.9996 x 4 984 944.378 m, the WGS 84 meridian arc to 45 degrees
        # CN Tower, Toronto: the worked example of the Universal Transverse Mercator article of Wikipedia
        (17, 630_084.0, 4_833_438.0, 43.642567, -79.387139),
    ],
)
def test_known_points(zone: int, east: float, north: float, latitude: float, longitude: float) -> None:
    assert to_latitude_longitude(east, north, zone) == pytest.approx((latitude, longitude), abs=2e-5)
    assert from_latitude_longitude(latitude, longitude, zone) == pytest.approx((east, north), abs=1.5)


@pytest.mark.parametrize("latitude", [0.5, 23.0, 48.9, 60.0, 83.0])
@pytest.mark.parametrize("offset", [-3.0, -0.7, 0.0, 2.9])
def test_there_and_back_to_a_millimetre(latitude: float, offset: float) -> None:
    east, north = from_latitude_longitude(latitude, central_meridian(32) + offset, 32)
    again = from_latitude_longitude(*to_latitude_longitude(east, north, 32), 32)
    assert again == pytest.approx((east, north), abs=1e-3)


def test_letters() -> None:
    assert [latitude_letter(x) for x in (-80, -0.1, 0.1, 47.9, 48.7, 83)] == ["C", "M", "N", "T", "U", "X"]


def test_every_city_lies_in_its_zone_and_apart_from_the_others() -> None:
    cities = sorted({city for preset in PRESETS.values() for city in preset.cities})
    origins = [city_origin(city) for city in cities]
    assert len(set(origins)) == len(cities)
    for east, north in origins:
        latitude, longitude = to_latitude_longitude(east, north, UTM_ZONE)
        assert latitude_letter(latitude) == "U"
        assert abs(longitude - central_meridian(UTM_ZONE)) < 3
        nearest = sorted(max(abs(east - e), abs(north - n)) for e, n in origins)[1]
        assert nearest >= 600
