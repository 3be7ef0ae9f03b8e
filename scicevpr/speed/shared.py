"""Several models on the same photos: each photo is read once, and models with the same backbone share its pass."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from scicevpr.config import Preprocessing
from scicevpr.describe import Descriptors, Grouping, default_grouping, describe, encode, grouping_label, require_weights
from scicevpr.errors import UsageError
from scicevpr.grouping import DEFAULT_SEQUENTIAL
from scicevpr.models.model import VPRModel
from scicevpr.photo_batches import DEFAULT_WORKERS, photo_batches
from scicevpr.speed.folding import FoldedModel
from scicevpr.speed.precision import precision_words, runner


def describe_many(
    models: Sequence[VPRModel],
    images: Sequence[Any] | Tensor,
    *,
    groupings: Sequence[Grouping | None] | None = None,
    precisions: Sequence[str] | str = "float32",
    preprocessing: Preprocessing | None = None,
    batch_size: int = DEFAULT_SEQUENTIAL,
    num_workers: int = DEFAULT_WORKERS,
    progress: Callable[[int, int], None] | None = None,
) -> list[Descriptors]:
    """Describe photos with several models in one pass: the descriptors of `describe`, up to rounding, in memory.

    What a photo gives before the encoder does not depend on its batch, so photos go through the backbones in batches of
    `batch_size` and only the encoders see the groupings. Models share a pass through the backbone where its tensors
    are equal and so is the precision (Super-CricaVPR and the SciceVPR that it taught).

    Args:
        models: loaded models, of other people too (those are described one after the other).
        groupings: which photos share a batch, for each model (default: as `describe`).
        precisions: a mode for all or one for each model, see `scicevpr.speed.precision`.
        preprocessing: for all; default: each variant's own. The other arguments and the errors are those of `describe`.

    Returns:
        One :class:`~scicevpr.describe.Descriptors` for each model. `seconds` is the time of the whole pass.
    """
    groupings = list(groupings) if groupings is not None else [None] * len(models)
    modes = [precisions] * len(models) if isinstance(precisions, str) else list(precisions)
    if not len(models) == len(groupings) == len(modes):
        raise UsageError(f"{len(models)} models, {len(groupings)} groupings and {len(modes)} precisions do not fit.")
    groupings = [own or default_grouping(model.variant) for own, model in zip(groupings, models, strict=True)]
    facts = [require_weights(model) for model in models]
    started = time.perf_counter()
    together: dict[Preprocessing, list[int]] = {}
    result: list[Descriptors | None] = [None] * len(models)
    steps = _Steps(len(models), len(images), progress)
    for at, model in enumerate(models):
        chosen = preprocessing or model.variant.preprocessing
        if isinstance(model, VPRModel):
            together.setdefault(chosen, []).append(at)
        else:
            options = {"preprocessing": chosen, "precision": modes[at], "num_workers": num_workers}
            result[at] = describe(model, images, grouping=groupings[at], progress=steps.of(1), **options)
    for chosen, rows in together.items():
        runners = [runner(models[at], modes[at]) for at in rows]
        regions = _regions(runners, _owners(models, modes, rows), images, chosen, batch_size, num_workers, steps)
        for at, part in zip(rows, regions, strict=True):
            (sha, trained), model = facts[at], models[at]
            result[at] = Descriptors(
                values=encode(model, part, groupings[at] or Grouping.sequential(batch_size)),
                variant=model.variant.name,
                fingerprint=model.variant.fingerprint,
                weights=sha,
                trained=trained,
                grouping=grouping_label(groupings[at], 1),
                preprocessing=asdict(chosen),
                device=str(next(model.parameters()).device),
                dtype=precision_words(modes[at]),
                seconds=time.perf_counter() - started,
            )
    return [described for described in result if described is not None]


def _regions(
    runners: Sequence[FoldedModel],
    owners: Sequence[int],
    images: Sequence[Any] | Tensor,
    preprocessing: Preprocessing,
    batch_size: int,
    workers: int,
    steps: _Steps,
) -> list[Tensor]:
    """Region vectors [N, 14, C] for each model; owners[i]: whose trunk model i uses."""
    groups = Grouping.sequential(batch_size).split(len(images))
    parts: list[list[Tensor]] = [[] for _ in runners]
    step = steps.of(len(runners))
    with torch.inference_mode():
        done = 0
        for group, batch in zip(groups, photo_batches(images, groups, preprocessing, workers=workers), strict=True):
            maps: dict[int, list[Tensor]] = {}
            for at, own in enumerate(runners):
                owner = owners[at]
                if owner not in maps:
                    trunk = runners[owner].trunk
                    maps[owner] = trunk(batch.to(trunk.token.device))
                grid = runners[owner].trunk.grid_of(batch)
                parts[at].append(own.head.regions(maps[owner], grid).cpu())
            done += len(group)
            step(done, len(images))
    return [torch.cat(part) for part in parts]


def _owners(models: Sequence[VPRModel], modes: Sequence[str], rows: Sequence[int]) -> list[int]:
    """For each of the rows the first among them with the same backbone, taps, precision and device."""
    owners: list[int] = []
    for at in range(len(rows)):
        owners.append(next((o for o in dict.fromkeys(owners) if _same(models, modes, rows[o], rows[at])), at))
    return owners


def _same(models: Sequence[VPRModel], modes: Sequence[str], a: int, b: int) -> bool:
    one, other = models[a], models[b]
    if modes[a] != modes[b] or one.variant.taps != other.variant.taps:
        return False
    mine, theirs = one.backbone.state_dict(), other.backbone.state_dict()
    return mine.keys() == theirs.keys() and all(
        mine[key].device == theirs[key].device and torch.equal(mine[key], theirs[key]) for key in mine
    )


class _Steps:
    """Photos done, counted over all models as if they were one."""

    def __init__(self, models: int, photos: int, progress: Callable[[int, int], None] | None) -> None:
        self.models, self.photos, self.progress, self.before = max(1, models), photos, progress, 0

    def of(self, count: int) -> Callable[[int, int], None]:
        start = self.before
        self.before += count

        def step(done: int, total: int) -> None:
            if self.progress is not None:
                self.progress((start * self.photos + count * done) // self.models, self.photos)

        return step
