"""Files behind web addresses: whole, resumed, or not there at all; each accident with its own message."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from stand_in_server import Served, StandIn, stand_in

from scicevpr.errors import WeightsError
from scicevpr.hub import web
from scicevpr.hub.download import fetch
from scicevpr.hub.sources import Source, UrlFile

CONTENT = bytes(range(256)) * 8192  # 2 MiB
SHA = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def server():
    with stand_in() as running:
        yield running


@pytest.fixture(autouse=True)
def quick_and_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No waiting between tries, and a torch.hub folder of the test's own."""
    monkeypatch.setattr(web, "LONGEST_WAIT", 0.0)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    return tmp_path / "torch" / "hub" / "checkpoints"


@pytest.fixture
def folder(quick_and_apart: Path) -> Path:
    return quick_and_apart


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*")) if folder.exists() else []


def _release(server: StandIn, sha256: str | None = None) -> Source:
    """A registry entry's file, kept under its bare name."""
    return Source("cricavpr-b", (UrlFile(f"{server.url}/CricaVPR.pth", sha256, as_torch_hub=True),), registered=True)


def test_a_download_lies_where_torch_hub_looks_and_is_recorded(server: StandIn, folder: Path) -> None:
    server.add_file("/CricaVPR.pth", CONTENT)
    told = []
    path = fetch(_release(server), progress=lambda done, total: told.append((done, total)))
    assert path == folder / "CricaVPR.pth"
    assert path.read_bytes() == CONTENT
    assert _names(folder) == ["CricaVPR.pth", "CricaVPR.pth.sha256"]
    assert (folder / "CricaVPR.pth.sha256").read_text() == f"{SHA}  CricaVPR.pth\n"
    assert told[-1] == (len(CONTENT), len(CONTENT))
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert fetch(_release(server)) == path
    assert len(server.gets("/CricaVPR.pth")) == 1


def test_a_file_of_torch_hubs_own_is_found_without_the_network(server: StandIn, folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "CricaVPR.pth").write_bytes(CONTENT)
    assert fetch(_release(server)) == folder / "CricaVPR.pth"
    assert server.requests == []


def test_a_file_that_changed_since_it_was_recorded_is_refused(server: StandIn, folder: Path) -> None:
    server.add_file("/CricaVPR.pth", CONTENT)
    path = fetch(_release(server))
    path.write_bytes(b"other" + CONTENT)
    with pytest.raises(WeightsError, match=rf"wrong checksum.*when it was downloaded it had {SHA}"):
        fetch(_release(server))


def test_redirects_are_followed(server: StandIn, tmp_path: Path) -> None:
    server.add_file("/cdn/one", CONTENT)
    server.files["/a.pth"] = Served(status=302, headers={"Location": f"{server.url}/cdn/one"})
    assert fetch(f"{server.url}/a.pth#sha256={SHA}", cache=tmp_path / "c").read_bytes() == CONTENT


def test_a_cut_connection_is_resumed_within_the_call(server: StandIn, folder: Path) -> None:
    server.add_file("/CricaVPR.pth", CONTENT, cuts=[700_000, 500_000])
    assert fetch(_release(server)).read_bytes() == CONTENT
    assert server.gets("/CricaVPR.pth") == [None, "bytes=700000-", "bytes=1200000-"]
    assert _names(folder) == ["CricaVPR.pth", "CricaVPR.pth.sha256"]


def test_without_ranges_a_cut_download_starts_again(server: StandIn, folder: Path) -> None:
    server.add_file("/CricaVPR.pth", CONTENT, cuts=[700_000], ranges=False)
    assert fetch(_release(server)).read_bytes() == CONTENT
    assert server.gets("/CricaVPR.pth") == [None, None]


