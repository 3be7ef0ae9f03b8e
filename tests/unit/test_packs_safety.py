from __future__ import annotations

import json
import os
import shutil
import struct

import pytest
from pack_samples import small_pack, stand_in

from scicevpr.errors import DatasetError, UsageError
from scicevpr.files.reading import safe_name, sha256_of
from scicevpr.packs import open_pack
from scicevpr.packs.pack import check_pack

DESCRIPTORS = "descriptors/scicevpr-t.aaaaaaaaaaaa.safetensors"


@pytest.fixture(scope="module")
def sound(tiny_city, tmp_path_factory):
    return small_pack(tmp_path_factory.mktemp("packs") / "sound", tiny_city, thumbnails=16).folder


@pytest.fixture
def folder(sound, tmp_path):
    return shutil.copytree(sound, tmp_path / "pack")


def _edit(folder, change):
    path = folder / "pack.json"
    facts = json.loads(path.read_text())
    change(facts)
    path.write_text(json.dumps(facts))


def _seal(folder, name):
    """Give a file that was changed the size and checksum it has now: as a stranger would who makes a pack."""
    path = folder / name
    facts = {"bytes": path.stat().st_size, "sha256": sha256_of(path)}
    _edit(folder, lambda manifest: manifest["files"][name].update(facts))


def _messages(folder):
    return [f"{problem.file}: {problem.message}" for problem in check_pack(folder)]


def test_one_changed_byte_is_found_by_check_and_by_what_reads_it(folder):
    assert check_pack(folder) == []
    path = folder / DESCRIPTORS
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    pack = open_pack(folder)
    with pytest.raises(DatasetError, match="its SHA-256 is not the one in the manifest"):
        pack.descriptors(stand_in())
    [message] = _messages(folder)
    assert message.startswith(DESCRIPTORS)
    assert "its SHA-256 is not the one in the manifest" in message


def test_check_tells_everything_that_is_wrong(folder):
    (folder / "thumbnails/database/0000/0000003.jpg").unlink()
    (folder / "queries.csv").write_text("row\n")
    (folder / "virus.exe").write_text("")
    (folder / "README.md").write_text("my own words")
    text = "\n".join(_messages(folder))
    for words in ("0000003.jpg is missing", "queries.csv is cut off", "virus.exe is not in the manifest"):
        assert words in text
    assert "README" not in text


@pytest.mark.parametrize("size", [100, 8, 0])
def test_a_truncated_file_is_refused_at_opening(folder, size):
    os.truncate(folder / DESCRIPTORS, size)
    with pytest.raises(
        DatasetError, match=rf"is cut off: it has {size} bytes, the manifest says \d+.*Get the pack again"
    ):
        open_pack(folder)
    (folder / DESCRIPTORS).unlink()
    with pytest.raises(DatasetError, match="is missing from the pack"):
        open_pack(folder)


def test_other_missing_parts_are_named(folder, tmp_path):
    (folder / "records.csv").unlink()
    with pytest.raises(DatasetError, match=r"records\.csv is missing"):
        open_pack(folder)
    (folder / "pack.json").unlink()
    with pytest.raises(DatasetError, match=r"is not a database pack: it has no pack\.json"):
        open_pack(folder)
    with pytest.raises(DatasetError, match="does not exist; a database pack is a folder"):
        open_pack(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "name",
    ["../x", "a/../../x", "/etc/passwd", "a//b", "./a", "", "C:/x", "a\\..\\b", "a\0b", "descriptors/..", 3, None],
)
def test_names_that_leave_the_folder_are_refused(folder, name):
    with pytest.raises(ValueError, match="does not stay inside"):
        safe_name(name)
    _edit(folder, lambda facts: facts["descriptors"][0].update(file=name))
    with pytest.raises(DatasetError, match="does not stay inside its folder"):
        open_pack(folder)


@pytest.mark.parametrize("column", ["name", "file", "thumbnail"])
def test_records_cannot_lead_out_of_the_folder_either(folder, column):
    path = folder / "records.csv"
    lines = path.read_text().splitlines()
    index = lines[0].split(",").index(column)
    fields = lines[2].split(",")
    fields[index] = "thumbnails/../../../x.jpg" if column == "thumbnail" else "../../x.jpg"
    lines[2] = ",".join(fields)
    path.write_text("\n".join(lines) + "\n")
    _seal(folder, "records.csv")
    with pytest.raises(DatasetError, match=r"records\.csv, record 1: .*does not stay inside"):
        open_pack(folder)


def test_symbolic_links_are_refused(folder, tmp_path):
    secret = tmp_path / "secret.jpg"
    thumbnail = folder / "thumbnails/database/0000/0000003.jpg"
    shutil.move(thumbnail, secret)
    thumbnail.symlink_to(secret)
    for check in (open_pack, check_pack):
        with pytest.raises(DatasetError, match=r"0000003\.jpg is a symbolic link to .*secret\.jpg"):
            check(folder)
    thumbnail.unlink()
    (folder / "more").symlink_to(tmp_path)
    with pytest.raises(DatasetError, match="symbolic link"):
        open_pack(folder)


