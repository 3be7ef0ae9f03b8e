"""Descriptors on disk, with everything needed to refuse them where they do not fit.

A descriptor file is a safetensors file: float16 descriptors and, in its metadata, the photo names in order and the
protocol they were described under. It is written and can be read in blocks, so it may be larger than memory.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import unicodedata
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from scicevpr.config import Preprocessing
from scicevpr.describe.describing import Descriptors
from scicevpr.describe.grouping import Grouping, default_grouping
from scicevpr.errors import IndexMismatchError, UsageError
from scicevpr.files.checksums import known_sha256
from scicevpr.files.descriptor_writer import MEMORY_LIMIT
from scicevpr.files.json_files import parse_json
from scicevpr.models.model import VPRModel

FORMAT = "scicevpr-descriptors-1"
RECORD = (
    "variant", "fingerprint", "weights", "trained", "grouping", "preprocessing", "device", "dtype", "seconds", "facts",
)  # fmt: skip
"""Fields of Descriptors that a file's metadata keeps."""

TENSOR = "descriptors"
REBUILD = "Rebuild it with: scicevpr describe FOLDER --model NAME --output {path}"
ROWS_AT_ONCE = 1024
MAX_HEADER = 100_000_000  # bytes; safetensors refuses longer headers


def save_descriptors(path: Path | str, descriptors: Descriptors, names: Sequence[str]) -> Path:
    """Write descriptors [N, D] as float16 with the photo names (length N, in row order) and the protocol.

    The file appears under its name only when it is complete. Raises UsageError when the counts differ, or when a value
    is not finite in float16.
    """
    path, values = Path(path), descriptors.values
    if len(names) != len(values):
        raise UsageError(f"{len(values)} descriptors came with {len(names)} photo names; each needs one name.")
    record = {name: getattr(descriptors, name) for name in RECORD}
    metadata = {"format": FORMAT, "record": json.dumps(record), "names": json.dumps(list(names)), "sha256": "0" * 64}
    header, digest = _header(values.shape, metadata), hashlib.sha256()
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as part:
        try:
            part.write(header)
            for start in range(0, len(values), ROWS_AT_ONCE):
                content = _half(values[start : start + ROWS_AT_ONCE], start).tobytes()
                digest.update(content)
                part.write(content)
            part.seek(0)
            part.write(_header(values.shape, metadata | {"sha256": digest.hexdigest()}))  # as long as before
        except BaseException:
            os.unlink(part.name)
            raise
    os.chmod(part.name, 0o644)  # temporary files start private; descriptors are meant to be shared
    os.replace(part.name, path)
    return path


def load_descriptors(
    path: Path | str,
    model: VPRModel | None = None,
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


def find_descriptors(
    folder: Path | str,
    model: VPRModel,
    names: Sequence[str],
    grouping: Grouping | None,
    preprocessing: Preprocessing,
    dtype: str | None = None,
) -> Descriptors | None:
    """Return the descriptors of the first file in a folder that was made by this model, for these photos, under this
    grouping (None: the default of `describe`), preprocessing and precision; None where there is no such file.

    dtype: the precision as a protocol calls it (`precision_words`; default: the model's own). Values that would take
    more than MEMORY_LIMIT stay in the file, as a float16 memory map.

    Files that belong to something else are passed over silently; a model without weights never matches.
    """
    if model.weights is None or not Path(folder).is_dir():
        return None
    wanted = grouping or default_grouping(model.variant)
    dtype = dtype or str(next(model.parameters()).dtype).removeprefix("torch.")
    for path in sorted(Path(folder).glob("*.safetensors")):
        try:
            large = 2 * path.stat().st_size > MEMORY_LIMIT  # as float32
            descriptors, _ = load_descriptors(path, model, names, mapped=large)
        except IndexMismatchError:
            continue
        same_type = descriptors.dtype == dtype
        same_batches = not model.variant.cross_image or descriptors.grouping == wanted.label
        if same_type and same_batches and descriptors.preprocessing == asdict(preprocessing):
            return descriptors
    return None


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
        stored.setdefault("facts", {})  # not kept by earlier versions
        record = {name: stored[name] for name in RECORD}
        record["preprocessing"] = _restored(record["preprocessing"])
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
    words = all(isinstance(record[name], str) for name in (*RECORD[:3], "grouping", "device", "dtype"))
    kinds = isinstance(record["trained"], bool) and isinstance(record["seconds"], int | float)
    facts = isinstance(record["facts"], dict) and all(isinstance(value, str) for value in record["facts"].values())
    if not (words and kinds and facts and isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise ValueError("its record holds other kinds of values")


def _check_model(path: Path, record: dict, model: VPRModel, remedy: str) -> None:
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
    if stored == wanted or [_same_form(name) for name in stored] == [_same_form(name) for name in wanted]:
        return
    if len(stored) != len(wanted):
        reason = f"it holds {len(stored)} photos, {len(wanted)} are expected"
    else:
        row = next(row for row, pair in enumerate(zip(stored, wanted, strict=True)) if pair[0] != pair[1])
        reason = f"row {row} is {stored[row]!r}, {wanted[row]!r} is expected"
    raise IndexMismatchError(f"{path} belongs to other photos: {reason}. {remedy}")


def _same_form(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _restored(preprocessing: dict) -> dict:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in preprocessing.items()}
