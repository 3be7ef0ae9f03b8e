"""docs/api.md against the endpoints that exist, and its first example against a running server."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from wire import served

from app.build import build_app

PAGE = Path(__file__).resolve().parents[2] / "docs" / "api.md"
TAKEN_TO_MEAN_NOTHING = ("required", "null", "first database", "empty")


@pytest.fixture(scope="module")
def page(services):
    return build_app(services)


@pytest.fixture(scope="module")
def endpoints(page):
    return page.get_api_info()["named_endpoints"]


def sections() -> dict[str, str]:
    parts = re.split(r"^## (/\w+)$", PAGE.read_text(encoding="utf-8"), flags=re.M)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def parameters(section: str) -> list[tuple[str, str]]:
    return re.findall(r"^\| `(\w+)` \| (.+?) \| .+ \|$", section, flags=re.M)


def test_the_page_names_exactly_the_endpoints(endpoints):
    assert set(sections()) == set(endpoints)
    listed = re.findall(r"^\| \[`(/\w+)`\]", PAGE.read_text(encoding="utf-8"), flags=re.M)
    assert listed == list(sections())


def test_every_parameter_is_there_with_its_default(endpoints):
    for name, section in sections().items():
        told = dict(parameters(section))
        real = endpoints[name]["parameters"]
        assert list(told) == [parameter["parameter_name"] for parameter in real], name
        for parameter in real:
            words, default = told[parameter["parameter_name"]], parameter["parameter_default"]
            if words.startswith("required"):
                assert not parameter["parameter_has_default"] or default == "", (name, words)
            elif not words.startswith(TAKEN_TO_MEAN_NOTHING):
                written = words.strip("`").replace('"', "'")
                assert written.lower() == str(default).lower(), (name, parameter["parameter_name"])
            else:
                assert default in (None, "") or words == "first database", (name, parameter["parameter_name"])


def test_every_endpoint_describes_itself_and_every_parameter(page, endpoints):
    from gradio.utils import get_function_description

    handlers = {f"/{fn.api_name}": fn.fn for fn in page.fns.values() if fn.api_visibility == "public"}
    for name, info in endpoints.items():
        description, told, returns = get_function_description(handlers[name])
        assert description
        assert returns, name
        missing = [p["parameter_name"] for p in info["parameters"] if not told.get(p["parameter_name"])]
        assert not missing, (name, missing)
        assert handlers[name].__name__ == name[1:], "an MCP tool has the name of its function"


def test_no_parameter_says_it_takes_less_than_the_endpoint_does(endpoints):
    for name, info in endpoints.items():
        for parameter in info["parameters"]:
            allowed = parameter["type"].get("enum", ())
            assert all(isinstance(value, str) for value in allowed), (name, parameter["parameter_name"])
            assert parameter["parameter_name"] != "database" or not allowed, name


def test_every_endpoint_has_an_example_in_both_languages():
    for name, section in sections().items():
        assert f'api_name="{name}"' in section, name
        assert f"call {name[1:]} " in section, name


@pytest.mark.slow
def test_the_example_of_find_runs(page, services, tmp_path, monkeypatch, capsys):
    query = services.dataset(None)[1].queries[6]
    shutil.copy(query.path, tmp_path / "query.jpg")
    monkeypatch.chdir(tmp_path)
    with served(page, services) as found:
        text = PAGE.read_text(encoding="utf-8")
        first = re.search(r"```python\n(.*?)```", text, flags=re.S).group(1)
        example = re.search(r"```python\n(.*?)```", sections()["/find"], flags=re.S).group(1)
        exec(first.replace("http://127.0.0.1:7860", found.url) + example, {})
    lines = capsys.readouterr().out
    assert "SciceVPR-T" in lines
    assert "CricaVPR-T" in lines
    assert len(re.findall(r"^[123] @", lines, flags=re.M)) == 6
