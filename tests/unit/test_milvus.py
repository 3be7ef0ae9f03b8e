"""Milvus for real (Milvus Lite, a file), and a client that fails for what only a server can do."""

from __future__ import annotations

import json
import logging
import socket
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from pack_samples import described, small_pack, stand_in

from scicevpr.cli.main import main
from scicevpr.config import assets_folder
from scicevpr.datasets import Dataset, Photo, bundled_city
from scicevpr.errors import IndexMismatchError, UsageError
from scicevpr.files.descriptor_files import load_descriptors, save_descriptors
from scicevpr.milvus import collection as milvus_loading
from scicevpr.milvus.collection import MAX_TOP, MESSAGE_BYTES, NOWHERE, batch_rows, entities, protocol_of
from scicevpr.milvus.connection import Connection, MilvusError, may_pass
from scicevpr.milvus.index import MilvusIndex
from scicevpr.milvus.search import Near, expression
from scicevpr.retrieval.exact import ExactIndex
from scicevpr.retrieval.matches import Index

pytestmark = pytest.mark.slow

pymilvus = pytest.importorskip("pymilvus", reason="no pymilvus: pip install 'scicevpr[milvus]'")
pytest.importorskip("milvus_lite", reason="no milvus-lite: pip install 'scicevpr[milvus]'")


@pytest.fixture(scope="module")
def where(tmp_path_factory) -> str:
    """One file of Milvus Lite for all tests of this module; each uses collections of its own."""
    return str(tmp_path_factory.mktemp("milvus") / "test.db")


