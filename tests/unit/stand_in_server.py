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
PREFIX = {"model": "", "dataset": "datasets/", "space": "spaces/"}
LARGEST = 10 * 2**20  # bytes that the Hub takes into a commit itself


def _mode(repo: str, asked: dict) -> str:
    """How the Hub wants a file: large ones, and binaries of Spaces and data sets, apart from the commit."""
    binary = asked["path"].endswith((".safetensors", ".jpg", ".png", ".npz"))
    apart = asked["size"] > LARGEST or (binary and repo.startswith(("spaces/", "datasets/")))
    return "lfs" if apart else "regular"


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
    objects: dict[str, bytes] = field(default_factory=dict)  # SHA-256 -> a large file, before a commit names it

    def repository(self, name: str) -> dict[str, bytes]:
        """What a repository holds on its main branch, by file; name: "org/name", "spaces/org/name" ..."""
        start = f"/{name}/resolve/main/"
        return {path.removeprefix(start): f.content for path, f in self.files.items() if path.startswith(start)}

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

    def do_PUT(self) -> None:
        """A large file on its way into the store."""
        content = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.known.objects[hashlib.sha256(content).hexdigest()] = content
        self._json({})

    def do_POST(self) -> None:
        """As much of the Hub's upload as huggingface_hub needs: repositories, LFS, commits."""
        known: StandIn = self.server.known
        text = self.rfile.read(int(self.headers["Content-Length"])).decode()
        lines = [json.loads(line) for line in text.splitlines() if line.strip()]
        known.posts.append((self.path, {"lines": lines, "token": self.headers.get("Authorization")}))
        if self.path in known.files:
            return self._answer(body=True)
        if self.path == "/api/repos/create":
            repo = f"{lines[0]['organization']}/{lines[0]['name']}"
            return self._json({"url": f"{known.url}/{PREFIX[lines[0].get('type', 'model')]}{repo}", "name": repo})
        if self.path == "/api/validate-yaml":
            return self._json({"errors": [], "warnings": []})
        if self.path.endswith("/info/lfs/objects/batch"):
            wanted = [entry for entry in lines[0]["objects"] if entry["oid"] not in known.objects]
            actions = [{**e, "actions": {"upload": {"href": f"{known.url}/lfs/{e['oid']}"}}} for e in wanted]
            return self._json({"transfer": "basic", "objects": actions})
        repo = self.path.removeprefix("/api/").removeprefix("models/").rsplit("/", 2)[0]
        if "/preupload/" in self.path:
            asked = lines[0]["files"]
            found = [{"path": e["path"], "uploadMode": _mode(repo, e), "shouldIgnore": False} for e in asked]
            return self._json({"files": found, "commitOid": COMMIT})
        for key, value in ((line["key"], line["value"]) for line in lines):
            if key == "file":
                content = base64.b64decode(value["content"])
                if len(content) > LARGEST:
                    return self._json({"error": "Files larger than 10 MiB need LFS or Xet"}, 400)
                known.add_hub_file(repo, value["path"], content)
            elif key == "lfsFile":
                known.add_hub_file(repo, value["path"], known.objects[value["oid"]])
            elif key == "deletedFile":
                del known.files[f"/{repo}/resolve/main/{value['path']}"]
        return self._json({"commitUrl": f"{known.url}/{repo}/commit/{COMMIT}", "commitOid": COMMIT})

    def _json(self, content: dict | list, status: int = 200) -> None:
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _answer(self, body: bool) -> None:
        known: StandIn = self.server.known
        path = unquote(self.path)
        span = self.headers.get("Range")
        known.requests.append((self.command, path, span))
        if path.startswith("/api/") and "/tree/main" in path:
            names = known.repository(path.removeprefix("/api/").partition("/tree/")[0].removeprefix("models/"))
            return self._json([{"type": "file", "path": n, "size": len(c), "oid": COMMIT} for n, c in names.items()])
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
            return None
        if served.cuts:
            content = content[: served.cuts.pop(0)]
            self.close_connection = True
        self.wfile.write(content)
        self.wfile.flush()
        return None
