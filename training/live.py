"""A small real distillation for the Training tab and the lessons: stage 2 of training/distill.py in a minute.

One half of the bundled city is learnt from, the other half is measured on (see :mod:`training.live_data`). Losses,
step, schedule and frozen parts are those of :mod:`training.distill`; only data and number of steps are smaller, and
nothing is augmented. So the numbers show how distillation works; they are not comparable with those of the shipped
weights.

    from scicevpr.hub.load import load_model
    from scicevpr.datasets import bundled_city
    from training.live import LIVE, LiveDistillation
    from training.live_data import keep_maps, split_in_halves

    maps = keep_maps(load_model("super-cricavpr-t"), split_in_halves(bundled_city()))
    run = LiveDistillation(maps, LIVE)
    for news in run.steps():  # a Loss after every step, a Score before the first and after every epoch
        print(news)
    run.student  # a VPRModel, ready to describe photos
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch

from scicevpr.descriptors.batches import Grouping
from scicevpr.errors import UsageError
from scicevpr.evaluation.metrics import recall_at_n
from scicevpr.evaluation.protocols import published_grouping
from scicevpr.models.model import VPRModel, WeightsInfo, build_model
from scicevpr.models.native_checkpoints import hash_tensors
from scicevpr.retrieval.exact import ExactIndex
from training.batches import Draw, keyed_seed, place_batches
from training.distill import distillation_step, inherit
from training.live_data import BATCHES_OF_16, PHOTOS, LiveMaps, descriptors_of, device_of, head_of, with_frozen_part
from training.recipes import DistillRecipe
from training.steps import trainable
from training.trainer import halving

NS = (1, 5, 10)
MOVED_PHOTOS = 32
LIVE = DistillRecipe(places=28, photos=PHOTOS, epochs=8, lr=1e-3, decay_epochs=3, chunk=None)
"""The recipe of the demonstration; change it with ``dataclasses.replace``: epochs, lr, gamma, eta, seed."""


@dataclass(frozen=True)
class Loss:
    """One step: the total L_T = gamma * L_MS + eta * L_D and its parts; step and epoch count from 1, lr is the rate."""

    step: int
    epoch: int
    total: float
    l_ms: float
    l_d: float
    lr: float


@dataclass(frozen=True)
class Score:
    """A model on the held-out half.

    who: "teacher", "student" or a name given to :func:`measure`. epoch: epochs of training, None where it is not being
    trained; 0 is the untrained student. recalls: Recall@1, 5, 10 in percent. descriptor_change: the largest change of
    any value of a query's descriptor between being described alone and in file order with 15 others (32 queries are
    tried). distance: mean L_D to the teacher's descriptors.
    """

    who: str
    epoch: int | None
    recalls: dict[int, float]
    descriptor_change: float
    distance: float


class LiveDistillation:
    """A student learning from ``maps.teacher``. The same maps, recipe and number of threads give the same student, bit
    for bit.

    Raises UsageError: a recipe that cannot be run on these maps.
    """

    def __init__(self, maps: LiveMaps, recipe: DistillRecipe = LIVE) -> None:
        usable = int((np.bincount(maps.photos.places) >= recipe.photos).sum())
        self.recipe = replace(
            recipe,
            variant=maps.teacher.variant.name.replace("super-cricavpr", "scicevpr"),
            places=min(recipe.places, usable),
        )
        _check(self.recipe)
        self.maps = maps
        self.steps_per_epoch = usable // self.recipe.places
        self.losses: list[Loss] = []
        self.scores: list[Score] = []
        self._right = maps.halves.held_out.positives()
        self._head: VPRModel | None = None

    @property
    def student(self) -> VPRModel:
        """The student as it is now, as a whole model with the hash of its weights. UsageError before the first step."""
        if self._head is None or not self.losses:
            raise UsageError("There is no student yet: run some steps first.")
        whole = with_frozen_part(self._head, self.maps.whole)
        steps, photos = self.losses[-1].step, len(self.maps.photos)
        facts = (("recipe", json.dumps(asdict(self.recipe))), ("step", str(steps)))
        trained_on = f"half of {self.maps.halves.name} ({photos} photos, {steps} step{'s' * (steps > 1)})"
        whole.weights = WeightsInfo("live distillation", hash_tensors(whole.state_dict()), trained_on, True, facts)
        return whole

    def steps(self) -> Iterator[Loss | Score]:
        """Run, yielding what happens: the teacher's Score and the untrained student's, then after each step its Loss
        and after each epoch the student's Score. Closing the iterator ends the run after the step at hand."""
        recipe, photos = self.recipe, self.maps.photos
        student = self._fresh_student()
        self._head, device = student, device_of(student)
        optimiser = torch.optim.Adam(trainable(student), lr=recipe.lr)
        schedule = halving(optimiser, self.steps_per_epoch, recipe.decay_epochs, recipe.decay)
        yield self._score("teacher", self.maps.teacher, None)
        yield self._score("student", student, 0)
        step = 0
        for epoch in range(1, recipe.epochs + 1):
            draw = np.random.default_rng(keyed_seed(recipe.seed, Draw.ORDER, epoch))
            for batch in place_batches(photos, recipe.places, recipe.photos, cities=recipe.cities, generator=draw):
                step += 1
                rows, labels = torch.from_numpy(batch.rows), torch.from_numpy(batch.labels)
                rate = optimiser.param_groups[0]["lr"]
                student.train()
                with _seeded(keyed_seed(recipe.seed, Draw.DROPOUT, step)):
                    maps = self.maps.maps[rows].to(device)
                    total, parts = distillation_step(student, self.maps.teacher, maps, labels.to(device), recipe)
                    optimiser.zero_grad(set_to_none=True)
                    total.backward()
                optimiser.step()
                schedule.step()
                self.losses.append(Loss(step, epoch, parts["loss"], parts["l_ms"], parts["l_d"], lr=rate))
                yield self.losses[-1]
            yield self._score("student", student, epoch)

    def _fresh_student(self) -> VPRModel:
        with _seeded(keyed_seed(self.recipe.seed, Draw.FIRST_WEIGHTS)):
            student = build_model(self.recipe.variant)
        inherit(student.to(device_of(self.maps.whole)), self.maps.whole)
        return head_of(student)

    def _score(self, who: str, model: VPRModel, epoch: int | None) -> Score:
        self.scores.append(measure(who, model, self.maps, epoch, self._right))
        return self.scores[-1]


