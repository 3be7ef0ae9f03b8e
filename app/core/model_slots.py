"""The models behind the page: one slot a role, filled on first use and, on request, with another model."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from scicevpr.config import VARIANTS
from scicevpr.descriptors.precision import Choice, best_mode, obstacle
from scicevpr.errors import SciceVPRError, UsageError, WeightsError
from scicevpr.models.model import VPRModel

STABLE, BASELINE, TEACHER, THIRD = "stable", "baseline", "teacher", "third"
ROLES = {
    STABLE: "SciceVPR's column",
    BASELINE: "the baseline's column",
    TEACHER: "the teacher (Inside, Stability)",
    THIRD: "a third column",
}
"""What each role is called on the page and on the command line."""
FULL_PRECISION = "float32"
PRECISIONS = (FULL_PRECISION, "auto", "bfloat16", "int8")
ModelLoader = Callable[[], VPRModel]


@dataclass(frozen=True)
class ModelState:
    """A model as the page sees it. role: one of ROLES; state: "waiting", "ready" or "missing"; message: what went wrong
    and what to do, for a missing model."""

    role: str
    name: str
    title: str
    state: str
    trained: bool = False
    weights: str = ""
    trained_on: str = ""
    message: str = ""

    def to_json(self) -> dict[str, Any]:
        """The record as plain JSON values."""
        return asdict(self)


@dataclass
class _Slot:
    """A model being loaded: its name, its loader, and what came of it."""

    name: str
    load: ModelLoader
    model: VPRModel | None = None
    error: SciceVPRError | None = None
    loading: threading.Lock = field(default_factory=threading.Lock)

    @property
    def title(self) -> str:
        if self.model is not None:
            return self.model.variant.title
        return VARIANTS[self.name].title if self.name in VARIANTS else self.name

    def state(self, role: str) -> ModelState:
        if self.error is not None:
            return ModelState(role, self.name, self.title, "missing", message=str(self.error))
        if self.model is None:
            return ModelState(role, self.name, self.title, "waiting")
        weights = self.model.weights
        if weights is None:
            return ModelState(role, self.name, self.title, "ready", weights="random")
        return ModelState(role, self.name, self.title, "ready", weights.trained, weights.sha256, weights.trained_on)


class ModelSlots:
    """Models by role. models: for each role a name (a variant's, or words for the page) and a loading function."""

    def __init__(self, models: Mapping[str, tuple[str, ModelLoader]]) -> None:
        self._first = dict(models)
        self._slots = {role: _Slot(name, load) for role, (name, load) in models.items()}
        self._lock = threading.Lock()  # of the dictionary; never held while something is loaded

    @property
    def roles(self) -> tuple[str, ...]:
        """The roles that are filled, in order."""
        with self._lock:
            return tuple(self._slots)

    def model(self, role: str) -> VPRModel:
        """The model of a role, loaded on first use. Raises SciceVPRError (each time) when it cannot be loaded."""
        with self._lock:
            slot = self._slots.get(role) if isinstance(role, str) else None
        if slot is None:
            raise UsageError(f"There is no model {str(role)[:60]!r} here. Choose one of: {', '.join(self.roles)}.")
        with slot.loading:
            if slot.error is not None:
                raise slot.error
            if slot.model is None:
                try:
                    slot.model = slot.load()
                except SciceVPRError as error:
                    slot.error = error
                    raise
                except (OSError, RuntimeError) as error:  # RuntimeError: torch, about an absent device
                    slot.error = WeightsError(f"{slot.title} could not be loaded: {error}.")
                    raise slot.error from error
            return slot.model

    def peek(self, role: str) -> VPRModel | None:
        """The model of a role if it is there and loaded."""
        with self._lock:
            slot = self._slots.get(role)
        return None if slot is None else slot.model

    def replace(self, role: str, name: str, load: ModelLoader) -> ModelState:
        """Load another model for a role; the old one stays when that fails.

        Raises UsageError: an unknown role, or a model whose kind the role cannot have: the first column shows a model
        whose descriptors depend on their own photo alone, the baseline one whose descriptors do not.
        """
        if not isinstance(role, str) or role not in ROLES:
            raise UsageError(f"There is no column {str(role)[:60]!r}. Choose one of: {', '.join(ROLES)}.")
        model = load()
        cross_image = model.variant.cross_image
        if role == STABLE and cross_image:
            raise UsageError(
                f"{model.variant.title} depends on the photos of its batch, so it cannot stand in the SciceVPR column. "
                "Load it as the baseline or as the third column."
            )
        if role in (BASELINE, TEACHER) and not cross_image:
            raise UsageError(
                f"{model.variant.title} does not depend on the photos of its batch, so it is no cross-image baseline. "
                "Load it in the SciceVPR column or as the third column."
            )
        slot = _Slot(name, load, model)
        with self._lock:
            self._slots[role] = slot
        return slot.state(role)

    def reset(self, role: str) -> None:
        """Back to the model that the role had at the start; a role that was empty becomes empty again."""
        with self._lock:
            if role in self._first:
                self._slots[role] = _Slot(*self._first[role])
            else:
                self._slots.pop(role, None)

    def states(self) -> list[ModelState]:
        """All models as they are now, without waiting for any loading."""
        with self._lock:
            slots = list(self._slots.items())
        return [slot.state(role) for role, slot in slots]


def weights_of(model: VPRModel) -> str:
    """What tells a model from every other: its variant and the hash of its weights."""
    return f"{model.variant.name} {model.weights.sha256 if model.weights else f'random {id(model)}'}"


def chosen_mode(wanted: str, model: VPRModel, stored: bool = False) -> Choice:
    """In which precision Find describes photos, and why. wanted: one of PRECISIONS; stored: the database's descriptors
    are given, in float32.

    By default float32, as in every other tab, so that the same similarity has the same digits everywhere. What this
    machine or this model cannot do becomes float32, and the reason says so.
    """
    if wanted == FULL_PRECISION:
        return Choice(FULL_PRECISION, "float32, as in all tabs")
    if stored:
        return Choice(FULL_PRECISION, "float32, as the opened pack")
    if wanted == "auto":
        return best_mode(model)
    reason = obstacle(wanted) if isinstance(model, VPRModel) else "a model of other people is run as it comes"
    return Choice(FULL_PRECISION, reason) if reason else Choice(wanted, f"{wanted}, as asked for at the start")
