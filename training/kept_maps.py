"""Maps that a frozen network gave, kept in a folder: 16-bit values, and which blocks of photos are done."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from scicevpr.errors import DatasetError, UsageError

BLOCK = 64  # photos of which it is noted together that they are done
VALUE_BYTES = 2  # bfloat16 or float16


def check_space(folder: Path, needed: int) -> None:
    """DatasetError unless ``folder`` (which need not exist) has room for the maps, what is there already included."""
    existing = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    free = shutil.disk_usage(existing).free
    file = folder / "maps.f16"
    there = file.stat().st_blocks * 512 if file.exists() else 0
    if needed - there > free:
        raise DatasetError(
            f"The feature cache in {folder} would take {needed / 1e9:.1f} GB and {free / 1e9:.1f} GB are free. Use "
            "fewer cities (--cities), fewer --views or another disk, or leave --feature_cache out."
        )


class KeptMaps:
    """A folder of maps [views, N, ...] with the note of which blocks of photos are done, and what it was made from.

    Raises UsageError: the folder holds maps of something else. DatasetError: too little disk.
    """

    def __init__(self, folder: Path, stamp: dict[str, object], shape: tuple[int, ...]) -> None:
        self.folder, self.shape = folder, shape
        self.blocks = (shape[0], -(-shape[1] // BLOCK))
        self._open(json.loads(json.dumps({**stamp, "shape": list(shape)})))

    def left(self) -> list[tuple[int, int]]:
        """(view, block) of what is not done."""
        return [tuple(pair) for pair in np.argwhere(~self._done("r")).tolist()]

    def write(self, view: int, rows: slice, maps: Tensor) -> None:
        """Keep 16-bit maps of some photos."""
        self._maps("r+")[view, rows] = maps.view(torch.int16).numpy()

    def mark(self, view: int, block: int) -> None:
        """Note that a block is done."""
        self._done("r+")[view, block] = True

    def read(self) -> np.memmap:
        """The maps as int16, to be viewed as what was written."""
        return self._maps("r")

    def _maps(self, mode: str) -> np.memmap:
        return np.memmap(self.folder / "maps.f16", dtype=np.int16, mode=mode, shape=self.shape)

    def _done(self, mode: str) -> np.memmap:
        return np.memmap(self.folder / "done.bool", dtype=np.bool_, mode=mode, shape=self.blocks)

    def _open(self, stamp: dict[str, object]) -> None:
        needed = int(np.prod(self.shape, dtype=np.int64)) * VALUE_BYTES
        check_space(self.folder, needed)
        file = self.folder / "made_from.json"
        if file.exists():
            there = json.loads(file.read_text())
            differs = [
                f"{name} {_short(there.get(name))} there, {_short(value)} here"
                for name, value in stamp.items()
                if there.get(name) != value
            ]
            if differs:
                raise UsageError(
                    f"{self.folder} holds features of something else ({'; '.join(differs)}). Give another folder, or "
                    "delete it."
                )
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        for name, size in (("maps.f16", needed), ("done.bool", self.blocks[0] * self.blocks[1])):
            with (self.folder / name).open("wb") as made:
                made.truncate(size)
        part = file.with_suffix(".part")
        part.write_text(json.dumps(stamp, indent=1) + "\n")
        part.replace(file)


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) < 60 else f"{text[:40]}…"
