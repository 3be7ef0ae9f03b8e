"""Recipes: every number of every training stage as frozen dataclasses, with overrides from the command line."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

from scicevpr.errors import UsageError


@dataclass(frozen=True)
class ViewsRecipe:
    """How many views of a photo are kept, and how they are made. View 0 is the photo as it is."""

    views: int = 4
    augmentation: str = "camera"
    seed: int = 0


@dataclass(frozen=True)
class CrossImageRecipe:
    """CricaVPR or Super-CricaVPR at size T, on kept stem maps: multi-similarity loss on mined pairs, Adam, step decay.

    Published: 72 places x 4 photos, Adam 1e-4 halved every 3 epochs, 10 epochs, best Recall@5 on validation.
    ``cities`` bounds how many cities a batch draws from. ``stem_share``: what the fusion's convolution starts with for
    the blocks, where it starts as identity for the stem. ``chunk``: how many photos of a batch attend to each other
    (published: 144). ``keep``: weight of the loss that keeps similarities near those of the stem (not published: what
    the stem knows of real photos is easily lost on drawn ones). ``validate_every`` counts epochs.
    """

    variant: str = "super-cricavpr-t"
    seed: int = 0
    places: int = 48
    photos: int = 4
    cities: int | None = 3
    epochs: int = 8
    lr: float = 5e-4
    decay: float = 0.5
    decay_epochs: int = 3
    warmup: int = 20
    stem_share: float = 0.3
    chunk: int = 48
    keep: float = 3.0
    miner_epsilon: float = 0.1
    validate_every: int = 2


@dataclass(frozen=True)
class DistillRecipe:
    """SciceVPR from a trained Super-CricaVPR: L_T = gamma * L_MS + eta * L_D; published: 1 epoch, gamma = eta = 1.

    ``from_teacher``: token mixers and GeM exponent start as the teacher's (published: fresh). ``keep``: as in
    :class:`CrossImageRecipe`.
    """

    variant: str = "scicevpr-t"
    seed: int = 0
    places: int = 48
    photos: int = 4
    cities: int | None = None
    epochs: int = 1
    lr: float = 1e-4
    decay: float = 0.5
    decay_epochs: int = 3
    gamma: float = 1.0
    eta: float = 1.0
    from_teacher: bool = False
    keep: float = 0.0
    chunk: int | None = 48
    miner_epsilon: float = 0.1
    validate_every: int = 1


@dataclass(frozen=True)
class FullSizeRecipe:
    """Any of the three families on GSV-Cities, by default as published: 72 places x 4 photos, RandAugment with 3
    operations, Adam 1e-4 halved every 3 epochs, 10 epochs (SciceVPR: 1), best Recall@5 on validation.

    ``order``: which places share a batch (:class:`training.batches.BatchPlan`). ``start``: where fresh weights start
    (:func:`training.steps.start_published`). ``best``: which epoch is the best, a name in :data:`BEST_BY`. ``optim``:
    "adam", or "sgd" with the published momentum 0.9 and weight decay 0.001. ``chunk``: how many photos attend to each
    other in the cross-image encoder; the published runs split their 288 photos over 2 GPUs (144 each), while distilling
    over 4 (72). ``gather_negatives``: the loss compares all photos of the batch, as published. ``views``: 0 for fresh
    augmentation every time; with a frozen backbone that many augmented views of a photo can be passed through it once
    and kept. ``data``, ``backbone`` and ``teacher`` are hashes of where the run starts; ``cities`` lists the cities in
    the order of the published batches; ``validation`` names the set.
    """

    variant: str
    seed: int = 0
    pixels: tuple[int, int] = (224, 224)
    places: int = 72
    photos: int = 4
    min_photos: int = 4
    order: str = "published"
    start: str = "published"
    best: str = "r5"
    epochs: int = 10
    optim: str = "adam"
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
    precision: str = "none"
    views: int = 0
    data: str = ""
    cities: str = ""
    backbone: str = ""
    teacher: str = ""
    validation: str = "none"


STARTS = ("published", "fresh")
"""Where fresh weights start: as in the published code, or every layer of the encoder and every weight of the adapters'
convolutions with random numbers of its own."""

BEST_BY: dict[str, tuple[tuple[int, ...], ...]] = {
    "r5": ((5,),), "r1+r5": ((1, 5),), "r5,r1": ((5,), (1,)),
}  # fmt: skip
"""What decides which epoch is the best: values of N whose Recall@N are added; a later entry decides between equals."""

FULL_RECIPES: dict[str, dict[str, str]] = {
    "published": {"order": "published", "start": "published", "best": "r5"},
    "reshuffled": {"order": "reshuffled", "start": "fresh", "best": "r5,r1"},
}
"""``--recipe``: the published one, and ours; CricaVPR's published code compares epochs by "r1+r5"."""

R = TypeVar("R", CrossImageRecipe, DistillRecipe, FullSizeRecipe)


def _parse(text: str, current: Any) -> Any:
    if text == "none":
        return None
    if isinstance(current, bool):
        return {"true": True, "false": False}[text.lower()]
    if isinstance(current, tuple):
        return tuple(int(n) for n in text.split("x"))
    kind = int if current is None else type(current)
    return kind(text)


def override(recipe: R, assignments: list[str]) -> R:
    """Apply ``name=value`` overrides, e.g. ``["lr=2e-4", "phases=112x500,224x50"]``. Raises UsageError: an unknown name
    or a value of the wrong kind."""
    names = [f.name for f in fields(recipe)]
    changes: dict[str, Any] = {}
    for assignment in assignments:
        name, _, text = assignment.partition("=")
        if name not in names:
            raise UsageError(f"{type(recipe).__name__} has no {name!r}. It has: {', '.join(names)}.")
        try:
            changes[name] = _parse(text, getattr(recipe, name))
        except (KeyError, TypeError, ValueError):
            raise UsageError(f"{name}={text!r} is no valid value; the recipe has {getattr(recipe, name)!r}.") from None
    return replace(recipe, **changes)


def differences(there: dict[str, Any], here: dict[str, Any]) -> str:
    """What two records differ in: ``lr 0.0001 there, 0.0002 here``; empty where nothing does."""
    names = [name for name in there | here if there.get(name) != here.get(name)]
    return "; ".join(f"{name} {there.get(name)!s:.60} there, {here.get(name)!s:.60} here" for name in names)


SHIPPED_VIEWS = ViewsRecipe()
SHIPPED_SUPER = CrossImageRecipe()
SHIPPED_DISTILL = DistillRecipe(
    epochs=8, lr=1e-3, decay_epochs=3, cities=3, from_teacher=True, keep=5.0, validate_every=2
)
SHIPPED_CRICA = CrossImageRecipe(variant="cricavpr-t", epochs=4, decay_epochs=2, keep=0.0)
"""The recipes of the weights in ``assets/weights``; ``python -m training.family`` runs them."""
