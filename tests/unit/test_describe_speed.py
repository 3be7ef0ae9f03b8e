from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from filled_models import filled_model, random_images

from scicevpr import preprocessing, sampling
from scicevpr.config import Preprocessing
from scicevpr.describe import Grouping, describe
from scicevpr.errors import UsageError
from scicevpr.models.model import WeightsInfo
from scicevpr.speed import describe_many
from scicevpr.speed.folding import Trunk

SMALL = Preprocessing(size=(28, 42), antialias=False)


def _plainly(pixels: np.ndarray, asked: Preprocessing) -> torch.Tensor:
    x = torch.from_numpy(pixels.astype(np.float32)).permute(2, 0, 1) / 255
    x = (x - torch.tensor(asked.mean)[:, None, None]) / torch.tensor(asked.std)[:, None, None]
    return F.interpolate(x[None], size=asked.size, mode="bilinear", align_corners=False, antialias=False)[0]


@pytest.mark.parametrize("size", [(280, 420), (97, 211), (1000, 83), (300, 4001), (168, 252)])
def test_sampling_a_large_photo_is_exact(size):
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    assert sampling.pays(size, SMALL.size)
    sampled = sampling.sample(pixels, SMALL.size, SMALL.mean, SMALL.std)
    assert float((sampled - _plainly(pixels, SMALL)).abs().max()) < 1e-6  # pixels reach 2.6, so two steps of float32


def test_large_photos_are_sampled_and_others_are_not(monkeypatch):
    calls = []
    monkeypatch.setattr(preprocessing, "sample", lambda *a: calls.append(a) or sampling.sample(*a))
    large, small = (np.zeros((side, side, 3), np.uint8) for side in (400, 60))
    for photo, asked in ((large, SMALL), (small, SMALL), (large, Preprocessing(size=(28, 42), antialias=True))):
        assert preprocessing.to_tensor(photo, asked).shape == (3, 28, 42)
    assert len(calls) == 1


@pytest.fixture(scope="module")
def family():
    """A teacher, the student that took its backbone, and a model with another one."""
    teacher, student, other = (filled_model(name) for name in ("super-cricavpr-t", "scicevpr-t", "cricavpr-t"))
    student.backbone.load_state_dict(teacher.backbone.state_dict())
    for number, model in enumerate((teacher, student, other)):
        model.weights = WeightsInfo("test", f"{number:012d}", "nothing", True)
    return [teacher, student, other]


def test_models_in_one_pass_describe_as_each_alone(family, monkeypatch):
    images = random_images(5, seed=8)
    passes, run, steps = [], Trunk.__call__, []
    monkeypatch.setattr(Trunk, "__call__", lambda self, x: passes.append(len(x)) or run(self, x))
    groupings = [Grouping.sequential(2), None, Grouping.alone()]
    found = describe_many(family, images, groupings=groupings, batch_size=3, progress=lambda *step: steps.append(step))
    assert passes == [3, 3, 2, 2]  # two backbones for three models, 3 + 2 photos
    assert steps[-1] == (5, 5)
    for model, grouping, own in zip(family, groupings, found, strict=True):
        alone = describe(model, images, grouping=grouping)
        assert np.abs(own.values - alone.values).max() <= 5e-7
        assert own.protocol() == alone.protocol()


def test_another_weight_ends_the_sharing(family, monkeypatch):
    teacher, student = family[0], filled_model("scicevpr-t")
    student.backbone.load_state_dict(teacher.backbone.state_dict())
    student.weights = family[1].weights
    with torch.no_grad():
        student.backbone.norm.bias[0] += 1e-3
    passes, run = [], Trunk.__call__
    monkeypatch.setattr(Trunk, "__call__", lambda self, x: passes.append(len(x)) or run(self, x))
    describe_many([teacher, student], random_images(1, seed=9))
    assert len(passes) == 2


def test_counts_that_do_not_fit_are_refused(family):
    with pytest.raises(UsageError, match="3 models, 1 groupings"):
        describe_many(family, random_images(1, seed=9), groupings=[None])
