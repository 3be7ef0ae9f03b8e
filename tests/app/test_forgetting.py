"""What a visitor brought is gone from memory and disk, however the visit ends; and disks stay within limits."""

from __future__ import annotations

import base64
import errno
import io
import os
import threading
import time
import zlib
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import pytest
import standin
from gradio.utils import get_upload_folder
from memory import all_held, files_with, holders
from PIL import Image

from app.build import build_app
from app.core.descriptor_store import DescriptorStore
from app.core.pace import Pace, TimeIsUp
from app.core.region_store import RegionStore
from app.core.upload_cache import Upkeep, UploadCache
from app.tabs.benchmarks.service import Benchmarks
from app.tabs.find.handlers import FindHandlers
from app.tabs.inside.service import Inspector
from app.tabs.my_places.handlers import MyPlacesHandlers, forget_page
from app.tabs.my_places.service import MyPlaces
from app.tabs.stability.service import Stability
from app.ui.events import toasts
from app.ui.html import thumbnail
from scicevpr.datasets import read_dataset
from scicevpr.errors import UsageError

HOURS = 3600.0


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def visit(city_folder, tmp_path):
    """A visitor with four places, whose page has looked at them from every side."""
    services = standin.recorded_services(city_folder)
    services._store = DescriptorStore(cache=tmp_path / "cache")
    clock = Clock()
    mine = MyPlaces(services, clock=clock)
    page = build_app(services, mine=mine)
    stability, inspector = Stability(services, RegionStore(tmp_path / "cache")), Inspector(services)
    seed = zlib.crc32(str(tmp_path).encode())  # photos that no other test has ever shown
    uploads = [
        (standin.upload(standin.noise_photo(seed + number), photo.name), photo.name)
        for number, photo in enumerate(read_dataset(city_folder).database[:6])
    ]
    token = mine.welcome(session="ann")
    mine.remember(token, [path for path, _ in uploads])
    database = mine.build(token, mine.read(token, uploads), hold_back=3)
    key, query = database.key, database.dataset.queries[0]
    page.temp_file_sets[0].update(str(path) for path, _ in uploads)
    page.state_holder = SimpleNamespace(session_data={}, time_last_used={}, lock=threading.Lock())
    finder = FindHandlers(services)
    shown = finder.search_view({"path": str(query.path), "orig_name": query.name}, key, 3, 1, "")
    page.state_holder.session_data["ann"] = {"values": shown}
    finder.example_items(key)
    inspector.inspect(query.path, query.name, key, "baseline", 1, 1)
    stability.react(stability.session(query.path, query.name, key), [1], [1])
    stability.setup("baseline", key)
    services.described("baseline", key)
    (services.outgoing.folder(key) / "figure.txt").write_text("made of private photos")
    return SimpleNamespace(
        services=services, mine=mine, page=page, token=token, clock=clock, cache=tmp_path / "cache",
        keep=(stability, inspector, finder),
    )  # fmt: skip


def marks(visit) -> tuple[str, str, list[bytes]]:
    """What would tell that something is left: the visit's folder, a small picture of a photo, the photos' bytes."""
    database = visit.mine.database(visit.token)
    paths = [place.path for place in (*database.dataset.queries, *database.dataset.database)]
    return database.archive.parent.parent.name, thumbnail(paths[0])[-60:], [path.read_bytes() for path in paths]


ENDS = {
    "removed": lambda visit: MyPlacesHandlers(visit.mine, visit.page).remove(visit.token),
    "page closed": lambda visit: MyPlacesHandlers(visit.mine, visit.page).leave(SimpleNamespace(session_hash="ann")),
    "too old": lambda visit: (setattr(visit.clock, "now", 7 * HOURS), visit.page.upkeep.do()),
}


@pytest.mark.slow
@pytest.mark.parametrize("end", ENDS)
def test_nothing_is_left_of_a_visit(visit, end):
    folder, picture, photos = marks(visit)
    root = Path(get_upload_folder())
    assert files_with(root, photos)
    own = [folder, picture]
    assert all_held(own)
    ENDS[end](visit)
    assert files_with(root, photos) == []
    assert not [path for path in root.rglob("figure.txt") if folder in str(path)]
    assert list(visit.cache.rglob("*.*")) == []
    assert list(holders(own, [own, *own])) == []
    assert visit.mine.database(visit.token) is None


