"""Stop buttons: what a visitor has running in a tab, so that it can be told to end."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import gradio as gr


class Stops:
    """The running work of every visitor in one tab.

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

    def stop(self, request: gr.Request) -> None:
        """End a visitor's work, if there is any."""
        with self._lock:
            event = self._running.pop(request.session_hash, None)
        if event is not None:
            event.set()
