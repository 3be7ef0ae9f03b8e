"""Where weights come from: one registry of known sources, and the reading of a source that a user typed.

A source is one of, tried in this order:

- a path that exists: a file, or a folder that `save_pretrained` wrote. An existing path wins over all that follows;
- a web address, `https://…/file.pth`, optionally with `#sha256=` and 64 hex digits. Pages of huggingface.co are read as
  the repository that they show;
- a file in a Hub repository: `hf:org/name`, `hf:org/name@revision/path/in/repo.safetensors`;
- a name of the registry: `cricavpr-b`, `dinov2-b`, `dinov2-b:facebook`;
- a path that does not exist, told by a suffix such as .pth, a leading / . or ~, or more than one slash;
- a Hub repository, `org/name` or `org/name@revision`: its `model.safetensors`.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from scicevpr.config import VARIANTS, bundled_path
from scicevpr.errors import WeightsError

MODEL_FILE = "model.safetensors"
SUFFIXES = (".safetensors", ".pth", ".pt", ".ckpt", ".bin")
NO_OFFICIAL_WEIGHTS = (
    "No official weights of SciceVPR or Super-CricaVPR are published by their authors, at any size. The weights of the "
    "T family that come with this project were trained by this project, on frozen ImageNet features and drawn cities, "
    "and are not official."
)


@dataclass(frozen=True)
class LocalFile:
    """A file or a saved model's folder on this computer; it need not exist."""

    path: Path


@dataclass(frozen=True)
class HubFile:
    """A file in a model repository of the Hugging Face Hub; revision None is the default branch."""

    repo: str
    file: str = MODEL_FILE
    revision: str | None = None


@dataclass(frozen=True)
class UrlFile:
    """A file behind a web address. sha256: 64 hex digits, or None where no checksum is published.

    as_torch_hub: kept under its bare name, where torch.hub's own downloads of the same release file are found."""

    url: str
    sha256: str | None = None
    as_torch_hub: bool = False

    @property
    def file_name(self) -> str:
        """Name in the cache. Other addresses carry a mark, so that two files of one name do not meet."""
        base = PurePosixPath(unquote(urlsplit(self.url).path)).name or "weights"
        if self.as_torch_hub:
            return base
        mark = hashlib.sha256(self.url.encode()).hexdigest()[:8]
        return f"{PurePosixPath(base).stem}-{mark}{PurePosixPath(base).suffix}"


Location = LocalFile | HubFile | UrlFile


@dataclass(frozen=True)
class WeightsEntry:
    """A known source of weights. variant: the model it fills; or size: the backbone it fills (S, B, L)."""

    name: str
    place: Location
    what: str
    licence: str
    official: bool
    variant: str | None = None
    size: str | None = None

    @property
    def kind(self) -> str:
        """bundled, hub or url."""
        return {LocalFile: "bundled", HubFile: "hub", UrlFile: "url"}[type(self.place)]

    @property
    def where(self) -> str:
        """The place in words that a browser or `weights get` understands."""
        return address(self.place)


@dataclass(frozen=True)
class Source:
    """What a source string means. places: where the same weights lie, the one to download first.

    registered: named by the registry, so a copy in the cache is taken as it is."""

    text: str
    places: tuple[Location, ...]
    registered: bool = False


def registry() -> tuple[WeightsEntry, ...]:
    """All known sources. The bundled files lie in the assets folder of the moment, so this is not a constant."""
    return (*_bundled(), *REGISTRY)


def entries_named(name: str) -> tuple[WeightsEntry, ...]:
    """The sources behind a registry name: one for "dinov2-b:timm", three for "dinov2-b", none for a strange name."""
    name = name.lower()
    return tuple(entry for entry in registry() if name in (entry.name, entry.name.partition(":")[0]))


def parse_source(source: str | Path | Source) -> Source:
    """Read a source (see the module's text for the forms and their order). Nothing is downloaded. Raises WeightsError
    for text that is no source of any form."""
    if isinstance(source, Source):
        return source
    text, path = str(source).strip(), Path(source).expanduser()
    if isinstance(source, Path) or path.is_file() or (path / MODEL_FILE).is_file():
        return Source(text, (LocalFile(path),))
    if re.match(r"https?://", text, re.IGNORECASE):
        return _web_source(text)
    if text.lower().startswith("hf:"):
        return Source(text, (_hub_file(text, text[3:].removeprefix("//")),))
    entries = entries_named(text)
    if entries:
        return Source(text, tuple(entry.place for entry in entries), registered=True)
    if path.suffix.lower() in SUFFIXES or text.startswith(("/", ".", "~")) or "\\" in text or path.is_dir():
        return Source(text, (LocalFile(path),))
    if text.partition("@")[0].count("/") == 1:
        return Source(text, (_hub_file(text, text),))
    if "/" in text:
        return Source(text, (LocalFile(path),))
    raise WeightsError(
        f"{text!r} is no source of weights: there is no such file, and the registry does not know the name. Known: "
        f"{', '.join(dict.fromkeys(entry.name.partition(':')[0] for entry in registry()))}. Other sources: a path, "
        "https://…, org/name or hf:org/name/file on the Hugging Face Hub."
    )


