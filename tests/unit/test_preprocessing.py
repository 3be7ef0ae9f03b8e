"""Preprocessing: the published order, framings, large photos sampled; photos prepared once for several models."""

from __future__ import annotations

import io
import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from filled_models import filled_model
from PIL import Image

from scicevpr.config import Preprocessing
from scicevpr.descriptors import preprocessing
from scicevpr.descriptors.batches import Grouping
from scicevpr.descriptors.describe import describe
from scicevpr.descriptors.precision import SharedPasses
from scicevpr.descriptors.preprocessing import prepare, to_tensor
from scicevpr.errors import ImageError, UsageError
from scicevpr.files.photos import open_photo
from scicevpr.models.fused_layers import FusedStem
from scicevpr.models.model import WeightsInfo

ROWS, COLUMNS = 40, 60


@pytest.fixture(autouse=True)
def _no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.fixture
def scene() -> np.ndarray:
    """A smooth scene, brighter to the right, redder downwards."""
    down, across = np.mgrid[0:ROWS, 0:COLUMNS]
    return np.stack([down * 6, across * 4, np.full_like(down, 90)], axis=2).astype(np.uint8)


def _encoded(image: Image.Image, form: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=form, **options)
    return buffer.getvalue()


def test_path_text_bytes_file_image_and_array_give_the_same_photo(tmp_path, scene):
    image = Image.fromarray(scene)
    path = tmp_path / "photo.png"
    image.save(path)
    with path.open("rb") as file:
        for source in (path, str(path), path.read_bytes(), file, image, scene):
            photo = open_photo(source)
            assert photo.mode == "RGB"
            np.testing.assert_array_equal(np.asarray(photo), scene)


@pytest.mark.parametrize("form", ["JPEG", "WEBP", "PNG", "BMP", "TIFF"])
def test_formats(scene, form):
    options = {"lossless": True} if form == "WEBP" else {}
    photo = open_photo(_encoded(Image.fromarray(scene), form, **options))
    assert np.abs(np.asarray(photo).astype(int) - scene).max() <= (30 if form == "JPEG" else 0)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(scene, orientation):
    turn = {
        2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }  # fmt: skip
    upright = Image.fromarray(scene)
    stored = upright.transpose(turn[orientation]) if orientation in turn else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = _encoded(stored, "PNG", exif=exif)
    photo = open_photo(data)
    np.testing.assert_array_equal(np.asarray(photo), scene)
    np.testing.assert_array_equal(np.asarray(open_photo(photo)), scene)  # turned once only
    tensor = to_tensor(Image.open(io.BytesIO(data)), Preprocessing())  # an RGB image that still needs turning
    np.testing.assert_array_equal(tensor.numpy(), to_tensor(upright, Preprocessing()).numpy())


@pytest.mark.parametrize("exif", [b"MM\0*\0\0\0\x08\0\x09garbage", b"garbage", b"II*\0\xff\xff\xff\xff", b""])
def test_damaged_exif_counts_as_upright(scene, exif):
    photo = open_photo(_encoded(Image.fromarray(scene), "PNG", exif=b"Exif\0\0" + exif))
    np.testing.assert_array_equal(np.asarray(photo), scene)


def test_greyscale_and_one_bit(scene):
    grey = Image.fromarray(scene[:, :, 1])
    np.testing.assert_array_equal(np.asarray(open_photo(_encoded(grey, "PNG"))), scene[:, :, [1, 1, 1]])
    dots = open_photo(grey.point(lambda value: 255 * (value > 99), mode="1"))
    assert set(np.unique(np.asarray(dots))) == {0, 255}


def test_transparency_is_laid_on_white():
    for image in (
        Image.new("RGBA", (4, 4), (0, 0, 255, 0)),
        Image.new("LA", (4, 4), (0, 0)),
        Image.new("RGBa", (4, 4), (0, 0, 0, 0)),
    ):
        assert np.asarray(open_photo(image)).min() == 255, image.mode
    half = np.asarray(open_photo(np.full((4, 4, 4), (255, 0, 0, 128), dtype=np.uint8)))
    np.testing.assert_allclose(half[0, 0], (255, 127, 127), atol=1)


def test_palette_with_and_without_transparency(scene):
    palette = Image.fromarray(scene).quantize(32)
    np.testing.assert_array_equal(np.asarray(open_photo(_encoded(palette, "PNG"))), np.asarray(palette.convert("RGB")))
    two = Image.new("P", (2, 1))
    two.putpalette([10, 20, 30, 200, 0, 0])
    two.putpixel((1, 0), 1)
    for transparency in (0, b"\x00\xff"):  # one index, and one value for each index
        pixels = np.asarray(open_photo(_encoded(two, "PNG", transparency=transparency)))
        np.testing.assert_array_equal(pixels[0], [[255, 255, 255], [200, 0, 0]])


