"""Values in and out of the page, errors as toasts, and the named endpoints over a real server."""

from __future__ import annotations

import base64
import shutil
from pathlib import Path

import gradio as gr
import pytest
import standin
from wire import served

from app.build import build_app
from app.core.incoming import REFUSED, photo_name, query_photo
from app.core.model_slots import BASELINE
from app.core.services import Services
from app.tabs.find.handlers import PARTS, FindHandlers
from app.tabs.inside.handlers import InsideHandlers
from app.tabs.stability.handlers import StabilityHandlers
from app.tabs.stability.service import Stability
from app.ui.events import toasts
from scicevpr.errors import ImageError, UsageError


@pytest.fixture
def handlers(services):
    return FindHandlers(services)


def payload(path, name=None):
    return {"path": str(path), "orig_name": name or path.name, "url": None}


def test_a_search_fills_every_part(services, handlers):
    query = services.dataset(None)[1].queries[1]
    values = dict(zip(PARTS, handlers.search_view(payload(query.path), None, 5, 3, ""), strict=True))
    assert values["stable"].count('data-verdict="') == 5
    assert values["baseline"].count('data-verdict="') == 5
    assert values["strip"].count('<li class="tile') == 4
    assert "Untrained weights" in values["notice"]
    assert {"query", "SciceVPR-T", "CricaVPR-T", "within 25 m"} <= {trace.name for trace in values["map"].data}
    assert "sequential 16" in values["protocol"]


def test_waiting_view_has_the_same_parts_and_shows_the_city(handlers):
    values = dict(zip(PARTS, handlers.waiting_view(), strict=True))
    assert "Pick a photo" in values["stable"]
    assert "data-verdict" not in values["baseline"]
    assert len(values["map"].data[0].x) == 32


def test_the_current_view_waits_without_a_photo_and_searches_with_one(services, handlers):
    assert "Pick a photo" in handlers.current_view(None, None, 5, 0, "")[PARTS.index("stable")]
    query = services.dataset(None)[1].queries[1]
    values = handlers.current_view(payload(query.path), None, 2, 0, "")
    assert values[PARTS.index("stable")].count('data-verdict="') == 2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"photo": None}, "There is no photo yet"),
        ({"photo": "C:/x.jpg"}, "must be sent as a file"),
        ({"photo": {"path": None, "url": None}}, "without any content"),
        ({"photo": {"path": None, "url": "data:image/png;base64,###"}}, "damaged"),
        ({"k": 21}, "whole number from 1 to 20"),
        ({"k": "lots"}, "whole number from 1 to 20"),
        ({"batch_mates": 99}, "whole number from 0 to 31"),
        ({"database": "<b>Atlantis</b>"}, "&lt;b&gt;Atlantis"),
        ({"where": "north pole"}, "not a position"),
        ({"where": "1e9 5"}, "not a position"),
        ({"where": ["x"]}, "must be a text"),
    ],
)
def test_every_bad_input_becomes_a_toast(services, handlers, change, words):
    query = services.dataset(None)[1].queries[0]
    form = {"photo": payload(query.path), "database": None, "k": 5, "batch_mates": 0, "where": ""}
    with pytest.raises(gr.Error) as caught:
        handlers.search_view(*(form | change).values())
    assert words in caught.value.message
    assert caught.value.print_exception is False


def test_what_was_chosen_for_a_larger_database_is_clamped(tmp_path):
    services = standin.city_services(standin.write_city(tmp_path / "village", places=3))
    query = services.dataset(None)[1].queries[0]
    values = FindHandlers(services).search_view(payload(query.path), None, 20, 15, "")
    assert values[PARTS.index("strip")].count('<li class="tile') == 3
    inside = InsideHandlers(services)
    form = (BASELINE, 20, 15, "descriptor", "terms", 1, 1, "mean", "mean", "mean")
    assert "match, rank 6" in inside.show(payload(query.path), None, *form)[1]
    stability = StabilityHandlers(Stability(services))
    assert "Found" in list(stability.make_it_fail(payload(query.path), None, "", 16))[-1][1]


def test_unexpected_errors_are_logged_and_put_kindly(caplog):
    def broken():
        raise ZeroDivisionError("secret detail")

    with pytest.raises(gr.Error) as caught:
        toasts(broken)()
    assert "secret detail" not in caught.value.message
    assert "secret detail" in caplog.text


def test_photos_are_read_from_uploads_and_data_uris_and_from_nowhere_else(services, tmp_path):
    upload = standin.upload(standin.noise_photo(), "stored.png")
    photo = query_photo(payload(upload, "../../etc/@1@2@.jpg"))
    assert photo.name == "@1@2@.jpg"
    assert photo.image.size == (120, 90)
    uri = "data:image/png;base64," + base64.b64encode(upload.read_bytes()).decode()
    assert query_photo({"url": uri}).image.tobytes() == photo.image.tobytes()
    listed = services.dataset(None)[1].queries[0].path
    assert query_photo(payload(listed), services.datasets).name == listed.name
    elsewhere = tmp_path / "secret.png"
    standin.noise_photo().save(elsewhere)
    (upload.parent / "link.png").symlink_to(elsewhere)
    (tmp_path / "empty.png").touch()
    answers = set()
    for path in (
        elsewhere, listed.parent, tmp_path / "absent.png", tmp_path / "empty.png", upload.parent, "/dev/zero",
        upload.parent / "link.png", f"{upload.parent}/../../{elsewhere.name}", "secret.png", "\0", "http://x/y.png",
    ):  # fmt: skip
        with pytest.raises(ImageError) as caught:
            query_photo({"path": str(path)}, services.datasets)
        answers.add(str(caught.value))
    assert answers == {REFUSED}
    with pytest.raises(ImageError):
        query_photo({})
    assert photo_name({"path": "/a/b.png"}) == "b.png"


