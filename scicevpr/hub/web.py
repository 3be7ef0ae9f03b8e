"""Download one file from a web address: it goes on after a break and appears under its name only when whole.

While it comes, the file is called `<name>.part`, and `<name>.part.json` records of which version it is a part. Both are
kept after a failure only if the server can go on from the middle, and only for a version that it can name.
"""

from __future__ import annotations

import errno
import http.client
import json
import os
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

from filelock import FileLock

from scicevpr import __version__
from scicevpr.errors import WeightsError, first_line
from scicevpr.files.reading import sha256_of
from scicevpr.files.writing import bytes_label

Progress = Callable[[int, "int | None"], None]  # called with (bytes that are here, bytes in all or None)
CHUNK = 1 << 18
LONGEST_WAIT = 30.0
HTML_STARTS = (b"<!doctype html", b"<html", b"<head", b"<body")
BUSY = (408, 425, 429, 500, 502, 503, 504)
REFUSED = (401, 403)


class NoRouteError(WeightsError):
    """No server was reached that could answer: a copy that is here may serve instead."""


class _BrokenOffError(Exception):
    """The connection broke: worth another try."""


class _BusyError(_BrokenOffError):
    """The server cannot answer now: worth another try."""


def download(
    url: str,
    target: Path,
    *,
    sha256: str | None = None,
    progress: Progress | None = None,
    tries: int = 5,
    wait: float = 1.0,
    timeout: float = 30.0,
) -> None:
    """Download a file to `target`, unless it is there already. Other processes that want it wait for the first one.

    sha256: 64 hex digits that the file must have, or None. tries: failures in a row, without a new byte, before giving
    up. wait: seconds before the second try, doubled for each further one up to 30. timeout: seconds without an answer
    that count as a broken connection. Raises NoRouteError when offline, for an unknown host or a refused connection;
    WeightsError for everything else that goes wrong, which says what is left on disk.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _locked(target.with_name(target.name + ".lock")):
            if target.exists():
                return
            transfer = _Transfer(url, target.with_name(target.name + ".part"), progress, timeout)
            transfer.run(tries, wait)
            transfer.finish(target, sha256)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise WeightsError(
                f"The disk of {target.parent} is full; nothing of {url} was kept. Free some space."
            ) from error
        raise WeightsError(
            f"{url} could not be written to {target.parent} ({error.strerror or error}). Choose another folder with "
            "TORCH_HOME."
        ) from error


class _Transfer:
    """One file on its way into `part`."""

    def __init__(self, url: str, part: Path, progress: Progress | None, timeout: float) -> None:
        self.url, self.part, self.record = url, part, part.with_name(part.name + ".json")
        self.progress, self.timeout = progress, timeout
        self.total: int | None = None
        self.version: str | None = None  # what If-Range compares; None: the server cannot go on from the middle
        self.reached = False
        self.have = self._take_up()

    def run(self, tries: int, wait: float) -> None:
        """Bring the whole file into `part`; on the way out by an error, keep of it only what is of use."""
        failures, useful = 0, False
        try:
            while self.total is None or self.have < self.total:
                before = self.have
                try:
                    self._attempt()
                    break
                except _BrokenOffError as error:
                    failures = 1 if self.version and self.have > before else failures + 1
                    if failures >= tries:
                        useful = self.version is not None
                        raise WeightsError(self._given_up(error, failures)) from error
                    if not self.version:
                        self._discard()
                    time.sleep(min(wait * 2 ** (failures - 1), LONGEST_WAIT))
            useful = True
        except (KeyboardInterrupt, NoRouteError):
            useful = self.version is not None
            raise
        finally:
            if not useful:
                self._discard()

    def finish(self, target: Path, sha256: str | None) -> None:
        """Check the whole file and give it its name."""
        found = sha256_of(self.part)
        if sha256 not in (None, found):
            size = bytes_label(self.have)
            self._discard()
            raise WeightsError(
                f"{self.url} has the wrong checksum: SHA-256 {found} ({size}), expected {sha256}. The download was "
                "deleted. Try again; if it is the same then, the file was changed or the checksum is not this file's."
            )
        os.replace(self.part, target)
        self._discard()

    def _attempt(self) -> None:
        headers = {"User-Agent": f"scicevpr/{__version__}", "Accept-Encoding": "identity"}
        if self.have:
            headers |= {"Range": f"bytes={self.have}-", "If-Range": self.version or ""}
        try:
            response = urllib.request.urlopen(urllib.request.Request(self.url, headers=headers), timeout=self.timeout)
        except urllib.error.HTTPError as error:
            with error:
                return self._refused(error)
        except urllib.error.URLError as error:
            if self.reached:
                raise _BrokenOffError(str(error.reason)) from error
            raise NoRouteError(f"{urlsplit(self.url).netloc} cannot be reached ({error.reason})") from error
        except ValueError as error:
            raise WeightsError(f"{self.url} is no web address ({error}).") from error
        except (OSError, http.client.HTTPException) as error:
            self.reached = True
            raise _BrokenOffError(first_line(error)) from error
        self.reached = True
        with response:
            self._begin(response)
            self._receive(response)
        return None

    def _refused(self, error: urllib.error.HTTPError) -> None:
        self.reached = True
        if error.code == 416 and self.have:  # our part is not a part of what is there now
            self._discard()
            return self._attempt()
        if error.code in BUSY:
            raise _BusyError(f"the server answers {error.code} {error.reason}")
        self._discard()
        if error.code in REFUSED:
            raise WeightsError(
                f"{self.url} is not open to you (the server answers {error.code} {error.reason}). Download it in a "
                "browser where you are logged in, and give the file by its path."
            )
        raise WeightsError(
            f"There is no file at {self.url} (the server answers {error.code} {error.reason}). Check the address."
        )

    def _begin(self, response: http.client.HTTPResponse) -> None:
        """Learn size and version from the answer, and make `part` end where the answer begins."""
        if response.status == 206:
            start, total = _content_range(response.headers.get("Content-Range", ""))
            if (start, total) != (self.have, self.total) or _version(response) not in (None, self.version):
                self._discard()
                raise _BrokenOffError("the server sent a part of another file than the one begun")
            return
        self._discard()
        if response.headers.get("Content-Encoding", "identity") == "identity":
            length = response.headers.get("Content-Length", "")
            self.total = int(length) if length.isdigit() else None
        ranges = response.headers.get("Accept-Ranges", "").lower() == "bytes"
        self.version = _version(response) if ranges and self.total is not None else None
        free = shutil.disk_usage(self.part.parent).free
        if self.total is not None and self.total > free:
            raise WeightsError(
                f"The disk of {self.part.parent} is too full for {self.url}: it needs {bytes_label(self.total)}, "
                f"{bytes_label(free)} are free. Nothing was downloaded."
            )
        if self.version:
            record = {"url": self.url, "version": self.version, "total": self.total}
            self.record.write_text(json.dumps(record), encoding="utf-8")

    def _receive(self, response: http.client.HTTPResponse) -> None:
        with self.part.open("ab") as file:
            while True:
                try:
                    chunk = response.read1(CHUNK)
                except (OSError, http.client.HTTPException) as error:
                    raise _BrokenOffError(first_line(error)) from error
                if not chunk:
                    break
                if not self.have:
                    self._refuse_page(chunk, response.headers.get_content_type())
                file.write(chunk)
                self.have += len(chunk)
                if self.progress is not None:
                    self.progress(self.have, self.total)
            file.flush()
            os.fsync(file.fileno())
        if self.total is not None and self.have < self.total:
            raise _BrokenOffError("the connection was closed")
        if self.have == 0:
            raise WeightsError(f"{self.url} is empty (0 bytes). Check the address.")

    def _refuse_page(self, start: bytes, kind: str) -> None:
        if kind == "text/html" or start.lstrip()[:20].lower().startswith(HTML_STARTS):
            raise WeightsError(
                f"{self.url} is a web page, not a weights file or archive, and was not kept. Copy the address of the "
                "file itself "
                "(on a release page: the link's target); behind a login, download it in a browser and give its path."
            )

    def _take_up(self) -> int:
        """Size of what an earlier, broken or killed, download of the same file left; 0 if it is of no use."""
        try:
            record = json.loads(self.record.read_text(encoding="utf-8"))
            size = self.part.stat().st_size
            if record["url"] == self.url and 0 < size <= record["total"]:
                self.version, self.total = str(record["version"]), int(record["total"])
                return size
        except (OSError, ValueError, KeyError, TypeError):
            pass
        self._discard()
        return 0

    def _discard(self) -> None:
        self.have, self.total, self.version = 0, None, None
        self.part.unlink(missing_ok=True)
        self.record.unlink(missing_ok=True)

    def _given_up(self, error: _BrokenOffError, failures: int) -> str:
        if isinstance(error, _BusyError):
            text = f"{self.url} cannot be downloaded now: {error}, {failures} times in a row. "
        else:
            whole = "an unknown size" if self.total is None else bytes_label(self.total)
            text = f"The download of {self.url} broke off at {bytes_label(self.have)} of {whole} ({error}). "
        if self.version and self.have:
            return text + f"What came is kept in {self.part}: run the same again, and it goes on from there."
        if self.have:
            text += "Nothing was kept, because the server cannot go on from the middle. "
        return text + "Run the same again later."


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One process at a time. The lock file goes away with the lock; those who wait notice and lock a new one."""
    with FileLock(path):
        try:
            yield
        finally:
            with suppress(OSError):
                path.unlink()


def _version(response: http.client.HTTPResponse) -> str | None:
    """What names this version of the file: a strong ETag, else the date of its last change."""
    etag = response.headers.get("ETag", "")
    return etag if etag and not etag.startswith("W/") else response.headers.get("Last-Modified")


def _content_range(text: str) -> tuple[int | None, int | None]:
    """(start, total) of "bytes 100-199/200"."""
    span, _, total = text.removeprefix("bytes ").partition("/")
    start = span.partition("-")[0]
    return (int(start) if start.isdigit() else None), (int(total) if total.isdigit() else None)
