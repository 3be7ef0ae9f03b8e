"""Descriptors with the protocol they were made under, and their files, which are refused where they do not fit.

A descriptor file is a safetensors file: float16 descriptors and, in its metadata, the photo names in order and the
protocol they were described under. It is written and can be read in blocks, so it may be larger than memory.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unicodedata import normalize

import numpy as np
from safetensors import SafetensorError, safe_open

from scicevpr.config import Preprocessing
from scicevpr.errors import IndexMismatchError, UsageError
from scicevpr.files.reading import known_sha256, parse_json
from scicevpr.files.writing import written_whole

FORMAT = "scicevpr-descriptors-1"
RECORD = ("variant", "fingerprint", "weights", "trained", "grouping", "preprocessing", "device", "dtype", "seconds")
"""Fields of Descriptors that a file keeps under their names; it keeps `metadata` as "facts"."""

TENSOR = "descriptors"
REBUILD = "Rebuild it with: scicevpr describe FOLDER --model NAME --output {path}"
ROWS_AT_ONCE = 1024
MAX_HEADER = 100_000_000  # bytes; safetensors refuses longer headers


@dataclass(frozen=True)
class Descriptors:
    """Descriptors [N, D] (unit rows) and the protocol under which they were made.

    values: float32 in memory, or a read-only memory map of a file (float32 or float16). metadata: what the protocol
    adds for a model that is not this project's (`scicevpr.external_models.loading.ExternalVariant`).
    """

    values: np.ndarray
    variant: str
    fingerprint: str
    weights: str
    trained: bool
    grouping: str
    preprocessing: dict[str, Any]
    device: str
    dtype: str
    seconds: float
    metadata: dict[str, str] = field(default_factory=dict)

    def protocol(self) -> dict[str, str]:
        """The protocol, in the order in which it is printed."""
        return {
            "variant": self.variant,
            "weights": f"{self.weights} ({'trained' if self.trained else 'NOT trained'})",
            "resize": Preprocessing(**self.preprocessing).label(),
            "grouping": self.grouping,
            "dtype": self.dtype,
            "device": self.device,
            **self.metadata,
        }

    def protocol_line(self) -> str:
        """One printable line."""
        return " · ".join(f"{key} {value}" for key, value in self.protocol().items())


def save_descriptors(path: Path | str, descriptors: Descriptors, names: Sequence[str]) -> Path:
    """Write descriptors [N, D] as float16 with the photo names (length N, in row order) and the protocol. The file
    appears under its name only when it is complete. Raises UsageError when the counts differ, or when a value is not
    finite in float16."""
    path, values = Path(path), descriptors.values
    if len(names) != len(values):
        raise UsageError(f"{len(values)} descriptors came with {len(names)} photo names; each needs one name.")
    record = {name: getattr(descriptors, name) for name in RECORD} | {"facts": descriptors.metadata}
    metadata = {"format": FORMAT, "record": json.dumps(record), "names": json.dumps(list(names)), "sha256": "0" * 64}
    header, digest = _header(values.shape, metadata), hashlib.sha256()
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as part, part.open("wb") as stream:
        stream.write(header)
        for start in range(0, len(values), ROWS_AT_ONCE):
            content = _half(values[start : start + ROWS_AT_ONCE], start).tobytes()
            digest.update(content)
            stream.write(content)
        stream.seek(0)
        stream.write(_header(values.shape, metadata | {"sha256": digest.hexdigest()}))  # as long as before
    return path


def load_descriptors(
    path: Path | str,
    model: Any = None,
    names: Sequence[str] | None = None,
    *,
    mapped: bool = False,
    remedy: str | None = None,
) -> tuple[Descriptors, list[str]]:
    """Read a descriptor file: descriptors (float32 [N, D]) and their photo names.

    With a model, the file must come from the same architecture and weights; with names, from the same photos in the
    same order. mapped: the values stay in the file, as a read-only float16 memory map. remedy: what the errors advise.
    Raises IndexMismatchError when the file does not fit, is missing or is no descriptor file.
    """

    path = Path(path)
    remedy = remedy or REBUILD.format(path=path)
    if not path.is_file():
        raise IndexMismatchError(f"There is no descriptor file at {path}. {remedy}")
    values, record, stored_names = _open(path, remedy)
    if model is not None:
        _check_model(path, record, model, remedy)
    if names is not None:
        _check_names(path, stored_names, list(names), remedy)
    return Descriptors(values=values if mapped else values.astype(np.float32), **record), stored_names


def _header(shape: Sequence[int], metadata: dict[str, str]) -> bytes:
    """The header of a safetensors file with one float16 tensor; its layout is the format's published one."""
    tensor = {"dtype": "F16", "shape": list(shape), "data_offsets": [0, 2 * int(np.prod(shape))]}
    text = json.dumps({"__metadata__": metadata, TENSOR: tensor}).encode()
    text += b" " * (-len(text) % 8)
    if len(text) > MAX_HEADER:
        raise UsageError(
            f"The names of {shape[0]} photos need {len(text)} bytes, more than the {MAX_HEADER} that a safetensors "
            "header may have. Split the photos over several files."
        )
    return len(text).to_bytes(8, "little") + text


