"""A visitor's own places: described by both models, found by nobody else, and gone afterwards."""

from __future__ import annotations

import copy
import json
import shutil
import threading
import zipfile
from dataclasses import replace
from types import SimpleNamespace

import gradio as gr
import numpy as np
import pytest
import standin

from app.core.databases import Databases
from app.core.descriptor_store import DescriptorStore
from app.tabs.find.handlers import FindHandlers
from app.tabs.inside.service import Inspector
from app.tabs.models_and_data.handlers import SourceHandlers
from app.tabs.models_and_data.service import Sources
from app.tabs.my_places import layout as tab
from app.tabs.my_places.handlers import MyPlacesHandlers
from app.tabs.my_places.own_pack import unpack
from app.tabs.my_places.service import MyPlaces
from app.tabs.stability.service import Stability
from scicevpr.datasets import read_dataset
from scicevpr.datasets.intake import Limits
from scicevpr.errors import DatasetError, SciceVPRError, UsageError
from scicevpr.packs import open_pack
from scicevpr.packs.pack import check_pack

pytestmark = pytest.mark.slow

ANN, BEN = (SimpleNamespace(session_hash=name) for name in ("ann", "ben"))


@pytest.fixture
def own_services(city_folder):
    return standin.recorded_services(city_folder)


@pytest.fixture
def mine(own_services):
    return MyPlaces(own_services)


@pytest.fixture
def photos(city_folder):
    """Ten uploaded photos with positions in their names: (file, name)."""
    found = read_dataset(city_folder).database[:10]
    return [(standin.upload(place.path, place.name), place.name) for place in found]


def built(mine, photos, **options):
    token = mine.welcome()
    reading = mine.read(token, photos)
    return token, mine.build(token, reading, **options)


def test_places_are_searched_by_both_models_and_judged(mine, own_services, photos, city_folder):
    _, database = built(mine, photos, title="  My   street ", hold_back=5)
    data = database.dataset
    assert (database.title, len(data.database), len(data.queries)) == ("My street", 8, 2)
    assert database.groupings == (("scicevpr-t", "independent of the batch"), ("cricavpr-t", "sequential 16"))
    query = data.queries[0]
    found = own_services.find(query.path, query.name, database=database.key)
    assert found.stable.protocol["database"] == "My street, uploaded, 8 photos (opened pack)"
    assert database.key not in str(found.stable.protocol)
    assert {hit.right for hit in found.stable.hits} == {True, False}
    assert found.positions is not None
    visitor = read_dataset(city_folder).queries[0]
    assert own_services.find(visitor.path, visitor.name, database=database.key).baseline.hits


def test_a_private_database_is_found_by_its_key_and_listed_nowhere(mine, own_services, photos):
    _, database = built(mine, photos)
    key, handlers = database.key, FindHandlers(own_services)
    assert own_services.dataset(key) == (key, database.dataset)
    assert own_services.dataset(None)[0] == "Tiny city"
    listings = [
        list(own_services.datasets),
        dict(own_services.datasets),
        handlers.api_databases(),
        SourceHandlers(Sources(own_services, standin.load_recorded)).tables(),
    ]
    assert key not in str(listings)
    assert database.title not in str(listings)
    for guess in (database.title, "mine-" + "A" * 43):
        with pytest.raises(UsageError) as error:
            own_services.dataset(guess)
        assert key not in str(error.value)
    assert "only while the page" in str(error.value)
    assert len({Databases({}).add_private("x", database.dataset) for _ in range(50)}) == 50


