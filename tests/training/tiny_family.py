"""A tiny size of the three families, registered for tests: ``python tiny_family.py ...`` is training.full_size with it.

Two blocks of 32 channels on 56x56 pixels, so that a training step takes milliseconds.
"""

from __future__ import annotations

import sys
from dataclasses import replace

from scicevpr.config import VARIANTS, BackboneConfig, Preprocessing, get_variant
from training import full_size

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


if __name__ == "__main__":
    register()
    sys.exit(full_size.main())