def test_giving_up_keeps_what_can_be_used_and_the_next_call_goes_on(server: StandIn, folder: Path) -> None:
    served = server.add_file("/CricaVPR.pth", CONTENT, cuts=[700_000] + [0] * 5)
    with pytest.raises(
        WeightsError, match=r"broke off at 0\.7 MB of 2\.1 MB.*kept in .*CricaVPR\.pth\.part: run the same"
    ):
        fetch(_release(server))
    assert _names(folder) == ["CricaVPR.pth.part", "CricaVPR.pth.part.json"]
    assert (folder / "CricaVPR.pth.part").read_bytes() == CONTENT[:700_000]
    served.cuts.clear()
    assert fetch(_release(server)).read_bytes() == CONTENT
    assert server.gets("/CricaVPR.pth")[-1] == "bytes=700000-"
    assert _names(folder) == ["CricaVPR.pth", "CricaVPR.pth.sha256"]


def test_giving_up_without_ranges_keeps_nothing(server: StandIn, folder: Path) -> None:
    server.add_file("/CricaVPR.pth", CONTENT, cuts=[700_000] * 5, ranges=False)
    with pytest.raises(WeightsError, match=r"broke off at 0\.7 MB.*Nothing was kept, because the server cannot go on"):
        fetch(_release(server))
    assert _names(folder) == []


def test_a_part_of_another_version_is_not_continued(server: StandIn, folder: Path) -> None:
    server.add_file("/CricaVPR.pth", CONTENT, cuts=[700_000] + [0] * 5)
    with pytest.raises(WeightsError, match="broke off"):
        fetch(_release(server))
    newer = CONTENT[::-1]
    server.add_file("/CricaVPR.pth", newer)
    assert fetch(_release(server)).read_bytes() == newer


def test_the_part_of_a_killed_process_is_taken_up(server: StandIn, folder: Path) -> None:
    served = server.add_file("/CricaVPR.pth", CONTENT, cuts=[700_000])
    code = (
        "import sys, time; from pathlib import Path; from scicevpr.hub import web\n"
        "web.download(sys.argv[1], Path(sys.argv[2]), wait=60, progress=lambda done, _: print(done, flush=True))"
    )
    target = folder / "CricaVPR.pth"
    child = subprocess.Popen(
        [sys.executable, "-c", code, f"{server.url}/CricaVPR.pth", str(target)], stdout=subprocess.PIPE, text=True
    )
    part = folder / "CricaVPR.pth.part"
    deadline = time.monotonic() + 20
    while not (part.exists() and part.stat().st_size == 700_000):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    child.send_signal(signal.SIGKILL)
    child.communicate()
    assert not target.exists()
    served.cuts.clear()
    assert fetch(_release(server)).read_bytes() == CONTENT
    assert server.gets("/CricaVPR.pth")[-1] == "bytes=700000-"
    assert _names(folder) == ["CricaVPR.pth", "CricaVPR.pth.sha256"]


def test_a_whole_part_only_needs_its_name(server: StandIn, folder: Path) -> None:
    served = server.add_file("/CricaVPR.pth", CONTENT)
    folder.mkdir(parents=True)
    (folder / "CricaVPR.pth.part").write_bytes(CONTENT)
    record = {"url": f"{server.url}/CricaVPR.pth", "version": served.headers["ETag"], "total": len(CONTENT)}
    (folder / "CricaVPR.pth.part.json").write_text(json.dumps(record))
    assert fetch(_release(server)).read_bytes() == CONTENT
    assert server.requests == []


def test_a_wrong_checksum_deletes_the_download(server: StandIn, folder: Path) -> None:
    server.add_file("/CricaVPR.pth", CONTENT)
    with pytest.raises(WeightsError, match=rf"wrong checksum: SHA-256 {SHA} \(2\.1 MB\), expected {'0' * 64}"):
        fetch(_release(server, sha256="0" * 64))
    assert _names(folder) == []


