"""Read a weights file without running anything that is in it.

Two kinds of file are understood: safetensors, and what `torch.save` writes (`.pth`, `.pt`, `.ckpt`, `.bin`). The second
kind is a pickle, and a pickle can name any function of Python and ask for it to be called. So it is read with
`torch.load(weights_only=True)`, which knows tensors and plain containers only. Training checkpoints also carry NumPy
values (a `recalls` array, a `best_r5` scalar); for those few names the records of `scicevpr.files.reading` stand in,
so that NumPy's unpickling code is not run on a stranger's bytes either. All else that a file asks for is refused.
"""

from __future__ import annotations

import json
import re
import stat
import threading
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from scicevpr.errors import WeightsError, first_line
from scicevpr.files.reading import PICKLED_NUMPY, PickledArray

_names_lock = threading.Lock()
SAFETENSORS_HEADER_LIMIT = 100_000_000  # bytes; the safetensors library refuses longer headers too
MOST_HEADER_BYTES = 5_000_000  # a model of 1,000 tensors needs about 100,000
MOST_TENSORS = 10_000
MOST_UNPACKED_RATIO = 4  # torch.save stores without packing, so what unpacks to much more was made to fill memory
UNPACKED_SMALL = 64_000_000  # bytes that are taken whatever the ratio


# What answers to NumPy's names in a checkpoint.
_NUMPY_NAMES: list[tuple[Any, str]] = [(stand_in, name) for name, stand_in in PICKLED_NUMPY.items()]


def read_checkpoint(path: str | Path) -> tuple[dict[str, Any], dict[str, str]]:
    """Read a weights file into (its content, its metadata), on the CPU.

    The content is the file's own dictionary: name -> tensor for safetensors and bare state dicts, or the outer
    dictionary of a training checkpoint (see `key_formats.unwrap`). The metadata is the text header of a safetensors
    file, else empty. The kind of file is told from its first bytes, not from its name.

    Raises WeightsError when the file is missing, empty, cut short, not a weights file, asks for code to be run, or
    would take far more time or memory than its size says (the numbers above).
    """
    path = Path(path)
    kind = _kind_of(path)
    (_check_header if kind == "safetensors" else _check_packing)(path)
    return _read_safetensors(path) if kind == "safetensors" else (_read_pickle(path), {})


def read_metadata(path: str | Path) -> dict[str, str]:
    """The text header of a safetensors file, without reading its tensors. WeightsError as `read_checkpoint`."""
    path = Path(path)
    if _kind_of(path) != "safetensors":
        raise WeightsError(f"{path} is not a safetensors file, so it has no metadata.")
    _check_header(path)
    try:
        with safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {})
    except (SafetensorError, OSError, ValueError) as error:
        raise _damaged(path, error) from error


def _kind_of(path: Path) -> str:
    """The kind, "safetensors" or "pickle", from the first bytes; WeightsError says what the file is instead."""
    if path.is_dir():
        raise WeightsError(f"{path} is a folder. Give the path of a weights file (.safetensors, .pth, .ckpt).")
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would wait for its other end for ever
            raise WeightsError(f"{path} is a pipe or a device, not a file. Copy the weights into a file.")
        with path.open("rb") as file:
            head = file.read(512)
    except FileNotFoundError as error:
        raise WeightsError(f"There is no weights file at {path}. Check the path.") from error
    except OSError as error:
        raise WeightsError(f"{path} could not be opened: {error.strerror or error}.") from error
    if not head:
        raise WeightsError(f"{path} is empty (0 bytes). Download or copy the file again.")
    text = head.lstrip().lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head", b"<body")):
        raise WeightsError(
            f"{path} is a web page, not a weights file: the download saved the page around the link. "
            "Download the file itself and try again."
        )
    if text.startswith(b"version https://git-lfs"):
        raise WeightsError(f"{path} is a Git LFS pointer, not the weights. Run `git lfs pull` to fetch them.")
    if len(head) > 8 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") < SAFETENSORS_HEADER_LIMIT:
        return "safetensors"
    if head.startswith(b"PK\x03\x04") or head[0] == 0x80:
        return "pickle"
    raise WeightsError(
        f"{path} is not a weights file, by its first bytes. "
        "Expected a .safetensors file or a PyTorch checkpoint (.pth, .pt, .ckpt)."
    )


