"""Packs: what is written and read back, and which files of the user's folder are taken for a pack's photos."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from filled_models import INFO, filled_model
from pack_samples import OTHER, VARIANT, WIDTH, content, described, small_pack, stand_in
from PIL import Image

from scicevpr.datasets import GroundTruth, Photo, read_dataset
from scicevpr.descriptors.describe import describe, find_descriptors
from scicevpr.errors import DatasetError, ImageError, IndexMismatchError, UsageError
from scicevpr.models.native_checkpoints import save_weights
from scicevpr.packs import build as build_module
from scicevpr.packs import open_pack
from scicevpr.packs import tables as pack_photos
from scicevpr.packs.build import Content, build_pack
from scicevpr.packs.pack import check_pack
from scicevpr.packs.tables import PhotoFolder
from scicevpr.retrieval.pca import PCA


@pytest.fixture
def city(tiny_city):
    return read_dataset(tiny_city)


def test_a_model_goes_in_and_its_descriptors_come_out(city, tmp_path):
    model = filled_model(VARIANT)
    save_weights(model, tmp_path / "weights.safetensors", info=INFO)
    city = replace(city, database=city.database[:3], queries=city.queries[:2])
    stages = []
    build_pack(tmp_path / "pack", city, [model], title="Tiny city", progress=lambda *step: stages.append(step))
    pack = open_pack(tmp_path / "pack")
    assert pack.title == "Tiny city"
    for part, places in (("database", city.database), ("queries", city.queries)):
        expected = describe(model, [place.path for place in places])
        found = pack.descriptors(model, part, preprocessing=model.variant.preprocessing)
        np.testing.assert_allclose(found.values, expected.values, atol=1e-3)
        assert replace(found, values=None, seconds=0) == replace(expected, values=None, seconds=0)
    assert {stage for stage, _, _ in stages} == {"database", "queries", "checksums"}
    assert find_descriptors(
        pack.folder / "descriptors", model, [place.name for place in city.database], None, model.variant.preprocessing
    ), "the files of a pack are descriptor files of their own"


def test_values_stay_in_the_file_until_they_are_read(city, tmp_path):
    values = small_pack(tmp_path / "pack", city.root.parents[1]).descriptors(stand_in()).values
    assert isinstance(values, np.memmap)
    assert values.dtype == np.float16
    assert values.shape == (12, WIDTH)
    assert not values.flags.writeable
    np.testing.assert_array_equal(values, described(12, stand_in()).values.astype(np.float16))


def test_records_truth_and_order_of_queries_are_kept(city, tmp_path):
    turned = replace(
        city,
        database=tuple(replace(place, heading=10.5 * row, timestamp="2024") for row, place in enumerate(city.database)),
        queries=tuple(replace(place, heading=10.5 * row, zone=None) for row, place in enumerate(city.queries)),
        truth=GroundTruth(radius=30.0, max_heading_difference=40.0),
        benchmark="msls",
        notes=("A note.",),
    ).shuffle_queries(3)
    found = build_pack(tmp_path / "pack", turned, [content(turned)]).dataset
    for before, after in zip((*turned.database, *turned.queries), (*found.database, *found.queries), strict=True):
        assert replace(before, path=None) == replace(after, path=None)
    assert (found.truth, found.benchmark, found.name, found.split) == (turned.truth, "msls", city.name, "test")
    assert found.query_order == "shuffled with seed 3"
    assert found.notes[0] == "A note."
    assert [list(rows) for rows in found.positives()] == [list(rows) for rows in turned.positives()]
    assert sum(len(rows) for rows in found.positives()) > 0


def test_listed_positives_are_kept(city, tmp_path):
    listed = replace(city, truth=GroundTruth.lists([[0, 3], [], [11], [1], [2], [], [5], [6]], "by hand"))
    pack = build_pack(tmp_path / "pack", listed, [content(listed)])
    assert [list(rows) for rows in pack.dataset.positives()] == [list(rows) for rows in listed.truth.listed]
    assert pack.dataset.truth.label() == "by hand"
    assert check_pack(pack.folder) == []


def test_a_database_alone_and_photos_without_position(city, tmp_path):
    bare = replace(city, queries=(), database=tuple(replace(place, utm=None, zone=None) for place in city.database))
    pack = build_pack(tmp_path / "pack", bare, [content(bare)])
    assert pack.dataset.queries == ()
    assert pack.dataset.database[4].utm is None
    assert not pack.dataset.labelled
    assert pack.descriptors(stand_in(), "queries") is None


def test_several_models_in_one_pack(city, tmp_path):
    models = [stand_in(), stand_in(weights="b" * 12), stand_in(OTHER)]
    pack = build_pack(tmp_path / "pack", city, (content(city, model) for model in models))
    assert [entry.weights for entry in pack.models] == ["a" * 12, "b" * 12, "a" * 12]
    assert pack.descriptors(models[2]).grouping == "sequential 16"
    assert pack.descriptors(models[1]).weights == "b" * 12
    with pytest.raises(IndexMismatchError, match=r"weights cccccccccccc\).*It has: scicevpr-t \(weights aaaaaaaaaaaa"):
        pack.descriptors(stand_in(weights="c" * 12))
    with pytest.raises(IndexMismatchError, match="random, which fit no pack"):
        pack.descriptors(replace_weights(models[0]))
    with pytest.raises(IndexMismatchError, match="other preprocessing"):
        pack.descriptors(models[0], preprocessing=replace(models[0].variant.preprocessing, size=(280, 280)))
    with pytest.raises(UsageError, match="database and queries, not 'train'"):
        pack.descriptors(models[0], "train")


def replace_weights(model):
    model = stand_in(model.variant.name)
    model.weights = None
    return model


def test_a_pca_goes_along_with_what_it_gives(city, tmp_path):
    model = stand_in()
    full = content(city)
    facts = {"fingerprint": model.variant.fingerprint, "weights": model.weights.sha256}
    pca = PCA.fit(full.database.values, 5, **facts)
    pack = build_pack(tmp_path / "both", city, [replace(full, pca=pca)])
    assert [(entry.dimension, bool(entry.pca)) for entry in pack.models] == [(WIDTH, False), (5, True)]
    reduced = pack.descriptors(model, "queries", reduced=True)
    np.testing.assert_allclose(pack.pca(model).transform(full.queries.values), reduced.values, atol=1e-3)
    assert check_pack(pack.folder) == []

    small = build_pack(tmp_path / "small", city, [replace(full, pca=pca, full=False)])
    with pytest.raises(IndexMismatchError, match=r"no full descriptors.*5 dimensions after PCA"):
        small.descriptors(model)
    assert small.descriptors(model, reduced=True).values.shape == (12, 5)
    with pytest.raises(IndexMismatchError, match="another weights"):
        build_pack(tmp_path / "no", city, [replace(full, pca=replace(pca, weights="other"))])
    with pytest.raises(UsageError, match="Without a PCA"):
        build_pack(tmp_path / "no", city, [replace(full, full=False)])


def test_thumbnails_are_small_and_are_where_the_records_say(city, tmp_path):
    pack = small_pack(tmp_path / "pack", city.root.parents[1], thumbnails=32)
    for place, original in zip(pack.dataset.database, city.database, strict=True):
        assert place.path.is_relative_to(pack.folder)
        assert place.name == original.name
        with Image.open(place.path) as small, Image.open(original.path) as photo:
            assert max(small.size) == 32
            apart = np.asarray(small.convert("RGB"), int) - np.asarray(photo.convert("RGB").resize(small.size), int)
        assert np.abs(apart).mean() < 12
    assert "thumbnails of at most 32 pixels" in pack.dataset.notes[-1]
    assert check_pack(pack.folder) == []


def test_without_thumbnails_the_photos_are_found_in_ones_own_copy(city, tmp_path):
    folder = small_pack(tmp_path / "pack", city.root.parents[1]).folder
    pack = open_pack(folder)
    assert not pack.dataset.database[0].path.exists()
    assert "holds no photos" in pack.dataset.notes[-1]
    assert not list(folder.rglob("*.jpg"))
    same = open_pack(folder, photos=city.root).dataset
    assert [place.path for place in same.queries] == [place.path for place in city.queries]

    elsewhere = tmp_path / "elsewhere" / "deep"
    elsewhere.mkdir(parents=True)
    for place in (*city.database[1:], *city.queries):
        shutil.copy(place.path, elsewhere / place.name)
    found = open_pack(folder, photos=elsewhere.parent).dataset
    assert found.database[1].path == elsewhere / city.database[1].name
    assert not found.database[0].path.exists()
    assert found.notes[-1].startswith("1 of 12 photos are not in")

    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match=r"none of the 12 photos of the pack; the first is database/@"):
        open_pack(folder, photos=tmp_path / "empty")
    with pytest.raises(DatasetError, match="does not exist"):
        open_pack(folder, photos=tmp_path / "nowhere")


def test_a_card_tells_the_protocol(city, tmp_path):
    folder = small_pack(tmp_path / "pack", city.root.parents[1], title='A "title": | odd', licence="CC-BY-4.0").folder
    card = (folder / "README.md").read_text()
    for words in ("license: cc-by-4.0", "| scicevpr-t | aaaaaaaaaaaa | yes | queries |", "25 m", "holds no photos"):
        assert words in card
    assert "where the data set's authors offer them" in card
    known = small_pack(tmp_path / "known", city.root.parents[1], benchmark="tokyo247").folder
    assert "on request from its authors" in (known / "README.md").read_text()
    from huggingface_hub import DatasetCard

    assert DatasetCard(card).data.pretty_name == 'A "title": | odd'


def test_a_card_with_thumbnails_says_so_and_whose_licence_holds(city, tmp_path):
    card = (small_pack(tmp_path / "pack", city.root.parents[1], thumbnails=16).folder / "README.md").read_text()
    assert "It holds thumbnails of at most 16 pixels; the photos' own licence holds for them." in card
    assert "holds no photos" not in card


def test_an_existing_folder_is_not_touched_unless_it_is_a_pack_and_one_asks(city, tmp_path):
    folder = small_pack(tmp_path / "pack", city.root.parents[1], title="first").folder
    with pytest.raises(UsageError, match="is a pack already"):
        small_pack(folder, city.root.parents[1], title="second")
    assert open_pack(folder).title == "first"
    assert small_pack(folder, city.root.parents[1], title="second", overwrite=True).title == "second"
    mine = tmp_path / "mine"
    mine.mkdir()
    with pytest.raises(UsageError, match="is not a pack, so it is left alone"):
        small_pack(mine, city.root.parents[1], overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "pack"]


@pytest.mark.parametrize("existing", [False, True])
def test_whatever_happens_nothing_half_written_stays(city, tmp_path, monkeypatch, existing):
    folder = tmp_path / "pack"
    if existing:
        small_pack(folder, city.root.parents[1], title="first")

    def contents():
        yield content(city)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_pack(folder, city, contents(), overwrite=True)
    broken = replace(city, queries=(replace(city.queries[0], path=tmp_path / "gone.jpg"),))
    with pytest.raises(ImageError, match=r"gone\.jpg"):
        build_pack(folder, broken, [content(broken)], thumbnails=32, overwrite=True)
    monkeypatch.setattr(build_module, "write_card", lambda manifest: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        build_pack(folder, city, [content(city)], overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == (["pack"] if existing else [])
    if existing:
        assert open_pack(folder).title == "first"
        assert check_pack(folder) == []


def test_what_makes_no_pack_is_refused(city, tmp_path):
    good, model = content(city), stand_in()
    for contents, words in (
        ([], "at least one model"),
        ([good, good], "given twice"),
        ([Content(described(12, stand_in(weights="random")))], "random weights"),
        ([Content(described(11, model))], "11 descriptors came with 12 photo names"),
        ([Content(good.database, described(8, stand_in(OTHER)))], "from another model"),
        ([Content(replace(good.database, values=good.database.values * 1e6))], "not finite in float16"),
    ):
        with pytest.raises(UsageError, match=words):
            build_pack(tmp_path / "pack", city, contents)
    with pytest.raises(UsageError, match="Thumbnails of 3 pixels"):
        build_pack(tmp_path / "pack", city, [good], thumbnails=3)
    with pytest.raises(UsageError, match="at least one database photo"):
        build_pack(tmp_path / "pack", replace(city, database=()), [good])
    assert not list(tmp_path.iterdir())


def test_the_manifest_is_plain_json_with_every_file(city, tmp_path):
    folder = small_pack(tmp_path / "pack", city.root.parents[1]).folder
    facts = json.loads((folder / "pack.json").read_text())
    listed = set(facts["files"]) | {"pack.json", "README.md"}
    assert listed == {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert facts["counts"] == {"database": 12, "queries": 8}
    assert str(tmp_path) not in json.dumps(facts), "no path of the maker's computer"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    own = tmp_path / "own"
    (own / "images" / "test").mkdir(parents=True)
    photo = Image.fromarray(np.zeros((8, 8, 3), np.uint8))
    photo.save(own / "images" / "test" / "a.jpg")
    photo.save(tmp_path / "secret.jpg")
    (own / "notes.txt").write_text("not a photo")
    return own


def place(name: str) -> Photo:
    return Photo(Path(name), Path(name).name)


def test_the_split_of_a_pack_is_one_folder_name(folder: Path) -> None:
    found, notes = PhotoFolder(folder, "test").find([place("a.jpg")], [Path("other")])
    assert (found, notes) == ([folder / "images" / "test" / "a.jpg"], ())
    for split in ("/", "..", "../..", "a/b", "a\\b", "C:"):
        with pytest.raises(DatasetError, match="no name of a folder"):
            PhotoFolder(folder, split)


def test_only_photos_inside_the_folder_are_taken(folder: Path) -> None:
    for name in ("notes.txt", "../secret.jpg", "../../secret.jpg", str(folder.parent / "secret.jpg"), "/etc/hostname"):
        with pytest.raises(DatasetError, match="holds none"):
            PhotoFolder(folder, "test").find([place(name)], [Path("other")])
    (folder / "link.jpg").symlink_to(folder.parent / "secret.jpg")  # as the Hub's cache and many data sets are laid out
    assert PhotoFolder(folder, "test").find([place("link.jpg")], [Path("other")])[0] == [folder / "link.jpg"]


def test_links_in_a_circle_end_and_so_does_a_folder_without_end(folder: Path, monkeypatch) -> None:
    (folder / "again").symlink_to(folder, target_is_directory=True)
    found, _ = PhotoFolder(folder).find([place("elsewhere/a.jpg")], [Path("other")])
    assert found == [folder / "images" / "test" / "a.jpg"]
    monkeypatch.setattr(pack_photos, "MOST_FILES", 3)
    with pytest.raises(DatasetError, match="more than 3 files"):
        PhotoFolder(folder).find([place("elsewhere/b.jpg")], [Path("other")])
