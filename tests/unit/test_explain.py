"""Every map against an independent computation: finite differences, plain sums, attention built by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from scicevpr.config import get_variant
from scicevpr.descriptors.batches import Grouping
from scicevpr.descriptors.describe import describe
from scicevpr.errors import UsageError, WeightsError
from scicevpr.explanations import KINDS, Explanation, deciding_region, region_terms
from scicevpr.explanations.maps import (
    average_influence,
    class_attention,
    cross_image_attention,
    influence_on,
    layer_contribution,
    layer_responses,
    map_energy,
    patch_correspondence,
    pooling_attention,
    region_pooling,
    rewriting,
)
from scicevpr.models.fusion import LayerFusion
from scicevpr.models.model import build_model
from scicevpr.models.regions import GeM, region_boxes


@pytest.fixture(scope="module")
def traces(models, images):
    return {name: model.trace(images) for name, model in models.items()}


@pytest.fixture(scope="module")
def photos() -> list[Image.Image]:
    random = np.random.default_rng(8)
    return [Image.fromarray(random.integers(0, 255, (48, 64, 3), dtype=np.uint8)).resize((320, 240)) for _ in range(3)]


@pytest.fixture
def usable(models):
    """The models, allowed to answer with weights that nobody trained."""
    for model in models.values():
        model.allow_untrained = True
    yield models
    for model in models.values():
        model.allow_untrained = False


@pytest.fixture(scope="module")
def small_fusion() -> LayerFusion:
    """A fusion of 5 channels on a 3x4 grid in double precision, with mixing strong enough to matter."""
    torch.manual_seed(4)
    fusion = LayerFusion(channels=5, layers=2, mixers=2, grid=(3, 4)).double()
    for mixer in fusion.mixers:
        for number in (0, 2):
            torch.nn.init.normal_(mixer.mix[number].weight, std=0.4)
        torch.nn.init.normal_(mixer.norm.weight, mean=1.0, std=0.3)
    return fusion


@pytest.fixture(scope="module")
def small_map() -> torch.Tensor:
    return torch.rand(5, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(9))


@torch.no_grad()
def mixed(fusion: LayerFusion, x: torch.Tensor) -> torch.Tensor:
    for mixer in fusion.mixers:
        x = mixer(x)
    return x


def finite_differences(fusion: LayerFusion, x: torch.Tensor) -> torch.Tensor:
    """The whole Jacobian by central differences: [C_out, T_out, C_in, T_in]."""
    flat, step, columns = x.flatten(), 1e-6, []
    for index in range(len(flat)):
        moved = torch.zeros_like(flat)
        moved[index] = step
        pair = [mixed(fusion, (flat + sign * moved).reshape(1, *x.shape))[0].flatten(1) for sign in (1, -1)]
        columns.append((pair[0] - pair[1]) / (2 * step))
    return torch.stack(columns, dim=-1).reshape(5, 12, 5, 12)


def test_layer_responses_add_up_to_the_convolution(models, traces) -> None:
    fusion, trace = models["scicevpr-t"].fusion, traces["scicevpr-t"]
    for photo in range(3):
        total = layer_responses(fusion, trace, photo).sum(dim=0) + fusion.conv.bias[:, None, None]
        assert torch.allclose(F.relu(total), trace.fused[photo], atol=1e-5)


def test_layer_contribution_is_the_energy_of_each_block_of_the_weights(models, traces) -> None:
    fusion, trace = models["scicevpr-t"].fusion, traces["scicevpr-t"]
    found = layer_contribution(fusion, trace, 1)
    weight = fusion.conv.weight.detach().numpy()[:, :, 0, 0].astype(np.float64)
    for layer in range(4):
        own = weight[:, layer * 192 : (layer + 1) * 192]
        token = trace.layer_maps[layer][1, :, 7, 3].numpy().astype(np.float64)
        assert found.energy[layer, 7, 3].item() == pytest.approx(((own @ token) ** 2).sum(), rel=1e-4)
    assert found.share.sum().item() == pytest.approx(1, abs=1e-6)
    assert found.aligned.sum().item() == pytest.approx(1, abs=1e-5)
    assert torch.allclose(found.share, found.energy.sum(dim=(1, 2)) / found.energy.sum())


def test_energy_is_the_length_or_the_sum_over_channels() -> None:
    channels = torch.tensor([[[3.0]], [[4.0]]])
    assert map_energy(channels).item() == 5.0
    assert map_energy(channels, "sum").item() == 7.0
    with pytest.raises(UsageError, match="norm"):
        map_energy(channels, "max")


def test_influence_agrees_with_finite_differences(small_fusion, small_map) -> None:
    jacobian = finite_differences(small_fusion, small_map)
    for row, column in ((0, 0), (1, 2), (2, 3)):
        expected = jacobian[:, row * 4 + column].square().sum(dim=(0, 1)).sqrt().reshape(3, 4)
        found = influence_on(small_fusion, small_map, row, column)
        assert torch.allclose(found, expected, rtol=1e-6, atol=1e-8)
    assert expected.std() > 0.01  # cells really differ


def test_average_influence_agrees_with_finite_differences(small_fusion, small_map) -> None:
    jacobian = finite_differences(small_fusion, small_map)
    jacobian -= torch.eye(60, dtype=torch.float64).reshape(5, 12, 5, 12)
    expected = (jacobian.square().sum(dim=(0, 1, 2)) / 12).sqrt().reshape(3, 4)
    estimate = average_influence(small_fusion, small_map, draws=4000, seed=1)
    assert torch.allclose(estimate, expected, rtol=0.05)
    assert torch.equal(estimate, average_influence(small_fusion, small_map, draws=4000, seed=1))


def test_influence_of_a_cell_that_is_not_there(small_fusion, small_map) -> None:
    with pytest.raises(UsageError, match="3x4"):
        influence_on(small_fusion, small_map, 3, 0)


def test_pooling_attention_is_gradient_times_input() -> None:
    torch.manual_seed(0)
    pooled = torch.randn(6, 16, 16, dtype=torch.float64).requires_grad_()
    gem = GeM(2.6).double()
    regions = region_boxes()
    found = pooling_attention(pooled.detach(), gem.p, regions)
    assert torch.allclose(found.sum(dim=(1, 2)), torch.ones(14), atol=1e-6)
    vectors = gem(pooled[None], regions)[0]
    for number, vector in enumerate(vectors):
        (gradient,) = torch.autograd.grad(0.5 * vector.square().sum(), pooled, retain_graph=True)
        expected = (gradient * pooled).sum(dim=0) / vector.square().sum()
        assert torch.allclose(found[number].double(), expected.detach(), atol=1e-6)
        box = regions[number]
        outside = found[number].clone()
        outside[box.top : box.bottom, box.left : box.right] = 0
        assert outside.abs().max() == 0


def test_pooling_attention_of_the_models(models, traces) -> None:
    for name, first in (("scicevpr-t", 0), ("cricavpr-t", 1)):
        shares = region_pooling(models[name], traces[name], 2)
        assert sorted(shares) == list(range(first, 14))
        for share in shares.values():
            assert share.sum().item() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("name", ["scicevpr-t", "cricavpr-t"])
def test_class_attention_gives_the_output_of_the_attention_layer(name: str, models, traces) -> None:
    """Weights times values, projected, must be what torch's own attention gave the class token."""
    model, trace = models[name], traces[name]
    for block in (0, 3):
        weights = class_attention(model, trace, block, 1)
        assert weights.shape == (3, 197)
        assert torch.allclose(weights.sum(dim=-1), torch.ones(3), atol=1e-5)
        layer = model.backbone.blocks[block]
        entering = (trace.tokens_in if block == 0 else trace.blocks[block - 1])[1:2]
        with torch.no_grad():
            normed = layer.norm1(entering)
            values = (normed[0] @ layer.attn.qkv.weight[384:].T + layer.attn.qkv.bias[384:]).reshape(197, 3, 64)
            read = torch.cat([weights[head] @ values[:, head] for head in range(3)])
            expected = layer.attn(normed)[0, 0]
            assert torch.allclose(layer.attn.proj(read), expected, atol=1e-5)


