"""What lies in the folder of an index on disk: index.json, which says what it consists of, and the steps of a build.

    index.json               this manifest, with a checksum of its own
    rows-G.safetensors       of each row: its place in the descriptor files, and a CRC-32 of its bytes
    codes-G-NNNNN.npy        tier int8: the codes; scales-G.safetensors: what belongs to them
    projection-G.npy         tier ivf-pq: mean and components of the PCA; ranges-G.npy: what the bytes mean;
    bytes-G.npy              one byte a short value; lists-G.faiss: inverted lists of 4-bit codes (FAISS)
    removed-G.npy            rows that were removed since it was compacted
    added-G.npy              descriptors that were added as arrays
    work/                    of an unfinished build: its finished steps, each a whole file with its checksum

G counts the changes. The descriptors themselves stay in the files they came in. A change writes new files, then the
manifest in one step, then removes what is no longer listed: whoever opens the index sees the old one or the new one.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from scicevpr.errors import IndexMismatchError, UsageError
from scicevpr.files.reading import file_problem, parse_json, safe_name, sha256_of
from scicevpr.files.writing import whole_name, written_whole
from scicevpr.progress import Progress
from scicevpr.retrieval.rows import DTYPES, RowFile

MANIFEST, LOCK = "index.json", ".lock"
FORMAT, FORMAT_VERSION = "scicevpr-index", 3
STORED_TIERS = ("streamed", "int8", "ivf-pq")
REMEDY = "Build the index again with `scicevpr index build`, or look for more damage with `scicevpr index check`."
MAX_MANIFEST = 64 * 2**20
OWN_FILES = re.compile(
    r"(rows|scales)-\d+\.safetensors|codes-\d+-\d{5,}\.npy|(projection|ranges|bytes|removed|added)-\d+\.npy"
    r"|lists-\d+\.faiss"
)
"""How an index names its files; what has another name is somebody else's, and is never removed."""


@dataclass(frozen=True)
class Manifest:
    """A checked index.json.

    count: rows, removed ones among them. settings: of the tier (dimension, nlist, nprobe, rerank_k, seed).
    agreement: as measured at the build. files: name → (bytes, SHA-256).
    """

    tier: str
    count: int
    dimension: int
    sources: tuple[RowFile, ...]
    files: Mapping[str, tuple[int, str]]
    settings: Mapping[str, Any] = field(default_factory=dict)
    agreement: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    generation: int = 1
    removed: int = 0
    added: int = 0


def write_manifest(folder: Path, manifest: Manifest, target: Path | None = None) -> None:
    """Write index.json in one step. target: the folder that the index will have in the end, for relative paths."""
    content = asdict(manifest) | {"format": FORMAT, "format_version": FORMAT_VERSION}
    content["sources"] = [_source(source, target or folder) for source in manifest.sources]
    content["files"] = {name: list(state) for name, state in sorted(manifest.files.items())}
    content["checksum"] = _checksum(content)
    text = json.dumps(content, indent=1, sort_keys=True) + "\n"
    with written_whole(folder / MANIFEST) as part:
        part.write_text(text, encoding="utf-8")


def read_manifest(folder: Path) -> Manifest:
    """Read index.json. IndexMismatchError when it is missing, damaged, altered or of a newer format."""
    path = folder / MANIFEST
    if not path.is_file():
        raise IndexMismatchError(f"{folder} is not an index: it has no {MANIFEST}. Make one: `scicevpr index build`.")
    try:
        if path.stat().st_size > MAX_MANIFEST:
            raise ValueError("it is too long")
        content = parse_json(path.read_bytes())
        if content["format"] != FORMAT:
            raise ValueError(f"its format is {content['format']!r}")
        if (found := int(content["format_version"])) != FORMAT_VERSION:
            remedy = "Update the program." if found > FORMAT_VERSION else REMEDY
            raise IndexMismatchError(
                f"{folder} is an index of format {found}; this version of the program reads {FORMAT_VERSION}. {remedy}"
            )
        if content.pop("checksum") != _checksum(content):
            raise ValueError("it was changed: its checksum does not fit")
        if content["tier"] not in STORED_TIERS:
            raise ValueError(f"its tier is {content['tier']!r}")
        sources = tuple(_row_file(source, folder) for source in content["sources"])
        files = {_own_name(name): (int(size), str(sha)) for name, (size, sha) in content["files"].items()}
        names = ("tier", "count", "dimension", "settings", "agreement", "versions", "generation", "removed", "added")
        manifest = Manifest(sources=sources, files=files, **{name: content[name] for name in names})
        _check_parts(manifest)
        return manifest
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise IndexMismatchError(f"{path} is not a sound manifest: {reason}. {REMEDY}") from error


def _check_parts(manifest: Manifest) -> None:
    """ValueError for a manifest whose parts do not fit each other."""
    numbers = {name: getattr(manifest, name) for name in ("count", "dimension", "generation", "removed", "added")}
    wrong = {name: value for name, value in numbers.items() if type(value) is not int or value < 0}
    rows = sum(source.rows for source in manifest.sources)
    if wrong or not 0 < manifest.count <= rows or manifest.removed > manifest.count or manifest.added > manifest.count:
        raise ValueError(f"it counts {numbers} of {rows} rows")
    if any(source.width != manifest.dimension for source in manifest.sources):
        raise ValueError(f"its descriptors have {manifest.dimension} values, those of its files others")
    kinds = {"rows", *({"removed"} if manifest.removed else ())}
    kinds |= {"int8": {"codes", "scales"}, "ivf-pq": {"projection", "ranges", "bytes", "lists"}}.get(
        manifest.tier, set()
    )
    missing = sorted(kinds - {name.partition("-")[0] for name in manifest.files})
    if missing:
        raise ValueError(f"it lists no file of the kind {missing[0]!r}")
    if manifest.tier == "ivf-pq":
        for name in ("nprobe", "rerank_k"):
            if type(manifest.settings[name]) is not int or manifest.settings[name] < 1:
                raise ValueError(f"its {name} is {manifest.settings[name]!r}")
        for name in ("first", "best", "questions"):
            float(manifest.agreement[name])