def test_links_of_the_hubs_cache_lead_to_its_blobs_only(sound, tmp_path):
    snapshot = tmp_path / "datasets--me--city" / "snapshots" / ("c" * 40)
    blobs = snapshot.parents[1] / "blobs"
    shutil.copytree(sound, snapshot)
    blobs.mkdir()
    path = snapshot / DESCRIPTORS
    shutil.move(path, blobs / "d0")
    path.symlink_to(os.path.relpath(blobs / "d0", path.parent))
    assert check_pack(snapshot) == []
    (blobs / "d1").symlink_to(sound / DESCRIPTORS)
    path.unlink()
    path.symlink_to(blobs / "d1")
    with pytest.raises(DatasetError, match="symbolic link"):
        open_pack(snapshot)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda facts: facts.update(format_version=2), "is a pack of format 2; .*Update the program"),
        (lambda facts: facts.update(format_version="1"), "format_version is '1'"),
        (lambda facts: facts.update(format="zip"), "is not the manifest of a database pack"),
        (lambda facts: facts.pop("counts"), "'counts' is missing"),
        (lambda facts: facts["counts"].update(database=-1), "counts.database is -1"),
        (lambda facts: facts["counts"].update(database=0), "counts.database is 0"),
        (lambda facts: facts["counts"].update(database=11), r"holds 12 records, but the pack says 11"),
        (lambda facts: facts["counts"].update(queries=True), "counts.queries is True"),
        (lambda facts: facts["files"].pop("records.csv"), r"records\.csv is not among its files"),
        (lambda facts: facts["files"].pop(DESCRIPTORS), "is not among its files"),
        (lambda facts: facts["files"]["records.csv"].update(sha256="12"), "is not a SHA-256"),
        (lambda facts: facts["descriptors"][0].update(part="train"), "belongs to 'train'"),
        (lambda facts: facts["descriptors"][0].update(dimension=1e9), "a dimension is"),
        (lambda facts: facts.update(files=[]), "does not hold what a manifest holds"),
        (lambda facts: facts.update(dataset=3), "dataset is not an object"),
        (lambda facts: facts["dataset"]["truth"].update(radius="far"), "does not say which answers are right"),
        (lambda facts: facts["dataset"]["truth"].update(radius=-1.0), "does not say which answers are right"),
        (lambda facts: facts["dataset"]["truth"].update(radius=float("nan")), "does not say which answers are right"),
        (
            lambda facts: facts["dataset"]["truth"].update(max_heading_difference=-40),
            "does not say which answers are right",
        ),
        (lambda facts: facts["dataset"]["truth"].update(radius=10**400), "a whole number of 401 digits"),
    ],
)
def test_a_manifest_of_another_kind_is_refused(folder, change, words):
    _edit(folder, change)
    with pytest.raises(DatasetError, match=words):
        open_pack(folder)


@pytest.mark.parametrize("name", ["records.csv", "queries.csv"])
def test_a_record_that_was_changed_is_noticed_at_opening(folder, name):
    path = folder / name
    path.write_text(path.read_text().replace("4000000.0", "4000001.0", 1))
    with pytest.raises(DatasetError, match=r"was changed: its SHA-256"):
        open_pack(folder)


def test_an_overwritten_pack_loses_nothing_of_others(folder, tiny_city):
    (folder / "photos").mkdir()
    (folder / "photos" / "thesis.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"1 file\(s\) that are not the pack's, such as photos/thesis\.txt"):
        small_pack(folder, tiny_city, overwrite=True)
    assert (folder / "photos" / "thesis.txt").read_text() == "mine"
    (folder / "photos" / "thesis.txt").unlink()
    assert check_pack(small_pack(folder, tiny_city, overwrite=True).folder) == []


@pytest.mark.parametrize("text", ["", "no json", "[1]", "[" * 100_000])
def test_a_manifest_that_is_no_manifest(folder, text):
    (folder / "pack.json").write_text(text)
    with pytest.raises(DatasetError, match=r"pack\.json"):
        open_pack(folder)


def test_descriptors_of_another_kind_are_refused(folder):
    _edit(folder, lambda facts: facts["descriptors"][0].update(dimension=7))
    with pytest.raises(DatasetError, match=r"is not what the manifest says it is: .*7 dimensions"):
        open_pack(folder).descriptors(stand_in())
    assert any("7 dimensions" in message for message in _messages(folder))
    path = folder / DESCRIPTORS
    content = path.read_bytes()
    path.write_bytes(struct.pack("<Q", 2**40) + content[8:])
    _seal(folder, DESCRIPTORS)
    with pytest.raises(DatasetError, match="is not a readable descriptor file"):
        open_pack(folder).descriptors(stand_in())


def test_a_table_with_wrong_numbers_is_refused(folder):
    path = folder / "queries.csv"
    good = path.read_text()
    for old, new, words in (
        ("\n3,", "\n4,", "record 3: it is numbered '4'"),
        (",4000000.0,", ",nan,", "'nan' is not a finite number"),
        (",4000000.0,", ",,", "one of east and north"),
        ("row,name", "name,row", "its columns are not"),
        ("\n2,", "\n2,extra,", "it has 11 fields, not 10"),
        (",32U,", ',"32U,', r"queries\.csv"),
    ):
        path.write_text(good.replace(old, new, 1))
        _seal(folder, "queries.csv")
        with pytest.raises(DatasetError, match=words):
            open_pack(folder)
