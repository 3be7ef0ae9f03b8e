"""Files made to fill memory, disk or time are refused with a sentence that names the limit; the table says so too."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest
import standin
import torch
from PIL import Image

from app.core import limits
from app.core.incoming import photo_name, query_photo, result_files, uploaded_files
from app.tabs.my_places.service import MyPlaces
from scicevpr.datasets.intake import Limits, gather
from scicevpr.errors import DatasetError, ImageError, SciceVPRError, UsageError, WeightsError
from scicevpr.evaluation.results import read_results
from scicevpr.models import checkpoint as checkpoint_io
from scicevpr.models.checkpoint import read_checkpoint, read_metadata

PAGE = Path(__file__).resolve().parents[2] / "docs" / "security.md"


def test_the_table_of_limits_is_the_documented_one():
    text = PAGE.read_text(encoding="utf-8").partition("## Limits")[2].partition("\n\nThe numbers")[0]
    written = re.findall(r"^\| (.+?) \| (.+?) \|$", text, flags=re.M)
    assert [tuple(row) for row in written if row[0] not in ("what", "---")] == limits.table()


def test_a_deep_photo_of_many_pixels_is_refused_before_it_is_decoded(monkeypatch):
    file = io.BytesIO()
    Image.fromarray(np.zeros((4100, 4000), dtype=np.uint16)).save(file, "PNG", compress_level=1)
    monkeypatch.setattr("app.core.incoming.open_photo", lambda *_: pytest.fail("it was decoded"))
    payload = {"path": str(standin.upload(file.getvalue(), "deep.png")), "orig_name": "night sky.png"}
    with pytest.raises(ImageError, match=r"night sky\.png has 16\.4 million pixels of more than 8 bits; at most 16"):
        query_photo(payload)


def test_too_large_a_photo_is_refused_unread(monkeypatch):
    monkeypatch.setattr("app.core.incoming.PHOTO_BYTES", 1000)
    with pytest.raises(ImageError, match=r"big\.png has .* at most 0\.001 MB"):
        query_photo({"path": str(standin.upload(standin.noise_photo(), "big.png"))})
    with pytest.raises(ImageError, match="too large"):
        query_photo({"url": "data:image/png;base64," + "A" * 2000})


def zipped(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def test_tables_in_a_zip_do_not_fill_the_disk(tmp_path):
    one = zipped(tmp_path / "one.zip", {"a.jpg": b"x", "big.csv": b"0," * 1_100_000})
    many = zipped(tmp_path / "many.zip", {"a.jpg": b"x", **{f"{n}.csv": b"name\n" for n in range(5)}})
    for path, words in ((one, r"big\.csv has 2\.2 MB; at most 2 MB"), (many, "5 tables among the files; at most 4")):
        with pytest.raises(UsageError, match=words):
            gather([(path, path.name)], tmp_path / "out", Limits(ratio=10_000))
    assert not (tmp_path / "out").exists()


def test_a_table_of_its_own_is_limited_as_well(city_folder, tmp_path):
    mine = MyPlaces(standin.recorded_services(city_folder))
    (tmp_path / "where.csv").write_bytes(b"0," * 1_100_000)
    photo = standin.upload(standin.noise_photo(), "a.png")
    with pytest.raises(UsageError, match=r"where\.csv has 2\.2 MB"):
        mine.read(mine.welcome(), [(photo, "a.png")], table=(tmp_path / "where.csv", "where.csv"))
    (tmp_path / "where.csv").write_text("name,latitude,longitude\na.png,48.8,2.3\n")
    for name in ("whe\0re.csv", "..\\where\n.csv", "", "/"):
        report = mine.read(mine.welcome(), [(photo, "a.png")], table=(tmp_path / "where.csv", name))
        assert report.photos[0].photo.utm is not None, name


def safetensors(path: Path, tensors: int) -> Path:
    header = json.dumps({f"t{n}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for n in range(tensors)})
    path.write_bytes(len(header).to_bytes(8, "little") + header.encode())
    return path


def test_a_list_of_tensors_longer_than_any_models_is_refused(tmp_path):
    for read in (read_checkpoint, read_metadata):
        with pytest.raises(WeightsError, match="names 10,001 tensors; at most 10,000"):
            read(safetensors(tmp_path / "many.safetensors", 10_001))
        with pytest.raises(WeightsError, match=r"has [\d,]+ bytes; at most 5,000,000"):
            read(safetensors(tmp_path / "long.safetensors", 80_000))
    assert len(read_checkpoint(safetensors(tmp_path / "few.safetensors", 20))[0]) == 20


def test_a_checkpoint_that_unpacks_to_far_more_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint_io, "UNPACKED_SMALL", 1_000_000)
    plain, packed = tmp_path / "plain.pth", tmp_path / "packed.pth"
    torch.save({"w": torch.zeros(500_000)}, plain)
    assert read_checkpoint(plain)[0]["w"].shape == (500_000,)
    with zipfile.ZipFile(plain) as archive:
        zipped(packed, {name: archive.read(name) for name in archive.namelist()})
    with pytest.raises(WeightsError, match=r"would unpack to 2,\d\d\d,\d\d\d bytes, more than 4 times its size"):
        read_checkpoint(packed)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_as_weights_is_refused_and_nobody_waits(tmp_path):
    pipe, told = tmp_path / "weights.pth", []
    os.mkfifo(pipe)

    def read():
        try:
            read_checkpoint(pipe)
        except WeightsError as error:
            told.append(str(error))

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    thread.join(60)
    assert told
    assert "is a pipe or a device" in told[0]


def entry(**changes) -> dict:
    scores = {"queries": 1, "queries_without_positives": 0, "recall_percent": {"1": 50}, "mrr": 0.5, "f1": {"1": 0.5}}
    return {"title": "A", "overall": scores, "conditions": {}, "protocol": {}} | changes


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"title": "x" * 20_000}, "of the length 20000; at most 200"),
        ({"protocol": {"k": "x" * 5_000}}, "at most 4000"),
        ({"protocol": {"x" * 5_000: "v"}}, "at most 4000"),
        ({"conditions": {"x" * 300: entry()["overall"]}}, "at most 200"),
        ({"conditions": {str(n): entry()["overall"] for n in range(201)}}, "of the length 201; at most 200"),
    ],
)
def test_texts_that_would_keep_a_figure_busy_are_refused_when_read(tmp_path, changes, words):
    path = tmp_path / "results.json"
    path.write_text(json.dumps({"results": [entry(**changes)]}))
    with pytest.raises(DatasetError, match=words):
        read_results(path)
    path.write_text(json.dumps({"results": [entry()] * 2}))
    assert len(read_results(path)) == 2


def test_results_are_few_and_small(monkeypatch):
    payload = [{"path": str(standin.upload(b"{}", f"{n}.json"))} for n in range(9)]
    assert len(result_files(payload[:8])) == 8
    with pytest.raises(UsageError, match="at most 8"):
        result_files(payload)
    monkeypatch.setattr("app.core.incoming.RESULT_BYTES", 1)
    with pytest.raises(UsageError, match=r"0\.json has"):
        result_files(payload[:1])
    with pytest.raises(UsageError, match="no JSON file"):
        result_files({"path": str(standin.upload(b"x", "a.txt"))})


def test_results_as_data_uris_are_few_and_small_too(monkeypatch):
    uri = "data:application/json;base64," + base64.b64encode(b"{}").decode()
    found = result_files([uri, {"path": str(standin.upload(b"[]", "a.json"))}, uri])
    assert [path.read_bytes() for path in found] == [b"[]", b"{}", b"{}"]
    for sent, words in (([uri] * 9, "at most 8"), ("data:,{}", "must be in base64"), ([f"{uri}?"], "damaged")):
        with pytest.raises(SciceVPRError, match=words):
            result_files(sent)
    monkeypatch.setattr("app.core.incoming.RESULT_BYTES", 1)
    with pytest.raises(SciceVPRError, match="too large"):
        result_files(uri + uri)


def test_files_arrive_as_the_browser_sends_them():
    path = standin.upload(b"x", "stored.jpg")
    assert uploaded_files({"path": str(path), "orig_name": "../a.jpg"}) == [(path, "a.jpg")]
    assert photo_name({"orig_name": "a\0b\n\ud800.csv"}) == "a_b__.csv"
    assert len(photo_name({"orig_name": "ä" * 255 + ".csv"}).encode()) <= 255
    assert uploaded_files(None) == uploaded_files([]) == []
    with pytest.raises(UsageError, match="without any content"):
        uploaded_files([{"url": "data:,"}])
    with pytest.raises(ImageError, match="not one that was uploaded here"):
        uploaded_files([{"path": "/etc/hostname"}])


def test_long_texts_of_a_form_are_refused():
    from app.core.values import plain_text
    from app.tabs.figures.handlers import style_of

    with pytest.raises(UsageError, match="5,000 characters; at most 1000"):
        style_of("double", 8, "colour", True, "x" * 5_000, 300, [])
    for value in ({"a": 1}, ["a"], True):
        with pytest.raises(UsageError, match="must be a text"):
            plain_text(value, "name")
    assert plain_text(None, "name") == ""