def test_region_terms_add_up_to_the_similarity() -> None:
    random = np.random.default_rng(3)
    query, first, second = (v / np.linalg.norm(v) for v in random.standard_normal((3, 14 * 8)))
    terms = region_terms(query, first)
    assert terms.sum() == pytest.approx(query @ first, abs=1e-12)
    assert region_terms(3 * query, 0.5 * first) == pytest.approx(terms)
    assert terms[5] == pytest.approx(query[40:48] @ first[40:48])
    decision = deciding_region(query, first, second)
    assert decision.differences.sum() == pytest.approx(query @ first - query @ second, abs=1e-12)
    assert decision.gap == pytest.approx(query @ first - query @ second, abs=1e-12)
    assert decision.region == max(range(14), key=lambda r: terms[r] - region_terms(query, second)[r])


def test_region_terms_refuse_reduced_descriptors() -> None:
    with pytest.raises(UsageError, match="PCA"):
        region_terms(np.ones(13), np.ones(13))


def test_patch_correspondence_by_hand() -> None:
    random = torch.Generator().manual_seed(0)
    query, match = torch.randn(6, 3, 4, generator=random), torch.randn(6, 3, 4, generator=random)
    match[:, 2, 1] = 3 * query[:, 0, 2]
    found = patch_correspondence(query, match)
    assert found.best_of(0, 2, 1) == [(2, 1, pytest.approx(1.0, abs=1e-6))]
    assert found.mutual[2]
    flat_q, flat_m = query.flatten(1).numpy().T, match.flatten(1).numpy().T
    for i, one in enumerate(flat_q):
        cosines = [one @ other / np.linalg.norm(one) / np.linalg.norm(other) for other in flat_m]
        assert np.allclose(found.similarity[i], cosines, atol=1e-6)
        assert found.nearest[i] == int(np.argmax(cosines))


