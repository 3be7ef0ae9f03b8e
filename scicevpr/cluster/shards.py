"""Shards: the pieces in which many photos are described, and the folder in which finished ones survive a crash.

    FOLDER/MODEL.WEIGHTS.KEY/     one job; KEY covers the photos and everything that could change a descriptor
        shard-000000.npy          descriptors [photos of the shard, D]
        manifest.jsonl            one line a finished shard: photos, bytes, SHA-256, protocol
        lock                      held by the process that works here

A shard holds whole batches and always the same ones, so it does not matter who describes it, when, or in which order.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from scicevpr.errors import UsageError
from scicevpr.files.descriptor_files import Descriptors
from scicevpr.files.reading import sha256_of
from scicevpr.files.writing import DescriptorWriter, written_whole

SHARD_PHOTOS = 512
"""Photos in a shard, unless one batch holds more: what an interruption can cost at most, for every worker."""

MANIFEST = "manifest.jsonl"

RECORD = ("device", "dtype", "seconds", "metadata")
"""Fields of Descriptors that only a description can tell; kept with every shard."""


def record_of(described: Descriptors) -> dict[str, Any]:
    """What the manifest keeps of a description."""
    return {name: getattr(described, name) for name in RECORD}


@dataclass(frozen=True)
class Shard:
    """Some whole batches. groups: which photos (row numbers of the whole job) share a batch, in the order described."""

    number: int
    groups: tuple[tuple[int, ...], ...]

    @property
    def rows(self) -> list[int]:
        """The photos' row numbers, in the order in which the shard's file holds them."""
        return [row for group in self.groups for row in group]

    @property
    def file(self) -> str:
        return f"shard-{self.number:06d}.npy"


def cut(groups: Iterable[Sequence[int]], photos: int = SHARD_PHOTOS) -> list[Shard]:
    """Put batches, in their order, into shards of at most ``photos`` photos; a larger batch has a shard of its own."""
    if photos < 1:
        raise UsageError(f"A shard needs at least 1 photo, not {photos}.")
    return [Shard(number, tuple(part)) for number, part in enumerate(runs(groups, photos))]


def runs(groups: Iterable[Sequence[int]], photos: int) -> Iterator[list[tuple[int, ...]]]:
    """Consecutive batches with at most ``photos`` photos together, at least one batch at a time."""
    part: list[tuple[int, ...]] = []
    size = 0
    for group in groups:
        if part and size + len(group) > photos:
            yield part
            part, size = [], 0
        part.append(tuple(group))
        size += len(group)
    if part:
        yield part


def numbered_within(groups: Sequence[Sequence[int]]) -> list[list[int]]:
    """The same batches when the photos are numbered 0, 1, 2, ... in the order in which they stand here."""
    found, start = [], 0
    for group in groups:
        found.append(list(range(start, start + len(group))))
        start += len(group)
    return found


class ShardFolder:
    """The folder of one job; use it in a with statement, in which no other process can work there (UsageError).

    shards: the whole plan. paths: the photos of the job, by row number. width, dtype: of the descriptors. On entry
    every shard of an earlier run is checked: `finished` are those whose file has the bytes that were written and whose
    photos have the sizes and times they had; `dropped` counts the others, which are described again.
    """

    def __init__(self, folder: Path, shards: Sequence[Shard], paths: Sequence[Any], width: int, dtype: str) -> None:
        self.folder, self.shards = folder, shards
        self.finished: dict[int, dict[str, Any]] = {}
        self.dropped = 0
        self._paths, self._width, self._dtype = paths, width, dtype
        self._lock = FileLock(folder / "lock")

    def __enter__(self) -> ShardFolder:
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire(blocking=False)
        except Timeout as error:
            raise UsageError(
                f"Another process is describing these photos in {self.folder}. Wait for it, or end it first."
            ) from error
        for part in self.folder.glob("*.part"):  # of a process that was killed while it wrote
            part.unlink()
        self._read()
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release()
        if not self.finished:  # nothing worth keeping
            clear(self.folder)

    @property
    def missing(self) -> list[Shard]:
        """The shards that are still to be described."""
        return [shard for shard in self.shards if shard.number not in self.finished]

    def path(self, shard: Shard) -> Path:
        return self.folder / shard.file

    def store(self, shard: Shard) -> DescriptorWriter:
        """An open file for a shard's descriptors; see `DescriptorWriter`."""
        return DescriptorWriter((len(shard.rows), self._width), self._dtype, path=self.path(shard))

    def finish(self, shard: Shard, record: Mapping[str, Any]) -> None:
        """Enter a shard whose file is complete into the manifest. record: under which protocol it was described."""
        path = self.path(shard)
        line: dict[str, Any] = {
            "shard": shard.number,
            "photos": photos_digest(shard, self._paths),
            "bytes": path.stat().st_size,
            "sha256": sha256_of(path),
            "record": dict(record),
        }
        with (self.folder / MANIFEST).open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")
        self.finished[shard.number] = line["record"]

    def collect(self, scratch: Path | str | None) -> np.ndarray:
        """Descriptors [N, D] of the whole job in the order of the photos. scratch: as in `describe`."""
        count = sum(len(shard.rows) for shard in self.shards)
        with DescriptorWriter((count, self._width), self._dtype, scratch=scratch) as store:
            for shard in self.shards:
                store.write(shard.rows, np.load(self.path(shard), mmap_mode="r"))
            return store.finish()

    def _read(self) -> None:
        manifest = self.folder / MANIFEST
        lines = manifest.read_text(encoding="utf-8").splitlines() if manifest.is_file() else []
        kept = []
        for text in lines:
            line = _parse(text)
            number = line.get("shard", -1)
            known = isinstance(number, int) and 0 <= number < len(self.shards) and number not in self.finished
            if known and self._sound(self.shards[number], line):
                self.finished[number] = line["record"]
                kept.append(text)
            else:
                self.dropped += 1
        if len(kept) != len(lines):
            with written_whole(manifest) as part:
                part.write_text("".join(f"{text}\n" for text in kept), encoding="utf-8")

    def _sound(self, shard: Shard, line: Mapping[str, Any]) -> bool:
        path = self.path(shard)
        return (
            path.is_file()
            and path.stat().st_size == line["bytes"]
            and photos_digest(shard, self._paths) == line["photos"]
            and sha256_of(path) == line["sha256"]
        )


