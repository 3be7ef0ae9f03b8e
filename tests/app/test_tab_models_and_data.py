"""Other models and databases in the running page: columns change, packs open, a shared server stays as it is."""

from __future__ import annotations

import shutil
from dataclasses import replace

import gradio as gr
import numpy as np
import pytest
import standin

from app.build import build_app
from app.core.model_slots import BASELINE, STABLE, THIRD
from app.core.query_resolution import relevance_to
from app.core.records import Position
from app.start import make_services, make_sources, read_arguments
from app.tabs.benchmarks.service import Benchmarks
from app.tabs.find.handlers import PARTS, FindHandlers
from app.tabs.find.html import answer_html
from app.tabs.inside.service import Inspector
from app.tabs.models_and_data.handlers import SourceHandlers
from app.tabs.models_and_data.service import Sources
from app.tabs.stability.service import Stability
from scicevpr.datasets import GroundTruth, read_dataset
from scicevpr.descriptors.describe import describe
from scicevpr.errors import SciceVPRError, UsageError
from scicevpr.packs.build import build_pack, describe_content
from scicevpr.packs.pack import score_pack
from scicevpr.retrieval.exact import ExactIndex
from scicevpr.retrieval.pca import PCA


@pytest.fixture
def own_services(city_folder):
    return standin.recorded_services(city_folder)


@pytest.fixture
def sources(own_services):
    return Sources(own_services, standin.load_recorded)


@pytest.mark.slow
def test_a_third_model_answers_beside_the_two_and_goes_again(sources, own_services):
    query = own_services.dataset(None)[1].queries[1]
    state = sources.load_weights(THIRD, "super-cricavpr-t")
    assert (state.role, state.title) == (THIRD, "Super-CricaVPR-T")
    found = own_services.find(query.path, query.name, batch_mates=3)
    assert [answer.role for answer in found.answers] == [STABLE, BASELINE, THIRD]
    assert found.third.protocol["query batch"] == "with 3 of the query list"  # it is a cross-image model as well
    assert len(found.to_json()["answers"]) == 3
    sources.reset(THIRD)
    assert own_services.find(query.path, query.name).third is None


def test_a_column_keeps_its_model_when_another_cannot_be_loaded_or_does_not_belong_there(sources, own_services):
    first = own_services.model(STABLE)
    for role, source, words in (
        (STABLE, "nothing", "nothing there"),
        (STABLE, "cricavpr-t", "depends on the photos of its batch"),
        (BASELINE, "scicevpr-t", "does not depend"),
        ("fourth", "scicevpr-t", "no column 'fourth'"),
        (STABLE, "  ", "no source yet"),
    ):
        with pytest.raises(SciceVPRError, match=words):
            sources.load_weights(role, source)
    assert own_services.model(STABLE) is first


def test_a_shared_server_refuses_every_change(own_services):
    locked = Sources(own_services, standin.load_recorded, locked=True)
    for change in (
        lambda: locked.load_weights(THIRD, "scicevpr-t"),
        lambda: locked.reset(STABLE),
        lambda: locked.open_pack("somewhere"),
    ):
        with pytest.raises(UsageError, match="shared"):
            change()


def test_the_page_shows_the_third_column_only_while_there_is_a_third_model(sources, own_services):
    handlers, column = FindHandlers(own_services), PARTS.index("third")
    assert handlers.waiting_view()[column]["visible"] is False
    tables = SourceHandlers(sources).load(THIRD, "super-cricavpr-t", "", False, progress=gr.Progress())
    assert "Super-CricaVPR-T" in tables[0]
    assert "NOT trained" in tables[0]
    assert handlers.waiting_view()[column]["visible"] is True


@pytest.mark.slow
def test_a_pack_becomes_a_database_with_its_own_descriptors(sources, own_services, tmp_path):
    dataset, model = own_services.dataset(None)[1], own_services.model(STABLE)
    pack = build_pack(tmp_path / "pack", dataset, [model], title="Packed city", thumbnails=160)
    name = sources.open_pack(str(pack.folder))
    assert name == "Packed city"
    query = dataset.queries[2]
    found, plain = (own_services.find(query.path, query.name, database=key) for key in (name, None))
    assert [hit.photo.name for hit in found.stable.hits] == [hit.photo.name for hit in plain.stable.hits]
    assert "opened pack" in found.stable.protocol["database"]
    assert found.stable.hits[0].photo.path.is_file()


@pytest.mark.slow
def test_a_pack_without_photos_answers_with_the_models_it_has_and_says_what_is_missing(
    sources, own_services, city_folder, tmp_path
):
    copy = shutil.copytree(city_folder, tmp_path / "city")
    dataset, model = read_dataset(copy), own_services.model(STABLE)
    query = own_services.dataset(None)[1].queries[2]
    pack = build_pack(tmp_path / "pack", dataset, [model], title="No photos")
    shutil.rmtree(copy)
    name = sources.open_pack(str(pack.folder))
    assert FindHandlers(own_services).example_items(name) == []
    found = own_services.find(query.path, query.name, database=name)
    assert found.stable.hits
    assert found.baseline.hits == ()
    assert "scicevpr-t" in found.baseline.problem.lower()
    assert "data-verdict" not in answer_html(found.baseline)
    for ask in (
        lambda: own_services.find(query.path, query.name, database=name, batch_mates=2),
        lambda: Inspector(own_services).inspect(query.path, query.name, name, BASELINE, batch_mates=2),
        lambda: Stability(own_services).setup(STABLE, name),
    ):
        with pytest.raises(UsageError, match="is not here: its database came as a pack") as refused:
            ask()
        assert str(tmp_path) not in str(refused.value)


