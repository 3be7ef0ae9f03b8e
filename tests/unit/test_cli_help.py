"""What all commands have in common: folders without an option, -v and -q, short and whole help, completion, offline."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from scicevpr.cli import outputs
from scicevpr.cli.help import LONG, leaves
from scicevpr.cli.main import build_parser, main
from scicevpr.config import user_cache_folder
from scicevpr.errors import UsageError, WeightsError
from scicevpr.evaluation.pca_fit import pca_cache_folder
from scicevpr.hub.download import fetch
from scicevpr.packs.manifest import cache_folder


def test_evaluate_and_search_take_folders(tiny_city: Path, tmp_path: Path, capsys) -> None:
    written = [tmp_path / "a.json", tmp_path / "b.json"]
    shared = ["--model", "scicevpr-t", "--no-intervals", "--json"]
    assert main(["evaluate", str(tiny_city), *shared, str(written[0])]) == 0
    assert main(["evaluate", "--dataset", str(tiny_city), *shared, str(written[1])]) == 0
    named, option = (json.loads(path.read_text())["results"] for path in written)
    assert named[0]["overall"] == option[0]["overall"]

    photo = next((tiny_city / "images" / "test" / "queries").iterdir())
    database = tiny_city / "images" / "test" / "database"
    for folder in (tiny_city, database):  # a data set, and any folder of photos
        assert main(["search", str(photo), "--in", str(folder), "-k", "1", "--json", str(written[0])]) == 0
        [match] = json.loads(written[0].read_text())["results"][0]["queries"][0]["matches"]
        assert Path(match["database"]).parent == database
    capsys.readouterr()


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["evaluate", "A", "--dataset", "B"], "named twice"),
        (["evaluate", "A", "--pack", "B"], "either --pack or a data set"),
        (["search", "x.jpg", "--in", "A", "--database", "B"], "both say where to search"),
        (["search", "x.jpg", "--in", "A", "--pack", "B"], "either --pack or a data set"),
    ],
)
def test_a_data_set_is_named_once(command, words, capsys) -> None:
    assert main([__file__ if word == "x.jpg" else word for word in command]) == 2  # the photo must be there
    assert words in capsys.readouterr().err


def test_help_begins_with_what_most_people_need(capsys) -> None:
    texts = []
    for option in ("--help", "--help-all"):
        with pytest.raises(SystemExit) as ended:
            main(["evaluate", option])
        assert ended.value.code == 0
        texts.append(capsys.readouterr().out)
    short, whole = texts
    assert "--dataset" in short
    assert "--majority-weight" not in short
    assert "more options: scicevpr evaluate --help-all" in short
    assert "--majority-weight" in whole
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "exit codes: 0 done" in capsys.readouterr().out


def test_every_command_takes_v_and_q_and_the_hidden_options_still_work() -> None:
    for path, command in leaves(build_parser()):
        strings = [text for action in command._actions for text in action.option_strings]
        if path not in {("app",), ("train",)}:  # their options are read elsewhere
            assert {"-v", "-q", "--help"} <= set(strings), path
            assert ("--help-all" in strings) == (
                len(strings) - strings.count("--help-all") >= LONG and "--help-all" in strings
            )
    assert build_parser().parse_args(["evaluate", "--majority-weight", "0.5"]).majority_weight == 0.5


def test_quiet_leaves_out_notes(tiny_city: Path, capsys) -> None:
    try:
        outputs.quiet(True)
        outputs.print_note("Note: x")
        assert capsys.readouterr().err == ""
    finally:
        outputs.quiet(False)
    outputs.print_note("Note: x")
    assert capsys.readouterr().err == "Note: x\n"


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
def test_completion_knows_commands_and_options(capsys) -> None:
    assert main(["completion", "bash"]) == 0
    script = capsys.readouterr().out

    def complete(*words: str) -> set[str]:
        ask = (
            f'{script}\nCOMP_WORDS=({" ".join(words)} ""); COMP_CWORD={len(words)}; _scicevpr; echo "${{COMPREPLY[@]}}"'
        )
        return set(subprocess.run(["bash", "-c", ask], capture_output=True, text=True, check=True).stdout.split())

    assert {"evaluate", "search", "datasets", "app"} <= complete("scicevpr")
    assert {"get", "prepare", "check", "list", "info", "truth"} == complete("scicevpr", "datasets")
    assert {"--to", "--accept-licence"} <= complete("scicevpr", "datasets", "get")
    assert "--dataset" in complete("scicevpr", "evaluate", "--model")
    assert main(["completion", "zsh"]) == 0
    assert "bashcompinit" in capsys.readouterr().out


def test_one_variable_says_where_everything_is_kept(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    monkeypatch.setenv("SCICEVPR_CACHE", str(tmp_path))
    assert user_cache_folder() == tmp_path
    assert pca_cache_folder() == tmp_path / "pca"
    assert cache_folder() == tmp_path / "hub"


def test_offline_is_one_variable(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SCICEVPR_OFFLINE", "1")
    monkeypatch.setenv("SCICEVPR_CACHE", str(tmp_path))
    with pytest.raises(WeightsError, match=r"SCICEVPR_OFFLINE or HF_HUB_OFFLINE is set"):
        fetch("cricavpr-b")


def test_the_page_is_found_and_another_package_of_its_name_is_not_taken(monkeypatch, tmp_path: Path) -> None:
    from scicevpr.cli import studio

    assert (studio.studio_folder() / "app" / "start.py").is_file()
    assert studio.import_studio("training.recipes", "train").__name__ == "training.recipes"
    monkeypatch.setattr(studio, "PACKAGE", tmp_path / "scicevpr")
    with pytest.raises(UsageError, match=r"has no 'app'.*pip install 'scicevpr\[app\]'"):
        studio.import_studio("app.start", "app")
    (tmp_path / "app").mkdir()
    monkeypatch.setattr("sys.path", ["/elsewhere"])
    import app  # noqa: F401

    with pytest.raises(UsageError, match="Another 'app'"):
        studio.import_studio("app.start", "app")