def test_a_place_is_taken_by_a_database_and_the_longest_idle_gives_way(city_folder):
    services, clock = standin.recorded_services(city_folder), Clock()
    mine = MyPlaces(services, visits=2, clock=clock)
    invented = [mine.welcome(session=f"nobody {number}") for number in range(30)]
    assert len(set(invented)) == 30  # they hold nothing and keep nobody out
    places = [(place.path, place.name) for place in read_dataset(city_folder).database[:2]]
    taken = []
    for name in ("ann", "ben"):
        clock.now += 10
        taken.append(mine.welcome(session=name))
        mine.read(taken[-1], places)
    clock.now += 10
    mine.stop(taken[0])
    mine._visit(taken[0]).used = clock.now  # ann has done something since
    cleo = mine.welcome(session="cleo")
    mine.read(cleo, places)
    assert mine.token_of("ben") is None
    assert mine.token_of("ann") == taken[0]
    for token in (taken[0], cleo):
        mine._visit(token).busy = True
    with pytest.raises(UsageError, match="no more fit"):
        mine.read(mine.welcome(session="dora"), places)


def test_both_fields_at_once_open_one_visit(city_folder):
    handlers = MyPlacesHandlers(MyPlaces(standin.recorded_services(city_folder)), gr.Blocks())
    paths = [standin.upload(standin.noise_photo(seed), f"{seed}.png") for seed in range(2)]
    request, tokens = SimpleNamespace(session_hash="ann"), []

    def bring(files, table):
        tokens.append(handlers.uploaded("", files, table, request))

    fields = ([{"path": str(paths[0])}], None), (None, {"path": str(paths[1])})
    threads = [threading.Thread(target=bring, args=field) for field in fields]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(tokens)) == 1
    handlers.leave(request)
    assert handlers.mine.token_of("ann") is None
    assert not handlers.mine.uploads()


def test_visits_end_by_age_even_when_gradio_has_forgotten_them(city_folder, monkeypatch):
    clock = Clock()
    mine = MyPlaces(standin.recorded_services(city_folder), clock=clock, kept=6 * HOURS)
    token = mine.welcome(session="ann")
    monkeypatch.setattr(time, "time", lambda: 0.0)  # a clock that is set back changes nothing
    clock.now = 5 * HOURS
    mine.end_old()
    assert mine.token_of("ann") == token
    clock.now = 6.1 * HOURS
    mine.end_old()
    assert mine.token_of("ann") is None
    assert list(mine.root.iterdir()) == []


