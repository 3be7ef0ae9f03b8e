from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from filelock import FileLock
from filled_models import INFO, filled_model
from pack_samples import content

from scicevpr.cli.main import main
from scicevpr.cluster import describing
from scicevpr.cluster.describing import ShardedDescribing
from scicevpr.cluster.ray_cluster import RayEngine, travelling_rows
from scicevpr.cluster.shards import cut, numbered_within
from scicevpr.cluster.workers import PackedModel
from scicevpr.datasets import read_dataset
from scicevpr.descriptors.batches import Grouping
from scicevpr.descriptors.describe import describe
from scicevpr.errors import ClusterError, ImageError, UsageError, WeightsError
from scicevpr.models.model import build_model
from scicevpr.models.native_checkpoints import save_weights
from scicevpr.packs import open_pack
from scicevpr.packs.build import build_pack, describe_content
from scicevpr.packs.pack import check_pack
from scicevpr.retrieval.pca import PCA

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def models():
    found = {name: filled_model(name) for name in ("scicevpr-t", "cricavpr-t")}
    for model in found.values():
        model.allow_untrained = True
    return found


@pytest.fixture
def photos(tiny_city):
    return [place.path for place in read_dataset(tiny_city).database]


def sharded(folder: Path, **options) -> ShardedDescribing:
    return ShardedDescribing(folder, **{"shard_photos": 4, "store": "float32", **options})


def test_shards_hold_whole_batches():
    sizes = [[len(group) for group in shard.groups] for shard in cut(Grouping.sequential(3).split(11), 7)]
    assert sizes == [[3, 3], [3, 2]]
    assert [shard.rows for shard in cut([(4, 1), (0, 2, 3)], 1)] == [[4, 1], [0, 2, 3]]
    assert numbered_within([(4, 1), (0, 2, 3)]) == [[0, 1], [2, 3, 4]]
    with pytest.raises(UsageError, match="at least 1 photo, not 0"):
        cut([(0,)], 0)


def test_batches_are_never_parted_on_their_way_to_a_cluster():
    shards = cut(Grouping.sequential(8).split(50), 40)
    rows = list(travelling_rows(shards, [f"/p/{row}.jpg" for row in range(50)]))
    assert [(row["shard"], row["start"], row["sizes"]) for row in rows] == [
        (0, 0, [8, 8]), (0, 16, [8, 8]), (0, 32, [8]), (1, 0, [8, 2]),
    ]  # fmt: skip
    assert rows[1]["paths"][0] == b"/p/16.jpg"
    assert [row["sizes"] for row in travelling_rows(cut([range(40)], 8), ["x"] * 40)] == [[40]]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("scicevpr-t", {"batch_size": 3}),
        ("cricavpr-t", {}),
        ("cricavpr-t", {"grouping": Grouping.explicit([[5, 0, 11], [1, 2, 3, 4], [6, 7, 8, 9, 10]], "mixed")}),
    ],
)
def test_shards_give_exactly_what_describe_gives(models, photos, tmp_path, name, options):
    plain = describe(models[name], photos, **options)
    steps = []
    work = sharded(tmp_path / "work")
    found = work(models[name], photos, progress=lambda done, total: steps.append((done, total)), **options)
    np.testing.assert_array_equal(found.values, plain.values)
    assert found.protocol() == plain.protocol()
    assert steps[0] == (0, 12)
    assert steps[-1] == (12, 12)
    assert steps == sorted(steps)
    half = sharded(tmp_path / "half", store="float16")(models[name], photos, scratch=tmp_path, **options)
    np.testing.assert_array_equal(half.values, plain.values.astype(np.float16))
    assert isinstance(half.values, np.memmap)
    work.clear()
    assert not (tmp_path / "work").exists()


def test_only_what_is_missing_or_damaged_or_changed_is_described_again(models, photos, tmp_path, monkeypatch):
    own = [tmp_path / path.name for path in photos]
    for path, copy in zip(photos, own, strict=True):
        copy.write_bytes(path.read_bytes())
    seen, words = [], []

    def counted(model, paths, **how):
        seen.append(len(paths))
        return describe(model, paths, **how)

    monkeypatch.setattr(describing, "describe", counted)
    work = sharded(tmp_path / "work", tell=words.append, store="float16")

    def again() -> list[int]:
        seen.clear()
        found = work(models["scicevpr-t"], own, batch_size=2)
        np.testing.assert_array_equal(found.values, expected)
        return list(seen)

    expected = describe(models["scicevpr-t"], own, batch_size=2).values.astype(np.float16)
    assert again() == [4, 4, 4]
    assert again() == []
    [job] = (tmp_path / "work").iterdir()
    shard, manifest = job / "shard-000001.npy", job / "manifest.jsonl"

    damaged = bytearray(shard.read_bytes())
    damaged[-1] ^= 1
    shard.write_bytes(damaged)
    assert again() == [4]
    shard.write_bytes(damaged[:-5])
    assert again() == [4]
    shard.unlink()
    assert again() == [4]
    assert words[-1].startswith("2 of 3 shards of an earlier run are used again; 1 were damaged")
    text = manifest.read_text()
    manifest.write_text(text[:-40] + '\n{"shard": 0}\n[]\n"\n')
    (job / "left.part").write_bytes(b"half a shard")
    assert again() == [4]
    assert not (job / "left.part").exists()
    assert len(manifest.read_text().splitlines()) == 3
    os.utime(own[0], ns=(1, 1))
    assert again() == [4]
    assert again() == []


