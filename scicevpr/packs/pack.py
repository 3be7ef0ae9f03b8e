"""An opened pack: its data set, the descriptors of its models as memory maps; and the check of all that is in it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from scicevpr.config import VARIANTS, Preprocessing
from scicevpr.datasets import Dataset, GroundTruth, Photo
from scicevpr.errors import DatasetError, IndexMismatchError, SciceVPRError, UsageError
from scicevpr.evaluation.results import Evaluation
from scicevpr.evaluation.stored import StoredDescriptors, score_stored
from scicevpr.files.descriptor_files import Descriptors, load_descriptors
from scicevpr.files.reading import file_problem, known_sha256, sha256_of
from scicevpr.models.model import VPRModel
from scicevpr.packs.manifest import (
    CARD,
    MANIFEST,
    PARTS,
    POSITIVES,
    QUERIES,
    RECORDS,
    Entry,
    Manifest,
    check_links,
    pack_folder,
    read_manifest,
)
from scicevpr.packs.tables import PhotoFolder, read_positives, read_records
from scicevpr.progress import Progress
from scicevpr.retrieval.pca import PCA

AGAIN = "Get the pack again, or look for more damage with `scicevpr pack check`."


@dataclass(frozen=True)
class Pack:
    """A database pack on disk. dataset: its photos as records, in the order of the descriptors."""

    folder: Path
    manifest: Manifest
    dataset: Dataset

    @property
    def title(self) -> str:
        return self.manifest.title

    @property
    def models(self) -> tuple[Entry, ...]:
        """The database descriptors in the pack, one entry each; a model may be there in full and reduced."""
        return tuple(entry for entry in self.manifest.entries if entry.part == "database")

    def descriptors(
        self,
        model: VPRModel,
        part: str = "database",
        *,
        reduced: bool = False,
        preprocessing: Preprocessing | None = None,
    ) -> Descriptors | None:
        """Descriptors [N, D] of the database or the queries by a model: a read-only float16 memory map.

        reduced: those after PCA (see `pca`). preprocessing: what queries will be prepared with; the pack's must be the
        same. None when part is "queries" and the pack has none of this model. Raises IndexMismatchError when the pack
        has nothing of this architecture with these weights, DatasetError when the file is damaged.
        """
        if part not in PARTS:
            raise UsageError(f"A pack has the parts {' and '.join(PARTS)}, not {part!r}.")
        entry = self._entry(model, part, reduced)
        if entry is None:
            return None
        found = self.read(entry)
        if preprocessing is not None and found.preprocessing != asdict(preprocessing):
            raise IndexMismatchError(
                f"The pack {self.title!r} was described with other preprocessing ({found.protocol()['resize']}) than "
                f"the queries would be ({preprocessing.label()}). Use the pack's."
            )
        return found

    def searchable(
        self, model: VPRModel, part: str = "database", preprocessing: Preprocessing | None = None
    ) -> tuple[Descriptors, PCA | None] | None:
        """As `descriptors`, whole where the pack has them so; else the reduced ones with the PCA that gave them, by
        which new queries have to be reduced."""
        kinds = {entry.pca is not None for entry in self._of(model) if entry.part == "database"}
        reduced = kinds == {True}
        found = self.descriptors(model, part, reduced=reduced, preprocessing=preprocessing)
        return None if found is None else (found, self.pca(model) if reduced else None)

    def pca(self, model: VPRModel) -> PCA | None:
        """The reduction that gave the pack's reduced descriptors of a model; None when there are none."""
        entry = next((entry for entry in self._of(model) if entry.pca), None)
        return None if entry is None else self.read_pca(entry)

    def read_pca(self, entry: Entry) -> PCA:
        """The reduction that gave an entry's descriptors. DatasetError when it is damaged or does not fit them."""
        if entry.pca is None:
            raise UsageError(f"No reduction gave these descriptors: {entry.label}.")
        check_content(self.folder, self.manifest, entry.pca)
        path = self.folder / entry.pca
        try:
            pca = PCA.load(path)
            pca.check_model(entry.fingerprint, entry.weights)
        except IndexMismatchError as error:
            raise DatasetError(f"{error} {AGAIN}") from error
        if pca.dimension != entry.dimension:
            raise DatasetError(f"{path} gives {pca.dimension} dimensions, {entry.file} has {entry.dimension}. {AGAIN}")
        return pca

    def read(self, entry: Entry) -> Descriptors:
        """One file of descriptors, memory-mapped. DatasetError when it is damaged or not what the manifest says."""
        photos = getattr(self.dataset, entry.part)
        path = self.folder / entry.file
        check_content(self.folder, self.manifest, entry.file)
        try:
            found, _ = load_descriptors(path, names=[photo.name for photo in photos], mapped=True, remedy=AGAIN)
        except IndexMismatchError as error:
            raise DatasetError(str(error)) from error
        stated = (entry.fingerprint, entry.weights, entry.dimension)
        if stated != (found.fingerprint, found.weights, found.values.shape[1]):
            raise DatasetError(f"{path} is not what the manifest says it is: {entry.label}. {AGAIN}")
        return found

    def _entry(self, model: VPRModel, part: str, reduced: bool) -> Entry | None:
        mine = [entry for entry in self._of(model) if (entry.pca is not None) == reduced]
        if not any(entry.part == "database" for entry in mine):
            weights = model.weights.sha256 if model.weights is not None else "random, which fit no pack"
            kind = "reduced descriptors" if reduced else "full descriptors"
            raise IndexMismatchError(
                f"The pack {self.title!r} has no {kind} of {model.variant.name} (architecture "
                f"{model.variant.fingerprint}, weights {weights}). It has: "
                f"{'; '.join(entry.label for entry in self.models) or 'none at all'}. Load one of these models, or "
                "describe the photos with yours."
            )
        return next((entry for entry in mine if entry.part == part), None)

    def _of(self, model: VPRModel) -> list[Entry]:
        if model.weights is None:
            return []
        wanted = (model.variant.fingerprint, model.weights.sha256)
        return [entry for entry in self.manifest.entries if (entry.fingerprint, entry.weights) == wanted]


