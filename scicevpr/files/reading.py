"""Reading what comes from anywhere: JSON with limits, checksums, and .npy files, without running anything in them.

Ground truth in this field comes as "object arrays": one array of database rows per query, of different lengths. NumPy
stores those as a pickle, and a pickle can name any function of Python and ask for it to be called. Here only numbers,
text, lists, tuples and arrays of these are rebuilt; for the few NumPy names that such a file needs, small records of
our own stand in, so that NumPy's unpickling code is not run on a stranger's bytes either. All else is refused.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import pickle
import pickletools
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from scicevpr.errors import DatasetError, SciceVPRError, first_line

MAX_BYTES = 256 * 2**20  # of a JSON file; a record of the descriptors of a million photos has about half of that
MAX_DIGITS = 19  # of a whole number: what 64 bits hold
MOST_KNOWN = 10_000
_lock = threading.Lock()
_ESCAPED = re.compile(r"\\u[dD][89a-fA-F]")  # half of a character, if its other half does not follow
_known: dict[tuple[str, int], tuple[tuple[int, int, int], str]] = {}


def read_json(
    path: Path, error: type[SciceVPRError], remedy: str, max_bytes: int = MAX_BYTES, name: str | None = None
) -> Any:
    """The content of a JSON file. Raises ``error``, naming the file, for one that is missing, too long, no UTF-8, no
    JSON, nested deeper than Python reads, or with a whole number of more than 19 digits; remedy: what it advises;
    name: what it calls the file (default: the path)."""
    name = name or str(path)
    try:
        size = path.stat().st_size
        if size > max_bytes:
            raise error(f"{name} has {size} bytes of JSON; at most {max_bytes} are read. {remedy}")
        return parse_json(path.read_bytes())
    except OSError as failure:
        raise error(f"{name} cannot be read ({failure.strerror or failure}). {remedy}") from failure
    except ValueError as failure:
        raise error(f"{name} is not readable JSON ({failure}). {remedy}") from failure


def parse_json(text: str | bytes) -> Any:
    """Parse JSON. Raises ValueError also where Python's reader raises something else, and for texts that can be neither
    shown nor written."""
    try:
        plain = text.decode("utf-8-sig") if isinstance(text, bytes) else text
        content = json.loads(plain, parse_int=_whole)
        if _ESCAPED.search(plain):
            json.dumps(content, ensure_ascii=False).encode()
        return content
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    except UnicodeEncodeError as error:
        raise ValueError("it holds half of a character, a surrogate") from error


def _whole(digits: str) -> int:
    if len(digits.lstrip("-")) > MAX_DIGITS:
        raise ValueError(f"it holds a whole number of {len(digits)} digits")
    return int(digits)


def safe_name(name: object) -> str:
    """A relative file name, perhaps in folders, that stays inside the folder it is read from. ValueError for others."""
    text = str(name)
    leaves = not isinstance(name, str) or any(part in ("", ".", "..") for part in text.split("/"))
    if leaves or "\\" in text or "\0" in text or text[1:2] == ":":
        raise ValueError(f"the file name {text!r} does not stay inside its folder")
    return text


def sha256_of(path: Path, offset: int = 0) -> str:
    """SHA-256 of a file from a byte on, 64 hex digits."""
    with path.open("rb") as stream:
        stream.seek(offset)
        return hashlib.file_digest(stream, "sha256").hexdigest()


def known_sha256(path: Path, offset: int = 0) -> str:
    """As `sha256_of`; read once as long as the file is not written to again."""
    state = path.stat()
    key, version = (os.path.abspath(path), offset), (state.st_ino, state.st_size, state.st_mtime_ns)
    with _lock:
        found = _known.get(key)
    if found is not None and found[0] == version:
        return found[1]
    digest = sha256_of(path, offset)
    with _lock:
        if len(_known) >= MOST_KNOWN:
            _known.clear()
        _known[key] = version, digest
    return digest


def file_problem(
    path: Path, size: int, sha256: str | None, whole: str, digest: Callable[[Path], str] = sha256_of
) -> str:
    """What is wrong with a file that the manifest of a ``whole`` lists, "" for a sound one. sha256 None: only the size
    is compared. digest: `sha256_of` or `known_sha256`."""
    found = path.stat().st_size if path.is_file() else None
    if found is None:
        return f"{path} is missing from the {whole}."
    if found != size:
        state = "cut off" if found < size else "too long"
        return f"{path} is {state}: it has {found} bytes, the manifest says {size}."
    changed = sha256 is not None and digest(path) != sha256
    return f"{path} was changed: its SHA-256 is not the one in the manifest." if changed else ""


def forget_below(folder: Path) -> None:
    """Forget what is known of the files in a folder that goes away."""
    inside = os.path.abspath(folder) + os.sep
    with _lock:
        for key in [key for key in _known if key[0].startswith(inside)]:
            del _known[key]


_PLAIN_TYPE = re.compile(r"[<>|=]?([biuf](1|2|4|8)|[US]\d+)")
LAST_CODE_POINT = 0x10FFFF
_MAX_AXES = 8
_MAX_ITEMS = 3_000_000  # the ground truth of a large set has some hundred thousand
_MAX_DEPTH = 4  # arrays of lists of arrays are met with; nothing deeper is ground truth


def read_npy(path: Path | str) -> np.ndarray:
    """Read an .npy file: an array of numbers or text, or an object array of ints, text, lists, tuples and arrays.
    Raises DatasetError when the file is missing, damaged, no .npy file, or asks for code to be run (then with the name
    of what it asked for; nothing of it has been run).
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            if not _header(file)[2].hasobject:
                file.seek(0)
                return _checked_text(np.load(file, allow_pickle=False))
            _check_pickle(file)
            array = _Plain().of(_Reader(file, encoding="latin1").load())
    except FileNotFoundError as error:
        raise DatasetError(f"There is no file {path}. Check the path.") from error
    except _Refused as error:
        raise DatasetError(
            f"{path} asks Python to run `{error}`, which a list of rows or names never needs. The file was refused and "
            "nothing in it was run; do not use it unless you trust where it comes from."
        ) from error
    except Exception as error:  # a stranger's bytes can make the reader fail in any way
        raise DatasetError(
            f"{path} cannot be read as an .npy array: {first_line(error)[:300]}. Download or copy the file again; if "
            "it is an .npz archive or another format, save the array in it with numpy.save."
        ) from error
    if not isinstance(array, np.ndarray):
        raise DatasetError(f"{path} holds a {type(array).__name__}, not an array. Save the array with numpy.save.")
    return array


