"""Checkpoints and object arrays are read without running what they hold."""

from __future__ import annotations

import io
import os
import pickle
import pickletools
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from scicevpr.errors import DatasetError, WeightsError
from scicevpr.files.reading import read_npy
from scicevpr.hub.load import load_model
from scicevpr.models.checkpoint import read_checkpoint, read_metadata


class Attack:
    """Pickles into a call of any function."""

    def __init__(self, function, *arguments) -> None:
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def _attacks(marker: Path) -> dict[str, object]:
    return {
        "system": Attack(os.system, f"touch {marker}"),
        "exec": Attack(exec, f"open({str(marker)!r}, 'w')"),
        "eval": Attack(eval, f"open({str(marker)!r}, 'w')"),
        "open": Attack(open, str(marker), "w"),
        "mkdir": Attack(os.mkdir, str(marker)),
    }


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("attack", ["system", "exec", "eval", "open", "mkdir"])
def test_a_malicious_checkpoint_is_refused_and_not_run(attack: str, zipped: bool, tmp_path: Path) -> None:
    marker, path = tmp_path / "marker", tmp_path / "evil.pth"
    content = {"model_state_dict": {"gem.p": torch.ones(1)}, "optimizer_state_dict": [_attacks(marker)[attack]]}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(WeightsError, match="refused and nothing in it was run") as caught:
        load_model(path)
    assert attack in str(caught.value)
    assert not marker.exists()
    if attack in ("system", "mkdir"):  # the file is a real attack: an unsafe reader does run it
        torch.load(path, weights_only=False)
        assert marker.exists()


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_a_malicious_bare_pickle_is_refused_and_not_run(tmp_path: Path) -> None:
    marker, path = tmp_path / "marker", tmp_path / "evil.ckpt"
    for protocol in (2, 4):
        path.write_bytes(pickle.dumps(_attacks(marker)["system"], protocol=protocol))
        with pytest.raises(WeightsError):
            load_model(path)
        assert not marker.exists()


def test_numpy_values_are_read_without_numpy_s_own_unpickling(tmp_path: Path) -> None:
    path = tmp_path / "numpy.pth"
    content = {
        "recalls": np.array([81.5, 90.25]),
        "table": np.asfortranarray(np.arange(6, dtype=">i4").reshape(2, 3)),
        "flags": np.array([True, False]),
        "best_r5": np.float64(90.25),
        "count": np.int64(7),
        "state_dict": OrderedDict(a=torch.ones(2)),
    }
    torch.save(content, path)
    read, metadata = read_checkpoint(path)
    assert metadata == {}
    for name in ("recalls", "table", "flags"):
        np.testing.assert_array_equal(read[name], content[name])
    assert (read["best_r5"], read["count"]) == (90.25, 7)
    assert torch.equal(read["state_dict"]["a"], torch.ones(2))


def rename_numpy(path: Path, old: str, new: str) -> None:
    """Rewrite the module name under which a checkpoint's NumPy values are pickled."""
    with zipfile.ZipFile(path) as archive:
        members = [(member, archive.read(member)) for member in archive.infolist()]
    found = any(old.encode() in data for _, data in members)
    assert found
    with zipfile.ZipFile(path, "w") as archive:
        for member, data in members:
            pickled = member.filename.endswith("data.pkl")
            archive.writestr(member, data.replace(old.encode(), new.encode()) if pickled else data)


def test_numpy_values_of_both_numpy_generations(tmp_path: Path) -> None:
    path = tmp_path / "numpy1.pth"
    content = {"recalls": np.array([1.5, 2.5]), "best": np.float32(3.5), "state_dict": {"a": torch.ones(1)}}
    torch.save(content, path)
    stored = "numpy._core" if int(np.__version__.split(".")[0]) >= 2 else "numpy.core"
    other = {"numpy._core": "numpy.core", "numpy.core": "numpy._core"}[stored]
    for name in (stored, other):
        if name != stored:
            rename_numpy(path, f"{stored}.multiarray", f"{name}.multiarray")
        read, _ = read_checkpoint(path)
        np.testing.assert_array_equal(read["recalls"], [1.5, 2.5])
        assert read["best"] == 3.5