@pytest.mark.parametrize(
    ("served", "message"),
    [
        (Served(status=404), r"no file at .* answers 404"),
        (Served(status=403), r"not open to you .*403.*give the file by its path"),
        (Served(status=503), r"cannot be downloaded now: the server answers 503 .*5 times in a row"),
        (Served(b"\n<!DOCTYPE html><p>log in"), r"is a web page, not a weights file"),
        (Served(b"hello", headers={"Content-Type": "text/html; charset=utf-8"}), r"is a web page"),
        (Served(b""), r"is empty"),
    ],
    ids=["missing", "closed", "busy", "page", "page by type", "empty"],
)
def test_answers_that_are_no_file(served: Served, message: str, server: StandIn, folder: Path) -> None:
    served.headers = {"Content-Type": "application/octet-stream", "ETag": '"1"', **served.headers}
    server.files["/CricaVPR.pth"] = served
    with pytest.raises(WeightsError, match=message):
        fetch(_release(server))
    assert _names(folder) == []


def test_a_busy_server_is_asked_again(server: StandIn, folder: Path) -> None:
    server.add_file("/CricaVPR.pth", CONTENT, busy=3)
    assert fetch(_release(server)).read_bytes() == CONTENT
    assert len(server.gets("/CricaVPR.pth")) == 4


@pytest.fixture
def closed_port() -> str:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{held.getsockname()[1]}"  # bound, but nobody listens


def test_offline_says_what_to_get_and_where_to_put_it(closed_port: str, folder: Path) -> None:
    release = Source("cricavpr-b", (UrlFile(f"{closed_port}/CricaVPR.pth", as_torch_hub=True),), registered=True)
    with pytest.raises(WeightsError) as caught:
        fetch(release)
    for words in (
        "not on this computer",
        "refused",
        f"download {closed_port}/CricaVPR.pth",
        "by its path",
        str(folder),
    ):
        assert words in str(caught.value)
    assert _names(folder) == []


@pytest.mark.parametrize("how", ["HF_HUB_OFFLINE", "local_files_only"])
def test_the_network_can_be_forbidden(how: str, server: StandIn, folder: Path, monkeypatch) -> None:
    server.add_file("/CricaVPR.pth", CONTENT)
    if how == "HF_HUB_OFFLINE":
        monkeypatch.setenv(how, "1")
    with pytest.raises(WeightsError, match=rf"not on this computer.*{how} is set"):
        fetch(_release(server), local_files_only=how == "local_files_only")
    assert server.requests == []
    assert _names(folder) == []


def test_a_full_disk_is_noticed_before_and_during_the_download(server: StandIn, folder: Path, monkeypatch) -> None:
    server.add_file("/CricaVPR.pth", CONTENT)
    with monkeypatch.context() as patch:
        patch.setattr(web.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1_000_000}))
        with pytest.raises(WeightsError, match=r"too full .*needs 2\.1 MB, 1\.0 MB are free"):
            fetch(_release(server))
    assert _names(folder) == []

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(web.os, "fsync", full)
    with pytest.raises(WeightsError, match=r"The disk of .* is full"):
        fetch(_release(server))
    assert _names(folder) == []


def _fetch_there(url: str, folder: str) -> None:
    fetch(url, cache=folder)


def test_two_processes_share_one_download(server: StandIn, tmp_path: Path) -> None:
    gate = threading.Event()
    server.add_file("/a.pth", CONTENT, gate=gate)
    context = multiprocessing.get_context("fork")
    both = [context.Process(target=_fetch_there, args=(f"{server.url}/a.pth", str(tmp_path / "c"))) for _ in range(2)]
    for process in both:
        process.start()
    time.sleep(0.3)
    gate.set()
    for process in both:
        process.join(20)
    assert [process.exitcode for process in both] == [0, 0]
    [path] = (tmp_path / "c").glob("*.pth")
    assert path.read_bytes() == CONTENT
    assert server.gets("/a.pth") == [None]
    assert len(_names(tmp_path / "c")) == 2


def test_a_user_who_stops_keeps_the_part(server: StandIn, folder: Path) -> None:
    server.add_file("/CricaVPR.pth", CONTENT)

    def stop(done: int, _: int | None) -> None:
        if done > 500_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(_release(server), progress=stop)
    assert _names(folder) == ["CricaVPR.pth.part", "CricaVPR.pth.part.json"]
    assert fetch(_release(server)).read_bytes() == CONTENT
    assert server.gets("/CricaVPR.pth")[-1].startswith("bytes=")
