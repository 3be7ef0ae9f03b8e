"""Strict comparison of a file's tensors with what a variant needs: what is missing, too much or mis-shaped, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from scicevpr.config import VARIANTS, Variant
from scicevpr.models.key_formats import MASK_TOKEN, POSITION
from scicevpr.models.model import build_model

Shape = tuple[int, ...]
NAMES_SHOWN = 8


@dataclass(frozen=True)
class KeyReport:
    """The differences between the tensors a model needs and those a file holds, under this project's names."""

    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    misshaped: tuple[tuple[str, Shape, Shape], ...]
    """(name, shape in the file, shape needed)"""

    @property
    def count(self) -> int:
        return len(self.missing) + len(self.unexpected) + len(self.misshaped)

    def sentence(self, rename: Callable[[str], str] = str) -> str:
        """All differences with counts, the first 8 of each kind by name; `rename` turns our names into the file's."""
        shapes = [f"{rename(name)} is {list(has)} instead of {list(needs)}" for name, has, needs in self.misshaped]
        kinds = (
            ("missing", [rename(name) for name in self.missing]),
            ("unexpected", [rename(name) for name in self.unexpected]),
            ("mis-shaped", shapes),
        )
        return "; ".join(_listed(kind, names) for kind, names in kinds if names)


@cache
def _needed(variant: Variant) -> dict[str, Shape]:
    with torch.device("meta"):  # names and shapes without memory for the values
        return shapes_of(build_model(variant).state_dict())


def shapes_of(state: Mapping[str, Tensor]) -> dict[str, Shape]:
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def compare(needed: Mapping[str, Shape], found: Mapping[str, Shape], grids: tuple[int, ...] | None = ()) -> KeyReport:
    """Compare name -> shape tables.

    The unused mask token may be missing. The position embedding may also have one of the square `grids` (side lengths
    in tokens; None: any square), because the backbone resamples it or, at the right size, takes it as it is.
    """
    missing = tuple(name for name in needed if name not in found and name != MASK_TOKEN)
    unexpected = tuple(name for name in found if name not in needed)
    misshaped = tuple(
        (name, found[name], shape)
        for name, shape in needed.items()
        if name in found and found[name] != shape and not (name == POSITION and _other_grid(shape, found[name], grids))
    )
    return KeyReport(missing, unexpected, misshaped)


def nearest_variant(found: Mapping[str, Shape]) -> tuple[Variant, KeyReport]:
    """The registered variant that a file's tensors fit best, and what is still different."""
    reports = ((each, compare(_needed(each), found, grids=(each.grid[0],))) for each in VARIANTS.values())
    return min(reports, key=lambda pair: pair[1].count)


def _other_grid(needed: Shape, found: Shape, grids: tuple[int, ...] | None) -> bool:
    if len(found) != 3 or (found[0], found[2]) != (needed[0], needed[2]):
        return False
    side = round((found[1] - 1) ** 0.5) if found[1] > 1 else 0
    return side > 0 and side * side == found[1] - 1 and (grids is None or side in grids)


def _listed(kind: str, names: list[str]) -> str:
    shown = ", ".join(names[:NAMES_SHOWN])
    return f"{len(names)} {kind}: {shown}" + (" …" if len(names) > NAMES_SHOWN else "")
