"""Three steps of the product's own training, in double, against those of the published code (tests/golden)."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch import Tensor

from scicevpr.evaluation.reference_vectors import read_arrays
from scicevpr.evaluation.training_vectors import CASES, RATE, build_networks, compare_steps, run_steps
from scicevpr.models.model import VPRModel
from training.distill import inherit
from training.recipes import FullSizeRecipe
from training.steps import Networks, accumulate_gradients, freeze, set_training
from training.trainer import Trainer

GOLDEN = Path(__file__).parents[1] / "golden" / "training.npz"


class ReferenceTrainer(Trainer):
    """A step at full size on given photos instead of loaded ones."""

    def __init__(self, networks: Networks, out: Path) -> None:
        recipe = FullSizeRecipe(networks.model.variant.name, places=2, photos=4, chunk=8, lr=RATE)
        super().__init__(networks.model, recipe, out, steps=3, optim=recipe.optim)
        self.networks = networks

    def gradients(self, batch: tuple[Tensor, Tensor]) -> dict[str, float]:
        photos, labels = batch
        return accumulate_gradients(self.networks, [photos], labels, [0], self.recipe, self.processes)


def _freeze(model: VPRModel, teacher: VPRModel | None) -> None:
    """What full-size training freezes; the adapters keep the weights that the vectors start from."""
    if teacher is not None:
        inherit(model, teacher)
        return
    freeze(model.backbone)
    for name, parameter in model.backbone.named_parameters():
        parameter.requires_grad_(".adapter." in name)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_three_steps_are_those_of_the_published_code(case: str, tmp_path: Path) -> None:
    model, teacher = build_networks(case)
    _freeze(model, teacher)
    networks = Networks(model.double(), None if teacher is None else teacher.double())
    set_training(model)
    trainer = ReferenceTrainer(networks, tmp_path)
    found = run_steps(model, lambda photos, labels: trainer.take_step((photos, labels)))
    stored = read_arrays(GOLDEN)
    checks = compare_steps(case, found, stored, double=True)
    assert [check for check in checks if not check.passed] == []
    names = {name.partition("_")[0] for name in stored if name.startswith(f"{case}/") and name[-5:] == "_grad"}
    assert names <= {check.array for check in checks}
