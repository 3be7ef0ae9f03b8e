"""Descriptors of whole databases: from memory, from a bundled pack, from this user's cache, or computed now.

A pack or cached file is taken only when its architecture, weights and photo names agree with what is asked for;
otherwise it is passed over and the descriptors are computed. Two callers that want the same database wait for one
computation.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from app.core.databases import PRIVATE
from app.core.model_slots import FULL_PRECISION
from scicevpr.datasets import Dataset, Photo
from scicevpr.descriptors.describe import describe, find_descriptors
from scicevpr.descriptors.precision import precision_label
from scicevpr.errors import IndexMismatchError
from scicevpr.evaluation.protocols import published_grouping
from scicevpr.files.descriptor_files import Descriptors, save_descriptors
from scicevpr.models.model import VPRModel
from scicevpr.retrieval.factory import make_index
from scicevpr.retrieval.matches import Index, Matches
from scicevpr.retrieval.pca import PCA

logger = logging.getLogger(__name__)

RANKED_WHOLE, RANKED_OF_MANY = 100_000, 1000
"""Up to the first number of photos the rank of the first positive is always known, above it among so many."""

PackDescriptors = Callable[..., tuple[Descriptors, PCA | None] | None]
"""`Pack.searchable`: called with (model) for the database, with (model, "queries") for the queries: None where the pack
has none."""
Progress = Callable[[int, int], None]
"""Called with (photos done, photos in all)."""


@dataclass(frozen=True)
class Described:
    """A database ready to be searched. source: "bundled pack", "opened pack", "cache" or "computed here". pca: what
    its descriptors, and so those of queries, are reduced by."""

    descriptors: Descriptors
    index: Index
    source: str
    pca: PCA | None = None

    def search(self, query: np.ndarray, k: int) -> Matches:
        """The k best database rows for a query's whole descriptor [1, D]."""
        return self.index.search(query if self.pca is None else self.pca.transform(query), k)

    def ranking(self, query: np.ndarray) -> np.ndarray:
        """Database rows for one query [1, D] from the most similar on: all, or the first thousand of very many."""
        count = len(self.index)
        found = self.search(query, count if count <= RANKED_WHOLE else RANKED_OF_MANY).indices[0]
        return found[found >= 0]

    def protocol(self, name: str, dataset: Dataset) -> dict[str, str]:
        """What was searched, in the order in which it is shown. name: what to call the database."""
        return {
            "database batches": self.descriptors.grouping,
            "database": f"{name}, {dataset.split}, {len(dataset.database)} photos ({self.source})",
            "search": f"{self.index.label}; {len(self.index):,} descriptors",
            **({} if self.pca is None else {"PCA": self.pca.label}),
            "right within": dataset.truth.label(),
        }


MOST_OF_VISITORS = 4
"""Databases described by visitors' own models that are remembered."""


@dataclass
class _Job:
    """A database being described: how far it is, and what it will be."""

    done: int = 0
    total: int = 0
    made: Future[Described] = field(default_factory=Future)


def file_state(photo: Photo) -> str:
    """What tells that a photo was changed: name, size and time."""
    state = photo.path.stat() if photo.path.exists() else None
    return f"{photo.name} {state.st_size if state else 0} {state.st_mtime_ns if state else 0}"


