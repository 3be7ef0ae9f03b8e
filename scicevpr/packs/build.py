"""Make a pack. It appears under its name only when it is complete."""

from __future__ import annotations

import glob
import json
import os
import platform
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from scicevpr import __version__
from scicevpr.datasets import Dataset
from scicevpr.descriptors.batches import Grouping
from scicevpr.descriptors.describe import describe
from scicevpr.errors import DatasetError, UsageError
from scicevpr.evaluation.protocols import published_grouping
from scicevpr.files.descriptor_files import Descriptors, save_descriptors
from scicevpr.files.photos import require_sound
from scicevpr.files.reading import sha256_of
from scicevpr.files.writing import MEMORY_LIMIT, scratch_folder
from scicevpr.models.model import VPRModel
from scicevpr.packs.manifest import (
    CARD,
    FORMAT,
    FORMAT_VERSION,
    MANIFEST,
    PARTS,
    POSITIVES,
    QUERIES,
    RECORDS,
    Entry,
    PackFile,
    read_manifest,
)
from scicevpr.packs.pack import Pack, external_files, open_pack
from scicevpr.packs.sharing import write_card
from scicevpr.packs.tables import write_positives, write_records, write_thumbnails
from scicevpr.progress import Progress, StageProgress, of_stage
from scicevpr.retrieval.pca import PCA

PACKAGES = ("torch", "numpy", "safetensors")


@dataclass(frozen=True)
class Content:
    """What one model adds to a pack: descriptors [N, D] of the database, perhaps of the queries, perhaps a PCA.

    With a PCA the reduced descriptors go into the pack as well, or alone with `full=False`."""

    database: Descriptors
    queries: Descriptors | None = None
    pca: PCA | None = None
    full: bool = True


def describe_content(
    model: VPRModel,
    dataset: Dataset,
    *,
    grouping: Grouping | None = None,
    query_grouping: Grouping | None = None,
    pca: PCA | None = None,
    full: bool = True,
    storage: Path | str | None = None,
    memory_limit: int = MEMORY_LIMIT,
    progress: StageProgress | None = None,
    describe_with: Callable[..., Descriptors] = describe,
    **options: Any,
) -> Content:
    """Describe a data set's database and queries for a pack.

    grouping, query_grouping: which photos share a batch (queries follow the database unless given; None is how the
    model was published on this benchmark). pca, full: see Content. storage, memory_limit: as in `evaluate`.
    describe_with: `describe`, or what is called like it, such as `ShardedDescribing`. options: as `describe` takes them
    (batch_size, preprocessing, num_workers, device, dtype). Raises the errors of `describe`.
    """
    grouping = grouping or published_grouping(model.variant, dataset)
    require_sound(photo.path for photo in (*dataset.database, *dataset.queries))
    described: list[Descriptors | None] = []
    for part, photos, chosen in (
        ("database", dataset.database, grouping),
        ("queries", dataset.queries, query_grouping or grouping),
    ):
        step = of_stage(progress, part)
        paths = [photo.path for photo in photos]
        if not paths:
            described.append(None)
            continue
        scratch = scratch_folder(4 * len(paths) * model.variant.descriptor_dim, memory_limit, storage)
        described.append(describe_with(model, paths, grouping=chosen, scratch=scratch, progress=step, **options))
    return Content(described[0], described[1], pca, full)


