"""The Training tab without any web framework: a small real distillation, and its students to be tried in Find."""

from __future__ import annotations

import secrets
from collections.abc import Generator
from dataclasses import dataclass, replace

import torch

from app.core.model_slots import STABLE, TEACHER, weights_of
from app.core.services import Services
from scicevpr.errors import SciceVPRError, UsageError
from scicevpr.models.model import VPRModel
from training.live import LiveDistillation, Loss, Score, measure
from training.live_data import Halves, LiveMaps, MapKeeper, head_of, split_in_halves
from training.recipes import DistillRecipe

LARGEST_CHANNELS = 192
LARGEST_PHOTOS = 3000
TRAINED_HERE = "trained here"


@dataclass(frozen=True)
class Progress:
    """Where a run stands. label: what happened last; losses, scores: so far; new: what was added, if anything; key: of
    the student, once there is one."""

    label: str
    losses: tuple[Loss, ...] = ()
    scores: tuple[Score, ...] = ()
    new: Loss | Score | None = None
    key: str = ""

    def score(self, who: str, epoch: int | None = None) -> Score | None:
        """The last score of a model, or the one after so many epochs."""
        fitting = [s for s in self.scores if s.who == who and (epoch is None or s.epoch == epoch)]
        return fitting[-1] if fitting else None


class Distillations:
    """Distillations over the first database and the teacher of one Services.

    The photos' way through the frozen backbone is kept in memory (about 150 MB for the bundled city), for one teacher.
    """

    def __init__(self, services: Services) -> None:
        self.services = services
        self._halves: tuple[str, Halves] | None = None
        self._keeper: tuple[str, MapKeeper] | None = None
        self._maps: LiveMaps | None = None
        self._shipped: tuple[str, tuple[Score, ...]] | None = None

    def halves(self) -> Halves:
        """The halves of the first database. SciceVPRError where it cannot be cut in two."""
        key, dataset = self.services.dataset(None)
        photos = len(dataset.database) + len(dataset.queries)
        if photos > LARGEST_PHOTOS:
            raise UsageError(
                f"{key} has {photos:,} photos, too many for a demonstration (at most {LARGEST_PHOTOS:,}). Train on it "
                "with the training package instead: python -m training.full_size --help"
            )
        if self._halves is None or self._halves[0] != key:
            self._halves = (key, split_in_halves(dataset))
        return self._halves[1]

    def run(self, recipe: DistillRecipe) -> Generator[Progress, None, None]:
        """Distil; yields a Progress after every step, every epoch and every few photos before the first step. Closing
        the iterator ends the work.

        Raises SciceVPRError: no teacher of size T, a database that cannot be cut in two, an impossible recipe.
        """
        teacher = self._teacher()
        keeper = self._keeper_of(teacher)
        for done, total in keeper.steps() if self._maps is None else ():
            self.services.pace.give_way()
            yield Progress(f"{done} of {total} photos through the frozen backbone, once for all runs")
        maps = self._maps = self._maps or keeper.maps
        work = LiveDistillation(maps, recipe)
        key, extra = secrets.token_urlsafe(16), self._shipped_score(maps)
        steps, turn = work.steps_per_epoch * recipe.epochs, self.services.pace.long()
        for news in work.steps():
            turn.step()
            if isinstance(news, Loss):
                label = f"Epoch {news.epoch} of {recipe.epochs}, step {news.step} of {steps}"
            else:
                label = f"{news.who} measured" if not news.epoch else f"Epoch {news.epoch} of {recipe.epochs} measured"
            if isinstance(news, Score) and news.epoch:
                self._keep(key, work.student)
            known = key if self.services.students.get(key) is not None else ""
            yield Progress(label, tuple(work.losses), (*extra, *work.scores), news, known)

    def student(self, key: str) -> VPRModel:
        """A student by its key. UsageError when it is forgotten."""
        model = self.services.students.get(key)
        if model is None:
            raise UsageError("There is no such student any more. Train one first.")
        return model

    def _teacher(self) -> VPRModel:
        teacher = self.services.model(TEACHER)
        if teacher.variant.channels > LARGEST_CHANNELS:
            raise UsageError(
                f"{teacher.variant.title} is too large for a demonstration in the page, which is for size T. Its own "
                "command stands above: python -m training.full_size"
            )
        return teacher

    def _keeper_of(self, teacher: VPRModel) -> MapKeeper:
        """The one of the last run, whose work is taken up again, unless database or teacher have changed."""
        key, _ = self.services.dataset(None)
        identity = f"{key} {weights_of(teacher)}"
        if self._keeper is None or self._keeper[0] != identity:
            self._keeper, self._maps, self._shipped = (identity, MapKeeper(teacher, self.halves())), None, None
        return self._keeper[1]

    def _shipped_score(self, maps: LiveMaps) -> tuple[Score, ...]:
        """The SciceVPR of the page on the same half, where it stands on the teacher's backbone and convolution."""
        try:
            model = self.services.model(STABLE)
        except SciceVPRError:
            return ()
        identity = weights_of(model)
        if self._shipped is None or self._shipped[0] != identity:  # another model may stand there since the last run
            fits = _same_frozen_part(model, maps.whole)
            self._shipped = identity, (measure(model.variant.title, head_of(model), maps),) if fits else ()
        return self._shipped[1]

    def _keep(self, key: str, student: VPRModel) -> None:
        student.variant = replace(student.variant, title=f"{student.variant.title}, {TRAINED_HERE}")
        self.services.students.put(key, student)


def _same_frozen_part(model: VPRModel, teacher: VPRModel) -> bool:
    parts = [
        ({**m.backbone.state_dict(), **m.fusion.conv.state_dict()} if hasattr(m, "fusion") else {})
        for m in (model, teacher)
    ]
    return parts[0].keys() == parts[1].keys() and all(
        torch.equal(tensor, parts[1][name]) for name, tensor in parts[0].items()
    )
