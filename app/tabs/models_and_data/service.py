"""Other models and other databases than the page started with: any weights for a column, any database pack.

What is loaded here serves everybody who has the page open, so a public server keeps it locked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from app.core.model_slots import ModelState
from app.core.services import Services
from app.real_photos import open_set
from scicevpr.datasets.sources import find_source
from scicevpr.errors import UsageError
from scicevpr.external_models.registry import is_external, parse_source
from scicevpr.models.model import VPRModel
from scicevpr.packs import open_pack
from scicevpr.packs.sharing import pull_pack
from scicevpr.progress import StageProgress

Progress = Callable[[int, int], None]
LoadWeights = Callable[..., VPRModel]
"""Called with (source, variant=, trust=, progress=)."""


class Sources:
    """Changes to a running Services.

    load: turns a source of weights into a model. locked: refuse every change. trusted: sources of other people's code
    that whoever started the program named; from the page nothing else of that kind is loaded. may_read_folders: photos
    of a pack may be in a folder of this machine, as in My places.
    """

    def __init__(
        self, services: Services, load: LoadWeights, locked: bool = False, trusted: Sequence[str] = (),
        may_read_folders: bool = False,
    ) -> None:  # fmt: skip
        self.services = services
        self.locked = locked
        self.trusted = tuple(trusted)
        self.may_read_folders = may_read_folders
        self._load = load

    def load_weights(
        self, role: str, source: str, variant: str | None = None, trust: bool = False, progress: Progress | None = None
    ) -> ModelState:
        """Load other weights for a column; the model that stands there stays when that fails.

        source: a variant, a path, a URL, a Hub repository, or a known model of others. trust: code of other people's
        repositories may be run, if this very source was named when the program was started. progress: called with
        (bytes done, bytes in all) while something is downloaded.

        Raises SciceVPRError: with a message for the visitor.
        """
        self._check_unlocked()
        source = _given(source, "There is no source yet. Write a path, a URL, a Hub repository or a model's name.")
        check_code(source, self.trusted)

        def load() -> VPRModel:
            return self._load(source, variant=variant or None, trust=trust and bool(self.trusted), progress=progress)

        return self.services.slots.replace(role, source, load)

    def reset(self, role: str) -> None:
        """Back to the model that the page started with; the third column goes when it was empty then."""
        self._check_unlocked()
        self.services.slots.reset(role)

    def open_pack(self, source: str, photos: str = "") -> str:
        """Offer a pack as a database; returns its display name.

        source: a pack's folder, or the name of a Hub data set repository, which is downloaded into the Hub's cache.
        photos: folder with the pack's photos, where it came without them and folders may be read.

        Raises SciceVPRError: with a message for the visitor.
        """
        self._check_unlocked()
        if photos.strip() and not self.may_read_folders:
            raise UsageError(
                "This page does not read folders of photos. Open the pack without them, or start the studio with "
                "--my-folder."
            )
        source = _given(source, "There is no pack yet. Choose one, or write a folder or the name of a Hub data set.")
        folder = Path(source).expanduser()
        if not folder.is_dir():
            folder = pull_pack(source).folder
        pack = open_pack(folder, photos=Path(photos.strip()).expanduser() if photos.strip() else None)
        return self.services.add_database(pack.title, pack.dataset, pack.searchable)

    def get_set(self, key: str, licence_accepted: bool, progress: StageProgress | None = None) -> str:
        """Get a data set of real photos and offer it as a database; returns its display name. progress: called with
        (stage, done, in all). SciceVPRError: with a message for the visitor."""
        self._check_unlocked()
        source = find_source(_given(key, "Choose a data set first."))
        return self.services.add_database(source.title, open_set(source, licence_accepted, progress))

    def _check_unlocked(self) -> None:
        if self.locked:
            raise UsageError(
                "This server is shared, so nobody can change its models and databases. Run the studio on your own "
                "machine (scripts/demo) to load other weights and packs."
            )


def _given(source: str | None, otherwise: str) -> str:
    text = str(source or "").strip()
    if not text:
        raise UsageError(otherwise)
    return text


def check_code(source: str, trusted: Sequence[str]) -> None:
    """Refuse a source that would run code, unless this very source was named when the program was started: its
    repository, entry point and arguments. Code that lies on this machine is never run for a page, an API or MCP.

    Raises UsageError.
    """
    if not is_external(source):
        return
    asked = parse_source(source)
    if asked.kind in ("python", "folder"):
        raise UsageError(
            f"{asked.kind} code of this machine is not run from here. Name it when you start the studio: "
            "python app.py --third SOURCE --trust-remote-code SOURCE."
        )
    if not any(parse_source(name) == asked for name in trusted):
        raise UsageError(
            f"{source} runs code of other people. Whoever starts the studio has to name it: python app.py "
            f"--trust-remote-code {source}."
        )
