"""What every registered variant must keep: shapes, unit norm, gradients, names, fingerprints, role of the batch."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from scicevpr.config import VARIANTS, get_variant
from scicevpr.descriptors.batches import Grouping
from scicevpr.descriptors.describe import describe
from scicevpr.errors import UsageError
from scicevpr.models import key_formats
from scicevpr.models.model import build_model
from scicevpr.models.weights import fill_stem

ALL = list(VARIANTS)
SMALL = [name for name in ALL if name.endswith("-t")]
EMBED_DIM = {"t": 192, "s": 384, "b": 768, "l": 1024}


def random_images(count: int, side: int = 224) -> torch.Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(5))


@pytest.fixture(scope="module")
def small_models():
    torch.manual_seed(0)
    return {name: fill_stem(build_model(name)) for name in SMALL}


@pytest.mark.parametrize("name", ALL)
def test_shapes_gradients_and_names_of_every_variant(name: str) -> None:
    """On the meta device, where a model of any size costs no memory: structure only."""
    with torch.device("meta"):
        model = build_model(name)
        images = torch.empty(2, 3, 224, 224)
    variant = model.variant
    out = model(images)
    assert variant.channels == EMBED_DIM[name[-1]]
    assert out.shape == (2, variant.descriptor_dim) == (2, 14 * variant.channels)
    trace = model.trace(images)
    assert trace.descriptor.shape == out.shape
    assert len(trace.blocks) == variant.backbone.depth
    assert trace.grid == variant.grid == ((14, 14) if variant.backbone.hybrid else (16, 16))
    assert trace.regions.shape == (2, 14, variant.channels)
    assert len(trace.encoder_layers) == variant.encoder_layers
    assert len(trace.attention) == (variant.encoder_layers if variant.cross_image else 0)
    assert (len(trace.layer_maps), len(trace.mixed)) == (len(variant.taps), variant.mixers)
    out.sum().backward()
    unreached = [key for key, value in model.named_parameters() if value.requires_grad and value.grad is None]
    assert unreached == []
    published = key_formats.state_to_published(model)
    back = key_formats.to_own(published, key_formats.detect(published, name))
    assert {key: value.shape for key, value in back.items()} == {k: v.shape for k, v in model.state_dict().items()}


@pytest.mark.parametrize("name", SMALL)
def test_descriptors_are_unit_length_and_gradients_are_not_zero(name: str, small_models) -> None:
    model = small_models[name]
    model.zero_grad()
    out = model(random_images(3))
    assert torch.isfinite(out).all()
    torch.testing.assert_close(out.norm(dim=1), torch.ones(3))
    (out * random_images(3).flatten()[: out.numel()].reshape(out.shape)).sum().backward()
    silent = [
        key
        for key, parameter in model.named_parameters()
        if parameter.requires_grad
        and (parameter.grad is None or not torch.isfinite(parameter.grad).all() or not parameter.grad.any())
    ]
    assert silent == []


@pytest.mark.parametrize("name", SMALL)
def test_a_trace_gives_the_descriptor_of_the_model(name: str, small_models) -> None:
    images = random_images(2)
    with torch.inference_mode():
        torch.testing.assert_close(small_models[name].trace(images).descriptor, small_models[name](images))


@pytest.mark.parametrize("name", SMALL)
def test_only_cross_image_variants_depend_on_the_batch(name: str, small_models) -> None:
    model = small_models[name]
    model.allow_untrained = True
    images = random_images(3)
    together = describe(model, images, grouping=Grouping.sequential(3)).values
    alone = describe(model, images, grouping=Grouping.alone()).values
    difference = np.abs(together - alone).max()
    if model.variant.cross_image:
        assert difference > 1e-4
    else:
        assert difference <= 5e-7


def test_fingerprints_are_distinct_and_follow_the_architecture() -> None:
    assert len({variant.fingerprint for variant in VARIANTS.values()}) == len(VARIANTS)
    variant = get_variant("scicevpr-t")
    assert replace(variant, title="renamed", weights_note="").fingerprint == variant.fingerprint
    for change in (
        {"mixers": 1},
        {"encoder_layers": 2},
        {"taps": (7, 8, 9, 10)},
        {"family": "super-cricavpr"},
        {"backbone": replace(variant.backbone, heads=6)},
    ):
        assert replace(variant, **change).fingerprint != variant.fingerprint


def test_names_and_titles() -> None:
    assert [variant.name for variant in VARIANTS.values()] == ALL
    assert len({variant.title for variant in VARIANTS.values()}) == len(VARIANTS)
    assert get_variant("SciceVPR-B") is VARIANTS["scicevpr-b"]
    with pytest.raises(UsageError, match="scicevpr-t"):
        get_variant("netvlad")


def test_other_input_sizes_work_where_the_architecture_allows(small_models) -> None:
    wide = torch.zeros(1, 3, 224, 288)
    with torch.inference_mode():
        assert small_models["cricavpr-t"](wide).shape == (1, 14 * 192)
        for name in ("scicevpr-t", "super-cricavpr-t"):
            with pytest.raises(UsageError, match="14x14 token grid"):
                small_models[name](wide)
            with pytest.raises(UsageError, match="multiples of 16"):
                small_models[name](torch.zeros(1, 3, 225, 224))
