"""The endpoints as MCP tools: described, and called with the protocol's own client; and the page without them."""

from __future__ import annotations

import base64
import json
import logging
import sys
import urllib.request
from pathlib import Path

import pytest
from wire import Served, finished, served

from app import start
from app.build import build_app
from app.core.incoming import REFUSED

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "unit"))

from small_results import result


def test_without_the_package_the_log_says_so(monkeypatch, caplog):
    monkeypatch.setattr(start, "find_spec", lambda name: None)
    with caplog.at_level(logging.INFO):
        assert start.mcp_is_here() is False
    assert "pip install 'gradio[mcp]'" in caplog.text


@pytest.fixture(scope="module")
def server(services):
    pytest.importorskip("mcp", reason="gradio[mcp] is not installed (pip install 'gradio[mcp]')")
    with served(build_app(services), services, mcp_server=start.mcp_is_here()) as found:
        yield found.page, found.url


def test_every_endpoint_is_a_described_tool(server):
    page, url = server
    with urllib.request.urlopen(f"{url}gradio_api/mcp/schema") as answer:
        listed = {tool["name"]: tool for tool in json.load(answer)}
    assert set(listed) == {name[1:] for name in page.get_api_info()["named_endpoints"]}
    for name, tool in listed.items():
        assert "Returns:" in tool["description"], name
        unsaid = [key for key, value in tool["inputSchema"]["properties"].items() if not value.get("description")]
        assert not unsaid, (name, unsaid)
    assert listed["photo"]["inputSchema"]["required"] == ["name"]


def test_results_reach_the_figure_tool(server):
    """What gradio says of a list of files holds references that lead nowhere within a tool's schema."""
    wire = Served(*server)

    def called(results: list) -> str:
        params = {"name": "figure", "arguments": {"figure": "recall", "results": results}}
        question = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
        accept = {"Accept": "application/json, text/event-stream"}
        return wire.request("POST", "/gradio_api/mcp/", question, **accept)[1].decode()

    assert b"$ref" not in wire.request("GET", "/gradio_api/mcp/schema")[1]
    results = json.dumps({"results": [result({0}, "Model").to_json()]}).encode()
    uri = "data:application/json;base64," + base64.b64encode(results).decode()
    assert "recall.pdf" in called([uri])
    for wrong, words in (([uri[:-9] + "?"], "damaged"), ([{"path": "/etc/hostname"}], REFUSED), (["x"], "without any")):
        assert words in called(wrong)


def test_tools_answer_and_errors_arrive_in_words(server, services):
    from mcp import ClientSession
    from mcp.client.streamable_http import streamablehttp_client

    query = services.dataset(None)[1].queries[6]
    photo = "data:image/jpeg;base64," + base64.b64encode(query.path.read_bytes()).decode()

    async def talk() -> list:
        async with (
            streamablehttp_client(f"{server[1]}gradio_api/mcp/") as (read, write, _),
            ClientSession(read, write) as session,
        ):
            await session.initialize()
            return [
                await session.call_tool("databases", {}),
                await session.call_tool("find", {"image": photo, "k": 2, "batch_mates": 2}),
                await session.call_tool("find", {"image": photo, "k": 99}),
                await session.call_tool("photo", {"name": query.name}),
                await session.call_tool("find", {"query": query.name, "k": 1}),
                await session.call_tool("find", {"query": "<b>nobody's</b>"}),
            ]

    databases, found, refused, picture, named, unknown = finished(talk())
    assert named.structuredContent["query"]["photo"] == query.name
    assert databases.structuredContent["result"][0]["name"] == "Tiny city"
    assert not found.isError
    assert json.loads(found.content[0].text) == found.structuredContent
    answers = found.structuredContent["answers"]
    assert [(answer["model"], len(answer["matches"])) for answer in answers] == [("SciceVPR-T", 2), ("CricaVPR-T", 2)]
    assert refused.isError
    assert "from 1 to 20" in refused.content[0].text
    assert unknown.isError
    assert "'<b>nobody's</b>'" in unknown.content[0].text or '"<b>nobody\'s</b>"' in unknown.content[0].text
    assert not picture.isError
    assert {part.type for part in picture.content} == {"image", "text"} or "file=" in picture.content[0].text


CHEAP = {
    "databases": {}, "models": {}, "batch_mates": {"query": 2, "batch_mates": "5,9"}, "explain": {"query": 2},
    "worst_batch": {"query": 2, "size": 2}, "stability": {"sizes": "1,2", "shuffles": 1},
    "benchmark": {"grouping": "alone"}, "compare": {"grouping": "alone"}, "queries": {"grouping": "alone", "limit": 2},
}  # fmt: skip
"""Questions that the tiny city answers within seconds; a number stands for a query's row."""


@pytest.mark.slow
def test_every_tool_answers_with_json(server, services):
    from mcp import ClientSession
    from mcp.client.streamable_http import streamablehttp_client

    queries = services.dataset(None)[1].queries

    async def talk() -> dict:
        async with (
            streamablehttp_client(f"{server[1]}gradio_api/mcp/") as (read, write, _),
            ClientSession(read, write) as session,
        ):
            await session.initialize()
            asked = {
                name: arguments | ({"query": queries[arguments["query"]].name} if "query" in arguments else {})
                for name, arguments in CHEAP.items()
            }
            return {name: await session.call_tool(name, arguments) for name, arguments in asked.items()}

    for name, answer in finished(talk()).items():
        assert not answer.isError, (name, answer.content)
        value = json.loads(answer.content[0].text)
        assert answer.structuredContent == (value if isinstance(value, dict) else {"result": value}), name
        assert isinstance(value, (dict, list)), name
