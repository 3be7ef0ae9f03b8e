"""Describe photos shard by shard: what is finished stays finished, whatever happens to the process."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch

from scicevpr import __version__
from scicevpr.cluster.shards import (
    RECORD,
    SHARD_PHOTOS,
    Shard,
    ShardFolder,
    clear,
    cut,
    numbered_within,
    plan_digest,
    record_of,
)
from scicevpr.config import Preprocessing
from scicevpr.descriptors.batches import DEFAULT_WORKERS, Grouping, default_grouping
from scicevpr.descriptors.describe import describe, grouping_label, require_weights
from scicevpr.errors import UsageError
from scicevpr.files.descriptor_files import Descriptors
from scicevpr.files.writing import require_space
from scicevpr.models.model import VPRModel
from scicevpr.models.native_checkpoints import hash_tensors
from scicevpr.progress import Progress

STORES = {"float16": 2, "float32": 4}


@dataclass(frozen=True)
class Job:
    """What is described and how. options: as `describe` takes them, without those that stand here by name."""

    model: VPRModel
    paths: Sequence[str | Path]
    preprocessing: Preprocessing
    num_workers: int = DEFAULT_WORKERS
    store: str = "float16"
    options: dict[str, Any] = field(default_factory=dict)


class Engine(Protocol):
    """Who describes the missing shards."""

    def connected(self) -> AbstractContextManager[Any]:
        """Be ready for several jobs."""

    def device(self, job: Job) -> str:
        """Where the descriptors are computed: "cpu", "cuda", ..."""

    def run(self, job: Job, shards: Sequence[Shard], folder: ShardFolder, advance: Callable[[int], None]) -> None:
        """Describe shards, writing each and entering it into the folder. advance: called with photos newly done."""


@dataclass(frozen=True)
class LocalEngine:
    """This process, one shard after the other: `describe` with its threads that decode ahead."""

    def connected(self) -> AbstractContextManager[Any]:
        return nullcontext()

    def device(self, job: Job) -> str:
        return str(job.options.get("device") or next(job.model.parameters()).device)

    def run(self, job: Job, shards: Sequence[Shard], folder: ShardFolder, advance: Callable[[int], None]) -> None:
        for shard in shards:
            before = 0

            def step(done: int, _: int) -> None:
                nonlocal before
                advance(done - before)
                before = done

            described = describe(
                job.model,
                [job.paths[row] for row in shard.rows],
                grouping=Grouping.explicit(numbered_within(shard.groups)),
                preprocessing=job.preprocessing,
                num_workers=job.num_workers,
                out=folder.path(shard),
                out_dtype=job.store,
                progress=step,
                **job.options,
            )
            folder.finish(shard, record_of(described))


@dataclass
class ShardedDescribing:
    """`describe` for very many photo files: in the same batches, but every finished shard is kept in a folder.

    Called again with the same photos and options, after an error or a killed process, it describes only what is
    missing. A shard is described again when its file or one of its photos has changed. Anything else is another job
    beside it in the folder.

    folder: where the shards lie, on a real disk. engine: LocalEngine or RayEngine; each uses the shards of the other.
    shard_photos: photos in a shard, in whole batches. store: "float16", as packs keep descriptors, or "float32" where
    something is to be computed from them (a PCA). tell: called with a sentence when there are shards of an earlier run.
    """

    folder: Path | str
    engine: Engine = field(default_factory=LocalEngine)
    shard_photos: int = SHARD_PHOTOS
    store: str = "float16"
    tell: Callable[[str], None] | None = None
    _jobs: list[Path] = field(default_factory=list, init=False, repr=False)

    def __call__(
        self,
        model: VPRModel,
        images: Sequence[str | Path],
        *,
        batch_size: int = 16,
        grouping: Grouping | None = None,
        preprocessing: Preprocessing | None = None,
        num_workers: int = DEFAULT_WORKERS,
        scratch: Path | str | None = None,
        progress: Progress | None = None,
        **options: Any,
    ) -> Descriptors:
        """Describe photo files. Arguments, rows and errors as in `describe` (`out` and `framing` are not known here).
        ``seconds`` is the time of all workers together, earlier runs included. Raises UsageError also for no photos, no
        paths, a full disk or a folder in use; ClusterError of a RayEngine. Finished shards stay."""
        if self.store not in STORES:
            raise UsageError(f"Shards are stored as one of {', '.join(STORES)}, not as {self.store!r}.")
        if batch_size < 1:
            raise UsageError(f"batch_size must be at least 1, not {batch_size}.")
        if not len(images) or not all(isinstance(image, (str, Path)) for image in images):
            raise UsageError("Shards are made of photo files: give at least one path, and nothing but paths.")
        sha, trained = require_weights(model)
        preprocessing = preprocessing or model.variant.preprocessing
        grouping = grouping or default_grouping(model.variant)
        shards = cut((grouping or Grouping.sequential(batch_size)).split(len(images)), self.shard_photos)
        job = Job(model, images, preprocessing, num_workers, self.store, options)
        width, total = model.variant.descriptor_dim, len(images)
        place = Path(self.folder) / job_name(job, self.engine.device(job), shards)
        self._jobs.append(place)
        with ShardFolder(place, shards, images, width, self.store) as kept:
            left = sum(len(shard.rows) for shard in kept.missing)
            require_space(place, left * width * STORES[self.store])
            if self.tell is not None and (kept.finished or kept.dropped):
                self.tell(_earlier(kept))

            def advance(photos: int) -> None:
                nonlocal left
                left -= photos
                if progress is not None:
                    progress(total - left, total)

            advance(0)
            if kept.missing:
                self.engine.run(job, kept.missing, kept, advance)
            records = _alike([kept.finished[shard.number] for shard in shards])
            return Descriptors(
                values=kept.collect(scratch),
                variant=model.variant.name,
                fingerprint=model.variant.fingerprint,
                weights=sha,
                trained=trained,
                grouping=grouping_label(grouping),
                preprocessing=asdict(preprocessing),
                **{name: records[0][name] for name in RECORD if name != "seconds"},
                seconds=sum(record["seconds"] for record in records),
            )

    def clear(self) -> None:
        """Delete the shards of all jobs described by this object, when their descriptors are safe elsewhere."""
        for place in self._jobs:
            clear(place)
        self._jobs.clear()

    @property
    def kept(self) -> list[Path]:
        """The folders of these jobs that hold finished shards."""
        return [place for place in self._jobs if any(place.glob("shard-*.npy"))]


def job_name(job: Job, device: str, shards: Sequence[Shard]) -> str:
    """The name of a job's folder: model, weights, and a digest of everything that could change a descriptor."""
    variant = job.model.variant
    weights = job.model.weights.sha256 if job.model.weights is not None else hash_tensors(job.model.state_dict())
    decisive = {
        "fingerprint": variant.fingerprint,
        "weights": weights,
        "preprocessing": asdict(job.preprocessing),
        "dtype": str(next(job.model.parameters()).dtype),
        "device": device,
        "options": {name: str(value) for name, value in sorted(job.options.items()) if name != "device"},
        "store": job.store,
        "plan": plan_digest(shards, job.paths),
        "versions": [__version__, torch.__version__],
    }
    digest = hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:12]
    return re.sub(r"[^A-Za-z0-9._-]+", "-", f"{variant.name}.{weights}.{digest}")


def _alike(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """UsageError when workers with other processors used another precision or device than the rest."""
    kinds = sorted({f"{record['dtype']} on {record['device']}" for record in records})
    if len(kinds) > 1:
        raise UsageError(
            f"The shards were described in different ways: {', '.join(kinds)}. Delete them, and ask for a precision "
            "that all machines have."
        )
    return records


def _earlier(kept: ShardFolder) -> str:
    again = f"; {kept.dropped} were damaged, or their photos changed, and are described again" if kept.dropped else ""
    return f"{len(kept.finished)} of {len(kept.shards)} shards of an earlier run are used again{again} ({kept.folder})."
