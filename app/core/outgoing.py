"""Files that leave the page: copies that the server made, named by database and row or by what was made.

A component that shows or offers a file takes a `ServerFile` and nothing else (see `app.page`), so a text that a client
sent cannot become a file, whatever a handler does with it. All lie in gradio's upload cache, the only folder that is
served: of a public database in folders of their own, of a private one in the folder of its visit, with which they go.
"""

from __future__ import annotations

import os
import secrets
import shutil
from pathlib import Path

from app.core.databases import Databases
from app.core.upload_cache import upload_folder
from scicevpr.datasets import Photo
from scicevpr.errors import ImageError, UsageError
from scicevpr.files.photos import open_header

MADE = "made-"
MOST_COPIES = 100_000
NO_DISK = "the server's disk is full, or it cannot be written. Try again later."


class ServerFile(str):
    """The path of a file below gradio's upload cache that the server put there itself."""

    __slots__ = ()


class Outgoing:
    """Makes files that may leave, for the databases of one page."""

    def __init__(self, databases: Databases) -> None:
        self.databases = databases
        self._copies = databases.remembered(MOST_COPIES)

    def photo(self, key: str, photo: Photo) -> ServerFile:
        """A photo of a database as a file that may leave. UsageError when its file is not here, or is no photo: a data
        set's list, or a link in its folder, may name any file of this machine."""
        known = self._copies.get((key, photo.path))
        if known is not None and os.path.isfile(known):
            os.utime(known)  # gradio removes files by their age
            return known
        if not photo.path.is_file():
            raise UsageError(f"{photo.name} is known, but its photo is not here: the pack came without photos.")
        try:
            open_header(photo.path, photo.name).close()
        except ImageError:
            raise UsageError(f"{photo.name} is not a photo that can be read, so it is not shown.") from None
        visit = self.databases.folder(key)
        if visit is not None and photo.path.is_relative_to(visit):
            copy = ServerFile(photo.path)
        else:
            try:
                copy = ServerFile(shutil.copyfile(photo.path, self.folder(key) / photo.path.name))
            except OSError as error:
                raise UsageError(f"{photo.name} cannot be shown now: {NO_DISK}") from error
        return self._copies.put((key, photo.path), copy, key)

    def folder(self, *keys: str) -> Path:
        """A new folder, served under a name that nobody can guess, for files made from these databases."""
        private = [key for key in keys if self.databases.is_private(key)]
        base = (self.databases.folder(private[0]) if private else None) or upload_folder()
        folder = base / f"{MADE}{secrets.token_hex(16)}"
        folder.mkdir(parents=True)
        return folder

    @staticmethod
    def file(path: Path) -> ServerFile:
        """A file that the server wrote into such a folder, or into a visit's."""
        if not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(upload_folder())):
            raise ValueError("only files below the upload cache can leave")
        return ServerFile(path)