def test_the_upload_cache_stays_within_age_and_size(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    now = time.time()
    for name, size in (("a", 400), ("b", 300), ("kept", 500)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "photo.jpg").write_bytes(b"x" * size)
        time.sleep(0.02)
    (tmp_path / "torn upload").write_bytes(b"x" * 100)
    folders = sum(path.lstat().st_size for path in tmp_path.iterdir() if path.is_dir())
    kept = lambda: [tmp_path / "kept"]  # noqa: E731
    cache = UploadCache(kept, most=1300 + folders, age=HOURS, now=lambda: now + 60)
    assert cache.has_room(0)
    assert not cache.has_room(100)  # what was made just now stays, and there is no room
    cache = UploadCache(kept, most=1300 + folders, age=HOURS, now=lambda: now + 600)
    assert cache.has_room(100)
    assert {path.name for path in tmp_path.iterdir()} == {"b", "kept", "torn upload"}  # the oldest went
    cache = UploadCache(kept, most=10**9, age=HOURS, now=lambda: now + 2 * HOURS)
    cache.sweep()
    assert {path.name for path in tmp_path.iterdir()} == {"kept"}


def test_upkeep_goes_on_after_an_error_and_notes_of_lost_files_go(city_folder, tmp_path, caplog):
    done = threading.Event()
    upkeep = Upkeep((lambda: 1 / 0, done.set), every=0.01)
    upkeep.start()
    upkeep.start()
    assert done.wait(60)
    upkeep.stop()
    assert "ZeroDivisionError" in caplog.text
    page = build_app(standin.city_services(city_folder))
    here = standin.upload(standin.noise_photo(), "here.png")
    page.temp_file_sets[0].update({str(here), str(tmp_path / "lost.png")})
    page._forget_lost_files()
    assert str(here) in page.temp_file_sets[0]
    assert str(tmp_path / "lost.png") not in page.temp_file_sets[0]
    assert page.delete_cache[1] == 6 * HOURS
    assert all(os.path.exists(path) for path in page._shown_files())


def test_gradios_memory_of_a_page_goes():
    page = SimpleNamespace(
        state_holder=SimpleNamespace(
            session_data={"ann": 1, "ben": 2}, time_last_used={"ann": 1}, lock=threading.Lock()
        )
    )
    forget_page(page, "ann")
    forget_page(page, "nobody")
    forget_page(SimpleNamespace(), "ann")
    assert page.state_holder.session_data == {"ben": 2}
    assert page.state_holder.time_last_used == {}


def test_long_work_gives_way_and_ends_where_others_share_the_machine():
    clock = Clock()
    pace = Pace(budget=60, give_way=30, clock=clock)
    local = pace.long()
    clock.now = 1e6
    local.step()  # nobody else is here
    pace.share()
    turn = pace.long()
    turn.step()
    order, begun = [], threading.Event()

    def question():
        with pace.quick():
            begun.set()
            order.append("question")

    with pace.quick():
        thread = threading.Thread(target=lambda: (turn.step(), order.append("long work")))
        thread.start()
        other = threading.Thread(target=question)
        other.start()
        assert begun.wait(60)
        other.join()
        assert order == ["question"]
    thread.join()
    assert order == ["question", "long work"]
    clock.now += 61
    with pytest.raises(TimeIsUp, match="1 minutes"):
        turn.step()


def test_long_questions_wait_in_a_line_of_their_own(city_folder):
    page = build_app(standin.city_services(city_folder))
    lines = {fn.api_name: fn.concurrency_id for fn in page.fns.values()}
    long = {"worst_batch", "load_weights", "open_pack", "benchmark", "stability", "figure", "distill_demo"}
    of_the_page = {"compare", "queries", "_make_it_fail", "_make_it_right", "_load", "_open_1"}
    assert {lines[name] for name in long | of_the_page} == {"long"}
    assert {lines[name] for name in ("find", "explain", "batch_mates")} == {"model"}


def test_the_worst_batch_ends_with_the_best_so_far(city_folder, monkeypatch):
    services = standin.city_services(city_folder)
    stability = Stability(services)
    query = services.dataset(None)[1].queries[0]
    session = stability.session(query.path, query.name, None)
    monkeypatch.setattr("app.tabs.stability.service.WORST_BATCH_S", -1.0)
    found = list(stability.worst(session, 4))
    assert len(found) == 1
    assert found[0][0].done
    assert len(found[0][1]) == 3


def test_a_small_picture_of_a_removed_photo_is_not_kept(tmp_path):
    path = tmp_path / "photo.png"
    standin.noise_photo().save(path)
    text = thumbnail(path)
    assert Image.open(io.BytesIO(base64.b64decode(text.partition(",")[2]))).size == (120, 90)
    path.unlink()
    assert thumbnail(path) is None


def test_a_cache_that_cannot_be_written_spoils_no_answer(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("full")
    (folder / "cache").write_text("a file where a folder is wanted: nothing can be written below it")
    services = standin.recorded_services(standin.write_city(folder / "city", places=3))
    services._store = DescriptorStore(cache=folder / "cache")
    query = services.dataset(None)[1].queries[0]
    found = services.find(query.path, query.name)
    assert found.stable.hits[0].photo.name
    assert Benchmarks(services).measure(None, "stable").evaluation.overall.recalls
    assert len(Stability(services, RegionStore(folder / "cache")).setup("baseline", "Tiny city").queries) == 3

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("app.core.outgoing.shutil.copyfile", full)
    finder = FindHandlers(services)
    assert finder.example_items() == []  # the page is built all the same
    with pytest.raises(gr.Error, match="disk is full"):
        finder.example(None, None, gr.SelectData(None, {"index": 0, "value": None}))
    with pytest.raises(gr.Error, match="disk is full"):
        toasts(full)()
