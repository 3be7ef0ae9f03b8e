"""Descriptors on disk, with everything needed to refuse them where they do not fit.

A pack is a safetensors file: float16 descriptors and, in its metadata, the photo names in order and the protocol they
were described under.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from scicevpr.errors import IndexMismatchError, UsageError

if TYPE_CHECKING:
    from scicevpr.config import Preprocessing
    from scicevpr.describe import Descriptors, Grouping
    from scicevpr.models.model import VPRModel

FORMAT = "scicevpr-descriptors-1"
REBUILD = "Rebuild it with: scicevpr describe FOLDER --model NAME --output {path}"


def save_descriptors(path: Path | str, descriptors: Descriptors, names: Sequence[str]) -> Path:
    """Write descriptors [N, D] as float16 with the photo names (length N, in row order) and the protocol.

    The file appears under its name only when it is complete. Raises UsageError when the counts differ.
    """
    from safetensors.numpy import save

    path = Path(path)
    values = np.asarray(descriptors.values)
    if len(names) != len(values):
        raise UsageError(f"{len(values)} descriptors came with {len(names)} photo names; each needs one name.")
    record = {
        "variant": descriptors.variant,
        "fingerprint": descriptors.fingerprint,
        "weights": descriptors.weights,
        "trained": descriptors.trained,
        "grouping": descriptors.grouping,
        "preprocessing": descriptors.preprocessing,
        "device": descriptors.device,
        "dtype": descriptors.dtype,
        "seconds": descriptors.seconds,
    }
    metadata = {"format": FORMAT, "record": json.dumps(record), "names": json.dumps(list(names))}
    content = save({"descriptors": np.ascontiguousarray(values.astype(np.float16))}, metadata=metadata)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as part:
        part.write(content)
    os.chmod(part.name, 0o644)  # temporary files start private; a pack is meant to be shared
    os.replace(part.name, path)
    return path


def load_descriptors(
    path: Path | str, model: VPRModel | None = None, names: Sequence[str] | None = None
) -> tuple[Descriptors, list[str]]:
    """Read a pack: descriptors (float32 [N, D]) and their photo names.

    With a model, the pack must come from the same architecture and weights; with names, from the same photos in the
    same order. Raises IndexMismatchError otherwise, or when the file is missing or is no pack.
    """
    from safetensors import SafetensorError, safe_open

    from scicevpr.describe import Descriptors

    path = Path(path)
    if not path.is_file():
        raise IndexMismatchError(f"There is no descriptor pack at {path}. " + REBUILD.format(path=path))
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            stored = file.get_tensor("descriptors") if "descriptors" in file.keys() else None  # noqa: SIM118
        record, stored_names = json.loads(metadata["record"]), json.loads(metadata["names"])
    except (SafetensorError, KeyError, ValueError, OSError) as error:
        raise IndexMismatchError(f"{path} is not a readable descriptor pack. " + REBUILD.format(path=path)) from error
    if metadata.get("format") != FORMAT or stored is None or len(stored) != len(stored_names):
        raise IndexMismatchError(f"{path} is not a pack of the form {FORMAT}. " + REBUILD.format(path=path))
    if model is not None:
        _check_model(path, record, model)
    if names is not None:
        _check_names(path, stored_names, list(names))
    record["preprocessing"] = _restored(record.get("preprocessing", {}))
    return Descriptors(values=stored.astype(np.float32), **record), stored_names


def find_descriptors(
    folder: Path | str, model: VPRModel, names: Sequence[str], grouping: Grouping | None, preprocessing: Preprocessing
) -> Descriptors | None:
    """Return the descriptors of the first pack in a folder that was made by this model, for these photos, under this
    grouping (None: the default of `describe`) and preprocessing; None where there is no such pack.

    Packs that belong to something else are passed over silently; a model without weights never matches.
    """
    from scicevpr.describe import default_grouping

    if model.weights is None or not Path(folder).is_dir():
        return None
    wanted = grouping or default_grouping(model.variant)
    for path in sorted(Path(folder).glob("*.safetensors")):
        try:
            descriptors, _ = load_descriptors(path, model, names)
        except IndexMismatchError:
            continue
        same_type = descriptors.dtype == str(next(model.parameters()).dtype).removeprefix("torch.")
        same_batches = not model.variant.cross_image or descriptors.grouping == wanted.label
        if same_type and same_batches and descriptors.preprocessing == asdict(preprocessing):
            return descriptors
    return None


def _check_model(path: Path, record: dict, model: VPRModel) -> None:
    weights = model.weights.sha256 if model.weights is not None else "random"
    for what, found, wanted in (
        ("architecture", record["fingerprint"], model.variant.fingerprint),
        ("weights", record["weights"], weights),
    ):
        if found != wanted:
            raise IndexMismatchError(
                f"{path} was written with other {what} ({record['variant']}, {found}) than the model in use "
                f"({model.variant.name}, {wanted}). " + REBUILD.format(path=path)
            )


def _check_names(path: Path, stored: list[str], wanted: list[str]) -> None:
    if stored == wanted:
        return
    if len(stored) != len(wanted):
        reason = f"it holds {len(stored)} photos, {len(wanted)} are expected"
    else:
        row = next(row for row, pair in enumerate(zip(stored, wanted, strict=True)) if pair[0] != pair[1])
        reason = f"row {row} is {stored[row]!r}, {wanted[row]!r} is expected"
    raise IndexMismatchError(f"{path} belongs to other photos: {reason}. " + REBUILD.format(path=path))


def _restored(preprocessing: dict) -> dict:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in preprocessing.items()}