def test_two_visitors_at_once_never_see_each_others_places(mine, own_services, photos):
    handlers = MyPlacesHandlers(mine, SimpleNamespace(temp_file_sets=[set()]))
    results: dict[str, tuple] = {}

    def visit(request, chosen):
        files = [{"path": str(path), "orig_name": name} for path, name in chosen]
        *_, last = handlers.build("", files, "", None, "", request.session_hash, 0, request, lambda *_, **__: None)
        results[request.session_hash] = last

    threads = [threading.Thread(target=visit, args=pair) for pair in ((ANN, photos[:6]), (BEN, photos[6:]))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    tokens = {name: result[0] for name, result in results.items()}
    mine_of = {name: mine.database(token) for name, token in tokens.items()}
    for name, other in (("ann", "ben"), ("ben", "ann")):
        offered = str(handlers.choices(tokens[name]))
        assert mine_of[name].key in offered
        assert mine_of[other].key not in offered
        names = {place.name for place in mine_of[name].dataset.database}
        assert names.isdisjoint(place.name for place in mine_of[other].dataset.database)
        assert mine_of[other].key not in str(results[name])
    assert str(handlers.choices("")) == "['Tiny city']"
    handlers.leave(ANN)
    assert mine.database(tokens["ann"]) is None
    assert own_services.dataset(mine_of["ben"].key)[1].database
    with pytest.raises(UsageError, match="gone"):
        own_services.dataset(mine_of["ann"].key)


def test_another_models_descriptors_of_private_places_are_not_cached(city_folder, photos, tmp_path):
    services = standin.recorded_services(city_folder)
    services._store = DescriptorStore(cache=tmp_path)
    mine = MyPlaces(services)
    _, database = built(mine, photos)
    services.slots.replace("third", "super-cricavpr-t", lambda: standin.recorded("super-cricavpr-t"))
    assert services.described("third", database.key).source == "computed here"
    assert list(tmp_path.iterdir()) == []
    public = replace(services.datasets["Tiny city"], database=services.datasets["Tiny city"].database[:4])
    services.described("third", services.add_database("Few", replace(public, root=tmp_path)))
    assert list(tmp_path.iterdir())  # as it is done for everybody's databases


def test_uploads_go_with_the_session_unless_others_need_them(mine, photos):
    paths = [standin.upload(path, f"{number}.jpg") for number, (path, _) in enumerate(photos[:4])]
    uploads, shown = {str(path) for path in paths[:3]}, {str(paths[1])}
    handlers = MyPlacesHandlers(mine, SimpleNamespace(temp_file_sets=[uploads, shown]))
    ann = handlers.uploaded("", [{"path": str(path)} for path in paths], None, ANN)
    ben = handlers.uploaded("", [{"path": str(paths[2])}], None, BEN)
    assert handlers.uploaded("", None, None, BEN) == ""
    handlers.leave(ANN)
    # the first was only ann's; the second is shown elsewhere, the third is ben's too, the fourth no upload at all
    assert [path.exists() for path in paths] == [False, True, True, True]
    mine.forget(ben)
    assert [path.exists() for path in paths] == [False, True, False, True]
    assert ann != ben


def test_the_pack_can_be_taken_home_and_opened(mine, photos, tmp_path):
    _, database = built(mine, photos, title="Rue des Écoles / 2", hold_back=5)
    assert database.archive.name == "rue-des-coles-2.zip"
    with zipfile.ZipFile(database.archive) as archive:
        archive.extractall(tmp_path)
    folder = tmp_path / "rue-des-coles-2"
    assert check_pack(folder) == []
    pack = open_pack(folder)
    assert pack.title == "Rue des Écoles / 2"
    assert all(place.path.is_file() for place in pack.dataset.database)
    values = pack.descriptors(standin.recorded("scicevpr-t")).values
    assert np.linalg.norm(values.astype(np.float32), axis=1) == pytest.approx(1, abs=1e-3)


def test_photos_without_position_are_part_of_it_but_nothing_is_right(mine, own_services, photos):
    token = mine.welcome()
    bare = [(path, f"photo {number}.jpg") for number, (path, _) in enumerate(photos[:3])]
    reading = mine.read(token, [*photos[3:], *bare])
    assert (len(reading.photos), reading.positioned) == (10, 7)
    database = mine.build(token, reading)
    found = own_services.find(photos[0][0], photos[0][1], database=database.key)
    assert found.stable.positives is None
    assert {hit.right for hit in found.stable.hits} == {None}
    assert not database.dataset.labelled


def test_a_folder_called_queries_decides_what_is_held_back(mine, photos, tmp_path):
    with zipfile.ZipFile(tmp_path / "town.zip", "w") as archive:
        for number, (path, name) in enumerate(photos):
            archive.write(path, f"town/{'queries' if number < 3 else 'database'}/{name}")
    _, database = built(mine, [(tmp_path / "town.zip", "town.zip")], hold_back=5)
    assert {place.name for place in database.dataset.queries} == {name for _, name in photos[:3]}
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.write(photos[0][0], "queries/a.jpg")
    with pytest.raises(UsageError, match="nothing to search"):
        built(mine, [(tmp_path / "all.zip", "all.zip")])


def test_errors_name_files_not_servers_and_leave_what_was_there(mine, own_services, photos, tmp_path):
    token, database = built(mine, photos)
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(photos[0][0].read_bytes()[:900])
    table = tmp_path / "where.csv"
    table.write_text("name,east,north\nbroken.jpg,x,2\n")
    for brought, given, words in (
        ([], None, "no photos yet"),
        ([(broken, "broken.jpg")], None, r"broken\.jpg: it could not be decoded"),
        (photos, (table, "where.csv"), r"^where\.csv names none"),
        ([(tmp_path / "lost.jpg", "lost.jpg")], None, "not on the server any more"),
    ):
        with pytest.raises(SciceVPRError, match=words) as error:
            mine.read(token, brought, table=given)
        assert str(mine.root) not in str(error.value)
    with pytest.raises(UsageError, match="--my-folder"):
        mine.read(token, [], folder=str(tmp_path))
    assert own_services.dataset(database.key)[1] is database.dataset
    assert database.archive.is_file()
    assert len(list(database.archive.parent.parent.iterdir())) == 1  # nothing half-made beside it
    reading = mine.read(token, [*photos, (broken, "broken.jpg")])
    assert [name for name, _ in reading.left_out] == ["broken.jpg"]


def test_a_new_database_takes_the_place_of_the_old_one(mine, own_services, photos):
    token, first = built(mine, photos[:5])
    second = mine.build(token, mine.read(token, photos[5:]))
    assert first.key != second.key
    assert not first.archive.exists()
    with pytest.raises(UsageError, match="gone"):
        own_services.dataset(first.key)


def test_stopping_and_leaving_end_the_work(mine, own_services, photos):
    token = mine.welcome()

    def stop(*_):
        mine.stop(token)

    with pytest.raises(UsageError, match="Stopped"):
        mine.read(token, photos, progress=stop)
    reading = mine.read(token, photos)
    with pytest.raises(UsageError, match="Stopped"):
        mine.build(token, reading, progress=stop)
    reading = mine.read(token, photos)
    with pytest.raises(UsageError, match="page was closed"):
        mine.build(token, reading, progress=lambda *_: mine.forget(token))
    assert list(mine.root.iterdir()) == []
    with pytest.raises(UsageError, match="session is over"):
        mine.read(token, photos)


def test_places_without_queries_can_be_tried_in_every_tab(mine, own_services, photos):
    _, database = built(mine, photos[:4])
    path, name = photos[7]
    stability = Stability(own_services)
    session = stability.session(path, name, database.key)
    reaction = stability.react(session, [], stability.pool(session))[1]
    assert reaction.cosine == pytest.approx(1, abs=1e-5)
    inspected = Inspector(own_services).inspect(path, name, database.key, "baseline", 1, 0)
    assert inspected.hit.photo.name in {name for _, name in photos[:4]}
    with pytest.raises(UsageError, match="only 0 other photos"):
        own_services.find(path, name, database.key, batch_mates=3)


def test_a_local_folder_is_read_where_it_is_and_never_removed(own_services, photos, tmp_path):
    folder = tmp_path / "street"
    folder.mkdir()
    for path, name in photos:
        shutil.copy(path, folder / name)
    before = sorted(folder.iterdir())
    mine = MyPlaces(own_services, Limits(photos=60), may_read_folders=True)
    token = mine.welcome()
    database = mine.build(token, mine.read(token, [], folder=f" {folder} "), hold_back=10)
    assert database.dataset.database[0].path.parent == folder
    with pytest.raises(UsageError, match="Remove one"):
        mine.read(token, [(before[0], "a.jpg")], folder=str(folder))
    with pytest.raises(DatasetError, match="does not exist"):
        mine.read(token, [], folder=str(tmp_path / "absent"))
    mine.forget(token)
    assert sorted(folder.iterdir()) == before


def test_gradio_ends_a_session_that_was_left_open_or_closed(mine, photos):
    with gr.Blocks() as page:
        parts = tab.build(None, mine, page)
    token, database = built(mine, photos[:3])
    assert parts.token.time_to_live == tab.KEPT_S
    parts.token.delete_callback(token)
    assert not database.archive.exists()
    assert [fn for fn in page.fns.values() if any(target[1] == "unload" for target in fn.targets)]
    parts.token.delete_callback("")  # a visitor who brought nothing


def test_a_token_is_used_once(mine):
    token = mine.welcome()
    assert mine.welcome(token) == token
    mine.forget(token)
    assert mine.welcome(token) != token


def test_the_page_says_what_was_read_while_it_describes(mine, photos):
    handlers = MyPlacesHandlers(mine, gr.Blocks())
    files = [{"path": str(path), "orig_name": name} for path, name in photos[:4]]
    files.append({"path": str(photos[0][0]), "orig_name": "<b>again</b>.jpg"})
    said = []
    steps = handlers.build(
        "", files, "", None, "dusk", "Street", 0, ANN, lambda part, desc, unit: said.append((desc, part))
    )
    *_, reading, last = list(steps)
    assert "4 photos read, 4 with a position" in reading[1]
    assert "the same photo as" in reading[2]
    assert "<b>" not in reading[2]
    assert "Street can be searched" in last[1]
    assert "SciceVPR-T: every photo alone; CricaVPR-T: 16 a batch, in the order of their paths" in last[1]
    assert {"Opening the photos", "SciceVPR-T describes the database", "CricaVPR-T describes the database"} <= {
        what for what, _ in said
    }
    assert handlers.now(last[0])[1:] == (last[3], last[4])
    assert last[3]["value"].endswith("street.zip")
    assert last[4]["interactive"], "there is something to search"
    removed = handlers.remove(last[0])
    assert removed[0] == ""
    assert removed[5:7] == (None, None), "the chosen files go from the form"
    assert not removed[4]["interactive"]
    with pytest.raises(gr.Error, match="no photos yet"):
        list(handlers.build("", None, "", None, "", "", 0, ANN, lambda *_, **__: None))


def test_the_pages_own_pack_opens_again_without_describing_anything(mine, photos, monkeypatch):
    _, first = built(mine, photos, title="My street", hold_back=5)
    zipped = standin.upload(first.archive, "my-street.zip")
    monkeypatch.setattr("app.tabs.my_places.service.describe_content", None)
    handlers = MyPlacesHandlers(mine, gr.Blocks())
    sent = [{"path": str(zipped), "orig_name": "my-street.zip"}]
    [*_, last] = handlers.build("", sent, "", None, "", "", 0, BEN, lambda *_, **__: None)
    again = mine.database(last[0])
    assert "My street can be searched" in last[1]
    assert [photo.name for photo in again.dataset.database] == [photo.name for photo in first.dataset.database]
    query = again.dataset.queries[0]
    found = mine.services.find(query.path, query.name, database=again.key)
    assert found.stable.hits
    assert found.stable.protocol["database"].endswith("(opened pack)")
    more = [*sent, {"path": str(photos[0][0]), "orig_name": photos[0][1]}]
    with pytest.raises(gr.Error, match="Bring it alone"):
        list(handlers.build("", more, "", None, "", "", 0, BEN, lambda *_, **__: None))


def test_a_pack_of_more_photos_than_are_taken_or_of_no_descriptors_is_refused(mine, photos, tmp_path, monkeypatch):
    _, first = built(mine, photos)
    with monkeypatch.context() as patch:
        patch.setattr(mine, "limits", replace(mine.limits, photos=2))
        with pytest.raises(UsageError, match=r"photos\. At most 2"):
            mine.reopen(mine.welcome(), first.archive)
    empty = tmp_path / "empty.zip"
    with zipfile.ZipFile(first.archive) as old, zipfile.ZipFile(empty, "w") as new:
        for entry in old.infolist():
            content = old.read(entry)
            if entry.filename.endswith("pack.json"):
                content = json.dumps({**json.loads(content), "descriptors": []}).encode()
            new.writestr(entry.filename, content)
    with pytest.raises(UsageError, match="no descriptors"):
        mine.reopen(mine.welcome(), empty)


def test_the_pages_config_copies_no_database(mine):
    """gradio copies the callbacks in its config for everybody who opens the page, and what they are bound to."""
    assert copy.deepcopy(mine.forget).__self__ is mine


@pytest.mark.parametrize("name", ["../pack.json", "/etc/pack.json", "a/../../b", "a/b\\c", "C:/x"])
def test_a_zip_that_is_no_pack_of_this_page_is_refused(mine, tmp_path, name):
    path = tmp_path / "evil.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/pack.json", "{}")
        archive.writestr(name, "x")
    with pytest.raises(DatasetError, match=r"not a pack|not the zip"):
        unpack(path, tmp_path / "out", mine.limits)
    assert not (tmp_path / "b").exists()


def test_a_pack_zip_is_not_compressed_and_within_the_limits(mine, tmp_path):
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/pack.json", "{}" * 10_000)
    with pytest.raises(DatasetError, match="not a pack"):
        unpack(path, tmp_path / "out", mine.limits)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/pack.json", "{}" * 10_000)
    with pytest.raises(DatasetError, match="at most"):
        unpack(path, tmp_path / "other", Limits(total=1_000))
