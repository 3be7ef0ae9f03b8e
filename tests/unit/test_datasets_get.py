"""`datasets get` and `prepare`: every archive of a stand-in server becomes a data set that is checked and evaluated."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from pathlib import Path

import archive_samples as samples
import numpy as np
import pytest
from stand_in_server import StandIn

from scicevpr.cli.main import main
from scicevpr.datasets import read_dataset
from scicevpr.datasets.catalogue import BENCHMARKS, Benchmark
from scicevpr.datasets.check import check_dataset
from scicevpr.datasets.converters import CONVERTERS
from scicevpr.datasets.sources import SOURCES, DataSource, find_source
from scicevpr.errors import DatasetError, UsageError
from scicevpr.evaluation.benchmark import evaluate
from scicevpr.hub import web
from scicevpr.hub.datasets import SOURCE_FILE, datasets_folder, get_dataset, prepare_dataset
from scicevpr.hub.load import load_model


def find(key: str) -> Benchmark:
    return BENCHMARKS[key]


SCORED = sorted(set(samples.ARCHIVES) - {"tokyo247-queries", "gsv-cities-light"})
LAYOUTS = {
    **dict.fromkeys(("gardens-point", "st-lucia-small", "sfu"), "gt-npz"),
    **dict.fromkeys(("msls-val", "pitts30k-val"), "npy"),
    "corridor": "vpr-bench",
}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "LONGEST_WAIT", 0.0)
    for name in ("DATASETS_FOLDER", "SCICEVPR_CACHE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def model():
    return load_model("scicevpr-t")


def served(server: StandIn, key: str, **how: object) -> DataSource:
    """The source with its files on the stand-in server."""
    source, files = find_source(key), []
    for file, content in zip(source.files, samples.ARCHIVES[key], strict=True):
        server.add_file(f"/{file.name}", content, **how)
        files.append(replace(file, url=f"{server.url}/{file.name}"))
    return replace(source, files=tuple(files))


@pytest.mark.parametrize("key", sorted(samples.ARCHIVES))
def test_whole(key: str, server: StandIn, tmp_path: Path) -> None:
    source = served(server, key)
    folder = get_dataset(source, tmp_path, licence_accepted=True)
    assert folder == tmp_path / source.folder
    assert (folder / SOURCE_FILE).is_file()
    assert [path.name for path in tmp_path.iterdir()] == [source.folder], "nothing else is left"
    asked = len(server.requests)
    assert get_dataset(source, tmp_path) == folder, "there already"
    assert len(server.requests) == asked
    if key == "tokyo247-queries":
        queries = sorted(path.name for path in (folder / "images/test/queries").iterdir())
        assert queries[0].startswith("@0382374.")
        assert "@54@S@" in queries[0]
        return
    report = check_dataset(folder, source.split)
    assert report.usable, report.problems
    said = dict(report.findings)
    if key == "gsv-cities-light":
        assert said["photos"] == "4 in the tables, 4 files"
        return
    assert said["layout"] == LAYOUTS.get(key, "utm-tree")
    if key != "pitts30k-val":  # of whose validation split no table is published
        start = "none: named like" if find(key).database else find(key).title
        assert said["published table"].startswith(start), "recognised, and too small to be it where counts are known"


@pytest.mark.parametrize("key", SCORED)
def test_evaluates(key: str, server: StandIn, tmp_path: Path, model) -> None:
    source = served(server, key)
    dataset = read_dataset(get_dataset(source, tmp_path, licence_accepted=True), source.split)
    assert evaluate(model, dataset).overall.recalls[1] == 100.0, "queries are copies of their positives"
    if key == "nordland":
        assert (len(dataset.database), len(dataset.queries)) == (3, 3), "one of four frames is not in the list"
        assert [len(rows) for rows in dataset.positives()] == [3, 3, 3]
    if key == "gardens-point":
        with np.load(dataset.root.parents[1] / "GT.npz") as truth:
            assert truth["GTsoft"].sum(axis=0).tolist() == [min(i, 8) + min(19 - i, 8) + 1 for i in range(20)]
        assert any("248 more pairs" in note for note in dataset.notes)


def test_interrupted(server: StandIn, tmp_path: Path) -> None:
    content = samples.ARCHIVES["sfu"][0]
    source = served(server, "sfu", cuts=[1000] * 9)
    server.files["/SFU.zip"].cuts = [1000] + [0] * 8
    with pytest.raises(DatasetError, match=r"broke off at 1000 bytes.*goes on from there"):
        get_dataset(source, tmp_path, licence_accepted=True)
    assert not (tmp_path / "SFU").exists()
    server.files["/SFU.zip"].cuts = []
    assert get_dataset(source, tmp_path, licence_accepted=True).is_dir()
    assert server.gets("/SFU.zip")[-1] == "bytes=1000-"
    assert len(content) > 1000


def test_wrong_checksum_and_damage(server: StandIn, tmp_path: Path) -> None:
    source = served(server, "sfu")
    wrong = replace(source, files=(replace(source.files[0], sha256="0" * 64),))
    with pytest.raises(DatasetError, match="wrong checksum"):
        get_dataset(wrong, tmp_path, licence_accepted=True)
    damaged = bytearray(samples.ARCHIVES["sfu"][0])
    damaged[200] ^= 255  # inside the first photo
    server.add_file("/SFU.zip", bytes(damaged))
    with pytest.raises(DatasetError, match="is damaged or no archive"):
        get_dataset(source, tmp_path, licence_accepted=True)
    assert not (tmp_path / "SFU").exists()


def test_moved(server: StandIn, tmp_path: Path) -> None:
    source = served(server, "sfu")
    server.files.clear()
    with pytest.raises(
        DatasetError, match=r"answers 404.*Links move\. People ask about it at https://github.com/stsch"
    ):
        get_dataset(source, tmp_path, licence_accepted=True)
    server.files["/SFU.zip"] = replace(
        server.add_file("/SFU.zip", b"<!doctype html><p>moved"), headers={"Content-Type": "text/html"}
    )
    with pytest.raises(DatasetError, match="is a web page"):
        get_dataset(source, tmp_path, licence_accepted=True)


def test_disk_full(server: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = served(server, "sfu")
    with monkeypatch.context() as patched:
        patched.setattr(web.shutil, "disk_usage", lambda folder: os.terminal_size((0, 0)) and _usage(100))
        with pytest.raises(DatasetError, match="too full for"):
            get_dataset(source, tmp_path, licence_accepted=True)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", _only_below(".SFU.part", full))
        with pytest.raises(DatasetError, match=r"The disk of .* is full.*archives were kept"):
            get_dataset(source, tmp_path, licence_accepted=True)
    assert [path.name for path in tmp_path.iterdir()] == ["SFU.downloads"]
    assert get_dataset(source, tmp_path, licence_accepted=True).is_dir()
    assert len(server.gets("/SFU.zip")) == 2, "the archive was not fetched again"


def _usage(free: int):
    return type("Usage", (), {"free": free})()


def _only_below(mark: str, instead):
    """os.replace, except for files of a folder."""
    real = os.replace
    return lambda a, b: instead() if mark in str(a) else real(a, b)


def test_refused_licence(server: StandIn, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="was not accepted"):
        get_dataset(served(server, "sfu"), tmp_path)
    assert server.requests == []
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_had(tmp_path: Path, server: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=r"without its authors' consent.*datasets prepare pitts250k --from"):
        get_dataset(find_source("pitts250k"), tmp_path, licence_accepted=True)
    with pytest.raises(UsageError, match="choose one of gardens-point"):
        find_source("oxford")
    monkeypatch.setenv("SCICEVPR_OFFLINE", "1")
    with pytest.raises(DatasetError, match="SCICEVPR_OFFLINE or HF_HUB_OFFLINE forbids"):
        get_dataset(served(server, "sfu"), tmp_path, licence_accepted=True)
    (tmp_path / "SFU").mkdir()
    with pytest.raises(UsageError, match="is there already"):
        get_dataset(served(server, "sfu"), tmp_path, licence_accepted=True)


def write(root: Path, files: samples.Files) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


@pytest.mark.parametrize(
    ("key", "files", "database", "queries"),
    [
        ("pitts30k", samples.pittsburgh(), 3, 2),
        ("pitts250k", samples.pittsburgh("pitts250k"), 3, 2),
        ("tokyo247", samples.tokyo(), 2, 2),
    ],
)
def test_prepared_by_hand(key, files, database, queries, tmp_path: Path, model) -> None:
    given = write(tmp_path / "given", files)
    dataset = read_dataset(prepare_dataset(find_source(key), given, tmp_path / "out"))
    assert (len(dataset.database), len(dataset.queries)) == (database, queries)
    assert [len(rows) for rows in dataset.positives()] == [1] * queries
    assert dataset.database[0].zone == ("54S" if key == "tokyo247" else "17T")
    assert sorted(p.relative_to(given).as_posix() for p in given.rglob("*.*") if p.is_file()) == sorted(files), "stays"
    if key == "tokyo247":
        assert evaluate(model, dataset).overall.recalls[1] == 100.0
    else:
        assert dataset.queries[0].name.split("@")[7:9] == ["000100", "26"]
        assert dataset.benchmark == key


def test_sets_in_their_own_layout_are_linked(tmp_path: Path) -> None:
    given = write(
        tmp_path / "given", samples._utm("deep/processed/test/database") | samples._utm("deep/processed/test/queries")
    )
    folder = prepare_dataset(find_source("sf-xl"), given, tmp_path / "out")
    dataset = read_dataset(folder)
    assert len(dataset.database) == 2
    photo = next(path for path in given.rglob("*.jpg"))
    assert photo.stat().st_nlink == 2


def test_archives_got_by_hand_are_unpacked(tmp_path: Path) -> None:
    (tmp_path / "sfu.zip").write_bytes(samples.ARCHIVES["sfu"][0])
    assert len(read_dataset(prepare_dataset(find_source("sfu"), tmp_path / "sfu.zip", tmp_path / "out")).queries) == 3
    with pytest.raises(DatasetError, match=r"no folder that holds new and old"):
        prepare_dataset(find_source("amstertime"), tmp_path / "sfu.zip", tmp_path / "out")
    with pytest.raises(UsageError, match="There is no"):
        prepare_dataset(find_source("sped"), tmp_path / "nothing", tmp_path / "out")


def test_every_source_has_a_converter_and_a_sample() -> None:
    assert {source.converter for source in SOURCES.values()} == set(CONVERTERS)
    assert {key for key, source in SOURCES.items() if source.files} == set(samples.ARCHIVES)


def test_the_commands(server: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setitem(SOURCES, "gardens-point", served(server, "gardens-point"))
    monkeypatch.setenv("DATASETS_FOLDER", str(tmp_path))
    assert main(["datasets", "get"]) == 0
    assert "gardens-point" in capsys.readouterr().out
    assert main(["datasets", "get", "Gardens_Point"]) == 2
    assert "--accept-licence" in capsys.readouterr().err
    assert main(["datasets", "get", "gardens-point", "--accept-licence"]) == 0
    assert f"run next: scicevpr datasets check {tmp_path / 'GardensPoint_Walking'}" in capsys.readouterr().out
    assert main(["datasets", "check", str(tmp_path / "GardensPoint_Walking")]) == 0
    assert "Gardens Point Walking" in capsys.readouterr().out
    (tmp_path / "x.zip").write_bytes(samples.ARCHIVES["sped"][0])
    assert main(["datasets", "prepare", "sped", "--from", str(tmp_path / "x.zip")]) == 0
    assert datasets_folder() == tmp_path
    monkeypatch.delenv("DATASETS_FOLDER")
    monkeypatch.setenv("SCICEVPR_CACHE", "/somewhere")
    assert datasets_folder() == Path("/somewhere/datasets")
