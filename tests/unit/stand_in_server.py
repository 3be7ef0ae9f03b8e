"""A local web server in the place of a file host and of the Hugging Face Hub, with the accidents that tests ask for."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

COMMIT = "c0ffee" + "0" * 34


@dataclass
class Served:
    """What one address answers.

    cuts: how many bytes each coming answer sends before the connection is cut. busy: how many coming answers are 503.
    gate: answers wait until it is set.
    """

    content: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    ranges: bool = True
    cuts: list[int] = field(default_factory=list)
    busy: int = 0
    gate: threading.Event | None = None


@dataclass
class StandIn:
    """The running server. files: address -> what it answers. requests: (method, address, Range) as they came."""

    url: str
    files: dict[str, Served] = field(default_factory=dict)
    requests: list[tuple[str, str, str | None]] = field(default_factory=list)
    posts: list[tuple[str, dict]] = field(default_factory=list)

    def add_file(self, path: str, content: bytes, **how) -> Served:
        etag = f'"{hashlib.md5(content).hexdigest()}"'
        self.files[path] = Served(content, headers={"ETag": etag}, **how)
        return self.files[path]

    def add_hub_file(self, repo: str, file: str, content: bytes, revision: str = "main", **how) -> Served:
        """A file of a repository as the Hub serves it: large ones carry their SHA-256 as ETag."""
        sha = how.pop("sha256", hashlib.sha256(content).hexdigest())
        headers = {"ETag": f'"{sha}"', "X-Repo-Commit": COMMIT, "X-Linked-Size": str(len(content))}
        self.files[f"/{repo}/resolve/{revision}/{file}"] = Served(content, headers=headers, **how)
        return self.files[f"/{repo}/resolve/{revision}/{file}"]

    def add_hub_error(self, path: str, status: int, code: str) -> None:
        self.files[path] = Served(status=status, headers={"X-Error-Code": code, "X-Repo-Commit": COMMIT})

    def gets(self, path: str) -> list[str | None]:
        """The Range of every GET of an address."""
        return [span for method, address, span in self.requests if method == "GET" and address == path]


@contextmanager
def stand_in() -> Iterator[StandIn]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    server.known = StandIn(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server.known
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None: ...

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_POST(self) -> None:
        """As much of the Hub's upload as huggingface_hub needs for files that go into the commit itself."""
        known: StandIn = self.server.known
        text = self.rfile.read(int(self.headers["Content-Length"])).decode()
        lines = [json.loads(line) for line in text.splitlines() if line.strip()]
        known.posts.append((self.path, {"lines": lines, "token": self.headers.get("Authorization")}))
        if self.path in known.files:
            return self._answer(body=True)
        if self.path == "/api/repos/create":
            repo = f"{lines[0]['organization']}/{lines[0]['name']}"
            return self._json({"url": f"{known.url}/{repo}", "name": repo})
        if self.path == "/api/validate-yaml":
            return self._json({"errors": [], "warnings": []})
        repo = self.path.removeprefix("/api/models/").rsplit("/", 2)[0]
        if "/preupload/" in self.path:
            asked = [entry["path"] for entry in lines[0]["files"]]
            regular = [{"path": path, "uploadMode": "regular", "shouldIgnore": False} for path in asked]
            return self._json({"files": regular, "commitOid": COMMIT})
        for line in lines:
            if line["key"] == "file":
                known.add_hub_file(repo, line["value"]["path"], base64.b64decode(line["value"]["content"]))
        return self._json({"commitUrl": f"{known.url}/{repo}/commit/{COMMIT}", "commitOid": COMMIT})

    def _json(self, content: dict) -> None:
        data = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _answer(self, body: bool) -> None:
        known: StandIn = self.server.known
        path = unquote(self.path)
        span = self.headers.get("Range")
        known.requests.append((self.command, path, span))
        served = known.files.get(path, Served(status=404))
        if body and served.gate is not None:
            served.gate.wait(10)
        start, status = 0, served.status
        if served.busy:
            served.busy, status = served.busy - 1, 503
        same = self.headers.get("If-Range") in (None, served.headers.get("ETag"))
        if span and served.ranges and status == 200 and same:
            start, status = int(span.removeprefix("bytes=").rstrip("-")), 206
        if start > len(served.content) or (start and start == len(served.content)):
            status, start = 416, len(served.content)
        content = served.content[start:]
        self.send_response(status)
        headers = {"Content-Type": "application/octet-stream", **served.headers, "Content-Length": str(len(content))}
        if served.ranges:
            headers["Accept-Ranges"] = "bytes"
        if status == 206:
            headers["Content-Range"] = f"bytes {start}-{len(served.content) - 1}/{len(served.content)}"
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if not body:
            return
        if served.cuts:
            self.wfile.write(content[: served.cuts.pop(0)])
            self.wfile.flush()
            self.close_connection = True
            return
        self.wfile.write(content)
