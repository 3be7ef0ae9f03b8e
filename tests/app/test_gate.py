"""Who may ask the server for what: names, foreign pages, closed routes, questions of the wrong form; MCP included."""

from __future__ import annotations

import base64
import io
import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import attacks
import gradio as gr
import pytest
import standin
from gradio.utils import get_upload_folder
from wire import finished, served

from app.build import build_app
from app.core.incoming import REFUSED
from app.core.limits import REQUEST_BYTES, UPLOAD_BYTES
from app.core.upload_cache import UploadCache
from app.gate import Refusal, Rules, _json, host_name
from app.start import mcp_is_here
from app.tabs.models_and_data.service import Sources
from scicevpr.errors import UsageError

BY_PHOTO = ("find", "explain", "batch_mates", "worst_batch", "figure")


@pytest.fixture(scope="module")
def studio(tmp_path_factory):
    """A local, unlocked page over three places, with MCP where it is installed."""
    services = standin.city_services(standin.write_city(tmp_path_factory.mktemp("small") / "city", places=3))
    loads = []

    def load(source, **options):
        loads.append((source, options))
        return standin.recorded(source)

    sources = Sources(services, load)
    with served(build_app(services, sources), services, mcp_server=mcp_is_here()) as found:
        yield SimpleNamespace(wire=found, services=services, sources=sources, loads=loads)


def png() -> bytes:
    file = io.BytesIO()
    standin.noise_photo().save(file, "PNG")
    return file.getvalue()


def test_a_strange_name_is_not_answered_whatever_is_asked(studio):
    wire = studio.wire
    for method, path, body in (
        ("GET", "/", None),
        ("GET", "/config", None),
        ("POST", "/gradio_api/call/v2/models", {}),
        ("POST", "/gradio_api/queue/join", {"fn_index": 0, "data": [], "session_hash": "x"}),
        ("GET", "/gradio_api/mcp/schema", None),
        ("POST", "/gradio_api/mcp/", {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}),
        ("GET", "/gradio_api/mcp/sse", None),
    ):
        status, answer = wire.request(method, path, body, Host="rebound.example:7860", Accept="application/json")
        assert (status, b"--allow-host" in answer) == (421, True), path
    for host in ("localhost:7860", "127.0.0.1", "[::1]:7860", "studio.localhost"):
        assert wire.request("GET", "/", Host=host)[0] == 200, host
    for host in ("[::1].evil.example", "[::1", "localhost:evil.example", "localhost:1:2", "me@localhost", "", "a b"):
        assert wire.request("GET", "/", Host=host)[0] == 421, host


def test_a_foreign_page_may_neither_ask_nor_upload(studio):
    wire = studio.wire
    for origin in ("http://evil.example", "http://localhost:1", "null", "file://"):
        assert wire.request("POST", "/gradio_api/call/v2/models", {}, Origin=origin)[0] == 403, origin
        assert wire.request_form(b"x", "x.png", Origin=origin)[0] == 403, origin
        assert wire.request("POST", "/gradio_api/mcp/", {}, Origin=origin)[0] == 403, origin
        for path in ("/", "/config", "/gradio_api/info", "/gradio_api/mcp/schema", "/gradio_api/queue/data"):
            assert wire.request("GET", path, Origin=origin)[0] == 403, (origin, path)  # gradio would let it be read
    assert wire.request("POST", "/gradio_api/call/v2/models", {}, Sec_Fetch_Site="cross-site")[0] == 403
    own = {"Origin": f"http://{wire.host}"}
    assert wire.request("POST", "/gradio_api/call/v2/models", {}, **own)[0] == 200
    assert wire.request_form(png(), "x.png", **own)[0] == 200


def test_names_come_from_options_and_the_environment(monkeypatch):
    monkeypatch.setenv("SCICEVPR_ALLOWED_HOSTS", "studio.lab, other.lab")
    rules = Rules(SimpleNamespace(share_url=None))
    rules.allow("Third.lab")
    assert all(map(rules.knows, ("studio.lab:80", "OTHER.lab", "third.lab", "127.0.0.9", "localhost")))
    assert not any(map(rules.knows, ("evil.lab", "", "192.168.1.5", "studio.lab.evil.lab", "127.0.0.1.evil.lab")))
    rules.shared = True  # a page served to the network is asked under addresses of this machine
    assert rules.knows("192.168.1.5:7860")
    assert not rules.knows("evil.lab")
    assert rules.same_page("https://studio.lab", "studio.lab")
    assert rules.same_page("https://studio.lab:8443", "studio.lab")  # a proxy that leaves the port out
    for origin in ("http://127.0.0.1:99", "http://evil.lab", "http://studio.lab@evil.lab", "studio.lab", "null", ""):
        assert not rules.same_page(origin, "127.0.0.1:7860"), origin
    assert host_name("[::1]:80") == "::1"
    shared = Rules(SimpleNamespace(share_url="https://abc.gradio.live"))
    assert shared.knows("abc.gradio.live")


