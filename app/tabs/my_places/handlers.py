"""Between the My places tab and its service: raw component values in, ready component values out."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from app.core.incoming import uploaded_files
from app.core.outgoing import Outgoing
from app.core.values import plain_text, whole_number
from app.tabs.my_places.html import database_html, report_html, report_words_html, waiting_html
from app.tabs.my_places.intake_report import MyDatabase, as_dataset
from app.tabs.my_places.own_pack import pack_among
from app.tabs.my_places.service import MyPlaces
from app.ui.events import PROGRESS, Handlers, toasts

Choice = str | tuple[str, str]


class MyPlacesHandlers(Handlers):
    """The events of the My places tab. page: whose uploads these are; field_files: what gradio notes of the tab's own
    upload fields."""

    def __init__(self, mine: MyPlaces, page: gr.Blocks) -> None:
        super().__init__(mine.services)
        self.mine = mine
        self.page = page
        self.field_files: tuple[set[str], ...] = ()
        mine.when_ended = self._ended

    @toasts
    def uploaded(self, token: Any, files: Any, table: Any, request: gr.Request) -> str:
        """Note what was uploaded, so that it goes with the session; the session's token."""
        files = [*uploaded_files(files), *uploaded_files(table)]
        if not files:
            return token
        token = self.mine.welcome(token, request.session_hash)
        self.mine.remember(token, [path for path, _ in files])
        return token

    @toasts
    def build(
        self, token: Any, files: Any, folder: Any, table: Any, condition: Any, title: Any, hold_back: Any,
        request: gr.Request, progress: Any = PROGRESS,
    ) -> Iterator[tuple]:  # fmt: skip
        """Read and describe what the form holds; values for (token, words, table, archive, the button to Find) as they
        come."""

        def tell(what: str, done: int, total: int) -> None:
            progress((done, total), desc=what, unit="photos")

        brought, tables = uploaded_files(files), uploaded_files(table)
        hold_back = whole_number(hold_back or 0, "The photos held back", 0, 100)
        folder, condition, title = (
            plain_text(folder, "The folder", 4096),
            plain_text(condition, "The condition"),
            plain_text(title, "The name"),
        )
        token = self.mine.welcome(token, request.session_hash)
        self.mine.remember(token, [path for path, _ in (*brought, *tables)])
        yield token, gr.skip(), gr.skip(), gr.skip(), gr.skip()
        if (pack := pack_among(brought)) is not None:
            database = self.mine.reopen(token, pack)
            yield token, database_html(database), "", _download(database), _ready(True)
            return
        one_table = tables[0] if tables else None
        report = self.mine.read(token, brought, folder, one_table, condition, tell)
        listed = report_html(report, as_dataset(report, "", hold_back).queries)
        yield token, report_words_html(report), listed, _download(None), _ready(False)
        database = self.mine.build(token, report, title, hold_back, tell)
        yield token, database_html(database, report), gr.skip(), _download(database), _ready(True)

    def now(self, token: Any) -> tuple[str, dict, dict]:
        """What the session holds at the moment: values for (words, archive, the button to Find)."""
        database = self.mine.database(token)
        words = waiting_html() if database is None else database_html(database)
        return words, _download(database), _ready(database is not None)

    def remove(self, token: Any) -> tuple:
        """Remove the visitor's places at once; values for (token, words, table, archive, the button to Find, the chosen
        files, the table of positions, the question whether to remove)."""
        self.mine.forget(token)
        return "", waiting_html(), "", _download(None), _ready(False), None, None, gr.Row(visible=False)

    def leave(self, request: gr.Request) -> None:
        """The page of a session was closed or reloaded."""
        self.mine.forget(self.mine.token_of(request.session_hash))
        forget_page(self.page, request.session_hash or "")  # it shows photos of its visitor anyway

    def _ended(self, session: str, uploads: set[Path]) -> None:
        """A visit has ended, however: its uploads go, and what gradio remembers of its page, which shows its photos."""
        for path in uploads:
            if self._only_uploaded(path):
                path.unlink(missing_ok=True)
                with contextlib.suppress(OSError):
                    path.parent.rmdir()
        forget_page(self.page, session)

    def choices(self, token: Any) -> list[Choice]:
        """Databases for a dropdown of this visitor's page: (words, key) for their own, names for all others."""
        database = self.mine.database(token)
        own = [] if database is None else [(f"{database.title} (only you)", database.key)]
        return [*self.services.datasets, *own]

    def _only_uploaded(self, path: Path) -> bool:
        """False for a file that other parts of the page show: gradio keeps equal files once."""
        uploads, *shown = self.page.temp_file_sets
        others = (files for files in shown if not any(files is own for own in self.field_files))
        return str(path) in uploads and not any(str(path) in files for files in others)


def _download(database: MyDatabase | None) -> dict:
    file = None if database is None else Outgoing.file(database.archive)
    return gr.update(value=file, interactive=file is not None)


def _ready(there: bool) -> dict:
    """The button to Find: there must be something to search."""
    return gr.update(interactive=there)


def forget_page(page: gr.Blocks, session: str) -> None:
    """Forget the values that gradio keeps of a page, for links and for its components' next events."""
    holder = getattr(page, "state_holder", None)
    if holder is None or not session:
        return
    with holder.lock:
        holder.session_data.pop(session, None)
        holder.time_last_used.pop(session, None)
