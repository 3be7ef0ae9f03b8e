"""From the start of a process to a usable page, and how long a warm query takes: fresh processes, a real browser.

    python benchmarks/startup.py [--processes 5] [--cores 2] > benchmarks/startup.json
    python benchmarks/startup.py --busy 16 --processes 20 > benchmarks/startup_busy.json

With --busy no browser is used: processes that only count bring the machine to such a load, the app is started again and
again, four at once, and whether the page and its list of endpoints come is noted.

Every process is new and has empty caches; the files it reads lie in the system's file cache. "Usable" means that the
browser has drawn the examples and one could be clicked; it is clicked at once, and its answer is waited for. Server and
browser share the cores. One more process loads no model at all: the page must come all the same.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from served import ROOT, Server, machine, use_cores

sys.path.insert(0, str(ROOT / "scripts"))

import chromium

EXAMPLES = "#examples button.thumbnail-item"
ANSWERED = "name => document.querySelector('#strip .tile--query [data-caption]')?.dataset.caption.endsWith(name)"
NO_MODELS = "--without-models"
PATIENCE_MS = 180_000


COUNTS = "while True: pass"
TOGETHER, BUSY_PATIENCE_S = 4, 600.0


@contextmanager
def busy(count: int) -> Iterator[None]:
    """So many processes that only count, on the same cores."""
    counting = [subprocess.Popen([sys.executable, "-c", COUNTS]) for _ in range(count)]
    try:
        yield
    finally:
        for process in counting:
            process.kill()
            process.wait()


def waiting_already() -> int:
    """How many processes of others want a core, over five seconds: the load average tells it a minute later."""
    seen = []
    for _ in range(50):
        seen.append(int(Path("/proc/loadavg").read_text().split()[3].partition("/")[0]) - 1)
        time.sleep(0.1)
    return round(sum(seen) / len(seen))


def start_beside_others(_: int) -> dict[str, Any]:
    """One start: seconds to the page, and what went wrong, if anything did."""
    load = os.getloadavg()[0]
    with Server() as server:
        try:
            first_byte = server.wait_for_page(BUSY_PATIENCE_S)
            with urllib.request.urlopen(f"{server.address}/gradio_api/info", timeout=BUSY_PATIENCE_S) as info:
                answered = "/find" in json.load(info)["named_endpoints"]
        except (RuntimeError, OSError) as error:  # TimeoutError is one of them
            return {"answers": False, "problem": str(error)[-500:], "load average before": round(load, 1)}
        return {"answers": answered, "first byte, s": round(first_byte, 1), "load average before": round(load, 1)}


def starts_beside_others(count: int, load: int, cores: int) -> dict[str, Any]:
    """How many of `count` starts answer at a load, to which busy processes bring the machine where it is lower."""
    where = machine(use_cores(cores))
    others = max(0, load - waiting_already())
    with busy(others), ThreadPoolExecutor(TOGETHER) as pool:
        starts = list(pool.map(start_beside_others, range(count)))
    answered = sum(start["answers"] for start in starts)
    facts = {"starts": count, "answered": answered, "busy processes": others, "starting at once": TOGETHER}
    return facts | {"processes": starts, "machine": where}


def serve_without_models(arguments: list[str]) -> None:
    """The app, but nothing loads its models before they are asked for."""
    sys.path.insert(0, str(ROOT))
    from app.core.services import Services
    from app.start import main as serve

    Services.warm_up = lambda self: None
    serve(arguments)


def page_without_models(browser: Any) -> dict[str, Any]:
    """First byte and drawn page of a process without any loaded model, and the state of its models afterwards."""
    with Server(("benchmarks/startup.py", NO_MODELS)) as server:
        first_byte = server.wait_for_page()
        page = browser.new_page()
        page.goto(server.address)
        page.locator(EXAMPLES).first.wait_for(timeout=PATIENCE_MS)
        drawn = time.perf_counter() - server.started
        page.close()
        states = server.client().predict(api_name="/models")
    return {
        "first byte, s": round(first_byte, 2),
        "examples drawn, s": round(drawn, 2),
        "models after that": {state["name"]: state["state"] for state in states},
    }


def one_process(browser: Any) -> dict[str, Any]:
    """Seconds of one fresh process, and milliseconds of its warm queries."""
    from gradio_client import handle_file

    from scicevpr.datasets import bundled_city

    load = os.getloadavg()[0]
    with Server() as server:
        first_byte = server.wait_for_page()
        used = server.cpu_s()
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(PATIENCE_MS)
        page.goto(server.address)
        examples = page.locator(EXAMPLES)
        examples.first.click()
        usable = time.perf_counter() - server.started
        page.wait_for_function(ANSWERED, arg="")
        answered = time.perf_counter() - server.started
        client = server.client()
        databases = client.predict(api_name="/databases")
        names = databases[0]["examples"]
        in_page = []
        for number in range(1, len(names)):
            started = time.perf_counter()
            examples.nth(number).click()
            page.wait_for_function(ANSWERED, arg=names[number])
            in_page.append(1000 * (time.perf_counter() - started))
        page.close()
        photos = {place.name: place.path for place in bundled_city().queries}
        by_api, model = [], []
        for name in names:
            started = time.perf_counter()
            found = client.predict(handle_file(photos[name]), api_name="/find")
            by_api.append(1000 * (time.perf_counter() - started))
            stable = found["answers"][0]
            model.append(stable["describe_ms"] + stable["search_ms"])
    return {
        "first byte, s": round(first_byte, 2),
        "processor time until then, s": round(used, 2),
        "usable, s": round(usable, 2),
        "first answer, clicked at once, s": round(answered, 2),
        "warm query in the page, both models, ms": [round(value) for value in in_page],
        "warm query by API, both models, ms": [round(value) for value in by_api],
        "of that SciceVPR-T, ms": [round(value) for value in model],
        "load average before": round(load, 1),
    }


def summary(processes: list[dict[str, Any]]) -> dict[str, Any]:
    """Median and largest of every measurement over all processes."""
    words = {}
    for key in processes[0]:
        values = [value for process in processes for value in flat(process[key])]
        words[key] = {"median": round(median(values), 2), "largest": max(values)}
    return words


def flat(value: Any) -> list[float]:
    """A number or a list of numbers as a list."""
    return value if isinstance(value, list) else [value]


def main() -> None:
    """Command line."""
    if NO_MODELS in sys.argv:
        serve_without_models([word for word in sys.argv[1:] if word != NO_MODELS])
        return
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--processes", type=int, default=5)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--busy", type=int, default=0, metavar="LOAD", help="start at this load of the machine")
    options = parser.parse_args()
    if options.busy:
        json.dump(starts_beside_others(options.processes, options.busy, options.cores), sys.stdout, indent=1)
        print()
        return
    from playwright.sync_api import sync_playwright

    where = machine(use_cores(options.cores))
    with sync_playwright() as playwright:
        browser = chromium.launch(playwright)
        without = page_without_models(browser)
        processes = [one_process(browser) for _ in range(options.processes)]
        browser.close()
    result = {
        "over all processes": summary(processes),
        "page without any model": without,
        "processes": processes,
        "machine": where,
    }
    json.dump(result, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