@pytest.fixture
def photos(tmp_path) -> Dataset:
    """Records of sixty photos on a grid of 10 m, in two conditions, one of them without a position."""
    places = [
        Photo(
            tmp_path / "database" / f"{row}.jpg", f"{row}.jpg", utm=(5e5 + 10 * (row % 10), 4e6 + 10 * (row // 10)),
            zone="32U" if row % 2 else "33U", condition="night" if row % 3 == 0 else 'a "wet" day',
        )
        for row in range(60)
    ]  # fmt: skip
    places[7] = replace(places[7], utm=None, zone=None, condition=None)
    return Dataset("grid", "test", tmp_path, tuple(places), ())


def test_the_same_ten_best_as_exact_search_on_the_bundled_city(where):
    city = bundled_city()
    path = assets_folder() / "descriptors" / "procity-test.scicevpr-t.safetensors"
    descriptors, _ = load_descriptors(path, names=[place.name for place in city.database], mapped=True)
    queries = descriptors.values[::30] + np.random.default_rng(0).normal(0, 0.005, (28, descriptors.values.shape[1]))
    queries = queries.astype(np.float32)
    with MilvusIndex.open(where, "city") as index:
        index.load(descriptors, city)
        assert isinstance(index, Index)
        assert (len(index), index.dimension) == descriptors.values.shape
        ours = index.search(queries, 10)
    exact = ExactIndex(descriptors.values).search(queries, 10)
    np.testing.assert_array_equal(ours.indices, exact.indices)
    np.testing.assert_array_equal(ours.distances, exact.distances)
    np.testing.assert_array_equal(ours.similarities, exact.similarities)


def test_filters_are_those_of_brute_force(where, photos):
    descriptors = described(60, stand_in())
    queries, values = descriptors.values[:3], descriptors.values
    utm = np.array([place.utm or (np.nan, np.nan) for place in photos.database])
    night = np.array([place.condition == "night" for place in photos.database])
    zone = np.array([place.zone == "32U" for place in photos.database])
    with MilvusIndex.open(where, "filters") as index:
        index.load(descriptors, photos)

        def check(right, k=60, **filters):
            matches = index.search(queries, k, **filters)
            for query, rows in zip(queries, matches.indices, strict=True):
                order = np.argsort(((values - query) ** 2).sum(1), kind="stable")
                np.testing.assert_array_equal(rows[rows >= 0], order[right[order]][:k])
            return matches

        centre = (5e5 + 40, 4e6 + 20)
        within = {metres: ((utm - centre) ** 2).sum(1) <= metres**2 for metres in (10, 25, 40, 1e6)}
        assert [int(rows.sum()) for rows in within.values()] == [5, 21, 41, 59]
        for metres, rows in within.items():
            check(rows, near=(*centre, metres))
            check(rows & night, near=(*centre, metres), conditions=["night"])
        check(within[25], k=3, near=Near(*centre, 25))
        check(within[40] & zone, near=(*centre, 40, "32U"))
        check(~night & (np.arange(60) != 7), conditions=['a "wet" day'])
        padded = check(within[10], near=(*centre, 10))
        assert (padded.indices[:, 5:] == -1).all()
        assert np.isinf(padded.distances[:, 5:]).all()
        assert (index.search(queries, 3, near=(0, 0, 5)).indices == -1).all()
        found = index.photos([7, 8, -1])
    assert found[8].path.as_posix() == "database/8.jpg"
    assert (found[7].utm, found[8].utm) == (None, photos.database[8].utm)
    assert (found[7].condition, found[8].condition, found[8].zone) == (None, 'a "wet" day', "33U")


def test_photos_in_the_corners_of_the_box_do_not_hide_those_in_the_circle(where, tmp_path):
    count, near = 300, (5e5, 4e6, 100)
    descriptors = described(count, stand_in())
    query = descriptors.values[:1]
    nearest = np.argsort(((descriptors.values - query) ** 2).sum(1))
    places = [Photo(tmp_path / f"{row}", f"{row}", utm=(5e5 + 99, 4e6 - 99)) for row in range(count)]
    for row in nearest[-4:]:  # only the least similar ones lie in the circle
        places[row] = replace(places[row], utm=(5e5 + 1, 4e6))
    with MilvusIndex.open(where, "corners") as index:
        index.load(descriptors, Dataset("corners", "", tmp_path, tuple(places), ()))
        np.testing.assert_array_equal(index.search(query, 4, near=near).indices[0], nearest[-4:])


def test_loading_twice_changes_nothing_and_a_second_city_goes_behind(where, photos):
    first, second = described(60, stand_in()), described(60, stand_in(), seed=5)
    with MilvusIndex.open(where, "twice") as index:
        for options in ({}, {}, {"restart": True}):
            index.load(first, photos, **options)
            assert len(index) == 60
        index.load(second, photos, database="other")
        assert index.databases == {"grid test": (60, 60), "other": (60, 60)}
        assert len(index) == 120
        assert index.search(second.values[4:5], 1).indices.tolist() == [[64]]
        assert index.search(second.values[4:5], 2, database="grid test").indices.max() < 60
        index.load(described(60, stand_in(), seed=9), photos, database="other")  # described anew: replaced
        assert len(index) == 120
        assert index.search(second.values[4:5], 1).distances[0, 0] > 0.1
        with pytest.raises(UsageError, match="other photos"):
            index.load(first, replace(photos, database=photos.database[::-1]))
        index.remove("other")
        assert (len(index), list(index.databases)) == (60, ["grid test"])
        index.drop()
        assert len(index) == 0
        with pytest.raises(UsageError, match="no collection 'twice'"):
            index.search(first.values[:1], 1)


def test_an_interrupted_load_goes_on(where, photos, monkeypatch):
    monkeypatch.setattr(milvus_loading, "MESSAGE_BYTES", 10 * (4 * 32 + milvus_loading.SCALAR_BYTES))
    descriptors, seen = described(60, stand_in()), []

    def stop_at_twenty(stage, done, total):
        seen.append(done)
        if done == 20:
            raise KeyboardInterrupt

    with MilvusIndex.open(where, "stopped") as index, pytest.raises(KeyboardInterrupt):
        index.load(descriptors, photos, progress=stop_at_twenty)
    assert seen == [0, 10, 20]
    with MilvusIndex.open(where, "stopped") as index:
        assert index.databases == {"grid test": (20, 60)}
        assert "20 of 60" in index.metadata()["databases"]
        index.load(descriptors, photos, progress=lambda stage, done, total: seen.append(done))
        assert seen[3:] == [20, 30, 40, 50, 60]
        assert len(index) == 60
        np.testing.assert_array_equal(index.search(descriptors.values, 1).indices[:, 0], np.arange(60))


def test_a_file_that_a_killed_program_left_half_written_is_mended(tmp_path, photos):
    made = described(60, stand_in())
    with MilvusIndex.open(str(tmp_path / "a.db"), "cut") as index:
        index.load(made, photos)
    built = next(tmp_path.glob("a.db/collections/cut/**/*.idx"))
    built.write_bytes(built.read_bytes()[:-100])
    with MilvusIndex.open(str(tmp_path / "a.db"), "cut") as index:
        assert index.search(made, 1).indices[:, 0].tolist() == list(range(60))


def test_other_models_and_protocols_are_refused(where, photos):
    own = described(60, stand_in())
    other = described(60, stand_in(weights="b" * 12))
    with MilvusIndex.open(where, "refused") as index:
        index.load(own, photos)
        for made, words in (
            (other, "weights"),
            (described(60, stand_in("cricavpr-t")), "architecture"),
            (described(60, stand_in(), width=16), "dimensions"),
            (replace(own, grouping="sequential 8"), "grouping"),
            (replace(own, preprocessing={**own.preprocessing, "antialias": "other"}), "preprocessing"),
            (replace(own, values=2 * own.values), "lengths"),
        ):
            with pytest.raises(IndexMismatchError, match=words):
                index.load(made, photos)
        assert index.search(own, 1).indices[:, 0].tolist() == list(range(60))
        with pytest.raises(IndexMismatchError, match="another model"):
            index.search(other, 1)
        with pytest.raises(IndexMismatchError, match="16 dimensions"):
            index.search(np.ones((1, 16)), 1)
        for k, words in ((MAX_TOP + 1, "at most 16,384"), (0, "at least 1")):
            with pytest.raises(UsageError, match=words):
                index.search(own, k)
        with pytest.raises(UsageError, match="Descriptors need"):
            index.load(own)
        with pytest.raises(UsageError, match="60 descriptors came with 3"):
            index.load(own, replace(photos, database=photos.database[:3]))
        stranger = pymilvus.MilvusClient(where)
        stranger.create_collection("stranger", dimension=4)
        with pytest.raises(IndexMismatchError, match="not loaded by this program"):
            MilvusIndex.open(where, "stranger")


def test_descriptors_of_any_length_are_ordered_by_distance(where, photos):
    made = described(60, stand_in())
    made = replace(made, values=made.values * np.linspace(0.5, 2, 60, dtype=np.float32)[:, None])
    with MilvusIndex.open(where, "lengths") as index:
        index.load(made, photos)
        assert index.protocol["metric"] == "L2"
        ours = index.search(made.values[:5], 10)
    np.testing.assert_array_equal(ours.indices, ExactIndex(made.values).search(made.values[:5], 10).indices)


def test_the_agreement_of_an_approximate_index_is_measured(where, photos):
    made = described(60, stand_in())
    with MilvusIndex.open(where, "graph") as index:
        index.load(made, photos, index="hnsw")
        assert index.label.startswith("Milvus HNSW, approximate")
        assert "(6 questions of grid test)" in index.metadata()["agreement with exact search"]
    with MilvusIndex.open(where, "graph") as index:
        assert index.metadata()["agreement with exact search"].startswith("first answer 100.0%")


def test_batches_stay_below_the_message_limit(tmp_path):
    for dimension in (2, 2688, 10_752, 32_768):
        names = [Photo(tmp_path / ("p" * 200), "n" * 250, condition="c" * 500)] * batch_rows(dimension)
        sent = entities(names[:1], "d" * 500, None, 0)[0]
        scalars = sum(len(str(value)) for value in sent.values())
        assert len(names) >= 1
        assert len(names) * (4 * dimension + scalars) <= MESSAGE_BYTES < 64 * 2**20
    keys = {entity["id"] for entity in entities([*names[:1], *names[:1]], "d", None, 0)}
    assert len(keys) == 2  # equal names in two folders are two photos
    assert entities(names[:1], "d", None, 0)[0]["east"] == NOWHERE
    with pytest.raises(UsageError, match=r"condition of .* longer than 512"):
        entities([Photo(tmp_path, "n", condition="ü" * 300)], "d", None, 0)


class Failing:
    """A client whose next calls fail."""

    def __init__(self, *errors: Exception) -> None:
        self.errors, self.calls = list(errors), 0

    def upsert(self, *arguments, timeout):
        self.calls += 1
        logging.getLogger("pymilvus.decorators").error("the token is secret")
        if self.errors:
            raise self.errors.pop(0)
        return "done"


def _away(name: str) -> Exception:
    return pymilvus.MilvusException(code=SimpleNamespace(name=name), message=f"{name} for root:secret")


def test_errors_that_may_pass_are_tried_again_and_the_token_is_not_told(caplog):
    busy = pymilvus.MilvusException(code=8, message="rate limit")
    client = Failing(_away("UNAVAILABLE"), busy, _away("DEADLINE_EXCEEDED"))
    connection = Connection("http://host:19530", "root:secret", waits=(0, 0, 0), client=client)
    assert connection.ask("upsert", "c", []) == "done"
    assert client.calls == 4
    client = Failing(*[_away("UNAVAILABLE")] * 9)
    connection = Connection("http://host:19530", "root:secret", waits=(0, 0), client=client)
    with pytest.raises(MilvusError, match="UNAVAILABLE") as caught:
        connection.ask("upsert", "c", [])
    assert client.calls == 3
    client = Failing(pymilvus.MilvusException(code=1100, message="root:secret may not"))
    connection = Connection("http://host:19530", "root:secret", waits=(0, 0), client=client)
    with pytest.raises(MilvusError, match=r"\*\*\* may not") as refused:
        connection.ask("upsert", "c", [])
    assert client.calls == 1
    for words in (str(caught.value), str(refused.value), repr(connection), caplog.text):
        assert "secret" not in words
    assert refused.value.__suppress_context__
    connection = Connection("http://host:19530", "", waits=(0,), client=Failing(KeyError("ours")))
    with pytest.raises(KeyError):  # a mistake of this program is not hidden
        connection.ask("upsert", "c", [])
    assert may_pass(pymilvus.MilvusException(code=5, message="", retriable=True))


def test_a_server_that_is_not_there_is_said_at_once(monkeypatch):
    monkeypatch.setenv("MILVUS_TOKEN", "root:secret")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(MilvusError, match="No Milvus answers at http://127") as caught:
        MilvusIndex.open(address)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("uri", "collection", "words"),
    [
        ("places.sqlite", "c", "neither a file"),
        ("http://root:pw@host:1", "c", "must not hold a password"),
        ("ftp://host", "c", "not the address"),
        ("x.db", "my city", "cannot be called"),
    ],
)
def test_addresses_and_names_that_cannot_be(uri, collection, words):
    with pytest.raises(UsageError, match=words):
        MilvusIndex.open(uri, collection)


def test_filters_that_cannot_be(tmp_path):
    assert expression(conditions=['"night" or true'], database="a\\b") == (
        'condition in ["\\"night\\" or true"] and database == "a\\\\b"'
    )
    for conditions in ("night", [], ["a\nb"]):
        with pytest.raises(UsageError):
            expression(conditions=conditions)
    connection = Connection("http://host", "", client=SimpleNamespace(has_collection=lambda name, timeout: False))
    index = MilvusIndex(connection, "c")
    index._metadata = {"protocol": protocol_of(described(3, stand_in()), "flat")}
    for near in ((1, 2), (1, 2, 0), (1, float("nan"), 3), "abc"):
        with pytest.raises(UsageError, match="near"):
            index.search(np.ones((1, 32)), 1, near=near)


def test_the_command_loads_searches_and_drops(tmp_path, tiny_city, capsys):
    pack = small_pack(tmp_path / "pack", tiny_city)
    save_descriptors(tmp_path / "q.safetensors", described(8, stand_in(), seed=1), [f"q{row}" for row in range(8)])
    save_descriptors(tmp_path / "x.safetensors", described(8, stand_in(weights="b" * 12)), ["x"] * 8)
    at = str(tmp_path / "new" / "m.db")
    assert main(["milvus", "info", at]) == 2
    assert "There is no file" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
    assert main(["milvus", "load", at, "--pack", str(pack.folder)]) == 0
    assert "12 rows" in capsys.readouterr().out
    filters = ["--near", "500000", "4000000", "150", "--zone", "32U", "--json", str(tmp_path / "found.json")]
    assert main(["milvus", "search", at, str(tmp_path / "q.safetensors"), "-k", "3", *filters]) == 0
    found = json.loads((tmp_path / "found.json").read_text())
    assert [len(query["matches"]) for query in found["queries"]] == [2] * 8
    assert {match["row"] for query in found["queries"] for match in query["matches"]} == {0, 1}
    assert "Milvus FLAT, exact" in capsys.readouterr().out
    assert main(["milvus", "search", at, str(tmp_path / "x.safetensors")]) == 2
    assert "another model" in capsys.readouterr().err
    assert main(["milvus", "info", at, "--collection", "other"]) == 2
    assert main(["milvus", "drop", at]) == 0
    assert main(["milvus", "info", at]) == 2
    assert "no collection 'places'" in capsys.readouterr().err
