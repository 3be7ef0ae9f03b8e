"""`scicevpr weights`: list, get, info, push."""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path

import pytest
from stand_in_server import StandIn

from scicevpr.cli import weights
from scicevpr.errors import UsageError, WeightsError


def _run(*arguments: object) -> int:
    parser = argparse.ArgumentParser(prog="scicevpr")
    weights.add_parser(parser.add_subparsers(dest="command", required=True))
    chosen = parser.parse_args(["weights", *map(str, arguments)])
    return chosen.run(chosen)


@pytest.fixture
def server(server: StandIn, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    monkeypatch.setenv("HF_TOKEN", "hf_test")
    return server


def test_list_shows_all_sources_and_says_that_none_is_official(server: StandIn, capsys, monkeypatch) -> None:
    monkeypatch.setenv("SCICEVPR_WEIGHTS", "scicevpr-b=org/name")
    assert _run("list") == 0
    shown = capsys.readouterr().out
    for words in ("scicevpr-t", "dinov2-l:original", "cricavpr-b", "Apache-2.0", "No official weights of SciceVPR"):
        assert words in shown
    assert "SCICEVPR_WEIGHTS: scicevpr-b takes org/name" in shown
    assert server.requests == []


def test_get_downloads_checks_and_prints_the_path(server: StandIn, own_file: Path, capsys) -> None:
    content = own_file.read_bytes()
    sha = hashlib.sha256(content).hexdigest()
    server.add_file("/best.safetensors", content)
    assert _run("get", f"{server.url}/best.safetensors#sha256={sha}", "--variant", "scicevpr-t") == 0
    path, size, *facts, fits = capsys.readouterr().out.splitlines()
    assert Path(path).read_bytes() == content
    assert sha in size
    assert "trained_on: nothing (test)" in facts
    assert fits == "It fits scicevpr-t."
    with pytest.raises(WeightsError, match="made for scicevpr-t, not cricavpr-t"):
        _run("get", f"{server.url}/best.safetensors", "--variant", "cricavpr-t")
    with pytest.raises(WeightsError, match="local_files_only is set"):
        _run("get", "org/name", "--local-files-only")


def test_get_says_that_there_is_nothing_to_get(server: StandIn) -> None:
    with pytest.raises(WeightsError, match=r"nothing to get for scicevpr-b: no official weights are published"):
        _run("get", "SciceVPR-B")


def test_info_downloads_nothing(server: StandIn, own_file: Path, capsys) -> None:
    assert _run("info", "dinov2-b") == 0
    shown = capsys.readouterr().out
    assert "dinov2-b:facebook" in shown
    assert "Get it with: scicevpr weights get dinov2-b" in shown
    assert _run("info", own_file) == 0
    assert "this project's format" in capsys.readouterr().out
    assert server.requests == []


def test_push_uploads_a_file_with_its_card(server: StandIn, own_file: Path, tmp_path: Path, capsys) -> None:
    results = tmp_path / "results.json"
    results.write_text(json.dumps({"results": []}))
    assert _run("push", own_file, "org/name", "--private", "--licence", "mit", "--results", results) == 0
    assert f"{server.url}/org/name/commit/" in capsys.readouterr().out
    card = server.files["/org/name/resolve/main/README.md"].content.decode()
    assert "license: mit" in card
    assert "NOT trained" in card
    results.write_text("[]")
    with pytest.raises(UsageError, match="holds no results"):
        _run("push", own_file, "org/name", "--results", results)
