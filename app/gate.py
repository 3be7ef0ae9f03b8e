"""The gate before the whole server, MCP included: who may ask, from which page, for what, and how much at once.

A web page of strangers can send requests to a studio on this machine: openly from its own address, or, after its name
was made to resolve to 127.0.0.1, under that name. So the name that a request is addressed to must be known here, and
what changes or computes anything must come from this very page. Only the routes that the page needs are open; a
question is read and checked before gradio sees it.
"""

from __future__ import annotations

import ipaddress
import json
import logging
import os
import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import anyio.to_thread
from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.core.limits import REQUEST_BYTES, REQUEST_DEPTH, UPLOAD_BYTES

if TYPE_CHECKING:
    from app.page import StudioPage

logger = logging.getLogger(__name__)

VARIABLE = "SCICEVPR_ALLOWED_HOSTS"
FRAMES = 1_000_000
"""Bytes that an upload may have beside its files: their names and the lines between them."""
MOST_BRACKETS = 100_000
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
API = "/gradio_api/"
ROUTES = re.compile(
    r"/|/(config|theme\.css|favicon\.ico|robots\.txt|manifest\.json)/?|/(assets|static|svelte|studio)/.+"
    r"|/gradio_api/(info|openapi\.json|startup-events|app_id|user|login_check|token|theme\.css|upload|upload_progress"
    r"|cancel|reset|queue/(join|data|status)|mcp(/.*)?|heartbeat/[^/]+|file=.+|file/.+|(run|api)/[^/]+"
    r"|call/(v2/)?[^/]+(/[^/]+)?)/?"
)
"""What a browser, gradio's clients and MCP ask for. Gradio offers more (recordings, proxies, links that keep a page's
state on the disk); nothing here uses it."""
HOST = re.compile(r"(\[(?P<ipv6>[0-9a-f:.]+)\]|(?P<name>[a-z0-9._-]+))(:\d{1,5})?")
QUESTION = re.compile(
    r"/gradio_api/(queue/join|(?:run|api)/(?P<run>[^/]+)|call/v2/(?P<v2>[^/]+)|call/(?P<call>[^/]+))/?"
)


class Refusal(Exception):
    """A request that is not let through: HTTP status and the sentence to say."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


class Rules:
    """What the gate of one page lets through. hosts: names under which it may be asked, beside those of loopback and
    those in SCICEVPR_ALLOWED_HOSTS. shared: others than this machine can reach it. has_room: whether so many bytes may
    be uploaded."""

    def __init__(self, page: StudioPage, hosts: Iterable[str] = ()) -> None:
        self.page = page
        self.shared = False
        self.has_room: Callable[[int], bool] = lambda size: True
        self._hosts: set[str] = set()
        self.allow(*hosts, *os.environ.get(VARIABLE, "").split(","), os.environ.get("SPACE_HOST", ""))

    def allow(self, *hosts: str) -> None:
        """Let the page be asked under more names."""
        self._hosts |= {name for name in map(host_name, hosts) if name}

    def knows(self, host: str) -> bool:
        """True for a Host header that this page may be asked under."""
        name = host_name(host)
        if name in self._hosts or name == "localhost" or name.endswith(".localhost"):
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            share = getattr(self.page, "share_url", None)
            return bool(share) and name == host_name(urlsplit(share).netloc)
        # a page of strangers can borrow a name, never an address; with its own address it would be another machine
        return address.is_loopback or self.shared

    def same_page(self, origin: str, host: str) -> bool:
        """True where a request's Origin is the page itself."""
        _, _, asked = origin.strip().lower().partition("://")
        name = host_name(asked)  # of allowed names any port: proxies seldom pass theirs on
        return bool(name) and (asked == host.strip().lower() or name in self._hosts)


