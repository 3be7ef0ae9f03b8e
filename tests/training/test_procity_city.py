"""The procedural city: texture layers, mesh conventions, and that seeds decide everything."""

from __future__ import annotations

import numpy as np
import pytest

from training.procity.atlas import Atlas, build_atlas, layer_painters
from training.procity.blocks import TREE_SHAPES
from training.procity.cars import CAR_SHAPES
from training.procity.character import BLOCK_KINDS, CHARACTERS, city_characters
from training.procity.facades import STYLES
from training.procity.land import FORMS, Land, draw_land
from training.procity.mesh import VERTEX_FLOATS, MeshBuilder, Surface
from training.procity.plan import PEDESTRIAN_SHAPES, City, build_city
from training.procity.surfaces import ground

pytestmark = pytest.mark.slow

SAMPLE_LAYERS = ("asphalt", "facade_3", "shop_0", "sign_0", "mural_0", "leaf_0")


@pytest.fixture(scope="module")
def atlas() -> Atlas:
    return build_atlas(0)


@pytest.fixture(scope="module")
def city(atlas: Atlas) -> City:
    return build_city(atlas, 1, 3, 2)


def all_meshes(city: City) -> list[np.ndarray]:
    return [*(block.mesh for block in city.blocks), city.far, *city.trees, *city.cars, *city.people]


def city_bytes(city: City) -> bytes:
    arrays = [*all_meshes(city), city.parking, city.walks, *(street.line for street in city.streets)]
    arrays += [array for block in city.blocks for array in (block.lights, block.trees, np.array(block.bounds))]
    return b"".join(array.tobytes() for array in arrays)


@pytest.mark.slow
def test_atlas_shapes(atlas: Atlas) -> None:
    count = len(atlas.layers)
    assert sorted(atlas.layers.values()) == list(range(count))
    assert atlas.albedo.shape == (count, 256, 256, 4)
    assert atlas.material.shape == (count, 256, 256, 4)
    assert atlas.height.shape == (count, 256, 256)
    assert atlas.albedo.dtype == atlas.material.dtype == atlas.height.dtype == np.uint8
    assert atlas.styles == STYLES
    assert all(f"facade_{number}" in atlas.layers for number in range(len(STYLES)))


def test_layers_are_as_the_shader_reads_them(atlas: Atlas) -> None:
    door = atlas.albedo[atlas.layers["door_brick"], :, :, 3]
    assert door[:60, 118:138].mean() < 10  # the door leaf at the bottom takes no tint ...
    assert door[-10:, :20].mean() > 100  # ... the wall above it does
    glass = atlas.material[atlas.layers["facade_0"], 100:200, 110:146, 0]
    assert glass.mean() > 128
    opacity = atlas.albedo[atlas.layers["leaf_0"], :, :, 3]
    assert opacity[128, 128] == 255
    assert opacity[0, 0] == 0


@pytest.mark.parametrize("name", SAMPLE_LAYERS)
def test_layer_depends_on_the_seed_alone(atlas: Atlas, name: str) -> None:
    again, other = layer_painters(0)[name](), layer_painters(1)[name]()
    number = atlas.layers[name]
    assert np.array_equal(again.albedo, atlas.albedo[number])
    assert np.array_equal(again.material, atlas.material[number])
    assert np.array_equal(again.height, atlas.height[number])
    assert not np.array_equal(other.albedo, again.albedo)


def test_city_depends_on_its_seed_alone(atlas: Atlas, city: City) -> None:
    assert city_bytes(build_city(atlas, 1, 3, 2)) == city_bytes(city)
    other = build_city(atlas, 2, 1, 1)
    assert other.blocks[0].mesh.shape != city.blocks[0].mesh.shape
    assert not np.array_equal(other.trees[0], city.trees[0])


def test_meshes_follow_the_vertex_layout(atlas: Atlas, city: City) -> None:
    for mesh in all_meshes(city):
        assert mesh.dtype == np.float32
        assert mesh.shape[1] == VERTEX_FLOATS
        assert len(mesh) > 0
        assert np.isfinite(mesh).all()
        assert np.allclose(np.linalg.norm(mesh[:, 3:6], axis=1), 1, atol=1e-5)
        quads = mesh.reshape(-1, 6, VERTEX_FLOATS)
        assert np.array_equal(quads[:, 0], quads[:, 3])
        assert np.array_equal(quads[:, 2], quads[:, 4])
        layers, kinds = mesh[:, 8], mesh[:, 13]
        assert np.array_equal(layers, layers.round())
        assert layers.min() >= 0
        assert layers.max() < len(atlas.layers)
        assert set(np.unique(kinds)) <= {float(kind) for kind in Surface}
        assert mesh[:, 9:12].min() >= 0
        assert mesh[:, 9:12].max() <= 2


def test_surface_numbers_are_those_of_the_shaders() -> None:
    assert [kind.value for kind in Surface] == list(range(19))
    assert (Surface.FACADE, Surface.LEAF, Surface.CAR, Surface.SHOP, Surface.CAR_SHADOW) == (1, 3, 4, 10, 15)


@pytest.mark.parametrize("name", sorted(CHARACTERS))
def test_no_building_stands_in_a_street(atlas: Atlas, name: str) -> None:
    character = CHARACTERS[name]
    city = build_city(atlas, 5, 3, 3, (character, character))
    walls = np.concatenate(
        [block.mesh[np.isin(block.mesh[:, 13], (Surface.FACADE, Surface.SHOP)), :2] for block in city.blocks]
    )
    for street in city.streets:
        gaps = np.hypot(*(walls[:, None] - street.line[None]).transpose(2, 0, 1)).min(1)
        behind_kerb = gaps.min() - street.width / 2  # bent land narrows pavements, never into the road
        assert behind_kerb > (2.9 if character.form == "grid" else 0.7), (street.kind, behind_kerb)


