"""UTM metres <-> latitude and longitude on the WGS 84 ellipsoid.

Series of Krueger to the third power of the third flattening, as given by Karney, "Transverse Mercator with an
accuracy of a few nanometers" (2011); better than a millimetre within a zone.
"""

from __future__ import annotations

from math import asin, atan, atanh, cos, cosh, degrees, radians, sin, sinh, sqrt

EQUATOR_RADIUS = 6378137.0  # metres
FLATTENING = 1 / 298.257223563
SCALE = 0.9996
FALSE_EAST = 500_000.0
THIRD_FLATTENING = FLATTENING / (2 - FLATTENING)
_n = THIRD_FLATTENING
RECTIFYING_RADIUS = EQUATOR_RADIUS / (1 + _n) * (1 + _n**2 / 4 + _n**4 / 64)
ALPHA = (_n / 2 - 2 * _n**2 / 3 + 5 * _n**3 / 16, 13 * _n**2 / 48 - 3 * _n**3 / 5, 61 * _n**3 / 240)
BETA = (_n / 2 - 2 * _n**2 / 3 + 37 * _n**3 / 96, _n**2 / 48 + _n**3 / 15, 17 * _n**3 / 480)
DELTA = (2 * _n - 2 * _n**2 / 3 - 2 * _n**3, 7 * _n**2 / 3 - 8 * _n**3 / 5, 56 * _n**3 / 15)


def central_meridian(zone_number: int) -> float:
    """Degrees east of the middle of a UTM zone."""
    return zone_number * 6 - 183.0


def to_latitude_longitude(east: float, north: float, zone_number: int) -> tuple[float, float]:
    """Degrees (latitude, longitude) of a point of the northern hemisphere given in UTM metres."""
    xi = north / (SCALE * RECTIFYING_RADIUS)
    eta = (east - FALSE_EAST) / (SCALE * RECTIFYING_RADIUS)
    xi_sphere = xi - sum(b * sin(2 * k * xi) * cosh(2 * k * eta) for k, b in enumerate(BETA, 1))
    eta_sphere = eta - sum(b * cos(2 * k * xi) * sinh(2 * k * eta) for k, b in enumerate(BETA, 1))
    chi = asin(sin(xi_sphere) / cosh(eta_sphere))
    latitude = chi + sum(d * sin(2 * k * chi) for k, d in enumerate(DELTA, 1))
    longitude = atan(sinh(eta_sphere) / cos(xi_sphere))
    return degrees(latitude), central_meridian(zone_number) + degrees(longitude)


def from_latitude_longitude(latitude: float, longitude: float, zone_number: int) -> tuple[float, float]:
    """UTM metres (east, north) of a point of the northern hemisphere; the inverse of `to_latitude_longitude`."""
    phi, difference = radians(latitude), radians(longitude - central_meridian(zone_number))
    e = 2 * sqrt(THIRD_FLATTENING) / (1 + THIRD_FLATTENING)
    t = sinh(atanh(sin(phi)) - e * atanh(e * sin(phi)))
    xi_sphere = atan(t / cos(difference))
    eta_sphere = atanh(sin(difference) / sqrt(1 + t * t))
    east = eta_sphere + sum(a * cos(2 * k * xi_sphere) * sinh(2 * k * eta_sphere) for k, a in enumerate(ALPHA, 1))
    north = xi_sphere + sum(a * sin(2 * k * xi_sphere) * cosh(2 * k * eta_sphere) for k, a in enumerate(ALPHA, 1))
    return FALSE_EAST + SCALE * RECTIFYING_RADIUS * east, SCALE * RECTIFYING_RADIUS * north


def latitude_letter(latitude: float) -> str:
    """The letter of a latitude band, C to X."""
    return "CDEFGHJKLMNPQRSTUVWX"[min(19, max(0, int((latitude + 80) // 8)))]