class Gate:
    """ASGI middleware over the whole server."""

    def __init__(self, app: ASGIApp, rules: Rules) -> None:
        self.app = app
        self.rules = rules
        self._known: dict[str, dict[str, bool]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await self.app(scope, receive, send)
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            if scope["type"] != "http":
                raise Refusal(404, "This server has no web sockets.")
            received = await self._admitted(scope, receive)
            return await self.app(self._plain(scope), received, watched)
        except Refusal as refusal:
            answer = JSONResponse({"detail": refusal.message, "error": refusal.message}, refusal.status)
        except Exception:
            if started:
                raise
            logger.exception("unexpected error while a request was answered")
            words = "Something went wrong on our side, and the server's log says what."
            answer = JSONResponse({"detail": words, "error": words}, 500)
        return await answer(scope, receive, send)

    async def _admitted(self, scope: Scope, receive: Receive) -> Receive:
        """How the request's body is read on. Raises Refusal."""
        headers, path = Headers(scope=scope), scope["path"].removeprefix(scope.get("root_path") or "")
        host = headers.get("host", "")
        if len(headers.getlist("host")) != 1 or not self.rules.knows(host):
            raise Refusal(
                421,
                "This page does not go by the name it was asked under. Use 127.0.0.1, or start the studio with "
                f"--allow-host NAME (or {VARIABLE}).",
            )
        origin, changes = headers.get("origin"), scope["method"] not in SAFE_METHODS
        elsewhere = changes and headers.get("sec-fetch-site") == "cross-site"  # a link to the page is welcome
        if not self.rules.same_page(origin, host) if origin else elsewhere:
            raise Refusal(403, "Another web page may not ask this one. Open the studio's own page.")
        if not ROUTES.fullmatch(path) or "://" in unquote(path):
            raise Refusal(404, "There is nothing at this address.")
        if scope["method"] in SAFE_METHODS:
            return receive
        if path.rstrip("/") == f"{API}upload":
            return await self._upload(headers, receive)
        body = await _body(receive, headers)
        content = await anyio.to_thread.run_sync(_json, body)
        if question := QUESTION.fullmatch(path):
            self._check_question(question, content)
        return _again(body, receive)

    def _plain(self, scope: Scope) -> Scope:
        """The request without what gradio would believe: where the page is served, if a stranger says so, and which
        parts of a file are wanted, which it reads wrongly. A server may always answer with the whole file."""
        kept = []
        for name, value in scope["headers"]:
            text = value.decode("latin-1").split(",")[0].strip()
            strange = name == b"x-forwarded-host" and not self.rules.knows(text)
            strange |= name == b"x-forwarded-proto" and text not in ("http", "https")
            if not strange and name not in (b"range", b"x-gradio-server"):
                kept.append((name, value))
        return {**scope, "headers": kept}

    async def _upload(self, headers: Headers, receive: Receive) -> Receive:
        """Reading of an upload that ends when it becomes too large."""
        most = UPLOAD_BYTES + FRAMES
        too_much = Refusal(413, f"At most {UPLOAD_BYTES / 1e6:g} MB can be uploaded at once.")
        stated = headers.get("content-length", "")
        if stated.isdigit() and int(stated) > most:
            raise too_much
        if not await anyio.to_thread.run_sync(self.rules.has_room, int(stated) if stated.isdigit() else UPLOAD_BYTES):
            raise Refusal(507, "There is no space for more uploads at the moment. Try again later.")
        size = 0

        async def read() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > most:
                raise too_much
            return message

        return read

    def _check_question(self, question: re.Match, content: Any) -> None:
        """Refuse a question to nobody, or with other arguments than there are."""
        if not isinstance(content, dict):
            raise Refusal(422, f"A question is a JSON object, not {_kind(content)}.")
        if question["v2"]:
            return self._check_named(question["v2"], content)
        data = content.get("data")
        if not isinstance(data, list):
            raise Refusal(422, f"A question holds its values as a list under data, not as {_kind(data)}.")
        session = content.get("session_hash")
        if session is not None and (not isinstance(session, str) or len(session) > 64):
            raise Refusal(422, "session_hash must be a short text.")
        index, name = content.get("fn_index"), question["run"] or question["call"]
        if name is not None and index is None:
            return self._check_endpoint(name)
        if isinstance(index, bool) or not isinstance(index, int) or index not in self.rules.page.fns:
            raise Refusal(404, f"There is no event {str(index)[:20]}. Reload the page.")
        if self.rules.page.fns[index].fn is None:
            raise Refusal(404, "This event is the browser's own.")
        return None

    def _check_endpoint(self, name: str) -> None:
        known = [fn.api_name for fn in self.rules.page.fns.values() if fn.fn is not None]
        if name not in known:
            public = sorted(self._parameters())
            raise Refusal(404, f"There is no endpoint {name[:60]!r}. There are: {', '.join(public)}.")

    def _check_named(self, name: str, content: dict[str, Any]) -> None:
        endpoints = self._parameters()
        if name not in endpoints:
            raise Refusal(404, f"There is no endpoint {name[:60]!r}. There are: {', '.join(sorted(endpoints))}.")
        known = endpoints[name]
        strange = [key for key in content if key not in known]
        if strange:
            takes = ", ".join(known) or "no arguments"
            raise Refusal(422, f"{name} has no argument {strange[0][:60]!r}. It takes: {takes}.")
        missing = [key for key, needed in known.items() if needed and key not in content]
        if missing:
            raise Refusal(422, f"{name} needs the argument {missing[0]!r}.")

    def _parameters(self) -> dict[str, dict[str, bool]]:
        """Arguments of every public endpoint, and whether one must be given."""
        if not self._known:  # they do not change while the page is served
            endpoints = self.rules.page.get_api_info()["named_endpoints"]
            self._known = {
                name.lstrip("/"): {p["parameter_name"]: not p["parameter_has_default"] for p in info["parameters"]}
                for name, info in endpoints.items()
            }
        return self._known


def host_name(host: str) -> str:
    """The name in a Host header, without port and brackets, in small letters; "" for what is no host."""
    found = HOST.fullmatch(host.strip().lower())
    return "" if found is None else found["ipv6"] or found["name"]


async def _body(receive: Receive, headers: Headers) -> bytes:
    stated = headers.get("content-length", "")
    too_much = Refusal(413, f"A question may have {REQUEST_BYTES:,} bytes at most. Upload the photo first.")
    if stated.isdigit() and int(stated) > REQUEST_BYTES:
        raise too_much
    parts, size = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refusal(400, "The question broke off.")
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > REQUEST_BYTES:
            raise too_much
        if not message.get("more_body"):
            return b"".join(parts)


def _again(body: bytes, receive: Receive) -> Receive:
    """A way of reading that gives the body first, and then what comes after it."""
    left = [{"type": "http.request", "body": body, "more_body": False}]

    async def read() -> Message:
        return left.pop() if left else await receive()

    return read


QUOTED = re.compile(rb'(?s)"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?\Z)')
"""A quoted part, or one that never ends: in one pass, whatever the text."""


def _json(body: bytes) -> Any:
    """The content of a question. Refuses what is so deeply nested that reading it would fail."""
    if not body:
        return None
    try:
        text = body.decode("utf-8")  # of bytes json.loads would also take UTF-16, whose brackets are not counted here
    except UnicodeDecodeError as error:
        raise Refusal(400, "A question must be JSON in UTF-8.") from error
    bare = QUOTED.sub(b"", body)
    if bare.count(b"[") + bare.count(b"{") > MOST_BRACKETS or _depth(bare) > REQUEST_DEPTH:
        raise Refusal(422, f"A question may be nested {REQUEST_DEPTH} levels deep at most.")
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Refusal(400, "A question must be JSON.") from error


def _depth(bare: bytes) -> int:
    """How deep the brackets of a text without quoted parts are nested."""
    depth = deepest = 0
    for found in re.finditer(rb"[\[{\]}]", bare):
        depth += 1 if found[0] in (b"[", b"{") else -1
        deepest = max(deepest, depth)
    return deepest


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "nothing"}
    return names.get(type(value), "a number")