def test_characters_are_complete_and_their_cities_differ(atlas: Atlas) -> None:
    for character in CHARACTERS.values():
        assert {style for family in character.families for style in family} <= set(atlas.styles)
        assert set(character.mix) | set(character.landmarks) <= set(BLOCK_KINDS)
        assert character.road in atlas.layers
        assert set(character.pavements) <= set(atlas.layers)
    names = [city_characters(seed)[0].name for seed in range(8)]
    assert sorted(names) == sorted(CHARACTERS)
    assert city_characters(3)[0] != city_characters(11)[0]  # one character, other colours


def test_cities_have_their_landmarks_canal_and_roofed_street(atlas: Atlas) -> None:
    harbour = CHARACTERS["harbour"]
    city = build_city(atlas, 5, 4, 4, (harbour, harbour))
    assert set(harbour.landmarks) <= {block.kind for block in city.blocks}
    kinds = [street.kind for street in city.streets]
    assert kinds.count("canal") == 1
    assert kinds.count(harbour.covered) == 1
    water = np.concatenate([b.mesh[b.mesh[:, 13] == Surface.WATER] for b in city.blocks])
    assert len(water) > 0
    assert (water[:, 2] < city.land.height(water[:, 0], water[:, 1]) - 1).all()


# ---- the lie of the land


@pytest.mark.parametrize("form", FORMS)
def test_the_land_keeps_right_angles_and_does_not_fold(form: str) -> None:
    land = draw_land(form, 3.0, 180.0, np.random.default_rng(2))
    grid = np.linspace(-180, 180, 19)
    x, y = np.meshgrid(grid, grid)
    step = 0.01
    east = (land.place(x + step, y) - land.place(x, y))[..., :2] / step
    north = (land.place(x, y + step) - land.place(x, y))[..., :2] / step
    cosine = (east * north).sum(-1) / np.linalg.norm(east, axis=-1) / np.linalg.norm(north, axis=-1)
    assert np.abs(cosine).max() < 1e-3
    turn = east[..., 0] * north[..., 1] - east[..., 1] * north[..., 0]
    assert turn.min() > 0.15
    assert np.linalg.norm(east, axis=-1).max() < 1.9
    if form == "grid":
        assert np.ptp(np.arctan2(east[..., 1], east[..., 0])) < 1e-6
    else:
        assert np.degrees(np.ptp(np.unwrap(np.arctan2(east[..., 1], east[..., 0]).ravel()))) > 12


def test_hills_and_slopes() -> None:
    land = Land(waves=np.array([[2 * np.pi / 200, 0, 0, 5.0], [0, 0, 0, 0], [0, 0, 0, 0]]))
    assert land.height(50.0, 7.0) == pytest.approx(5.0)
    assert land.place(50.0, 7.0, 1.5)[2] == pytest.approx(6.5)
    assert land.slope(0.0, 0.0, 90.0) == pytest.approx(np.degrees(np.arctan(2 * np.pi * 5 / 200)), abs=0.2)
    assert land.slope(0.0, 0.0, 270.0) < 0
    assert abs(land.slope(0.0, 0.0, 0.0)) < 1e-9
    with pytest.raises(ValueError, match="no form of land 'flat'"):
        Land("flat")


def test_lights_trees_and_places(city: City) -> None:
    lights = np.concatenate([block.lights for block in city.blocks])
    assert lights.dtype == np.float32
    assert lights.shape[1] == 9
    assert set(np.unique(lights[:, 7])) == {0.0, 1.0}  # lamps and shops
    assert (lights[:, 6] > 0).all()
    above = lights[:, 2] - city.land.height(lights[:, 0], lights[:, 1])
    assert ((above > 1.5) & (above < 10)).all()
    trees = np.concatenate([block.trees for block in city.blocks])
    assert trees.shape[1] == 7
    assert set(np.unique(trees[:, 5])) <= set(range(len(city.trees)))
    assert (len(city.trees), len(city.cars), len(city.people)) == (TREE_SHAPES, len(CAR_SHAPES), PEDESTRIAN_SHAPES)
    assert city.parking.shape[1] == city.walks.shape[1] == 3
    assert len(city.parking) > 50
    assert len(city.walks) > 50


def test_cars_stand_on_the_road_with_lamps_at_both_ends(city: City) -> None:
    for mesh, shape in zip(city.cars, CAR_SHAPES, strict=True):
        assert mesh[:, 2].min() >= 0
        assert mesh[:, 2].max() == pytest.approx(shape.height, abs=0.02)
        assert mesh[mesh[:, 13] == Surface.LAMP][:, 0].max() < 0 < mesh[mesh[:, 13] == Surface.TAIL_LIGHT][:, 0].min()


def test_box_normals_point_outward_whatever_the_order_of_its_edges() -> None:
    for edges in (((2, 0, 0), (0, 1, 0)), ((0, 1, 0), (2, 0, 0))):
        builder = MeshBuilder()
        builder.box((0, 0, 0), *edges, 3.0, layer=0, bottom=True)
        mesh = builder.array()
        outward = mesh[:, :3] - np.array([1, 0.5, 1.5])
        assert len(mesh) == 36
        assert ((outward * mesh[:, 3:6]).sum(1) > 0).all()


def test_refused_arguments(atlas: Atlas) -> None:
    with pytest.raises(ValueError, match="0 x 3"):
        build_city(atlas, 1, 0, 3)
    with pytest.raises(KeyError):
        ground("marble", 0)
    with pytest.raises(ValueError, match="non-negative"):
        layer_painters(-1)