def attention_by_hand(layer: torch.nn.Module, x: np.ndarray) -> np.ndarray:
    """Softmax attention over the first axis of x [B, 14, C] from the raw projection weights: [14, heads, B, B]."""
    weight, bias = (t.detach().numpy().astype(np.float64) for t in (layer.in_proj_weight, layer.in_proj_bias))
    channels, heads = x.shape[-1], layer.num_heads
    query = (x @ weight[:channels].T + bias[:channels]).reshape(len(x), 14, heads, -1)
    key = (x @ weight[channels : 2 * channels].T + bias[channels : 2 * channels]).reshape(len(x), 14, heads, -1)
    out = np.empty((14, heads, len(x), len(x)))
    for r in range(14):
        for h in range(heads):
            scores = query[:, r, h] @ key[:, r, h].T / np.sqrt(channels // heads)
            powers = np.exp(scores - scores.max(axis=1, keepdims=True))
            out[r, h] = powers / powers.sum(axis=1, keepdims=True)
    return out


@pytest.mark.parametrize("name", ["super-cricavpr-t", "cricavpr-t"])
def test_cross_image_attention_by_hand(name: str, models, traces) -> None:
    model, trace = models[name], traces[name]
    entering = (trace.regions, trace.encoder_layers[0])
    by_hand = np.stack(
        [
            attention_by_hand(layer.self_attn, x.numpy().astype(np.float64))
            for layer, x in zip(model.encoder.layers, entering, strict=True)
        ]
    )
    assert np.allclose(cross_image_attention(trace, 1, 3, 6).numpy(), by_hand[1, 6, 3], atol=1e-5)
    assert np.allclose(cross_image_attention(trace, 0).numpy(), by_hand[0].mean(axis=(0, 1)), atol=1e-5)
    assert np.allclose(cross_image_attention(trace, region=4).numpy(), by_hand[:, 4].mean(axis=(0, 1)), atol=1e-5)
    assert np.allclose(cross_image_attention(trace).numpy().sum(axis=1), 1, atol=1e-5)
    with pytest.raises(UsageError, match="region 14"):
        cross_image_attention(trace, region=14)


def test_scicevpr_has_no_attention_between_photos(traces) -> None:
    with pytest.raises(UsageError, match="one photo at a time"):
        cross_image_attention(traces["scicevpr-t"])


def test_rewriting_is_what_leaving_a_companion_out_changes(models, images) -> None:
    model = models["cricavpr-t"]
    with torch.no_grad():
        trace = model.trace(images)
        moved = rewriting(model, trace.regions, 1)
        whole = model(images)[1].reshape(14, -1)
        without = model(images[[0, 1]])[1].reshape(14, -1)
        alone = model(images[[1]])[0].reshape(14, -1)
    assert torch.allclose(moved[2], (whole - without).norm(dim=-1), atol=1e-5)
    assert torch.allclose(moved[1], (whole - alone).norm(dim=-1), atol=1e-5)
    assert moved.min() > 0
    stable = models["scicevpr-t"]
    assert rewriting(stable, stable.trace(images).regions, 1).abs().max() < 1e-6


@pytest.mark.parametrize("name", ["scicevpr-t", "super-cricavpr-t", "cricavpr-t"])
def test_every_view_of_every_model_can_be_had(name: str, usable, photos) -> None:
    explanation = Explanation(usable[name], photos)
    plain = {"photo", "cross-image", "rewriting", "encoder", "terms", "difference", "patches"}
    kinds = set()
    for step in explanation.views.values():
        for view in step:
            kinds.add(view.kind)
            if view.kind not in plain and not view.key.startswith("attention:1"):
                found = explanation.heat_map(view.key, cell=(4, 9))
                assert found.values.shape == (14, 14)
                assert np.isfinite(found.values).all()
                assert found.values.min() >= 0 or view.kind == "sum"
                assert found.sentence == KINDS[view.kind].sentence
    assert ("contribution" in kinds) == ("influence" in kinds) == (name != "cricavpr-t")
    assert ("cross-image" in kinds) == get_variant(name).cross_image
    assert explanation.shapes()[-1][2] == (3, 2688)
    assert explanation.turning().shape == (14,)
    assert explanation.rewriting().shape == (3, 14)
    assert explanation.correspondence(explanation).mutual.all()
    whole = describe(usable[name], photos, grouping=Grouping.explicit([range(3)])).values
    assert np.abs(explanation.descriptors - whole).max() < 5e-7


def test_explanation_says_what_is_missing(usable, photos) -> None:
    explanation = Explanation(usable["cricavpr-t"], photos[:1])
    with pytest.raises(UsageError, match="has no map 'energy:fused'"):
        explanation.heat_map("energy:fused")
    with pytest.raises(UsageError, match="fuses no layers"):
        explanation.contribution()
    with pytest.raises(UsageError, match="which, as"):
        Explanation(usable["scicevpr-t"], photos[:1]).heat_map("influence")
    with pytest.raises(UsageError, match="within one model"):
        explanation.correspondence(Explanation(usable["scicevpr-t"], photos[:1]))
    with pytest.raises(UsageError, match="no photo"):
        Explanation(usable["cricavpr-t"], [])
    with pytest.raises(WeightsError):
        Explanation(build_model("scicevpr-t"), photos[:1])
