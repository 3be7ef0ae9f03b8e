"""One chunked step gives the gradient of the whole batch, however many chunks are held at once."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
import tiny_family
import torch
from torch import Tensor

from scicevpr.errors import UsageError
from scicevpr.losses import distillation_loss, mine_pairs, multi_similarity_loss
from scicevpr.models.model import build_model
from training.distill import inherit
from training.distributed import Processes
from training.recipes import FullSizeRecipe
from training.steps import Networks, accumulate_gradients, chunks_in, freeze_published, set_training

CPU = torch.device("cpu")
ALONE = Processes(CPU)
SEEDS = [11, 12, 13, 14]
pytestmark = pytest.mark.usefixtures("tiny_variants", "one_thread")


def _networks(name: str, precision: str = "none") -> Networks:
    torch.manual_seed(3)
    model, teacher = build_model(name), None
    if name.startswith("scicevpr"):
        teacher = build_model("super-cricavpr-x")
        inherit(model, teacher)
    else:
        freeze_published(model)
        for parameter in model.parameters():
            if parameter.requires_grad and parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=0.1)  # adapters start as good as off
    set_training(model)
    return Networks(model, teacher, precision)


def _recipe(name: str, **changes) -> FullSizeRecipe:
    recipe = FullSizeRecipe(variant=name, pixels=(56, 56), places=4, photos=4, chunk=4, gamma=0.7, eta=1.3)
    return replace(recipe, **changes)


def _batch() -> tuple[list[Tensor], Tensor]:
    photos = torch.randn(16, 3, 56, 56, generator=torch.Generator().manual_seed(1))
    return list(photos.split(4)), torch.arange(4).repeat_interleave(4)


def _gradients(networks: Networks) -> dict[str, Tensor]:
    found = {n: p.grad.clone() for n, p in networks.model.named_parameters() if p.requires_grad and p.grad is not None}
    networks.model.zero_grad(set_to_none=True)
    return found


def _by_one_graph(networks: Networks, recipe: FullSizeRecipe) -> dict[str, Tensor]:
    """The same gradient from one autograd graph over the whole batch, written down plainly."""
    chunks, labels = _batch()
    starts = [networks.begin(chunk) for chunk in chunks]
    parts = [networks.describe(start, seed, keep_statistics=False) for start, seed in zip(starts, SEEDS, strict=True)]
    descriptors = torch.cat(parts)
    loss = multi_similarity_loss(descriptors, labels, mine_pairs(descriptors, labels, recipe.miner_epsilon))
    if networks.teacher is not None:
        targets = torch.cat([networks.target(start) for start in starts])
        loss = recipe.gamma * loss + recipe.eta * distillation_loss(descriptors, targets)
    loss.backward()
    return _gradients(networks)


@pytest.mark.parametrize("name", ["super-cricavpr-x", "cricavpr-x", "scicevpr-x"])
def test_accumulation_equals_the_full_batch(name: str) -> None:
    networks, recipe = _networks(name), _recipe(name)
    expected = _by_one_graph(networks, recipe)
    assert max(gradient.abs().max() for gradient in expected.values()) > 1e-3
    found = {}
    for at_once in (0, 1, 3, 4):
        chunks, labels = _batch()
        parts = accumulate_gradients(networks, chunks, labels, SEEDS, recipe, ALONE, at_once=at_once)
        found[at_once] = _gradients(networks)
        assert parts["loss"] > 0
    for name_, gradient in expected.items():
        scale = gradient.abs().max().clamp(min=1e-4)
        assert (found[0][name_] - gradient).abs().max() < 1e-5 * scale, name_
    for at_once in (1, 3, 4):
        assert all(torch.equal(found[at_once][n], found[0][n]) for n in expected)


def test_the_chunk_changes_a_teacher_and_not_a_student() -> None:
    for name, changes in (("super-cricavpr-x", True), ("scicevpr-x", False)):
        networks = _networks(name)
        for module in networks.model.modules():
            if isinstance(module, (torch.nn.Dropout, torch.nn.MultiheadAttention)):
                module.eval()
        starts = [networks.begin(chunk) for chunk in _batch()[0]]
        by_four = torch.cat([networks.describe(start, 0, keep_statistics=False) for start in starts])
        by_sixteen = networks.describe(torch.cat(starts), 0, keep_statistics=False)
        assert ((by_four - by_sixteen).abs().max() > 1e-3) == changes


@pytest.mark.parametrize("at_once", [0, 1])
def test_only_the_first_chunk_moves_the_running_statistics(at_once: int) -> None:
    networks, recipe = _networks("cricavpr-x"), _recipe("cricavpr-x")
    bn = networks.model.backbone.blocks[0].adapter.branch1.bn
    chunks, labels = _batch()
    before = bn.running_mean.clone()
    networks.describe(chunks[0], SEEDS[0], keep_statistics=True)
    expected = bn.running_mean.clone()
    assert not torch.equal(expected, before)
    bn.running_mean.copy_(before)
    accumulate_gradients(networks, chunks, labels, SEEDS, recipe, ALONE, at_once=at_once)
    assert torch.equal(bn.running_mean, expected)
    assert bn.num_batches_tracked == 2
    assert bn.track_running_stats


def test_too_little_memory_says_which_option_to_lower(monkeypatch: pytest.MonkeyPatch) -> None:
    networks, recipe = _networks("super-cricavpr-x"), _recipe("super-cricavpr-x")
    monkeypatch.setattr(Networks, "describe", Networks.describe)  # what follows is undone
    tiny_family.run_out_of_memory()
    for at_once in (0, 1):
        chunks, labels = _batch()
        with pytest.raises(
            UsageError, match=r"^cpu has too little memory: CUDA out of memory.*2 GiB\. Hold fewer"
        ) as e:
            accumulate_gradients(networks, chunks, labels, SEEDS, recipe, ALONE, at_once=at_once)
        assert "--accumulate 1" in str(e.value)


@dataclass(frozen=True)
class OneOfTwo(Processes):
    """One of two processes that never meet: what it would send is left out."""

    def sum_gradients(self, parameters) -> None: ...

    def any(self, flag: bool) -> bool:
        return flag


def test_without_gathered_negatives_each_process_sees_its_own_rows() -> None:
    networks, recipe = _networks("super-cricavpr-x"), _recipe("super-cricavpr-x", gather_negatives=False)
    chunks, labels = _batch()
    total: dict[str, Tensor] = {}
    for number in range(2):
        process = OneOfTwo(CPU, number, 2)
        own = process.share(4)
        accumulate_gradients(networks, [chunks[i] for i in own], labels, SEEDS, recipe, process)
        for name, gradient in _gradients(networks).items():
            total[name] = total.get(name, 0) + gradient
    losses = []
    for half in (slice(0, 2), slice(2, 4)):
        described = [
            networks.describe(networks.begin(chunk), seed, keep_statistics=False)
            for chunk, seed in zip(chunks[half], SEEDS[half], strict=True)
        ]
        rows, own_labels = torch.cat(described), labels[half.start * 4 : half.stop * 4]
        losses.append(multi_similarity_loss(rows, own_labels, mine_pairs(rows, own_labels)))
    (sum(losses) / 2).backward()
    for name, gradient in _gradients(networks).items():
        assert (total[name] - gradient).abs().max() < 1e-5 * gradient.abs().max().clamp(min=1e-4), name


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_mixed_precision_accumulates_alike(precision: str) -> None:
    networks, recipe = _networks("scicevpr-x", precision), _recipe("scicevpr-x")
    exact = _by_one_graph(_networks("scicevpr-x"), recipe)
    found, scale = [], 256.0
    for at_once in (0, 2):
        chunks, labels = _batch()
        accumulate_gradients(
            networks, chunks, labels, SEEDS, recipe, ALONE, at_once=at_once, scale=lambda gradient: gradient * scale
        )
        found.append(_gradients(networks))
    for name, gradient in found[0].items():
        assert torch.equal(gradient, found[1][name])
    name = "encoder.layers.0.linear2.weight"
    cosine = torch.cosine_similarity(found[0][name].flatten(), exact[name].flatten(), dim=0)
    assert cosine > 0.98
    assert np.isclose(found[0][name].norm() / scale, exact[name].norm(), rtol=0.1)


def test_batches_are_cut_and_dealt_evenly() -> None:
    assert chunks_in(FullSizeRecipe("super-cricavpr-b")) == 2
    with pytest.raises(UsageError, match=r"72 places x 4 photos = 288 .* chunks of 100.*e\.g\. 96"):
        chunks_in(FullSizeRecipe("super-cricavpr-b", chunk=100))
    assert [list(Processes(CPU, number, 2).share(4)) for number in range(2)] == [[0, 1], [2, 3]]
    with pytest.raises(UsageError, match="2 cross-image chunks cannot be dealt evenly to 4 processes"):
        Processes(CPU, 0, 4).share(2)
