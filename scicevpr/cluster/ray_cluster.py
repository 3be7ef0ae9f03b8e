"""Ray Data as an engine: reading tasks feed actors that hold a model; the shards are written here."""

from __future__ import annotations

import json
import logging
import math
import os
import socket
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from scicevpr import errors
from scicevpr.cluster import workers
from scicevpr.cluster.describing import Job
from scicevpr.cluster.shards import Shard, ShardFolder, runs
from scicevpr.errors import ClusterError, SciceVPRError, UsageError, first_line
from scicevpr.models.model import VPRModel
from scicevpr.progress import silenced, thrown

INSTALL = 'Install it with: pip install "ray[data]"'
READ_CPUS = 0.25  # share of a processor that a reading task claims
DESCRIBE_CPUS = 0.75
"""Share that a model's actor claims for each of its threads: what is left lets the reading tasks run beside it."""

TRAVEL = 16  # photos that travel together at least, where batches are smaller: 9.6 MB at 224 x 224
STORE_BYTES = 512 * 2**20  # memory for photos on their way, on a cluster of this machine alone
KNOCK_SECONDS = 5.0
MAX_TEMP = 40  # characters; a socket's name may have 107, and Ray's own part of it takes about 60


@dataclass(frozen=True)
class RayEngine:
    """Describe on a Ray cluster.

    address: of a running cluster ("auto", "host:6379"), on one of whose machines this process runs; None starts one on
    this machine and ends it afterwards. If this process is connected to one already, that is used and left running.
    workers: actors with a model (default: as many as fit). threads: of each on the CPU. gpus: of each; a share such as
    0.5 lets two have one GPU, and anything above 0 computes on "cuda". store_bytes: memory for photos on their way, on
    a cluster of this machine alone.

    Photos must be found under the same paths on all machines. One batch is described by one worker, so that the number
    of workers changes nothing.
    """

    address: str | None = None
    workers: int | None = None
    threads: int = 1
    gpus: float = 0.0
    store_bytes: int = STORE_BYTES

    def device(self, job: Job) -> str:
        return "cuda" if self.gpus else "cpu"

    def run(self, job: Job, shards: Sequence[Shard], folder: ShardFolder, advance: Callable[[int], None]) -> None:
        """Describe shards on the cluster. Raises ClusterError; ImageError of a photo as without a cluster."""
        if not isinstance(job.model, VPRModel):
            raise UsageError(
                f"{job.model.variant.title} runs other people's code, which is not sent to a cluster. Describe with "
                "--engine local."
            )
        if job.options.get("device") not in (None, "cpu"):
            raise UsageError("On a cluster the workers' GPUs are asked for with --worker-gpus, not with --device.")
        with self.connected() as ray, ExitStack() as stores:
            stream = self._stream(ray, job, shards)
            try:
                _write(stream, shards, folder, advance, stores)
            except ray.exceptions.RayError as error:
                lines = str(error).strip().splitlines() or [type(error).__name__]
                raise ClusterError(
                    f"The cluster could not finish: {lines[-1]}. Finished shards are kept; the same command goes on."
                ) from error

    def _stream(self, ray: Any, job: Job, shards: Sequence[Shard]) -> Iterator[dict[str, Any]]:
        have = ray.cluster_resources()
        count, cpus = self.share(have.get("CPU", 0.0), have.get("GPU", 0.0))
        rows = list(travelling_rows(shards, job.paths))
        packed = ray.put(workers.PackedModel.of(job.model))  # once; the actors of a machine read the same copy
        options = {name: value for name, value in job.options.items() if name != "device"}
        if self.gpus:
            options["device"] = "cuda"
        how = (packed, workers.VERSIONS, self.threads, job.store, options)
        stream = (
            ray.data.from_items(rows, override_num_blocks=len(rows))
            .map(workers.read_photos, fn_kwargs={"preprocessing": job.preprocessing}, num_cpus=READ_CPUS)
            .map(
                workers.Describer,
                fn_constructor_args=how,
                compute=ray.data.ActorPoolStrategy(size=min(count, len(rows))),
                num_cpus=cpus,
                num_gpus=self.gpus or None,
            )
        )
        yield from stream.iter_rows()

    def share(self, cpus: float, gpus: float) -> tuple[int, float]:
        """Number of workers, and the processors that each claims, on a cluster of so many processors and GPUs. Raises
        ClusterError when the cluster has not the cores for the workers asked for and a reading task beside them."""
        claim = DESCRIBE_CPUS * (1 if self.gpus else self.threads)
        most = math.floor((cpus - READ_CPUS) / claim + 1e-9)
        if self.gpus:
            most = min(most, math.floor(gpus / self.gpus + 1e-9))
        count = self.workers or max(1, most if self.gpus else min(most, int(cpus / self.threads)))
        if count > most:
            wanted = f"{count} workers with {self.threads} threads and {self.gpus:g} GPUs each"
            raise ClusterError(
                f"The cluster has {cpus:g} processors and {gpus:g} GPUs; {wanted} leave none for reading photos. "
                f"At most {max(0, most)} fit: ask for fewer workers, or declare more processors (ray start --num-cpus)."
            )
        return count, claim

    @contextmanager
    def connected(self) -> Iterator[Any]:
        """Be connected to the cluster (the one started here, or `address`); several jobs in the block share it. Gives
        the module ray. Raises UsageError when Ray is not installed, ClusterError when no cluster answers."""
        ray = require_ray(alone=self.address is None)
        with ExitStack() as cleaning:
            cleaning.enter_context(_quiet(ray))
            if ray.is_initialized():
                yield ray
                return
            how: dict[str, Any] = {"address": self.address}
            if self.address is not None:
                _knock(self.address)
            else:
                cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
                where = tempfile.gettempdir()
                place = tempfile.TemporaryDirectory(
                    prefix="ray-", dir=where if len(where) < MAX_TEMP else "/tmp", ignore_cleanup_errors=True
                )
                how = {
                    "address": "local",
                    "num_cpus": max(cores, (self.workers or 1) * self.threads),
                    "include_dashboard": False,
                    "object_store_memory": self.store_bytes,
                    "_node_ip_address": "127.0.0.1",
                    "_temp_dir": cleaning.enter_context(place),
                }
            try:
                ray.init(**how, log_to_driver=False, logging_level=logging.ERROR, configure_logging=False)
            except (ConnectionError, RuntimeError, ValueError, OSError) as error:
                raise _no_cluster(self.address, error) from error
            cleaning.callback(ray.shutdown)
            yield ray


