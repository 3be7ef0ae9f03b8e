"""The procedural city: texture layers, mesh conventions, and that seeds decide everything."""

from __future__ import annotations

import numpy as np
import pytest

from training.procity.atlas import Atlas, build_atlas, layer_painters
from training.procity.cars import CAR_SHAPES
from training.procity.facades import STYLES
from training.procity.mesh import VERTEX_FLOATS, MeshBuilder, Surface
from training.procity.plan import BLOCK_PITCH_X, BLOCK_PITCH_Y, STYLE_FAMILIES, City, build_city
from training.procity.surfaces import ground

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
    arrays = [*all_meshes(city), city.parking, city.walks, city.street_width_x, city.street_width_y]
    arrays += [array for block in city.blocks for array in (block.lights, block.trees, np.array(block.bounds))]
    return b"".join(array.tobytes() for array in arrays)


def test_atlas_shapes(atlas: Atlas) -> None:
    count = len(atlas.layers)
    assert sorted(atlas.layers.values()) == list(range(count))
    assert atlas.albedo.shape == (count, 256, 256, 4)
    assert atlas.material.shape == (count, 256, 256, 4)
    assert atlas.height.shape == (count, 256, 256)
    assert atlas.albedo.dtype == atlas.material.dtype == atlas.height.dtype == np.uint8
    assert atlas.styles == STYLES
    assert all(f"facade_{number}" in atlas.layers for number in range(len(STYLES)))
    assert all(number < len(STYLES) for family in STYLE_FAMILIES for number in family)


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
        assert mesh[:, 9:12].max() <= 1


def test_surface_numbers_are_those_of_the_shaders() -> None:
    assert [kind.value for kind in Surface] == list(range(16))
    assert (Surface.FACADE, Surface.LEAF, Surface.CAR, Surface.SHOP, Surface.CAR_SHADOW) == (1, 3, 4, 10, 15)


def test_blocks_lie_between_their_streets(city: City) -> None:
    assert len(city.blocks) == city.blocks_x * city.blocks_y == 6
    assert city.street_width_x.shape == (4,)
    assert city.street_width_y.shape == (3,)
    for number, block in enumerate(city.blocks):
        i, j = divmod(number, city.blocks_y)
        x0, y0, x1, y1 = block.bounds
        assert x0 == pytest.approx(i * BLOCK_PITCH_X - city.street_width_x[i] / 2)
        assert y0 == pytest.approx(j * BLOCK_PITCH_Y - city.street_width_y[j] / 2)
        assert x1 == pytest.approx((i + 1) * BLOCK_PITCH_X - city.street_width_x[i + 1] / 2)
        assert y1 == pytest.approx((j + 1) * BLOCK_PITCH_Y - city.street_width_y[j + 1] / 2)
        assert block.mesh[:, 0].min() >= x0 - 2.5  # only lamp arms, signs and awnings reach over
        assert block.mesh[:, 1].max() <= y1 + 2.5


def test_no_building_stands_in_a_street(city: City) -> None:
    for block in city.blocks:
        walls = block.mesh[np.isin(block.mesh[:, 13], (Surface.FACADE, Surface.SHOP))]
        for axis, pitch, widths in ((0, BLOCK_PITCH_X, city.street_width_x), (1, BLOCK_PITCH_Y, city.street_width_y)):
            street = np.round(walls[:, axis] / pitch).astype(int)
            from_centre = np.abs(walls[:, axis] - street * pitch)
            assert (from_centre > widths[street] / 2 + 2.9).all()


def test_lights_trees_and_places(city: City) -> None:
    lights = np.concatenate([block.lights for block in city.blocks])
    assert lights.dtype == np.float32
    assert lights.shape[1] == 9
    assert set(np.unique(lights[:, 7])) == {0.0, 1.0}  # lamps and shops
    assert (lights[:, 6] > 0).all()
    assert ((lights[:, 2] > 2) & (lights[:, 2] < 8)).all()
    trees = np.concatenate([block.trees for block in city.blocks])
    assert trees.shape[1] == 7
    assert set(np.unique(trees[:, 5])) <= set(range(len(city.trees)))
    assert (len(city.trees), len(city.cars), len(city.people)) == (4, len(CAR_SHAPES), 8)
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
