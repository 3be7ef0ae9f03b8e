"""Real photos for the page: got by name before it opens, by the button, on a Space by itself; else the city alone."""

from __future__ import annotations

import io
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import standin
from PIL import Image

from app import real_photos, start
from app.core.model_slots import BASELINE, STABLE, TEACHER, THIRD
from app.tabs.models_and_data.handlers import SourceHandlers
from app.tabs.models_and_data.service import Sources
from scicevpr.datasets.sources import SOURCES
from scicevpr.errors import UsageError

sys.path.append(str(Path(__file__).resolve().parents[1] / "unit"))

from stand_in_server import stand_in


def _photo(number: int) -> bytes:
    stream = io.BytesIO()
    values = np.random.default_rng(number).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    Image.fromarray(values).resize((64, 48)).save(stream, "JPEG")
    return stream.getvalue()


def _archive(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return stream.getvalue()


@pytest.fixture
def server(monkeypatch, tmp_path):
    """A host with two tiny sets, and a machine that never started the page."""
    for name in ("SPACE_ID", "DATASETS_FOLDER", "SCICEVPR_DATASET", "SCICEVPR_DATASETS", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SCICEVPR_CACHE", str(tmp_path))
    truth = io.BytesIO()
    np.save(truth, np.array([[0, [0]], [1, [1]]], dtype=object), allow_pickle=True)
    corridor = {
        f"VPR-Bench-1/datasets/corridor/{side}/000000{i}.jpg": _photo(i) for side in ("query", "ref") for i in (0, 1)
    }
    drives = {f"{drive}/Image{i}.jpg": _photo(i) for drive in ("day_right", "night_right") for i in range(3)}
    with stand_in() as running:
        running.add_file(
            "/VPR-Bench.zip",
            _archive(corridor | {"VPR-Bench-1/datasets/corridor/ground_truth_new.npy": truth.getvalue()}),
        )
        running.add_file("/GardensPoint_Walking.zip", _archive(drives))
        for key in ("corridor", "gardens-point"):
            [file] = SOURCES[key].files
            there = replace(SOURCES[key], files=(replace(file, url=f"{running.url}/{file.name}"),))
            monkeypatch.setitem(SOURCES, key, there)
        yield running


def opened(*arguments: str) -> tuple[list[str], str]:
    services = start.make_services(start.read_arguments([*arguments, "--no-cache"]))
    return list(services.datasets), " ".join(services.notes)


def test_a_set_named_by_key_is_got_and_the_page_opens_on_it(server) -> None:
    assert opened("--dataset", "gardens-point", "--accept-licence") == (["Gardens Point Walking", start.CITY_NAME], "")
    assert opened("--dataset", "gardens-point")[0][0] == "Gardens Point Walking", "here already"
    assert len(server.gets("/GardensPoint_Walking.zip")) == 1


def test_without_its_licence_or_the_internet_the_city_opens(server) -> None:
    names, notes = opened("--dataset", "gardens-point")
    assert names == [start.CITY_NAME]
    assert "was not accepted" in notes
    server.files.clear()
    names, notes = opened("--dataset", "gardens-point", "--accept-licence")
    assert names == [start.CITY_NAME]
    assert "Links move" in notes


def test_a_space_gets_a_set_whose_licence_lets_it(server, monkeypatch) -> None:
    monkeypatch.setenv("SPACE_ID", "owner/name")
    assert opened()[0] == ["Corridor (VPR-Bench)", start.CITY_NAME]
    monkeypatch.setenv("SCICEVPR_DATASET", "")
    assert opened()[0] == [start.CITY_NAME]
    monkeypatch.setenv("SCICEVPR_DATASET", "gardens-point")  # its owner has read the licence
    assert opened()[0] == ["Gardens Point Walking", start.CITY_NAME]


def test_a_space_without_internet_opens_on_the_city(server, monkeypatch) -> None:
    monkeypatch.setenv("SPACE_ID", "owner/name")
    [file] = SOURCES["corridor"].files
    nowhere = replace(SOURCES["corridor"], files=(replace(file, url="http://127.0.0.1:9/x.zip"),))
    monkeypatch.setitem(SOURCES, "corridor", nowhere)
    names, notes = opened()
    assert names == [start.CITY_NAME]
    assert "cannot be reached" in notes


def test_the_first_start_asks_once(server, monkeypatch, capsys) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr(sys, "stdout", Terminal())
    monkeypatch.setattr("builtins.input", lambda _: "2")
    [(source, accepted)] = real_photos.chosen_sets([], False)
    assert (source.key, accepted) == ("gardens-point", True)
    assert real_photos.chosen_sets([], False) == [], "asked before"


def test_the_button_gets_a_set_where_the_page_is_not_locked(server, city_folder) -> None:
    services = standin.city_services(city_folder)
    handlers = SourceHandlers(Sources(services, standin.load_recorded))
    assert "gardens-point" in dict(map(reversed, handlers.set_choices()))
    assert "github.com/stschubert" in handlers.licence("gardens-point")
    with pytest.raises(Exception, match="was not accepted"):
        handlers.get_set("gardens-point", False)
    *_, words, name = handlers.get_set("gardens-point", True)
    assert name == "Gardens Point Walking"
    assert "3 photos" in words
    assert len(services.datasets[name].queries) == 3
    locked = Sources(services, standin.load_recorded, locked=True)
    with pytest.raises(UsageError, match="shared"):
        locked.get_set("corridor", True)


@pytest.mark.parametrize(
    ("source", "column"),
    [
        ("cricavpr-b", BASELINE),
        ("super-cricavpr-t", TEACHER),
        ("scicevpr-t", STABLE),
        ("own/weights.pth", STABLE),
        ("megaloc", THIRD),
    ],
)
def test_weights_go_to_the_column_of_their_kind(source, column) -> None:
    options = start.read_arguments(["--weights", source])
    assert {role: getattr(options, role) for role in (STABLE, BASELINE, TEACHER, THIRD) if getattr(options, role)} == {
        column: source
    }
    with pytest.raises(SystemExit):
        start.read_arguments(["--weights", source, f"--{column}", "other"])
