"""No event of the page gives a file of the server away, whatever path it is asked with; and the test would notice."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import attacks
import gradio as gr
import pytest
import standin
from wire import finished

from app.build import build_app
from app.page import FILE_COMPONENTS, StudioPage, check_outgoing
from scicevpr.datasets import Photo
from scicevpr.errors import UsageError


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Services over three places: every event can be called in a step."""
    return standin.city_services(standin.write_city(tmp_path_factory.mktemp("small") / "city", places=3))


@pytest.fixture
def secrets(tmp_path):
    return attacks.write_secrets(tmp_path / "secrets")


def launched(page: gr.Blocks) -> gr.Blocks:
    """The page as if it was served: gradio checks files from then on only."""
    page.has_launched, page.allowed_paths, page.blocked_paths = True, [], []
    page.config = page.get_config_file()
    return page


def test_no_event_gives_a_foreign_file_away(small, secrets):
    page = launched(build_app(small))
    page.guarded = False  # the handlers have to hold by themselves
    upload = standin.upload(standin.noise_photo(), "mine.png")
    found, called = attacks.leaks(page, secrets, upload, (*attacks.WORDS, "Tiny city"))
    assert found == []
    assert called == sum(fn.fn is not None for fn in page.fns.values()) > 100


def picture(path: str) -> str:
    return f"data:image/png;base64,{base64.b64encode(Path(path).read_bytes()).decode()}"


PLANTS = {
    "a text becomes a picture": (lambda text: text, gr.Textbox, gr.Image),
    "a text becomes a download": (lambda text: gr.update(value=text), gr.Textbox, gr.DownloadButton),
    "a photo's path is believed": (lambda photo: picture(photo["path"]), gr.Image, gr.HTML),
}


@pytest.mark.parametrize("plant", PLANTS)
def test_a_planted_handler_that_trusts_a_path_is_found(plant, secrets):
    handler, asked, answered = PLANTS[plant]
    with gr.Blocks() as page:
        gr.Button().click(handler, asked(), answered(), preprocess=False)
    found, called = attacks.leaks(launched(page), secrets, standin.upload(standin.noise_photo(), "mine.png"))
    assert called == 1
    assert found


def test_a_handler_of_the_page_that_trusts_a_path_is_found(small, secrets, monkeypatch):
    """The test of every event turns red when the one place that decides about paths lets all through."""
    monkeypatch.setattr("app.core.incoming._allowed", lambda text, databases: Path(text))
    page = launched(build_app(small))
    page.guarded = False
    page.config["dependencies"] = [entry for entry in page.config["dependencies"] if entry["api_name"] == "find"]
    found, called = attacks.leaks(page, secrets, standin.upload(standin.noise_photo(), "mine.png"), ("",))
    assert called == 1
    assert found


@pytest.mark.parametrize("plant", PLANTS)
def test_the_page_stops_even_such_a_handler(small, plant, secrets):
    handler, asked, answered = PLANTS[plant]
    with StudioPage(small.datasets) as page:
        gr.Button().click(handler, asked(), answered(), preprocess=False)
    found, _ = attacks.leaks(launched(page), secrets, standin.upload(standin.noise_photo(), "mine.png"))
    assert found == []


def test_every_component_that_gives_files_is_watched(small):
    page = build_app(small)
    for fn in page.fns.values():
        for block in fn.outputs:
            model = getattr(block, "data_model", None)
            gives = model is not None and '"path"' in json.dumps(model.model_json_schema())
            assert not gives or isinstance(block, FILE_COMPONENTS), type(block)
    with pytest.raises(ValueError, match="only files made by the server"):
        check_outgoing([("/etc/hostname", "caption")])
    check_outgoing(gr.update(visible=False))
    check_outgoing(small.outgoing.photo("Tiny city", small.dataset(None)[1].queries[0]))


def test_what_a_data_set_lists_leaves_only_if_it_is_a_photo(small, tmp_path):
    """A list of photos, or a link in a folder, may name any file of this machine."""
    secret = tmp_path / "secret.txt"
    secret.write_text("key")
    (tmp_path / "1.jpg").symlink_to(secret)
    for path in (secret, tmp_path / "1.jpg"):
        with pytest.raises(UsageError, match="is not a photo") as refused:
            small.outgoing.photo("Tiny city", Photo(path, path.name, None))
        assert str(tmp_path) not in str(refused.value)


def test_what_is_chosen_travels_as_database_and_row(small):
    """The buttons of the Benchmarks tab name a query, and its file is the server's own choice."""
    page = build_app(small)
    event = next(fn for fn in page.fns.values() if fn.name == "_opened")
    assert all(not isinstance(block, (gr.Image, gr.File)) for block in event.inputs)
    query = small.dataset(None)[1].queries[1]
    for tab in ("find", "inside"):
        data = finished(page.process_api(event, ["1", "Tiny city", tab, "stable", "0"]))["data"]
        (photo,) = [value for value in data if isinstance(value, dict) and value.get("path")]
        assert Path(photo["path"]).read_bytes() == query.path.read_bytes()
        assert photo["orig_name"] == query.name
    for row in ("-1", "99", str(query.path)):
        with pytest.raises(gr.Error, match="whole number from 0 to 2"):
            finished(page.process_api(event, [row, "Tiny city", "find", "stable", "0"]))