def build_pack(
    folder: Path | str,
    dataset: Dataset,
    contents: Iterable[VPRModel | Content],
    *,
    title: str = "",
    licence: str = "",
    thumbnails: int | None = None,
    overwrite: bool = False,
    progress: StageProgress | None = None,
) -> Pack:
    """Write a database pack and open it.

    folder: it must not exist yet, unless it is a pack and `overwrite` is set. dataset: its photos become the records;
    listed positives, the truth rule and the order of queries are kept. contents: models, to describe the photos with,
    or descriptors made before; they are taken one at a time, so a generator holds one model's descriptors in memory
    only. title: default: the data set's name. licence: of the pack, for instance "cc-by-4.0". thumbnails: add small
    JPEG copies of all photos, at most this many pixels a side. progress: called with (stage, done, in all).

    Raises UsageError when the folder exists, for no content, random weights, a model twice, descriptors of other
    photos; the errors of `describe`; ImageError for an unreadable photo. No half-written pack stays.
    """
    folder = Path(folder)
    _check_target(folder, overwrite)
    if not dataset.database:
        raise UsageError("A pack needs at least one database photo.")
    if thumbnails is not None and thumbnails < 16:
        raise UsageError(f"Thumbnails of {thumbnails} pixels show nothing; ask for 16 or more, 320 is usual.")
    if thumbnails is not None:
        require_sound(photo.path for photo in (*dataset.database, *dataset.queries))
    with _draft(folder) as draft:
        _write_tables(draft, dataset, thumbnails, progress)
        entries: list[dict[str, Any]] = []
        for content in contents:
            if not isinstance(content, Content):
                content = describe_content(content, dataset, progress=progress)
            for entry in _write_content(draft, dataset, content):
                if entry["file"] in {other["file"] for other in entries}:
                    raise UsageError(f"{entry['variant']} (weights {entry['weights']}) is given twice; once is enough.")
                entries.append(entry)
        if not entries:
            raise UsageError("A pack needs the descriptors of at least one model.")
        manifest = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "title": title or f"{dataset.name} / {dataset.split}",
            "licence": licence,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "versions": {"scicevpr": __version__, "python": platform.python_version()}
            | {name: version(name) for name in PACKAGES},
            "dataset": _dataset_entry(dataset),
            "counts": {"database": len(dataset.database), "queries": len(dataset.queries)},
            "thumbnails": thumbnails,
            "descriptors": entries,
            "files": _checksums(draft, of_stage(progress, "checksums")),
        }
        (draft / MANIFEST).write_text(json.dumps(manifest, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        (draft / CARD).write_text(write_card(read_manifest(draft)), encoding="utf-8")
    return open_pack(folder)


def _check_target(folder: Path, overwrite: bool) -> None:
    if not folder.exists() and not folder.is_symlink():
        return
    if not (folder / MANIFEST).is_file():
        raise UsageError(f"{folder} exists and is not a pack, so it is left alone. Choose another name.")
    if not overwrite:
        raise UsageError(f"{folder} is a pack already. Choose another name, or ask to overwrite it (--overwrite).")
    try:
        external = external_files(folder, read_manifest(folder))
    except DatasetError as error:
        raise UsageError(f"{folder} is left alone, because what is the pack's in it cannot be told: {error}") from error
    if external:
        raise UsageError(
            f"{folder} holds {len(external)} file(s) that are not the pack's, such as {external[0]}, and overwriting "
            "would delete them. Move them elsewhere first, or choose another name."
        )


@contextmanager
def _draft(folder: Path) -> Iterator[Path]:
    """A folder beside the target that takes its name at the end; gone if anything goes wrong. Drafts that killed
    processes left are removed. Raises UsageError while another process makes the same pack."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _alone(folder):
        for left in folder.parent.glob(f".{glob.escape(folder.name)}.*.part"):
            shutil.rmtree(left, ignore_errors=True)
        draft = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.", suffix=".part"))
        try:
            os.chmod(draft, 0o755)  # temporary folders start private; a pack is meant to be shared
            yield draft
            old = draft.with_suffix(".old")
            if folder.exists():
                os.replace(folder, old)
            try:
                os.replace(draft, folder)
            except OSError:
                if old.exists():
                    os.replace(old, folder)
                raise
            shutil.rmtree(old, ignore_errors=True)
        finally:
            shutil.rmtree(draft, ignore_errors=True)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    lock = FileLock(folder.with_name(f".{folder.name}.lock"))
    try:
        lock.acquire(blocking=False)
    except Timeout as error:
        raise UsageError(f"Another process is making {folder}. Wait for it, or end it first.") from error
    try:
        yield
    finally:
        Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()


def _write_tables(draft: Path, dataset: Dataset, thumbnails: int | None, progress: StageProgress | None) -> None:
    for part, file in zip(PARTS, (RECORDS, QUERIES), strict=True):
        photos = getattr(dataset, part)
        if not photos:
            continue
        step = of_stage(progress, f"thumbnails of the {part}") or (lambda *_: None)
        names = write_thumbnails(draft, part, photos, thumbnails, step) if thumbnails else None
        write_records(draft / file, photos, dataset.root, names)
    if dataset.truth.listed is not None:
        write_positives(draft / POSITIVES, dataset.truth.listed)


def _write_content(draft: Path, dataset: Dataset, content: Content) -> Iterator[dict[str, Any]]:
    parts = (("database", dataset.database, content.database), ("queries", dataset.queries, content.queries))
    owner = content.database
    if owner.weights == "random":
        raise UsageError(
            f"The descriptors of {owner.variant} come from random weights; they would fit no model of anybody. Load "
            "weights first."
        )
    if content.pca is not None:
        content.pca.check_model(owner.fingerprint, owner.weights)
    elif not content.full:
        raise UsageError("Without a PCA only full descriptors can be in a pack.")
    for part, photos, described in parts:
        if described is None:
            continue
        if (described.fingerprint, described.weights) != (owner.fingerprint, owner.weights):
            raise UsageError(
                f"The queries' descriptors come from {described.variant}, the database's from another model."
            )
        if described.dtype != owner.dtype:
            raise UsageError(
                f"The queries were described in {described.dtype}, the database in {owner.dtype}. Describe both alike."
            )
        names = [photo.name for photo in photos]
        stem = re.sub(r"[^A-Za-z0-9._-]+", "-", f"{owner.variant}.{owner.weights}")
        folder = "descriptors" if part == "database" else "queries"
        if content.full:
            yield _write_descriptors(draft, f"{folder}/{stem}.safetensors", part, described, names)
        if content.pca is not None:
            stem = f"{stem}.pca{content.pca.dimension}"
            pca = f"pca/{stem}.safetensors"
            content.pca.save(draft / pca)
            reduced = replace(described, values=content.pca.transform(described.values))
            yield _write_descriptors(
                draft, f"{folder}/{stem}.safetensors", part, reduced, names, (pca, content.pca.label)
            )


def _write_descriptors(
    draft: Path, file: str, part: str, described: Descriptors, names: list[str], pca: tuple[str, str] | None = None
) -> dict[str, Any]:
    """Write one file. pca: the reduction's file and its label. Returns the file's entry for the manifest."""
    save_descriptors(draft / file, described, names)
    return asdict(
        Entry(
            file=file,
            part=part,
            dimension=int(np.shape(described.values)[1]),
            pca=pca[0] if pca else None,
            variant=described.variant,
            fingerprint=described.fingerprint,
            weights=described.weights,
            trained=described.trained,
            protocol=described.protocol() | {"PCA": pca[1] if pca else "none"},
        )
    )


def _dataset_entry(dataset: Dataset) -> dict[str, Any]:
    truth = dataset.truth
    return {
        "name": dataset.name,
        "split": dataset.split,
        "benchmark": dataset.benchmark,
        "layout": dataset.layout,
        "use_labels": dataset.use_labels,
        "query_order": dataset.query_order,
        "notes": list(dataset.notes),
        "truth": {
            "radius": truth.radius,
            "max_heading_difference": truth.max_heading_difference,
            "name": truth.name,
            "label": truth.label(),
        },
    }


def _checksums(draft: Path, progress: Progress | None) -> dict[str, dict[str, Any]]:
    files = sorted(path for path in draft.rglob("*") if path.is_file())
    listed = {}
    for done, path in enumerate(files, start=1):
        listed[path.relative_to(draft).as_posix()] = asdict(PackFile(path.stat().st_size, sha256_of(path)))
        if progress is not None:
            progress(done, len(files))
    return listed