def test_clicking_an_example_gives_its_file(services, handlers):
    event = gr.SelectData(None, {"index": 2, "value": None})
    chosen = handlers.example(None, None, event)
    assert Path(chosen).read_bytes() == services.examples(None)[2].path.read_bytes()
    assert Path(chosen).name == services.examples(None)[2].name
    with pytest.raises(gr.Error):
        handlers.example(None, None, gr.SelectData(None, {"index": 99, "value": None}))


def test_another_database_empties_the_page(handlers):
    photo, gallery, *rest = handlers.other_database("Tiny city")
    assert photo is None
    assert len(gallery.value if hasattr(gallery, "value") else gallery["value"]) == 8
    assert len(rest) == len(PARTS)


def test_without_any_database_the_page_still_builds_and_says_what_to_do():
    empty = Services({}, standin.models(), notes=["The bundled city is not there."])
    page = build_app(empty)
    assert page.title == "SciceVPR Studio"
    handlers = FindHandlers(empty)
    assert "bundled city is not there" in handlers.notice()
    assert handlers.example_items() == []
    with pytest.raises(gr.Error, match="--dataset"):
        handlers.search_view(payload(standin.upload(standin.noise_photo(), "x.png")), None, 5, 0, "")


@pytest.mark.slow
def test_warm_up_is_watched_to_its_end(city_folder):
    services = standin.city_services(city_folder)
    watcher = FindHandlers(services).watch_warm_up()
    assert "Warming up" in next(watcher)
    services.warm_up().join(60)
    assert "Warming up" not in list(watcher)[-1]


@pytest.fixture(scope="module")
def client(services):
    from gradio_client import Client

    with served(build_app(services), services) as found:
        yield Client(found.url, verbose=False)


def test_only_the_named_endpoints_are_public_and_described(client):
    endpoints = client.view_api(return_format="dict")["named_endpoints"]
    assert {"/find", "/databases", "/models", "/explain", "/batch_mates", "/benchmark", "/figure"} <= set(endpoints)
    assert [item["parameter_name"] for item in endpoints["/explain"]["parameters"]] == [
        "image", "database", "model", "match", "batch_mates", "query",
    ]  # fmt: skip
    assert [item["parameter_name"] for item in endpoints["/batch_mates"]["parameters"]] == [
        "image", "database", "batch_mates", "query",
    ]  # fmt: skip
    assert [item["parameter_name"] for item in endpoints["/find"]["parameters"]] == [
        "image", "database", "k", "batch_mates", "east", "north", "query", "position",
    ]  # fmt: skip
    assert all(item["description"] for item in endpoints.values())


@pytest.mark.slow
def test_endpoints_answer(client, services, tmp_path):
    from gradio_client import handle_file

    states = {model["role"]: model["state"] for model in client.predict(api_name="/models")}
    assert states["stable"] == states["baseline"] == "ready"
    assert set(states) == {"stable", "baseline", "teacher"}
    assert client.predict(api_name="/databases")[0]["database_photos"] == 32
    query = services.dataset(None)[1].queries[6]
    result = client.predict(image=handle_file(str(query.path)), k=3, batch_mates=2, api_name="/find")
    assert [len(answer["matches"]) for answer in result["answers"]] == [3, 3]
    told = client.predict(handle_file(str(query.path)), "Tiny city", "baseline", 2, 1, api_name="/explain")
    assert sum(told["region_terms"].values()) == pytest.approx(told["matches"][1]["similarity"], abs=1e-5)
    both = client.predict(handle_file(str(query.path)), "Tiny city", "3,9", api_name="/batch_mates")
    assert [model["model"] for model in both] == ["SciceVPR-T", "CricaVPR-T"]
    assert result["query"]["position"] == {"east": query.utm[0], "north": query.utm[1], "known_from": "file name"}
    assert len(result["batch_of_the_baseline"]) == 3
    nameless = tmp_path / "photo.jpg"
    shutil.copy(query.path, nameless)
    placed = client.predict(handle_file(str(nameless)), "Tiny city", 1, 0, query.utm[0], query.utm[1], api_name="/find")
    assert placed["query"]["position"]["known_from"] == "entered"


def test_endpoint_errors_reach_the_client(client, services, tmp_path):
    from gradio_client import handle_file

    letter = tmp_path / "letter.jpg"
    letter.write_text("dear reader")
    query = str(services.dataset(None)[1].queries[0].path)
    for image, options, words in (
        (letter, {}, "letter.jpg"),
        (query, {"k": 0}, "from 1 to 20"),
        (query, {"database": "Atlantis"}, "Atlantis"),
        (query, {"east": 3.0}, "both easting and northing"),
    ):
        with pytest.raises(Exception, match=words):
            client.predict(image=handle_file(str(image)), api_name="/find", **options)


def test_usage_errors_keep_their_type_outside_the_page(services):
    with pytest.raises(UsageError):
        services.find(standin.noise_photo(), batch_mates=-1)