def travelling_rows(shards: Sequence[Shard], paths: Sequence[Any]) -> Iterator[dict[str, Any]]:
    """Rows for the cluster: whole batches of one shard. start: where they begin in the shard; sizes: of the batches."""
    for shard in shards:
        start = 0
        for groups in runs(shard.groups, TRAVEL):
            members = [os.fsencode(os.path.abspath(paths[row])) for group in groups for row in group]
            yield {"shard": shard.number, "start": start, "sizes": [len(group) for group in groups], "paths": members}
            start += len(members)


def _write(
    stream: Iterator[dict[str, Any]],
    shards: Sequence[Shard],
    folder: ShardFolder,
    advance: Callable[[int], None],
    stores: ExitStack,
) -> None:
    """Write rows as they come, in any order, and finish each shard with its last row."""
    by_number = {shard.number: shard for shard in shards}
    left = {shard.number: len(shard.rows) for shard in shards}
    opened: dict[int, tuple[ExitStack, Any]] = {}
    seconds = dict.fromkeys(left, 0.0)
    for row in stream:
        number, values = int(row["shard"]), np.asarray(row["values"])
        if row["error"]:
            raise _unpacked_error(str(row["error"]))
        if number not in opened:
            own = stores.enter_context(ExitStack())
            opened[number] = own, own.enter_context(folder.store(by_number[number]))
        own, store = opened[number]
        start = int(row["start"])
        store.write(range(start, start + len(values)), values)
        record = json.loads(str(row["record"]))
        seconds[number] += record["seconds"]
        left[number] -= len(values)
        advance(len(values))
        if not left[number]:
            store.finish()
            own.close()
            del opened[number]
            folder.finish(by_number[number], record | {"seconds": seconds[number]})


def _knock(address: str) -> None:
    """Raise ClusterError at once where nothing listens; Ray itself asks again for minutes."""
    host, _, port = address.rpartition(":")
    if "//" in address:
        raise UsageError(f"--address takes HOST:PORT or auto, not {address!r}. Run this on a machine of the cluster.")
    if not (host and port.isdigit()):
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=KNOCK_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise _no_cluster(address, error) from error


def _no_cluster(address: str | None, error: Exception) -> ClusterError:
    what = f"No Ray cluster answers at {address!r}" if address else "Ray could not start here"
    reason = first_line(error).rstrip(".")
    return ClusterError(
        f"{what} ({reason}). Start one with `ray start --head`, and give its address, or leave --address out: then one "
        "is started on this machine."
    )


def _unpacked_error(text: str) -> SciceVPRError:
    name, message = json.loads(text)
    return getattr(errors, name, SciceVPRError)(message)


def require_ray(alone: bool = False) -> Any:
    """Import Ray, without usage statistics. UsageError, which names the command, when it is not installed.

    alone: for a cluster of this machine alone. Ray then listens on the loopback address only; it decides so once, when
    it is first imported.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    if alone:
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # its name for it, on every system
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise UsageError(f"The engine ray needs Ray, which is not installed here ({error}). {INSTALL}") from error
    return ray


@contextmanager
def _quiet(ray: Any) -> Iterator[None]:
    """Without Ray's own progress bars and log lines; afterwards as before."""
    context = ray.data.DataContext.get_current()
    with ExitStack() as switches:
        switches.enter_context(silenced(("ray", "ray.data"), logging.ERROR))
        for name in ("enable_progress_bars", "print_on_execution_start"):
            if hasattr(context, name):
                get, put = partial(getattr, context, name), partial(setattr, context, name)
                switches.enter_context(thrown((id(context), name), get, put, False))
        yield
