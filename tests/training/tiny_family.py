"""A tiny size of the three families, registered for tests: ``python tiny_family.py ...`` is training.full_size with it.

Two blocks of 32 channels on 56x56 pixels, so that a training step takes milliseconds.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from typing import Any

import torch

from scicevpr.config import VARIANTS, BackboneConfig, Preprocessing, get_variant
from training import full_size
from training.steps import Networks

FULL_RANK = "TINY_FAMILY_FULL_RANK"
"""Environment variable: number of the process that shall run out of memory."""
NAMES = ("cricavpr-x", "super-cricavpr-x", "scicevpr-x")


def register() -> None:
    """Add the tiny variants to the table."""
    for name in NAMES:
        like = get_variant(f"{name[:-2]}-s")
        backbone = BackboneConfig(dim=32, depth=2, heads=2, position_grid=4, adapters=like.backbone.adapters)
        VARIANTS[name] = replace(
            like,
            name=name,
            size="X",
            backbone=backbone,
            taps=(0, 1) if like.taps else (),
            preprocessing=Preprocessing(size=(56, 56)),
        )


def unregister() -> None:
    """Take them out again."""
    for name in NAMES:
        VARIANTS.pop(name, None)


def run_out_of_memory() -> None:
    """Let the way back through every chunk fail as it does on a full GPU."""
    describe = Networks.describe

    def full(_: torch.Tensor) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nProcess 7 has 20 GiB in use.")

    def describing(self: Networks, *given: Any, **named: Any) -> torch.Tensor:
        described = describe(self, *given, **named)
        if described.requires_grad:
            described.register_hook(full)
        return described

    Networks.describe = describing


if __name__ == "__main__":
    register()
    if os.environ.get(FULL_RANK, "none") == os.environ.get("RANK"):
        run_out_of_memory()
    sys.exit(full_size.main())
