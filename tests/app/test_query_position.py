"""Where a query was taken: typed text, file names of other zones, the camera's GPS; what is outside the database."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
import standin
from PIL import Image

from app.core.incoming import query_photo
from app.core.query_position import known_position, read_position
from app.core.query_resolution import lead_of
from app.core.records import Hit
from scicevpr.datasets import Photo, parse_name
from scicevpr.datasets.zones import degrees_of, project, to_utm
from scicevpr.errors import UsageError

GPS_BLOCK = 0x8825


def with_gps(latitude: float, longitude: float, rational: bool = True) -> bytes:
    """A JPEG whose camera wrote a position (north and east)."""
    exif, buffer = Image.Exif(), io.BytesIO()

    def sexagesimal(value: float) -> tuple[float, float, float]:
        minutes = value % 1 * 60
        return float(int(value)), float(int(minutes)), minutes % 1 * 60

    block = {1: "N", 2: sexagesimal(latitude), 3: "E", 4: sexagesimal(longitude)}
    exif.get_ifd(GPS_BLOCK).update(block if rational else {**block, 2: (0.0, 0.0, 0.0), 4: (0.0, 0.0, 0.0)})
    standin.noise_photo().save(buffer, "JPEG", exif=exif)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def dataset(services):
    return services.dataset(None)[1]


@pytest.fixture(scope="module")
def place(dataset):
    return dataset.queries[2]


def test_degrees_and_metres_name_the_same_place_however_they_are_typed(dataset, place):
    latitude, longitude = degrees_of(place)
    east, north = place.utm
    minutes = (latitude % 1) * 60
    for text in (
        f"{latitude:.7f}, {longitude:.7f}", f"{latitude:.7f} {longitude:.7f}", f"{latitude:.7f},{longitude:.7f}",
        f"{latitude:.7f} N, {longitude:.7f} E", f"{longitude:.7f}E {latitude:.7f}N",
        f"{int(latitude)}°{int(minutes)}'{minutes % 1 * 60:.4f}\"N {longitude:.7f}°E",
        f"{east} {north}", f"{east:.2f},{north:.2f}", f"32U {east} {north}", f"{east} E {north} N",
        f"{north} N {east} E",
    ):  # fmt: skip
        assert read_position(text, dataset) == pytest.approx((east, north), abs=0.1), text


def test_a_position_of_a_neighbouring_zone_is_carried_over(dataset, place):
    latitude, longitude = degrees_of(place)
    (east, north), _ = to_utm(latitude, longitude)
    other = project(latitude, longitude, 33, False)
    assert read_position(f"33U {other[0]} {other[1]}", dataset) == pytest.approx((east, north), abs=0.01)
    name = parse_name(f"@{other[0]:.2f}@{other[1]:.2f}@33@U@x@.jpg")
    assert known_position(name, dataset).east == pytest.approx(place.utm[0], abs=0.1)


@pytest.mark.parametrize("text", ["north pole", "5", "1 2 3", "1e9 1e9", "49,4 8,2 7", "900000000 1", "5 5 <b>"])
def test_what_is_no_position_is_said_to_be_none(dataset, text):
    with pytest.raises(UsageError, match="not a position"):
        read_position(text, dataset)


@pytest.mark.parametrize(
    "text", ["90, 8", "-90 0", "89.9999999,8", "99999999 99999999", "99999999 99999999 1C", "49 61 0 N, 8 0 0 E"]
)
def test_what_no_map_of_utm_has_is_refused(dataset, text):
    with pytest.raises(UsageError, match=r"beyond 84|not a position|60 minutes"):
        read_position(text, dataset)


def test_degrees_need_a_database_with_a_zone(dataset):
    bare = replace(dataset, database=tuple(replace(photo, zone=None, name="x") for photo in dataset.database))
    with pytest.raises(UsageError, match="name no UTM zone"):
        read_position("49.4, 8.2", bare)
    assert read_position("584309.15 4477012.40", bare) == (584309.15, 4477012.40)
    assert known_position(Photo(path=dataset.root, name="x"), bare, gps=(49.4, 8.2)) is None


def test_the_cameras_gps_places_a_photo_without_a_position_in_its_name(services, dataset, place):
    latitude, longitude = degrees_of(place)
    photo = query_photo({"path": str(standin.upload(with_gps(latitude, longitude), "holiday.jpg"))})
    assert photo.gps == pytest.approx((latitude, longitude), abs=1e-6)
    found = services.find(photo.image, photo.name, gps=photo.gps)
    assert found.position.known_from == "GPS"
    assert found.stable.positives > 0
    assert found.to_json()["query"]["position"]["east"] == pytest.approx(place.utm[0], abs=0.2)
    nowhere = query_photo({"path": str(standin.upload(with_gps(0, 0, rational=False), "indoors.jpg"))})
    assert nowhere.gps is None
    assert "no fix" in nowhere.gps_problem
    unknown = services.find(nowhere.image, nowhere.name, gps=nowhere.gps, gps_problem=nowhere.gps_problem)
    assert unknown.position is None
    assert "no fix" in unknown.position_problem


def test_nothing_typed_is_no_position_and_not_zero_zero(services):
    for where in ("", None, "   "):
        assert services.find(standin.noise_photo(), "holiday.jpg", where=where).position is None


def test_far_away_and_on_the_other_side_of_the_earth_it_is_outside(services):
    photo = standin.noise_photo()
    for where, kilometres in (("48.2 11.5", 400), ("-33.9, 151.2", 10_000)):
        answer = services.find(photo, "holiday.jpg", where=where).stable
        assert answer.outside / 1000 > kilometres * 0.5
        assert "outside this database's area" in answer.verdict()[1]
        assert answer.to_json()["metres_outside_the_database"] > 0
        assert all(hit.right is None for hit in answer.hits)


def test_the_lead_is_over_the_best_photo_of_another_place(dataset):
    photos = [replace(dataset.database[0], utm=(1000.0 + metres, 0.0)) for metres in (0, 20, 40, 400)]
    hits = [Hit(rank, rank, photo, 0.9 - rank / 10) for rank, photo in enumerate(photos, 1)]
    assert lead_of(hits, dataset) == pytest.approx(0.2)
    assert lead_of(hits[:2], dataset) is None
    assert lead_of([], dataset) is None
    assert lead_of([replace(hits[0], photo=replace(photos[0], utm=None))], dataset) is None