def address(place: Location) -> str:
    """A place in words: a path, a web address, or hf:org/name@revision/file."""
    if isinstance(place, LocalFile):
        return str(place.path)
    if isinstance(place, UrlFile):
        return place.url
    revision = f"@{place.revision.replace('/', '%2F')}" if place.revision else ""
    return f"hf:{place.repo}{revision}/{place.file}"


def _web_source(text: str) -> Source:
    url, _, fragment = text.partition("#")
    sha256 = None
    if fragment:
        found = re.fullmatch(r"sha256=([0-9a-f]{64})", fragment, re.IGNORECASE)
        if not found:
            raise WeightsError(f"{text}: after # a checksum is expected, sha256= and 64 hex digits; not {fragment!r}.")
        sha256 = found.group(1).lower()
    page = re.fullmatch(
        r"https?://(?:huggingface\.co|hf\.co)/([\w.-]+/[\w.-]+)/?(?:(?:resolve|blob|raw|tree)/([^/?]+)/?([^?]*))?(?:\?.*)?",
        url, re.IGNORECASE,
    )  # fmt: skip
    if page and not sha256 and page.group(1).partition("/")[0] not in ("datasets", "spaces", "api"):
        repo, revision, file = page.groups()
        revision = None if revision in (None, "main") else unquote(revision)
        return Source(text, (HubFile(repo, unquote(file or "") or MODEL_FILE, revision),))
    known = next(
        (entry.place for entry in REGISTRY if isinstance(entry.place, UrlFile) and entry.place.url == url), None
    )
    return Source(text, (UrlFile(url, sha256 or (known.sha256 if known else None), as_torch_hub=known is not None),))


def _hub_file(text: str, rest: str) -> HubFile:
    """Read org/name[@revision][/file]; a slash inside a revision is written %2F, except in refs/pr/N."""
    name = r"[A-Za-z0-9][\w.-]*"
    found = re.fullmatch(
        rf"(?P<repo>{name}/{name})(?:@(?P<revision>refs/(?:pr|convert)/[^/]+|[^/]+))?(?:/(?P<file>.+))?", rest
    )
    if not found or ".." in rest:
        raise WeightsError(
            f"{text!r} does not name a Hub repository. Expected org/name, org/name@revision or hf:org/name/file."
        )
    revision = found["revision"]
    return HubFile(found["repo"], found["file"] or MODEL_FILE, unquote(revision) if revision else None)


def _bundled() -> tuple[WeightsEntry, ...]:
    return tuple(
        WeightsEntry(
            name,
            LocalFile(bundled_path(variant)),
            f"{variant.title}, {variant.weights_note}",
            "MIT",
            False,
            variant=name,
        )
        for name, variant in VARIANTS.items()
        if variant.size == "T"
    )


def _dinov2() -> tuple[WeightsEntry, ...]:
    entries: list[WeightsEntry] = []
    for size, word in (("S", "small"), ("B", "base"), ("L", "large")):
        letter = size.lower()
        file = f"dinov2_vit{letter}14"
        places = {
            "timm": HubFile(f"timm/vit_{word}_patch14_dinov2.lvd142m"),
            "facebook": HubFile(f"facebook/dinov2-{word}"),
            "original": UrlFile(f"https://dl.fbaipublicfiles.com/dinov2/{file}/{file}_pretrain.pth", as_torch_hub=True),
        }
        holders = {"timm": "in timm's names", "facebook": "in transformers' names", "original": "the original file"}
        entries += [
            WeightsEntry(
                f"dinov2-{letter}:{key}", place, f"DINOv2 ViT-{size}/14 backbone without registers, {holders[key]}",
                "Apache-2.0", True, size=size,
            )
            for key, place in places.items()
        ]  # fmt: skip
    return tuple(entries)


REGISTRY: tuple[WeightsEntry, ...] = (
    WeightsEntry(
        "cricavpr-b",
        UrlFile("https://github.com/Lu-Feng/CricaVPR/releases/download/v1.0/CricaVPR.pth", as_torch_hub=True),
        "CricaVPR-B, release v1.0 by its authors, trained on GSV-Cities",
        "MIT",
        True,
        variant="cricavpr-b",
    ),
    *_dinov2(),
)
"""Every source beside the bundled files. No checksum of theirs is known: the first download's is kept and checked."""
