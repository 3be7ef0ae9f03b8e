from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from filled_models import filled_model

from scicevpr.config import Preprocessing
from scicevpr.descriptors import preprocessing
from scicevpr.descriptors.batches import Grouping
from scicevpr.descriptors.describe import describe
from scicevpr.descriptors.precision import SharedPasses
from scicevpr.descriptors.preprocessing import prepare
from scicevpr.models.fused_layers import FusedStem
from scicevpr.models.model import WeightsInfo

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
