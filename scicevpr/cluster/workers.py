"""What runs on the workers of a cluster: reading tasks, and actors that hold a model. Imported there by name.

A row of the stream is a run of whole batches: photos that share a batch are never parted. Errors travel in the row, so
that they reach the user in the same words as without a cluster.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import platform
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from scicevpr import __version__
from scicevpr.cluster.shards import numbered_within, record_of
from scicevpr.config import Preprocessing
from scicevpr.descriptors.batches import Grouping
from scicevpr.descriptors.describe import describe
from scicevpr.descriptors.preprocessing import to_views
from scicevpr.errors import ClusterError, SciceVPRError

VERSIONS = f"scicevpr {__version__}, torch {torch.__version__}"  # what must agree on all machines of a cluster


@dataclass(frozen=True)
class PackedModel:
    """A model as bytes without its tensors, and the tensors as arrays, which all workers of a machine share."""

    skeleton: bytes
    arrays: tuple[np.ndarray, ...]

    @classmethod
    def of(cls, model: nn.Module) -> PackedModel:
        """Pack a model; it stays as it is."""
        stream = io.BytesIO()
        arrays: list[np.ndarray] = []
        _Packer(stream, arrays).dump(model)
        return cls(stream.getvalue(), tuple(arrays))

    def model(self) -> nn.Module:
        """The model on the CPU, in evaluation mode. Its tensors read the arrays and must not be written to."""
        return _Unpacker(io.BytesIO(self.skeleton), self.arrays).load().eval()


def read_photos(row: Mapping[str, Any], preprocessing: Preprocessing) -> dict[str, Any]:
    """A reading task: {shard, start, sizes, paths} -> {shard, start, sizes, pixels [n, 3, H, W] float32, error}."""
    torch.set_num_threads(1)
    error, views = "", []
    try:
        views = [to_views(os.fsdecode(path), preprocessing) for path in row["paths"]]
    except SciceVPRError as problem:
        error, views = _packed_error(problem), []
    pixels = torch.cat(views).numpy() if views else np.zeros((0, 3, *preprocessing.size), np.float32)
    return {**{name: row[name] for name in ("shard", "start", "sizes")}, "pixels": pixels, "error": error}


class Describer:
    """An actor: {..., pixels} -> {shard, start, values [n, D], record, error}."""

    def __init__(self, packed: Any, versions: str, threads: int, store: str, options: dict[str, Any]) -> None:
        import ray

        self._error = ""
        if versions != VERSIONS:
            other = (
                f"The cluster's machine {platform.node()} has {VERSIONS}; this one has {versions}. Descriptors could "
                "differ, so install the same versions on all of them."
            )
            self._error = _packed_error(ClusterError(other))
        torch.set_num_threads(threads)
        self._model = ray.get(packed).model()
        self._width = self._model.variant.descriptor_dim
        self._store, self._options = store, dict(options)
        device = self._options.pop("device", None)
        if device is not None:
            self._model = self._model.to(device)

    def __call__(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Describe one row."""
        values, record, error = np.zeros((0, self._width), self._store), "", self._error or str(row["error"])
        if not error:
            try:
                values, record = self._describe(row)
            except SciceVPRError as problem:
                error = _packed_error(problem)
        return {"shard": row["shard"], "start": row["start"], "values": values, "record": record, "error": error}

    def _describe(self, row: Mapping[str, Any]) -> tuple[np.ndarray, str]:
        groups = Grouping.explicit(numbered_within([range(int(size)) for size in row["sizes"]]))
        pixels = torch.from_numpy(np.array(row["pixels"]))  # shared memory is read-only, torch wants its own
        described = describe(self._model, pixels, grouping=groups, **self._options)
        with np.errstate(over="ignore"):  # what does not fit is found when the descriptors are saved
            values = described.values.astype(self._store)
        return values, json.dumps(record_of(described))


def _packed_error(problem: SciceVPRError) -> str:
    return json.dumps([type(problem).__name__, str(problem)])


class _Packer(pickle.Pickler):
    def __init__(self, stream: io.BytesIO, arrays: list[np.ndarray]) -> None:
        super().__init__(stream, protocol=5)
        self._arrays = arrays
        self._places: dict[int, int] = {}

    def persistent_id(self, value: Any) -> tuple | None:
        if not isinstance(value, Tensor):
            return None
        if id(value) not in self._places:  # a tensor used twice travels once
            flat = value.detach().cpu().contiguous().reshape(-1)
            self._places[id(value)] = len(self._arrays)
            self._arrays.append(flat.view(torch.uint8).numpy().copy())
        kind = str(value.dtype).removeprefix("torch.")
        return (self._places[id(value)], kind, tuple(value.shape), isinstance(value, nn.Parameter), value.requires_grad)


class _Unpacker(pickle.Unpickler):
    def __init__(self, stream: io.BytesIO, arrays: tuple[np.ndarray, ...]) -> None:
        super().__init__(stream)
        self._arrays = arrays
        self._made: dict[int, Tensor] = {}

    def persistent_load(self, place: tuple) -> Tensor:
        number, dtype, shape, parameter, gradient = place
        if number not in self._made:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the array is read-only, and so is the tensor to us
                tensor = torch.from_numpy(self._arrays[number]).view(getattr(torch, dtype)).reshape(shape)
            self._made[number] = nn.Parameter(tensor, requires_grad=gradient) if parameter else tensor
        return self._made[number]
