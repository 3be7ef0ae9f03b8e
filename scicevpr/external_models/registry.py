"""Models of other people: how they are named, and the published ones that torch.hub can load.

Nothing of them is part of this project: torch.hub fetches their code and weights when somebody asks for one. Left out,
because their repositories have no hub entry point: MixVPR, SuperVLAD and SAGE. Of SelaVPR++ only the float model is
listed: its two-stage model gives two kinds of descriptor, and the search here takes one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from scicevpr.config import Preprocessing
from scicevpr.errors import UsageError

NOT_FOUND = "not found in its repository"


@dataclass(frozen=True)
class HubEntry:
    """One model on torch.hub.

    ``kwargs`` go to the entry point. ``descriptor_dim`` is what they lead to, checked when the model is loaded (None:
    not published). ``link`` is where that was read; ``note`` is what a user should know before using it.
    """

    name: str
    title: str
    repository: str
    entry: str
    preprocessing: Preprocessing
    descriptor_dim: int | None
    licence: str
    trained_on: str
    link: str
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""


def _size(rows: int, columns: int, interpolation: str = "bilinear") -> Preprocessing:
    """Antialiased, as torchvision resizes by default."""
    return Preprocessing(size=(rows, columns), antialias=True, interpolation=interpolation)


_NO_SIZE = "its README states no input size; 224x224 is this project's default"
_NO_RESIZE = "its authors do not resize; 480x640 is the size of Pitts30k's photos"

# name, title, repository, entry point, preprocessing, dimensions, licence, trained on, where that was read
KNOWN: dict[str, HubEntry] = {
    entry.name: entry
    for entry in (
        HubEntry(
            "megaloc", "MegaLoc", "gmberton/MegaLoc", "get_trained_model", _size(322, 322), 8448, "MIT",
            "several data sets, see its paper (arXiv 2502.17237)", "https://github.com/gmberton/MegaLoc/issues/2",
        ),
        HubEntry(
            "salad", "DINOv2 SALAD", "serizba/salad", "dinov2_salad", _size(322, 322), 8448, "GPL-3.0", "GSV-Cities",
            "https://github.com/serizba/salad",
            note="GPL-3.0: mind its terms when you pass on a work that contains it",
        ),
        HubEntry(
            "boq", "BoQ (DINOv2)", "amaralibey/bag-of-queries", "get_trained_boq", _size(322, 322, "bicubic"), 12288,
            "MIT", "GSV-Cities", "https://github.com/amaralibey/Bag-of-Queries",
            kwargs={"backbone_name": "dinov2", "output_dim": 12288},
        ),
        HubEntry(
            "boq-r50", "BoQ (ResNet50)", "amaralibey/bag-of-queries", "get_trained_boq", _size(384, 384, "bicubic"),
            16384, "MIT", "GSV-Cities", "https://github.com/amaralibey/Bag-of-Queries",
            kwargs={"backbone_name": "resnet50", "output_dim": 16384},
        ),
        HubEntry(
            "cosplace", "CosPlace", "gmberton/cosplace", "get_trained_model", _size(480, 640), 2048, NOT_FOUND, "SF-XL",
            "https://github.com/gmberton/CosPlace/issues/6",
            kwargs={"backbone": "ResNet50", "fc_output_dim": 2048}, note=_NO_RESIZE,
        ),
        HubEntry(
            "eigenplaces", "EigenPlaces", "gmberton/eigenplaces", "get_trained_model", _size(480, 640), 2048, "MIT",
            "SF-XL", "https://github.com/gmberton/EigenPlaces/issues/9",
            kwargs={"backbone": "ResNet50", "fc_output_dim": 2048}, note=_NO_RESIZE,
        ),
        HubEntry(
            "cricavpr-official", "CricaVPR (its authors' code)", "Lu-Feng/CricaVPR", "trained_model", Preprocessing(),
            10752, "MIT", "GSV-Cities", "https://github.com/Lu-Feng/CricaVPR",
            note="this project's cricavpr-b loads the same weights into its own code",
        ),
        HubEntry(
            "selavpr++", "SelaVPR++ (DINOv2-L)", "Lu-Feng/SelaVPRplusplus", "SelaVPRplusplus", _size(224, 224), None,
            "MIT", "its authors' unified data set", "https://github.com/Lu-Feng/SelaVPRplusplus",
            kwargs={"backbone": "dinov2-large", "aggregation": "gem", "hashing": False, "rerank": False},
            note=_NO_SIZE,
        ),
        HubEntry(
            "image4vpr", "ImAge", "Lu-Feng/ImAge", "ImAge", _size(224, 224), 6144, NOT_FOUND,
            "GSV-Cities or its authors' unified data set; its README does not say which this entry loads",
            "https://github.com/Lu-Feng/ImAge", note=_NO_SIZE,
        ),
        HubEntry(
            "edtformer", "EDTformer", "Tong-Jin01/EDTformer", "EDTformer", _size(322, 322), 4096, NOT_FOUND,
            "GSV-Cities", "https://github.com/Tong-Jin01/EDTformer",
        ),
    )
}  # fmt: skip
"""Known models by the name that `load_external`, `--model` and the app accept."""


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
        usual = self.known.kwargs if self.known is not None else {}
        return [f"{key}={value}" for key, value in self.kwargs.items() if usual.get(key) != value]

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
    Values are read as JSON where they are JSON ("512", "true"), else as text. Raises UsageError for anything else."""
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
