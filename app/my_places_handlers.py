"""Between the My places tab and its service: raw component values in, ready component values out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from app.components.uploads import database_html, reading_html, reading_words_html, waiting_html
from app.handlers import PageHandlers, toasts
from app.my_places import MyDatabase, MyPlaces
from app.queries import whole_number
from app.reading import as_dataset
from scicevpr.errors import UsageError

Choice = str | tuple[str, str]


class MyPlacesHandlers(PageHandlers):
    """The events of the My places tab. page: whose uploads these are; own_files: what gradio notes of the tab's own
    upload fields."""

    def __init__(self, mine: MyPlaces, page: gr.Blocks) -> None:
        super().__init__(mine.services)
        self.mine = mine
        self.page = page
        self.own_files: tuple[set[str], ...] = ()
        self._tokens: dict[str, str] = {}
        self.uploaded = toasts(self._uploaded)
        self.build = toasts(self._build)

    def _uploaded(self, token: Any, files: Any, table: Any, request: gr.Request) -> str:
        """Note what was uploaded, so that it goes with the session; the session's token."""
        files = [*uploaded_files(files), *uploaded_files(table)]
        if not files:
            return token
        token = self._welcome(token, request)
        self.mine.remember(token, [path for path, _ in files])
        return token

    def _build(
        self,
        token: Any,
        files: Any,
        folder: Any,
        table: Any,
        condition: Any,
        title: Any,
        hold_back: Any,
        request: gr.Request,
        progress: Any = gr.Progress(),  # noqa: B008
    ) -> Iterator[tuple]:
        """Read and describe what the form holds; values for (token, words, table, archive) as they come."""

        def tell(what: str, done: int, total: int) -> None:
            progress((done, total), desc=what, unit="photos")

        brought, tables = uploaded_files(files), uploaded_files(table)
        hold_back = whole_number(hold_back or 0, "The photos held back", 0, 100)
        token = self._welcome(token, request)
        self.mine.remember(token, [path for path, _ in (*brought, *tables)])
        yield token, gr.skip(), gr.skip(), gr.skip()
        one_table = tables[0] if tables else None
        reading = self.mine.read(token, brought, str(folder or ""), one_table, str(condition or ""), tell)
        listed = reading_html(reading, as_dataset(reading, "", hold_back).queries)
        yield token, reading_words_html(reading), listed, _download(None)
        database = self.mine.build(token, reading, str(title or ""), hold_back, tell)
        yield token, database_html(database, reading), gr.skip(), _download(database)

    def now(self, token: Any) -> tuple[str, dict]:
        """What the session holds at the moment: values for (words, archive)."""
        database = self.mine.database(token)
        return waiting_html() if database is None else database_html(database), _download(database)

    def stop(self, token: Any) -> None:
        """Let the running work end."""
        self.mine.stop(token)

    def remove(self, token: Any) -> tuple[str, str, str, dict]:
        """Remove the visitor's places at once; values for (token, words, table, archive)."""
        self.forget(token)
        return "", waiting_html(), "", _download(None)

    def leave(self, request: gr.Request) -> None:
        """The page of a session was closed or reloaded."""
        self.forget(self._tokens.get(request.session_hash or ""))

    def forget(self, token: Any) -> None:
        """End a session: its places and its uploads are gone. Unknown tokens are no error."""
        self._tokens = {session: other for session, other in self._tokens.items() if other != token}
        for path in self.mine.forget(token):
            if self._only_uploaded(path):
                path.unlink(missing_ok=True)

    def choices(self, token: Any) -> list[Choice]:
        """Databases for a dropdown of this visitor's page: (words, key) for their own, names for all others."""
        database = self.mine.database(token)
        own = [] if database is None else [(f"{database.title} (only you)", database.key)]
        return [*self.services.datasets, *own]

    def _welcome(self, token: Any, request: gr.Request) -> str:
        token = self.mine.welcome(token if isinstance(token, str) else None)
        if request.session_hash:
            self._tokens[request.session_hash] = token
        return token

    def _only_uploaded(self, path: Path) -> bool:
        """False for a file that other parts of the page show: gradio keeps equal files once."""
        uploads, *shown = self.page.temp_file_sets
        others = (files for files in shown if not any(files is own for own in self.own_files))
        return str(path) in uploads and not any(str(path) in files for files in others)


def _download(database: MyDatabase | None) -> dict:
    path = None if database is None else str(database.archive)
    return gr.update(value=path, interactive=path is not None)


def uploaded_files(payload: Any) -> list[tuple[Path, str]]:
    """Files as gradio sends them, one or several: (file, original name). UsageError for anything else."""
    found = []
    for item in payload if isinstance(payload, list) else [payload]:
        if item in (None, "", {}):
            continue
        if not isinstance(item, dict) or not item.get("path"):
            raise UsageError("The files arrived without any content. Choose them again.")
        path = Path(item["path"])
        found.append((path, Path(item.get("orig_name") or path.name).name))
    return found