def open_pack(path: Path | str, *, photos: Path | str | None = None) -> Pack:
    """Open a pack: a folder, or the name of a Hub repository ("org/name", "org/name@revision") that was pulled before.

    Only the manifest and the records are read; descriptors are mapped when they are asked for. Every file that is read
    is compared with its checksum; `check_pack` does so for all. An existing folder wins over a repository of that name.
    photos: a folder with the data set's own photos, found there by their path in the data set or by their name; else
    the records' paths lead to the pack's thumbnails, or to where a photo would be, but is not.

    Raises DatasetError when the pack is missing, damaged, unsafe or of a newer format, or `photos` holds none of them.
    """
    folder = pack_folder(path)
    manifest = read_manifest(folder)
    check_links(folder)
    for entry in manifest.entries:
        check_size(folder, manifest, entry.file)
    return Pack(folder, manifest, _dataset(folder, manifest, None if photos is None else Path(photos)))


def check_size(folder: Path, manifest: Manifest, name: str) -> None:
    """Refuse a file that is missing or has another size than the manifest says. DatasetError."""
    if wrong := file_problem(folder / name, manifest.files[name].bytes, None, "pack"):
        raise DatasetError(f"{wrong} {AGAIN}")


def check_content(folder: Path, manifest: Manifest, name: str) -> None:
    """Refuse a file that is missing or does not hold what the manifest says. DatasetError."""
    stated = manifest.files[name]
    if wrong := file_problem(folder / name, stated.bytes, stated.sha256, "pack", known_sha256):
        raise DatasetError(f"{wrong} {AGAIN}")


