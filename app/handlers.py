"""Between the page and the services: raw component values in, ready component values out, errors as toasts.

Events run with preprocess=False, so values arrive as the browser or an API client sent them and every check is ours.
Files are read through `app.incoming` and leave through `app.outgoing`.
"""

from __future__ import annotations

import errno
import functools
import inspect
import logging
import time
from collections.abc import Callable, Iterator
from typing import Any

import gradio as gr
import numpy as np
import plotly.graph_objects as go

from app.components.batch_strip import strip_html, waiting_strip_html
from app.components.cards import answer_html, hit_words, protocol_html, waiting_html
from app.components.header import legend_html, notice_html
from app.components.pictures import escape
from app.incoming import QueryPhoto, query_photo
from app.outgoing import NO_DISK, ServerFile
from app.page import OUR_FAULT, toast
from app.queries import listed_photo
from app.records import Found
from app.rooms import BASELINE, STABLE, THIRD
from app.services import Services
from scicevpr.datasets import Dataset, GroundTruth
from scicevpr.errors import SciceVPRError, UsageError
from scicevpr.figures.screen import MapSeries, match_map

logger = logging.getLogger(__name__)

PARTS = ("notice", "strip", "stable", "baseline", "third", "map", "protocol", "legend")
"""What a search fills in, in the order in which the handlers return it."""

DISK_TROUBLE = (errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EACCES, errno.ENOTDIR)
SYMBOLS = {STABLE: "circle-open", BASELINE: "square-open", THIRD: "diamond-open"}
WARM_UP_LIMIT_S = 180.0


def toasts(work: Callable) -> Callable:
    """Turn errors into toasts: ours as they are, unexpected ones logged and put kindly.

    MCP calls a tool by its function's name, so the guarded "_api_find" is called "find".
    """

    def kindly(error: Exception) -> gr.Error:
        if isinstance(error, gr.Error):
            return error
        if isinstance(error, SciceVPRError):
            return toast(str(error))
        if isinstance(error, OSError) and error.errno in DISK_TROUBLE:
            logger.error("the disk: %s", error)
            return toast(f"This could not be kept: {NO_DISK}")
        logger.error("unexpected error in %s", work.__name__, exc_info=error)
        return toast(OUR_FAULT)

    @functools.wraps(work)
    def guarded(*values: Any, **named: Any) -> Any:
        try:
            return work(*values, **named)
        except Exception as error:
            raise kindly(error) from error

    @functools.wraps(work)
    def streamed(*values: Any, **named: Any) -> Iterator[Any]:
        try:
            yield from work(*values, **named)
        except Exception as error:
            raise kindly(error) from error

    chosen = streamed if inspect.isgeneratorfunction(work) else guarded
    chosen.__name__ = work.__name__.removeprefix("_api_")
    return chosen


class PageHandlers:
    """What the handlers of every tab share."""

    def __init__(self, services: Services) -> None:
        self.services = services

    def notice(self) -> str:
        """The banners of this moment."""
        return notice_html(self.services.model_states(), self.services.notes, self.services.warm)

    def photo(self, payload: Any) -> QueryPhoto:
        """The photo that a client sent. ImageError for none, and for one that may not be opened or cannot be read."""
        return query_photo(payload, self.services.datasets)

    def asked_photo(self, image: Any, query: Any, database: Any) -> QueryPhoto:
        """The photo that an endpoint is asked about: a query of the database by its name, or the image. UsageError for
        an unknown name."""
        if query in (None, ""):
            return self.photo(image)
        key, dataset = self.services.dataset(database)
        return QueryPhoto.listed(listed_photo(dataset, self.services.datasets.title(key), plain_text(query, "query")))


def plain_text(value: Any, name: str, longest: int = 300) -> str:
    """A short text from whatever a program sent; nothing becomes "". UsageError for anything else."""
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise UsageError(f"{name} must be a text, not {type(value).__name__}.")
    text = str(value)
    if len(text) > longest:
        raise UsageError(f"{name} has {len(text):,} characters; at most {longest} are read.")
    return text


