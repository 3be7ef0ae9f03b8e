"""How it works, without any web framework: every part's tensors, what it has learned, and the code behind it."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from app.core.services import Services
from app.core.values import whole_number
from app.tabs.how_it_works.architecture import FAMILIES, PARTS, SIZES, Part, get_part
from scicevpr.config import ENCODER_HEADS, REGION_COUNT, Variant, get_variant
from scicevpr.errors import UsageError
from scicevpr.explanations.explanation import tensor_shapes
from scicevpr.models.model import build_model

ROOT = Path(__file__).resolve().parents[3]
MAX_PHOTOS = 32
_KEYS = tuple(part.key for part in PARTS)
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Walk:
    """A batch's way through a variant: tensors (what, shape) and learned numbers of every part, by its key."""

    variant: Variant
    photos: int
    tensors: dict[str, tuple[tuple[str, Shape], ...]]
    learned: dict[str, int]

    @property
    def total(self) -> int:
        """All learned numbers of the model."""
        return sum(self.learned.values())

    def output(self, key: str) -> Shape | None:
        """Shape of what leaves a part; None for a part that the model lacks."""
        return self.tensors[key][-1][1] if self.tensors[key] else None


@dataclass(frozen=True)
class Code:
    """Where something is implemented. path: from the root of the project; line: the first one; text: the source."""

    name: str
    path: str
    line: int
    text: str


@dataclass(frozen=True)
class Explained:
    """Everything about one part of one variant."""

    part: Part
    present: bool
    what: str
    formula: str
    tensors: tuple[tuple[str, Shape], ...]
    learned: int
    code: tuple[Code, ...]


@lru_cache(maxsize=64)
def walk(variant: Variant, photos: int) -> Walk:
    """Take a batch through the real model on torch's meta device: true shapes, no numbers, next to no time or memory.

    Search is not in it: its shapes depend on the database.
    """
    with torch.device("meta"):
        model = build_model(variant.name)
        x = torch.empty(photos, 3, *variant.preprocessing.size)
        trace = model.trace(x)
    by_step: dict[str, list[tuple[str, Shape]]] = {part.step: [] for part in PARTS}
    for step, what, shape in tensor_shapes(trace, variant, tuple(x.shape)):
        by_step[step].append((what, shape))
    tensors = {part.key: tuple(by_step[part.step]) for part in PARTS}
    if variant.class_token:
        tensors["backbone"] += tensors["fusion"]
        tensors["fusion"] = ()
    meet = (REGION_COUNT, ENCODER_HEADS, photos, photos)
    seen: tuple[str, Shape]
    if variant.cross_image:
        seen = (f"who reads whom, each of {len(trace.attention)} layers: region, head, photo, photo", meet)
    else:
        seen = ("fed as sequences of length 1", (1, REGION_COUNT * photos, variant.channels))
    tensors["encoder"] = (seen, *tensors["encoder"])
    learned = {part.key: _learned(model, part.module) for part in PARTS}
    return Walk(variant, photos, tensors, learned)


def _learned(model: torch.nn.Module, name: str) -> int:
    """Learned numbers of a module; 0 for no name, or for a module that the model lacks."""
    found = dict(model.named_modules()).get(name) if name else None
    return 0 if found is None else sum(weight.numel() for weight in found.parameters())


def code_of(target: Callable) -> Code:
    """File, line and source of a class or function of the package."""
    lines, line = inspect.getsourcelines(target)
    path = Path(inspect.getsourcefile(target)).resolve()
    shown = path.relative_to(ROOT) if path.is_relative_to(ROOT) else Path(*path.parts[-3:])
    return Code(target.__qualname__, shown.as_posix(), line, textwrap.dedent("".join(lines)))


class Learning:
    """The How it works page over one Services, whose first database gives the search its size."""

    def __init__(self, services: Services) -> None:
        self.services = services

    def outline(self, family: str, size: str, photos: int) -> Walk:
        """A way that nothing has gone yet, to be drawn at once: no tensors, nothing counted."""
        return Walk(get_variant(f"{family}-{size}"), photos, dict.fromkeys(_KEYS, ()), dict.fromkeys(_KEYS, 0))

    def walk(self, family: Any, size: Any, photos: Any) -> Walk:
        """The way of a batch through a model. UsageError for a family, size or number of photos that is not there."""
        if not isinstance(family, str) or family not in FAMILIES:
            raise UsageError(f"There is no model family {repr(family)[:60]}. Choose one of: {', '.join(FAMILIES)}.")
        if size not in SIZES:
            raise UsageError(f"There is no size {repr(size)[:60]}. Choose one of: {', '.join(SIZES)}.")
        count = whole_number(photos, "The batch", 1, MAX_PHOTOS)
        found = walk(get_variant(f"{family}-{size}"), count)
        return Walk(found.variant, count, {**found.tensors, "search": self._search(found)}, found.learned)

    def explain(self, walked: Walk, key: Any) -> Explained:
        """One part of a model. UsageError for a part that is not there."""
        if key not in _KEYS:
            raise UsageError(f"There is no part {repr(key)[:60]}. Choose one of: {', '.join(_KEYS)}.")
        part, family = get_part(key), walked.variant.family
        return Explained(
            part=part,
            present=family in part.families,
            what=part.whats.get(family, part.what),
            formula=part.formulas.get(family, part.formula),
            tensors=walked.tensors[key],
            learned=walked.learned[key],
            code=tuple(code_of(target) for target in part.codes.get(family, part.code)),
        )

    def _search(self, walked: Walk) -> tuple[tuple[str, Shape], ...]:
        name, dataset = next(iter(self.services.datasets.items()), ("a database of 1,000 photos", None))
        photos = 1000 if dataset is None else len(dataset.database)
        return (
            (f"descriptors of the database ({name})", (photos, walked.variant.descriptor_dim)),
            ("similarities of every query to every photo", (walked.photos, photos)),
        )