def describe_files(folder: Path, names: list[str]) -> dict[str, tuple[int, str]]:
    """Size and SHA-256 of files."""
    return {name: ((folder / name).stat().st_size, sha256_of(folder / name)) for name in names}


def check_files(folder: Path, manifest: Manifest, whole: bool = True, progress: Progress | None = None) -> list[str]:
    """What is wrong with an index's own files: missing, cut off or too long, and where ``whole`` changed. progress is
    called with (bytes read, bytes in all)."""
    problems, done, total = [], 0, sum(size for size, _ in manifest.files.values())
    for name, (size, sha) in manifest.files.items():
        if wrong := file_problem(folder / name, size, sha if whole else None, "index"):
            problems.append(f"{wrong} {REMEDY}")
        done += size
        if progress is not None:
            progress(done, total)
    return problems


def remove_unlisted(folder: Path, manifest: Manifest) -> None:
    """Delete files of earlier generations and of changes that were interrupted; no others, and no descriptor file."""
    sources = {source.path for source in manifest.sources}
    for path in folder.iterdir():
        stale = is_own(path.name) and path.name not in manifest.files and Path(os.path.abspath(path)) not in sources
        if stale and path.is_file():
            path.unlink(missing_ok=True)


def is_own(name: str) -> bool:
    """True for the name of a file that an index writes, finished or half-way, its manifest apart."""
    whole = whole_name(name)
    return OWN_FILES.fullmatch(whole) is not None or (whole != name and whole == MANIFEST)


def _checksum(content: Mapping[str, Any]) -> str:
    text = json.dumps({key: value for key, value in content.items() if key != "checksum"}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _source(source: RowFile, folder: Path) -> dict[str, Any]:
    """A descriptor file, by a relative path when it lies in the index or beside it, so that both can move together."""
    path, above = source.path, Path(os.path.abspath(folder)).parent
    near = path.is_relative_to(above)
    return asdict(source) | {"path": os.path.relpath(path, folder) if near else str(path)}


def _row_file(stated: Mapping[str, Any], folder: Path) -> RowFile:
    numbers = {name: stated[name] for name in ("rows", "width", "offset", "bytes", "modified")}
    if stated["dtype"] not in DTYPES or any(type(value) is not int or value < 0 for value in numbers.values()):
        raise ValueError(f"a descriptor file is described as {dict(stated)}")
    path = Path(os.path.normpath(Path(os.path.abspath(folder), stated["path"])))
    return RowFile(path=path, dtype=stated["dtype"], model=tuple(map(str, stated["model"])), **numbers)


def _own_name(name: str) -> str:
    if not OWN_FILES.fullmatch(safe_name(name)):
        raise ValueError(f"it lists the file {name!r}, which no index has")
    return name


PLAN, WORK = "plan.json", "work"
STEPS = re.compile(r"plan\.json|part-\d{5,}\.safetensors|trained\.faiss|[a-z0-9.-]+\.sha256")
"""How the files of unfinished work are called."""


def remove_steps(folder: Path) -> None:
    """Remove the files of unfinished work, and their folder when nothing else is in it."""
    if not folder.is_dir():
        return
    for path in folder.iterdir():
        if path.is_file() and STEPS.fullmatch(whole_name(path.name)):
            path.unlink()
    if not any(folder.iterdir()):
        folder.rmdir()


class ResumableSteps:
    """A folder of finished steps. A step that is there with its checksum is not done again.

    plan: what decides the result; a folder that was begun with another one is refused. UsageError."""

    def __init__(self, folder: Path, plan: Mapping[str, Any]) -> None:
        self.folder = folder
        self.kept, self.made = 0, 0
        folder.mkdir(parents=True, exist_ok=True)
        text, path = json.dumps(plan, indent=1, sort_keys=True), folder / PLAN
        if path.is_file() and path.read_text(encoding="utf-8") != text:
            raise UsageError(
                f"In {folder} an index was begun with other settings or other descriptors. Finish that one, or start "
                "again (restart, --restart)."
            )
        with written_whole(path) as part:
            part.write_text(text, encoding="utf-8")

    def step(self, name: str, make: Callable[[Path], object], *, keep: bool = False) -> Path:
        """The file ``name``, made by ``make`` unless it is there already, sound. keep: it lies in the folder above and
        stays there."""
        path, mark = (self.folder.parent if keep else self.folder) / name, self.folder / f"{name}.sha256"
        if path.is_file() and mark.is_file() and mark.read_text() == sha256_of(path):
            self.kept += 1
            return path
        mark.unlink(missing_ok=True)
        with written_whole(path) as part:
            make(part)
        with written_whole(mark) as part:
            part.write_text(sha256_of(path))
        self.made += 1
        return path
