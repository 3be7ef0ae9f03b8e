"""Photos, zips, tables and arrays of strangers."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from driver import explore, keeps_the_promise, listing, mutated
from hypothesis import strategies as st
from PIL import Image

from scicevpr.datasets import Photo, parse_name
from scicevpr.datasets.ground_truth_files import read_truth
from scicevpr.datasets.intake import Limits, gather
from scicevpr.datasets.positions import check_positions, place_photos, with_positions
from scicevpr.datasets.zones import in_one_zone, metres_between
from scicevpr.errors import DatasetError
from scicevpr.files.photos import open_photo
from scicevpr.files.reading import map_npy, read_npy

PLACES = [Photo(Path(f"photos/{name}.jpg"), f"{name}.jpg") for name in ("a", "b", "c")]


@pytest.fixture
def inside(tmp_path) -> Path:
    """The folder that a reader may write to; what lies around it must stay as it is."""
    (tmp_path / "around").mkdir()
    (tmp_path / "around" / "secret.txt").write_text("mine")
    (tmp_path / "inside").mkdir()
    before = listing(tmp_path)
    yield tmp_path / "inside"
    assert {name for name in listing(tmp_path) if not name.startswith("inside")} == before - {"inside"}
    assert (tmp_path / "around" / "secret.txt").read_text() == "mine"


def _encoded(kind: str, mode: str = "RGB") -> bytes:
    image, stream = (
        Image.fromarray(np.arange(24 * 32 * 3, dtype=np.uint8).reshape(24, 32, 3)).convert(mode),
        io.BytesIO(),
    )
    exif = Image.Exif()
    exif[0x0112] = 6
    options = {"exif": exif} if kind in ("JPEG", "PNG", "WEBP", "TIFF") else {}
    image.save(stream, kind, **options)
    return stream.getvalue()


def test_photos():
    samples = [_encoded(kind) for kind in ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM")]
    samples += [_encoded("PNG", "I;16"), _encoded("TIFF", "F"), _encoded("TIFF", "I"), _encoded("PNG", "P")]

    def read(content: bytes) -> None:
        image = open_photo(content)
        assert image.mode == "RGB"
        assert min(image.size) > 0

    explore(mutated(*samples), read, 100)


def _zip(names: list[str], content: bytes, method: int) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name in dict.fromkeys(names):
            archive.writestr(zipfile.ZipInfo(name or "x"), content)
    return stream.getvalue()


def test_zips(inside):
    parts = st.sampled_from(
        ["a.jpg", "..", "/", "\\", "C:", "b.png", "table.csv", "folder", ".hidden", "x" * 300, "ä.webp"]
    )
    names = st.lists(st.lists(parts, min_size=1, max_size=4).map("/".join), min_size=1, max_size=4)
    archives = st.builds(
        _zip, names, st.sampled_from([b"", _encoded("PNG"), b"0" * 100_000]),
        st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2]),
    )  # fmt: skip
    sound = _zip(["a.jpg", "b/c.png", "t.csv"], _encoded("PNG"), zipfile.ZIP_DEFLATED)
    count = iter(range(10**9))

    def read(content: bytes) -> None:
        folder = inside / str(next(count))
        folder.mkdir()
        (folder / "in.zip").write_bytes(content)
        found = gather([(folder / "in.zip", "in.zip")], folder / "out", Limits(photos=5, total=10**6, file=10**6))
        assert all(path.resolve().is_relative_to(folder.resolve()) for path in (*found.photos, *found.tables))

    explore(st.one_of(archives, mutated(sound)), read)


WORDS = "a b c name latitude longitude east north heading condition query database 1 48.8583 48,8583 1e400 -1 nan 0 =1"
CELLS = st.one_of(st.sampled_from([*WORDS.split(), "", "9" * 400, '"', "\0"]), st.text(max_size=6))
TABLES = st.builds(
    lambda separator, rows, end: end.join(separator.join(row) for row in rows).encode("utf-8", "surrogatepass"),
    st.sampled_from([",", ";", "\t"]),
    st.lists(st.lists(CELLS, max_size=5), max_size=6),
    st.sampled_from(["\n", "\r\n"]),
)
SOUND = (
    b"name,latitude,longitude\na,48.8583,2.2944\nb,48.8683,2.3044\nc,48.9,2.4\n",
    b"name;east;north;heading\na;1,5;2\nb;3;4;5\n",
    b"query,database\na,b\nb,c\n",
)


def test_tables(inside):
    path = inside / "t.csv"

    def read(content: bytes) -> None:
        path.write_bytes(content)
        keeps_the_promise(with_positions, path, PLACES[:2], PLACES[2:])
        keeps_the_promise(place_photos, [place.path for place in PLACES], path)
        keeps_the_promise(read_truth, path, PLACES, PLACES)

    explore(st.one_of(TABLES, mutated(*SOUND)), read, 50)


def test_names_of_files():
    pieces = st.one_of(
        st.sampled_from(
            ["", "500000.00", "5411000.0", "-1", "31", "U", "N", "99", "48.8", "2.29", "1e308", "nan", "0"]
        ),
        st.text("0123456789.-eU", max_size=9),
    )
    names = st.lists(pieces, max_size=17).map(lambda parts: "@".join(parts) + "@.jpg")

    def read(found: list[str]) -> None:
        places = [parse_name(name) for name in found]
        check_positions(places)
        moved, _ = in_one_zone(places)
        assert len(moved) == len(places)
        metres_between(moved[0], moved[-1])

    explore(st.lists(names, min_size=1, max_size=5), read, 100)


def _saved(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=True)
    return stream.getvalue()


def test_arrays(inside):
    lists = np.empty(3, object)
    lists[:] = [np.array([0, 1]), [2], (0,)]
    samples = (
        _saved(np.eye(4, dtype=np.float32)), _saved(np.array(["a", "b"])), _saved(lists), _saved(np.zeros((0, 3))),
        _saved(np.arange(6).reshape(2, 3)), _saved(np.asfortranarray(np.ones((3, 2), np.float16))),
    )  # fmt: skip
    path = inside / "a.npy"

    def mapped() -> None:
        found = map_npy(path, DatasetError, "Try again.")
        if found.dtype.kind in "fiub":
            np.asarray(found).max(initial=0)

    def read(content: bytes) -> None:
        path.write_bytes(content)
        keeps_the_promise(read_npy, path)
        keeps_the_promise(mapped)
        keeps_the_promise(read_truth, path, PLACES, PLACES)
        os.unlink(path)

    explore(mutated(*samples), read, 150)
