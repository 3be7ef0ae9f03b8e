"""Every byte of a pack against its checksums, and every table against the others."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from scicevpr.errors import SciceVPRError
from scicevpr.files.reading import sha256_of
from scicevpr.packs.library import pack_folder
from scicevpr.packs.manifest import CARD, MANIFEST, Manifest, check_links, read_manifest
from scicevpr.packs.pack import Pack, check_size, open_pack
from scicevpr.progress import Progress

NOT_LISTED = (MANIFEST, CARD, ".gitattributes")
"""Files without a checksum: the manifest itself, the card (its owner may edit it on the Hub), and Git's own file."""


@dataclass(frozen=True)
class Problem:
    """What is wrong with one file of a pack."""

    file: str
    message: str


def check_pack(path: Path | str, progress: Progress | None = None) -> list[Problem]:
    """Check a pack completely: sizes, SHA-256 sums, files too many, records, descriptors and reductions.

    progress is called with (bytes read, bytes in all). Returns what is wrong, an empty list for a sound pack. Raises
    DatasetError when there is no manifest that can be read, or a link leads out of the pack.
    """
    folder = pack_folder(path)
    manifest = read_manifest(folder)
    check_links(folder)
    problems = _files(folder, manifest, progress)
    if not problems:  # what is damaged is not worth comparing
        try:
            problems = _contents(open_pack(folder))
        except SciceVPRError as error:
            problems = [Problem(MANIFEST, str(error))]
    external = external_files(folder, manifest)
    return problems + [Problem(name, f"{folder / name} is not in the manifest. Take it out.") for name in external]


def _files(folder: Path, manifest: Manifest, progress: Progress | None) -> list[Problem]:
    problems, done, total = [], 0, sum(file.bytes for file in manifest.files.values())
    for name, file in manifest.files.items():
        wrong = _problem(name, lambda name=name: check_size(folder, manifest, name))
        if not wrong and sha256_of(folder / name) != file.sha256:
            wrong = [Problem(name, f"{folder / name} was changed: its SHA-256 is not the one in the manifest.")]
        problems += wrong
        done += file.bytes
        if progress is not None:
            progress(done, total)
    return problems


def external_files(folder: Path, manifest: Manifest) -> list[str]:
    """Files below a pack's folder that its manifest does not list, sorted."""
    found = []
    for within, _, names in os.walk(folder):
        for name in names:
            relative = Path(within, name).relative_to(folder).as_posix()
            if relative not in manifest.files and relative not in NOT_LISTED:
                found.append(relative)
    return sorted(found)


def _contents(pack: Pack) -> list[Problem]:
    problems = []
    for entry in pack.manifest.entries:
        problems += _problem(entry.file, lambda entry=entry: pack.read(entry))
        if entry.pca:
            problems += _problem(entry.pca, lambda entry=entry: pack.read_pca(entry))
    for photo in (*pack.dataset.database, *pack.dataset.queries):
        name = photo.path.relative_to(pack.folder).as_posix()
        if name.startswith("thumbnails/") and name not in pack.manifest.files:
            problems.append(Problem(name, f"The thumbnail of {photo.name} is not among the pack's files."))
    return problems


def _problem(name: str, check: Callable[[], object]) -> list[Problem]:
    try:
        check()
    except SciceVPRError as error:
        return [Problem(name, str(error))]
    return []
