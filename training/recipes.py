"""Recipes: every number of every training stage as frozen dataclasses, with overrides from the command line."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

from scicevpr.errors import UsageError


@dataclass(frozen=True)
class Phase:
    """A stretch of pretraining at one input size, written ``PIXELSxSTEPS[xPLACES[xROOMS[xCITIES]]]`` on a command line.

    A batch shows ``places`` places of the city and ``rooms`` procedural rooms. ``cities`` bounds how many cities it
    draws from (None: any): fewer cities leave only near places to tell apart.
    """

    pixels: int
    steps: int
    places: int = 24
    rooms: int = 0
    cities: int | None = None


@dataclass(frozen=True)
class PretrainRecipe:
    """A T backbone by supervised InfoNCE over places: from scratch, or from an earlier run with ``--start``.

    ``stop`` ends a run early; its rate follows the schedule of all phases. ``hard_weather`` is how much more often a
    photo with snow, fog or night is shown than another of its place.
    """

    seed: int = 0
    phases: tuple[Phase, ...] = (Phase(112, 750), Phase(168, 80, cities=2), Phase(224, 40, cities=2))
    photos: int = 4
    temperature: float = 0.07
    class_token_weight: float = 0.5
    mirror: float = 0.5
    lr: float = 6e-4
    last_lr: float = 1e-5
    warmup: int = 30
    weight_decay: float = 0.05
    ema: float = 0.99
    hard_weather: float = 1.0
    validate_every: int = 200
    save_every: int = 100
    stop: int | None = None


@dataclass(frozen=True)
class CrossImageRecipe:
    """The published recipe of CricaVPR and Super-CricaVPR: multi-similarity loss on mined pairs, Adam, step decay.

    Published: 72 places x 4 photos, Adam 1e-4 halved every 3 epochs, RandAugment with 3 operations, 10 epochs, best
    Recall@5 on validation. ``views`` is 0 for fresh augmentation every step; with a frozen backbone a fixed number of
    augmented views can be passed through it once and kept. ``validate_every`` counts epochs.
    """

    variant: str = "super-cricavpr-t"
    seed: int = 0
    pixels: int = 224
    places: int = 72
    photos: int = 4
    cities: int | None = None
    epochs: int = 10
    lr: float = 1e-4
    decay: float = 0.5
    decay_epochs: int = 3
    operations: int = 3
    miner_epsilon: float = 0.1
    views: int = 0
    validate_every: int = 1


@dataclass(frozen=True)
class DistillRecipe:
    """SciceVPR from a trained Super-CricaVPR: L_T = gamma * L_MS + eta * L_D; published: 1 epoch, gamma = eta = 1."""

    variant: str = "scicevpr-t"
    seed: int = 0
    places: int = 72
    photos: int = 4
    cities: int | None = None
    epochs: int = 1
    lr: float = 1e-4
    decay: float = 0.5
    decay_epochs: int = 3
    gamma: float = 1.0
    eta: float = 1.0
    operations: int = 3
    miner_epsilon: float = 0.1
    views: int = 1
    validate_every: int = 1


@dataclass(frozen=True)
class FullSizeRecipe:
    """Any of the three families on GSV-Cities, as published: 72 places x 4 photos of one city, RandAugment with 3
    operations, Adam 1e-4 halved every 3 epochs, 10 epochs (SciceVPR: 1), best Recall@5 on validation.

    ``chunk``: how many photos attend to each other in the cross-image encoder; the published runs split their 288
    photos over 2 GPUs (144 each), while distilling over 4 (72). ``gather_negatives``: the loss compares all photos of
    the batch, as published. ``repeat_batches``: every epoch has the same batches, as published. ``views``: 0 for fresh
    augmentation every time; with a frozen backbone that many augmented views of a photo can be passed through it once
    and kept. ``data``, ``backbone`` and ``teacher`` are hashes of where the run starts; ``validation`` names the set.
    """

    variant: str
    seed: int = 0
    pixels: tuple[int, int] = (224, 224)
    places: int = 72
    photos: int = 4
    min_photos: int = 4
    epochs: int = 10
    lr: float = 1e-4
    decay: float = 0.5
    decay_epochs: int = 3
    patience: int = 10
    operations: int = 3
    miner_epsilon: float = 0.1
    gamma: float = 1.0
    eta: float = 1.0
    chunk: int = 144
    gather_negatives: bool = True
    repeat_batches: bool = False
    precision: str = "none"
    views: int = 0
    data: str = ""
    backbone: str = ""
    teacher: str = ""
    validation: str = "none"


R = TypeVar("R", PretrainRecipe, CrossImageRecipe, DistillRecipe, FullSizeRecipe)


def _parse(field_name: str, text: str, current: Any) -> Any:
    if field_name == "phases":
        return tuple(Phase(*(int(n) for n in part.split("x"))) for part in text.split(","))
    if text == "none":
        return None
    if isinstance(current, bool):
        return {"true": True, "false": False}[text.lower()]
    if isinstance(current, tuple):
        return tuple(int(n) for n in text.split("x"))
    kind = int if current is None else type(current)
    return kind(text)


def override(recipe: R, assignments: list[str]) -> R:
    """Apply ``name=value`` overrides, e.g. ``["lr=2e-4", "phases=112x500,224x50"]``.

    Raises:
        UsageError: an unknown name or a value of the wrong kind.
    """
    names = [f.name for f in fields(recipe)]
    changes: dict[str, Any] = {}
    for assignment in assignments:
        name, _, text = assignment.partition("=")
        if name not in names:
            raise UsageError(f"{type(recipe).__name__} has no {name!r}. It has: {', '.join(names)}.")
        try:
            changes[name] = _parse(name, text, getattr(recipe, name))
        except (KeyError, TypeError, ValueError):
            raise UsageError(f"{name}={text!r} is no valid value; the recipe has {getattr(recipe, name)!r}.") from None
    return replace(recipe, **changes)


SHIPPED_FIRST = PretrainRecipe(
    phases=(Phase(112, 450), Phase(112, 300, cities=2), Phase(168, 80, cities=2), Phase(224, 40, cities=2)), ema=0.0
)
SHIPPED_ROOMS = PretrainRecipe(phases=(Phase(112, 900, places=0, rooms=24),), lr=5e-4, last_lr=5e-5, stop=600)
SHIPPED_CITY = PretrainRecipe(
    phases=(
        Phase(112, 360, places=24, rooms=6, cities=4),
        Phase(112, 200, places=26, rooms=4, cities=2),
        Phase(168, 110, places=24, rooms=2, cities=2),
        Phase(224, 50, places=24, cities=2),
    ),
    lr=6e-4,
    last_lr=2e-5,
    validate_every=180,
)
SHIPPED_PRETRAIN = PretrainRecipe(
    phases=(Phase(168, 440, places=24, rooms=3, cities=2), Phase(224, 320, places=22, rooms=2, cities=2)),
    lr=4e-4,
    hard_weather=2.0,
    validate_every=110,
    save_every=55,
)
SHIPPED_SUPER = CrossImageRecipe(
    variant="super-cricavpr-t", views=2, epochs=8, lr=5e-4, decay_epochs=4, validate_every=2
)
SHIPPED_DISTILL = DistillRecipe(views=2, epochs=6, lr=1e-3, decay_epochs=2, validate_every=2)
SHIPPED_CRICA = CrossImageRecipe(variant="cricavpr-t", pixels=168, places=36, epochs=3, lr=1e-3, decay_epochs=1)
"""The recipes of the weights in ``assets/weights``; ``python -m training.family`` runs them.

An epoch of ProCity's 1,408 training places has 19 steps, one of GSV-Cities about 870: hence more epochs, a higher rate.
"""
