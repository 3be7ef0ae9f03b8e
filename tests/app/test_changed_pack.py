"""A pack that was made anew under its name answers with what it holds now."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from app.core.descriptor_store import DescriptorStore
from app.core.services import Services
from scicevpr.config import get_variant
from scicevpr.datasets import Dataset, GroundTruth, Photo
from scicevpr.errors import IndexMismatchError
from scicevpr.files.descriptor_files import Descriptors
from scicevpr.packs import open_pack
from scicevpr.packs.build import Content, build_pack
from scicevpr.retrieval.factory import make_index

VARIANT = get_variant("scicevpr-t")
MODEL = SimpleNamespace(variant=VARIANT, weights=SimpleNamespace(sha256="a" * 12))


def _pack(folder: Path, names: list[str], values: np.ndarray) -> Path:
    from dataclasses import asdict

    places = tuple(Photo(path=folder.parent / name, name=name) for name in names)
    dataset = Dataset(name="town", split="", root=folder.parent, database=places, queries=(), truth=GroundTruth())
    facts = {"variant": VARIANT.name, "fingerprint": VARIANT.fingerprint, "weights": "a" * 12, "trained": True}
    protocol = {"grouping": "independent of the batch", "preprocessing": asdict(VARIANT.preprocessing)}
    found = Descriptors(values, **facts, **protocol, device="cpu", dtype="float32", seconds=0.0)
    return build_pack(folder, dataset, [Content(found)], overwrite=folder.exists()).folder


def test_a_changed_pack_opened_again_is_searched_anew(tmp_path):
    values = np.eye(4, 8, dtype=np.float32)
    _pack(tmp_path / "pack", ["a.jpg", "b.jpg", "c.jpg"], values[:3])
    store = DescriptorStore()
    services = Services({}, {}, store=store)
    for names, rows in ((["a.jpg", "b.jpg", "c.jpg"], [0, 1, 2]), (["d.jpg", "b.jpg", "a.jpg"], [3, 1, 0])):
        _pack(tmp_path / "pack", names, values[rows])
        pack = open_pack(tmp_path / "pack")
        key = services.add_database(pack.title, pack.dataset, pack.searchable)
        found = store.get(key, services.datasets[key], MODEL)
        best = found.index.search(values[:1], 3)
        nearest = services.datasets[key].database[best.indices[0, 0]].name
        assert (key, nearest, best.similarities[0, 0]) == ("town / ", "a.jpg", pytest.approx(1))
    assert "c.jpg" not in {place.name for place in services.datasets[key].database}


def test_lists_that_were_kept_are_of_the_file_as_it_is_now(tmp_path):
    values = np.random.default_rng(1).normal(size=(300, 16)).astype(np.float32)
    np.save(tmp_path / "d.npy", values)
    make_index(np.load(tmp_path / "d.npy", mmap_mode="r"), "ivf-pq", folder=tmp_path / "kept")
    np.save(tmp_path / "d.npy", values)  # written again, the same
    assert len(make_index(np.load(tmp_path / "d.npy", mmap_mode="r"), "ivf-pq", folder=tmp_path / "kept")) == 300
    np.save(tmp_path / "d.npy", values[::-1])
    with pytest.raises(IndexMismatchError, match="holds an index of other descriptors"):
        make_index(np.load(tmp_path / "d.npy", mmap_mode="r"), "ivf-pq", folder=tmp_path / "kept")


def test_a_right_photo_that_was_not_ranked_is_a_verdict_not_an_error():
    from app.core.records import Answer

    answer = Answer("stable", "M", (), None, None, 2, 1.0, 1.0, True)
    mood, words = answer.verdict()
    assert mood == "wrong"
    assert "nor among the best that were ranked" in words
