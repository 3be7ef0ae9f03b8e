"""Work that can be stopped at any moment: a folder of finished steps, each a whole file with its checksum."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from scicevpr.errors import UsageError
from scicevpr.files.reading import sha256_of
from scicevpr.files.writing import whole_name, written_whole

PLAN, WORK = "plan.json", "work"
STEPS = re.compile(r"plan\.json|part-\d{5,}\.safetensors|trained\.faiss|[a-z0-9.-]+\.sha256")
"""How the files of unfinished work are called."""


def remove_steps(folder: Path) -> None:
    """Remove the files of unfinished work, and their folder when nothing else is in it."""
    if not folder.is_dir():
        return
    for path in folder.iterdir():
        if path.is_file() and STEPS.fullmatch(whole_name(path.name)):
            path.unlink()
    if not any(folder.iterdir()):
        folder.rmdir()


class ResumableSteps:
    """A folder of finished steps. A step that is there with its checksum is not done again.

    plan: what decides the result; a folder that was begun with another one is refused. UsageError.
    """

    def __init__(self, folder: Path, plan: Mapping[str, Any]) -> None:
        self.folder = folder
        self.kept, self.made = 0, 0
        folder.mkdir(parents=True, exist_ok=True)
        text, path = json.dumps(plan, indent=1, sort_keys=True), folder / PLAN
        if path.is_file() and path.read_text(encoding="utf-8") != text:
            raise UsageError(
                f"In {folder} an index was begun with other settings or other descriptors. Finish that one, or start "
                "again (restart, --restart)."
            )
        with written_whole(path) as part:
            part.write_text(text, encoding="utf-8")

    def step(self, name: str, make: Callable[[Path], object], *, keep: bool = False) -> Path:
        """The file ``name``, made by ``make`` unless it is there already, sound. keep: it lies in the folder above and
        stays there."""
        path, mark = (self.folder.parent if keep else self.folder) / name, self.folder / f"{name}.sha256"
        if path.is_file() and mark.is_file() and mark.read_text() == sha256_of(path):
            self.kept += 1
            return path
        mark.unlink(missing_ok=True)
        with written_whole(path) as part:
            make(part)
        with written_whole(mark) as part:
            part.write_text(sha256_of(path))
        self.made += 1
        return path
