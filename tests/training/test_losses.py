"""Losses against the recorded reference (tests/golden/losses.npz)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from scicevpr.errors import UsageError
from scicevpr.losses import distillation_loss, mine_pairs, multi_similarity_loss
from training.recipes import CrossImageRecipe, FullSizeRecipe
from training.steps import batch_losses

REFERENCE = np.load(Path(__file__).parents[1] / "golden" / "losses.npz")
CASES = ("random", "clustered", "easy")


def _batch(case: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    descriptors = torch.from_numpy(REFERENCE[f"{case}_desc"]).requires_grad_()
    return descriptors, torch.from_numpy(REFERENCE["labels"]), torch.from_numpy(REFERENCE["teacher"])


@pytest.mark.parametrize("case", CASES)
def test_multi_similarity_and_miner(case: str) -> None:
    descriptors, labels, _ = _batch(case)
    positive, negative = mine_pairs(descriptors, labels)
    mined = positive.numpy().astype(np.uint8) + 2 * negative.numpy().astype(np.uint8)
    np.testing.assert_array_equal(mined, REFERENCE[f"{case}_mined"])
    loss = multi_similarity_loss(descriptors, labels, (positive, negative))
    loss.backward()
    np.testing.assert_allclose(loss.item(), REFERENCE[f"{case}_ms_loss"], rtol=1e-5)
    expected = REFERENCE[f"{case}_ms_grad"]
    error = np.linalg.norm(descriptors.grad.numpy() - expected) / max(np.linalg.norm(expected), 1e-12)
    assert error <= 1e-5
    unmined = multi_similarity_loss(descriptors, labels)
    np.testing.assert_allclose(unmined.item(), REFERENCE[f"{case}_ms_loss_nominer"], rtol=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_training_objective(case: str) -> None:
    descriptors, labels, teacher = _batch(case)
    distance = distillation_loss(descriptors, teacher)
    np.testing.assert_allclose(distance.item(), REFERENCE[f"{case}_distill_loss"], rtol=1e-5)
    total = multi_similarity_loss(descriptors, labels, mine_pairs(descriptors, labels)) + distance
    total.backward()
    np.testing.assert_allclose(total.item(), REFERENCE[f"{case}_total_loss"], rtol=1e-5)
    expected = REFERENCE[f"{case}_total_grad"]
    assert np.linalg.norm(descriptors.grad.numpy() - expected) / np.linalg.norm(expected) <= 1e-5


def test_a_loss_without_a_weight_in_the_recipe_is_refused():
    unit, labels = torch.eye(4), torch.tensor([0, 0, 1, 1])
    with pytest.raises(UsageError, match="no teacher"):
        batch_losses(unit, labels, CrossImageRecipe(), target=unit)
    with pytest.raises(UsageError, match="no stem"):
        batch_losses(unit, labels, FullSizeRecipe("scicevpr-s"), stem=unit)
