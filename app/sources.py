"""Other models and other databases than the page started with: any weights for a column, any database pack.

What is loaded here serves everybody who has the page open, so a public server keeps it locked.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from app.records import ModelState
from app.rooms import ROLE_WORDS
from app.services import Services
from scicevpr.errors import UsageError
from scicevpr.models.model import VPRModel
from scicevpr.packs import FoundPack, list_packs, open_pack, pull_pack

Progress = Callable[[int, int], None]
LoadWeights = Callable[..., VPRModel]
"""Called with (source, variant=, trust=, progress=)."""


class Sources:
    """Changes to a running Services.

    load: turns a source of weights into a model. locked: refuse every change. may_trust: whoever started the program
    allows code of other people's repositories; without it no visitor can.
    """

    def __init__(self, services: Services, load: LoadWeights, locked: bool = False, may_trust: bool = False) -> None:
        self.services = services
        self.locked = locked
        self.may_trust = may_trust
        self._load = load

    def load_weights(
        self, role: str, source: str, variant: str | None = None, trust: bool = False, progress: Progress | None = None
    ) -> ModelState:
        """Load other weights for a column; the model that stands there stays when that fails.

        source: a variant, a path, a URL, a Hub repository, or a known model of others. trust: code of other people's
        repositories may be run, if the program was started so. progress: called with (bytes done, bytes in all) while
        something is downloaded.

        Raises:
            SciceVPRError: with a message for the visitor.
        """
        self._check_unlocked()
        source = str(source or "").strip()
        if not source:
            raise UsageError("There is no source yet. Write a path, a URL, a Hub repository or a model's name.")
        if role not in ROLE_WORDS:
            raise UsageError(f"There is no column {role!r}. Choose one of: {', '.join(ROLE_WORDS)}.")

        def load() -> VPRModel:
            return self._load(source, variant=variant or None, trust=trust and self.may_trust, progress=progress)

        self.services.rooms.replace(role, source, load)
        return next(state for state in self.services.model_states() if state.role == role)

    def show(self, role: str, name: str, model: VPRModel) -> ModelState:
        """Put a model that was made here into a column. UsageError where the page is locked, or it does not fit."""
        self._check_unlocked()
        self.services.rooms.replace(role, name, lambda: model)
        return next(state for state in self.services.model_states() if state.role == role)

    def reset(self, role: str) -> None:
        """Back to the model that the page started with; the third column goes when it was empty then."""
        self._check_unlocked()
        self.services.rooms.reset(role)

    def packs(self) -> list[FoundPack]:
        """The packs on this machine: built here, or downloaded before."""
        return list_packs()

    def open_pack(self, source: str, photos: str = "") -> str:
        """Offer a pack as a database; returns its display name.

        source: a pack's folder, or the name of a Hub data set repository, which is downloaded into the Hub's cache.
        photos: folder with the pack's photos, where it came without them.

        Raises:
            SciceVPRError: with a message for the visitor.
        """
        self._check_unlocked()
        source = str(source or "").strip()
        if not source:
            raise UsageError("There is no pack yet. Choose one, or write a folder or the name of a Hub data set.")
        folder = Path(source).expanduser()
        if not folder.is_dir():
            folder = pull_pack(source).folder
        pack = open_pack(folder, photos=Path(photos.strip()).expanduser() if photos.strip() else None)
        return self.services.add_database(pack.title, pack.dataset, pack.descriptors)

    def _check_unlocked(self) -> None:
        if self.locked:
            raise UsageError(
                "This server is shared, so nobody can change its models and databases. Run the studio on your own "
                "machine (scripts/demo) to load other weights and packs."
            )