def map_npy(path: Path | str, error: type[SciceVPRError], remedy: str) -> np.ndarray:
    """An .npy file of numbers as a read-only memory map (an empty array where it holds no values). Raises ``error``,
    naming the file, when it is missing, damaged, cut off or holds something else; remedy: what it advises."""
    path = Path(path)
    try:
        with path.open("rb") as file:
            shape, by_columns, dtype = _header(file)
            offset = file.tell()
        if dtype.hasobject:
            raise ValueError("it holds lists, not one array of numbers")
        if 0 in shape:
            return np.empty(shape, dtype)
        return np.memmap(path, dtype, "r", offset, shape, "F" if by_columns else "C")
    except Exception as failure:  # a stranger's bytes can make the reader fail in any way
        raise error(f"{path} is no readable .npy file ({first_line(failure)[:300]}). {remedy}") from failure


def _header(file: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, order by columns and type of an .npy file, checked against its size. ValueError."""
    version = np.lib.format.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"it is of the .npy version {version[0]}.{version[1]}, only 1.0 and 2.0 are read")
    header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, by_columns, dtype = header(file)
    if len(shape) > _MAX_AXES or any(type(length) is not int or not 0 <= length < 2**62 for length in shape):
        raise ValueError(f"it states the shape {str(shape)[:80]}")
    if dtype.hasobject:
        if dtype != np.dtype(object):
            raise ValueError(f"it holds records of the type {dtype}, only arrays of rows or names are read")
        return shape, by_columns, dtype
    wanted, there = math.prod(shape) * dtype.itemsize, os.fstat(file.fileno()).st_size - file.tell()
    if wanted > there:
        raise ValueError(f"it states {wanted} bytes of values and has {there}: it is cut off or damaged")
    return shape, by_columns, dtype


def _checked_text(array: np.ndarray) -> np.ndarray:
    """ValueError for text with code points that Unicode does not have: Python fails when it makes strings of them."""
    if array.dtype.kind == "U" and array.size:
        codes = np.ascontiguousarray(array).reshape(-1).view(array.dtype.byteorder.replace("|", "=") + "u4")
        if int(codes.max()) > LAST_CODE_POINT:
            raise ValueError("it holds text that is no Unicode")
    return array


class _Refused(Exception):
    """The name of a function or class that a file asked for."""


class PickledType:
    """Stands in for `numpy.dtype` in a pickle: the code of a plain number or text type, or of objects."""

    def __init__(self, code: str, *_: object) -> None:
        self.objects = code in ("O", "O4", "O8")
        if not self.objects and not (isinstance(code, str) and _PLAIN_TYPE.fullmatch(code)):
            raise ValueError(f"it holds values of the NumPy type {code!r}, only numbers and text are read")
        self.code, self.order = str(code).lstrip("<>|="), "<"

    def __setstate__(self, state: tuple) -> None:
        self.order = ">" if state[1] == ">" else "<"

    def plain(self) -> np.dtype:
        return np.dtype(self.order + self.code)


class PickledArray:
    """Stands in for `numpy.ndarray` in a pickle; `values` holds the content once it is read."""

    values: np.ndarray | None = None

    def __setstate__(self, state: tuple) -> None:
        shape, kind, by_columns, data = state[-4:]
        if not isinstance(kind, PickledType):
            raise ValueError("it holds an array without a type")
        if kind.objects:
            values = np.empty(len(data), dtype=object)
            for row, item in enumerate(data):  # one by one, so that NumPy does not look into the items
                values[row] = item
        else:
            content = data.encode("latin1") if isinstance(data, str) else data  # Python 2 wrote bytes as text
            values = _checked_text(np.frombuffer(content, kind.plain()))
        if values.size != math.prod(shape):
            raise ValueError(f"it holds an array of shape {tuple(shape)} with {values.size} values")
        by_columns = by_columns and not kind.objects  # NumPy lists objects row by row in any case
        self.values = values.reshape(shape, order="F" if by_columns else "C")


class _Named:
    """What a pickle gets for an allowed name: it can be called, and nothing else can be done to it."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable) -> None:
        self._function = function

    def __call__(self, *arguments: object) -> object:
        return self._function(*arguments)

    def __setstate__(self, state: object) -> None:
        raise _Refused("a change of Python's own functions")


def new_array(*_: object) -> PickledArray:
    """Stands in for the function that makes arrays in a pickle."""
    return PickledArray()


def pickled_scalar(kind: PickledType, data: bytes | str) -> Any:
    """Stands in for the function that makes NumPy's scalars in a pickle."""
    content = data.encode("latin1") if isinstance(data, str) else data
    return _checked_text(np.frombuffer(content, kind.plain(), count=1))[0].item()


def _bytes(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise _Refused(f"_codecs.encode to {encoding}")
    return text.encode("latin1")


def _no_bytes(*content: object) -> bytes:
    if content:
        raise _Refused("bytes of something")
    return b""


PICKLED_NUMPY: dict[str, Callable] = {
    "numpy.ndarray": PickledArray,
    "numpy.dtype": PickledType,
    **{f"numpy.{core}.multiarray._reconstruct": new_array for core in ("core", "_core")},
    **{f"numpy.{core}.multiarray.scalar": pickled_scalar for core in ("core", "_core")},
}
"""The names under which NumPy 1 and 2 pickle arrays and scalars, and what answers to them here."""

_ALLOWED: dict[str, Callable] = {
    **PICKLED_NUMPY,
    "_codecs.encode": _bytes,
    **{f"{builtins}.bytes": _no_bytes for builtins in ("__builtin__", "builtins")},  # how old pickles say b""
}


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> _Named:
        if f"{module}.{name}" not in _ALLOWED:
            raise _Refused(f"{module}.{name}")
        return _Named(_ALLOWED[f"{module}.{name}"])

    def persistent_load(self, pid: object) -> object:
        raise _Refused(f"the outside object {pid!r}")


def _check_pickle(file: BinaryIO) -> None:
    """ValueError for a pickle that would make the reader take far more memory than it has bytes; leaves the place."""
    place, size = file.tell(), os.fstat(file.fileno()).st_size
    for number, (code, argument, _) in enumerate(pickletools.genops(file)):
        if number > _MAX_ITEMS:
            raise ValueError(f"it holds more than {_MAX_ITEMS} items")
        if "PUT" in code.name and int(argument) > size:  # a place in a table that would be made that long
            raise ValueError("it is a damaged list: its places go beyond its end")
    file.seek(place)


class _Plain:
    """Replaces the records by arrays, all through the containers; refuses everything that is not plain."""

    def __init__(self) -> None:
        self.items = 0

    def of(self, value: Any, depth: int = 0) -> Any:
        if depth > _MAX_DEPTH:
            raise ValueError("its lists are nested too deeply for ground truth")
        self.items += 1
        if self.items > _MAX_ITEMS:  # a list may name another one many times over
            raise ValueError(f"it holds more than {_MAX_ITEMS} items")
        if isinstance(value, PickledArray):
            value = value.values
        if isinstance(value, np.ndarray) and value.dtype == object:
            result = np.empty(value.shape, dtype=object)
            for place, item in np.ndenumerate(value):
                result[place] = self.of(item, depth + 1)
            return result
        if type(value) in (list, tuple):
            return type(value)(self.of(item, depth + 1) for item in value)
        if value is None or isinstance(value, (bool, int, float, str, bytes, np.ndarray)):
            return value
        raise ValueError(f"it holds a {type(value).__name__}, only numbers, text, lists and arrays are read")