def test_what_a_stranger_says_about_the_address_is_not_repeated(studio):
    wire, host = studio.wire, studio.wire.host.encode()
    for path in ("/", "/config", "/gradio_api/info", "/gradio_api/mcp/"):
        told = wire.request(
            "GET", path, Accept="text/html", X_Forwarded_Host="evil.example", X_Forwarded_Proto="javascript",
            X_Gradio_Server="http://evil.example",
        )  # fmt: skip
        assert told == wire.request("GET", path, Accept="text/html"), path
    mine = wire.request("GET", "/config", X_Forwarded_Host="localhost", X_Forwarded_Proto="https")[1]
    assert b'"https://localhost"' in mine
    assert host not in mine


def test_parts_of_a_file_are_never_an_error(studio):
    mine = studio.wire.upload(png())
    for parts in (",".join(f"{at}-{at}" for at in range(3000)), "0-1-2", "5-2", "²-³", "99999999-", "x", "0-0"):
        status, content = studio.wire.request("GET", f"/gradio_api/file={mine}", Range=f"bytes={parts}")
        assert (status, content) == (200, png()), parts[:20]


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/proxy=http://127.0.0.1:1/", "/gradio_api/file=http://127.0.0.1:1/x", "/monitoring",
        "/gradio_api/deep_link?session_hash=x", "/gradio_api/dev/reload", "/gradio_api/file=/etc/hostname", "/docs",
        "/gradio_api/file=%2Fetc%2Fhostname", "/gradio_api/file=https%3A%2F%2Fexample.org",
    ],
)  # fmt: skip
def test_closed_routes(studio, path):
    assert studio.wire.request("GET", path)[0] in (403, 404)


def test_posts_that_nobody_needs_are_closed(studio):
    for path in ("process_recording", "component_server", "vibe-edit", "run-history/connect"):
        assert studio.wire.request("POST", f"/gradio_api/{path}", {})[0] == 404, path


def test_the_training_package_can_be_read_without_a_path(studio):
    status, text = studio.wire.request("GET", "/studio/training")
    assert status == 200
    assert b"training" in text
    assert b"file=" not in studio.wire.request("GET", "/config")[1].partition(b"masthead")[2][:2000]


def test_questions_of_the_wrong_form_get_a_sentence(studio):
    wire = studio.wire
    mine = wire.upload(png())
    for name, arguments, words in (
        ("find", {"photo": "x"}, "find has no argument 'photo'. It takes: image, database, k"),
        ("photo", {}, "photo needs the argument 'name'"),
        ("nothing", {}, "There is no endpoint 'nothing'. There are: architecture"),
        ("find", [1], "A question is a JSON object, not a list"),
        ("benchmark", {"database": {"a": 1}}, "A database is named by text, not by dict"),
        ("benchmark", {"model": ["stable"]}, "The model must be a text, not list"),
        ("compare", {"a": {"x": 1}}, "must be a text, not dict"),
        ("queries", {"limit": {"x": 1}}, "The limit must be a whole number"),
        ("stability", {"sizes": {"x": 1}}, "must be a text, not dict"),
        ("stability", {"sizes": "1,x"}, "must be a whole number"),
        ("architecture", {"family": {"x": 1}}, "There is no model family"),
        ("figure", {"figure": {"x": 1}}, "must be a text, not dict"),
        ("figure", {"figure": "strip", "image": 5}, "is of another kind than its field"),
        ("find", {"query": {"x": 1}}, "must be a text, not dict"),
        ("find", {"image": {"path": 5}}, "not one that was uploaded here"),
        ("photo", {"name": ["x"]}, "must be a text, not list"),
        ("load_weights", {"role": {"a": 1}, "source": "x"}, "must be a text, not dict"),
        ("distill_demo", {"gamma": {"a": 1}}, "must be a number from 0 to 10"),
        ("batch_mates", {"batch_mates": {"x": 1}, "query": "q"}, "not among the queries"),
        ("find", {"k": 10**400}, "no photo yet"),
        ("find", {"image": {"path": mine}, "k": "9" * 5000}, "must be a whole number"),
    ):
        answer = wire.ask(name, arguments)
        assert words in json.dumps(answer).replace('\\\\\\"', '"').replace("&#x27;", "'"), (name, arguments, answer)
        assert "/work" not in answer
        assert "/tmp" not in answer
    for path, body, status in (
        ("call/find", {"data": "x"}, 422),
        ("call/nothing", {"data": []}, 404),
        ("queue/join", {"fn_index": 10**6, "data": [], "session_hash": "x"}, 404),
        ("queue/join", {"fn_index": "0", "data": [], "session_hash": "x"}, 404),
        ("queue/join", {"fn_index": 0, "data": [], "session_hash": {"a": 1}}, 422),
        ("run/find", {"data": {}}, 422),
        ("call/v2/models", b"{no json", 400),
        ("call/v2/models", b"[" * 100_000, 422),
        ("call/v2/models", b'{"a":' * 60 + b"1" + b"}" * 60, 422),
    ):
        got, answer = wire.request("POST", f"/gradio_api/{path}", body, Content_Type="application/json")
        assert (got, list(json.loads(answer))) == (status, ["detail", "error"]), (path, body)


