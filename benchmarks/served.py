"""The app in a process of its own, as a visitor meets it: started, waited for, watched. For the benchmarks here."""

from __future__ import annotations

import os
import platform
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PATIENCE_S = 180.0


def use_cores(count: int) -> int:
    """Keep this process and all it starts (server, browser) on that many cores; returns how many there are."""
    cores = sorted(os.sched_getaffinity(0))[:count]
    os.sched_setaffinity(0, cores)
    return len(cores)


class Server:
    """A fresh app process with caches of its own; use it in a with statement.

    Attributes: address, pid, started (time.perf_counter() just before the process was made), uploads (folder).
    """

    def __init__(self, command: Sequence[str] = ("app.py",)) -> None:
        self._command = command
        self._folder = tempfile.TemporaryDirectory(prefix="scicevpr-benchmark-")
        self.uploads = Path(self._folder.name) / "uploads"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Server:
        own = {"SCICEVPR_CACHE": f"{self._folder.name}/cache", "GRADIO_TEMP_DIR": str(self.uploads)}
        self._log = (Path(self._folder.name) / "log").open("w+", encoding="utf-8")
        self.started = time.perf_counter()
        self._process = subprocess.Popen(
            [sys.executable, *self._command, "--port", str(self.port)],
            cwd=ROOT,
            env={**os.environ, **own},
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )
        self.pid = self._process.pid
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()
        self._folder.cleanup()

    @property
    def running(self) -> bool:
        """Whether the process is still there."""
        return self._process.poll() is None

    def log(self) -> str:
        """What the process has written so far."""
        self._log.flush()
        return Path(self._log.name).read_text(encoding="utf-8")

    def wait_for_page(self, patience: float = PATIENCE_S) -> float:
        """Ask for the page until it comes; seconds from the start of the process to its first byte."""
        while time.perf_counter() - self.started < patience:
            if not self.running:
                raise RuntimeError(f"the app ended: {self.log()}")
            try:
                with urllib.request.urlopen(self.address, timeout=patience) as answer:
                    answer.read(1)
                    return time.perf_counter() - self.started
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.01)
        raise TimeoutError(f"no page within {patience:.0f} s: {self.log()}")

    def client(self) -> Any:
        """A gradio client that waits longer than the usual five seconds, and keeps no files."""
        from gradio_client import Client

        return Client(
            self.address,
            verbose=False,
            download_files=False,
            analytics_enabled=False,
            httpx_kwargs={"timeout": PATIENCE_S},
        )

    def cpu_s(self) -> float:
        """Processor time that it has used so far, seconds: what a busy machine does not change."""
        fields = Path(f"/proc/{self.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory_mb(self) -> float:
        """Memory of the process that is in use now (resident), MB."""
        lines = Path(f"/proc/{self.pid}/status").read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) * 1024 / 1e6

    def upload_mb(self) -> float:
        """Size of the files that were uploaded to it, MB."""
        return sum(path.stat().st_size for path in self.uploads.rglob("*") if path.is_file()) / 1e6


class MemoryWatch:
    """The highest memory of a server while the with statement lasts: `peak`, MB, looked at twenty times a second."""

    def __init__(self, server: Server) -> None:
        self.peak = 0.0
        self._server, self._end = server, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> MemoryWatch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._end.wait(0.05):
            self.peak = max(self.peak, self._server.memory_mb())


def machine(cores: int) -> dict[str, Any]:
    """Where it was measured."""
    import gradio
    import torch

    return {
        "cores": cores,
        "processor": platform.processor() or platform.machine(),
        "load average before": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "gradio": gradio.__version__,
    }
