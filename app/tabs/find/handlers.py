"""Between the Find tab and the search: raw component values in, ready component values out."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import gradio as gr
import plotly.graph_objects as go

from app.core.incoming import QueryPhoto
from app.core.model_slots import BASELINE, STABLE, THIRD
from app.core.outgoing import ServerFile
from app.core.query_resolution import drawable_positions
from app.core.records import Found
from app.core.values import plain_text
from app.tabs.find.html import (
    answer_html,
    found_map,
    legend_html,
    protocol_html,
    strip_html,
    waiting_html,
    waiting_strip_html,
)
from app.tabs.find.place import place_html, waiting_place_html
from app.ui.events import PROGRESS, describing_database, toasts
from app.ui.photo_picker import PickerHandlers
from scicevpr.datasets import Dataset, GroundTruth
from scicevpr.errors import SciceVPRError, UsageError
from scicevpr.figures.screen import match_map

PARTS = ("notice", "place", "strip", "stable", "baseline", "third", "map", "protocol", "legend")
"""What a search fills in, in the order in which the handlers return it."""
WARM_UP_LIMIT_S = 180.0


class FindHandlers(PickerHandlers):
    """The events of the Find tab and its endpoints."""

    # ---- events of the page -------------------------------------------------------------------------------------

    @toasts
    def search_view(
        self, photo: Any, database: Any, k: Any, batch_mates: Any, where: Any, student: Any = "",
        progress: Any = PROGRESS,
    ) -> tuple:  # fmt: skip
        """Search with what the form holds; values for PARTS."""
        query = self.photo(photo)
        others = self.fitting_batch(batch_mates, database, query.name)
        found = self._find(query, database, k, others, where=where, student=student, progress=progress)
        return (
            self.notice(),
            place_html(found),
            strip_html(found),
            answer_html(found.stable),
            answer_html(found.baseline),
            gr.update(value=answer_html(found.third) if found.third else "", visible=found.third is not None),
            found_map(found),
            protocol_html(found.answers),
            self.legend(database),
        )

    @toasts
    def current_view(self, photo: Any, database: Any, *rest: Any, progress: Any = PROGRESS) -> tuple:
        """What the page shows for the form as it is now: a search, or the waiting view while there is no photo."""
        if not photo:
            return self.waiting_view(database)
        return self.search_view(photo, database, *rest, progress=progress)

    def waiting_view(self, database: Any = None) -> tuple:
        """Values for PARTS before the first search."""
        titles = {state.role: state.title for state in self.services.model_states()}
        return (
            self.notice(),
            waiting_place_html(),
            waiting_strip_html(),
            waiting_html(STABLE, titles[STABLE]),
            waiting_html(BASELINE, titles[BASELINE]),
            gr.update(value=waiting_html(THIRD, titles[THIRD]) if THIRD in titles else "", visible=THIRD in titles),
            self.empty_map(database),
            protocol_html(()),
            self.legend(database),
        )

    def legend(self, database: Any = None) -> str:
        """What the frames mean for this database."""
        dataset = self._known(database)
        return legend_html((GroundTruth() if dataset is None else dataset.truth).label())

    def empty_map(self, database: Any = None) -> go.Figure | None:
        """The database alone on the map; None when its positions are unknown."""
        dataset = self._known(database)
        positions = None if dataset is None else drawable_positions(dataset)
        return None if positions is None else match_map(positions)

    def _known(self, database: Any) -> Dataset | None:
        try:
            return self.services.dataset(database)[1]
        except SciceVPRError:
            return None

    @toasts
    def other_database(self, database: Any) -> tuple:
        """After another database was chosen: no photo, its examples, an empty page."""
        return (*self.emptied(database), *self.waiting_view(database))

    def watch_warm_up(self) -> Iterator[str]:
        """The banners, renewed until the models are loaded."""
        started = time.monotonic()
        yield self.notice()
        while not self.services.warm and time.monotonic() - started < WARM_UP_LIMIT_S:
            time.sleep(0.5)
            yield self.notice()
        yield self.notice()

    # ---- endpoints ----------------------------------------------------------------------------------------------

    @toasts
    def api_find(
        self, image: Any = None, database: Any = None, k: Any = 5, batch_mates: Any = 0, east: Any = None,
        north: Any = None, query: Any = "", position: Any = "",
    ) -> dict:  # fmt: skip
        """Find the place of a photo with SciceVPR, the CricaVPR baseline and the third model, if one is loaded.

        Args:
            image: The query photo. A name of the form @utm_east@utm_north@...@.jpg, or its GPS, gives its position.
            database: Name of the database (see databases); left out: the first one.
            k: Matches per model, 1 to 20.
            batch_mates: How many other photos of the query list share the baseline's batch with the query, 0 to 31.
            east: UTM easting of the photo in metres, to judge the answers; needs north.
            north: UTM northing of the photo in metres, to judge the answers; needs east.
            query: Name of a photo of the database's query list, instead of an image.
            position: The photo's "latitude, longitude" in degrees, or "easting northing", as a text; replaces both.

        Returns:
            All models' matches (photo, similarity, metres, right), verdict, times in ms and protocol.
        """
        photo = self.asked_photo(image, query, database)
        return self._find(photo, database, k, batch_mates, east, north, position).to_json()

    @toasts
    def api_databases(self) -> list[dict]:
        """List the databases that can be searched.

        Returns:
            Name, split, photos, queries, conditions, whether labelled, what counts as right, and example queries.
        """
        return [
            {
                "name": key,
                "split": dataset.split,
                "database_photos": len(dataset.database),
                "queries": len(dataset.queries),
                "conditions": dataset.conditions,
                "labelled": dataset.labelled,
                "right_within": dataset.truth.label() if dataset.labelled else None,
                "examples": [photo.name for photo in self.services.examples(key)],
            }
            for key, dataset in self.services.datasets.items()
        ]

    @toasts
    def api_models(self) -> list[dict]:
        """List the models that the page answers with.

        Returns:
            Role, name, state, whether their weights are trained, and the weights' hash.
        """
        return [state.to_json() for state in self.services.model_states()]

    @toasts
    def api_photo(self, name: Any, database: Any = None) -> ServerFile:
        """Get a photo of a database or of its query list by its name, for example to ask for its place.

        Args:
            name: File name, as the other endpoints give it.
            database: Name of the database (see databases); left out: the first one.

        Returns:
            The photo.
        """
        key, dataset = self.services.dataset(database)
        wanted = plain_text(name, "name")
        photo = next((p for p in (*dataset.queries, *dataset.database) if p.name == wanted), None)
        if photo is None:
            raise UsageError(f"There is no photo {wanted!r}. See the examples in databases, or ask queries for names.")
        return self.services.outgoing.photo(key, photo)

    def _find(
        self, photo: QueryPhoto, database: Any, k: Any, batch_mates: Any, east: Any = None, north: Any = None,
        where: Any = "", progress: Any = None, student: Any = "",
    ) -> Found:  # fmt: skip
        return self.services.find(
            photo.image, photo.name, database, k, batch_mates, east, north, describing_database(progress),
            where, photo.gps, photo.gps_problem, plain_text(student, "The student"),
        )  # fmt: skip