def measure(
    who: str, model: VPRModel, maps: LiveMaps, epoch: int | None = None, right: list[np.ndarray] | None = None
) -> Score:
    """Score a model on the held-out half; it must take kept maps (see :func:`head_of`).

    Database and queries are described in file order, 16 a batch, as in the published evaluation.
    """
    held_out = maps.halves.held_out
    grouping = published_grouping(model.variant, held_out) or BATCHES_OF_16
    database, queries = (descriptors_of(model, part, grouping) for part in (maps.database, maps.queries))
    some = np.arange(0, len(queries), -(-len(queries) // MOVED_PHOTOS))
    alone = descriptors_of(model, maps.queries[some], Grouping.alone())
    together = queries if grouping == BATCHES_OF_16 else descriptors_of(model, maps.queries, BATCHES_OF_16)
    found = ExactIndex(database).search(queries, max(NS)).indices
    return Score(
        who=who,
        epoch=epoch,
        recalls=recall_at_n(found, held_out.positives() if right is None else right, NS),
        descriptor_change=float(np.abs(together[some] - alone).max()),
        distance=float(np.square(queries - maps.target).sum(axis=1).mean()),
    )


def _check(recipe: DistillRecipe) -> None:
    if recipe.gamma < 0 or recipe.eta < 0 or recipe.gamma + recipe.eta == 0:
        raise UsageError(
            "γ and η must not be negative, and one of them must be above 0: else there is nothing to learn."
        )
    if not 0 < recipe.lr <= 0.1:
        raise UsageError(f"The learning rate must lie above 0 and be at most 0.1, not {recipe.lr:g}.")
    if recipe.epochs < 1 or recipe.places < 2:
        raise UsageError("At least one epoch, and two places seen several times, are needed.")


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Random numbers of a seed inside, and outside as if nothing had been drawn."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