@pytest.mark.parametrize(
    "value",
    [np.array([object()]), np.array(["text"]), np.zeros(2, dtype=[("a", "f4")]), np.array(1 + 2j)],
    ids=["object", "text", "record", "complex"],
)
def test_numpy_values_that_are_no_plain_numbers_are_refused(value: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "odd.pth"
    torch.save({"recalls": value, "state_dict": {"a": torch.ones(1)}}, path)
    with pytest.raises(WeightsError, match=str(path)):
        read_checkpoint(path)


NO_WEIGHTS = {
    "empty": (b"", "empty"),
    "web page": (b"\n<!DOCTYPE html><html><body>Sign in</body></html>", "web page"),
    "lfs pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
    "photo": (b"\xff\xd8\xff\xe0 JFIF and so on", "not a weights file"),
    "text": (b"weights: none\n", "not a weights file"),
    "pickle start only": (b"\x80\x02}q\x00", "damaged or cut short"),
    "zip start only": (b"PK\x03\x04 and no more", "damaged or cut short"),
}


@pytest.mark.parametrize("kind", NO_WEIGHTS)
def test_files_that_are_no_weights(kind: str, tmp_path: Path) -> None:
    content, message = NO_WEIGHTS[kind]
    path = tmp_path / "CricaVPR.pth"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=message) as caught:
        load_model(path)
    assert str(path) in str(caught.value)


def test_missing_files_folders_and_misspelt_names(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no weights file at"):
        load_model(tmp_path / "gone.pth")
    with pytest.raises(WeightsError, match="is a folder"):
        load_model(tmp_path)
    with pytest.raises(WeightsError, match=r"neither a variant nor a file\. Variants: scicevpr-t"):
        load_model("scicevpr-xl")


def test_an_ordinary_zip_and_a_torchscript_like_archive_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "photos.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", "hello")
    with pytest.raises(WeightsError, match="damaged or cut short"):
        load_model(path)


@pytest.mark.parametrize("kept", [0.2, 0.6, 0.95, 0.999])
@pytest.mark.parametrize("ending", ["pth", "safetensors"])
def test_truncated_files(ending: str, kept: float, tmp_path: Path) -> None:
    path = tmp_path / f"cut.{ending}"
    state = {"conv.weight": torch.arange(4096.0), "gem.p": torch.ones(1)}
    torch.save(state, path) if ending == "pth" else save_file(state, path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * kept)])
    with pytest.raises(WeightsError, match="damaged or cut short"):
        read_checkpoint(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([torch.ones(1)], "holds a list"),
        (torch.ones(1), "holds a Tensor"),
        ({}, "no tensors"),
        ({"epoch": 3, "lr": 0.1}, "epoch, lr are not named tensors"),
        ({"state_dict": {"a": torch.ones(1), "b": "text"}}, "b is not named tensors"),
        ({0: torch.ones(1)}, "0 is not named tensors"),
        ({"features.0.weight": torch.ones(1)}, r"no model known here: its tensors are called features\.0\.weight"),
        ({"blocks.0.ls1.gamma": torch.ones(1), "register_tokens": torch.ones(1)}, "with registers"),
    ],
)
def test_checkpoints_of_other_things(content: object, message: str, tmp_path: Path) -> None:
    path = tmp_path / "other.pth"
    torch.save(content, path)
    with pytest.raises(WeightsError, match=message):
        load_model(path)


def test_endless_nesting_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "deep.pth"
    data = io.BytesIO()
    data.write(b"\x80\x02" + b"]" * 5000 + b"a" * 4999 + b".")
    path.write_bytes(data.getvalue())
    with pytest.raises(WeightsError):
        load_model(path)


def test_metadata_of_a_file_without_any(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(1)}, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match="not a safetensors file"):
        read_metadata(tmp_path / "a.pth")
    save_file({"a": torch.ones(1)}, tmp_path / "a.safetensors")
    assert read_metadata(tmp_path / "a.safetensors") == {}


@pytest.mark.parametrize("offset", range(0, 256, 8))
def test_every_header_length_is_a_safetensors_file(tmp_path: Path, offset: int) -> None:
    """The first byte is the header's length modulo 256, among them 0x80, with which pickles begin."""
    path = tmp_path / "weights.safetensors"
    save_file({"a": torch.ones(2)}, path, metadata={"note": "x" * offset})
    tensors, metadata = read_checkpoint(path)
    assert metadata == {"note": "x" * offset}
    assert torch.equal(tensors["a"], torch.ones(2))


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


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize(
    ("function", "argument"), [(os.system, "touch ran"), (eval, "open('ran', 'w')"), (os.mkdir, "ran")]
)
def test_code_is_refused_by_name_and_not_run(tmp_path, monkeypatch, protocol, function, argument):
    monkeypatch.chdir(tmp_path)
    hidden = _objects(np.array([1]), [Attack(function, argument)])
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
