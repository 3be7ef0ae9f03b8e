from __future__ import annotations

import pytest
import torch
from filled_models import T_VARIANTS, descriptors, filled_model, random_images

from scicevpr.errors import UsageError
from scicevpr.models import build_model
from scicevpr.models.own_files import hash_tensors
from scicevpr.speed.folding import folded

TOLERANCE = 5e-7


def _error(model, images: torch.Tensor) -> float:
    return float((descriptors(folded(model), images) - descriptors(model, images)).abs().max())


@pytest.mark.parametrize("name", T_VARIANTS)
def test_folding_is_exact(name, models, images, expected):
    assert float((descriptors(folded(models[name]), images) - expected[name]).abs().max()) <= TOLERANCE


@pytest.mark.parametrize("name", ["scicevpr-s", "cricavpr-s"])
def test_folding_is_exact_on_the_dinov2_sizes(name):
    assert _error(filled_model(name), random_images(2, seed=2)) <= TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("name", ["scicevpr-b", "cricavpr-b"])
def test_folding_is_exact_on_the_large_sizes(name):
    assert _error(filled_model(name), random_images(2, seed=3)) <= TOLERANCE


def test_the_model_stays_as_it_was(models, images):
    model = models["scicevpr-t"]
    before, fingerprint = hash_tensors(model.state_dict()), model.variant.fingerprint
    run = folded(model)
    descriptors(run, images)
    assert hash_tensors(model.state_dict()) == before
    assert run.variant.fingerprint == fingerprint
    assert list(run.parameters()) == []  # nothing that could be trained or saved


def test_trained_gains_are_folded_in():
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
    images = torch.randn(2, 3, 112, 168, generator=torch.Generator().manual_seed(5))
    assert _error(filled_model("cricavpr-t"), images) <= TOLERANCE
    with pytest.raises(UsageError, match="16x16 token grid"):
        descriptors(folded(filled_model("scicevpr-t")), images)
    with pytest.raises(UsageError, match="multiples of 14"):
        descriptors(folded(filled_model("scicevpr-t")), images[..., :100])


def test_a_fused_batch_gives_what_each_photo_gives_alone(models, images):
    run = folded(models["scicevpr-t"])
    together = descriptors(run, images)
    alone = torch.cat([descriptors(run, photo[None]) for photo in images])
    assert float((together - alone).abs().max()) <= TOLERANCE


def test_only_float32_models_are_folded():
    with pytest.raises(UsageError, match="bfloat16"):
        folded(build_model("scicevpr-t").to(torch.bfloat16))
