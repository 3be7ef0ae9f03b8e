"""A served page asked over the wire, as a program or an attacker does it: no client of gradio's in between."""

from __future__ import annotations

import asyncio
import http.client
import json
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from app.build import launch_options

PATIENCE = 120


def finished(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """What a coroutine returns, run by a thread of its own: a browser's loop may be running in this one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, coroutine).result()


@dataclass(frozen=True)
class Served:
    """A page at its address, such as http://127.0.0.1:7860/."""

    page: Any
    url: str

    @property
    def host(self) -> str:
        return urlsplit(self.url).netloc

    def request(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, bytes]:
        """Status and body. A dictionary is sent as JSON; headers' names have _ for -."""
        connection = http.client.HTTPConnection(self.host, timeout=PATIENCE)
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if not isinstance(body, (bytes, type(None))):
            body, sent = json.dumps(body).encode(), {"Content-Type": "application/json", **sent}
        connection.putrequest(method, path, skip_host="Host" in sent)
        for name, value in {**sent, **({} if body is None else {"Content-Length": str(len(body))})}.items():
            connection.putheader(name, value)
        connection.endheaders(body)
        with connection.getresponse() as answer:
            return answer.status, answer.read()

    def ask(self, name: str, arguments: dict[str, Any]) -> str:
        """What a named endpoint answers, or the words of its refusal."""
        status, body = self.request("POST", f"/gradio_api/call/v2/{name}", arguments)
        if status != 200:
            return body.decode()
        return self._answer(f"/gradio_api/call/{name}/{json.loads(body)['event_id']}")

    def trigger(self, index: int, data: list, session: str = "wire", event: Any = None) -> str:
        """What any event answers, named or not."""
        content = {"fn_index": index, "data": data, "session_hash": session, "event_data": event}
        status, body = self.request("POST", "/gradio_api/queue/join", content)
        return body.decode() if status != 200 else self._answer(f"/gradio_api/queue/data?session_hash={session}")

    def upload(self, content: bytes, name: str = "photo.png") -> str:
        """The path of an upload in the server's cache."""
        status, body = self.request_form(content, name)
        assert status == 200, body
        return json.loads(body)[0]

    def request_form(self, content: bytes, name: str, **headers: str) -> tuple[int, bytes]:
        """An upload with more headers."""
        body, kind = form(content, name)
        return self.request("POST", "/gradio_api/upload", body, Content_Type=kind, **headers)

    def _answer(self, path: str) -> str:
        return self.request("GET", path)[1].decode()


def form(content: bytes, name: str) -> tuple[bytes, str]:
    """A multipart form with one file, and its content type."""
    head = f'--line\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'.encode()
    return head + content + b"\r\n--line--\r\n", "multipart/form-data; boundary=line"


@contextmanager
def served(page: Any, services: Any, **options: Any) -> Iterator[Served]:
    """The page, served on a free port."""
    options = {"server_name": "127.0.0.1", **launch_options(services), **options}
    _, url, _ = page.launch(prevent_thread_lock=True, quiet=True, **options)
    try:
        yield Served(page, url)
    finally:
        page.close(verbose=False)