def test_another_job_gets_a_folder_of_its_own(models, photos, tmp_path):
    work = sharded(tmp_path)
    work(models["scicevpr-t"], photos[:2])
    work(models["scicevpr-t"], photos[:2], dtype=torch.float64)
    work(models["scicevpr-t"], photos[1:3])
    work(models["cricavpr-t"], photos[:2])
    work(models["cricavpr-t"], photos[:2], grouping=Grouping.alone())
    assert len(list(tmp_path.iterdir())) == len(work.kept) == 5
    (tmp_path / "mine.txt").write_text("not a shard")
    (work.kept[0] / "mine.txt").write_text("not a shard")
    work.clear()
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["mine.txt"] * 2


def test_an_unreadable_photo_is_named_and_the_rest_is_kept(models, photos, tmp_path):
    own = [*photos[:5], tmp_path / "broken.jpg", *photos[5:]]
    own[5].write_bytes(b"no photo")
    with pytest.raises(ImageError) as plain:
        describe(models["scicevpr-t"], own)
    work = sharded(tmp_path / "work")
    with pytest.raises(ImageError) as found:
        work(models["scicevpr-t"], own, batch_size=2)
    assert str(found.value) == str(plain.value)
    assert "broken.jpg" in str(found.value)
    assert [path.name for path in work.kept[0].glob("*.npy")] == ["shard-000000.npy"]
    with pytest.raises(ImageError):
        sharded(tmp_path / "none")(models["scicevpr-t"], own[5:])
    assert not (tmp_path / "none").exists(), "nothing was finished, nothing stays"


def test_what_cannot_be_described_in_shards_is_refused(models, photos, tmp_path):
    model = models["scicevpr-t"]
    for images, words in (([], "at least one path"), ([np.zeros((8, 8, 3))], "nothing but paths")):
        with pytest.raises(UsageError, match=words):
            sharded(tmp_path)(model, images)
    with pytest.raises(UsageError, match="not as 'int8'"):
        sharded(tmp_path, store="int8")(model, photos)
    with pytest.raises(UsageError, match="at least 1, not 0"):
        sharded(tmp_path)(model, photos, batch_size=0)
    with pytest.raises(WeightsError, match="no weights loaded"):
        sharded(tmp_path)(build_model("scicevpr-t"), photos)
    work = sharded(tmp_path / "work")
    work(model, photos[:4])
    with FileLock(work.kept[0] / "lock"), pytest.raises(UsageError, match="Another process is describing"):
        work(model, photos[:4])


def test_a_model_travels_whole_and_its_tensors_once(models, photos):
    model = models["cricavpr-t"]
    packed = PackedModel.of(model)
    for array in packed.arrays:
        array.flags.writeable = False  # as in a cluster's shared memory
    twin = packed.model()
    assert twin.weights == model.weights
    assert len(packed.skeleton) < 2**20
    assert sum(array.nbytes for array in packed.arrays) < 1.01 * sum(
        tensor.nbytes for tensor in (*model.parameters(), *model.buffers())
    )
    np.testing.assert_array_equal(describe(twin, photos[:3]).values, describe(model, photos[:3]).values)
    assert np.shares_memory(next(twin.parameters()).detach().numpy(), packed.arrays[0])


def test_workers_leave_room_for_the_reading_tasks():
    assert RayEngine().share(2, 0) == (2, 0.75)
    assert RayEngine().share(1, 0) == (1, 0.75)
    assert RayEngine(threads=4).share(64, 0) == (16, 3.0)
    assert RayEngine(gpus=1).share(16, 4) == (4, 0.75)
    assert RayEngine(gpus=0.5).share(16, 4) == (8, 0.75)
    with pytest.raises(ClusterError, match="At most 2 fit"):
        RayEngine(workers=3).share(2, 0)
    with pytest.raises(ClusterError, match="At most 0 fit"):
        RayEngine(gpus=1).share(16, 0)


