"""The page as a Hugging Face Space: which files it needs, and their way to the Hub; the bundled city as a data set.

Only files of the checkout that a Space needs are sent: the two packages, the library, the assets that the page shows,
and what the Hub itself reads. Secrets, variables and hardware of the Space stay as they are: they are not files.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scicevpr.config import assets_folder
from scicevpr.errors import UsageError
from scicevpr.files.writing import bytes_label
from scicevpr.hub.download import HUB, explain_push, hub_endpoint, is_ours

TOP = ("README.md", "app.py", "requirements.txt", "LICENSE", "NOTICE", "CITATION.cff", "assets/examples.json")
FOLDERS = ("app", "scicevpr", "training", "assets/weights", "assets/descriptors", "assets/procity")
ENDINGS = {*(".py", ".typed", ".css", ".js", ".svg", ".txt", ".glsl", ".md", ".json", ".csv", ".jpg", ".safetensors")}
SECRET = re.compile(r"(^|/)\.|secret|credential|(^|[/._-])token([._-]|$)|\.(key|pem)$", re.IGNORECASE)
LFS = "".join(f"*{ending} filter=lfs diff=lfs merge=lfs -text\n" for ending in (".safetensors", ".jpg", ".png"))
CITY_FILES = (".csv", ".jpg", ".md")
CITY_CARD = """\
---
license: cc0-1.0
pretty_name: ProCity test cities
tags: [visual-place-recognition, image-retrieval]
---

"""


@dataclass(frozen=True)
class SpaceFile:
    """One file of a Space: its name there, where it is, and its bytes. content: instead of the file's own."""

    name: str
    path: Path
    content: bytes | None = None

    @property
    def size(self) -> int:
        """Bytes."""
        return self.path.stat().st_size if self.content is None else len(self.content)


def checkout_folder() -> Path:
    """The checkout that this program runs from. UsageError for an installed package, which lacks the Space's files."""
    root = Path(__file__).resolve().parents[2]
    if not (root / "app.py").is_file() or not (root / "app").is_dir():
        raise UsageError(
            "A Space is pushed from a checkout of the project (or its unpacked sdist), and this is an installed "
            "package. "
            "Run `python -m scicevpr space push OWNER/NAME` there, or name its folder with --checkout."
        )
    return root


def space_files(root: Path, models: Sequence[str] = (), datasets: Sequence[str] = ()) -> list[SpaceFile]:
    """What a Space of this checkout holds, by name; with LFS rules for those who push to it by git later. In a git
    checkout only files that git knows are taken.

    models, datasets: Hub repositories that the Space's README names. UsageError when a file that a Space needs is not
    there.
    """
    known = _known_to_git(root)
    found = []
    for path in _walk(root):
        name = path.relative_to(root).as_posix()
        hidden = name not in TOP and bool(SECRET.search(name))
        if not hidden and (name in TOP or path.suffix in ENDINGS) and (known is None or name in known):
            found.append(SpaceFile(name, path))
    missing = [
        name for name in ("README.md", "app.py", "requirements.txt") if name not in {file.name for file in found}
    ]
    if missing:
        raise UsageError(f"{root} has no {', '.join(missing)} that git knows, so it cannot be a Space.")
    found.append(SpaceFile(".gitattributes", root, LFS.encode()))
    for row, file in enumerate(found):
        if file.name == "README.md" and (models or datasets):
            text = file.path.read_text(encoding="utf-8")
            for key, names in (("models", models), ("datasets", datasets)):
                text = re.sub(rf"^{key}: .*$", f"{key}: [{', '.join(names)}]", text, count=1, flags=re.MULTILINE)
            found[row] = SpaceFile(file.name, file.path, text.encode())
    return sorted(found, key=lambda file: file.name)


def _walk(root: Path) -> Iterator[Path]:
    for name in TOP:
        if (root / name).is_file():
            yield root / name
    for name in FOLDERS:
        folder = root / name
        yield from (
            path
            for path in folder.rglob("*")
            if path.is_file() and not path.is_symlink() and "__pycache__" not in path.parts
        )


def _known_to_git(root: Path) -> set[str] | None:
    """Files that git tracks below a folder; None where it is no checkout of git's. UsageError when git does not say:
    what nobody committed must not be published."""
    if not (root / ".git").exists():
        return None
    try:
        run = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        said = str(error)
        if isinstance(error, subprocess.CalledProcessError):
            said = error.stderr.decode(errors="replace").strip()
        raise UsageError(
            f"git does not say which files of {root} are committed ({said}). Mend that, or push from a copy without "
            ".git."
        ) from None
    return set(run.stdout.decode().split("\0"))


def push_space(
    repository: str,
    files: Sequence[SpaceFile],
    *,
    private: bool = False,
    token: str | bool | None = None,
    endpoint: str | None = None,
) -> str:
    """Make or update a Space in one commit; files that an earlier push left and this one lacks are deleted from it.
    Returns the commit's address. Raises WeightsError when the Hub cannot be reached or refuses."""

    ours = tuple(f"{folder}/" for folder in FOLDERS)
    return _push(
        repository,
        files,
        "space",
        kept=lambda name: not name.startswith(ours),
        private=private,
        token=token,
        endpoint=endpoint,
        space_sdk="gradio",
    )


def push_city(
    repository: str, *, private: bool = False, token: str | bool | None = None, endpoint: str | None = None
) -> str:
    """Upload the bundled city with its card as a data set repository. Returns the commit's address; errors as above."""
    city = assets_folder() / "procity"
    files = [
        SpaceFile(path.relative_to(city).as_posix(), path)
        for path in sorted(city.rglob("*"))
        if path.is_file() and not path.is_symlink() and path.suffix.lower() in CITY_FILES
    ]
    card = CITY_CARD + (city / "README.md").read_text(encoding="utf-8")
    files = [*(file for file in files if file.name != "README.md"), SpaceFile("README.md", city, card.encode())]
    return _push(repository, files, "dataset", kept=lambda name: True, private=private, token=token, endpoint=endpoint)


def _push(
    repository: str,
    files: Sequence[SpaceFile],
    kind: str,
    *,
    kept: Callable[[str], bool],
    private: bool,
    token: str | bool | None,
    endpoint: str | None,
    **creation: Any,
) -> str:
    """One commit with all files. kept: which files of the repository that are not among them stay."""
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

    hub = hub_endpoint(endpoint)
    api = HfApi(endpoint=hub, token=token, library_name="scicevpr")
    names = {file.name for file in files}
    try:
        made = api.create_repo(repository, repo_type=kind, private=private, exist_ok=True, **creation)
        there = api.list_repo_files(made.repo_id, repo_type=kind)
        gone = [CommitOperationDelete(name) for name in there if name not in names and not kept(name)]
        sent = [CommitOperationAdd(f.name, f.path if f.content is None else f.content) for f in files]
        message = f"SciceVPR Studio: {len(files)} files, {bytes_label(sum(file.size for file in files))}"
        done = api.create_commit(made.repo_id, [*sent, *gone], commit_message=message, repo_type=kind)
    except Exception as error:  # the Hub's transports raise errors of several libraries
        if is_ours(error):
            raise
        raise explain_push(error, repository, hub or HUB) from error
    return str(done.commit_url)


def check_repository(name: str) -> str:
    """OWNER/NAME as it is; UsageError for anything else."""
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        raise UsageError(f"{name!r} does not name a Hub repository: give OWNER/NAME.")
    return name
