"""Describing on a real Ray cluster of this machine: two processors, both workers, one cluster for the module."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from filled_models import INFO, filled_model

from scicevpr.cli.main import main
from scicevpr.cluster import describing
from scicevpr.cluster.describing import ShardedDescribing
from scicevpr.cluster.ray_cluster import RayEngine
from scicevpr.datasets import read_dataset
from scicevpr.descriptors.batches import Grouping
from scicevpr.descriptors.describe import describe
from scicevpr.errors import ClusterError, ImageError, UsageError
from scicevpr.hub.load import load_model
from scicevpr.models.native_checkpoints import save_weights
from scicevpr.packs import open_pack
from scicevpr.packs.build import build_pack, describe_content

pytestmark = [pytest.mark.slow, pytest.mark.skipif(find_spec("ray") is None, reason="the extra 'ray' is not installed")]


@pytest.fixture(scope="module")
def cluster():
    """The address of a cluster, to which this process is connected."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as the workers have
    with RayEngine(workers=2, store_bytes=200 * 2**20).connected() as ray:
        yield ray.get_runtime_context().gcs_address
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Files of weights, by variant."""
    files = {name: tmp_path_factory.mktemp("weights") / f"{name}.safetensors" for name in ("scicevpr-t", "cricavpr-t")}
    for name, path in files.items():
        save_weights(filled_model(name), path, info=INFO)
    return files


@pytest.fixture
def photos(tiny_city):
    return [place.path for place in read_dataset(tiny_city).database]


def test_a_cluster_of_this_machine_alone_listens_on_this_machine_alone():
    """In a process of its own: Ray decides at its first import, and another test may have imported it here."""
    asked = (
        "from scicevpr.cluster.ray_cluster import RayEngine\n"
        "with RayEngine(workers=1, store_bytes=200 * 2**20).connected() as ray:\n"
        "    print(ray.get_runtime_context().gcs_address, *(node['NodeManagerAddress'] for node in ray.nodes()))\n"
    )
    told = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, timeout=300, check=True)
    addresses = told.stdout.strip().splitlines()[-1].split()
    assert len(addresses) == 2
    assert all(address.startswith("127.") for address in addresses)


@pytest.mark.parametrize(("name", "workers"), [("cricavpr-t", 1), ("cricavpr-t", 2)])
def test_any_number_of_workers_gives_what_describe_gives(cluster, weights, photos, tmp_path, name, workers):
    model = load_model(weights[name])
    many = [*photos, *photos[:9]]  # 21 photos: batches of 16 and 5
    plain, steps = describe(model, many), []
    work = ShardedDescribing(tmp_path / "work", RayEngine(workers=workers), shard_photos=16, store="float32")
    found = work(model, many, progress=lambda done, total: steps.append((done, total)))
    np.testing.assert_array_equal(found.values, plain.values)
    assert found.protocol() == plain.protocol()
    assert found.seconds > 0
    assert steps[-1] == (21, 21)


def test_an_unreadable_photo_is_named_in_the_same_words(cluster, weights, photos, tmp_path):
    model = load_model(weights["scicevpr-t"])
    broken = tmp_path / "brökn.jpg"
    broken.write_bytes(photos[0].read_bytes()[:200])
    with pytest.raises(ImageError) as plain:
        describe(model, [broken])
    with pytest.raises(ImageError) as found:
        ShardedDescribing(tmp_path / "work", RayEngine(workers=1), shard_photos=4)(model, [*photos, broken])
    assert str(found.value) == str(plain.value)
    assert "brökn.jpg" in str(found.value)


def test_a_killed_build_on_a_cluster_is_finished_without_one(
    cluster, weights, tiny_city, tmp_path, capsys, monkeypatch
):
    out = tmp_path / "pack"
    build = ["pack", "build", out, "--dataset", tiny_city, "--model", weights["cricavpr-t"], "--grouping"]
    build = [str(word) for word in [*build, "sequential:2", "--shard-photos", 2]]
    on_cluster = ["--engine", "ray", "--address", cluster, "--workers", "1"]
    wanted = random.randint(1, 4)
    with subprocess.Popen([sys.executable, "-m", "scicevpr", *build, *on_cluster], stderr=subprocess.PIPE) as process:
        while process.poll() is None and len(list(tmp_path.glob("*.shards/*/*.npy"))) < wanted:
            time.sleep(0.002)
        time.sleep(random.random() * 0.1)
        process.send_signal(signal.SIGKILL)
        error = process.stderr.read().decode()
    made = len(list(tmp_path.glob("*.shards/*/*.npy")))
    assert made >= wanted, error
    assert not out.exists()

    count = []
    monkeypatch.setattr(describing, "describe", lambda *a, **o: count.append(1) or describe(*a, **o))
    assert main(build) == 0
    assert len(count) in (10 - made, 11 - made), "a shard may be there without its line"
    assert "of an earlier run are used again" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["pack"]

    city, model = read_dataset(tiny_city), load_model(weights["cricavpr-t"])
    whole = build_pack(tmp_path / "plain", city, [describe_content(model, city, grouping=Grouping.sequential(2))])
    for mine, other in zip(open_pack(out).manifest.entries, whole.manifest.entries, strict=True):
        assert mine == other
        assert open_pack(out).read(mine).values.tobytes() == whole.read(other).values.tobytes()


def test_the_command_line_builds_on_the_cluster(cluster, weights, tiny_city, tmp_path, capsys):
    database = tiny_city / "images" / "test" / "database"
    build = ["--database", database, "--model", weights["scicevpr-t"], "--batch-size", 4]
    for out, engine in (("ray", ["--engine", "ray", "--workers", 1]), ("local", [])):
        assert main([str(word) for word in ["pack", "build", tmp_path / out, *build, *engine]]) == 0
    mine, other = (open_pack(tmp_path / out) for out in ("ray", "local"))
    assert mine.manifest.entries == other.manifest.entries
    assert mine.read(mine.models[0]).values.tobytes() == other.read(other.models[0]).values.tobytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["local", "ray"]
    assert main([str(word) for word in ["pack", "build", tmp_path / "no", *build, "--workers", 2]]) == 2
    assert "--workers belongs to --engine ray" in capsys.readouterr().err


def test_what_the_cluster_cannot_do_is_refused(cluster, weights, photos, tmp_path):
    model = load_model(weights["scicevpr-t"])
    with pytest.raises(ClusterError, match=r"leave none for reading photos\. At most 2 fit"):
        ShardedDescribing(tmp_path / "work", RayEngine(workers=3))(model, photos)
    with pytest.raises(UsageError, match="--worker-gpus"):
        ShardedDescribing(tmp_path / "work", RayEngine())(model, photos, device="meta")
    assert not list(tmp_path.iterdir())
