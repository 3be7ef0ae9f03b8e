"""A build that is killed goes on and gives the same index, byte for byte; and the short codes of IVF-PQ."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from synthetic_city import City

from scicevpr.cli.main import main
from scicevpr.errors import IndexMismatchError, UsageError
from scicevpr.retrieval.changes import add_records, compact_index, remove_records
from scicevpr.retrieval.exact import ExactIndex
from scicevpr.retrieval.factory import build_index
from scicevpr.retrieval.ivf_pq import SCANNED, STEPS, ShortCodes, default_nlist
from scicevpr.retrieval.manifest import ResumableSteps
from scicevpr.retrieval.stored_index import check_index, open_index

SETTINGS = {"dimension": 24, "nlist": 16, "part_rows": 128, "questions": 60}
SCRIPT = """
import os, signal, sys
from contextlib import contextmanager
from scicevpr.retrieval import builder, manifest
out, descriptors, tier, name, moment = sys.argv[1:]
written_whole = manifest.written_whole
@contextmanager
def killed(path):
    def die(when):
        if path.name == name and when == moment:
            os.kill(os.getpid(), signal.SIGKILL)
    die("before")
    with written_whole(path) as part:
        yield part
        if path.name == name and moment == "half":
            os.truncate(part, part.stat().st_size // 2)
        die("half")
    die("after")
manifest.written_whole = killed
builder.build_files(out, [descriptors], builder.Settings(tier, **{settings}))
"""


@pytest.fixture(scope="module")
def descriptors(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("descriptors") / "d.npy"
    np.save(path, City(1500, 96, seed=4).chunk(0)[:1500].astype(np.float16))
    return path


def _sums(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir() if path.is_file()}


def _build(out: Path, descriptors: Path, tier: str, name: str = "", moment: str = "", seconds: float = 120) -> int:
    """Build in a process of its own, which dies before, half-way through or after writing a file, or after a time."""
    script = SCRIPT.replace("{settings}", repr(SETTINGS))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-c", script, out, descriptors, tier, name, moment]
    try:
        return subprocess.run(command, env=environment, timeout=seconds, check=False).returncode  # SIGKILL after it
    except subprocess.TimeoutExpired:
        return -signal.SIGKILL


@pytest.mark.slow
@pytest.mark.parametrize(
    ("tier", "moments"),
    [
        (
            "ivf-pq",
            [
                ("projection-1.npy", "half"),
                ("part-00004.safetensors", "after"),
                ("bytes-1.npy", "half"),
                ("trained.faiss", "before"),
                ("lists-1.faiss", "half"),
                ("index.json", "after"),
            ],
        ),
        ("int8", [("codes-1-00007.npy", "half"), ("scales-1.safetensors.sha256", "before")]),
    ],
)
def test_a_killed_build_gives_the_same_index(tmp_path, descriptors, tier, moments):
    whole, killed = tmp_path / "a" / "i", tmp_path / "b" / "i"
    for folder in (whole, killed):
        folder.parent.mkdir()
    assert _build(whole, descriptors, tier) == 0
    for moment in moments:
        assert _build(killed, descriptors, tier, *moment) == -signal.SIGKILL
        assert not killed.exists()
    assert _build(killed, descriptors, tier) == 0
    assert _sums(whole) == _sums(killed)
    assert not killed.with_name("i.building").exists()
    assert check_index(killed) == []


@pytest.mark.slow
def test_killed_at_any_moment(tmp_path, descriptors):
    random = np.random.default_rng()
    whole, killed = tmp_path / "a" / "i", tmp_path / "b" / "i"
    for folder in (whole, killed):
        folder.parent.mkdir()
    started = time.monotonic()
    assert _build(whole, descriptors, "ivf-pq") == 0
    longest = time.monotonic() - started
    for _ in range(4):
        if not killed.exists():  # else it was quicker than the kill
            _build(killed, descriptors, "ivf-pq", seconds=longest * random.uniform(0.4, 1))
    assert killed.exists() or _build(killed, descriptors, "ivf-pq") == 0
    assert _sums(whole) == _sums(killed)


def test_what_is_there_is_not_done_again_and_what_is_damaged_is(tmp_path, descriptors, monkeypatch):
    whole = build_index(tmp_path / "whole", descriptors, "ivf-pq", **SETTINGS)
    made: list[str] = []
    step = ResumableSteps.step

    def watched(self, name, make, **more):
        def noted(path):
            made.append(name)
            if name == "lists-1.faiss" and not stopped:
                stopped.append(name)
                raise KeyboardInterrupt
            make(path)

        return step(self, name, noted, **more)

    stopped: list[str] = []
    monkeypatch.setattr(ResumableSteps, "step", watched)
    with pytest.raises(KeyboardInterrupt):
        build_index(tmp_path / "again", descriptors, "ivf-pq", **SETTINGS)
    part = tmp_path / "again.building" / "work" / "part-00002.safetensors"
    content = bytearray(part.read_bytes())
    content[len(content) // 2] ^= 1
    part.write_bytes(content)
    made.clear()
    said = []
    build_index(tmp_path / "again", descriptors, "ivf-pq", progress=lambda *step: said.append(step), **SETTINGS)
    assert made[0] == "part-00002.safetensors"
    assert "part-00003.safetensors" not in made
    assert "trained.faiss" not in made
    assert _sums(whole.folder) == _sums(tmp_path / "again")
    assert ("descriptors read", 1500, 1500) in said
    assert ("rows in lists", 1500, 1500) in said


def test_another_plan_is_refused_until_it_is_started_again(tmp_path, descriptors):
    work = tmp_path / "i.building" / "work"
    work.mkdir(parents=True)
    (work / "plan.json").write_text("{}")
    with pytest.raises(UsageError, match="begun with other settings"):
        build_index(tmp_path / "i", descriptors, "streamed")
    index = build_index(tmp_path / "i", descriptors, "streamed", restart=True)
    assert len(index) == 1500
    with pytest.raises(UsageError, match="exists already"):
        build_index(tmp_path / "i", descriptors, "streamed")


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("tier", ["int8", "streamed"])
def test_exact_tiers_on_disk_are_exact_over_several_files(tmp_path, dtype, tier):
    city = City(700, 64, seed=9)
    values, queries = city.chunk(0).astype(dtype), city.queries(9)[0]
    for number, part in enumerate(np.split(values, [100, 640])):
        np.save(tmp_path / f"{number}.npy", part)
    build_index(tmp_path / "i", [tmp_path / f"{number}.npy" for number in range(3)], tier, part_rows=150)
    found, expected = open_index(tmp_path / "i").search(queries, 12), ExactIndex(values).search(queries, 12)
    np.testing.assert_array_equal(found.indices, expected.indices)
    np.testing.assert_array_equal(found.distances, expected.distances)
    np.testing.assert_array_equal(found.similarities, expected.similarities)


def test_descriptors_that_do_not_fit_are_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.ones((4, 8), np.float32))
    np.save(tmp_path / "b.npy", np.ones((4, 9), np.float32))
    np.save(tmp_path / "nan.npy", np.full((4, 8), np.nan, np.float32))
    np.save(tmp_path / "words.npy", np.array([["a"]]))
    (tmp_path / "text.npy").write_text("no array")
    for sources, error, words in (
        ([tmp_path / "a.npy", tmp_path / "b.npy"], UsageError, r"have \[8, 9\] dimensions"),
        ([tmp_path / "nan.npy"], UsageError, "NaN or infinite"),
        ([tmp_path / "words.npy"], UsageError, "needs rows"),
        ([tmp_path / "text.npy"], IndexMismatchError, "no readable .npy"),
        ([tmp_path / "none.npy"], IndexMismatchError, "no descriptor file"),
        ([np.load(tmp_path / "a.npy", mmap_mode="r")[1:]], UsageError, "not parts"),
        ([], UsageError, "at least one"),
    ):
        for tier in ("int8", "streamed"):
            with pytest.raises(error, match=words):
                build_index(tmp_path / "i", sources, tier)
    with pytest.raises(UsageError, match="100 lists need"):
        build_index(tmp_path / "i", tmp_path / "a.npy", "ivf-pq", nlist=100)
    with pytest.raises(UsageError, match="one of streamed"):
        build_index(tmp_path / "i", tmp_path / "a.npy", "exact")


def test_a_byte_is_off_by_half_a_step_at_most():
    rng = np.random.default_rng(1)
    sample = rng.normal(3, [[1, 5, 0.01, 0]], (500, 4)).astype(np.float32)
    codes = ShortCodes.of(sample)
    off = np.abs(codes.decode(codes.encode(sample)) - sample)
    assert (off <= 0.5001 * codes.step).all()
    assert (codes.step[:3] < 1.2 * (sample.max(0) - sample.min(0))[:3] / STEPS).all()
    far = np.array([[1e6, -1e6, 3, 3]], np.float32)
    np.testing.assert_array_equal(codes.encode(far)[0, :2], [STEPS, 0])
    again = ShortCodes(*codes.table)
    np.testing.assert_array_equal(again.encode(sample), codes.encode(sample))


def test_distances_are_those_of_the_decoded_values():
    rng = np.random.default_rng(2)
    sample, query = rng.standard_normal((80, 12)).astype(np.float32), rng.standard_normal(12).astype(np.float32)
    codes = ShortCodes.of(sample)
    found = codes.distances(codes.encode(sample), query)
    np.testing.assert_allclose(found, ((codes.decode(codes.encode(sample)) - query) ** 2).sum(1), rtol=1e-4)


@pytest.mark.parametrize(("rows", "dimension"), [(2, 1), (17, 5), (60, 7), (300, 33)])
def test_few_rows_and_odd_dimensions_are_searched_as_exactly_as_the_rest(tmp_path, rows, dimension):
    city = City(rows, 64, seed=rows)
    values, queries = city.chunk(0).astype(np.float16), city.queries(6)[0]
    np.save(tmp_path / "d.npy", values)
    index = build_index(tmp_path / "i", tmp_path / "d.npy", "ivf-pq", dimension=dimension, rerank_k=rows)
    expected = ExactIndex(values).search(queries, min(rows, 9))
    found = index.search(queries, min(rows, 9))
    np.testing.assert_array_equal(found.indices, expected.indices)
    np.testing.assert_array_equal(found.distances, expected.distances)


def test_lists_are_made_again_from_the_bytes_alone(tmp_path):
    """Removing and compacting gives the lists of an index that never had the rows, and so does adding."""
    city = City(900, 64, seed=3)
    values, queries = city.chunk(0).astype(np.float16), city.queries(9)[0]
    np.save(tmp_path / "d.npy", values)
    build_index(tmp_path / "i", tmp_path / "d.npy", "ivf-pq", dimension=16, nlist=8, nprobe=3, rerank_k=30)
    before = open_index(tmp_path / "i").search(queries, 5)
    add_records(tmp_path / "i", values[:40])
    remove_records(tmp_path / "i", np.arange(900, 940))
    np.testing.assert_array_equal(open_index(tmp_path / "i").search(queries, 5).indices, before.indices)
    np.testing.assert_array_equal(compact_index(tmp_path / "i"), np.arange(900))
    np.testing.assert_array_equal(open_index(tmp_path / "i").search(queries, 5).indices, before.indices)
    [codes] = (tmp_path / "i").glob("bytes-*.npy")
    assert np.load(codes).shape == (900, 16)


def test_an_index_of_another_format_is_refused_with_a_remedy(tmp_path, monkeypatch):
    from scicevpr.retrieval import manifest as index_manifest

    np.save(tmp_path / "d.npy", City(50, 32).chunk(0))
    for version, remedy in ((2, "Build the index again"), (4, "Update the program")):
        with monkeypatch.context() as patched:
            patched.setattr(index_manifest, "FORMAT_VERSION", version)
            folder = tmp_path / str(version)
            build_index(folder, tmp_path / "d.npy", "streamed")
        with pytest.raises(IndexMismatchError, match=remedy):
            open_index(folder)


def test_lists_grow_with_the_square_root():
    assert [default_nlist(count) for count in (2, 63, 1000, 100_000, 1_000_000)] == [1, 1, 8, 64, 256]
    assert SCANNED >= 20 * 100  # twenty times the usual rerank_k


def test_the_help_says_how_many_lists_there_are(capsys):
    with pytest.raises(SystemExit):
        main(["index", "build", "--help"])
    assert "about a quarter of the square root of the rows" in " ".join(capsys.readouterr().out.split())
    assert 200 <= default_nlist(10**6) <= 300
    assert 2000 <= default_nlist(10**8) <= 3000
