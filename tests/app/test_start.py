"""How the page starts: locked where others reach it, shared only when asked, whatever the machine is doing."""

from __future__ import annotations

from types import SimpleNamespace

import gradio as gr
import pytest
import standin
from wire import served

from app import environment, start
from app.build import build_app
from app.page import is_loopback
from app.tabs.models_and_data.service import Sources
from app.tabs.my_places.service import MyPlaces
from scicevpr.errors import UsageError

VARIABLES = ("SPACE_ID", "GRADIO_SERVER_NAME", "GRADIO_SHARE")


@pytest.fixture
def plain(monkeypatch):
    """No variable that says where the page is served."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return standin.city_services(standin.write_city(tmp_path_factory.mktemp("small") / "city", places=3))


@pytest.mark.parametrize(
    ("arguments", "variables", "locked"),
    [
        ([], {}, False),
        (["--host", "127.0.0.1"], {}, False),
        (["--host", "::1"], {}, False),
        (["--host", "localhost"], {"GRADIO_SERVER_NAME": "0.0.0.0"}, False),
        ([], {"GRADIO_SERVER_NAME": "127.0.0.1"}, False),
        ([], {"GRADIO_SHARE": "False"}, False),
        (["--lock"], {}, True),
        (["--host", "0.0.0.0"], {}, True),
        (["--host", "192.168.1.5"], {}, True),
        (["--host", "studio.lab"], {}, True),
        ([], {"GRADIO_SERVER_NAME": "0.0.0.0"}, True),
        ([], {"GRADIO_SERVER_NAME": "::"}, True),
        ([], {"GRADIO_SHARE": "True"}, True),
        (["--host", "127.0.0.1"], {"GRADIO_SHARE": "true"}, True),
        (["--share"], {}, True),
        ([], {"SPACE_ID": "owner/name"}, True),
    ],
)
def test_the_lock_follows_the_address_that_is_served(plain, small, arguments, variables, locked):
    for name, value in variables.items():
        plain.setenv(name, value)
    assert start.make_sources(start.read_arguments(arguments), small).locked is locked


@pytest.mark.parametrize(
    ("options", "variables", "locked"),
    [
        ({}, {}, False),
        ({"server_name": "0.0.0.0"}, {}, True),
        ({"share": True}, {}, True),
        ({}, {"GRADIO_SERVER_NAME": "0.0.0.0"}, True),
        ({}, {"GRADIO_SHARE": "true"}, True),
    ],
)
def test_a_page_launched_by_hand_is_locked_as_well(plain, small, options, variables, locked):
    """As from a notebook: nobody asked the command line."""
    for name, value in variables.items():
        plain.setenv(name, value)
    given = {}
    plain.setattr(gr.Blocks, "launch", lambda self, *values, **named: given.update(named))
    sources, mine = Sources(small, standin.load_recorded), MyPlaces(small, may_read_folders=True)
    build_app(small, sources, mine).launch(**options)
    assert (sources.locked, mine.may_read_folders) == (locked, not locked)
    assert given["share"] is (options.get("share") or variables.get("GRADIO_SHARE") == "true")
    assert given["num_workers"] == 0
    if locked:
        with pytest.raises(UsageError, match="shared"):
            sources.load_weights("third", "scicevpr-t")


def test_loopback_is_what_only_this_machine_reaches():
    assert all(map(is_loopback, (None, "127.0.0.1", "127.8.8.8", "localhost", "LOCALHOST", "::1", "[::1]")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "192.168.1.5", "studio.lab", "localhost.evil.lab", "127.1")))


def test_the_page_starts_when_its_own_check_comes_too_late(plain, small):
    plain.setattr("gradio.networking.url_ok", lambda url: False)  # what it says on a busy machine
    with served(build_app(small), small) as wire:
        assert wire.request("GET", "/")[0] == 200


def test_models_warm_up_once_the_page_answers_and_a_slow_server_is_given_more_tries(plain, small):
    told = []

    def launch(**options):
        told.append(("launch", options["share"], options["prevent_thread_lock"]))
        if len(told) < 3:
            raise OSError("Cannot find empty port in range: 7860-7860.")

    services = SimpleNamespace(warm_up=lambda: told.append("warm up"))
    start.serve(SimpleNamespace(launch=launch), services, start.read_arguments(["--port", "7860"]))
    assert told == [("launch", False, True)] * 3 + ["warm up"]
    never = SimpleNamespace(launch=lambda **_: (_ for _ in ()).throw(OSError("no port")))
    with pytest.raises(OSError, match="no port"):
        start.serve(never, services, start.read_arguments([]))


def test_code_of_others_is_named_at_the_start(plain, small):
    options = start.read_arguments(
        ["--third", "python:some.module:model", "--trust-remote-code", "python:some.module:model"]
    )
    services = start.make_services(options)
    assert services.slots._first["third"][1].keywords["trust"] is True
    other = start.make_services(start.read_arguments(["--third", "megaloc", "--trust-remote-code", "salad"]))
    assert other.slots._first["third"][1].keywords["trust"] is False
    assert start.make_sources(options, services).trusted == ("python:some.module:model",)
    with pytest.raises(SystemExit):
        start.read_arguments(["--trust-remote-code"])  # everything at once is not to be had


def test_uploads_have_a_folder_of_their_own_and_those_of_killed_programs_go(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    monkeypatch.setenv("GRADIO_EXAMPLES_CACHE", "")
    monkeypatch.setattr(environment.atexit, "register", lambda *_, **__: None)
    (tmp_path / f"{environment.PREFIX}999999999-left").mkdir()  # no system gives this number
    alive = tmp_path / f"{environment.PREFIX}{environment.os.getpid()}-other"
    alive.mkdir()
    (tmp_path / "another program").mkdir()
    folder = environment.prepare()
    assert environment.os.environ["GRADIO_TEMP_DIR"] == str(folder)
    assert {path.name for path in tmp_path.iterdir()} == {folder.name, alive.name, "another program"}