def test_cmyk():
    photo = open_photo(_encoded(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG"))
    red, green, blue = np.asarray(photo)[8, 8]
    assert red > 230
    assert max(green, blue) < 30


def test_sixteen_bits_are_scaled_and_not_clipped(tmp_path):
    ramp = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    expected = np.round(ramp / 257).astype(np.uint8)
    path = tmp_path / "ramp.png"
    Image.fromarray(ramp).save(path)
    Image.fromarray(ramp).save(tmp_path / "ramp.tiff")
    wide = Image.fromarray(ramp.astype(np.int32))
    assert wide.mode == "I"
    for source in (path, tmp_path / "ramp.tiff", ramp, wide):
        np.testing.assert_array_equal(np.asarray(open_photo(source))[:, :, 0], expected)


def test_float_images_and_arrays(scene):
    for dtype in (np.float16, np.float32, np.float64):
        assert np.abs(np.asarray(open_photo((scene / 255).astype(dtype))).astype(int) - scene).max() <= 1
    grey = open_photo(Image.fromarray(np.full((4, 4), 0.5, dtype=np.float32)))
    assert np.asarray(grey)[0, 0].tolist() == [128, 128, 128]


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 1), (4, 5, 2), (4, 5, 3), (4, 5, 4)])
@pytest.mark.parametrize("dtype", [bool, np.uint8, np.uint16, np.int64, np.float32])
def test_array_shapes_and_types(shape, dtype):
    white = {bool: True, np.uint16: 65535, np.float32: 1.0}.get(dtype, 255)
    photo = open_photo(np.full(shape, white, dtype=dtype))
    assert photo.size == (5, 4)
    assert np.asarray(photo).min() == 255


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((3, 40, 50), np.uint8), "channels last"),
        (np.zeros((4, 4, 5), np.uint8), "channels last"),
        (np.zeros((0, 5, 3), np.uint8), "not a photo"),
        (np.zeros(7, np.uint8), "not a photo"),
        (np.full((4, 4), 200.0), "Divide by 255"),
        (np.full((4, 4), np.nan), "NaN"),
        (np.full((4, 4), -3, np.int32), "uint8"),
        (np.full((4, 4), "x"), "not a photo"),
    ],
)
def test_arrays_that_are_no_photos(array, words):
    with pytest.raises(ImageError, match=words):
        open_photo(array)


def test_the_pixel_limit_is_checked_before_decoding(tmp_path):
    path = tmp_path / "large.png"
    path.write_bytes(_encoded(Image.new("L", (400, 300)), "PNG")[:60])  # the header only: decoding would fail
    with pytest.raises(ImageError, match=r"400x300 pixels, 0\.1 million; at most 0\.1 million"):
        open_photo(path, max_pixels=100_000)
    with pytest.raises(ImageError, match="at most"):
        open_photo(np.zeros((400, 300), np.uint8), max_pixels=100_000)
    header = bytearray(_encoded(Image.new("L", (4, 4)), "BMP"))
    for side in (20_000, 10_000):  # Pillow refuses the first itself and would warn about the second
        header[18:26] = np.array([side, side], dtype="<i4").tobytes()
        with pytest.raises(ImageError, match="smaller"):
            open_photo(bytes(header))


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_truncated_files(tmp_path, form):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    data = _encoded(noise, form)
    path = tmp_path / "cut.img"
    for share in (0.02, 0.5, 0.9):
        path.write_bytes(data[: int(len(data) * share)])
        with pytest.raises(ImageError, match=r"cut\.img"):
            open_photo(path)


def test_files_that_are_no_photos(tmp_path):
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("hello")
    (tmp_path / "vector.eps").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    for source, words in (
        (tmp_path / "none.jpg", "There is no photo at"),
        (tmp_path, "is a folder"),
        (tmp_path / "empty.jpg", "empty"),
        (tmp_path / "text.jpg", r"text\.jpg is not a photo"),
        (tmp_path / "vector.eps", "not a photo"),
        ("a" * 5000, "cannot be opened"),
        ("zero\0byte", "cannot be opened|no photo"),
        (b"", "empty"),
        (b"hello", "not a photo"),
        (None, "NoneType"),
        (7, "int"),
    ):
        with pytest.raises(ImageError, match=words):
            open_photo(source)


