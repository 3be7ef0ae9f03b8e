"""Object arrays are read without running what they hold."""

from __future__ import annotations

import io
import os
import pickle
import pickletools
from pathlib import Path

import numpy as np
import pytest

from scicevpr.errors import DatasetError
from scicevpr.files.reading import read_npy


def _objects(*items) -> np.ndarray:
    array = np.empty(len(items), dtype=object)
    for row, item in enumerate(items):
        array[row] = item
    return array


def _write(path: Path, content: bytes, shape: tuple = (1,)) -> Path:
    """An .npy file of objects with any pickle in it."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": shape})
    path.write_bytes(file.getvalue() + content)
    return path


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4])
def test_arrays_lists_and_names_come_back(tmp_path, protocol):
    items = (np.array([3, 1]), [5, np.int64(6)], (7, 8.5), np.array(["a", "bc"]), "name", None, np.array([], dtype=int))
    path = _write(tmp_path / "gt.npy", pickle.dumps(_objects(*items), protocol), (len(items),))
    found = read_npy(path)
    assert found.shape == (7,)
    assert found[0].tolist() == [3, 1]
    assert found[1] == [5, 6]
    assert found[2] == (7, 8.5)
    assert found[3].tolist() == ["a", "bc"]
    assert found[4:6].tolist() == ["name", None]
    assert found[6].size == 0


def test_plain_arrays_and_tables_of_objects(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(6).reshape(2, 3))
    assert read_npy(tmp_path / "a.npy").tolist() == [[0, 1, 2], [3, 4, 5]]
    np.save(tmp_path / "b.npy", np.array(["x.jpg", "yy.jpg"]))
    assert read_npy(tmp_path / "b.npy").tolist() == ["x.jpg", "yy.jpg"]
    pairs = np.empty((2, 2), dtype=object)
    pairs[:] = [[0, None], [1, None]]
    pairs[0, 1], pairs[1, 1] = [4, 5], np.array([6])
    np.save(tmp_path / "c.npy", np.asfortranarray(pairs))
    found = read_npy(tmp_path / "c.npy")
    assert found[0, 1] == [4, 5]
    assert found[1, 1].tolist() == [6]


class _Calls:
    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize(
    ("function", "argument"), [(os.system, "touch ran"), (eval, "open('ran', 'w')"), (os.mkdir, "ran")]
)
def test_code_is_refused_by_name_and_not_run(tmp_path, monkeypatch, protocol, function, argument):
    monkeypatch.chdir(tmp_path)
    hidden = _objects(np.array([1]), [_Calls(function, argument)])
    path = _write(tmp_path / "gt.npy", pickle.dumps(hidden, protocol), (2,))
    with pytest.raises(DatasetError, match=rf"gt\.npy asks Python to run `\w+\.{function.__name__}`") as error:
        read_npy(path)
    assert "refused" in str(error.value)
    assert not (tmp_path / "ran").exists()


def test_stand_ins_cannot_be_changed_or_misused(tmp_path):
    build = b"cnumpy\nndarray\n}S'x'\nI1\nsb."  # BUILD: would set an attribute of what stands for numpy.ndarray
    pickletools.dis(build, io.StringIO())
    with pytest.raises(DatasetError, match="change of Python's own functions"):
        read_npy(_write(tmp_path / "a.npy", build))
    codec = b"c_codecs\nencode\n(Vabc\nVrot13\ntR."
    with pytest.raises(DatasetError, match=r"_codecs\.encode to rot13"):
        read_npy(_write(tmp_path / "b.npy", codec))
    outside = b"Pname\n."
    with pytest.raises(DatasetError, match="outside object"):
        read_npy(_write(tmp_path / "c.npy", outside))


def test_other_content_and_damage_are_named(tmp_path):
    with pytest.raises(DatasetError, match="no file"):
        read_npy(tmp_path / "none.npy")
    (tmp_path / "text.npy").write_text("not an array")
    with pytest.raises(DatasetError, match=r"text\.npy cannot be read as an \.npy array"):
        read_npy(tmp_path / "text.npy")
    with pytest.raises(DatasetError, match="holds a dict, only numbers"):
        read_npy(_write(tmp_path / "dict.npy", pickle.dumps(_objects({"a": 1}))))
    with pytest.raises(DatasetError, match="holds a list, not an array"):
        read_npy(_write(tmp_path / "list.npy", pickle.dumps([1, 2])))
    whole = pickle.dumps(_objects(np.arange(1000)))
    with pytest.raises(DatasetError, match="cannot be read"):
        read_npy(_write(tmp_path / "cut.npy", whole[:200]))
    np.savez(tmp_path / "archive.npz", a=np.arange(3))
    with pytest.raises(DatasetError, match=r"\.npz archive"):
        read_npy(tmp_path / "archive.npz")
    deep = 1
    for _ in range(10):
        deep = [deep]
    with pytest.raises(DatasetError, match="nested too deeply"):
        read_npy(_write(tmp_path / "deep.npy", pickle.dumps(_objects(deep))))