@pytest.mark.slow
def test_a_pack_of_reduced_descriptors_is_searched_with_new_photos_and_scored(sources, own_services, tmp_path):
    """As `scicevpr search --pack` and `evaluate --pack` do."""
    dataset, model = own_services.dataset(None)[1], own_services.model(STABLE)
    full = own_services.described(STABLE, "Tiny city").descriptors
    facts = {"fingerprint": model.variant.fingerprint, "weights": model.weights.sha256}
    pca = PCA.fit(full.values.astype(np.float32), 8, **facts)
    content = describe_content(model, dataset, pca=pca, full=False)
    small = build_pack(tmp_path / "small", dataset, [content], title="Reduced")
    name = sources.open_pack(str(small.folder))
    query = dataset.queries[2]
    found = own_services.find(query.path, query.name, database=name, k=4).stable
    index = ExactIndex(small.descriptors(model, reduced=True).values)
    wanted = index.search(pca.transform(describe(model, [query.path]).values), 4)
    assert [hit.row for hit in found.hits] == wanted.indices[0].tolist()
    np.testing.assert_allclose([hit.similarity for hit in found.hits], wanted.similarities[0], atol=1e-5)
    assert found.protocol["PCA"] == pca.label
    scored = Benchmarks(own_services).measure(name, STABLE)
    assert (scored.cost.dimensions, scored.evaluation.protocol["PCA"]) == (8, pca.label)
    assert [e.overall.recalls for e in score_pack(small)] == [scored.evaluation.overall.recalls]
    stability = Stability(own_services)
    for ask in (
        lambda: Inspector(own_services).inspect(query.path, query.name, name, STABLE),
        lambda: stability.react(stability.session(query.path, query.name, name), [1], [1]),
        lambda: stability.setup(STABLE, name),
    ):
        with pytest.raises(UsageError, match="after PCA alone"):
            ask()


def test_photos_of_a_pack_are_read_from_a_folder_only_where_my_folder_allows_it(own_services, tmp_path):
    dataset, model = own_services.dataset(None)[1], own_services.model(STABLE)
    pack = build_pack(tmp_path / "pack", dataset, [model], title="No photos")
    closed = Sources(own_services, standin.load_recorded)
    for folder in (str(dataset.root), "/etc", " ~ "):
        with pytest.raises(UsageError, match="--my-folder"):
            closed.open_pack(str(pack.folder), folder)
    assert "No photos" not in own_services.datasets
    opened = Sources(own_services, standin.load_recorded, may_read_folders=True)
    name = opened.open_pack(str(pack.folder), str(dataset.root))
    assert all(photo.path.is_file() for photo in own_services.datasets[name].database)
    for given in ([], ["--my-folder"]):
        options = read_arguments(given)
        sources = make_sources(options, own_services)
        assert sources.may_read_folders is bool(given)
        page = build_app(own_services, sources)
        (field,) = (block for block in page.blocks.values() if getattr(block, "elem_id", "") == "pack-photos")
        assert field.visible is bool(given)


@pytest.mark.slow
def test_positives_that_a_data_set_lists_decide_for_its_own_queries(own_services):
    dataset = own_services.dataset(None)[1]
    listed = [[row] for row in range(len(dataset.queries))]
    truth = GroundTruth.lists(listed, "listed")
    own_services.add_database("Listed", replace(dataset, truth=truth, root=dataset.root / "x"))
    query = dataset.queries[3]
    found = own_services.find(query.path, query.name, database="Listed", k=20)
    assert found.stable.positives == 1
    assert found.radius is None
    assert [hit.row for hit in found.stable.hits if hit.right] in ([3], [])
    assert found.stable.protocol["right within"] == "listed"
    entered = own_services.find(query.path, query.name, database="Listed", east=query.utm[0], north=query.utm[1])
    assert entered.stable.positives is None  # the list says nothing about a photo at another position


def test_judging_by_radius_needs_all_positions(own_services):
    dataset = own_services.dataset(None)[1]
    here = Position(*dataset.queries[0].utm, "entered")
    judged = relevance_to(dataset, here, None)
    assert judged.right.sum() == (judged.metres <= 25).sum() == 2
    assert judged.first_positive(np.flatnonzero(~judged.right)) is None
    unplaced = replace(dataset, database=(replace(dataset.database[0], utm=None), *dataset.database[1:]))
    assert relevance_to(unplaced, here, None).right is None


@pytest.mark.slow
def test_the_command_line_fills_columns_and_opens_packs(city_folder, tmp_path):
    dataset = read_dataset(city_folder)
    pack = build_pack(tmp_path / "pack", dataset, [standin.recorded("scicevpr-t")], title="Packed city")
    packs = ["--pack", str(pack.folder), "--pack", "absent/pack"]
    options = read_arguments(["--third", "super-cricavpr-t", *packs, "--lock"])
    services = make_services(options)
    sources = make_sources(options, services)
    assert THIRD in services.roles
    assert pack.title in services.datasets
    assert any("absent/pack" in note for note in services.notes)
    assert sources.locked
