"""Between the Models & data tab and its service: raw component values in, ready component values out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from app.core.model_slots import ROLES, ModelState
from app.core.values import plain_text
from app.tabs.models_and_data.service import Sources
from app.ui.events import PROGRESS, Handlers, toasts
from app.ui.html import row_html, table_html
from scicevpr.datasets import Dataset
from scicevpr.datasets.sources import SOURCES, find_source
from scicevpr.errors import UsageError
from scicevpr.packs.manifest import list_packs

STATES = {"waiting": "loaded when needed", "missing": "cannot be used"}
LONGEST_PATH = 4096


class SourceHandlers(Handlers):
    """The events of the Models & data tab and its endpoints."""

    def __init__(self, sources: Sources) -> None:
        super().__init__(sources.services)
        self.sources = sources

    def tables(self) -> tuple[str, str]:
        """Values for (models, databases)."""
        return models_html(self.services.model_states()), databases_html(self.services.datasets)

    def pack_choices(self) -> list[tuple[str, str]]:
        """Packs on this machine, built here or downloaded before, for a dropdown: (label, folder)."""
        return [(f"{pack.manifest.title} ({pack.reference})", pack.reference) for pack in list_packs()]

    @toasts
    def load(self, role: Any, source: Any, variant: Any, trust: Any, progress: Any = PROGRESS) -> tuple:
        """Load other weights; values for (models, databases, words)."""

        def advance(done: int, total: int) -> None:
            progress((done, total), desc="Downloading", unit="bytes")

        state = self._loaded(role, source, variant, trust, advance)
        trained = "trained" if state.trained else "NOT trained"
        words = f"{state.title} is loaded ({trained}, weights {state.weights}). Find uses it from now on."
        return *self.tables(), words

    @toasts
    def reset(self, role: Any) -> tuple:
        """Back to the first model; values for (models, databases, words)."""
        self.sources.reset(plain_text(role, "The column"))
        return *self.tables(), "Back to the model that the page started with."

    @toasts
    def open(self, chosen: Any, written: Any, photos: Any, progress: Any = PROGRESS) -> tuple:
        """Open a pack; values for (models, databases, words, the name of the new database)."""
        progress(0.0, desc="Opening the pack")
        name = self._opened(written or chosen, photos)
        words = f"{name} is open: {len(self.services.datasets[name].database):,} photos. Choose it in the other tabs."
        return *self.tables(), words, name

    def set_choices(self) -> list[tuple[str, str]]:
        """Data sets of real photos that can be had, for a dropdown: (label, key)."""
        shown = (source for source in SOURCES.values() if source.files and source.converter != "gsv-cities")
        return [
            (f"{source.title} ({source.needs})", source.key) for source in shown if source.key != "tokyo247-queries"
        ]

    @toasts
    def get_set(self, key: Any, accepted: Any, progress: Any = PROGRESS) -> tuple:
        """Get real photos; values for (models, databases, words, the name of the new database)."""

        def step(stage: str, done: int, total: int) -> None:
            progress((done, total), desc=stage)

        name = self.sources.get_set(plain_text(key, "The data set"), accepted is True, step)
        words = f"{name} is open: {len(self.services.datasets[name].database):,} photos. Choose it in the other tabs."
        return *self.tables(), words, name

    @toasts
    def licence(self, key: Any) -> str:
        """Which licence a set has, as Markdown."""
        source = find_source(plain_text(key, "The data set"))
        return f"Licence: {source.licence}. [Where its authors tell about it]({source.page})"

    @toasts
    def api_load_weights(self, role: Any, source: Any, variant: Any = "", trust: Any = False) -> list[dict]:
        """Load other weights for a column, for everybody who has the page open (refused on shared servers).

        Args:
            role: The column: "stable", "baseline", "teacher" or "third".
            source: A variant, a path on the server, a URL, a Hub repository, or a model of others that was named at the
                start.
            variant: Which variant a published file is for, such as "cricavpr-b"; "": told from the file.
            trust: Whether code of other people's repositories may be run.

        Returns:
            The models as they are now.
        """
        self._loaded(role, source, variant, trust)
        return [state.to_json() for state in self.services.model_states()]

    @toasts
    def api_open_pack(self, source: Any, photos: Any = "") -> str:
        """Offer a database pack to everybody who has the page open (refused on shared servers).

        Args:
            source: A pack's folder on the server, or a Hub data set repository.
            photos: Folder on the server with the pack's photos, or "" where it has them or needs none.

        Returns:
            The name of the new database.
        """
        return self._opened(source, photos)

    def _loaded(self, role: Any, source: Any, variant: Any, trust: Any, progress: Any = None) -> ModelState:
        if trust not in (True, False, None):
            raise UsageError("trust must be true or false.")
        texts = (plain_text(role, "role"), plain_text(source, "source", LONGEST_PATH), plain_text(variant, "variant"))
        return self.sources.load_weights(*texts, bool(trust), progress)

    def _opened(self, source: Any, photos: Any) -> str:
        return self.sources.open_pack(
            plain_text(source, "source", LONGEST_PATH), plain_text(photos, "photos", LONGEST_PATH)
        )


def models_html(states: Sequence[ModelState]) -> str:
    """Which model stands where, with the hash of its weights and what they were trained on (or what went wrong)."""
    rows = []
    for state in states:
        ready = f"{'trained' if state.trained else 'NOT trained'}, weights {state.weights}"
        where = ROLES[state.role]
        cells = (state.title, STATES.get(state.state, ready), state.message or state.trained_on)
        rows.append(row_html(where[0].upper() + where[1:], cells))
    return table_html("The models", ("where", "model", "state", "trained on"), rows)


def databases_html(datasets: Mapping[str, Dataset]) -> str:
    """Which databases can be searched, with their sizes and their rule of what is right."""
    heads, noted = ("database", "photos", "queries", "right within", "notes"), any(d.notes for d in datasets.values())
    rows = []
    for name, data in datasets.items():
        right = data.truth.label() if data.labelled else "unknown"
        cells = (f"{len(data.database):,}", f"{len(data.queries):,}", right, " ".join(data.notes))
        rows.append(row_html(name, cells if noted else cells[:-1]))
    return table_html("The databases", heads if noted else heads[:-1], rows)