def test_halves_of_characters_are_refused_everywhere_in_words(studio):
    wire, half = studio.wire, "a\ud83d"
    mine = {"path": wire.upload(png()), "orig_name": f"{half}.png", "meta": {"_type": "gradio.FileData"}}
    for name, arguments in (
        ("find", {"image": mine}), ("find", {"query": half}), ("photo", {"name": half}),
        ("open_pack", {"source": half}), ("benchmark", {"database": half}),
        ("figure", {"figure": "recall", "results": [{half: 1}]}),
    ):  # fmt: skip
        assert "half of a character" in wire.ask(name, arguments), name


def test_too_few_values_and_too_much_of_anything(studio):
    wire, find = studio.wire, next(fn for fn in studio.wire.page.fns.values() if fn.api_name == "find")
    assert f"{len(find.inputs)} values, and 1 were sent" in wire.trigger(find._id, [None])
    for stated, path in ((REQUEST_BYTES + 1, "call/v2/models"), (UPLOAD_BYTES + 2_000_000, "upload")):
        headers = {"Content_Length": str(stated), "Content_Type": "application/json"}
        assert wire.request("POST", f"/gradio_api/{path}", None, **headers)[0] == 413


def test_no_endpoint_and_no_tool_reads_a_path(studio, tmp_path):
    secrets, wire = attacks.write_secrets(tmp_path), studio.wire
    (tmp_path / "empty.png").touch()
    figure = {"figure": "strip", "models": ["stable"]}
    for name in BY_PHOTO:
        more = figure if name == "figure" else {}
        answers = set()
        for path in (secrets.photo, secrets.text, tmp_path, tmp_path / "absent.png", tmp_path / "empty.png"):
            for payload in ({"path": str(path)}, {"path": str(path), "meta": {"_type": "gradio.FileData"}}):
                answers.add(wire.ask(name, {"image": payload, **more}))
        assert len(answers) == 1, name
        assert REFUSED in answers.pop()
    mine = wire.upload(png())
    assert "SciceVPR-T" in wire.ask("find", {"image": {"path": mine}, "k": 1})
    uri = "data:image/png;base64," + base64.b64encode(png()).decode()
    assert "SciceVPR-T" in wire.ask("find", {"image": {"path": None, "url": uri}, "k": 1})
    assert attacks.MARK.encode() not in b"".join(file.read_bytes() for file in attacks.cached())


