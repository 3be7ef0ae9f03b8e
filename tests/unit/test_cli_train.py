"""`scicevpr train`: first the check, then the run, each a process of the training package."""

from __future__ import annotations

from pathlib import Path

import pytest

from scicevpr.cli import train
from scicevpr.cli.main import main

WORDS = ["--model", "super-cricavpr-b", "--data", "gsv", "--out", "run"]
PROGRAM = ["training.full_size"]
TORCHRUN = ["torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "training.full_size"]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What would be started; every process ends well."""
    found: list[list[str]] = []
    monkeypatch.setattr(train, "_run", lambda words: found.append(list(words)) or 0)
    return found


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (WORDS, [[*PROGRAM, *WORDS, "--check"], [*PROGRAM, *WORDS]]),
        (["--skip_check", *WORDS], [[*PROGRAM, *WORDS]]),
        ([*WORDS, "--check"], [[*PROGRAM, *WORDS, "--check"]]),
        ([*WORDS, "--gpus", "2"], [[*TORCHRUN, *WORDS, "--check"], [*TORCHRUN, *WORDS]]),
        (["--resume_run", "run"], [[*PROGRAM, "--resume_run", "run"]]),
        ([*WORDS, "--resume", "t.pth"], [[*PROGRAM, *WORDS, "--resume", "t.pth", "--check"],
                                         [*PROGRAM, *WORDS, "--resume", "t.pth"]]),
        (["--options"], [[*PROGRAM, "--help"]]),
    ],
)  # fmt: skip
def test_the_check_comes_first(words: list[str], expected: list[list[str]], started: list[list[str]]) -> None:
    assert main(["train", *words]) == 0
    assert started == expected


def test_what_the_check_finds_wrong_keeps_the_run_from_starting(monkeypatch: pytest.MonkeyPatch) -> None:
    codes = iter([2])
    monkeypatch.setattr(train, "_run", lambda _: next(codes))
    assert main(["train", *WORDS]) == 2


def test_help_and_bad_words(started: list[list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["train", "--help"])
    assert ended.value.code == 0
    assert "--skip_check" in capsys.readouterr().out
    assert main(["train", "--gpus", "0", *WORDS]) == 2
    assert "at least one process" in capsys.readouterr().err
    assert started == []


def test_a_missing_training_package_is_said(
    tmp_path: Path, started: list[list[str]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(train, "studio_folder", lambda: tmp_path)
    assert main(["train", *WORDS]) == 2
    assert "pip install 'scicevpr[train]'" in capsys.readouterr().err
    assert started == []


def test_a_process_of_its_own_gives_its_exit_code(tmp_path: Path) -> None:
    (tmp_path / "good.json").write_text("{}")
    assert train._run(["json.tool", str(tmp_path / "good.json")]) == 0
    assert train._run(["json.tool", str(tmp_path / "none.json")]) != 0
