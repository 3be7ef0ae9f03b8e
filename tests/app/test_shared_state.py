"""What several visitors' threads share: nobody takes away what another is about to read, nobody waits without need."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import torch

from app.core.databases import Databases
from app.core.model_slots import ModelSlots
from app.core.region_store import BATCH, RegionStore

PATIENCE = 60


def test_region_vectors_stay_for_who_asked_while_others_clear_the_store(monkeypatch, tmp_path):
    store, model = RegionStore(), SimpleNamespace(weights=None, variant=SimpleNamespace(fingerprint="f", name="x"))
    places = [SimpleNamespace(path=tmp_path / f"{number}.jpg") for number in range(40)]
    for place in places:
        place.path.touch()

    def described(_model, paths, batch_size):
        store._kept.clear()  # as another thread does, when there are too many
        return torch.ones(len(paths), 14, 2)

    monkeypatch.setattr("app.core.region_store.region_vectors", described)
    assert store.get(model, places).shape == (40, 14, 2)
    assert store.get(model, places).shape == (40, 14, 2)


def test_a_model_that_loads_slowly_holds_up_nobody_else():
    begun, go, answers = threading.Event(), threading.Event(), []
    quick = SimpleNamespace(variant=SimpleNamespace(title="quick", cross_image=False), weights=None)

    def slow():
        begun.set()
        assert go.wait(PATIENCE)
        return SimpleNamespace(variant=SimpleNamespace(title="slow"), weights=None)

    slots = ModelSlots({"stable": ("slow", slow), "baseline": ("quick", lambda: quick)})
    first = threading.Thread(target=lambda: answers.append(slots.model("stable")), daemon=True)
    first.start()
    assert begun.wait(PATIENCE)
    second = threading.Thread(target=lambda: answers.append(slots.model("baseline")), daemon=True)
    second.start()
    second.join(PATIENCE)
    assert answers == [quick]
    assert slots.states()[0].state == "waiting"
    slots.replace("third", "new", lambda: quick)
    assert slots.roles == ("stable", "baseline", "third")
    go.set()
    first.join(PATIENCE)
    assert len(answers) == 2


def test_databases_can_be_added_while_others_are_looked_through():
    databases = Databases({"a": SimpleNamespace(), "b": SimpleNamespace()})
    seen = []
    for walk in (databases.items, databases.values, databases.__iter__):
        for number, one in enumerate(walk()):
            databases[f"new {len(databases)}"] = SimpleNamespace()
            seen.append(one)
            assert number < 20
    assert len(databases) == 2 + len(seen)


def test_kept_region_vectors_with_a_flipped_byte_are_made_anew(monkeypatch, tmp_path):
    weights, variant = SimpleNamespace(sha256="w"), SimpleNamespace(fingerprint="f", name="x")
    model = SimpleNamespace(weights=weights, variant=variant)
    places = [SimpleNamespace(path=tmp_path / f"{number}.jpg") for number in range(2 * BATCH + 1)]
    for place in places:
        place.path.touch()
    calls = []

    def described(_model, paths, batch_size):
        calls.append(len(paths))
        return torch.full((len(paths), 14, 2), 0.5)

    monkeypatch.setattr("app.core.region_store.region_vectors", described)
    wanted = RegionStore(tmp_path / "cache").get(model, places)
    once = sum(calls)
    assert torch.equal(RegionStore(tmp_path / "cache").get(model, places), wanted)
    assert sum(calls) == once  # read from the file
    (file,) = (tmp_path / "cache" / "regions").iterdir()
    data = bytearray(file.read_bytes())
    data[-3] ^= 64
    file.write_bytes(data)
    assert torch.equal(RegionStore(tmp_path / "cache").get(model, places), wanted)
    assert sum(calls) == 2 * once
