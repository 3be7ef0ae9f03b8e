"""Events of the page and named endpoints: how they run, errors as toasts, stop buttons, progress."""

from __future__ import annotations

import errno
import functools
import html
import inspect
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import gradio as gr

from app.core.incoming import QueryPhoto
from app.core.incoming import query_photo as sent_photo
from app.core.outgoing import NO_DISK
from app.core.query_resolution import MOST_BATCH_MATES, listed_photo, query_photo
from app.core.services import Services
from app.core.values import plain_text, whole_number
from app.ui.header import notice_html
from scicevpr.errors import SciceVPRError

logger = logging.getLogger(__name__)

QUIET = {"api_visibility": "private", "preprocess": False}
"""Of all events of the page: values arrive as the browser or a program sent them, and every check is ours."""
QUICK = {"queue": False, "show_progress": "hidden", **QUIET}
MODEL = {"concurrency_id": "model", "concurrency_limit": 1}
"""Of events that answer within seconds: one at a time."""
LONG = {"concurrency_id": "long", "concurrency_limit": 1}
"""Of events that run for minutes: one at a time, beside the quick ones, which they slow down but do not hold up."""
PROGRESS = gr.Progress()
"""The default of a handler's argument progress: gradio gives its own there."""

OUR_FAULT = "Something went wrong on our side, and the server's log says what. Try another photo, or again later."
DISK_TROUBLE = (errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EACCES, errno.ENOTDIR)


def toast(message: str, plain: bool = False) -> gr.Error:
    """A toast with plain text (gradio would read HTML in it). plain: for a program, which reads it as it is."""
    return gr.Error(message if plain else html.escape(message), duration=12, print_exception=False)


def toasts(work: Callable) -> Callable:
    """Turn errors into toasts: ours as they are, unexpected ones logged and put kindly.

    An endpoint, and its MCP tool, has the name of its handler without "api_"; other events must not take that name.
    """

    plain = work.__name__.startswith("api_")

    def kindly(error: Exception) -> gr.Error:
        if isinstance(error, gr.Error):
            return error
        if isinstance(error, SciceVPRError):
            return toast(str(error), plain)
        if isinstance(error, OSError) and error.errno in DISK_TROUBLE:
            logger.error("the disk: %s", error)
            return toast(f"This could not be kept: {NO_DISK}", plain)
        logger.error("unexpected error in %s", work.__name__, exc_info=error)
        return toast(OUR_FAULT, plain)

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
    name = work.__name__
    chosen.__name__ = name.removeprefix("api_") if name.startswith("api_") else f"_{name}"
    return chosen


class Handlers:
    """What the handlers of every tab share: values out of the page in, values for its components out.

    Files are read through `app.core.incoming` and leave through `app.core.outgoing`.
    """

    def __init__(self, services: Services) -> None:
        self.services = services

    def notice(self) -> str:
        """The banners of this moment."""
        return notice_html(self.services.model_states(), self.services.notes, self.services.warm)

    def photo(self, payload: Any) -> QueryPhoto:
        """The photo that a client sent. ImageError for none, and for one that may not be opened or cannot be read."""
        return sent_photo(payload, self.services.datasets)

    def fitting_batch(self, batch_mates: Any, database: Any, name: str) -> int:
        """How many other photos can share the batch of the photo of this name: what was chosen for another database may
        be more than this one's query list has. UsageError for what is no such number."""
        count = whole_number(batch_mates, "The number of other photos in the batch", 0, MOST_BATCH_MATES)
        _, dataset = self.services.dataset(database)
        return min(count, len(dataset.queries) - (query_photo(dataset, name)[1] is not None))

    def asked_photo(self, image: Any, query: Any, database: Any) -> QueryPhoto:
        """The photo that an endpoint is asked about: a query of the database by its name, or the image. UsageError for
        an unknown name."""
        if query in (None, ""):
            return self.photo(image)
        key, dataset = self.services.dataset(database)
        return QueryPhoto.listed(listed_photo(dataset, self.services.datasets.title(key), plain_text(query, "query")))


class Stops:
    """Stop buttons: the running work of every visitor in one tab.

    Work ends itself and says so. Cancelling it from outside, as gradio can, may come late on a busy machine, and a row
    that is on its way then overwrites the words about the end.
    """

    def __init__(self) -> None:
        self._running: dict[str | None, threading.Event] = {}
        self._lock = threading.Lock()

    @contextmanager
    def running(self, request: gr.Request) -> Iterator[threading.Event]:
        """Give a visitor's new work the event that is set when it shall end; earlier work of the visitor is ended."""
        self.stop(request)
        session, event = request.session_hash, threading.Event()
        with self._lock:
            self._running[session] = event
        try:
            yield event
        finally:
            with self._lock:
                if self._running.get(session) is event:
                    del self._running[session]

    def stop(self, request: gr.Request) -> bool:
        """End a visitor's work; False where there is none."""
        with self._lock:
            event = self._running.pop(request.session_hash, None)
        if event is not None:
            event.set()
        return event is not None


def describing(progress: Any) -> Callable[[str, int, int], None] | None:
    """The library's (what is described, photos done, in all) on gradio's bar; None without one."""
    if progress is None:
        return None
    return lambda what, done, total: progress((done, total), desc=f"Describing {what}, once", unit="photos")


def describing_database(progress: Any) -> Callable[[int, int], None] | None:
    """The same for (photos of the database done, in all)."""
    step = describing(progress)
    return None if step is None else functools.partial(step, "the database")


def event_data(event: gr.EventData) -> dict[str, Any]:
    """What a script of ours sent with an event; {} for anything else."""
    return event._data if isinstance(event._data, dict) else {}


# ---- named endpoints ------------------------------------------------------------------------------------------------


def endpoint(
    handler: Callable, inputs: list, answer: type = gr.JSON, line: dict[str, Any] = LONG, **options: Any
) -> None:
    """A named endpoint, and an MCP tool, of the handler's name; nothing of it is seen on the page.

    inputs: components that say what is taken, and the defaults: the page's own, or hidden ones where the page's control
    offers less than the endpoint takes. line: MODEL, LONG, or {"queue": False} for what answers at once.
    """
    gr.on([], handler, inputs, answer(visible=False, **options), api_name=handler.__name__, preprocess=False, **line)


AT_ONCE = {"queue": False}


def database_input(services: Services) -> gr.Textbox:
    """The name of a database as text, because databases come and go while the page runs; the first one at the start
    is the default."""
    return text_input("Database", next(iter(services.datasets), ""))


def count_input(label: str, value: int, low: int, high: int) -> gr.Slider:
    """A whole number from low to high."""
    return gr.Slider(low, high, value=value, step=1, label=label, visible=False)


def text_input(label: str, value: str = "") -> gr.Textbox:
    """A word or a list of words."""
    return gr.Textbox(value, label=label, visible=False)


def files_input(label: str) -> gr.JSON:
    """Files that an endpoint takes, a list of uploads or of data URIs. What gradio says about gr.File with several
    files holds references that MCP cannot follow."""
    file = {"type": "object", "properties": {"path": {"type": "string"}}, "description": "an uploaded file"}
    uri = {"type": "string", "description": "data:application/json;base64,…"}
    block = gr.JSON(label=label, visible=False)
    block.api_info = lambda: {"type": "array", "items": {"anyOf": [uri, file]}}  # type: ignore[method-assign]  # of one block alone
    return block
