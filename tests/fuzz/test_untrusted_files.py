"""Weights, descriptors, results, packs and indexes of strangers."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from driver import changed, explore, keeps_the_promise, listing, mutated
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "unit"))

from pack_samples import described, stand_in
from small_results import result, street

from scicevpr.evaluation.comparison import compare, read_relevance
from scicevpr.evaluation.results import read_results
from scicevpr.evaluation.stored import open_descriptors, recorded_dataset
from scicevpr.files.descriptor_files import load_descriptors, save_descriptors
from scicevpr.models import key_formats
from scicevpr.models.checkpoint import read_checkpoint
from scicevpr.packs import open_pack
from scicevpr.packs.pack import check_pack
from scicevpr.retrieval.factory import build_index
from scicevpr.retrieval.manifest import _checksum
from scicevpr.retrieval.pca import PCA
from scicevpr.retrieval.stored_index import check_index, open_index


@pytest.fixture
def around(tmp_path) -> Path:
    """A folder to work in; nothing may appear beside it."""
    (tmp_path / "work").mkdir()
    yield tmp_path / "work"
    assert {name for name in listing(tmp_path) if not name.startswith("work")} == set()


def _each(*uses) -> None:
    for use in uses:
        keeps_the_promise(use)


def test_descriptor_files_and_reductions(around):
    sound = save_descriptors(around / "d.safetensors", described(3, stand_in()), ["a", "b", "c"]).read_bytes()
    pca = PCA.fit(np.random.default_rng(0).normal(size=(6, 4)), 2).save(around / "p.safetensors").read_bytes()
    path = around / "x.safetensors"

    def read(content: bytes) -> None:
        path.write_bytes(content)
        _each(lambda: load_descriptors(path), lambda: PCA.load(path), lambda: open_descriptors(path))

    explore(mutated(sound, pca), read, 100)


def test_checkpoints(around):
    import torch
    from safetensors.torch import save_file

    state = {"backbone.dino_model.cls_token": torch.ones(1, 1, 4), "gem.p": torch.ones(1)}
    torch.save(
        {"model_state_dict": {f"module.{name}": value for name, value in state.items()}, "epoch_num": 3},
        around / "a.pth",
    )
    save_file(state, around / "a.safetensors", metadata={"x": "y"})
    samples = [(around / name).read_bytes() for name in ("a.pth", "a.safetensors")]
    path = around / "x.pth"

    def read(content: bytes) -> None:
        path.write_bytes(content)
        tensors, _ = read_checkpoint(path)
        named, _ = key_formats.unwrap(tensors, "x.pth")
        key_formats.detect(named, "x.pth")

    explore(mutated(*samples), read)


def test_results(around):
    sound = {"results": [result({0}, "Model").to_json()]}
    sound["results"][0]["predictions"] = sound["results"][0]["predictions"][:3]
    path = around / "r.json"

    def read(content: object) -> None:
        path.write_bytes(
            content if isinstance(content, bytes) else json.dumps(content).encode("utf-8", "surrogatepass")
        )
        answers: list = []
        _each(lambda: read_results(path), lambda: answers.extend(read_relevance(path)))
        if len(answers) > 1:
            _each(lambda: compare(answers[0], answers[1], draws=5))

    explore(st.one_of(changed(sound), changed(sound), mutated(json.dumps(sound).encode())), read, 80)


def test_records_of_exported_descriptors(around):
    from scicevpr.evaluation.report import write_descriptor_files

    paths = write_descriptor_files(result({0}), around)
    sound = json.loads(paths[2].read_text())
    for part in ("database", "queries"):
        sound[part].pop("sha256")

    def read(content: object) -> None:
        paths[2].write_text(json.dumps(content), encoding="utf-8", errors="surrogatepass")

        def use() -> None:
            database, queries = (open_descriptors(path) for path in paths[:2])
            recorded_dataset(database, queries)

        _each(use)

    explore(changed(sound), read)


@pytest.fixture(scope="module")
def pack(tmp_path_factory) -> Path:
    city = street()
    from pack_samples import content

    from scicevpr.packs.build import build_pack

    return build_pack(tmp_path_factory.mktemp("packs") / "pack", city, [content(city)]).folder


def test_pack_manifests(pack, around):
    folder = shutil.copytree(pack, around / "pack")
    sound = json.loads((folder / "pack.json").read_text())

    def read(content: object) -> None:
        text = content if isinstance(content, bytes) else json.dumps(content).encode("utf-8", "surrogatepass")
        (folder / "pack.json").write_bytes(text)

        def use() -> None:
            opened = open_pack(folder)
            opened.descriptors(stand_in())
            opened.dataset.positives()

        _each(use, lambda: check_pack(folder))

    explore(st.one_of(changed(sound), mutated((folder / "pack.json").read_bytes())), read)


def test_tables_of_packs(pack, around):
    folder = shutil.copytree(pack, around / "pack")
    manifest, records = json.loads((folder / "pack.json").read_text()), (folder / "records.csv").read_bytes()

    def read(content: bytes) -> None:
        (folder / "records.csv").write_bytes(content)
        facts = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}  # as a stranger would seal it
        manifest["files"]["records.csv"] = facts
        (folder / "pack.json").write_text(json.dumps(manifest))
        _each(lambda: open_pack(folder).dataset.positives())

    explore(mutated(records), read)


@pytest.mark.parametrize("tier", ["int8", "streamed"])
def test_index_manifests(around, tier):
    np.save(around / "d.npy", np.random.default_rng(0).normal(size=(20, 6)).astype(np.float32))
    folder = build_index(around / "index", around / "d.npy", tier).folder
    sound = json.loads((folder / "index.json").read_text())
    query = np.ones((1, 6), np.float32)

    def read(content: object) -> None:
        if isinstance(content, dict):
            content = {**content, "checksum": _checksum(content)}  # as a stranger would seal it
        text = content if isinstance(content, bytes) else json.dumps(content).encode("utf-8", "surrogatepass")
        (folder / "index.json").write_bytes(text)
        _each(lambda: open_index(folder).search(query, 3), lambda: check_index(folder))

    explore(st.one_of(changed(sound), mutated((folder / "index.json").read_bytes())), read, 40)