def _dataset(folder: Path, manifest: Manifest, photos: Path | None) -> Dataset:
    stated, counts = manifest.dataset, manifest.counts
    notes = stated.get("notes", [])
    notes = tuple(map(str, notes)) if isinstance(notes, list) else ()
    tables: list[tuple[Photo, ...]] = []
    own = None if photos is None else PhotoFolder(photos, str(stated.get("split", "")))
    for part, name in zip(PARTS, (RECORDS, QUERIES), strict=True):
        count = counts[part]
        if count == 0:
            tables.append(())
            continue
        check_content(folder, manifest, name)
        records, thumbnails = read_records(folder / name, count)
        paths = [folder / (thumb or f"photos/{one.path}") for one, thumb in zip(records, thumbnails, strict=True)]
        if own is not None:
            paths, missing = own.find(records, paths)
            notes += missing
        tables.append(tuple(replace(one, path=path) for one, path in zip(records, paths, strict=True)))
    if photos is None:
        notes += (_without_photos(manifest),)
    return Dataset(
        name=str(stated.get("name", manifest.title)),
        split=str(stated.get("split", "")),
        root=folder,
        database=tables[0],
        queries=tables[1],
        notes=notes,
        use_labels=bool(stated.get("use_labels", True)),
        query_order=str(stated.get("query_order", "by path")),
        truth=_truth(folder, manifest),
        benchmark=None if stated.get("benchmark") is None else str(stated["benchmark"]),
        layout=str(stated.get("layout", "")),
    )


def _without_photos(manifest: Manifest) -> str:
    if manifest.thumbnails is None:
        return "The pack holds no photos: photos=FOLDER (--photos DIR) names your own copy of the data set."
    return (
        f"The photos are thumbnails of at most {manifest.thumbnails} pixels: describing them gives other values than "
        "the photos gave."
    )


def _truth(folder: Path, manifest: Manifest) -> GroundTruth:
    stated = manifest.dataset.get("truth")
    stated = stated if isinstance(stated, dict) else {}
    try:
        radius, turn = float(stated["radius"]), stated["max_heading_difference"]
        turn = None if turn is None else float(turn)
        truth = GroundTruth(radius=radius, max_heading_difference=turn, name=str(stated["name"]))
    except (KeyError, TypeError, ValueError, OverflowError, UsageError) as error:
        raise DatasetError(
            f"{folder} does not say which answers are right (dataset.truth: {stated}). {AGAIN}"
        ) from error
    if POSITIVES not in manifest.files:
        return truth
    check_content(folder, manifest, POSITIVES)
    listed: Sequence[np.ndarray] = read_positives(
        folder / POSITIVES, manifest.counts["queries"], manifest.counts["database"]
    )
    return replace(truth, listed=tuple(listed))


def score_pack(pack: Pack, **scoring: Any) -> Iterator[Evaluation]:
    """Search and score every model of a pack that described its queries too, in full and after PCA.

    scoring: ns, radius, rounding as `evaluate` takes them. Values are the pack's float16. Raises DatasetError when the
    pack holds no queries' descriptors.
    """
    pairs = [(entry, other) for entry in pack.models for other in pack.manifest.entries if _belongs(other, entry)]
    if not pairs:
        raise DatasetError(
            f"The pack {pack.title!r} holds no descriptors of queries, so it can only be searched in with new ones."
        )
    for entry, other in pairs:
        title = VARIANTS[entry.variant].title if entry.variant in VARIANTS else entry.variant
        title = f"{title}, PCA {entry.dimension}" if entry.pca else title
        yield score_stored(_stored(pack, entry), _stored(pack, other), pack.dataset, title=title, **scoring)


def _belongs(queries: Entry, database: Entry) -> bool:
    same = all(getattr(queries, name) == getattr(database, name) for name in ("fingerprint", "weights", "pca"))
    return queries.part == "queries" and same


def _stored(pack: Pack, entry: Entry) -> StoredDescriptors:
    return StoredDescriptors(pack.folder / entry.file, pack.read(entry).values, protocol=entry.protocol)


NOT_LISTED = (MANIFEST, CARD, ".gitattributes")
"""Files without a checksum: the manifest itself, the card (its owner may edit it on the Hub), and Git's own file."""


@dataclass(frozen=True)
class Problem:
    """What is wrong with one file of a pack."""

    file: str
    message: str


def check_pack(path: Path | str, progress: Progress | None = None) -> list[Problem]:
    """Check a pack completely: sizes, SHA-256 sums, files too many, records, descriptors and reductions. progress is
    called with (bytes read, bytes in all). Returns what is wrong, an empty list for a sound pack. Raises DatasetError
    when there is no manifest that can be read, or a link leads out of the pack."""
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
        wrong = _problem(name, partial(check_size, folder, manifest, name))
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
        problems += _problem(entry.file, partial(pack.read, entry))
        if entry.pca:
            problems += _problem(entry.pca, partial(pack.read_pca, entry))
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