class DescriptorStore:
    """Database descriptors by (database, model). packs: folder of bundled packs; cache: folder of own ones, or None."""

    def __init__(self, packs: Path | None = None, cache: Path | None = None) -> None:
        self.packs = packs
        self.cache = cache
        self._jobs: dict[tuple[str, ...], _Job] = {}
        self._attached: dict[str, PackDescriptors] = {}
        self._of_visitors: list[tuple[str, ...]] = []
        self._lock = threading.Lock()

    def attach(self, key: str, descriptors: PackDescriptors) -> None:
        """Take a database's descriptors from an opened pack: a function that gives those of a model, whole or with the
        PCA that reduced them, and raises IndexMismatchError for one that the pack does not have. Nothing about a
        private database is kept in the cache folder. What was known of this key is forgotten: the pack may have been
        changed since."""
        self.forget(key)
        with self._lock:
            self._attached[key] = descriptors

    def is_attached(self, key: str) -> bool:
        """True for a database whose descriptors come from an opened pack, in the pack's precision."""
        return self._pack(key) is not None

    def _pack(self, key: str) -> PackDescriptors | None:
        with self._lock:
            return self._attached.get(key)

    def forget(self, key: str) -> None:
        """Forget all descriptors of a database."""
        with self._lock:
            self._attached.pop(key, None)
            self._jobs = {identity: job for identity, job in self._jobs.items() if identity[0] != key}

    def queries(self, key: str, model: VPRModel) -> Descriptors | None:
        """Descriptors of a database's queries that came with its pack; None where there are none of this model."""
        pack = self._pack(key)
        try:
            found = None if pack is None else pack(model, "queries")
        except IndexMismatchError:
            return None
        return None if found is None else found[0]

    def get(
        self, key: str, dataset: Dataset, model: VPRModel, progress: Progress | None = None,
        mode: str = FULL_PRECISION, visitors: bool = False,
    ) -> Described:  # fmt: skip
        """Return the described database; the first caller computes, later ones wait and see its progress.

        key names the database within this store; mode is a precision of `scicevpr.descriptors.precision`. visitors: the
        model is a visitor's own: nothing is written, and of such models only the last few are remembered. Raises what
        describe() raises (ImageError for an unreadable photo).
        """
        identity = (key, model.variant.name, model.weights.sha256 if model.weights else "random", mode)
        with self._lock:
            mine = identity not in self._jobs
            job = self._jobs.setdefault(identity, _Job())
            if mine and visitors:
                self._of_visitors.append(identity)
                if len(self._of_visitors) > MOST_OF_VISITORS:
                    self._jobs.pop(self._of_visitors.pop(0), None)
        if mine:
            self._run(identity, job, dataset, model, progress, visitors)
        while not wait([job.made], 0.2).done:
            if progress is not None and job.total:
                progress(job.done, job.total)
        return job.made.result()

    def _run(
        self, identity: tuple, job: _Job, dataset: Dataset, model: VPRModel, progress: Progress | None, visitors: bool
    ) -> None:
        def advance(done: int, total: int) -> None:
            job.done, job.total = done, total
            if progress is not None:
                progress(done, total)

        private, mode = identity[0].startswith(PRIVATE), identity[-1]
        try:
            opened = self._opened(identity[0], dataset, model)
            descriptors, pca = opened or (None, None)
            found = (descriptors, "opened pack") if descriptors else self._stored(dataset, model, mode)
            descriptors, source = found or (None, "")
            if descriptors is None:
                photos = [photo.path for photo in dataset.database]
                descriptors = describe(
                    model, photos, grouping=published_grouping(model.variant, dataset), precision=mode, progress=advance
                )
                source = "computed here"
                if not private and not visitors:
                    self._keep(dataset, model, descriptors, mode)
            index = self._index(descriptors, identity, advance, not visitors)
            described = Described(descriptors, index, source, pca)
        except BaseException as error:
            with self._lock:  # the next caller may try again: the cause may have been mended
                self._jobs.pop(identity, None)
            job.made.set_exception(error)
            return
        with self._lock:
            if private and identity[0] not in self._attached:  # forgotten meanwhile
                self._jobs.pop(identity, None)
        job.made.set_result(described)

    def _index(self, descriptors: Descriptors, identity: tuple, advance: Progress, keep: bool) -> Index:
        """The way of searching that fits the size (see `scicevpr.retrieval.factory`); lists are kept in the cache."""
        folder = None
        if keep and self.cache is not None and not identity[0].startswith(PRIVATE):
            folder = self.cache / "indexes" / hashlib.sha256("\n".join(identity).encode()).hexdigest()[:16]

        def step(_stage: str, done: int, total: int) -> None:
            advance(done, total)

        make = partial(make_index, descriptors.values, folder=folder, progress=step)
        try:
            return make()
        except IndexMismatchError:  # kept by an earlier version, or damaged
            if folder is None or not folder.exists():
                raise
            shutil.rmtree(folder)
            return make()

    def _opened(self, key: str, dataset: Dataset, model: VPRModel) -> tuple[Descriptors, PCA | None] | None:
        pack = self._pack(key)
        if pack is None:
            return None
        try:
            return pack(model)
        except IndexMismatchError:
            if all(photo.path.is_file() for photo in dataset.database):
                return None  # the photos are here, so this model can describe them itself
            raise

    def _stored(self, dataset: Dataset, model: VPRModel, mode: str) -> tuple[Descriptors, str] | None:
        if model.weights is None:
            return None
        names = [photo.name for photo in dataset.database]
        folders = [(self.packs, "bundled pack")] if self.packs else []
        file = self._cache_file(dataset, model, mode)
        folders += [(file.parent, "cache")] if file else []
        for folder, source in folders:
            grouping = published_grouping(model.variant, dataset)
            dtype = None if mode == FULL_PRECISION else precision_label(mode)
            found = find_descriptors(folder, model, names, grouping, model.variant.preprocessing, dtype)
            if found is not None:
                return found, source
        return None

    def _cache_file(self, dataset: Dataset, model: VPRModel, mode: str) -> Path | None:
        """Where descriptors are cached; None without a cache folder, or for random weights."""
        if self.cache is None or model.weights is None:
            return None
        parts = [model.variant.fingerprint, model.weights.sha256, str(dataset.root.resolve())]
        parts += [] if mode == FULL_PRECISION else [mode]
        parts += map(file_state, dataset.database)
        digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
        return self.cache / "descriptors" / digest / f"{model.variant.name}.safetensors"

    def _keep(self, dataset: Dataset, model: VPRModel, descriptors: Descriptors, mode: str) -> None:
        try:
            path = self._cache_file(dataset, model, mode)
            if path is None:
                return
            path.parent.mkdir(parents=True, exist_ok=True)
            save_descriptors(path, descriptors, [photo.name for photo in dataset.database])
        except OSError as error:  # a full or read-only disk must not spoil the answer
            logger.warning("descriptors could not be cached: %s", error)
