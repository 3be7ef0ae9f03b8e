"""Work that can be stopped at any moment: numbered files, each written whole and with its checksum."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from scicevpr.errors import UsageError
from scicevpr.files.checksums import sha256_of

PLAN, WORK = "plan.json", "work"
STEPS = re.compile(r"\.?(plan\.json|part-\d{5,}\.safetensors|trained\.faiss|[a-z0-9.-]+\.sha256)(\.part)?")
"""How the files of unfinished work are called."""


def write_whole(path: Path, make: Callable[[Path], object]) -> Path:
    """Let ``make`` write a temporary file beside ``path``, and give it that name when it is on the disk."""
    part = path.with_name(f".{path.name}.part")
    make(part)
    with part.open("rb+") as stream:
        os.fsync(stream.fileno())
    os.replace(part, path)
    return path


def remove_steps(folder: Path) -> None:
    """Remove the files of unfinished work, and their folder when nothing else is in it."""
    if not folder.is_dir():
        return
    for path in folder.iterdir():
        if path.is_file() and STEPS.fullmatch(path.name):
            path.unlink()
    if not any(folder.iterdir()):
        folder.rmdir()


class Builder:
    """A folder of finished steps. A step that is there with its checksum is not done again.

    plan: what decides the result; a folder that was begun with another one is refused. UsageError.
    """

    def __init__(self, folder: Path, plan: Mapping[str, Any]) -> None:
        self.folder = folder
        self.kept, self.made = 0, 0
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(plan, indent=1, sort_keys=True)
        path = folder / PLAN
        if path.is_file() and path.read_text(encoding="utf-8") != text:
            raise UsageError(
                f"In {folder} an index was begun with other settings or other descriptors. Finish that one, or start "
                "again (restart, --restart)."
            )
        write_whole(path, lambda part: part.write_text(text, encoding="utf-8"))

    def step(self, name: str, make: Callable[[Path], object], *, keep: bool = False) -> Path:
        """The file ``name``, made by ``make`` unless it is there already, sound. keep: it lies in the folder above and
        stays there."""
        path, mark = (self.folder.parent if keep else self.folder) / name, self.folder / f"{name}.sha256"
        if path.is_file() and mark.is_file() and mark.read_text() == sha256_of(path):
            self.kept += 1
            return path
        mark.unlink(missing_ok=True)
        write_whole(path, make)
        write_whole(mark, lambda part: part.write_text(sha256_of(path)))
        self.made += 1
        return path
