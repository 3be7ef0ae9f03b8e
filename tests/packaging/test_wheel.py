"""What pip installs: an sdist of this checkout, a wheel of that sdist, and the commands from it in an empty folder."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tarfile
import time
import urllib.request
import zipfile
from pathlib import Path

import pytest

from scicevpr.cli.main import main
from scicevpr.config import assets_folder
from scicevpr.datasets import bundled_city

ROOT = Path(__file__).resolve().parents[2]
LARGEST = 80e6  # bytes
PATIENCE = 600  # seconds
pytestmark = pytest.mark.slow


def built(kind: str, source: Path, out: Path) -> Path:
    """An sdist or wheel of a folder, without a package index."""
    code = f"import sys; from setuptools.build_meta import build_{kind}; print(build_{kind}(sys.argv[1]))"
    run = subprocess.run(
        [sys.executable, "-c", code, str(out)], cwd=source, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr[-3000:]
    return out / run.stdout.split()[-1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    work = tmp_path_factory.mktemp("built")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False).stdout
    names = [name for name in listed.split("\0") if name and (ROOT / name).is_file()]
    if not names:
        pytest.skip("no git here")
    for name in names:
        if not name.startswith(("docs/", "tests/", "lessons/")):
            (work / "checkout" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, work / "checkout" / name)
    sdist = built("sdist", work / "checkout", work)
    with tarfile.open(sdist) as archive:
        archive.extractall(work / "unpacked", filter="data")
    [source] = (work / "unpacked").iterdir()
    assert (source / "app.py").is_file(), "a Space can be pushed from an sdist"
    return built("wheel", source, work)


@pytest.fixture(scope="module")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel as pip unpacks it, its dependencies being those of this environment."""
    folder = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


@pytest.fixture
def run(site: Path, tmp_path: Path):
    """Run Python in an empty folder, with the installed package and nothing of the checkout."""
    environment = {**os.environ, "PYTHONPATH": str(site), "HOME": str(tmp_path), "GRADIO_TEMP_DIR": str(tmp_path)}
    environment.pop("SCICEVPR_ASSETS", None)

    def start(*arguments: str, wait: bool = True):
        command = [sys.executable, "-m", "scicevpr", *arguments]
        if not wait:
            return subprocess.Popen(
                command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
            )
        found = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
        assert found.returncode == 0, found.stdout[-2000:] + found.stderr[-2000:]
        return found.stdout

    return start


def test_the_wheel_holds_everything_and_nothing_of_a_general_name(wheel: Path) -> None:
    assert wheel.stat().st_size <= LARGEST
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        info = next(name for name in names if name.endswith(".dist-info/METADATA"))
        metadata = archive.read(info).decode()
    assert {name.partition("/")[0] for name in names} == {"scicevpr", info.partition("/")[0]}
    checkout = subprocess.run(
        ["git", "ls-files", "scicevpr", "app", "training"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    moved = {name if name.startswith("scicevpr/") else f"scicevpr/studio/{name}" for name in checkout}
    assert moved <= names
    bundled = {f"scicevpr/assets/weights/{name}-t.safetensors" for name in ("scicevpr", "super-cricavpr", "cricavpr")}
    assert bundled <= names
    assert sum(name.endswith(".jpg") for name in names) == 840 + 270
    assert "Typing :: Typed" in metadata
    assert "Project-URL: " in metadata
    assert {"app", "train"} <= set(re.findall(r"Provides-Extra: (\S+)", metadata))
    assert "# SciceVPR Studio" in metadata
    assert "sdk: gradio" not in metadata, "the Space's header is not the project's description"


def test_the_commands_give_what_the_checkout_gives(run, tmp_path: Path, capsys) -> None:
    city = bundled_city()
    few = city.select_queries(range(0, len(city.queries), 45), "every 45th")
    right = {city.database[int(row)] for rows in few.positives() for row in rows[:2]}
    for side, photos in (("database", right), ("queries", few.queries)):
        (tmp_path / "city" / "images" / "test" / side).mkdir(parents=True)
        for photo in photos:
            shutil.copy(photo.path, tmp_path / "city" / "images" / "test" / side)
    evaluate = ["evaluate", str(tmp_path / "city"), "--model", "scicevpr-t", "--no-intervals", "--json"]
    run(*evaluate, str(tmp_path / "wheel.json"))
    assert main([*evaluate, str(tmp_path / "checkout.json")]) == 0
    capsys.readouterr()
    results = [json.loads((tmp_path / name).read_text())["results"] for name in ("wheel.json", "checkout.json")]
    assert len(results[0]) == 1
    for ours, theirs in zip(*results, strict=True):
        assert ours["overall"] == theirs["overall"]
    search = ["search", str(city.queries[0].path), "-k", "1", "--json"]
    run(*search, str(tmp_path / "wheel.json"))
    assert main([*search, str(tmp_path / "checkout.json")]) == 0
    found = [json.loads((tmp_path / name).read_text())["results"] for name in ("wheel.json", "checkout.json")]
    best, same = (results[0]["queries"][0]["matches"][0] for results in found)
    assert Path(best["database"]).name == Path(same["database"]).name
    assert best["similarity"] == pytest.approx(same["similarity"], abs=1e-6)
    said = run("verify", str(ROOT / "tests" / "golden"), "--only", "losses")
    assert " 0 missed" in said
    assert "bundled" in run("models")
    assert assets_folder() == ROOT / "assets", "the checkout has its own"


def test_the_page_opens(run) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = run("app", "--port", str(port), "--no-cache", wait=False)
    try:
        deadline = time.monotonic() + PATIENCE
        while True:
            assert server.poll() is None, server.stdout.read().decode()[-3000:]
            assert time.monotonic() < deadline, "the page did not open"
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=30) as answer:
                    assert answer.status == 200
                    assert b"SciceVPR" in answer.read()
                break
            except OSError:
                time.sleep(1)
    finally:
        server.terminate()
        server.wait(60)
        server.stdout.close()
