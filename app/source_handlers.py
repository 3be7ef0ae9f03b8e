"""Between the Models & data tab and its service: raw component values in, ready component values out."""

from __future__ import annotations

from typing import Any

import gradio as gr

from app.components.tables import databases_html, models_html
from app.handlers import PageHandlers, plain_text, toasts
from app.records import ModelState
from app.sources import Sources
from scicevpr.errors import UsageError

LONGEST_PATH = 4096


class SourceHandlers(PageHandlers):
    """The events of the Models & data tab and its API endpoints."""

    def __init__(self, sources: Sources) -> None:
        super().__init__(sources.services)
        self.sources = sources
        self.load = toasts(self._load)
        self.reset = toasts(self._reset)
        self.open = toasts(self._open)
        self.api_load_weights = toasts(self._api_load_weights)
        self.api_open_pack = toasts(self._api_open_pack)

    def tables(self) -> tuple[str, str]:
        """Values for (models, databases)."""
        return models_html(self.services.model_states()), databases_html(self.services.datasets)

    def pack_choices(self) -> list[tuple[str, str]]:
        """Packs on this machine for a dropdown: (words, folder)."""
        return [(f"{pack.manifest.title} ({pack.reference})", pack.reference) for pack in self.sources.packs()]

    def _load(
        self,
        role: Any,
        source: Any,
        variant: Any,
        trust: Any,
        progress: Any = gr.Progress(),  # noqa: B008
    ) -> tuple:
        """Load other weights; values for (models, databases, words)."""

        def advance(done: int, total: int) -> None:
            progress((done, total), desc="Downloading", unit="bytes")

        state = self._loaded(role, source, variant, trust, advance)
        trained = "trained" if state.trained else "NOT trained"
        words = f"{state.title} is loaded ({trained}, weights {state.weights}). Find uses it from now on."
        return *self.tables(), words

    def _reset(self, role: Any) -> tuple:
        """Back to the first model; values for (models, databases, words)."""
        self.sources.reset(plain_text(role, "The column"))
        return *self.tables(), "Back to the model that the page started with."

    def _open(self, chosen: Any, written: Any, photos: Any, progress: Any = gr.Progress()) -> tuple:  # noqa: B008
        """Open a pack; values for (models, databases, words, the name of the new database)."""
        progress(0.0, desc="Opening the pack")
        name = self._opened(written or chosen, photos)
        words = f"{name} is open: {len(self.services.datasets[name].database):,} photos. Choose it in the other tabs."
        return *self.tables(), words, name

    def _api_load_weights(self, role: Any, source: Any, variant: Any = "", trust: Any = False) -> list[dict]:
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

    def _api_open_pack(self, source: Any, photos: Any = "") -> str:
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
