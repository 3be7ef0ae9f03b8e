"""Twelve visitors at once on two cores: is everybody answered, who waits at which position, is memory bounded?

    python benchmarks/visitors.py [--visitors 12] [--browsers 3] [--rounds 4] [--cores 2] > benchmarks/visitors.json
    python benchmarks/visitors.py --beside-long 6 > benchmarks/visitors_long.json

With --beside-long one visitor asks /find again and again, in turns alone and while the search for the worst batch of
another photo runs; so many pairs of turns.

One app process with the bundled weights. In every round each visitor brings two photos of their own, all at the same
time, and asks for their places, an explanation and an experiment; some also measure a benchmark or draw a figure. Some
more visitors click examples in a real browser. Every round does the same with other photos: the first ones fill what is
remembered (models, descriptors, the last explanations), and memory that grew with every visitor would show in the last.
At the end one visitor alone asks for the photos of the first round again: the answers must be the same.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from served import ROOT, MemoryWatch, Server, machine, use_cores

sys.path.insert(0, str(ROOT / "scripts"))

import chromium

PATIENCE_S = 300
ROLES = ("stable", "baseline", "teacher")
POSITION = "queue: "
IN_PAGE = """() => [
    [...document.querySelectorAll('#answer-stable .progress-text')].map(e => e.innerText).join(),
    document.querySelector('#strip .tile--query [data-caption]')?.dataset.caption ?? '']"""


@dataclass
class Asked:
    """One request. position: the furthest back it stood in a queue (0: never waited); problem: why it failed."""

    what: str
    seconds: float = 0.0
    position: int = 0
    problem: str = ""
    answer: Any = None


@dataclass(frozen=True)
class Visitor:
    """Who asks. photos: two queries of the bundled city that nobody else has in this round; batch_mates: rows of its
    query list that are neither of them."""

    number: int
    round: int
    photos: tuple[Path, Path]
    batch_mates: tuple[int, ...]


def wishes(visitor: Visitor, handle: Any) -> Iterator[tuple[str, list[Any], Path | None]]:
    """What a visitor asks for: endpoint, values, and the photo that the answer must be about."""
    number, (first, second) = visitor.number, visitor.photos
    batch_mates = ",".join(map(str, visitor.batch_mates))
    yield "/find", [handle(first), None, 5, 3], first
    yield "/explain", [handle(first), None, ROLES[number % 3], 1, 3], first
    yield "/batch_mates", [handle(second), None, batch_mates], None
    yield "/find", [handle(second), None, 5, 0], second
    if number == 0:
        yield "/benchmark", ["", "stable", "file"], None
    elif number < 4:
        yield "/figure", ["strip", handle(first), None, [], ["stable", "baseline"], "single", "colour"], None


def visit(server: Server, visitor: Visitor, together: threading.Barrier, said: list[Asked]) -> None:
    """One visitor with a client of their own, asking one thing after the other."""
    from gradio_client import handle_file

    try:
        client = server.client()
    except Exception as error:
        said.append(Asked("the page", problem=f"{type(error).__name__}: {error}"))
        return
    finally:
        together.wait()
    for what, values, photo in wishes(visitor, handle_file):
        asked = Asked(what)
        said.append(asked)
        started = time.perf_counter()
        job = client.submit(*values, api_name=what)
        while not job.done():
            status = job.status()
            if status.rank is not None:
                asked.position = max(asked.position, status.rank + 1)
            time.sleep(0.02)
            if time.perf_counter() - started > PATIENCE_S:
                break
        asked.seconds = time.perf_counter() - started
        try:
            asked.answer = job.result(timeout=1)
        except Exception as error:  # whatever it is, it is what is counted here
            asked.problem = f"{type(error).__name__}: {error}"
            continue
        if photo is not None and about(asked.answer) != photo.name:
            asked.problem = f"an answer about {about(asked.answer)} instead of {photo.name}"


def about(answer: dict[str, Any]) -> str:
    """File name of the photo that an answer of /find or /explain is about."""
    query = answer["query"]
    return query["photo"] if isinstance(query, dict) else query


def click_examples(pages: list[Any], names: list[str], round_: int) -> list[Asked]:
    """Every browser visitor clicks an example at the same time; what they see until the answer is there."""
    said, started = [Asked("example in a browser") for _ in pages], time.perf_counter()
    numbers = [(3 * round_ + number) % len(names) for number in range(len(pages))]
    for page, number in zip(pages, numbers, strict=True):
        page.locator("#examples button.thumbnail-item").nth(number).click()
    open_ = set(range(len(pages)))
    while open_ and time.perf_counter() - started < PATIENCE_S:
        for at in sorted(open_):
            progress, caption = pages[at].evaluate(IN_PAGE)
            if found := re.search(rf"{POSITION}(\d+)/", progress):
                said[at].position = max(said[at].position, int(found.group(1)))
            if caption.endswith(names[numbers[at]]):
                said[at].seconds = time.perf_counter() - started
                open_.discard(at)
        time.sleep(0.02)
    for at in open_:
        said[at].problem = f"no answer within {PATIENCE_S} s"
    return said


def guests(photos: list[Path], count: int, round_: int) -> list[Visitor]:
    """The visitors of a round with their photos."""
    found = []
    for number in range(count):
        row = 2 * (round_ * count + number)
        rows = [(row + step) % len(photos) for step in range(9)]
        found.append(Visitor(number, round_, (photos[rows[0]], photos[rows[1]]), tuple(rows[2:])))
    return found


def one_round(server: Server, visitors: list[Visitor], pages: list[Any], names: list[str]) -> list[Asked]:
    """All visitors at once."""
    said: list[list[Asked]] = [[] for _ in visitors]
    together = threading.Barrier(len(visitors) + 1)
    threads = [
        threading.Thread(target=visit, args=(server, visitor, together, answers))
        for visitor, answers in zip(visitors, said, strict=True)
    ]
    for thread in threads:
        thread.start()
    together.wait()
    in_pages = click_examples(pages, names, visitors[0].round)
    for thread in threads:
        thread.join()
    return [*in_pages, *(asked for answers in said for asked in answers)]


def summary(said: list[Asked]) -> dict[str, Any]:
    """Counts and times of many requests, in all and by kind."""
    kinds = {}
    for what in sorted({asked.what for asked in said}):
        asked = [one for one in said if one.what == what]
        kinds[what] = {
            "requests": len(asked),
            "waited in a queue": sum(one.position > 0 for one in asked),
            "furthest position": max(one.position for one in asked),
            "seconds, median": round(median(one.seconds for one in asked), 1),
            "seconds, longest": round(max(one.seconds for one in asked), 1),
        }
    problems = [f"{one.what}: {one.problem}" for one in said if one.problem]
    return {"requests": len(said), "answered": len(said) - len(problems), "problems": problems, "by kind": kinds}


def answers_alone(server: Server, said: list[Asked], photos: dict[str, Path]) -> dict[str, int]:
    """Ask again, one at a time, for every photo that /find was asked for; how many answers are the same."""
    from gradio_client import handle_file

    client = server.client()
    before = [asked.answer for asked in said if asked.what == "/find" and asked.answer]
    same = 0
    for answer in before:
        batch_mates = len(answer["batch_of_the_baseline"]) - 1
        again = client.predict(handle_file(photos[about(answer)]), None, 5, batch_mates, api_name="/find")
        same += [one["matches"] for one in answer["answers"]] == [one["matches"] for one in again["answers"]]
    return {"asked again alone": len(before), "same answers": same}


SIZE, ASKED = 8, 10
"""Of the batch whose worst is searched; questions of one turn, at least."""


def one_turn(client: Any, photos: list[Path], long: Any = None) -> list[float]:
    """Seconds of single questions, one after the other. long: work that runs beside; the turn ends with it."""
    from gradio_client import handle_file

    seconds = []
    for photo in photos:
        if long is not None and long.done():
            break
        started = time.perf_counter()
        client.predict(handle_file(photo), None, 5, 3, api_name="/find")
        seconds.append(time.perf_counter() - started)
    return seconds


def beside_long_work(pairs: int, cores: int) -> dict[str, Any]:
    """95th percentiles of /find alone and beside one long piece of work, in turns."""
    from gradio_client import handle_file

    from scicevpr.datasets import bundled_city

    where = machine(use_cores(cores))
    photos = [place.path for place in bundled_city().queries]
    alone: list[float] = []
    beside: list[float] = []
    with Server() as server:
        server.wait_for_page()
        client, other = server.client(), server.client()
        one_turn(client, photos[:ASKED])  # models and descriptors are there
        other.predict(handle_file(photos[-1]), None, SIZE, api_name="/worst_batch")
        for turn in range(pairs):
            own = [photos[(turn * ASKED + step) % len(photos)] for step in range(ASKED)]
            alone += one_turn(client, own)
            answers = 0
            while answers < ASKED:
                long = other.submit(handle_file(photos[-2 - turn]), None, SIZE, api_name="/worst_batch")
                found = one_turn(client, own[answers:], long)
                beside += found
                answers += len(found)
                long.result(PATIENCE_S)
    result: dict[str, Any] = {"pairs of turns": pairs, "batch size of the long work": SIZE}
    for name, seconds in (("alone", alone), ("beside the long work", beside)):
        low, high = np.percentile(seconds, [50, 95])
        result[name] = {"questions": len(seconds), "median, s": round(low, 3), "95th percentile, s": round(high, 3)}
    ratio = np.percentile(beside, 95) / np.percentile(alone, 95)
    return result | {"95th percentiles, ratio": round(float(ratio), 2), "machine": where}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--visitors", type=int, default=12)
    parser.add_argument("--browsers", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--beside-long", type=int, default=0, metavar="PAIRS", help="measure /find beside long work")
    options = parser.parse_args()
    if options.beside_long:
        json.dump(beside_long_work(options.beside_long, options.cores), sys.stdout, indent=1)
        print()
        return
    from playwright.sync_api import sync_playwright

    from scicevpr.datasets import bundled_city

    where = machine(use_cores(options.cores))
    photos = [place.path for place in bundled_city().queries]
    memory, rounds, first = {}, [], []
    with Server() as server, sync_playwright() as playwright:
        server.wait_for_page()
        client = server.client()
        while any(state["state"] == "waiting" for state in client.predict(api_name="/models")[:2]):
            time.sleep(0.2)
        names = client.predict(api_name="/databases")[0]["examples"]
        browser = chromium.launch(playwright)
        pages = [browser.new_context().new_page() for _ in range(options.browsers)]
        for page in pages:
            page.goto(server.address)
            page.locator("#examples button.thumbnail-item").first.wait_for(timeout=1000 * PATIENCE_S)
        memory["before, MB"] = round(server.memory_mb(), 1)
        for round_ in range(options.rounds):
            started = time.perf_counter()
            with MemoryWatch(server) as watch:
                said = one_round(server, guests(photos, options.visitors, round_), pages, names)
            first = first or said
            print(f"round {round_ + 1} of {options.rounds} is over", file=sys.stderr)
            rounds.append(summary(said) | {"seconds": round(time.perf_counter() - started, 1)})
            memory[f"round {round_ + 1}: peak, MB"] = round(watch.peak, 1)
            memory[f"round {round_ + 1}: after, MB"] = round(server.memory_mb(), 1)
            memory[f"round {round_ + 1}: uploaded files on disk, MB"] = round(server.upload_mb(), 1)
        alone = answers_alone(server, first, {path.name: path for path in photos})
        still_there = server.running
        browser.close()
    after = [value for key, value in memory.items() if key.endswith("after, MB")]
    if len(after) > 1:
        memory["added by the last round, MB"] = round(after[-1] - after[-2], 1)
    result = {
        "visitors": {"clients": options.visitors, "browsers": options.browsers},
        "rounds": rounds,
        "server still running": still_there,
        "mixed up": alone,
        "memory of the server": memory,
        "machine": where,
    }
    json.dump(result, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
