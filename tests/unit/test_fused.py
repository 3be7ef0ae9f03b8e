from __future__ import annotations

import pytest
import torch
from filled_models import T_VARIANTS, descriptors, filled_model, random_images

from scicevpr.descriptors.describe import describe
from scicevpr.errors import UsageError
from scicevpr.models.fused import fuse
from scicevpr.models.model import build_model
from scicevpr.models.native_checkpoints import hash_tensors

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
