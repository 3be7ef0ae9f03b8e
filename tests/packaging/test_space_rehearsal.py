"""A Space's environment: what was pushed to the Hub starts, with SPACE_ID, a home that nothing can be written to, the
port from the environment, and ZeroGPU's decorator present or absent."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import huggingface_hub.constants
import pytest

sys.path.append(str(Path(__file__).resolve().parents[1] / "unit"))

from stand_in_server import stand_in

from scicevpr.hub.space import push_space, space_files

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 600  # seconds
MEMORY = 16e9  # bytes of a Space's basic hardware
SPACES = """
from pathlib import Path
def GPU(function):
    Path(__file__).with_name("registered").write_text(function.__name__)
    return function
"""
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def pushed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of the Space as they lie on the Hub after a push."""
    folder = tmp_path_factory.mktemp("space")
    with pytest.MonkeyPatch.context() as patched, stand_in() as hub:
        patched.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
        patched.setenv("HF_TOKEN", "hf_test")
        push_space("owner/studio", space_files(ROOT), endpoint=hub.url)
        for name, content in hub.repository("spaces/owner/studio").items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
    return folder


@pytest.mark.parametrize("zero_gpu", [False, True])
def test_what_was_pushed_opens_as_a_space(pushed: Path, tmp_path: Path, zero_gpu: bool) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("SCICEVPR", "GRADIO", "HF_"))
    }
    environment |= {
        "SPACE_ID": "owner/studio",
        "HOME": "/proc/self/no-home",  # where not even root can make a folder
        "GRADIO_SERVER_PORT": str(port),
        "SCICEVPR_DATASET": "",  # no internet here
        "TMPDIR": str(tmp_path),
    }
    environment.pop("PYTHONPATH", None)
    if zero_gpu:
        (tmp_path / "zero").mkdir()
        (tmp_path / "zero" / "spaces.py").write_text(SPACES)
        environment["PYTHONPATH"] = str(tmp_path / "zero")
    log = tmp_path / "log.txt"
    with log.open("w") as stream:
        command = [sys.executable, "app.py"]
        server = subprocess.Popen(command, cwd=pushed, env=environment, stdout=stream, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + PATIENCE
        while True:
            assert server.poll() is None, log.read_text()[-3000:]
            assert time.monotonic() < deadline, log.read_text()[-3000:]
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/config", timeout=30) as answer:
                    config = answer.read().decode()
                break
            except OSError:
                time.sleep(1)
        assert "This server is shared, so its models and databases are fixed." in config
        assert "ProCity test city" in config
        status = Path(f"/proc/{server.pid}/status")
        if status.exists():
            [most] = [line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmHWM")]
            assert 1024 * int(most) < MEMORY
        assert (tmp_path / "zero" / "registered").exists() is zero_gpu
    finally:
        server.terminate()
        server.wait(60)
