"""The page as a Space: what is sent, what never is, and that the Hub then holds it, large files as it takes them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from stand_in_server import StandIn

from scicevpr.cli.main import main
from scicevpr.errors import UsageError, WeightsError
from scicevpr.hub.space import check_repository, push_city, push_space, space_files

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A small checkout, known to git except for what git must not know."""
    root = tmp_path / "checkout"
    tracked = {
        "README.md": "---\nsdk: gradio\nmodels: []\ndatasets: []\n---\n# x\n",
        "app.py": "",
        "requirements.txt": "torch\n",
        "app/start.py": "",
        "app/ui/style.css": "",
        "scicevpr/config.py": "",
        "training/procity/shaders/sky.glsl": "",
        "assets/weights/scicevpr-t.safetensors": "x" * 100,
        "assets/procity/images/test/queries/@1@2@.jpg": "photo",
        "assets/screenshot.png": "big",
        "docs/data.md": "",
        "tests/test_x.py": "",
        "app/token.txt": "hf_secret",
        "app/.env": "HF_TOKEN=1",
    }
    for name, text in tracked.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    for command in (["init", "-q"], ["add", "-A"]):
        subprocess.run(["git", *command], cwd=root, check=True)
    (root / "app" / "mine.py").write_text("not added to git")
    (root / "app" / "__pycache__").mkdir()
    (root / "app" / "__pycache__" / "start.py").write_text("")
    return root


WANTED = [
    ".gitattributes",
    "README.md",
    "app.py",
    "app/start.py",
    "app/ui/style.css",
    "assets/procity/images/test/queries/@1@2@.jpg",
    "assets/weights/scicevpr-t.safetensors",
    "requirements.txt",
    "scicevpr/config.py",
    "training/procity/shaders/sky.glsl",
]


def test_only_what_a_space_needs_and_git_knows_is_sent(checkout: Path) -> None:
    assert [file.name for file in space_files(checkout)] == WANTED
    (checkout / ".git").rename(checkout / "no-git")
    assert [file.name for file in space_files(checkout)] == sorted([*WANTED, "app/mine.py"])
    (checkout / "app.py").unlink()
    with pytest.raises(UsageError, match=r"no app\.py"):
        space_files(checkout)


def test_nothing_is_sent_when_git_does_not_say_what_is_committed(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    with pytest.raises(UsageError, match="git does not say"):
        space_files(checkout)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UsageError, match="git does not say"):
        space_files(checkout)


def test_this_checkout_is_a_space() -> None:
    files = {file.name: file for file in space_files(ROOT)}
    assert {"app/start.py", "app/ui/style.css", "scicevpr/py.typed", "assets/examples.json"} <= set(files)
    assert not [name for name in files if name.startswith(("tests", "docs", "lessons", "benchmarks", "runs", "data"))]
    assert not [name for name in files if name.endswith(".png")]
    assert sum(file.size for file in files.values()) < 80e6


@pytest.fixture
def hub(server: StandIn, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """A Hub that knows us."""
    monkeypatch.setenv("HF_TOKEN", "hf_test")
    return server


def test_a_push_carries_everything_and_an_update_takes_away_what_went(checkout: Path, hub: StandIn) -> None:
    files = space_files(checkout, ["me/scicevpr-t"], ["me/city"])
    url = push_space("me/studio", files)
    assert url.startswith(f"{hub.url}/spaces/me/studio/commit/")
    there = hub.repository("spaces/me/studio")
    assert sorted(there) == WANTED
    assert there["assets/weights/scicevpr-t.safetensors"] == b"x" * 100
    assert len(hub.objects) == 2, "the photo and the weights went as large files"
    assert "models: [me/scicevpr-t]\ndatasets: [me/city]\n" in there["README.md"].decode()
    [made] = [body["lines"][0] for path, body in hub.posts if path == "/api/repos/create"]
    assert (made["type"], made["sdk"]) == ("space", "gradio")
    assert not [path for path, _ in hub.posts if "secrets" in path or "variables" in path or "hardware" in path]

    hub.add_hub_file("spaces/me/studio", "notes.txt", b"the owner's own")
    (checkout / "app" / "ui" / "style.css").unlink()
    push_space("me/studio", space_files(checkout))
    assert sorted(hub.repository("spaces/me/studio")) == sorted({*WANTED, "notes.txt"} - {"app/ui/style.css"})


def test_the_command_lists_or_sends(checkout: Path, hub: StandIn, capsys: pytest.CaptureFixture) -> None:
    command = ["space", "push", "me/studio", "--checkout", str(checkout)]
    assert main([*command, "--dry-run", "--city", "me/city"]) == 0
    said = capsys.readouterr().out
    assert "assets/weights/scicevpr-t.safetensors" in said
    assert "also: me/city" in said
    assert hub.posts == []
    assert main([*command, "--models", "me"]) == 0
    assert "me/studio: http" in capsys.readouterr().out
    assert sorted(hub.repository("spaces/me/studio")) == WANTED
    for name in ("scicevpr-t", "super-cricavpr-t", "cricavpr-t"):
        assert {"README.md", "config.json", "model.safetensors"} <= set(hub.repository(f"me/{name}"))


def test_the_city_is_a_data_set_with_its_card(hub: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    city, few = ROOT / "assets" / "procity", tmp_path / "procity"
    for path in (city / "README.md", *sorted(city.rglob("images/test/database/*.jpg"))[:3]):
        (few / path.relative_to(city)).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, few / path.relative_to(city))
    monkeypatch.setenv("SCICEVPR_ASSETS", str(tmp_path))
    push_city("me/city")
    there = hub.repository("datasets/me/city")
    assert sum(name.startswith("images/test/database/") for name in there) == 3
    assert there["README.md"].startswith(b"---\nlicense: cc0-1.0\n")
    assert b"datasheet" in there["README.md"]


def test_what_the_hub_refuses(checkout: Path, hub: StandIn) -> None:
    hub.add_hub_error("/api/repos/create", 403, "Forbidden")
    with pytest.raises(WeightsError, match="does not let you write to me/studio"):
        push_space("me/studio", space_files(checkout))
    for name in ("studio", "https://huggingface.co/spaces/me/studio", "me/a/b"):
        with pytest.raises(UsageError, match="OWNER/NAME"):
            check_repository(name)
