"""Whole runs at the tiny size: results, interruptions, several processes, distillation, kept features."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
import tiny_family
import torch
from safetensors.torch import load_file

import scicevpr
from scicevpr.hub.load import load_model
from scicevpr.models.checkpoint import read_metadata
from scicevpr.models.key_formats import state_to_published
from training import full_size, kept_maps
from training.estimate import sample_rows
from training.full_run import FullSizeRun
from training.gsv_cities import read_gsv_cities

ROOT = Path(scicevpr.__file__).parents[1]
STEPS = 3  # an epoch of ours: two batches of four places in Aville, one in Btown
RECIPES = ("published", "reshuffled")
pytestmark = pytest.mark.usefixtures("tiny_variants", "one_thread")


def _arguments(
    gsv: Path, out: Path, start: Path, model: str = "super-cricavpr-x", recipe: str = "reshuffled"
) -> list[str]:
    source = "--crica_path" if model.startswith("scicevpr") else "--foundation_model_path"
    words = f"--model {model} --resize 56 56 --train_batch_size 4 --cross_image_chunk 4 --lr 1e-3 --threads 1"
    words += f" --recipe {recipe}"
    return [*words.split(), "--num_workers", "0", source, str(start), "--data", str(gsv), "--save_dir", str(out)]


def _subprocess(arguments: Sequence[str], processes: int = 1) -> subprocess.Popen:
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    command = [sys.executable, *(torchrun if processes > 1 else []), tiny_family.__file__, *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)


def _log(out: Path) -> list[tuple[int, str, float]]:
    return [(int(row[1]), row[2], float(row[3])) for row in csv.reader((out / "log.csv").open(newline=""))]


def _same_weights(one: Path, other: Path) -> bool:
    states = [load_file(out / "best.safetensors") for out in (one, other)]
    return all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_a_run_writes_weights_that_say_where_they_come_from(
    gsv_cities: Path, validation_tree: Path, tiny_backbone: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    arguments = _arguments(gsv_cities, tmp_path / "run", tiny_backbone)
    arguments += ["--epochs_num", "2", "--val", str(validation_tree)]
    assert full_size.main(arguments) == 0
    log = _log(tmp_path / "run")
    assert [step for step, name, _ in log if name == "loss"] == list(range(1, 2 * STEPS + 1))
    assert {name for _, name, _ in log} >= {"loss", "lr", "mined_negatives", "val_recall_1", "val_recall_5"}
    assert not (tmp_path / "run" / "state.pt").exists()
    model = load_model(tmp_path / "run" / "best.safetensors")
    assert model.variant.name == "super-cricavpr-x"
    assert model.weights.trained_on == "GSV-Cities: 2 cities, 13 places, 52 photos"
    facts = read_metadata(tmp_path / "run" / "best.safetensors")
    assert facts["command"].startswith("python -m training.full_size --model super-cricavpr-x")
    best = max(value for _, name, value in log if name == "val_recall_5")
    assert json.loads(facts["validation_recall"])["5"] == pytest.approx(best, abs=1e-3)
    assert facts["validation"] == "tiny30k / val"
    assert (facts["seed"], facts["processes"]) == ("0", "1")
    start, end = load_model(tmp_path / "run" / "best.safetensors"), load_file(tiny_backbone)
    assert all(torch.equal(start.state_dict()[name], tensor) for name, tensor in end.items())

    assert full_size.main(arguments) == full_size.EXIT_WRONG
    assert "holds a finished run" in caplog.text
    assert full_size.main([*arguments, "--resume_run", str(tmp_path / "none")]) == full_size.EXIT_WRONG
    assert "none holds no run, so there is nothing to go on with" in caplog.text


@pytest.mark.slow
def test_it_stops_early_when_validation_gets_no_better(
    gsv_cities: Path, validation_tree: Path, tiny_backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recalls = iter([(20.0, 60.0), (30.0, 60.0), (90.0, 50.0), (0.0, 60.0), (100.0, 100.0)])
    monkeypatch.setattr(FullSizeRun, "measure", lambda _: dict(zip((1, 5, 10), (*next(recalls), 100.0), strict=True)))
    arguments = _arguments(gsv_cities, tmp_path, tiny_backbone)
    assert full_size.main([*arguments, "--val", str(validation_tree), "--patience", "2"]) == 0
    assert max(step for step, _, _ in _log(tmp_path)) == 4 * STEPS
    assert read_metadata(tmp_path / "best.safetensors")["step"] == str(2 * STEPS)  # Recall@5 first, then Recall@1


@pytest.mark.slow
def test_a_run_that_is_stopped_twice_goes_on_exactly(
    gsv_cities: Path, validation_tree: Path, tiny_backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    def arguments(name: str) -> list[str]:
        more = ["--epochs", "2", "--val", str(validation_tree)]
        return [*_arguments(gsv_cities, tmp_path / name, tiny_backbone, "cricavpr-x"), *more]

    assert full_size.main(arguments("whole")) == 0
    take_step = FullSizeRun.take_step

    def stopping(self: FullSizeRun, *given: object) -> dict[str, float]:
        if self.step + 1 in (2, STEPS):
            os.kill(os.getpid(), signal.SIGTERM)
        return take_step(self, *given)

    with monkeypatch.context() as patch:
        patch.setattr(FullSizeRun, "take_step", stopping)
        for step in (2, STEPS):  # in the middle of an epoch, and at its end
            assert full_size.main(arguments("cut")) == full_size.EXIT_STOPPED
            assert f"stopped after step {step}; the state is saved" in caplog.text
    assert full_size.main([*arguments("cut"), "--lr", "2e-3"]) == full_size.EXIT_WRONG
    assert "another recipe (lr 0.001 there, 0.002 here)" in caplog.text
    assert full_size.main(["--resume_run", str(tmp_path / "cut")]) == 0  # the folder knows its command
    assert _same_weights(tmp_path / "whole", tmp_path / "cut")
    assert _log(tmp_path / "whole") == _log(tmp_path / "cut")


def test_a_run_stopped_in_its_validation_goes_on_with_it(
    gsv_cities: Path, validation_tree: Path, tiny_backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    arguments = [*_arguments(gsv_cities, tmp_path, tiny_backbone), "--epochs", "1", "--val", str(validation_tree)]

    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(FullSizeRun, "measure", stopped)
        assert full_size.main(arguments) == full_size.EXIT_STOPPED
    state = tmp_path / "state.pt"
    whole = state.read_bytes()
    for damaged in (whole[:-1000], b"", b"no state"):
        state.write_bytes(damaged)
        assert full_size.main(arguments) == full_size.EXIT_WRONG
        assert "Move that file away" in caplog.text
        caplog.clear()
    torch.save({"step": 1, "parts": {}}, state)
    assert full_size.main(arguments) == full_size.EXIT_WRONG
    state.write_bytes(whole)
    assert full_size.main(arguments) == 0
    assert [step for step, name, _ in _log(tmp_path) if name == "val_recall_1"] == [STEPS]


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES)
def test_a_killed_run_goes_on_exactly(gsv_cities: Path, tiny_backbone: Path, tmp_path: Path, recipe: str) -> None:
    def arguments(name: str) -> list[str]:
        start = _arguments(gsv_cities, tmp_path / name, tiny_backbone, recipe=recipe)
        return [*start, "--epochs", "5", "--save_every", "2"]

    killed = _subprocess(arguments("cut"))
    log = tmp_path / "cut" / "log.csv"
    while not (log.exists() and any(step >= 5 for step, name, _ in _log(tmp_path / "cut") if name == "lr")):
        assert killed.poll() is None, killed.stderr.read()
        time.sleep(0.005)
    killed.kill()
    killed.wait()
    killed.stderr.close()
    step = torch.load(tmp_path / "cut" / "state.pt", weights_only=True)["step"]
    assert 4 <= step < 5 * (STEPS + (recipe == "published"))
    assert full_size.main(arguments("cut")) == 0
    assert full_size.main(arguments("whole")) == 0
    assert _same_weights(tmp_path / "whole", tmp_path / "cut")
    assert _log(tmp_path / "whole") == _log(tmp_path / "cut")


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES)
def test_two_processes_give_what_one_gives(gsv_cities: Path, tiny_backbone: Path, tmp_path: Path, recipe: str) -> None:
    """Measured after 6 steps at rate 1e-3: weights differ by up to 6e-5, losses in none of the six digits logged.

    Only sums of gradients are ordered differently. The largest differences are in biases whose true gradient is zero
    (in front of a normalisation, or of the attention's keys), where Adam turns rounding into steps.
    """

    def arguments(name: str) -> list[str]:
        words = _arguments(gsv_cities, tmp_path / name, tiny_backbone, "cricavpr-x", recipe)
        if recipe == "published":  # the second process has no photo of the last batch
            words += ["--photos", "2", "--cross_image_chunk", "2"]
        return [*words, "--epochs", "2"]

    run = _subprocess([*arguments("two"), "--num_workers", "1", "--accumulate", "1"], processes=2)
    said = run.communicate(timeout=120)[1]
    assert run.returncode == 0, said
    assert said.count("finished: ") == 1  # the first process alone speaks
    assert full_size.main(arguments("one")) == 0
    one, two = (load_file(tmp_path / name / "best.safetensors") for name in ("one", "two"))
    assert max((one[name].double() - two[name].double()).abs().max() for name in one) < 3e-4
    for (step, name, value), other in zip(_log(tmp_path / "one"), _log(tmp_path / "two"), strict=True):
        assert other[:2] == (step, name)
        assert other[2] == pytest.approx(value, rel=1e-4)


@pytest.mark.slow
def test_an_error_in_one_process_ends_all_with_its_message(
    gsv_cities: Path, tiny_backbone: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(gsv_cities, tmp_path / "gsv")
    data = read_gsv_cities(folder)
    for row in set(range(len(data))) - set(sample_rows(data)):  # those that are not looked at before the run
        data.path(row).write_bytes(b"broken")
    run = _subprocess(_arguments(folder, tmp_path / "run", tiny_backbone), processes=2)
    said = run.communicate(timeout=120)[1]
    assert run.returncode != 0
    assert len(re.findall(r"full_size: .*The photo .* cannot be decoded", said)) == 1
    assert said.count("Traceback") == 1  # torchrun's own


@pytest.mark.slow
def test_a_process_without_memory_ends_all_with_the_option_to_lower(
    gsv_cities: Path, tiny_backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(tiny_family.FULL_RANK, "1")
    run = _subprocess(_arguments(gsv_cities, tmp_path / "run", tiny_backbone), processes=2)
    said = run.communicate(timeout=300)[1]
    assert run.returncode != 0
    assert len(re.findall(r"full_size: Process 1 of 2: cpu has too little memory: CUDA out of memory", said)) == 1
    assert "--accumulate 1" in said
    assert said.count("Traceback") == 1  # torchrun's own


@pytest.mark.parametrize("published", [False, True])
def test_distillation_moves_what_is_published(
    gsv_cities: Path, tiny_teacher: Path, tmp_path: Path, published: bool
) -> None:
    path = tiny_teacher
    if published:
        path = tmp_path / "teacher.pth"
        state = {f"module.{name}": tensor for name, tensor in state_to_published(load_model(tiny_teacher)).items()}
        torch.save({"epoch_num": 9, "model_state_dict": state}, path)
    assert full_size.main(_arguments(gsv_cities, tmp_path / "run", path, "scicevpr-x")) == 0
    log = _log(tmp_path / "run")
    assert max(step for step, _, _ in log) == STEPS  # one epoch is the published default
    assert all(value > 0 for _, name, value in log if name in ("l_ms", "l_d"))
    end, given = load_file(tmp_path / "run" / "best.safetensors"), load_file(tiny_teacher)
    for name, tensor in end.items():
        frozen = name.startswith(("backbone.", "fusion.conv."))
        same = name in given and tensor.shape == given[name].shape and torch.equal(tensor, given[name])
        assert same == frozen, name


def test_kept_features_are_made_once_and_belong_to_their_run(
    gsv_cities: Path, tiny_backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    def run(name: str, *more: str) -> int:
        kept = ["--feature_cache", str(tmp_path / "kept"), "--views", "2", "--epochs", "1"]
        return full_size.main([*_arguments(gsv_cities, tmp_path / name, tiny_backbone), *kept, *more])

    class Stop(Exception):
        pass

    begin, passed = kept_maps.Networks.begin, []

    def counting(self: kept_maps.Networks, loaded: torch.Tensor) -> torch.Tensor:
        passed.append(len(loaded))
        if len(passed) == 2:
            raise Stop
        return begin(self, loaded)

    with monkeypatch.context() as patch:
        patch.setattr(kept_maps.Networks, "begin", counting)
        with pytest.raises(Stop):
            run("first")
        assert run("first") == 0
        assert passed[:3] == [52, 52, 52]  # the view that was done is not made again
    assert run("second") == 0
    assert _same_weights(tmp_path / "first", tmp_path / "second")
    assert (tmp_path / "kept" / "maps.f16").stat().st_size == 2 * 52 * 64 * 4 * 4 * 2
    assert run("third", "--seed", "1") == full_size.EXIT_WRONG
    assert "holds features of something else (seed 0 there, 1 here)" in caplog.text

    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=300_000))
    with pytest.raises(kept_maps.DatasetError, match=r"would take 0\.\d+ GB and 0\.\d+ GB are free"):
        kept_maps.check_space(tmp_path / "elsewhere", 400_000)
    kept_maps.check_space(tmp_path / "kept", 400_000)  # what is there already needs no new space