def test_the_protocol_is_normalise_then_resize(scene):
    preprocessing = Preprocessing(antialias=False)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (preprocessing.mean, preprocessing.std))
    normalised = (torch.from_numpy(scene).permute(2, 0, 1).float() / 255 - mean) / std
    for antialias in (False, True):
        expected = F.interpolate(
            normalised[None], size=(224, 224), mode="bilinear", align_corners=False, antialias=antialias
        )[0]
        found = to_tensor(Image.fromarray(scene), Preprocessing(antialias=antialias))
        assert found.shape == (3, 224, 224)
        assert found.dtype == torch.float32
        grey_level = 1 / 255 / min(preprocessing.std)  # Pillow, which antialiases, gives whole ones
        torch.testing.assert_close(found, expected, rtol=0, atol=0.51 * grey_level if antialias else 2e-6)


def test_antialiasing_changes_large_photos():
    noise = np.random.default_rng(0).integers(0, 256, (600, 800, 3), dtype=np.uint8)
    hard, soft = (to_tensor(noise, Preprocessing(antialias=antialias)) for antialias in (False, True))
    assert hard.std() > 1.5 * soft.std()


def test_other_sizes_and_batches(scene):
    preprocessing = Preprocessing(size=(ROWS, COLUMNS))
    batch = prepare([scene, Image.fromarray(scene)], preprocessing)
    assert batch.shape == (2, 3, ROWS, COLUMNS)
    torch.testing.assert_close(batch[0], batch[1], rtol=0, atol=0)
    with pytest.raises(UsageError, match="No photos"):
        prepare([], preprocessing)
    with pytest.raises(UsageError, match="nearest"):
        to_tensor(scene, Preprocessing(interpolation="nearest"))


SMALL = Preprocessing(size=(28, 42), antialias=False)


def _plainly(pixels: np.ndarray, asked: Preprocessing) -> torch.Tensor:
    x = torch.from_numpy(pixels.astype(np.float32)).permute(2, 0, 1) / 255
    x = (x - torch.tensor(asked.mean)[:, None, None]) / torch.tensor(asked.std)[:, None, None]
    return F.interpolate(x[None], size=asked.size, mode="bilinear", align_corners=False, antialias=False)[0]


@pytest.mark.parametrize("size", [(280, 420), (97, 211), (1000, 83), (300, 4001), (168, 252)])
def test_sampling_a_large_photo_is_exact(size):
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    sampled = preprocessing.sample(pixels, SMALL.size, SMALL.mean, SMALL.std)
    assert float((sampled - _plainly(pixels, SMALL)).abs().max()) < 1e-6  # pixels reach 2.6, so two steps of float32


def test_large_photos_are_sampled_and_others_are_not(monkeypatch):
    calls, sample = [], preprocessing.sample
    monkeypatch.setattr(preprocessing, "sample", lambda *a: calls.append(a) or sample(*a))
    large, small = (np.zeros((side, side, 3), np.uint8) for side in (400, 60))
    for photo, asked in ((large, SMALL), (small, SMALL), (large, Preprocessing(size=(28, 42), antialias=True))):
        assert preprocessing.to_tensor(photo, asked).shape == (3, 28, 42)
    assert len(calls) == 1


def _photos(count: int) -> list[np.ndarray]:
    return list(np.random.default_rng(8).integers(0, 256, (count, 60, 80, 3), dtype=np.uint8))


@pytest.fixture(scope="module")
def family():
    """The three families at size T, on the same frozen stem."""
    models = [filled_model(name) for name in ("super-cricavpr-t", "scicevpr-t", "cricavpr-t")]
    for number, model in enumerate(models):
        model.backbone.patch_embed.features.load_state_dict(models[0].backbone.patch_embed.features.state_dict())
        model.weights = WeightsInfo("test", f"{number:012d}", "nothing", True)
    return models


def test_models_with_one_stem_pass_photos_through_it_once(family, monkeypatch):
    images = _photos(3)
    passes, run = [], FusedStem.maps
    monkeypatch.setattr(FusedStem, "maps", lambda self, x: passes.append(len(x)) or run(self, x))
    shared = SharedPasses(images)
    grouping = Grouping.explicit([range(3)])
    for model in family:
        own = describe(model, shared.batch(model, "float32"), grouping=grouping, precision="float32")
        assert passes == [3]
        alone = describe(model, prepare(images, model.variant.preprocessing), grouping=grouping, precision="float32")
        passes.pop()
        assert np.abs(own.values - alone.values).max() <= 5e-7
        assert own.protocol() == alone.protocol()


def test_another_stem_is_a_pass_of_its_own(family):
    images, other = _photos(1), filled_model("scicevpr-t")
    other.weights = family[1].weights
    with torch.no_grad():
        other.backbone.patch_embed.features.first.bias[0] += 1e-2
    shared = SharedPasses(images)
    assert not torch.equal(shared.batch(family[0], "float32"), shared.batch(other, "float32"))


def test_models_without_a_stem_take_the_photos():
    model, images = filled_model("cricavpr-s"), _photos(1)
    assert SharedPasses(images).batch(model, "float32").shape == (1, 3, 224, 224)
