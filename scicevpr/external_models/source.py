"""How a model of other people is named: a known name, a torch.hub entry, a function of an installed package."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from scicevpr.errors import UsageError
from scicevpr.external_models.registry import KNOWN, HubEntry

PREFIXES = ("hub:", "python:")
_REPOSITORY = re.compile(r"(?P<repository>[\w.-]+/[\w.-]+)(@(?P<ref>[\w./-]+))?")
_FORMS = "hub:OWNER/REPO:ENTRY, hub:OWNER/REPO@BRANCH_OR_TAG:ENTRY, hub:/LOCAL/FOLDER:ENTRY or python:MODULE:FUNCTION"


@dataclass(frozen=True)
class ExternalSource:
    """Where the code is and what to call in it.

    ``kind``: "github" (``place`` is owner/repo, ``ref`` a branch or tag, or None for the default branch), "folder"
    (``place`` is a path), "python" (``place`` is a module), or "object" (a model given in Python: ``entry`` is only its
    name). ``known`` is the registry's entry, if it is one of those.
    """

    kind: str
    place: str
    entry: str
    ref: str | None = None
    kwargs: dict[str, Any] = field(default_factory=dict)
    known: HubEntry | None = None

    @property
    def label(self) -> str:
        """How the code is named in protocols; without the folder's location, so that it may be moved."""
        if self.kind == "object":
            return f"given in Python: {self.entry}"
        place = Path(self.place).resolve().name if self.kind == "folder" else self.place
        return f"{place}{f'@{self.ref}' if self.ref else ''}:{self.entry}"

    @property
    def title(self) -> str:
        """What tables and columns call the model."""
        if self.kind == "object":
            return self.entry
        if self.known is None:
            return f"{self.entry} ({self.label.rpartition(':')[0]})"
        return f"{self.known.title} ({', '.join(self._changed)})" if self._changed else self.known.title

    @property
    def name(self) -> str:
        """A short name that can be part of a file name."""
        text = self.entry if self.kind == "object" else self.label
        if self.known is not None:
            text = " ".join([self.known.name, *self._changed])
        return "-".join(re.findall(r"[a-z0-9._+]+", text.lower())) or "model"

    @property
    def _changed(self) -> list[str]:
        """The arguments that are not the registry's."""
        return [f"{key}={value}" for key, value in self.kwargs.items() if self.known.kwargs.get(key) != value]

    @property
    def call(self) -> str:
        """What is called, as Python code."""
        return f"{self.entry}({', '.join(self.arguments)})"

    @property
    def arguments(self) -> list[str]:
        """The arguments, as Python code."""
        return [f"{key}={value!r}" for key, value in self.kwargs.items()]


def is_external(name: str | Path) -> bool:
    """True for the names that `load_external` takes. A file or folder of a known model's name is no such name."""
    text = str(name)
    if text.startswith(PREFIXES):
        return True
    return text.partition("?")[0].lower() in KNOWN and not Path(text).exists()


def parse_source(text: str) -> ExternalSource:
    """Read a name: "megaloc", or one of the forms hub:… and python:…, each with "?key=value&key=value" if need be.

    Values are read as JSON where they are JSON ("512", "true"), else as text. Raises UsageError for anything else.
    """
    place, _, query = text.partition("?")
    kwargs = {key: _value(value) for key, value in parse_qsl(query, keep_blank_values=True)}
    known = KNOWN.get(place.lower())
    if known is not None:
        kwargs = {**known.kwargs, **kwargs}
        return ExternalSource("github", known.repository, known.entry, kwargs=kwargs, known=known)
    prefix, _, rest = place.partition(":")
    place, _, entry = rest.rpartition(":")
    if f"{prefix}:" in PREFIXES and place and entry.isidentifier():
        if prefix == "python":
            return ExternalSource("python", place, entry, kwargs=kwargs)
        folder = Path(place).expanduser()
        if place.startswith((".", "/", "~")) or folder.is_dir():
            return ExternalSource("folder", str(folder), entry, kwargs=kwargs)
        found = _REPOSITORY.fullmatch(place)
        if found:
            return ExternalSource("github", found["repository"], entry, found["ref"], kwargs)
    raise UsageError(f"{text!r} names no model. Write {', '.join(KNOWN)}; or {_FORMS}.")


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
