"""The city's photos: reproducible, named by their place, and fair as a benchmark. Needs OpenGL through EGL."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from scicevpr.datasets import parse_name
from scicevpr.errors import UsageError
from training.procity import dataset, gpu
from training.procity.atlas import Atlas, build_atlas
from training.procity.conditions import CONDITIONS, QUERY_CONDITIONS, TRAINING_MIX, get_condition
from training.procity.mesh import Surface
from training.procity.plan import City, build_city
from training.procity.presets import get_preset
from training.procity.querysets import benchmark_sets
from training.procity.renderer import Renderer
from training.procity.sampler import PLACE_DISTANCE, QUERY_REACH, SAME_HEADING, Sampler, Shot, heading_difference

SEED = 301


def _egl_missing() -> str:
    try:
        gpu.create_context().release()
    except UsageError as error:
        return str(error)
    return ""


pytestmark = pytest.mark.slow
NO_EGL = _egl_missing()
needs_egl = pytest.mark.skipif(bool(NO_EGL), reason=NO_EGL)


@pytest.fixture(scope="module")
def atlas() -> Atlas:
    return build_atlas(SEED)


@pytest.fixture(scope="module")
def city(atlas: Atlas) -> City:
    return build_city(atlas, SEED, 2, 2)


@pytest.fixture(scope="module")
def shots(city: City) -> list[Shot]:
    return dataset.preset_shots(get_preset("tiny"), city, SEED, seed=0)


def small_renderer(atlas: Atlas, city: City) -> Renderer:
    return Renderer(atlas, city, 160, 120, supersampling=1)


# ---- photos


@needs_egl
def test_a_photo_does_not_depend_on_what_was_drawn_before(atlas: Atlas, city: City, shots: list[Shot]) -> None:
    names = ("rain", "day", "night_fog", "snow_sun")
    chosen = [replace(shots[i * 7], condition=name) for i, name in enumerate(names)]
    first, second = small_renderer(atlas, city), small_renderer(atlas, city)
    forwards = [first.jpeg(shot) for shot in chosen]
    backwards = [second.jpeg(shot) for shot in reversed(chosen)][::-1]
    assert forwards == backwards
    assert first.jpeg(chosen[0]) == forwards[0]
    assert len(set(forwards)) == len(chosen)


@needs_egl
def test_every_condition_gives_another_picture(atlas: Atlas, city: City, shots: list[Shot]) -> None:
    renderer = small_renderer(atlas, city)
    photos = {name: renderer.photo(replace(shots[0], condition=name)) for name in CONDITIONS}
    for name, photo in photos.items():
        assert photo.shape == (120, 160, 3)
        assert photo.dtype == np.uint8
        assert photo.std() > 8, f"{name} is an empty picture"
    brightness = {name: photo.mean() for name, photo in photos.items()}
    assert brightness["night"] < brightness["dusk"] < brightness["snow"]
    colourful = {name: np.ptp(photo.astype(int), axis=2).mean() for name, photo in photos.items()}
    assert colourful["fog"] < colourful["day"]


@needs_egl
def test_another_visit_changes_the_cars_and_keeps_the_houses(atlas: Atlas, city: City, shots: list[Shot]) -> None:
    renderer = small_renderer(atlas, city)
    shot = replace(shots[-1], condition="day")
    one, same, other = (renderer.photo(replace(shot, visit=visit, seed=shot.seed)).astype(int) for visit in (1, 1, 2))
    assert (one == same).all()
    changed = (np.abs(one - other).max(axis=2) > 24).mean()
    assert 0 < changed < 0.5


@needs_egl
def test_years_traffic_and_camera_change_the_photo(atlas: Atlas, city: City, shots: list[Shot]) -> None:
    renderer = small_renderer(atlas, city)
    shot = replace(shots[-1], condition="day", era=0, traffic="normal", camera="good", covered=False)
    plain = renderer.photo(shot).astype(int)
    for change in ({"era": 2}, {"traffic": "heavy"}, {"camera": "poor"}):
        assert np.abs(renderer.photo(replace(shot, **change)).astype(int) - plain).max() > 30, change
    roofed = renderer.photo(replace(shot, condition="snow", covered=True)).astype(int)
    assert np.abs(roofed - renderer.photo(replace(shot, condition="snow"))).mean() > 3


# ---- the dataset


@needs_egl
def test_dataset_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, atlas: Atlas, city: City, shots: list[Shot]
) -> None:
    monkeypatch.setattr(dataset, "build_atlas", lambda seed: atlas)
    monkeypatch.setattr(dataset, "build_city", lambda *arguments: city)
    preset = replace(get_preset("tiny"), places=2, visits=2, database=4, queries=())
    steps: list[tuple[int, int]] = []
    tables = dataset.render_dataset(
        tmp_path, preset, workers=1, progress=lambda done, total: steps.append((done, total))
    )
    assert [table.parent.name for table in tables] == ["test", "train"]
    assert steps[-1] == (8, 8)
    rows = [row for table in tables for row in dataset.read_csv(table)]
    on_disk = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.jpg"))
    assert sorted(row["file"] for row in rows) == on_disk
    for row in rows:
        assert row["file"].split("/")[:3] == ["images", row["split"], row["role"]]
        assert len(Path(row["file"]).name.split("@")) == 16
        place = parse_name(tmp_path / row["file"])
        assert place.utm == (float(row["east"]), float(row["north"]))
        assert place.zone == "32U"
        assert place.condition == (row["query_set"] or row["condition"])
        assert place.timestamp == row["timestamp"]
        assert heading_difference(place.heading, float(row["heading"])) <= 0.6
        assert Path(row["file"]).name.split("@")[7] == row["place_id"]
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.jpg")}
    lost = next(iter(before))
    lost.unlink()
    kept = max(before)
    kept.write_bytes(b"kept as it is")
    dataset.render_dataset(tmp_path, preset, workers=1)
    assert lost.read_bytes() == before[lost]
    assert kept.read_bytes() == b"kept as it is"


# ---- where photos are taken (no OpenGL)


def test_training_places_are_apart_or_look_another_way(city: City) -> None:
    shots = Sampler(city, "c9", 9).training(12, 3)
    by_place: dict[str, list[Shot]] = {}
    for shot in shots:
        by_place.setdefault(shot.place_id, []).append(shot)
    assert {len(group) for group in by_place.values()} == {3}
    middles = [(np.mean([s.x for s in g]), np.mean([s.y for s in g]), g[0].yaw) for g in by_place.values()]
    for i, (x, y, yaw) in enumerate(middles):
        for x2, y2, yaw2 in middles[i + 1 :]:
            same_way = heading_difference(yaw, yaw2) < 45
            assert not same_way or np.hypot(x - x2, y - y2) > PLACE_DISTANCE / 2
    assert len({shot.visit for shot in shots}) == len(shots)
    assert shots == Sampler(city, "c9", 9).training(12, 3)


def test_every_query_can_be_answered(city: City) -> None:
    sampler = Sampler(city, "c9", 9)
    database = sampler.database(20, 12.0)
    queries = sampler.queries(database, benchmark_sets(3))
    assert [sum(q.condition == name == q.query_set for q in queries) for name in QUERY_CONDITIONS] == [3] * 8
    assert not {q.visit for q in queries} & {d.visit for d in database}
    for query in queries:
        near = [d for d in database if np.hypot(query.x - d.x, query.y - d.y) <= QUERY_REACH]
        assert any(heading_difference(query.yaw, d.yaw) <= SAME_HEADING for d in near)


def test_a_query_set_changes_its_own_factor_only(city: City) -> None:
    sampler = Sampler(city, "c9", 9)
    queries = sampler.queries(sampler.database(20, 12.0), benchmark_sets(3))
    of = {name: [q for q in queries if q.query_set == name] for name in {q.query_set for q in queries}}
    assert len(of) == 15
    plain = {"condition": {"day"}, "tier": {"easy"}, "traffic": {"normal"}, "camera": {"good"}, "era": {0}}
    own = {"view_medium": ("tier", {"medium"}), "view_hard": ("tier", {"hard"}), "traffic": ("traffic", {"heavy"})}
    own |= {"camera": ("camera", {"poor"}), "fog": ("condition", {"fog"}), "view_easy": ("tier", {"easy"})}
    for name, (factor, values) in own.items():
        for other, expected in {**plain, factor: values}.items():
            assert {getattr(q, other) for q in of[name]} == expected, (name, other)
    assert {q.era for q in of["years"]} <= {2, 3}
    assert min(q.timestamp[:4] for q in of["years"]) > max(q.timestamp[:4] for q in of["day"])


def test_the_camera_stands_on_the_street_and_clear_of_trees(city: City, shots: list[Shot]) -> None:
    sampler = Sampler(city, "c9", 9)
    for shot in shots:
        assert sampler.clearance(shot.x, shot.y) >= 0
        on_street = [
            np.hypot(*(street.line - (shot.x, shot.y)).T).min() <= street.limit + 0.3
            for street in city.streets
            if street.inner
        ]
        assert any(on_street)


def test_too_small_a_city_is_refused(city: City) -> None:
    with pytest.raises(UsageError, match="training places, not 500"):
        Sampler(city, "c9", 9).training(500, 1)
    with pytest.raises(UsageError, match="use a smaller step"):
        Sampler(city, "c9", 9).database(500)


# ---- tables and set-up


def test_conditions() -> None:
    assert sum(TRAINING_MIX.values()) == pytest.approx(1)
    assert set(TRAINING_MIX) | set(QUERY_CONDITIONS) <= set(CONDITIONS)
    assert all(name == condition.name for name, condition in CONDITIONS.items())
    assert get_condition("autumn").season_name == "autumn"
    with pytest.raises(UsageError, match=r"no condition called 'hail'.*day_am"):
        get_condition("hail")


def test_the_shaders_know_every_surface() -> None:
    text = (gpu.SHADERS / "surface_kinds.glsl").read_text(encoding="utf-8")
    assert {name: int(value) for name, value in re.findall(r"const int (\w+) = (\d+);", text)} == {
        surface.name: surface.value for surface in Surface
    }
    assert sorted(kind for kinds in gpu.VARIANTS.values() for kind in kinds) == sorted(Surface)


def test_missing_egl_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    moderngl = pytest.importorskip("moderngl")

    def refuse(**_: object) -> None:
        raise Exception("libEGL.so not loaded")

    monkeypatch.setattr(moderngl, "create_context", refuse)
    with pytest.raises(UsageError, match=r"libEGL.so not loaded.*apt-get install libegl1"):
        gpu.create_context()
