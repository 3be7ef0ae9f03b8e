"""The models behind the page: one room a role, filled on first use and, on request, with another model."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from app.records import ModelState
from scicevpr.config import VARIANTS
from scicevpr.errors import SciceVPRError, UsageError, WeightsError
from scicevpr.models.model import VPRModel

STABLE, BASELINE, TEACHER, THIRD = "stable", "baseline", "teacher", "third"
ROLE_WORDS = {
    STABLE: "SciceVPR's column",
    BASELINE: "the baseline's column",
    TEACHER: "the teacher (Inside, Stability)",
    THIRD: "a third column",
}
ModelLoader = Callable[[], VPRModel]


@dataclass
class _Room:
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


class ModelSlots:
    """Models by role. ``models``: for each role a name (a variant's, or words for the page) and a loading function."""

    def __init__(self, models: Mapping[str, tuple[str, ModelLoader]]) -> None:
        self._first = dict(models)
        self._rooms = {role: _Room(name, load) for role, (name, load) in models.items()}
        self._lock = threading.Lock()  # of the dictionary; never held while something is loaded

    @property
    def roles(self) -> tuple[str, ...]:
        """The roles that are filled, in order."""
        with self._lock:
            return tuple(self._rooms)

    def model(self, role: str) -> VPRModel:
        """The model of a role, loaded on first use. Raises SciceVPRError (each time) when it cannot be loaded."""
        with self._lock:
            room = self._rooms.get(role) if isinstance(role, str) else None
        if room is None:
            raise UsageError(f"There is no model {str(role)[:60]!r} here. Choose one of: {', '.join(self.roles)}.")
        with room.loading:
            if room.model is None and room.error is None:
                try:
                    room.model = room.load()
                except SciceVPRError as error:
                    room.error = error
                except (OSError, RuntimeError) as error:  # RuntimeError: torch, about an absent device
                    room.error = WeightsError(f"{room.title} could not be loaded: {error}.")
        if room.error is not None:
            raise room.error
        return room.model

    def replace(self, role: str, name: str, load: ModelLoader) -> VPRModel:
        """Load another model for a role; the old one stays when that fails.

        Raises:
            UsageError: an unknown role, or a model whose kind the role cannot have: the first column shows a model
            whose descriptors depend on their own photo alone, the baseline one whose descriptors do not.
        """
        if not isinstance(role, str) or role not in ROLE_WORDS:
            raise UsageError(f"There is no role {str(role)[:60]!r}. Choose one of: {', '.join(ROLE_WORDS)}.")
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
        with self._lock:
            self._rooms[role] = _Room(name, load, model)
        return model

    def reset(self, role: str) -> None:
        """Back to the model that the role had at the start; a role that was empty becomes empty again."""
        with self._lock:
            if role in self._first:
                self._rooms[role] = _Room(*self._first[role])
            else:
                self._rooms.pop(role, None)

    def states(self) -> list[ModelState]:
        """All models as they are now, without waiting for any loading."""
        with self._lock:
            rooms = list(self._rooms.items())
        return [_state(role, room) for role, room in rooms]


def _state(role: str, room: _Room) -> ModelState:
    if room.error is not None:
        return ModelState(role, room.name, room.title, "missing", message=str(room.error))
    if room.model is None:
        return ModelState(role, room.name, room.title, "waiting")
    weights = room.model.weights
    if weights is None:
        return ModelState(role, room.name, room.title, "ready", weights="random")
    return ModelState(role, room.name, room.title, "ready", weights.trained, weights.sha256, weights.trained_on)


def weights_of(model: VPRModel) -> str:
    """What tells a model from every other: its variant and the hash of its weights."""
    return f"{model.variant.name} {model.weights.sha256 if model.weights else f'random {id(model)}'}"