def test_code_of_others_is_run_for_sources_named_at_the_start_only(studio):
    wire, sources = studio.wire, studio.sources
    for source in (
        "python:subprocess:getoutput?cmd=id", "python:os:getcwd", "hub:/tmp:entry", "hub:./x:entry", "hub:~/x:entry",
        "megaloc", "MegaLoc?x=1", "hub:owner/repo:entry", "hub:tests/app:entry",
    ):  # fmt: skip
        answer = wire.ask("load_weights", {"role": "third", "source": source, "trust": True})
        assert "--trust-remote-code" in answer, (source, answer)
    sources.trusted = ("megaloc", "python:os:getcwd", "hub:/tmp:entry")
    try:
        other = {"role": "third", "source": "megaloc?x=1", "trust": True}
        assert "--trust-remote-code" in wire.ask("load_weights", other)
        for local in ("python:os:getcwd", "hub:/tmp:entry"):
            with pytest.raises(UsageError, match="is not run from here"):
                sources.load_weights("third", local, trust=True)
        assert studio.loads == []
        with pytest.raises(Exception, match="megaloc"):
            sources.load_weights("third", "megaloc", trust=True)  # the stand-in loader knows no such name
        assert studio.loads == [("megaloc", {"variant": None, "trust": True, "progress": None})]
    finally:
        sources.trusted = ()
        studio.loads.clear()


def test_mcp_tools_are_behind_the_same_gate(studio, tmp_path):
    pytest.importorskip("mcp", reason="gradio[mcp] is not installed (pip install 'gradio[mcp]')")
    secrets, wire = attacks.write_secrets(tmp_path), studio.wire

    def tool(name: str, arguments: dict) -> str:
        content = {
            "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": name, "arguments": arguments},
        }  # fmt: skip
        accept = {"Accept": "application/json, text/event-stream"}
        return wire.request("POST", "/gradio_api/mcp/", content, **accept)[1].decode()

    python = {"role": "third", "source": "python:subprocess:getoutput?cmd=id", "variant": "", "trust": True}
    assert "is not run from here" in tool("load_weights", python)
    assert studio.loads == []
    for image in (str(secrets.photo), f"file://{secrets.photo}", {"path": str(secrets.photo)}):
        answer = tool("find", {"image": image, "k": 1})
        assert '"isError":true' in answer, answer
    assert attacks.MARK.encode() not in b"".join(file.read_bytes() for file in attacks.cached())
    uri = "data:image/png;base64," + base64.b64encode(png()).decode()
    assert "SciceVPR-T" in tool("find", {"image": uri, "k": 1})


def test_errors_of_gradios_own_hold_no_paths(studio, caplog):
    page = studio.wire.page
    broken = page.process_api(next(iter(page.fns)), None)  # no values at all: gradio fails before any handler
    with pytest.raises(gr.Error, match="went wrong on our side"):
        finished(broken)
    assert "unexpected error" in caplog.text
    absent = str(Path(get_upload_folder()) / "absent" / "x.png")  # allowed to be asked for, and not there
    for payload in ({"path": absent}, {"path": absent, "meta": {"_type": "gradio.FileData"}}):
        answer = studio.wire.ask("find", {"image": payload})
        assert REFUSED in answer
        assert absent not in answer


def test_forty_visitors_with_photos_of_their_own_leave_the_disk_within_its_limit(studio, tmp_path, monkeypatch):
    wire, now = studio.wire, [time.time()]
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))  # where this limit is measured; the server writes elsewhere
    cache = UploadCache(list, most=400_000, now=lambda: now[0])
    monkeypatch.setattr(wire.page.rules, "has_room", cache.has_room)
    monkeypatch.setattr(wire.page.app, "uploaded_file_dir", str(tmp_path))

    def visit(number: int) -> int:
        return wire.request_form(number.to_bytes(2, "big") * 10_000, f"{number}.png")[0]

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(visit, range(40)))
    assert set(answers) == {200, 507}
    assert sum(file.stat().st_size for file in tmp_path.rglob("*.png")) <= 8 * 20_000 + 400_000
    now[0] += 600  # the first ones have gone, and others are welcome
    assert visit(41) == 200
    assert sum(file.stat().st_size for file in tmp_path.rglob("*.png")) <= 400_000


def test_a_text_that_never_ends_and_other_encodings_are_read_in_one_pass():
    """Quadratic time would hold up everybody for hours with a text of this length."""
    for end in (b"", b"\\", b"\\\n"):
        with pytest.raises(Refusal, match="must be JSON"):
            _json(b'"' + b'\\"' * 300_000 + end)
    nested = '{"data":["\u2200",' + "[" * 700 + "]" * 700 + ',"\u2200"]}'
    for encoding in ("utf-16-le", "utf-16", "utf-32"):
        with pytest.raises(Refusal):
            _json(nested.encode(encoding))
    assert _json('{"a": ["\\"[", "ü"]}'.encode()) == {"a": ['"[', "ü"]}