class FindHandlers(PageHandlers):
    """The events of the Find tab and its API endpoints over one Services."""

    def __init__(self, services: Services) -> None:
        super().__init__(services)
        self.search_view = toasts(self._search_view)
        self.current_view = toasts(self._current_view)
        self.example = toasts(self._example)
        self.other_database = toasts(self._other_database)
        self.api_find = toasts(self._api_find)
        self.api_databases = toasts(self._api_databases)
        self.api_models = toasts(self._api_models)

    # ---- events of the page -------------------------------------------------------------------------------------

    def _search_view(
        self,
        photo: Any,
        database: Any,
        k: Any,
        batch_mates: Any,
        east: Any,
        north: Any,
        progress: Any = gr.Progress(),  # noqa: B008
    ) -> tuple:
        """Search with what the form holds; values for PARTS."""
        found = self._find(self.photo(photo), database, k, batch_mates, east, north, progress)
        return (
            self.notice(),
            strip_html(found),
            answer_html(found.stable),
            answer_html(found.baseline),
            gr.update(value=answer_html(found.third) if found.third else "", visible=found.third is not None),
            found_map(found),
            protocol_html(found.answers),
            self.legend(database),
        )

    def _current_view(self, photo: Any, database: Any, *rest: Any, progress: Any = gr.Progress()) -> tuple:  # noqa: B008
        """What the page shows for the form as it is now: a search, or the waiting view while there is no photo."""
        if not photo:
            return self.waiting_view(database)
        return self._search_view(photo, database, *rest, progress=progress)

    def waiting_view(self, database: Any = None) -> tuple:
        """Values for PARTS before the first search."""
        titles = {state.role: state.title for state in self.services.model_states()}
        return (
            self.notice(),
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
        try:
            _, dataset = self.services.dataset(database)
        except SciceVPRError:
            return legend_html(GroundTruth().label())
        return legend_html(dataset.truth.label())

    def _example(self, database: Any, event: gr.SelectData) -> ServerFile:
        """The file of the example that was clicked."""
        key, _ = self.services.dataset(database)
        examples = self.services.examples(key)
        if not isinstance(event.index, int) or not 0 <= event.index < len(examples):
            raise UsageError("That example does not exist any more. Reload the page.")
        return self.services.outgoing.photo(key, examples[event.index])

    def _other_database(self, database: Any) -> tuple:
        """After another database was chosen: no photo, its examples, an empty page."""
        return (None, gr.Gallery(value=self.example_items(database), selected_index=None), *self.waiting_view(database))

    def example_items(self, database: Any = None) -> list[tuple[ServerFile, str]]:
        """Examples for the gallery: (file, caption); empty when there is no database."""
        try:
            key, _ = self.services.dataset(database)
            places, photo = self.services.examples(key), self.services.outgoing.photo
            return [(photo(key, place), place.condition or f"example {n}") for n, place in enumerate(places, 1)]
        except SciceVPRError:
            return []

    def watch_warm_up(self) -> Iterator[str]:
        """The banners, renewed until the models are loaded."""
        started = time.monotonic()
        yield self.notice()
        while not self.services.warm and time.monotonic() - started < WARM_UP_LIMIT_S:
            time.sleep(0.5)
            yield self.notice()
        yield self.notice()

    def empty_map(self, database: Any = None) -> go.Figure | None:
        """The database alone on the map; None when its positions are unknown."""
        try:
            _, dataset = self.services.dataset(database)
        except SciceVPRError:
            return None
        positions = drawable_positions(dataset)
        return None if positions is None else match_map(positions)

    # ---- endpoints ----------------------------------------------------------------------------------------------

    def _api_find(
        self,
        image: Any = None,
        database: Any = None,
        k: Any = 5,
        batch_mates: Any = 0,
        east: Any = None,
        north: Any = None,
        query: Any = "",
    ) -> dict:
        """Find the place of a photo with SciceVPR, the CricaVPR baseline and the third model, if one is loaded.

        Args:
            image: The query photo. A name of the form @utm_east@utm_north@...@.jpg gives its position.
            database: Name of the database (see databases); left out: the first one.
            k: Matches per model, 1 to 20.
            company: How many photos of the query list share the baseline's batch with the query, 0 to 31.
            east: UTM easting of the photo in metres, to judge the answers; needs north.
            north: UTM northing of the photo in metres, to judge the answers; needs east.
            query: Name of a photo of the database's query list, instead of an image.

        Returns:
            All models' matches (photo, similarity, metres, right), verdict, times in ms and protocol.
        """
        return self._find(self.asked_photo(image, query, database), database, k, batch_mates, east, north).to_json()

    def _api_databases(self) -> list[dict]:
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
                "examples": [place.name for place in self.services.examples(key)],
            }
            for key, dataset in self.services.datasets.items()
        ]

    def _api_models(self) -> list[dict]:
        """List the models that the page answers with.

        Returns:
            Role, name, state, whether their weights are trained, and the weights' hash.
        """
        return [state.to_json() for state in self.services.model_states()]

    def _find(
        self, photo: QueryPhoto, database: Any, k: Any, batch_mates: Any, east: Any, north: Any, progress: Any = None
    ) -> Found:

        def advance(done: int, total: int) -> None:
            progress((done, total), desc="Describing the database, once", unit="photos")

        return self.services.find(
            photo.image, photo.name, database, k, batch_mates, east, north, advance if progress is not None else None
        )


def drawable_positions(dataset: Dataset) -> np.ndarray | None:
    """Positions of the database [D, 2], or None when some are unknown or stand-ins."""
    places = dataset.database
    if not dataset.use_labels or any(place.utm is None or place.mock_position for place in places):
        return None
    return np.array([place.utm for place in places])


def found_map(found: Found) -> go.Figure | None:
    """Query and matches on the map; None when the database's positions cannot be drawn."""
    if not found.drawable:
        return None
    series = [
        MapSeries(
            title=answer.title,
            utm=np.array([hit.place.utm for hit in answer.hits]),
            right=[hit.right for hit in answer.hits],
            symbol=SYMBOLS[answer.role],
            notes=[escape(hit_words(hit, answer.title)) for hit in answer.hits],
        )
        for answer in found.answers
        if answer.hits
    ]
    query = None if found.position is None else (found.position.east, found.position.north)
    return match_map(found.database_utm, series, query, found.radius)