def _half(block: np.ndarray, start: int) -> np.ndarray:
    with np.errstate(over="ignore"):
        half = np.asarray(block).astype("<f2")
    good = np.isfinite(half).all(axis=1)
    if not good.all():
        raise UsageError(
            f"Descriptor {start + int(np.argmin(good))} holds values that are not finite in float16. "
            "Describe that photo again."
        )
    return half


def _open(path: Path, remedy: str) -> tuple[np.memmap, dict[str, Any], list[str]]:
    """A file's values, record and names, checked for their form; only the header is read."""
    try:
        with safe_open(path, framework="numpy") as file:  # also checks that the tensors fill the file exactly
            metadata, keys = file.metadata() or {}, list(file.keys())
            tensor = file.get_slice(TENSOR) if keys == [TENSOR] else None
            shape = tensor.get_shape() if tensor is not None and tensor.get_dtype() == "F16" else []
        stored, names = parse_json(metadata["record"]), parse_json(metadata["names"])
        record = {name: stored[name] for name in RECORD} | {"metadata": stored.get("facts", {})}
        stated = record["preprocessing"].items()
        record["preprocessing"] = {key: tuple(value) if isinstance(value, list) else value for key, value in stated}
        Preprocessing(**record["preprocessing"])
        _check_record(record, names)
    except (SafetensorError, KeyError, ValueError, TypeError, AttributeError, OSError) as error:
        raise IndexMismatchError(f"{path} is not a readable descriptor file. {remedy}") from error
    if metadata.get("format") != FORMAT or len(shape) != 2 or 0 in shape or len(names) != shape[0]:
        raise IndexMismatchError(f"{path} is not a descriptor file of the form {FORMAT}. {remedy}")
    offset = path.stat().st_size - 2 * shape[0] * shape[1]
    if metadata.get("sha256", "") not in ("", known_sha256(path, offset)):  # not kept by earlier versions
        raise IndexMismatchError(f"The descriptors in {path} are damaged: their SHA-256 is another one. {remedy}")
    return np.memmap(path, dtype="<f2", mode="r", offset=offset, shape=tuple(shape)), record, names


def _check_record(record: dict[str, Any], names: Any) -> None:
    """ValueError for a record whose fields are not of their kinds."""
    texts = all(isinstance(record[name], str) for name in (*RECORD[:3], "grouping", "device", "dtype"))
    kinds = isinstance(record["trained"], bool) and isinstance(record["seconds"], int | float)
    more = isinstance(record["metadata"], dict) and all(isinstance(text, str) for text in record["metadata"].values())
    if not (texts and kinds and more and isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise ValueError("its record holds other kinds of values")


def _check_model(path: Path, record: dict, model: Any, remedy: str) -> None:
    weights = model.weights.sha256 if model.weights is not None else "random"
    for what, found, wanted in (
        ("architecture", record["fingerprint"], model.variant.fingerprint),
        ("weights", record["weights"], weights),
    ):
        if found != wanted:
            raise IndexMismatchError(
                f"{path} was written with other {what} ({record['variant']}, {found}) than the model in use "
                f"({model.variant.name}, {wanted}). {remedy}"
            )


def _check_names(path: Path, stored: list[str], wanted: list[str], remedy: str) -> None:
    if stored == wanted or [normalize("NFC", name) for name in stored] == [normalize("NFC", name) for name in wanted]:
        return
    if len(stored) != len(wanted):
        reason = f"it holds {len(stored)} photos, {len(wanted)} are expected"
    else:
        row = next(row for row, pair in enumerate(zip(stored, wanted, strict=True)) if pair[0] != pair[1])
        reason = f"row {row} is {stored[row]!r}, {wanted[row]!r} is expected"
    raise IndexMismatchError(f"{path} belongs to other photos: {reason}. {remedy}")