@pytest.mark.skipif(find_spec("ray") is None, reason="the extra 'ray' is not installed")
def test_a_cluster_that_is_not_there_is_told_at_once(models, photos, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(ClusterError, match=f"No Ray cluster answers at '{address}'.*ray start --head"):
        sharded(tmp_path / "work", engine=RayEngine(address))(models["scicevpr-t"], photos)
    with pytest.raises(UsageError, match="HOST:PORT or auto"):
        sharded(tmp_path / "work", engine=RayEngine(f"ray://{address}"))(models["scicevpr-t"], photos)
    assert not (tmp_path / "work").exists()


def test_without_ray_the_command_to_install_it_is_named(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main(["pack", "build", "nowhere", "--engine", "ray"]) == 2
    assert 'pip install "ray[data]"' in capsys.readouterr().err


def test_a_pca_sees_the_full_precision(tiny_city, tmp_path):
    weights, pca = tmp_path / "w.safetensors", tmp_path / "pca.safetensors"
    save_weights(filled_model("scicevpr-t"), weights, info=INFO)
    database = tiny_city / "images" / "test" / "database"
    command = ["pack", "build", tmp_path / "pack", "--dataset", tiny_city, "--model", weights, "--batch-size", 2]
    command += ["--pca-dim", 5, "--pca-folder", database, "--pca-file", pca, "--shard-photos", 4]
    assert main([str(word) for word in command]) == 0
    same_as_at_once(tmp_path / "pack", tiny_city, weights, tmp_path / "plain", pca=PCA.load(pca))


def test_two_processes_do_not_make_the_same_pack_and_dead_drafts_go(tiny_city, tmp_path):
    city = read_dataset(tiny_city)
    left = tmp_path / ".pack.abc123.part"
    left.mkdir()
    with FileLock(tmp_path / ".pack.lock"), pytest.raises(UsageError, match="Another process is making"):
        build_pack(tmp_path / "pack", city, [content(city)])
    assert left.exists()
    build_pack(tmp_path / "pack", city, [content(city)])
    assert [path.name for path in tmp_path.iterdir()] == ["pack"]


@pytest.mark.slow
def test_a_build_killed_at_any_moment_goes_on_and_gives_the_same_pack(tiny_city, tmp_path, capsys, monkeypatch):
    save_weights(filled_model("scicevpr-t"), tmp_path / "w.safetensors", info=INFO)
    out = tmp_path / "pack"
    words = ["pack", "build", out, "--dataset", tiny_city, "--model", tmp_path / "w.safetensors"]
    words = [str(word) for word in [*words, "--batch-size", 2, "--shard-photos", 2]]
    shards: set[tuple[str, int]] = set()
    for _ in range(2):
        wanted = random.randint(len(shards) + 1, len(shards) + 4)
        with subprocess.Popen([sys.executable, "-m", "scicevpr", *words], stderr=subprocess.DEVNULL) as process:
            while process.poll() is None and len(finished(tmp_path)) < wanted:
                time.sleep(0.002)
            time.sleep(random.random() * 0.05)
            process.send_signal(signal.SIGKILL)
        assert not out.exists()
        assert shards <= finished(tmp_path), "finished shards are not written again"
        shards = finished(tmp_path)
    count = []
    monkeypatch.setattr(describing, "describe", lambda *a, **o: count.append(1) or describe(*a, **o))
    assert main(words) == 0
    assert len(count) in (10 - len(shards), 11 - len(shards)), "a shard may be there without its line"
    assert "shards of an earlier run are used again" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pack", "w.safetensors"]
    same_as_at_once(out, tiny_city, tmp_path / "w.safetensors", tmp_path / "plain")


def finished(folder: Path) -> set[tuple[str, int]]:
    """Shard files: job and name, and when they were written."""
    return {(f"{path.parent.name}/{path.name}", path.stat().st_mtime_ns) for path in folder.glob("*.shards/*/*.npy")}


def same_as_at_once(folder: Path, city: Path, weights: Path, other: Path, **options) -> None:
    """The pack has the descriptors, names and protocol of one that `describe` makes at once, byte for byte."""
    from scicevpr.hub.load import load_model

    dataset, model = read_dataset(city), load_model(weights)
    described = describe_content(model, dataset, batch_size=2, **options)
    plain, pack = build_pack(other, dataset, [described]), open_pack(folder)
    assert check_pack(folder) == []
    assert pack.manifest.entries == plain.manifest.entries
    for entry in pack.manifest.entries:
        mine, whole = (place.read(entry) for place in (pack, plain))
        assert mine.values.tobytes() == whole.values.tobytes()
        assert mine.protocol() == whole.protocol()
    for table in ("records.csv", "queries.csv"):
        assert pack.manifest.files[table] == plain.manifest.files[table]