def clear(folder: Path) -> None:
    """Delete a job's own files, then its folder and the one above where nothing else is in them."""
    if folder.is_dir():
        for pattern in ("shard-*.npy", "*.part", MANIFEST, "lock"):
            for file in folder.glob(pattern):
                file.unlink(missing_ok=True)
    for place in (folder, folder.parent):
        if place.is_dir() and not any(place.iterdir()):
            place.rmdir()


def photos_digest(shard: Shard, paths: Sequence[Any]) -> str:
    """SHA-256 over the sizes and times of change of the shard's photos. Which photos they are is in the job's name."""
    digest = hashlib.sha256()
    for row in shard.rows:
        try:
            state = os.stat(paths[row])
            digest.update(f"{state.st_size} {state.st_mtime_ns}\n".encode())
        except OSError:
            digest.update(b"missing\n")
    return digest.hexdigest()


def plan_digest(shards: Sequence[Shard], paths: Sequence[Any]) -> str:
    """SHA-256 over the absolute paths of a job's photos, in order, and over its batches and shards."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(os.fsencode(os.path.abspath(path)) + b"\0")
    for shard in shards:
        digest.update(f"{shard.groups}\n".encode())
    return digest.hexdigest()


def _parse(text: str) -> dict[str, Any]:
    """A line of the manifest, or nothing: a killed process may have left half a line."""
    try:
        line = json.loads(text)
        complete = isinstance(line, dict) and {"shard", "photos", "bytes", "sha256", "record"} <= line.keys()
    except ValueError:
        return {}
    return line if complete and isinstance(line["record"], dict) else {}
