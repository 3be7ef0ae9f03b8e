"""Weights from Hub repositories, against a local stand-in: cache, revisions, accidents, each with its own message."""

from __future__ import annotations

import hashlib
import socket
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub.constants
import huggingface_hub.file_download
import pytest
from stand_in_server import COMMIT, Served, StandIn, stand_in

from scicevpr.errors import WeightsError
from scicevpr.hub.download import fetch, find_cached
from scicevpr.hub.sources import HubFile, Source

CONTENT = bytes(range(256)) * 4096
SHA = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "hub"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No waiting between tries."""
    monkeypatch.setattr(huggingface_hub.file_download, "time", SimpleNamespace(sleep=lambda _: None))


def _half_written(cache: Path) -> list[str]:
    """Everything in the cache that is neither a whole blob, nor a link to one, nor bookkeeping."""
    strange = []
    for path in cache.rglob("*"):
        whole = path.is_file() and path.read_bytes() == CONTENT
        bookkeeping = path.name == "CACHEDIR.TAG" or path.suffix == ".lock" or {".no_exist", "refs"} & set(path.parts)
        if not (path.is_dir() or whole or bookkeeping):
            strange.append(str(path))
    return strange


def test_a_file_comes_into_the_hubs_own_cache(server: StandIn, cache: Path) -> None:
    server.add_hub_file("org/name", "model.safetensors", CONTENT)
    told = []
    path = fetch("org/name", progress=lambda done, total: told.append((done, total)))
    assert path == cache / "models--org--name" / "snapshots" / COMMIT / "model.safetensors"
    assert path.read_bytes() == CONTENT
    assert told[-1] == (len(CONTENT), len(CONTENT))
    assert find_cached("org/name") == path
    before = len(server.gets("/org/name/resolve/main/model.safetensors"))
    assert fetch("org/name") == path
    assert len(server.gets("/org/name/resolve/main/model.safetensors")) == before == 1


def test_revisions_and_files_are_named(server: StandIn) -> None:
    server.add_hub_file("org/name", "a/best.pth", CONTENT, revision="v2")
    assert fetch("hf:org/name@v2/a/best.pth").read_bytes() == CONTENT
    server.add_hub_error("/org/name/resolve/v3/model.safetensors", 404, "RevisionNotFound")
    with pytest.raises(WeightsError, match="org/name has no revision 'v3'"):
        fetch("org/name@v3")


def test_redirects_to_another_host_are_followed(server: StandIn) -> None:
    with stand_in() as cdn:
        cdn.add_file("/blob", CONTENT)
        headers = {"X-Linked-ETag": f'"{SHA}"', "X-Linked-Size": str(len(CONTENT)), "X-Repo-Commit": COMMIT}
        headers["Location"] = f"{cdn.url}/blob"
        server.files["/org/name/resolve/main/model.safetensors"] = Served(status=302, headers=headers)
        assert fetch("org/name").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        (404, "RepoNotFound", r"There is no repository org/name at http.*or it is private.*hf auth login"),
        (401, "", r"There is no repository org/name .*or it is private"),
        (404, "EntryNotFound", r"org/name has no file 'model\.safetensors'.*hf:org/name/FILE"),
        (403, "GatedRepo", r"org/name is gated: accept its terms on http.*/org/name\. .*hf auth login.*HF_TOKEN"),
        (403, "", r"The Hub refuses the token for org/name \(403\)"),
        (500, "", r"org/name is not on this computer, .*http.* answers 500; try again later"),
    ],
)
def test_what_the_hub_refuses(status: int, code: str, message: str, server: StandIn, cache: Path) -> None:
    server.add_hub_error("/org/name/resolve/main/model.safetensors", status, code)
    with pytest.raises(WeightsError, match=message):
        fetch("org/name")
    assert find_cached("org/name") is None
    assert _half_written(cache) == []


def test_a_wrong_token_is_told_from_a_missing_repository(server: StandIn) -> None:
    headers = {"X-Error-Message": "Invalid credentials in Authorization header"}
    server.files["/org/name/resolve/main/model.safetensors"] = Served(status=401, headers=headers)
    with pytest.raises(WeightsError, match=r"refuses the token for org/name \(401\)"):
        fetch("org/name", token="hf_wrong")


def test_a_web_page_instead_of_a_hub(server: StandIn, cache: Path) -> None:
    server.files["/org/name/resolve/main/model.safetensors"] = Served(b"<html>log in</html>")
    with pytest.raises(WeightsError, match=r"what answers at http.* is not a Hub .*check HF_ENDPOINT"):
        fetch("org/name")
    assert _half_written(cache) == []


def test_a_cut_connection_is_resumed(server: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "DOWNLOAD_CHUNK_SIZE", 100_000)
    server.add_hub_file("org/name", "model.safetensors", CONTENT, cuts=[300_000])
    assert fetch("org/name").read_bytes() == CONTENT
    assert server.gets("/org/name/resolve/main/model.safetensors") == [None, "bytes=300000-"]


@pytest.mark.parametrize("ranges", [True, False])
def test_a_connection_that_stays_cut_leaves_nothing(ranges: bool, server: StandIn, cache: Path) -> None:
    server.add_hub_file("org/name", "model.safetensors", CONTENT, cuts=[300_000] + [0] * 20, ranges=ranges)
    with pytest.raises(WeightsError, match=r"download of hf:org/name/model\.safetensors broke off.*Run the same again"):
        fetch("org/name")
    assert find_cached("org/name") is None
    assert _half_written(cache) == []


def test_a_wrong_checksum_deletes_the_file(server: StandIn, cache: Path) -> None:
    server.add_hub_file("org/name", "model.safetensors", CONTENT, sha256="0" * 64)
    with pytest.raises(WeightsError, match=rf"wrong checksum: the Hub states SHA-256 {'0' * 64}"):
        fetch("org/name")
    assert find_cached("org/name") is None
    assert not [path for path in cache.rglob("*") if path.is_file() and path.stat().st_size >= len(CONTENT)]
    server.add_hub_file("org/name", "model.safetensors", CONTENT)
    assert fetch("org/name").read_bytes() == CONTENT


def test_offline(server: StandIn, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.add_hub_file("org/name", "model.safetensors", CONTENT)
    path = fetch("org/name")
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{held.getsockname()[1]}"
        assert fetch("org/name", endpoint=closed) == path  # what is here is used
        server.add_hub_error("/org/name/resolve/main/model.safetensors", 503, "")
        assert fetch("org/name") == path
        with pytest.raises(WeightsError) as caught:
            fetch("org/other", endpoint=closed)
    for words in ("not on this computer", "cannot be reached", f"{closed}/org/other/resolve/main/model.safetensors"):
        assert words in str(caught.value)
    asked = len(server.requests)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert fetch("org/name") == path
    with pytest.raises(WeightsError, match=r"org/other is not on this computer.*HF_HUB_OFFLINE is set"):
        fetch("org/other")
    monkeypatch.delenv("HF_HUB_OFFLINE")
    assert fetch("org/name", local_files_only=True) == path
    with pytest.raises(WeightsError, match="local_files_only is set"):
        fetch("org/name@v9", local_files_only=True)
    assert len(server.requests) == asked


def test_a_registry_name_takes_any_of_its_places_from_the_cache(server: StandIn) -> None:
    source = Source("dinov2-b", (HubFile("timm/one"), HubFile("facebook/two")), registered=True)
    server.add_hub_file("facebook/two", "model.safetensors", CONTENT)
    second = fetch("facebook/two")
    asked = len(server.requests)
    assert fetch(source) == second
    assert len(server.requests) == asked
    server.add_hub_file("timm/one", "model.safetensors", CONTENT)
    assert "timm--one" in str(fetch("timm/one"))
    assert "timm--one" in str(fetch(source))