def _check_header(path: Path) -> None:
    """Refuse a safetensors file whose list of tensors is longer than any model's."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > MOST_HEADER_BYTES:
            raise WeightsError(
                f"The header of {path} has {length:,} bytes; at most {MOST_HEADER_BYTES:,} are read. It is no file of "
                "one model."
            )
        header = file.read(length)
    try:
        count = len(json.loads(header))
    except (ValueError, RecursionError, TypeError):
        return  # damaged: the reader says how
    if count > MOST_TENSORS:
        raise WeightsError(
            f"{path} names {count:,} tensors; at most {MOST_TENSORS:,} are read. It is no file of one model."
        )


def _check_packing(path: Path) -> None:
    """Refuse a checkpoint, which is a zip, that unpacks to far more than its size."""
    try:
        if not zipfile.is_zipfile(path):
            return
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return  # damaged: the reader says how
    unpacked = sum(entry.file_size for entry in entries)
    if len(entries) > 2 * MOST_TENSORS:
        raise WeightsError(f"{path} holds {len(entries):,} parts; at most {2 * MOST_TENSORS:,} are read.")
    if unpacked > max(UNPACKED_SMALL, MOST_UNPACKED_RATIO * path.stat().st_size):
        raise WeightsError(
            f"{path} would unpack to {unpacked:,} bytes, more than {MOST_UNPACKED_RATIO} times its size. PyTorch does "
            "not pack checkpoints: save it again with torch.save."
        )


def _damaged(path: Path, error: Exception) -> WeightsError:
    return WeightsError(
        f"{path} is damaged or cut short ({path.stat().st_size} bytes) and cannot be read: {first_line(error)}. "
        "Download or copy the file again."
    )


def _read_safetensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    try:
        with safe_open(path, framework="pt") as file:
            names = list(file.keys())
            return {name: file.get_tensor(name) for name in names}, dict(file.metadata() or {})
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise _damaged(path, error) from error


def _read_pickle(path: Path) -> dict[str, Any]:
    try:
        with _names_lock, torch.serialization.safe_globals(_NUMPY_NAMES):  # the names are the process's
            content = torch.load(path, map_location="cpu", weights_only=True)
        content = _plain(content)
    except Exception as error:  # a stranger's bytes can make the reader fail in any way
        refused = _refused_name(error)
        if refused:
            raise WeightsError(
                f"{path} asks Python to run `{refused}`, which a weights file never needs. "
                "The file was refused and nothing in it was run; do not use it unless you trust where it comes from."
            ) from error
        raise _damaged(path, error) from error
    if not isinstance(content, dict):  # `_plain` makes one of every mapping
        raise WeightsError(
            f"{path} holds a {type(content).__name__}, not a dictionary of named tensors: no checkpoint of a model."
        )
    return content


def _refused_name(error: Exception) -> str | None:
    """The function or class that a pickle asked for and was not given, or None if the failure was another one."""
    text = str(error)
    for pattern in (
        r"GLOBAL ([\w.]+) was not an allowed global",
        r"unsupported GLOBAL ([\w.]+)",
        r"unrecognized function (.+?)(?:\.\s|$|\n)",
        r"allowlisted\s+via `add_safe_globals`,? but got (.+?)(?:\.\s|$|\n)",
        r"Unsupported operand (\d+)",
    ):
        match = re.search(pattern, text)
        if match:
            found = match.group(1).strip()
            return f"pickle instruction {found}" if found.isdigit() else found
    return None


def _plain(value: Any) -> Any:
    """Replace the array records by NumPy arrays, all through the containers of a checkpoint."""
    if isinstance(value, PickledArray):
        if value.values is None or value.values.dtype.kind not in "biuf":
            raise ValueError("holds a NumPy array of something other than plain numbers")
        return value.values
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_plain(item) for item in value) if type(value) in (list, tuple) else value
    return value
