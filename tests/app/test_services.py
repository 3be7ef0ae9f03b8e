"""The search behind the page, without any web framework: positions, batches, verdicts, stored descriptors."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest
import standin
from PIL import Image

import app.core.descriptor_store as store_module
from app.core.descriptor_store import DescriptorStore
from app.core.model_slots import BASELINE, STABLE, chosen_mode
from app.core.query_position import known_position
from app.core.query_resolution import batch_mates_of, query_photo, spread_over_conditions
from app.core.records import Answer
from app.core.services import Services
from app.core.values import whole_number
from app.start import CITY_NAME, example_names, make_services, open_datasets, read_arguments
from scicevpr.datasets import read_dataset
from scicevpr.descriptors.batches import Grouping
from scicevpr.descriptors.describe import describe
from scicevpr.descriptors.precision import obstacle
from scicevpr.errors import ImageError, SciceVPRError, UsageError, WeightsError
from scicevpr.files.descriptor_files import save_descriptors
from scicevpr.models.model import WeightsInfo


def test_a_query_of_the_list_brings_its_position_and_right_means_within_25_metres(services):
    query = services.dataset(None)[1].queries[4]
    found = services.find(query.path, query.name, k=20)
    assert found.position.known_from == "file name"
    assert (found.position.east, found.position.north) == query.utm
    for answer in found.answers:
        assert [hit.rank for hit in answer.hits] == list(range(1, 21))
        similarities = [hit.similarity for hit in answer.hits]
        assert similarities == sorted(similarities, reverse=True)
        assert answer.positives == 2  # two database photos per place, 3 and 6 m away
        for hit in answer.hits:
            metres = np.hypot(hit.photo.utm[0] - query.utm[0], hit.photo.utm[1] - query.utm[1])
            assert hit.metres == pytest.approx(metres)
            assert hit.right == (metres <= 25.0)


def test_the_rank_of_the_first_positive_counts_over_the_whole_database(services):
    dataset = services.dataset(None)[1]
    for query in dataset.queries[::5]:
        everything = services.find(query.path, query.name, k=20)
        top = services.find(query.path, query.name, k=1)
        for full, short in zip(everything.answers, top.answers, strict=True):
            assert short.first_positive == full.first_positive
            rights = [hit.rank for hit in full.hits if hit.right]
            assert (rights[0] if rights else None) == (full.first_positive if full.first_positive <= 20 else None)


def test_other_photos_change_the_baseline_and_never_scicevpr(services):
    query = services.dataset(None)[1].queries[0]
    alone = services.find(query.path, query.name, k=20)
    together = services.find(query.path, query.name, k=20, batch_mates=7)
    assert [hit.row for hit in together.stable.hits] == [hit.row for hit in alone.stable.hits]
    assert [hit.similarity for hit in together.stable.hits] == [hit.similarity for hit in alone.stable.hits]
    assert alone.cosine_to_alone is None
    assert together.cosine_to_alone < 0.9999
    assert [hit.similarity for hit in together.baseline.hits] != [hit.similarity for hit in alone.baseline.hits]
    names = [place.name for place in together.batch_mates]
    assert names == [place.name for place in services.dataset(None)[1].queries[1:8]]
    assert together.baseline.protocol["query batch"] == "with 7 of the query list"


def test_batch_mates_wrap_around_and_start_at_the_top_for_strangers(services):
    queries = services.dataset(None)[1].queries
    last = len(queries) - 1
    assert batch_mates_of(services.dataset(None)[1], last, 2) == [queries[0], queries[1]]
    assert batch_mates_of(services.dataset(None)[1], None, 2) == [queries[0], queries[1]]
    with pytest.raises(UsageError, match="only 15 other photos"):
        batch_mates_of(services.dataset(None)[1], 0, 16)


def test_position_entered_by_hand_wins_and_half_positions_are_refused(services):
    dataset = services.dataset(None)[1]
    place, row = query_photo(dataset, dataset.queries[2].name)
    assert row == 2
    assert known_position(place, dataset, 1.0, "2.5").known_from == "entered"
    assert known_position(place, dataset, None, "").known_from == "file name"
    for east, north in ((1.0, None), (None, 2.0)):
        with pytest.raises(UsageError, match="both"):
            known_position(place, dataset, east, north)
    for bad in ("north pole", float("nan"), float("inf"), 1e12):
        with pytest.raises(UsageError, match="UTM position"):
            known_position(place, dataset, bad, 3.0)


def test_unknown_position_gives_no_verdict_and_a_far_one_says_that_nothing_can_be_right(services):
    photo = standin.noise_photo()
    unknown = services.find(photo, "holiday.jpg")
    assert unknown.position is None
    assert all(hit.right is None and hit.metres is None for answer in unknown.answers for hit in answer.hits)
    assert unknown.stable.verdict()[0] == "unknown"
    far = services.find(photo, "@0100000.00@1000000.00@.jpg")
    assert far.stable.positives is None
    assert "km outside this database's area" in far.stable.verdict()[1]
    assert all(hit.right is None and hit.metres > 1e6 for hit in far.stable.hits)
    between = services.find(photo, "holiday.jpg", where=f"{standin.ORIGIN[0] + 21.5} {standin.ORIGIN[1] + 20}")
    assert between.stable.positives == 0
    assert "no photo of this place" in between.stable.verdict()[1]


@pytest.mark.parametrize(
    ("first", "mood", "words"),
    [(1, "right", "Right at rank 1, 6 m"), (4, "late", "rank 4"), (37, "wrong", "No right answer in the top 5")],
)
def test_verdicts(services, first, mood, words):
    hits = services.find(standin.noise_photo(), "x.jpg", k=5).stable.hits
    answer = Answer("stable", "M", hits, first, 6.2, 2, 1.0, 1.0, True)
    assert answer.verdict()[0] == mood
    assert words in answer.verdict()[1]


@pytest.mark.parametrize("value", [0, 21, -1, 2.5, "many", None, float("nan"), True])
def test_k_must_be_a_whole_number_from_1_to_20(services, value):
    if value is True:
        assert whole_number(value, "K", 1, 20) == 1
        return
    with pytest.raises(UsageError, match="K must be a whole number from 1 to 20"):
        services.find(standin.noise_photo(), k=value)


def test_unknown_database_and_no_database_say_what_to_do(services):
    with pytest.raises(UsageError, match="Choose one of: Tiny city"):
        services.find(standin.noise_photo(), database="Atlantis")
    with pytest.raises(UsageError, match="--dataset"):
        Services({}, standin.models()).find(standin.noise_photo())


def test_unreadable_photos_are_refused(services, tmp_path):
    text = tmp_path / "letter.jpg"
    text.write_text("dear reader")
    whole = services.dataset(None)[1].queries[0].path.read_bytes()
    cut = tmp_path / "cut.jpg"
    cut.write_bytes(whole[: len(whole) // 2])
    huge = tmp_path / "huge.png"
    Image.new("1", (9000, 8000)).save(huge)
    for path in (text, cut, huge, tmp_path / "missing.jpg"):
        with pytest.raises(ImageError, match=path.name):
            services.find(path, path.name)


def test_missing_weights_are_told_and_keep_being_told(city_folder):
    def fail():
        raise WeightsError("No weights in assets/weights: run the training package.")

    services = Services(
        {"c": read_dataset(city_folder)}, {STABLE: ("scicevpr-t", fail), BASELINE: ("cricavpr-t", fail)}
    )
    services.warm_up().join(20)
    assert services.warm
    assert [state.state for state in services.model_states()] == ["missing", "missing"]
    for _ in range(2):
        with pytest.raises(WeightsError, match="training package"):
            services.find(standin.noise_photo())


def test_examples_cover_conditions_without_repeats(services):
    dataset = services.dataset(None)[1]
    examples = services.examples(None)
    assert len(examples) == len({place.name for place in examples}) == 8
    assert {place.condition for place in examples} == set(standin.CONDITIONS)
    assert set(spread_over_conditions(dataset.queries[:3], 8)) == set(dataset.queries[:3])
    named = Services({"c": dataset}, standin.models(), examples={"c": [dataset.queries[5].name, "gone.jpg"]})
    assert named.examples("c") == [dataset.queries[5]]


def trained(name: str):
    """The untrained stand-in under a weights record, so that packs accept it."""
    model = standin.build_model(name)
    model.load_state_dict(standin.untrained(name).state_dict())
    model.weights = WeightsInfo("test", "0123456789ab", "nothing", True)
    return model


@pytest.mark.slow
def test_packs_are_taken_only_when_they_fit(city_folder, tmp_path, monkeypatch):
    dataset, model = read_dataset(city_folder), trained("cricavpr-t")
    names = [place.name for place in dataset.database]
    paths = [place.path for place in dataset.database]
    packs = tmp_path / "packs"
    packs.mkdir()
    save_descriptors(packs / "a.safetensors", describe(model, paths, grouping=Grouping.alone()), names)  # other batches
    (packs / "b.safetensors").write_bytes(b"no pack at all")
    assert DescriptorStore(packs).get("c", dataset, model).source == "computed here"
    save_descriptors(packs / "c.safetensors", describe(model, paths, grouping=Grouping.sequential(16)), names)
    monkeypatch.setattr(store_module, "describe", lambda *_, **__: pytest.fail("the pack was not used"))
    assert DescriptorStore(packs).get("c", dataset, model).source == "bundled pack"
    shorter = replace(dataset, database=dataset.database[:-1])
    with pytest.raises(pytest.fail.Exception):
        DescriptorStore(packs).get("c", shorter, model)


def test_own_cache_is_written_once_and_dropped_when_a_photo_changes(tmp_path, monkeypatch):
    city = standin.write_city(tmp_path / "city", places=3)
    dataset, model = read_dataset(city), trained("scicevpr-t")
    cache = tmp_path / "cache"
    first = DescriptorStore(cache=cache).get("c", dataset, model)
    assert first.source == "computed here"
    again = DescriptorStore(cache=cache).get("c", dataset, model)
    assert again.source == "cache"
    np.testing.assert_allclose(again.descriptors.values, first.descriptors.values, atol=1e-3)
    photo = dataset.database[0].path
    photo.write_bytes(photo.read_bytes() + b"\0")
    assert DescriptorStore(cache=cache).get("c", dataset, model).source == "computed here"
    monkeypatch.setattr(store_module, "save_descriptors", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    assert DescriptorStore(cache=tmp_path / "full").get("c", dataset, model).source == "computed here"


def test_an_index_in_the_cache_that_cannot_be_read_is_made_again(tmp_path, monkeypatch):
    for module in ("retrieval.factory", "descriptors.describe"):
        monkeypatch.setattr(f"scicevpr.{module}.MEMORY_LIMIT", 0)
    monkeypatch.setattr("scicevpr.retrieval.factory.MANY_ROWS", 1)
    dataset, model = read_dataset(standin.write_city(tmp_path / "city", places=3)), trained("scicevpr-t")
    cache = tmp_path / "cache"
    described = DescriptorStore(cache=cache).get("c", dataset, model)
    assert described.index.label.startswith("exact"), "described now, so in no file yet"
    built = DescriptorStore(cache=cache).get("c", dataset, model)
    assert "re-ranked exactly" in built.index.label
    [manifest] = (cache / "indexes").glob("*/index.json")
    manifest.write_text(manifest.read_text().replace('"format_version": ', '"format_version": 9'))
    again = DescriptorStore(cache=cache).get("c", dataset, model)
    assert again.index.label == built.index.label
    query = described.descriptors.values[:1].astype(np.float32)
    assert again.index.search(query, 1).indices[0, 0] == 0


def test_find_describes_in_the_precision_asked_for_and_says_so(city_folder):
    dataset = read_dataset(city_folder)
    dataset = replace(dataset, database=dataset.database[:4], queries=dataset.queries[:2])
    lower = "int8" if obstacle("int8") is None else "bfloat16"
    if obstacle(lower) is not None:
        pytest.skip(f"no lower precision on this processor: {obstacle(lower)}")
    plain, fast = (Services({"c": dataset}, standin.models(), precision=name) for name in ("float32", lower))
    photo = dataset.queries[0].path
    answers = [services.find(photo, photo.name, k=4).stable for services in (plain, fast)]
    told = [answer.protocol["precision"] for answer in answers]
    assert told == ["float32, as in all tabs", f"{lower}, as asked for at the start"]
    assert answers[1].protocol["descriptor"].startswith(f"2688 dimensions, {lower}")
    moved = [abs(a.similarity - b.similarity) for a, b in zip(*(answer.hits for answer in answers), strict=True)]
    assert 0 < max(moved) < 0.02
    assert fast.described(STABLE, "c").descriptors.dtype == "float32"  # the other tabs


@pytest.mark.parametrize(
    ("wanted", "stored", "mode", "words"),
    [
        ("float32", False, "float32", "as in all tabs"),
        ("int8", True, "float32", "opened pack"),
        ("auto", False, "float32", "not measured"),
    ],
)
def test_a_precision_that_cannot_be_had_is_float32_with_a_reason(wanted, stored, mode, words):
    choice = chosen_mode(wanted, trained("scicevpr-t"), stored)
    assert choice.mode == mode
    assert words in choice.reason


@pytest.mark.slow
def test_two_callers_share_one_computation_and_its_progress(city_folder, monkeypatch):
    dataset, model, store = read_dataset(city_folder), standin.untrained("scicevpr-t"), DescriptorStore()
    calls, seen = [], []
    gate = threading.Event()

    def slow(model, images, progress, **options):
        calls.append(1)
        progress(1, len(images))
        gate.wait(10)
        return describe(model, images, **options)

    monkeypatch.setattr(store_module, "describe", slow)
    results = []
    threads = [
        threading.Thread(target=lambda: results.append(store.get("c", dataset, model, lambda *now: seen.append(now))))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    threads[1].join(0.6)
    gate.set()
    for thread in threads:
        thread.join(30)
    assert len(calls) == 1
    assert results[0] is results[1]
    assert seen.count((1, 32)) >= 2  # the waiting caller heard of it as well


def test_a_failed_computation_can_be_tried_again(city_folder, monkeypatch):
    dataset, model, store = read_dataset(city_folder), standin.untrained("scicevpr-t"), DescriptorStore()
    monkeypatch.setattr(store_module, "describe", lambda *_, **__: (_ for _ in ()).throw(ImageError("bad photo")))
    with pytest.raises(ImageError, match="bad photo"):
        store.get("c", dataset, model)
    monkeypatch.undo()
    assert len(store.get("c", dataset, model).index) == 32


def test_start_up_reads_folders_and_reports_the_broken_ones(city_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("SCICEVPR_ASSETS", str(tmp_path / "assets"))
    monkeypatch.setenv("SCICEVPR_DATASETS", str(tmp_path / "nowhere"))
    services = make_services(read_arguments(["--dataset", str(city_folder), "--no-cache"]))
    assert list(services.datasets) == ["city"]
    assert len(services.notes) == 2  # no bundled city, and the folder that does not exist
    assert any("nowhere" in note for note in services.notes)
    with pytest.raises(SciceVPRError):
        services.model(STABLE)


def test_the_bundled_city_and_its_examples_are_found(tmp_path, monkeypatch):
    assets = tmp_path / "assets"
    monkeypatch.setenv("SCICEVPR_ASSETS", str(assets))
    standin.write_city(assets / "procity", places=6)
    found, problems = open_datasets([], "test")
    assert list(found) == [CITY_NAME]
    assert problems == []
    name = found[CITY_NAME].queries[3].name
    for text in (f'["queries/{name}"]', f'{{"examples": [{{"name": "{name}"}}]}}'):
        (assets / "examples.json").write_text(text)
        assert example_names() == [name]
    (assets / "examples.json").write_text("{")
    assert example_names() == []
