"""The way to a Milvus, a file (Milvus Lite) or a server: patience where that helps, errors without a token in them.

pymilvus logs every error with a traceback before it raises it. Its loggers are silenced here while something is asked
for, because the errors raised here say the same, and because a log is no place for a token.
"""

from __future__ import annotations

import json
import logging
import os
import re
import time
from collections import Counter
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from scicevpr.errors import SciceVPRError, UsageError
from scicevpr.progress import silenced

INSTALL = 'pip install "scicevpr[milvus]"'
TOKEN_VARIABLE = "MILVUS_TOKEN"
CONNECT_SECONDS = 5.0
ASK_SECONDS, WRITE_SECONDS = 30.0, 120.0
WAITS = (0.5, 1.0, 2.0, 4.0, 8.0)  # seconds before each further try after an error that may pass
PASSING = {"UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "ABORTED"}
RATE_LIMIT = 8
SILENCED = ("pymilvus", "milvus_lite", "grpc")

_opened: Counter[str] = Counter()  # files of Milvus Lite and how many connections of this process use each


class MilvusError(SciceVPRError):
    """A Milvus that cannot be reached, refuses what is asked, or broke down."""


class Connection:
    """A Milvus client that tries again after errors that may pass.

    uri: a file that ends in .db (Milvus Lite), or http(s)://HOST:PORT of a server. token: "USER:PASSWORD" or an API key
    (default: the environment variable MILVUS_TOKEN). create: make the file if it does not exist. waits: seconds before
    each further try. client: a ready one instead, for tests. Raises UsageError for another form of uri or a missing
    package, MilvusError when nothing answers there.
    """

    def __init__(
        self,
        uri: str,
        token: str | None = None,
        *,
        create: bool = True,
        waits: tuple[float, ...] = WAITS,
        client: Any = None,
    ) -> None:
        self.uri, self.local = _checked(uri)
        self._token = os.environ.get(TOKEN_VARIABLE, "") if token is None else token
        self._waits = waits
        self._client = client or self._connect(create)

    def __repr__(self) -> str:
        return f"Connection({self.uri!r})"

    def ask(self, name: str, *arguments: Any, **options: Any) -> Any:
        """Call a method of the client. Errors that may pass are tried again; MilvusError when they do not."""
        options.setdefault("timeout", ASK_SECONDS)
        for wait in (*self._waits, None):
            try:
                with _silence():
                    return getattr(self._client, name)(*arguments, **options)
            except Exception as error:
                if not _is_theirs(error):
                    raise
                if wait is None or not may_pass(error):
                    raise MilvusError(
                        f"Milvus at {self.uri} did not do what was asked ({name}): {self._message(error)}"
                    ) from None  # the chain could hold what was sent
                time.sleep(wait)
        raise AssertionError("unreachable")

    def close(self) -> None:
        """End the connection; a file is free for other programs when its last connection here has ended."""
        if self._client is None:
            return
        client, self._client = self._client, None
        with _silence():
            client.close()
            if self.local:
                _opened[self.uri] -= 1
                if _opened[self.uri] <= 0:
                    from milvus_lite.server_manager import server_manager_instance

                    server_manager_instance.release_server(self.uri)

    def _connect(self, create: bool) -> Any:
        client_class = _require_client(self.local)
        if self.local and not create and not Path(self.uri).exists():
            raise UsageError(f"There is no file {self.uri}. `scicevpr milvus load` makes one.")
        if self.local:
            Path(self.uri).parent.mkdir(parents=True, exist_ok=True)
        try:
            with _silence():
                client = client_class(uri=self.uri, token=self._token, timeout=CONNECT_SECONDS)
        except Exception as error:
            if self.local:
                raise MilvusError(
                    f"{self.uri} cannot be opened as a file of Milvus Lite. Another program may have it open (one at a "
                    "time can), or it is something else; name another file."
                ) from None
            raise MilvusError(
                f"No Milvus answers at {self.uri}: {self._message(error)}. Is the server started (docs/milvus.md), the "
                f"port right (19530 by default), and the token ({TOKEN_VARIABLE})? Where a proxy is set, the server's "
                "name belongs into the environment variable no_proxy."
            ) from None
        if self.local:
            _opened[self.uri] += 1
        return client

    def _message(self, error: Exception) -> str:
        """An error's own message in one line, without the token."""
        text = " ".join(str(getattr(error, "message", "") or error).split())[:500].rstrip(".")
        for secret in (self._token, *self._token.split(":", 1)[1:]):
            text = text.replace(secret, "***") if secret else text
        return text


def may_pass(error: Exception) -> bool:
    """Whether trying again may help: the server is away, busy, or says so itself."""
    if getattr(error, "retriable", False) is True:
        return True
    code = getattr(error, "code", None)
    code = code() if callable(code) else code
    if getattr(code, "name", None) in PASSING or code == RATE_LIMIT:
        return True
    return type(error).__name__ in ("ConnectError", "MilvusUnavailableException")


def quoted(text: str) -> str:
    """A text as a filter holds it. UsageError for control characters, which no server takes."""
    if any(ord(character) < 32 for character in text):
        raise UsageError(f"{text!r} holds characters that cannot be searched for.")
    return json.dumps(text, ensure_ascii=False)


def check_name(collection: str) -> str:
    """The name of a collection, if Milvus takes it. UsageError otherwise."""
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,200}", collection):
        raise UsageError(
            f"A collection cannot be called {collection!r}: letters of English, digits and _ are allowed, no digit in "
            "front, 201 characters at most."
        )
    return collection


def _checked(uri: str) -> tuple[str, bool]:
    """The address, and whether it is a file. UsageError for what is neither."""
    uri = str(uri)
    if "://" not in uri:
        if not uri.endswith(".db"):
            raise UsageError(
                f"{uri!r} is neither a file of Milvus Lite (its name ends in .db) nor the address of a server "
                "(http://HOST:19530)."
            )
        return os.path.abspath(os.path.expanduser(uri)), True
    parts = urlsplit(uri)
    if parts.username or parts.password:
        raise UsageError(
            f"The address of a server must not hold a password. Give USER:PASSWORD as the token ({TOKEN_VARIABLE})."
        )
    if parts.scheme not in ("http", "https", "tcp") or not parts.hostname:
        raise UsageError(f"{uri!r} is not the address of a server, such as http://localhost:19530.")
    return uri, False


def _require_client(local: bool) -> Any:
    try:
        with _silence():
            from pymilvus import MilvusClient

            if local:
                import milvus_lite  # noqa: F401
    except ImportError as error:
        raise UsageError(f"Milvus needs the package {error.name}, which is not installed: {INSTALL}") from None
    return MilvusClient


def _is_theirs(error: Exception) -> bool:
    """Whether an error comes from pymilvus or grpc, not from a mistake in this program."""
    return any(base.__module__.split(".")[0] in ("pymilvus", "grpc") for base in type(error).__mro__)


def _silence() -> AbstractContextManager[None]:
    return silenced(SILENCED, logging.CRITICAL + 1)
